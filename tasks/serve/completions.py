"""POST /v1/completions."""

import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from models.engine import Finished, Piece
from tasks.serve.accounts import Account
from tasks.serve.answering import Answers
from tasks.serve.errors import ApiError, as_api_error
from tasks.serve.protocol import CompletionRequest
from tasks.serve.service import Service
from tasks.serve.sse import EventStream
from tasks.serve.usage import completion_log_probs, usage


def router(service: Service) -> APIRouter:
    routes = APIRouter()

    @routes.post("/v1/completions", response_model=None)
    async def completions(body: CompletionRequest, http: Request) -> Response:
        service.check_model(body.model)
        answers = submit(service, body, http.state.account)
        if body.stream:
            return EventStream(_chunks(service, body, answers), answers)
        wholes = await answers.wholes(http)
        choices = []
        for index, (pieces, finished) in enumerate(wholes):
            text = "".join(event.text for event in (*pieces, finished))
            choices.append(_choice(service, body, index, text, pieces, finished.reason))
        return JSONResponse(_object(body, _new_id(), choices) | {"usage": usage([end for _, end in wholes])})

    return routes


def submit(service: Service, body: CompletionRequest, account: Account) -> Answers:
    """Encode the text (special tokens in it count as such: this is the raw endpoint) and queue it."""
    prompt = service.tokenizer.encode(body.prompt) if isinstance(body.prompt, str) else body.prompt
    size = service.engine.session.vocab_size
    if not all(0 <= token < size for token in prompt):
        raise ApiError(400, f"prompt: a token id is out of range; expected 0 to {size - 1}", "prompt")
    try:
        sampling = body.sampling(service.defaults)
    except ValueError as error:
        raise as_api_error(error) from error
    return service.answers(prompt, sampling, account, body.n or 1)


async def _chunks(service: Service, body: CompletionRequest, answers: Answers) -> AsyncIterator[dict[str, Any]]:
    number, ends = _new_id(), []
    async for index, event in answers:
        done = None if isinstance(event, Piece) else event.reason
        if event.text or done or body.logprobs is not None:
            pieces = [event] if isinstance(event, Piece) else []
            yield _object(body, number, [_choice(service, body, index, event.text, pieces, done)])
        if isinstance(event, Finished):
            ends.append(event)
    if body.stream_options and body.stream_options.include_usage:
        yield _object(body, number, []) | {"usage": usage(ends)}


def _choice(
    service: Service, body: CompletionRequest, index: int, text: str, pieces: list[Piece], reason: str | None
) -> dict[str, Any]:
    log_probs = None if body.logprobs is None else completion_log_probs(service.tokenizer, pieces)
    return {"index": index, "text": text, "logprobs": log_probs, "finish_reason": reason}


def _object(body: CompletionRequest, number: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": number,
        "object": "text_completion",
        "created": int(time.time()),
        "model": body.model,
        "choices": choices,
    }


def _new_id() -> str:
    return f"cmpl-{uuid.uuid4().hex}"
