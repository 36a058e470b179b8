import json
import socket
from urllib.parse import urlsplit

import httpx
import openai
import pytest

from tests import tiny

CHAT = {"model": "tiny", "messages": [{"role": "user", "content": tiny.GREETING}]}


IMPOSSIBLE = {
    "type": "json_schema",
    "json_schema": {"name": "none", "schema": {"type": "integer", "minimum": 5, "maximum": 1}},
}


def post(url, **request) -> httpx.Response:
    return httpx.post(f"{url}/v1/chat/completions", **request)


PIXEL = "data:image/png;base64,iVBORw0KGgo="


@pytest.mark.parametrize(
    ("path", "param", "conversation"),
    [
        ("chat/completions", "messages.0.content", {"messages": [{"role": "user", "content": [
            {"type": "text", "text": "what is this?"}, {"type": "image_url", "image_url": {"url": PIXEL}}]}]}),
        ("responses", "input.0.content", {"input": [{"role": "user", "content": [
            {"type": "input_text", "text": "what is this?"}, {"type": "input_image", "image_url": PIXEL}]}]}),
    ],
)  # fmt: skip
def test_a_model_of_text_alone_says_that_it_sees_no_images(url, path, param, conversation):
    response = httpx.post(f"{url}/v1/{path}", json={"model": "tiny"} | conversation)
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["code"] == "image_input_not_supported" and error["param"] == param
    assert "this model has no image input" in error["message"] and PIXEL not in error["message"]


@pytest.mark.parametrize("body", ["", "{", "[]", '"x"', "{}", '{"model": "tiny"}', '{"model": "tiny", "messages": []}'])
def test_a_malformed_body_is_refused_in_openai_shape(url, body):
    response = post(url, content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"
    assert response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": -1}, "temperature"),
        ({"temperature": 2.1}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"n": 17}, "n"),
        ({"seed": -1}, "seed"),
        ({"stop": [""]}, "stop"),
        ({"stop": ["a"] * 10_000}, "stop"),
        ({"logit_bias": {"5": 101}}, "logit_bias"),
        ({"logit_bias": {"five": 1}}, "logit_bias"),
        ({"logit_bias": {"100000000": 1}}, "logit_bias"),
        ({"structured_outputs": {"regex": "(["}}, "grammar"),
        ({"structured_outputs": {"regex": "a", "choice": ["b"]}}, "structured_outputs"),
        ({"structured_outputs": {"regex": None}}, "structured_outputs"),
        ({"response_format": {"type": "yaml"}}, "response_format"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"response_format": IMPOSSIBLE}, "grammar"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user"}]}, "messages.0"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, "messages.0.content"),
        ({"tool_choice": "required"}, ""),
    ],
)
def test_a_bad_field_is_named(url, fields, param):
    response = post(url, json=CHAT | fields)
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["param"] or "").startswith(param)
    assert param.split(".")[0] in error["message"]


def test_not_a_number_is_no_temperature(url):
    body = '{"model": "tiny", "messages": [{"role": "user", "content": "x"}], "temperature": NaN}'
    assert post(url, content=body, headers={"Content-Type": "application/json"}).status_code == 400


def test_an_unknown_model_is_not_found(client):
    with pytest.raises(openai.NotFoundError, match="expected 'tiny'"):
        client.chat.completions.create(**CHAT | {"model": "gpt-5"})
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-5")


def test_a_prompt_beyond_the_context_is_refused(client):
    long = CHAT | {"messages": [{"role": "user", "content": "山水 " * 900}]}
    with pytest.raises(openai.BadRequestError, match="tokens") as caught:
        client.chat.completions.create(**long)
    assert caught.value.code == "context_length_exceeded"


def test_token_ids_outside_the_vocabulary_are_refused(client):
    with pytest.raises(openai.BadRequestError, match="out of range"):
        client.completions.create(model="tiny", prompt=[1, 10**6])
    with pytest.raises(openai.BadRequestError, match="prompt"):
        client.completions.create(model="tiny", prompt=[])


def test_a_body_too_large_is_refused_and_its_client_can_read_that(url, service):
    body = b" " * (4 * service.settings.max_body_bytes)
    where = urlsplit(url)
    head = f"POST /v1/completions HTTP/1.1\r\nHost: {where.netloc}\r\nContent-Type: application/json\r\n"
    head += f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection((where.hostname, where.port), timeout=60) as client:
        client.sendall(head.encode() + body)  # as plain clients do: first all of it, then read
        assert client.makefile("rb").readline().split()[1] == b"413"


def test_another_content_type_is_refused(url):
    assert post(url, content="{}", headers={"Content-Type": "text/plain"}).status_code == 415


def test_another_machines_name_is_refused(url):
    assert httpx.get(f"{url}/v1/models", headers={"Host": "evil.example"}).status_code == 403
    for name in ("localhost:1", "127.0.0.1", "[::1]:8000"):
        assert httpx.get(f"{url}/v1/models", headers={"Host": name}).status_code == 200


def test_an_unknown_path_and_method_are_answered_in_shape(url):
    assert httpx.get(f"{url}/v2").json()["error"]["message"]
    response = httpx.get(f"{url}/v1/chat/completions")
    assert (response.status_code, "error" in response.json()) == (405, True)


HALF = "half \ud800 of a character"
WITH_HALVES = {
    "/v1/completions": {"model": "tiny", "prompt": HALF},
    "/v1/chat/completions": {"model": "tiny", "messages": [{"role": "user", "content": HALF}]},
    "/v1/responses": {
        "model": "tiny",
        "input": "hello",
        "tools": [{"type": "function", "name": "f", "description": HALF}],
    },
    "/v1/embeddings": {"model": "tiny", "input": ["hello", HALF]},
    "/tokenize": {"prompt": HALF},
    "/tokenize#messages": {"messages": [{"role": "user", "content": HALF}]},
}


@pytest.mark.parametrize("path", WITH_HALVES)
def test_half_a_character_is_refused_and_a_whole_one_is_not(url, path):
    headers, target = {"Content-Type": "application/json"}, f"{url}{path.partition('#')[0]}"
    escaped = json.dumps(WITH_HALVES[path])
    response = httpx.post(target, content=escaped, headers=headers)
    assert (response.status_code, response.json()["error"]["type"]) == (400, "invalid_request_error")
    whole = httpx.post(target, content=escaped.replace(r"\ud800", r"\ud83d\ude00"), headers=headers)
    assert whole.status_code == 200


@pytest.mark.parametrize(
    "nulls",
    [
        {"stream": None, "logprobs": None, "parallel_tool_calls": None, "n": None, "stop": None},
        {"tools": [{"type": "function", "function": {"name": "f", "description": None, "parameters": None}}]},
        {"structured_outputs": {"json": {"type": "object"}, "regex": None, "choice": None, "grammar": None}},
    ],
)
def test_null_is_as_good_as_nothing(url, nulls):
    response = post(url, json=CHAT | {"max_tokens": 1} | nulls)
    assert response.status_code == 200, response.text


def test_a_text_far_beyond_the_context_is_refused_by_its_field(url):
    long = "hello 山水" * 60_000
    asks = {
        "/v1/completions": ("prompt", {"prompt": long}),
        "/v1/chat/completions": ("messages", {"messages": [{"role": "user", "content": long}]}),
        "/v1/responses": ("input", {"input": long}),
        "/v1/embeddings": ("input", {"input": long}),
    }
    for path, (param, body) in asks.items():
        error = httpx.post(f"{url}{path}", json=body | {"model": "tiny"}).json()["error"]
        assert (error["code"], error["param"]) == ("context_length_exceeded", param)


def nested(depth: int) -> dict:
    schema: dict = {"type": "integer"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    return schema


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {f"p{n}": {"type": "integer"} for n in range(600)}},
        {"type": "object", "properties": {f"property_{n}": {"type": "string"} for n in range(5000)}},
    ],
    ids=["complex", "huge"],
)
def test_a_schema_that_cannot_be_followed_is_refused(url, schema):
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    response = post(url, json=CHAT | {"response_format": form, "n": 4})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "grammar")


DEEP = nested(300)
ASK = {"model": "tiny", "input": tiny.GREETING}
WITH_DEPTHS = [
    ("chat/completions", "tools.0.function.parameters",
     CHAT | {"tools": [{"type": "function", "function": {"name": "f", "parameters": DEEP}}]}),
    ("chat/completions", "response_format.json_schema.schema",
     CHAT | {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": DEEP}}}),
    ("completions", "structured_outputs.json", {"model": "tiny", "prompt": "x", "structured_outputs": {"json": DEEP}}),
    ("responses", "tools.0", ASK | {"tools": [{"type": "function", "name": "f", "parameters": DEEP}]}),
    ("responses", "text", ASK | {"text": {"format": {"type": "json_schema", "name": "x", "schema": DEEP}}}),
]  # fmt: skip


@pytest.mark.parametrize(("path", "param", "body"), WITH_DEPTHS, ids=[param for _, param, _ in WITH_DEPTHS])
def test_what_is_nested_too_deep_is_refused_by_its_field(url, path, param, body):
    response = httpx.post(f"{url}/v1/{path}", json=body)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)
    body = json.dumps(body).replace(json.dumps(DEEP), json.dumps(nested(20)))
    assert httpx.post(f"{url}/v1/{path}", content=body, headers={"Content-Type": "application/json"}).status_code == 200


@pytest.mark.parametrize("text", ["[" * 900 + "]" * 900, "[" * 100_000], ids=["whole", "endless"])
def test_a_body_of_nothing_but_brackets_is_refused(url, text):
    body = f'{{"model": "tiny", "messages": {text}}}'
    assert post(url, content=body, headers={"Content-Type": "application/json"}).status_code == 400


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": [{"role": "user", "content": "x"}, {"role": "wizard", "content": "x"}]}, "input.1.role"),
        ({"input": [{"type": "function_call", "name": ""}]}, "input.0.name"),
        ({"input": [{"role": "user"}], "instructions": None}, "input.0"),
        ({"tools": [{"type": "function", "name": "a name"}]}, "tools.0.name"),
        ({"text": {"format": {"type": "yaml"}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_schema", "name": "x", "schema": 5}}}, "text.format.schema"),
        ({"input": [{"type": "function_call_output", "call_id": 7, "output": "x"}]}, "input.0.call_id"),
        ({"tool_choice": {"type": "function", "name": 7}}, "tool_choice"),
    ],
)
def test_a_bad_field_of_a_response_is_called_as_its_client_calls_it(url, fields, param):
    response = httpx.post(f"{url}/v1/responses", json={"instructions": "Be brief."} | ASK | fields)
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["param"] == param and error["message"].startswith(param)


def test_arguments_that_are_no_object_are_refused(url):
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "string"}}}
    response = post(url, json=CHAT | {"tools": [tool]})
    assert response.status_code == 400 and "object" in response.json()["error"]["message"]
