"""The answers of OpenAI's API as the OpenAPI document describes them; fields that only sometimes come are optional."""

from typing import Any, Literal

from pydantic import BaseModel


class ErrorFacts(BaseModel):
    message: str
    type: str
    param: str | None
    code: str | None


class Error(BaseModel):
    """Whatever goes wrong is answered so."""

    error: ErrorFacts


class Model(BaseModel):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    max_model_len: int


class Models(BaseModel):
    object: Literal["list"]
    data: list[Model]


class Health(BaseModel):
    status: Literal["ok", "draining"]
    running: int
    waiting: int


class Tokens(BaseModel):
    tokens: list[int]
    count: int
    max_model_len: int


class PromptUsage(BaseModel):
    prompt_tokens: int
    total_tokens: int


class Usage(PromptUsage):
    completion_tokens: int
    prompt_tokens_details: dict[str, int]


class Embedding(BaseModel):
    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class Embeddings(BaseModel):
    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: PromptUsage


class FunctionFacts(BaseModel):
    name: str
    arguments: str


class ToolCall(BaseModel):
    id: str
    type: Literal["function"]
    function: FunctionFacts


class AssistantMessage(BaseModel):
    role: Literal["assistant"]
    content: str | None
    tool_calls: list[ToolCall] | None = None


class ChatChoice(BaseModel):
    index: int
    message: AssistantMessage
    logprobs: dict[str, Any] | None
    finish_reason: Literal["stop", "length", "tool_calls"]


class TextChoice(BaseModel):
    index: int
    text: str
    logprobs: dict[str, Any] | None
    finish_reason: Literal["stop", "length"]


class _Answer(BaseModel):
    id: str
    created: int
    model: str
    usage: Usage


class ChatCompletion(_Answer):
    object: Literal["chat.completion"]
    choices: list[ChatChoice]


class Completion(_Answer):
    object: Literal["text_completion"]
    choices: list[TextChoice]


class Response(BaseModel):
    id: str
    object: Literal["response"]
    created_at: float
    model: str
    status: Literal["in_progress", "completed", "incomplete"]
    output: list[dict[str, Any]]
    usage: dict[str, Any] | None


def streamed(answer: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """What an endpoint answers that can also stream."""
    event = {"type": "object", "required": ["data"]}
    return {200: {"model": answer, "content": {"text/event-stream": {"schema": event}}}}
