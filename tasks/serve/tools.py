"""Tools in a chat: what the model is shown, how it is made to call, and its calls in OpenAI's shape."""

import json
import uuid
from typing import Any

from models.engine.text import overlap
from tasks.chat import ToolCall, parse_tool_calls
from tasks.serve.protocol import ChatRequest, NamedTool

OPENING = "<tool_call>"


def shown(chat: ChatRequest) -> list[dict[str, Any]] | None:
    """The tools that the prompt lists: none when the model must not call any."""
    if not chat.tools or chat.tool_choice == "none":
        return None
    return [tool.model_dump() for tool in chat.tools]


def forced_start(chat: ChatRequest) -> str:
    """What the answer is made to begin with, so that it is a call; "" when the model is free to choose.

    It ends where a word begins, so that the model reads the same tokens as in training.
    """
    if chat.tool_choice == "required":
        return f'{OPENING}\n{{"name": "'
    if isinstance(chat.tool_choice, NamedTool):
        return f'{OPENING}\n{{"name": {json.dumps(chat.tool_choice.function.name)}, "arguments":'
    return ""


class CallSplitter:
    """Lets an answer's text through until a tool call may have begun, and keeps the rest for the end."""

    def __init__(self, start: str = ""):
        self.text, self._shown = start, 0

    def push(self, text: str) -> str:
        """The part of the text so far that is certainly said, not called."""
        self.text += text
        end = self.text.find(OPENING)
        if end < 0:
            end = len(self.text) - overlap(self.text, OPENING)
        shown, self._shown = self.text[self._shown : end], max(self._shown, end)
        return shown

    def end(self, at_most: int | None) -> tuple[str, list[ToolCall], int]:
        """What remains to be said, the calls, and how many blocks look like calls but are none.

        What follows a call is dropped, as the tool answers next. Without any valid call the whole text is said as it
        is, so that the client can see what went wrong.
        """
        _, calls, broken = parse_tool_calls(self.text)
        if not calls:
            return self.text[self._shown :], [], len(broken)
        return "", calls[:at_most], len(broken)


def as_openai(call: ToolCall) -> dict[str, Any]:
    arguments = json.dumps(call.arguments, ensure_ascii=False)
    return {
        "id": f"call_{uuid.uuid4().hex[:24]}",
        "type": "function",
        "function": {"name": call.name, "arguments": arguments},
    }
