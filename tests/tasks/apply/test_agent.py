import json
from types import SimpleNamespace as Reply

import openai
import pytest

from tasks.apply.agent import run_agent
from tasks.apply.poems import PoemIndex
from tasks.apply.poet import poet_toolbox
from tests import tiny
from tests.serving import serving


@pytest.fixture(scope="module")
def toolbox():
    return poet_toolbox(PoemIndex(tiny.inputs()["corpus"]))


def scripted(*turns):
    """A client that says the given turns: a text, or (tool name, arguments)."""
    said = iter(turns)
    asked = []

    def create(**request):
        asked.append({**request, "messages": list(request["messages"])})
        turn = next(said)
        calls = [] if isinstance(turn, str) else [Reply(id="1", function=Reply(name=turn[0], arguments=turn[1]))]
        message = Reply(content=turn if isinstance(turn, str) else None, tool_calls=calls)
        return Reply(choices=[Reply(message=message)])

    return Reply(chat=Reply(completions=Reply(create=create))), asked


def ask(text):
    return [{"role": "user", "content": text}]


def test_a_served_model_calls_a_tool_and_answers(toolbox):
    with serving(slots=1) as (url, _):
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="unused")
        run = run_agent(client, "tiny", ask(tiny.TOOL_REQUEST), toolbox, temperature=0, max_tokens=60)
    (step, *_) = run.steps
    assert (step.name, json.loads(step.arguments), step.valid) == ("search_poems", {"query": "月"}, True)
    assert run.messages[2]["role"] == "tool" and run.messages[2]["content"] == step.result


def test_an_error_goes_back_to_the_model_which_may_mend_its_call(toolbox):
    client, asked = scripted(("search_poems", "{}"), ("search_poems", '{"query": "月"}'), "好了")
    run = run_agent(client, "m", ask("找诗"), toolbox)
    assert [step.valid for step in run.steps] == [False, True]
    assert "query" in json.loads(asked[1]["messages"][-1]["content"])["error"]
    assert (run.answer, run.ended) == ("好了", "answered")


def test_an_agent_that_only_calls_is_stopped(toolbox):
    client, asked = scripted(*[("rhymes_with", '{"character": "风"}')] * 9)
    run = run_agent(client, "m", ask("押韵"), toolbox, max_steps=3)
    assert (run.ended, len(asked), len(run.steps)) == ("step limit", 3, 3)


def test_each_step_is_watched(toolbox):
    client, _ = scripted(("rhymes_with", '{"character": "风"}'), "好")
    seen = []
    run = run_agent(client, "m", ask("押韵"), toolbox, watch=seen.append)
    assert seen == run.steps
