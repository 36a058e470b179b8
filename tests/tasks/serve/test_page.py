"""The chat page as its users see it, in a headless Chromium."""

import json
from collections.abc import Callable

import pytest

from tasks.poet_tools import POET_TOOLS
from tests import tiny
from tests.browser import browser

LAST = "[...document.querySelectorAll('.message.assistant')].at(-1)"
IDLE = "!document.getElementById('send').hidden"
CALLS = (
    '{"name": "search_poems", "arguments": {"query": "月"}}',
    '{"name": "rhymes_with", "arguments": {"character": "光"}}',
)
TWO_CALLS = "start: " + ' "\\n" '.join(f"<tool_call> {json.dumps(call)} </tool_call>" for call in CALLS)


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("chromium")) as page:
        yield page


@pytest.fixture
def page(tab, url):
    tab.open(url)
    tab.run("localStorage.clear()")
    tab.open(url)
    tab.wait("document.getElementById('model').textContent === 'tiny'")
    tab.run("document.getElementById('temperature').value = 0")
    return tab


def say(page, text: str) -> None:
    page.run(f"document.getElementById('input').value = {json.dumps(text)}")
    page.run("document.getElementById('form').requestSubmit()")


def fill(page, **settings) -> None:
    for name, value in settings.items():
        page.run(f"document.getElementById('{name}').value = {json.dumps(value)}")


def give_result(page, text: str) -> None:
    """Write into the field that has the focus, as a user does, and press Enter."""
    page.send("Input.insertText", text=text)
    for kind in ("rawKeyDown", "keyUp"):
        page.send("Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", windowsVirtualKeyCode=13)


def sent(page, **more) -> Callable[[], list[dict]]:
    """What the page asks of the server from now on; the first request has `more` in it, so that the model says it."""
    page.run(f"""{{
        const real = window.fetch, more = [{json.dumps(more)}];
        window.requests = [];
        window.fetch = (url, options) => {{
            if (!options?.body) return real(url, options);
            const body = JSON.parse(options.body);
            requests.push(body);
            return real(url, {{ ...options, body: JSON.stringify({{ ...body, ...more.pop() }}) }});
        }};
    }}""")
    return lambda: page.run("requests")


def test_a_question_is_answered_and_answered_again(page):
    say(page, tiny.GREETING)
    page.wait(f"document.querySelector('.note button') && {IDLE}")
    assert page.run(f"{LAST}.textContent") == tiny.GREETED
    assert "tokens/s" in page.run("document.querySelector('.note').textContent")
    page.run("document.querySelector('.note button').click()")
    page.wait(f"document.querySelector('.note button') && {IDLE}")
    assert page.run("document.querySelectorAll('.message.assistant').length") == 1
    assert page.run(f"{LAST}.textContent") == tiny.GREETED


def test_an_answer_is_stopped(page, service, monkeypatch):
    monkeypatch.setattr(service.model.tokenizer, "stop_ids", frozenset())
    page.run("document.getElementById('max_tokens').value = 600")
    say(page, tiny.GREETING)
    page.wait(f"{LAST} && {LAST}.textContent.length > 5")
    page.run("document.getElementById('stop').click()")
    page.wait(IDLE)
    assert "stopped" in page.run("document.querySelector('.note').textContent")


def test_only_the_parameters_that_are_set_are_sent_and_heeded(page):
    requests = sent(page)
    say(page, tiny.GREETING)
    page.wait(f"document.querySelector('.note') && {IDLE}")
    fill(page, top_p=0.9, seed=7, max_tokens="", stop_strings="write for\n\nnever said")
    page.run("document.querySelector('.note button').click()")
    page.wait(f"document.querySelector('.note') && {IDLE}")
    assert page.run(f"{LAST}.textContent") == tiny.GREETED.partition("write for")[0]
    names = ("temperature", "top_p", "seed", "max_tokens", "stop")
    unset, chosen = ({name: body[name] for name in names if name in body} for body in requests())
    assert unset == {"temperature": 0, "max_tokens": 512}
    assert chosen == {"temperature": 0, "top_p": 0.9, "seed": 7, "stop": ["write for", "never said"]}


def test_a_tool_call_is_shown_and_its_result_read(page):
    fill(page, tools=json.dumps(POET_TOOLS))
    say(page, tiny.TOOL_REQUEST)
    page.wait(f"document.querySelector('.results') && {IDLE}")
    assert page.run("document.querySelector('.call').textContent") == 'search_poems({"query": "月"})'
    assert "returns" in page.run("document.querySelector('.results textarea').placeholder")
    say(page, "what else?")  # a call is answered first
    give_result(page, tiny.TOOL_RESULT)
    page.wait(f"document.querySelectorAll('.message.assistant').length === 2 && {IDLE}")
    assert page.run(f"{LAST}.textContent") == tiny.TOOL_ANSWER
    assert page.run("document.querySelectorAll('.message.user').length") == 1
    assert page.run("document.querySelector('.result').textContent") == tiny.TOOL_RESULT


def test_the_chat_goes_on_when_every_one_of_several_calls_has_its_result(page):
    requests = sent(page, structured_outputs={"grammar": TWO_CALLS})
    fill(page, tools=json.dumps(POET_TOOLS))
    say(page, tiny.TOOL_REQUEST)
    page.wait(f"document.querySelectorAll('.results textarea').length === 2 && {IDLE}")
    give_result(page, "a poem")  # and the other call is still open
    assert page.run("document.activeElement.getAttribute('aria-label')") == 'rhymes_with({"character": "光"})'
    assert len(requests()) == 1
    give_result(page, "a rhyme")
    page.wait(f"document.querySelectorAll('.message.assistant').length === 2 && {IDLE}")
    _, called, *results = requests()[1]["messages"]
    assert [call["function"]["name"] for call in called["tool_calls"]] == ["search_poems", "rhymes_with"]
    assert [result["content"] for result in results] == ["a poem", "a rhyme"]
    assert [result["tool_call_id"] for result in results] == [call["id"] for call in called["tool_calls"]]


def test_tools_that_are_no_json_are_named(page):
    fill(page, tools="search_poems")
    say(page, tiny.GREETING)
    page.wait("document.querySelector('.failed')")
    assert page.run("document.querySelector('.failed').textContent").startswith("Tools: ")


def test_language_and_theme_are_switched_and_kept(page, url):
    page.run("document.getElementById('language').click(), document.getElementById('theme').click()")
    before = page.run("[document.documentElement.lang, getComputedStyle(document.body).backgroundColor]")
    page.open(url)
    page.wait("document.getElementById('send').textContent === '发送'")
    assert page.run("[document.documentElement.lang, getComputedStyle(document.body).backgroundColor]") == before
    page.run("document.getElementById('theme').click()")
    assert page.run("getComputedStyle(document.body).backgroundColor") != before[1]


def test_what_a_model_says_is_never_markup(page):
    page.run("add('assistant', '<img src=x onerror=document.title=1>')")
    assert page.run(f"{LAST}.children.length") == 0
