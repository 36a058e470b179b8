"""The requests of OpenAI's API, as far as this server answers them.

Unknown fields are ignored, as clients send ever new ones; known ones that would change the answer and are not supported
are refused by name.
"""

import json
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from models.engine import Grammar, Sampling, grammar

MAX_STOPS = 16
MAX_CHOICES = 16
MAX_GRAMMAR = 65_536
MAX_MESSAGES = 1024
MAX_TOOLS = 128
MAX_DEPTH = 100  # objects and lists in each other: functions that call themselves read and write them
IMAGES = frozenset({"image_url", "input_image", "image"})  # types of a message's parts

Penalty = Annotated[float, Field(ge=-2, le=2)]


def _shallow(value: dict[str, Any]) -> dict[str, Any]:
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        level = [below for one in level for below in _parts(one) if isinstance(below, dict | list)]
        if not level:
            return value
    raise ValueError(f"more than {MAX_DEPTH} objects and lists in each other; expected a flatter one")


def _parts(value: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


Shallow = Annotated[dict[str, Any], AfterValidator(_shallow)]  # any JSON object that is not nested too deep


class _Request(BaseModel):
    model_config = ConfigDict(allow_inf_nan=False)


class TextPart(_Request):
    type: Literal["text"]
    text: str


class FunctionCall(_Request):
    name: str = Field(min_length=1)
    arguments: str = "{}"


class AssistantCall(_Request):
    id: str = ""
    type: Literal["function"] = "function"
    function: FunctionCall

    def plain(self) -> dict[str, Any]:
        """The call as chat templates take it."""
        return {"type": "function", "function": self.function.model_dump()}


class Message(_Request):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart] | None = None
    tool_calls: list[AssistantCall] | None = None
    tool_call_id: str | None = None

    @field_validator("content", mode="before")
    @classmethod
    def _no_images(cls, content: Any) -> Any:
        """The chain's models read text alone."""
        kinds = (
            {str(part.get("type")) for part in content if isinstance(part, dict)} if isinstance(content, list) else ()
        )
        if images := sorted(IMAGES.intersection(kinds)):
            words = "{kind}: this model has no image input; send text parts only"
            raise PydanticCustomError("image_input_not_supported", words, {"kind": ", ".join(images)})
        return content

    @model_validator(mode="after")
    def _says_something(self) -> "Message":
        if self.content is None and not (self.role == "assistant" and self.tool_calls):
            raise ValueError(f"content: missing in a message of role {self.role}")
        return self

    def plain(self) -> dict[str, Any]:
        """The message as chat templates take it."""
        content = self.content or ""
        text = content if isinstance(content, str) else "".join(part.text for part in content)
        role = "system" if self.role == "developer" else self.role
        calls = [call.plain() for call in self.tool_calls or []]
        return {"role": role, "content": text} | ({"tool_calls": calls} if calls else {})


class Function(_Request):
    name: str = Field(min_length=1, max_length=64, pattern=r"^[a-zA-Z0-9_.-]+$")
    description: str | None = None
    parameters: Shallow | None = None

    @field_validator("parameters")
    @classmethod
    def _an_object(cls, parameters: dict[str, Any] | None) -> dict[str, Any] | None:
        if (parameters or {}).get("type", "object") != "object":
            raise ValueError("expected a schema of type object: arguments have names")
        return parameters

    def plain(self) -> dict[str, Any]:
        """The function as chat templates take it."""
        return {"name": self.name, "description": self.description or "", "parameters": self.schema_of_arguments()}

    def schema_of_arguments(self) -> dict[str, Any]:
        """What a call's arguments must match: always an object, as anything else is no call."""
        if not self.parameters:
            return {"type": "object", "properties": {}}
        return self.parameters if "type" in self.parameters else {"type": "object"} | self.parameters


class Tool(_Request):
    type: Literal["function"]
    function: Function


class NamedFunction(_Request):
    name: str


class NamedTool(_Request):
    type: Literal["function"]
    function: NamedFunction


class StreamOptions(_Request):
    include_usage: bool | None = None


class Structure(_Request):
    """What an answer must match, one of: a JSON schema, a regular expression, some options, a Lark grammar."""

    json_schema: Shallow | None = Field(None, alias="json")
    regex: str | None = Field(None, min_length=1, max_length=MAX_GRAMMAR)
    choice: list[str] | None = Field(None, min_length=1, max_length=1024)
    grammar: str | None = Field(None, min_length=1, max_length=MAX_GRAMMAR)

    @model_validator(mode="after")
    def _only_one(self) -> "Structure":
        asked = (self.json_schema, self.regex, self.choice, self.grammar)
        if sum(one is not None for one in asked) != 1:
            raise ValueError("expected exactly one of json, regex, choice and grammar")
        return self

    def compiled(self) -> Grammar:
        if self.json_schema is not None:
            return grammar.json_schema(self.json_schema)
        if self.regex is not None:
            return grammar.regex(self.regex)
        return grammar.choice(self.choice) if self.choice else grammar.lark(self.grammar or "")


class SchemaFormat(_Request):
    name: str = ""
    json_schema: Shallow = Field(alias="schema")


class ResponseFormat(_Request):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: SchemaFormat | None = None

    @model_validator(mode="after")
    def _has_schema(self) -> "ResponseFormat":
        if self.type == "json_schema" and self.json_schema is None:
            raise ValueError("json_schema: missing in a response format of that type")
        return self

    def compiled(self) -> Grammar | None:
        if self.type == "text":
            return None
        return grammar.json_schema(self.json_schema.json_schema if self.json_schema else {"type": "object"})


class Generation(_Request):
    """What chats and completions have in common."""

    model: str
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=0)
    min_p: float | None = Field(None, ge=0, le=1)
    repetition_penalty: float | None = Field(None, ge=0.01, le=10)
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    seed: int | None = Field(None, ge=0)
    stop: str | list[str] | None = None
    n: int | None = Field(None, ge=1, le=MAX_CHOICES)
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = Field(None, max_length=1024)
    ignore_eos: bool | None = None
    structured_outputs: Structure | None = None

    @field_validator("stop")
    @classmethod
    def _few_stops(cls, stop: str | list[str] | None) -> str | list[str] | None:
        if isinstance(stop, list) and len(stop) > MAX_STOPS:
            raise ValueError(f"{len(stop)} stop strings; at most {MAX_STOPS} are allowed")
        return stop

    @field_validator("logit_bias")
    @classmethod
    def _token_ids(cls, bias: dict[str, float] | None) -> dict[str, float] | None:
        if bias and not all(token.isdecimal() and len(token) < 10 for token in bias):
            raise ValueError('keys must be token ids, such as {"50256": -100}')
        return bias

    def limit(self) -> int | None:
        """Answer tokens at most; None when the client sets no limit."""
        return self.max_tokens

    def alternatives(self) -> int | None:
        """Alternatives to report per token; None when no log-probabilities are asked for."""
        raise NotImplementedError

    def grammar(self) -> Grammar | None:
        """What the answer must match. Raises ValueError when nothing can."""
        return self.structured_outputs.compiled() if self.structured_outputs else None

    def sampling(self, defaults: dict[str, Any]) -> Sampling:
        """The request's sampling over the model's defaults. Raises ValueError naming a field out of range."""
        names = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "frequency_penalty")
        names += ("presence_penalty", "seed")
        asked = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        stop = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        fixed = {"stop": stop, "max_tokens": self.limit() or 0, "log_probs": self.alternatives()}
        wanted = self.grammar()
        if wanted and len(wanted.source) > MAX_GRAMMAR:
            raise ValueError(f"grammar: {len(wanted.source)} characters, schemas included; at most {MAX_GRAMMAR}")
        fixed |= {"ignore_end": bool(self.ignore_eos), "grammar": wanted}
        fixed["logit_bias"] = {int(token): bias for token, bias in (self.logit_bias or {}).items()}
        return Sampling(**(defaults | asked | fixed))


class ChatRequest(Generation):
    messages: list[Message] = Field(min_length=1, max_length=MAX_MESSAGES)
    max_completion_tokens: int | None = Field(None, ge=1)
    tools: list[Tool] | None = Field(None, max_length=MAX_TOOLS)
    tool_choice: Literal["auto", "none", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    response_format: ResponseFormat | None = None

    @model_validator(mode="after")
    def _known_choice(self) -> "ChatRequest":
        names = [tool.function.name for tool in self.tools or []]
        if self.tool_choice == "required" and not names:
            raise ValueError("tool_choice: required, but there are no tools")
        if isinstance(self.tool_choice, NamedTool) and self.tool_choice.function.name not in names:
            raise ValueError(f"tool_choice: no tool named {self.tool_choice.function.name!r}; there are {names}")
        return self

    def limit(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens

    def alternatives(self) -> int | None:
        return (self.top_logprobs or 0) if self.logprobs else None

    def grammar(self) -> Grammar | None:
        if (calls := self._call_grammar()) is not None:
            return calls
        asked = self.response_format.compiled() if self.response_format else None
        return asked or super().grammar()

    def _call_grammar(self) -> Grammar | None:
        """How a call goes on after the start that the answer is given (tools.forced_start), when it must be one."""
        if self.tool_choice in (None, "auto", "none"):
            return None
        named = self.tool_choice.function.name if isinstance(self.tool_choice, NamedTool) else None
        rules, starts = [], []
        for number, function in enumerate(tool.function for tool in self.tools or []):
            if named in (None, function.name):
                start = json.dumps(f'{function.name}", "arguments": ') if named is None else '" "?'
                starts.append(f'{start} call{number} "}}"')
                rules.append(f"call{number}: %json {json.dumps(function.schema_of_arguments())}")
        return grammar.lark("\n".join([f"start: {' | '.join(starts)}", *rules]))


class CompletionRequest(Generation):
    prompt: str | list[int] = Field(min_length=1)
    echo: Literal[False] | None = None
    logprobs: int | None = Field(None, ge=0, le=5)

    def alternatives(self) -> int | None:
        return self.logprobs
