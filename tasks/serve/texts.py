"""POST /tokenize and POST /v1/embeddings."""

import asyncio
import base64
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from models.engine import Draining
from tasks.chat import encode_prompt
from tasks.serve.errors import ApiError, as_api_error
from tasks.serve.protocol import MAX_MESSAGES, Message
from tasks.serve.service import Service


class TokenizeRequest(BaseModel):
    """A text, or a conversation as the model reads it."""

    model: str | None = None
    prompt: str | None = None
    messages: list[Message] | None = Field(None, min_length=1, max_length=MAX_MESSAGES)


class EmbeddingRequest(BaseModel):
    """Texts, or tokens of texts."""

    model: str
    input: str | list[str] | list[int] | list[list[int]] = Field(min_length=1, max_length=256)
    encoding_format: Literal["float", "base64"] = "float"

    def texts(self) -> Sequence[str | list[int]]:
        if isinstance(self.input, str):
            return [self.input]
        return [self.input] if isinstance(self.input[0], int) else self.input  # type: ignore[list-item,return-value]


def router(service: Service) -> APIRouter:
    routes = APIRouter()

    @routes.post("/tokenize")
    async def tokenize(body: TokenizeRequest) -> dict[str, Any]:
        if body.model is not None:
            service.check_model(body.model)
        if (body.prompt is None) == (body.messages is None):
            raise ApiError(400, "prompt: expected either prompt or messages", "prompt")
        try:
            tokens = _tokens(service, body)
        except ValueError as error:
            raise as_api_error(error) from error
        return {"tokens": tokens, "count": len(tokens), "max_model_len": service.engine.session.length}

    @routes.post("/v1/embeddings")
    async def embeddings(body: EmbeddingRequest, http: Request) -> dict[str, Any]:
        """The mean of the model's last hidden states over each text, of length one."""
        service.check_model(body.model)
        texts = [service.tokenizer.encode(text) if isinstance(text, str) else text for text in body.texts()]
        _check(texts, service)
        read = sum(map(len, texts))
        http.state.account.spend(read)
        vectors = await _embed(service, texts)
        data = [_embedding(number, vector, body.encoding_format) for number, vector in enumerate(vectors)]
        usage = {"prompt_tokens": read, "total_tokens": read}
        return {"object": "list", "data": data, "model": body.model, "usage": usage}

    return routes


def _tokens(service: Service, body: TokenizeRequest) -> list[int]:
    if body.messages is None:
        return service.tokenizer.encode(body.prompt or "")
    return encode_prompt(service.tokenizer, [message.plain() for message in body.messages])


def _check(texts: Sequence[list[int]], service: Service) -> None:
    session = service.engine.session
    for number, tokens in enumerate(texts):
        if not 0 < len(tokens) <= session.length:
            message = f"input: text {number} has {len(tokens)} tokens; expected 1 to {session.length}"
            raise ApiError(400, message, "input", "context_length_exceeded")
        if not all(0 <= token < session.vocab_size for token in tokens):
            raise ApiError(400, f"input: a token id is out of range; expected 0 to {session.vocab_size - 1}", "input")


async def _embed(service: Service, texts: Sequence[list[int]]) -> list[np.ndarray]:
    try:
        waiting = [asyncio.wrap_future(service.engine.embed(tokens)) for tokens in texts]
        async with asyncio.timeout(service.settings.timeout_s):
            return [vector / np.linalg.norm(vector) for vector in await asyncio.gather(*waiting)]
    except TimeoutError:
        raise ApiError(504, "the request took longer than this server allows", code="timeout") from None
    except Draining as error:
        raise as_api_error(error) from error


def _embedding(number: int, vector: np.ndarray, form: str) -> dict[str, Any]:
    encoded = base64.b64encode(vector.astype("<f4").tobytes()).decode() if form == "base64" else vector.tolist()
    return {"object": "embedding", "index": number, "embedding": encoded}
