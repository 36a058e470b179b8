"""POST /v1/chat/completions."""

import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from models.engine import Finished, Piece
from tasks.chat import encode_prompt
from tasks.serve import tools
from tasks.serve.answering import Answering
from tasks.serve.errors import as_api_error
from tasks.serve.protocol import ChatRequest
from tasks.serve.service import Service
from tasks.serve.sse import EventStream
from tasks.serve.usage import chat_log_probs, usage


def router(service: Service) -> APIRouter:
    routes = APIRouter()

    @routes.post("/v1/chat/completions", response_model=None)
    async def chat_completions(body: ChatRequest, http: Request) -> Response:
        service.check_model(body.model)
        answering = submit(service, body)
        reply = Reply(service, body)
        if body.stream:
            return EventStream(reply.chunks(answering), answering)
        return JSONResponse(await reply.whole(answering, http))

    return routes


def submit(service: Service, body: ChatRequest) -> Answering:
    """Render the conversation, check the sampling and queue it."""
    try:
        messages = [message.plain() for message in body.messages]
        prompt = encode_prompt(service.tokenizer, messages, tools.shown(body))
        sampling = body.sampling(service.defaults)
    except ValueError as error:
        raise as_api_error(error) from error
    return service.answer(prompt + service.tokenizer.encode(tools.forced_start(body)), sampling)


class Reply:
    """One answer in OpenAI's shape, whole or in chunks."""

    def __init__(self, service: Service, body: ChatRequest):
        self.service, self.body = service, body
        self.id, self.created = f"chatcmpl-{uuid.uuid4().hex}", int(time.time())
        self.splitter = tools.CallSplitter(tools.forced_start(body)) if tools.shown(body) else None

    async def whole(self, answering: Answering, http: Request) -> dict[str, Any]:
        pieces, finished = await answering.whole(http)
        text = "".join(self._said(event.text) for event in (*pieces, finished))
        rest, calls = self._end()
        content = text + rest
        message = {"role": "assistant", "content": content or (None if calls else "")}
        choice = {"index": 0, "message": message | ({"tool_calls": calls} if calls else {})}
        choice |= {"logprobs": self._log_probs(pieces), "finish_reason": _reason(finished, calls)}
        return self._object("chat.completion", [choice]) | {"usage": usage(finished)}

    async def chunks(self, answering: Answering) -> AsyncIterator[dict[str, Any]]:
        """Chunks as the text comes. Tool calls come at the end, each complete in one chunk."""
        yield self._chunk({"role": "assistant", "content": ""})
        async for event in answering:
            said = self._said(event.text)
            log_probs = self._log_probs([event]) if isinstance(event, Piece) else None
            if said or log_probs:
                yield self._chunk({"content": said}, log_probs)
        rest, calls = self._end()
        if rest:
            yield self._chunk({"content": rest})
        for index, call in enumerate(calls):
            yield self._chunk({"tool_calls": [{"index": index} | call]})
        yield self._chunk({}, reason=_reason(event, calls))
        if self.body.stream_options and self.body.stream_options.include_usage:
            yield self._object("chat.completion.chunk", []) | {"usage": usage(event)}

    def _said(self, text: str) -> str:
        return self.splitter.push(text) if self.splitter else text

    def _end(self) -> tuple[str, list[dict[str, Any]]]:
        if self.splitter is None:
            return "", []
        rest, calls, broken = self.splitter.end(None if self.body.parallel_tool_calls else 1)
        self.service.metrics.broken_calls.inc(broken)
        return rest, [tools.as_openai(call) for call in calls]

    def _log_probs(self, pieces: list[Piece]) -> dict[str, Any] | None:
        return chat_log_probs(self.service.tokenizer, pieces) if self.body.logprobs else None

    def _chunk(self, delta: dict[str, Any], log_probs: Any = None, reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": log_probs, "finish_reason": reason}
        return self._object("chat.completion.chunk", [choice])

    def _object(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.body.model, "choices": choices}


def _reason(finished: Finished, calls: list[dict[str, Any]]) -> str:
    return "tool_calls" if calls else "length" if finished.reason == "length" else "stop"
