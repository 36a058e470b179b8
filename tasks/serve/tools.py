"""Tools in a chat: what the model is shown, and how it is made to call."""

import json
from typing import Any

from tasks.serve.calls import OPENING
from tasks.serve.protocol import ChatRequest, NamedTool


def shown(chat: ChatRequest) -> list[dict[str, Any]] | None:
    """The tools that the prompt lists: none when the model must not call any."""
    if not chat.tools or chat.tool_choice == "none":
        return None
    return [{"type": tool.type, "function": tool.function.plain()} for tool in chat.tools]


def forced_start(chat: ChatRequest) -> str:
    """What the answer is made to begin with, so that it is a call; "" when the model is free to choose.

    It ends where a word begins, so that the model reads the same tokens as in training.
    """
    if chat.tool_choice == "required":
        return f'{OPENING}\n{{"name": "'
    if isinstance(chat.tool_choice, NamedTool):
        return f'{OPENING}\n{{"name": {json.dumps(chat.tool_choice.function.name)}, "arguments":'
    return ""
