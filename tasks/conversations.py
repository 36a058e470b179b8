"""Records of instruction sources as conversations: messages, alpaca, and ShareGPT with function calls."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

from tasks.chat import assistant_call, check_messages
from tasks.output import Output
from tasks.sources import Bad, SourceRef, open_source

T = TypeVar("T")
Message = dict[str, Any]


@dataclass(frozen=True)
class Conversation:
    """Messages to learn from, and the tools that were at hand."""

    id: str
    messages: list[Message]
    tools: list[dict[str, Any]] = field(default_factory=list)


class NotAConversation(ValueError):
    """A record that says nothing we can learn from; the text says why."""


def read_source(reference: SourceRef, limit: int, read: Callable[[str, dict[str, Any]], T], out: Output) -> Iterator[T]:
    """What `read(name, record)` makes of a source's first records; the others are quarantined with their reason."""
    source = open_source(reference)
    for record in islice(source.records(), limit):
        name = f"{source.card.name}:{record.member}:{record.offset}"
        if isinstance(record, Bad):
            out.quarantine(name, record.reason)
            continue
        try:
            yield read(name, record.data)
        except NotAConversation as problem:
            out.quarantine(name, str(problem))


def conversation(name: str, record: dict[str, Any]) -> Conversation:
    """Read one record.

    Understood: `messages` (OpenAI, optional `tools`), `conversations` (ShareGPT, optional `system`, `tools` as JSON),
    `instruction` / `input` / `output` (alpaca, optional `system` and `history`).

    Raises:
        NotAConversation: none of these, or a malformed one.
    """
    tools: list[dict[str, Any]] = []
    if "messages" in record:
        messages, tools = record["messages"], record.get("tools") or []
    elif "conversations" in record:
        messages = _system(record) + [_shared(turn) for turn in record["conversations"]]
        tools = _tools(record.get("tools"))
    elif "instruction" in record and "output" in record:
        messages = _system(record) + _alpaca(record)
    else:
        raise NotAConversation(f"expected messages, conversations or instruction; found {', '.join(sorted(record))}")
    problem = check_messages(messages)
    if problem:
        raise NotAConversation(problem)
    return Conversation(name, messages, tools)


def preference(name: str, record: dict[str, Any]) -> tuple[list[Message], str, str, list[dict[str, Any]]]:
    """A preference record as (messages before the answer, chosen answer, rejected answer, tools).

    Understood: `conversations` or `messages` or `prompt` beside `chosen` and `rejected`, as texts or messages.

    Raises:
        NotAConversation: something of this is missing, or both answers are the same.
    """
    chosen, rejected = _answer(record.get("chosen")), _answer(record.get("rejected"))
    if not chosen or not rejected or chosen == rejected:
        raise NotAConversation("expected two different texts, chosen and rejected")
    if "prompt" in record and isinstance(record["prompt"], str):
        record = {"instruction": record["prompt"], **record}
    answered = {**record, "output": chosen}
    for key, answer in (
        ("messages", {"role": "assistant", "content": chosen}),
        ("conversations", {"from": "gpt", "value": chosen}),
    ):
        if key in record:
            answered[key] = [*record[key], answer]
    whole = conversation(name, answered)
    return whole.messages[:-1], chosen, rejected, whole.tools


def _answer(value: Any) -> str:
    if isinstance(value, dict):
        value = value.get("value") or value.get("content")
    return value.strip() if isinstance(value, str) else ""


def _system(record: dict[str, Any]) -> list[Message]:
    return [{"role": "system", "content": record["system"]}] if record.get("system") else []


def _alpaca(record: dict[str, Any]) -> list[Message]:
    messages: list[Message] = []
    for question, answer in record.get("history") or []:
        messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    question = "\n".join(part for part in (record["instruction"], record.get("input")) if part)
    return [*messages, {"role": "user", "content": question}, {"role": "assistant", "content": record["output"]}]


def _shared(turn: Any) -> Message:
    if not isinstance(turn, dict):
        raise NotAConversation("a turn must be an object with from and value")
    speaker, text = turn.get("from"), turn.get("value")
    if speaker == "function_call":
        return _call(text)
    roles = {"human": "user", "gpt": "assistant", "observation": "tool", "system": "system"}
    if speaker not in roles:
        raise NotAConversation(f"unknown speaker {speaker!r}; expected {', '.join(roles)} or function_call")
    return {"role": roles[speaker], "content": text}


def _call(text: Any) -> Message:
    try:
        calls = json.loads(text)
        calls = calls if isinstance(calls, list) else [calls]
        made = [assistant_call(call["name"], **_object(call["arguments"])) for call in calls]
    except (TypeError, ValueError, KeyError) as error:
        raise NotAConversation(f"function_call is not JSON with name and arguments: {error}") from error
    if not made:
        raise NotAConversation("function_call names no function")
    return {**made[0], "tool_calls": [call for message in made for call in message["tool_calls"]]}


def _object(arguments: Any) -> dict[str, Any]:
    return json.loads(arguments) if isinstance(arguments, str) else arguments


def _tools(text: Any) -> list[dict[str, Any]]:
    if not text:
        return []
    try:
        listed = json.loads(text) if isinstance(text, str) else text
        return [tool if "function" in tool else {"type": "function", "function": tool} for tool in listed]
    except (TypeError, ValueError) as error:
        raise NotAConversation(f"tools are not a JSON list of functions: {error}") from error
