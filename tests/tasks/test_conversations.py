"""Records of instruction and preference sources in their various shapes."""

import json

import pytest

from tasks.conversations import NotAConversation, conversation, preference


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


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"text": "x"}, "expected messages"),
        ({"conversations": [{"from": "alien", "value": "x"}]}, "unknown speaker"),
        ({"conversations": [{"from": "function_call", "value": "not json"}]}, "function_call is not JSON"),
        ({"instruction": "x", "output": ""}, "neither content"),
        ({"conversations": [{"from": "human", "value": "x"}], "tools": "{"}, "tools are not"),
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
