"""An agent: a model that may call tools before it answers, over OpenAI's protocol."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tasks.apply.tools import Toolbox, ToolError

if TYPE_CHECKING:
    from openai import OpenAI


@dataclass
class Step:
    """One call of a tool: what was asked, what came back, and whether the call was sound."""

    name: str
    arguments: str
    result: str
    valid: bool


@dataclass
class Run:
    """What an agent did: its steps, its answer, and how it ended ("answered" or "step limit")."""

    messages: list[dict[str, Any]]
    steps: list[Step] = field(default_factory=list)
    answer: str = ""
    ended: str = "step limit"


def run_agent(
    client: "OpenAI",
    model: str,
    messages: list[dict[str, Any]],
    toolbox: Toolbox,
    max_steps: int = 4,
    watch: Callable[[Step], None] = lambda _: None,
    **sampling: Any,
) -> Run:
    """Let the model call tools until it answers, at most `max_steps` rounds. `watch` hears of each call as it is done.

    What is wrong with a call goes back to the model as its result. Raises what the client raises.
    """
    run = Run(list(messages))
    for _ in range(max_steps):
        reply = client.chat.completions.create(model=model, messages=run.messages, tools=toolbox.schemas, **sampling)
        message = reply.choices[0].message
        calls = message.tool_calls or []
        run.messages.append(_said(message.content, calls))
        if not calls:
            run.answer, run.ended = message.content or "", "answered"
            return run
        for call in calls:
            step = _take(toolbox, call.function.name, call.function.arguments)
            run.steps.append(step)
            run.messages.append({"role": "tool", "tool_call_id": call.id, "content": step.result})
            watch(step)
    return run


def _take(toolbox: Toolbox, name: str, arguments: str) -> Step:
    try:
        result, valid = toolbox.call(name, arguments), True
    except ToolError as error:
        result, valid = {"error": str(error)}, False
    return Step(name, arguments, json.dumps(result, ensure_ascii=False), valid)


def _said(content: str | None, calls: list[Any]) -> dict[str, Any]:
    """The assistant's message as the next request repeats it."""
    message: dict[str, Any] = {"role": "assistant", "content": content or ""}
    if calls:
        message["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.function.name, "arguments": call.function.arguments},
            }
            for call in calls
        ]
    return message
