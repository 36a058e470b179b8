"""POST /tokenize and POST /v1/embeddings."""

import asyncio
import base64
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from tasks.chat import encode_prompt
from tasks.serve import shapes
from tasks.serve.errors import ApiError, as_api_error
from tasks.serve.protocol import MAX_MESSAGES, Message
from tasks.serve.service import Model, Service

MAX_TEXTS = 256


class TokenizeRequest(BaseModel):
    """A text, or a conversation as the model reads it."""

    model: str | None = None
    prompt: str | None = None
    messages: list[Message] | None = Field(None, min_length=1, max_length=MAX_MESSAGES)

    def tokens(self, model: Model) -> list[int]:
        if self.messages is None:
            return model.tokenizer.encode(self.prompt or "")
        return encode_prompt(model.tokenizer, [message.plain() for message in self.messages])


class EmbeddingRequest(BaseModel):
    """Texts, or tokens of texts."""

    model: str
    input: (
        Annotated[str | list[int], Field(min_length=1)]
        | Annotated[list[str] | list[list[int]], Field(min_length=1, max_length=MAX_TEXTS)]
    )
    encoding_format: Literal["float", "base64"] | None = None

    def tokens(self, model: Model) -> list[list[int]]:
        """The texts' tokens. Raises ApiError for one that is empty or too long."""
        texts = [self.input] if isinstance(self.input, str) or isinstance(self.input[0], int) else self.input
        return [_encoded(model, number, text) for number, text in enumerate(texts)]  # type: ignore[arg-type]


def router(service: Service) -> APIRouter:
    routes = APIRouter()

    @routes.post("/tokenize", responses={200: {"model": shapes.Tokens}})
    async def tokenize(body: TokenizeRequest) -> dict[str, Any]:
        async with service.using() as model:
            if body.model is not None:
                model.adapter(body.model)
            if (body.prompt is None) == (body.messages is None):
                raise ApiError(400, "prompt: expected either prompt or messages", "prompt")
            try:
                tokens = await asyncio.to_thread(body.tokens, model)
            except ValueError as error:
                raise as_api_error(error, "messages") from error
            return {"tokens": tokens, "count": len(tokens), "max_model_len": model.engine.session.length}

    @routes.post("/v1/embeddings", responses={200: {"model": shapes.Embeddings}})
    async def embeddings(body: EmbeddingRequest, http: Request) -> dict[str, Any]:
        """The mean of the model's last hidden states over each text, of length one."""
        async with service.using() as model:
            read = lambda: body.tokens(model)  # noqa: E731
            answers = await model.embeddings(read, http.state.account, body.model, "input")
            ((_, finished),) = await answers.wholes(http)
        data = [_embedding(number, vector, body.encoding_format) for number, vector in enumerate(finished.vectors)]
        usage = {"prompt_tokens": finished.prompt_tokens, "total_tokens": finished.prompt_tokens}
        return {"object": "list", "data": data, "model": body.model, "usage": usage}

    return routes


def _encoded(model: Model, number: int, text: str | list[int]) -> list[int]:
    if isinstance(text, str):
        model.check_size(text)
        tokens = model.tokenizer.encode(text)
    else:
        tokens = text
        model.check_tokens(tokens, "input")
    most = model.engine.scheduler.length
    if not 0 < len(tokens) <= most:
        message = f"input: text {number} has {len(tokens)} tokens; expected 1 to {most}"
        raise ApiError(400, message, "input", "context_length_exceeded")
    return tokens


def _embedding(number: int, vector: np.ndarray, form: str | None) -> dict[str, Any]:
    vector = vector / np.linalg.norm(vector)
    encoded = base64.b64encode(vector.astype("<f4").tobytes()).decode() if form == "base64" else vector.tolist()
    return {"object": "embedding", "index": number, "embedding": encoded}
