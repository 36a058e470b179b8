"""POST /v1/completions."""

import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from models.engine import Finished, Piece, Sampling
from tasks.serve.accounts import Account
from tasks.serve.answering import Answers
from tasks.serve.protocol import CompletionRequest
from tasks.serve.service import Model, Service
from tasks.serve.shapes import Completion, streamed
from tasks.serve.sse import EventStream
from tasks.serve.usage import completion_log_probs, usage


def router(service: Service) -> APIRouter:
    routes = APIRouter()

    @routes.post("/v1/completions", response_model=None, responses=streamed(Completion))
    async def completions(body: CompletionRequest, http: Request) -> Response:
        async with service.using() as model:
            answers = await submit(model, body, http.state.account)
        if body.stream:
            return EventStream(_chunks(model, body, answers), answers)
        wholes = await answers.wholes(http)
        choices = []
        for index, (pieces, finished) in enumerate(wholes):
            text = "".join(event.text for event in (*pieces, finished))
            choices.append(_choice(model, body, index, text, pieces, finished.reason))
        return JSONResponse(_object(body, _new_id(), choices) | {"usage": usage([end for _, end in wholes])})

    return routes


async def submit(model: Model, body: CompletionRequest, account: Account) -> Answers:
    """Encode the text (special tokens in it count as such: this is the raw endpoint) and queue it."""

    def read() -> tuple[list[int], Sampling]:
        if isinstance(body.prompt, str):
            model.check_size(body.prompt)
            prompt = model.tokenizer.encode(body.prompt)
        else:
            prompt = body.prompt
            model.check_tokens(prompt, "prompt")
        return prompt, body.sampling(model.defaults)

    return await model.answers(read, account, body.model, body.n or 1, "prompt")


async def _chunks(model: Model, body: CompletionRequest, answers: Answers) -> AsyncIterator[dict[str, Any]]:
    number, ends = _new_id(), []
    async for index, event in answers:
        done = None if isinstance(event, Piece) else event.reason
        if event.text or done or body.logprobs is not None:
            pieces = [event] if isinstance(event, Piece) else []
            yield _object(body, number, [_choice(model, body, index, event.text, pieces, done)])
        if isinstance(event, Finished):
            ends.append(event)
    if body.stream_options and body.stream_options.include_usage:
        yield _object(body, number, []) | {"usage": usage(ends)}


def _choice(
    model: Model, body: CompletionRequest, index: int, text: str, pieces: list[Piece], reason: str | None
) -> dict[str, Any]:
    log_probs = None if body.logprobs is None else completion_log_probs(model.tokenizer, pieces)
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
