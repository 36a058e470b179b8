"""Records of instruction and preference sources in their various shapes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.chat import encode_chat
from tasks.conversations import NotAConversation, conversation, preference
from tasks.tokenizer.bpe import hugging_face, train_bpe


def test_alpaca_with_history_and_input():
    record = {
        "instruction": "Translate",
        "input": "雪",
        "output": "snow",
        "history": [["hi", "hello"]],
        "system": "Be kind",
    }
    messages = conversation("a", record).messages
    assert [(m["role"], m["content"]) for m in messages] == [
        ("system", "Be kind"),
        ("user", "hi"),
        ("assistant", "hello"),
        ("user", "Translate\n雪"),
        ("assistant", "snow"),
    ]


def test_sharegpt_with_function_calls():
    record = {
        "conversations": [
            {"from": "human", "value": "rate?"},
            {"from": "function_call", "value": '{"name": "rate", "arguments": {"to": "EUR"}}'},
            {"from": "observation", "value": '{"rate": 0.9}'},
            {"from": "gpt", "value": "0.9"},
        ],
        "tools": json.dumps([{"name": "rate", "parameters": {}}]),
    }
    read = conversation("a", record)
    assert [message["role"] for message in read.messages] == ["user", "assistant", "tool", "assistant"]
    assert read.messages[1]["tool_calls"][0]["function"] == {"name": "rate", "arguments": {"to": "EUR"}}
    assert read.tools == [{"type": "function", "function": {"name": "rate", "parameters": {}}}]


def messages_calling(arguments):
    """An OpenAI record whose assistant calls `rate`."""
    call = {"id": "1", "type": "function", "function": {"name": "rate", "arguments": arguments}}
    return {
        "messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": None, "tool_calls": [call]}]
    }


CALLED = messages_calling('{"to": "EUR"}')


def test_openais_arguments_are_json_text_and_are_read_as_an_object():
    (call,) = conversation("a", CALLED).messages[1]["tool_calls"]
    assert call == {"id": "1", "type": "function", "function": {"name": "rate", "arguments": {"to": "EUR"}}}


@pytest.mark.parametrize("tools", [[{"name": "rate"}], '[{"name": "rate"}]', [{"function": {"name": "rate"}}]])
def test_tools_are_read_alike_beside_messages_and_conversations(tools):
    turns = {"messages": CALLED["messages"]}, {"conversations": [{"from": "gpt", "value": "x"}]}
    for record in turns:
        (tool,) = conversation("a", {**record, "tools": tools}).tools
        assert tool["function"] == {"name": "rate"}


def test_an_argument_may_be_called_name():
    value = '{"name": "greet", "arguments": {"name": "Ada"}}'
    read = conversation("a", {"conversations": [{"from": "function_call", "value": value}]})
    assert read.messages[0]["tool_calls"][0]["function"] == {"name": "greet", "arguments": {"name": "Ada"}}


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"text": "x"}, "expected messages"),
        ({"conversations": [{"from": "alien", "value": "x"}]}, "unknown speaker"),
        ({"conversations": [{"from": "function_call", "value": "not json"}]}, "function_call is not JSON"),
        ({"instruction": "x", "output": ""}, "neither content"),
        ({"conversations": [{"from": "human", "value": "x"}], "tools": "{"}, "tools are not"),
        ({"conversations": None}, "conversations: expected a list, found NoneType"),
        ({"messages": None}, "messages must be a non-empty list"),
        ({"instruction": 5, "output": "x"}, "instruction: expected a text, found int"),
        ({"instruction": "q", "input": ["x"], "output": "x"}, "input: expected a text, found list"),
        ({"instruction": "q", "output": "x", "history": [["x"]]}, r"history: expected pairs.*found \['x'\]"),
        ({"instruction": "q", "output": "x", "system": 3}, "content must be text"),
        ({**CALLED, "tools": "not json"}, "tools are not"),
        ({**CALLED, "tools": [5]}, "tools are not"),
        ({**CALLED, "tools": {"name": "rate"}}, "tools are not"),
        ({**CALLED, "tools": [{"function": {"parameters": {}}}]}, "tools are not"),
        (messages_calling("not json"), "arguments of rate are not a JSON object"),
        (messages_calling("[1]"), "arguments of rate are not a JSON object"),
        (messages_calling('{"to": "\\ud800"}'), "arguments of rate are not a JSON object"),
    ],
)
def test_what_is_no_conversation_says_why(record, reason):
    with pytest.raises(NotAConversation, match=reason):
        conversation("a", record)


@pytest.mark.parametrize(
    "record",
    [
        {"instruction": "q", "input": "", "chosen": "good", "rejected": "bad"},
        {"prompt": "q", "chosen": "good", "rejected": "bad"},
        {"messages": [{"role": "user", "content": "q"}], "chosen": {"content": "good"}, "rejected": {"content": "bad"}},
        {
            "conversations": [{"from": "human", "value": "q"}],
            "chosen": {"from": "gpt", "value": "good"},
            "rejected": {"from": "gpt", "value": "bad"},
        },
    ],
)
def test_preferences_in_their_shapes(record):
    messages, chosen, rejected, tools = preference("a", record)
    assert (messages, chosen, rejected, tools) == ([{"role": "user", "content": "q"}], "good", "bad", [])


def test_two_equal_answers_are_no_preference():
    with pytest.raises(NotAConversation, match="two different texts"):
        preference("a", {"prompt": "q", "chosen": "same", "rejected": "same "})


@pytest.mark.parametrize("key", ["messages", "conversations"])
def test_a_preference_without_turns_says_so(key):
    with pytest.raises(NotAConversation, match=f"{key}: expected a list, found NoneType"):
        preference("a", {key: None, "chosen": "good", "rejected": "bad"})


TEXTS = st.text(max_size=5) | st.sampled_from(
    ["user", "assistant", "human", "gpt", "function_call", "[]", '{"name": 1}']
)
KEYS = st.sampled_from(
    ["messages", "conversations", "tools", "instruction", "input", "output", "history", "system", "prompt", "chosen",
     "rejected", "role", "content", "from", "value", "tool_calls", "function", "name", "arguments"]
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda below: st.lists(below, max_size=4) | st.dictionaries(KEYS | st.text(max_size=3), below, max_size=5),
    max_leaves=12,
)
TURNS = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant", "tool"]), "from": st.sampled_from(["human", "gpt"])},
        optional={"content": TEXTS, "value": TEXTS, "tool_calls": JSON},
    ),
    max_size=3,
)
RECORDS = st.dictionaries(KEYS, JSON | TURNS, max_size=8)
TOKENIZER = hugging_face(train_bpe(["user\nassistant\ntool\nsystem\n"], 320))


@given(RECORDS)
def test_any_record_is_a_conversation_that_can_be_encoded_or_says_why_not(record):
    try:
        read = conversation("a", record)
    except NotAConversation:
        return
    encode_chat(TOKENIZER, read.messages, read.tools)


@given(RECORDS, TEXTS, TEXTS)
def test_any_record_is_a_preference_or_says_why_not(record, chosen, rejected):
    try:
        messages, better, worse, _ = preference("a", {**record, "chosen": chosen, "rejected": rejected})
    except NotAConversation:
        return
    assert better != worse and all(isinstance(message, dict) for message in messages)
