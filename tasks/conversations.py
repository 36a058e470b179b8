"""Records of instruction sources as conversations: messages, alpaca, and ShareGPT with function calls."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

import orjson

from tasks.chat import check_messages
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

    Understood: `messages` (OpenAI), `conversations` (ShareGPT), `instruction` / `input` / `output` (alpaca, optional
    `history`); beside the last two `system`, beside all `tools`, a list or its JSON. Arguments of calls become objects.

    Raises:
        NotAConversation: none of these, or a malformed one; it says what was expected and what was found.
    """
    tools = _tools(record.get("tools"))
    if "messages" in record:
        messages = record["messages"]
    elif "conversations" in record:
        messages = _system(record) + [_shared(turn) for turn in _list(record, "conversations")]
    elif "instruction" in record and "output" in record:
        messages = _system(record) + _alpaca(record)
    else:
        raise NotAConversation(f"expected messages, conversations or instruction; found {', '.join(sorted(record))}")
    problem = check_messages(messages)
    if problem:
        raise NotAConversation(problem)
    return Conversation(name, [_with_objects(message) for message in messages], tools)


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
            answered[key] = [*_list(record, key), answer]
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
    for pair in _list(record, "history") if record.get("history") else []:
        if not isinstance(pair, list) or len(pair) != 2:
            raise NotAConversation(f"history: expected pairs of question and answer, found {pair!r:.80}")
        messages += [{"role": "user", "content": pair[0]}, {"role": "assistant", "content": pair[1]}]
    parts = [_text(record, name) for name in ("instruction", "input") if record.get(name)]
    question = {"role": "user", "content": "\n".join(parts)}
    return [*messages, question, {"role": "assistant", "content": record["output"]}]


def _list(record: dict[str, Any], name: str) -> list[Any]:
    if not isinstance(record[name], list):
        raise NotAConversation(f"{name}: expected a list, found {type(record[name]).__name__}")
    return record[name]


def _text(record: dict[str, Any], name: str) -> str:
    if not isinstance(record[name], str):
        raise NotAConversation(f"{name}: expected a text, found {type(record[name]).__name__}")
    return record[name]


def _shared(turn: Any) -> Message:
    if not isinstance(turn, dict):
        raise NotAConversation("a turn must be an object with from and value")
    speaker, text = turn.get("from"), turn.get("value")
    if speaker == "function_call":
        return _call(text)
    roles = {"human": "user", "gpt": "assistant", "observation": "tool", "system": "system"}
    if not isinstance(speaker, str) or speaker not in roles:
        raise NotAConversation(f"unknown speaker {speaker!r:.80}; expected {', '.join(roles)} or function_call")
    return {"role": roles[speaker], "content": text}


def _call(text: Any) -> Message:
    try:
        calls = orjson.loads(text)
        calls = calls if isinstance(calls, list) else [calls]
        made = [{"type": "function", "function": {k: call[k] for k in ("name", "arguments")}} for call in calls]
    except (TypeError, ValueError, KeyError) as error:
        raise NotAConversation(f"function_call is not JSON with name and arguments: {error}") from error
    if not made:
        raise NotAConversation("function_call names no function")
    return {"role": "assistant", "content": "", "tool_calls": made}


def _with_objects(message: Message) -> Message:
    """The message with the arguments of its calls as objects, however they were written (OpenAI: as JSON text)."""
    if not message.get("tool_calls"):
        return message
    calls = [{**call, "function": _with_object(call["function"])} for call in message["tool_calls"]]
    return {**message, "tool_calls": calls}


def _with_object(function: dict[str, Any]) -> dict[str, Any]:
    arguments = function["arguments"]
    try:
        arguments = orjson.loads(arguments) if isinstance(arguments, str) else arguments
    except ValueError as error:
        raise NotAConversation(f"arguments of {function['name']} are not a JSON object: {error}") from error
    if not isinstance(arguments, dict):
        raise NotAConversation(f"arguments of {function['name']} are not a JSON object: {arguments!r:.80}")
    return {**function, "arguments": arguments}


def _tools(given: Any) -> list[dict[str, Any]]:
    """Tools as OpenAI lists them, from a list or its JSON; a bare function is wrapped."""
    try:
        listed = orjson.loads(given) if isinstance(given, str) and given else given or []
    except ValueError as error:
        raise NotAConversation(f"tools are not a JSON list of functions: {error}") from error
    if not isinstance(listed, list):
        raise NotAConversation(f"tools are not a list of functions, found {type(listed).__name__}")
    return [_tool(tool) for tool in listed]


def _tool(tool: Any) -> dict[str, Any]:
    wrapped = tool if isinstance(tool, dict) and "function" in tool else {"type": "function", "function": tool}
    function = wrapped["function"]
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise NotAConversation(f"tools are not functions with a name, found {tool!r:.80}")
    return wrapped
