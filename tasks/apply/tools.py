"""What an agent can call: a JSON schema for the model, a function for us, and nothing between that can break."""

import json
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from jsonschema import Draft202012Validator


class ToolError(Exception):
    """What the model is told instead of a result, so that it can try again."""


@dataclass(frozen=True)
class Tool:
    """A function with its description in OpenAI's form."""

    schema: dict[str, Any]
    function: Callable[..., dict[str, Any]]

    @property
    def name(self) -> str:
        return self.schema["function"]["name"]


class Toolbox:
    """Tools by name. Arguments are checked against the schema, results are JSON, and a call ends after `timeout_s`."""

    def __init__(self, tools: Sequence[Tool], timeout_s: float = 10.0):
        self._tools = {tool.name: tool for tool in tools}
        self._timeout_s = timeout_s

    @property
    def schemas(self) -> list[dict[str, Any]]:
        return [tool.schema for tool in self._tools.values()]

    def check(self, name: str, arguments: str) -> dict[str, Any]:
        """The arguments of a call. Raises ToolError that says what is wrong with them."""
        if name not in self._tools:
            raise ToolError(f"there is no tool {name!r}; there are {', '.join(self._tools)}")
        try:
            values = json.loads(arguments)
        except json.JSONDecodeError as error:
            raise ToolError(f"the arguments are no JSON: {error}") from error
        parameters = {"additionalProperties": False} | self._tools[name].schema["function"]["parameters"]
        problems = [error.message for error in Draft202012Validator(parameters).iter_errors(values)]
        if problems:
            raise ToolError("; ".join(problems))
        return values

    def call(self, name: str, arguments: str) -> dict[str, Any]:
        """Check and run a call. Raises ToolError for bad arguments, a failing function, or one that takes too long."""
        values = self.check(name, arguments)
        done: queue.SimpleQueue[Callable[[], dict[str, Any]]] = queue.SimpleQueue()

        def run() -> None:
            try:
                result = self._tools[name].function(**values)
            except Exception as error:
                failure = ToolError(f"{name} failed: {type(error).__name__}: {error}")
                done.put(lambda: _raise(failure))
            else:
                done.put(lambda: result)

        # A daemon thread: a function that hangs holds up neither the agent nor the end of the process.
        threading.Thread(target=run, name=name, daemon=True).start()
        try:
            return done.get(timeout=self._timeout_s)()
        except queue.Empty:
            raise ToolError(f"{name} took longer than {self._timeout_s:g} s") from None


def _raise(error: Exception) -> dict[str, Any]:
    raise error
