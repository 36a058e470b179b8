"""Chat as tokens: ChatML with Hermes-style tools, the mask of what the assistant said, and tool calls out of text.

Messages are OpenAI's: ``{"role": "system" | "user" | "assistant" | "tool", "content": str}``, an assistant's may carry
``tool_calls: [{"type": "function", "function": {"name": str, "arguments": dict | JSON str}}]``.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

DOCUMENT_END, TURN_START, TURN_END, PAD = "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"
TOOL_CALL, TOOL_RESPONSE = ("<tool_call>", "</tool_call>"), ("<tool_response>", "</tool_response>")
SPECIAL_TOKENS = (DOCUMENT_END, TURN_START, TURN_END, PAD, *TOOL_CALL, *TOOL_RESPONSE)
ROLES = ("system", "user", "assistant", "tool")
ASSISTANT_HEADER = "assistant\n"

TOOLS_PREAMBLE = "# Tools\nCall a function when it helps. Its signature is one of\n<tools>\n"
TOOLS_CLOSING = '</tools>\nWrite a call as <tool_call>\n{"name": ..., "arguments": {...}}\n</tool_call>'

# Jinja, in the subset that transformers and the ONNX runtimes share. Calls and responses follow Hermes: JSON in tags.
CHAT_TEMPLATE = (
    "{%- set opening = messages[0]['content'] if messages[0]['role'] == 'system' else '' %}"
    "{%- if opening or tools %}"
    "{{- '<|im_start|>system\\n' + opening }}"
    "{%- if tools %}"
    "{%- if opening %}{{- '\\n\\n' }}{%- endif %}"
    f"{{{{- {json.dumps(TOOLS_PREAMBLE)} }}}}"
    "{%- for tool in tools %}"
    "{{- (tool['function'] if tool['function'] is defined else tool) | tojson }}{{- '\\n' }}"
    "{%- endfor %}"
    f"{{{{- {json.dumps(TOOLS_CLOSING)} }}}}"
    "{%- endif %}"
    "{{- '<|im_end|>\\n' }}"
    "{%- endif %}"
    "{%- for message in messages %}"
    "{%- if not (loop.first and message['role'] == 'system') %}"
    "{{- '<|im_start|>' + message['role'] + '\\n' }}"
    "{%- if message['role'] == 'tool' %}"
    "{{- '<tool_response>\\n' + message['content'] + '\\n</tool_response>' }}"
    "{%- else %}"
    "{{- message['content'] or '' }}"
    "{%- for call in message['tool_calls'] or [] %}"
    "{%- if message['content'] or not loop.first %}{{- '\\n' }}{%- endif %}"
    "{{- '<tool_call>\\n{\"name\": \"' + call['function']['name'] + '\", \"arguments\": ' }}"
    "{%- if call['function']['arguments'] is string %}"
    "{{- call['function']['arguments'] }}"
    "{%- else %}{{- call['function']['arguments'] | tojson }}{%- endif %}"
    "{{- '}\\n</tool_call>' }}"
    "{%- endfor %}"
    "{%- endif %}"
    "{{- '<|im_end|>\\n' }}"
    "{%- endif %}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)

_SPECIAL = re.compile("|".join(re.escape(token) for token in SPECIAL_TOKENS))
_CALL = re.compile(r"<tool_call>\s*(.*?)\s*(?:</tool_call>|$)", re.DOTALL)


@dataclass(frozen=True)
class ToolCall:
    """A function the assistant wants called, with its arguments by name."""

    name: str
    arguments: dict[str, Any]


def without_specials(text: str) -> str:
    """The text with every special token taken out, so that nobody's content can forge a turn or a tool's answer."""
    while _SPECIAL.search(text):
        text = _SPECIAL.sub("", text)
    return text


def check_messages(messages: Any) -> str:
    """Why `messages` is no conversation to learn from, or "" when it is: known roles, text, at least one answer."""
    if not isinstance(messages, list) or not messages:
        return "messages must be a non-empty list"
    for position, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            return f"message {position}: role must be one of {', '.join(ROLES)}"
        if message["role"] == "system" and position:
            return f"message {position}: only the first message may be the system's"
        if not isinstance(message.get("content") or "", str):
            return f"message {position}: content must be text"
        if not message.get("content") and not message.get("tool_calls"):
            return f"message {position}: neither content nor tool calls"
        problem = _check_calls(message.get("tool_calls") or [])
        if problem:
            return f"message {position}: {problem}"
    return "" if messages[-1]["role"] == "assistant" else "the last message must be the assistant's"


def _check_calls(calls: Any) -> str:
    if not isinstance(calls, list):
        return "tool_calls must be a list"
    for call in calls:
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            return "a tool call needs function.name"
        if not isinstance(function.get("arguments"), dict | str):
            return "a tool call needs function.arguments, an object or its JSON"
    return ""


def assistant_call(name: str, /, **arguments: Any) -> dict[str, Any]:
    """The assistant's message that calls one tool."""
    return {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"type": "function", "function": {"name": name, "arguments": arguments}}],
    }


def parse_tool_calls(text: str) -> tuple[str, list[ToolCall], list[str]]:
    """Split an answer into what is said, the calls in it, and the blocks that look like calls but are none."""
    calls: list[ToolCall] = []
    broken: list[str] = []
    for block in _CALL.findall(text):
        call = _parse_call(block)
        if call is None:
            broken.append(block)
        else:
            calls.append(call)
    return _CALL.sub("", text).strip(), calls, broken


def _parse_call(block: str) -> ToolCall | None:
    try:
        record = json.loads(block)
        arguments = record["arguments"]
        arguments = json.loads(arguments) if isinstance(arguments, str) else arguments
    except (ValueError, KeyError, TypeError):
        return None
    if not isinstance(record.get("name"), str) or not isinstance(arguments, dict):
        return None
    return ToolCall(record["name"], arguments)


def encode_chat(
    tokenizer: Any, messages: Sequence[dict[str, Any]], tools: Sequence[dict[str, Any]] | None = None
) -> tuple[list[int], list[bool]]:
    """Token ids of a whole conversation and, for each, whether the assistant said it (its closing `<|im_end|>` too)."""
    ids = _encode(tokenizer, messages, tools, add_generation_prompt=False)
    return ids, answer_mask(ids, *answer_marks(tokenizer))


def encode_prompt(
    tokenizer: Any, messages: Sequence[dict[str, Any]], tools: Sequence[dict[str, Any]] | None = None
) -> list[int]:
    """Token ids of a conversation up to where the assistant begins to speak."""
    return _encode(tokenizer, messages, tools, add_generation_prompt=True)


def answer_marks(tokenizer: Any) -> tuple[list[int], int]:
    """The ids that open an assistant's turn, and the id that closes any turn."""
    header = tokenizer.encode(TURN_START + ASSISTANT_HEADER, add_special_tokens=False)
    return header, tokenizer.convert_tokens_to_ids(TURN_END)


def answer_mask(ids: Sequence[int], header: Sequence[int], end: int) -> list[bool]:
    """True for every token after an assistant's header up to and with the end of that turn.

    Special tokens are atomic and never part of anyone's content, so turns can be told from the ids alone.
    """
    mask = [False] * len(ids)
    position = 0
    while position < len(ids):
        if list(ids[position : position + len(header)]) != list(header):
            position += 1
            continue
        position += len(header)
        while position < len(ids):
            mask[position] = True
            position += 1
            if ids[position - 1] == end:
                break
    return mask


def _encode(tokenizer: Any, messages: Iterable[dict[str, Any]], tools: Any, add_generation_prompt: bool) -> list[int]:
    text = tokenizer.apply_chat_template(
        [_plain(message) for message in messages],
        tools=_clean(list(tools)) if tools else None,
        add_generation_prompt=add_generation_prompt,
        tokenize=False,
    )
    return tokenizer.encode(text, add_special_tokens=False)


def _plain(message: dict[str, Any]) -> dict[str, Any]:
    """The message as templates take it; neither its text nor its calls can forge a turn."""
    plain = {**message, "content": without_specials(message.get("content") or "").strip()}
    return plain | ({"tool_calls": _clean(message["tool_calls"])} if message.get("tool_calls") else {})


def _clean(value: Any) -> Any:
    """A JSON value without special tokens in any of its texts and names."""
    if isinstance(value, str):
        return without_specials(value)
    if isinstance(value, dict):
        return {_clean(name): _clean(below) for name, below in value.items()}
    return [_clean(below) for below in value] if isinstance(value, list) else value
