import json

import httpx
import jsonschema
import pytest

from tasks.poet_tools import POET_TOOLS
from tests import tiny

GREET = {"model": "tiny", "messages": [{"role": "user", "content": tiny.GREETING}], "temperature": 0}
SCHEMA = {
    "type": "object",
    "properties": {"mood": {"enum": ["good", "bad"]}, "count": {"type": "integer", "minimum": 1, "maximum": 9}},
    "required": ["mood", "count"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("temperature", [0, 1.5])
def test_an_answer_follows_its_schema(client, temperature):
    form = {"type": "json_schema", "json_schema": {"name": "mood", "schema": SCHEMA}}
    reply = client.chat.completions.create(**GREET | {"temperature": temperature}, response_format=form, seed=3)
    assert reply.choices[0].finish_reason == "stop"
    jsonschema.validate(json.loads(reply.choices[0].message.content), SCHEMA)


@pytest.mark.parametrize(
    ("structure", "expected"),
    [({"choice": ["山", "水"]}, ("山", "水")), ({"regex": "(ab|cd){2}"}, ("abab", "abcd", "cdab", "cdcd"))],
)
def test_an_answer_is_a_choice_or_matches_an_expression(client, structure, expected):
    reply = client.completions.create(model="tiny", prompt="x", extra_body={"structured_outputs": structure})
    assert reply.choices[0].text in expected


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "search_poems"}}])
def test_a_forced_call_has_arguments_that_fit(client, choice):
    """Whatever the model would say to a greeting: it calls, and the call is valid."""
    replies = client.chat.completions.create(
        **GREET | {"temperature": 1}, seed=1, n=3, tools=POET_TOOLS, tool_choice=choice
    )
    schemas = {tool["function"]["name"]: tool["function"]["parameters"] for tool in POET_TOOLS}
    for answer in replies.choices:
        assert answer.finish_reason in ("tool_calls", "length")
        for call in answer.message.tool_calls or []:
            assert choice == "required" or call.function.name == "search_poems"
            jsonschema.validate(json.loads(call.function.arguments), schemas[call.function.name])


def test_several_choices_are_independent_and_streamed_side_by_side(client):
    reply = client.chat.completions.create(**GREET, n=2)
    assert [choice.message.content for choice in reply.choices] == [tiny.GREETED] * 2
    texts = {}
    for chunk in client.chat.completions.create(**GREET, n=2, stream=True):
        for choice in chunk.choices:
            texts[choice.index] = texts.get(choice.index, "") + (choice.delta.content or "")
    assert texts == {0: tiny.GREETED, 1: tiny.GREETED}


def test_a_biased_token_is_chosen(client, service):
    token = service.model.tokenizer.encode("山")[0]
    reply = client.completions.create(
        model="tiny", prompt="x", max_tokens=1, temperature=0, logit_bias={str(token): 100}, logprobs=0
    )
    assert reply.choices[0].logprobs.tokens == [service.model.tokenizer.token(token)]


def test_responses_are_answered_and_streamed(client):
    ask = {"model": "tiny", "input": tiny.GREETING, "temperature": 0}
    assert client.responses.create(**ask).output_text == tiny.GREETED
    events = list(client.responses.create(**ask, stream=True))
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == tiny.GREETED
    assert events[-1].type == "response.completed"
    assert events[-1].response.output_text == tiny.GREETED


def test_a_response_calls_a_function_and_reads_its_result(client):
    tools = [{"type": "function", **tool["function"]} for tool in POET_TOOLS]
    question = {"role": "user", "content": tiny.TOOL_REQUEST}
    first = client.responses.create(model="tiny", input=[question], tools=tools, temperature=0)
    (call,) = first.output
    assert (call.name, json.loads(call.arguments)) == ("search_poems", {"query": "月"})
    result = {"type": "function_call_output", "call_id": call.call_id, "output": tiny.TOOL_RESULT}
    second = client.responses.create(
        model="tiny", input=[question, call.model_dump(), result], tools=tools, temperature=0
    )
    assert second.output_text == tiny.TOOL_ANSWER


def test_a_function_call_of_a_response_is_streamed(client):
    tools = [{"type": "function", **tool["function"]} for tool in POET_TOOLS]
    ask = {"model": "tiny", "input": tiny.TOOL_REQUEST, "tools": tools, "temperature": 0}
    with client.responses.stream(**ask) as stream:  # the client's own accumulator
        events = list(stream)
        final = stream.get_final_response()
    added = next(event for event in events if event.type == "response.output_item.added")
    assert (added.item.name, added.item.arguments) == ("search_poems", "")
    pieces = [event.delta for event in events if event.type == "response.function_call_arguments.delta"]
    assert len(pieces) > 2 and json.loads("".join(pieces)) == {"query": "月"}
    (call,) = final.output
    assert call.arguments == "".join(pieces) and call.id == added.item.id


def test_texts_are_embedded(client):
    same, again, other = client.embeddings.create(model="tiny", input=["hello", "hello", "写诗"]).data
    assert same.embedding == again.embedding != other.embedding
    assert sum(x * x for x in same.embedding) == pytest.approx(1, abs=1e-5)


def test_tokens_are_told_and_prompts_can_be_given_as_such(client, url, service):
    tokens = httpx.post(f"{url}/tokenize", json={"prompt": "hello 山"}).json()
    assert tokens["tokens"] == service.model.tokenizer.encode("hello 山")
    chat = httpx.post(f"{url}/tokenize", json={"messages": GREET["messages"]}).json()
    reply = client.completions.create(model="tiny", prompt=chat["tokens"], temperature=0)
    assert reply.choices[0].text == tiny.GREETED
    assert httpx.post(f"{url}/tokenize", json={}).status_code == 400


def test_long_texts_are_answered_and_embedded(client, service):
    long = "hello " * 300
    assert client.responses.create(model="tiny", input=long, max_output_tokens=1).usage.input_tokens > 300
    tokens = service.model.tokenizer.encode(long)
    text, same = (client.embeddings.create(model="tiny", input=form).data[0].embedding for form in (long, tokens))
    assert text == same


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("tool_choice", ["required", {"type": "function", "function": {"name": "count"}}])
def test_a_call_that_is_demanded_is_one_whatever_its_schema_leaves_open(client, stream, tool_choice):
    loose = {"properties": {"n": {"enum": [1, 2]}}, "required": ["n"], "additionalProperties": False}
    tool = {"type": "function", "function": {"name": "count", "parameters": loose}}
    ask = GREET | {"temperature": 1, "seed": 3, "tools": [tool], "tool_choice": tool_choice}
    if stream:
        with client.chat.completions.stream(**ask) as chunks:
            choice = chunks.get_final_completion().choices[0]
    else:
        choice = client.chat.completions.create(**ask).choices[0]
    assert choice.finish_reason == "tool_calls"
    assert json.loads(choice.message.tool_calls[0].function.arguments) in ({"n": 1}, {"n": 2})


def test_a_grammar_that_becomes_too_complex_ends_its_request_alone(client, url, service, monkeypatch):
    """Such a grammar is mostly found when it is tried out; here it is not."""
    monkeypatch.setattr("models.engine.grammar.TRIED", 0)
    service.model.vocabulary._compiled.cache_clear()
    schema = {"type": "object", "properties": {f"q{n}": {"type": "integer"} for n in range(600)}}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    reply = httpx.post(f"{url}/v1/chat/completions", json=GREET | {"response_format": form})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "grammar")
    assert client.chat.completions.create(**GREET).choices[0].message.content == tiny.GREETED
