"""The chat page as its users see it, in a headless Chromium."""

import json

import pytest

from tasks.poet_tools import POET_TOOLS
from tests import tiny
from tests.browser import browser

LAST = "[...document.querySelectorAll('.message.assistant')].at(-1)"
IDLE = "!document.getElementById('send').hidden"


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


def test_a_tool_call_is_shown_and_its_result_read(page):
    page.run(f"document.getElementById('tools').value = {json.dumps(json.dumps(POET_TOOLS))}")
    say(page, tiny.TOOL_REQUEST)
    page.wait(f"document.querySelector('.call') && {IDLE}")
    assert page.run("document.querySelector('.call').textContent") == 'search_poems({"query": "月"})'
    assert "returns" in page.run("document.getElementById('input').placeholder")
    say(page, tiny.TOOL_RESULT)
    page.wait(f"document.querySelectorAll('.message.assistant').length === 2 && {IDLE}")
    assert page.run(f"{LAST}.textContent") == tiny.TOOL_ANSWER


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
