"""POST /v1/chat/completions."""

import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from models.engine import Finished, Piece, Sampling
from tasks.chat import encode_prompt
from tasks.serve import tools
from tasks.serve.accounts import Account
from tasks.serve.answering import Answers
from tasks.serve.calls import Call, CallArguments, CallBegun, CallSplitter, Event, Words
from tasks.serve.protocol import ChatRequest
from tasks.serve.service import Model, Service
from tasks.serve.shapes import ChatCompletion, streamed
from tasks.serve.sse import EventStream
from tasks.serve.usage import chat_log_probs, usage


def router(service: Service) -> APIRouter:
    routes = APIRouter()

    @routes.post("/v1/chat/completions", response_model=None, responses=streamed(ChatCompletion))
    async def chat_completions(body: ChatRequest, http: Request) -> Response:
        async with service.using() as model:
            answers = await submit(model, body, http.state.account, "messages")
        reply = Reply(model, body)
        if body.stream:
            return EventStream(reply.chunks(answers), answers)
        return JSONResponse(await reply.whole(answers, http))

    return routes


async def submit(model: Model, body: ChatRequest, account: Account, param: str) -> Answers:
    """Render the conversation, check the sampling and queue it; `param` is the conversation's field."""

    def read() -> tuple[list[int], Sampling]:
        messages = [message.plain() for message in body.messages]
        model.check_size(*(message["content"] for message in messages))
        prompt = encode_prompt(model.tokenizer, messages, tools.shown(body))
        return prompt + model.tokenizer.encode(tools.forced_start(body)), body.sampling(model.defaults)

    return await model.answers(read, account, body.model, body.n or 1, param)


class Reply:
    """The answers to one request in OpenAI's shape, whole or in chunks."""

    def __init__(self, model: Model, body: ChatRequest):
        self.model, self.body = model, body
        self.id, self.created = f"chatcmpl-{uuid.uuid4().hex}", int(time.time())
        self.said = [Said(model, body) for _ in range(body.n or 1)]

    async def whole(self, answers: Answers, http: Request) -> dict[str, Any]:
        wholes = await answers.wholes(http)
        choices = [self._choice(index, pieces, finished) for index, (pieces, finished) in enumerate(wholes)]
        return self._object("chat.completion", choices) | {"usage": usage([finished for _, finished in wholes])}

    def _choice(self, index: int, pieces: list[Piece], finished: Finished) -> dict[str, Any]:
        said = self.said[index]
        content, calls = said.whole("".join(event.text for event in (*pieces, finished)))
        message: dict[str, Any] = {"role": "assistant", "content": content or (None if calls else "")}
        if calls:
            message["tool_calls"] = [_call(call) for call in calls]
        choice = {"index": index, "message": message, "logprobs": self._log_probs(pieces)}
        return choice | {"finish_reason": _reason(finished, calls)}

    async def chunks(self, answers: Answers) -> AsyncIterator[dict[str, Any]]:
        """Chunks as the text comes, and calls: first the name, then the arguments piece by piece."""
        for index in range(len(self.said)):
            yield self._chunk(index, {"role": "assistant", "content": ""})
        ends = []
        async for index, event in answers:
            said = self.said[index]
            deltas = [_delta(part) for part in said.push(event.text)]
            log_probs = self._log_probs([event]) if isinstance(event, Piece) else None
            for delta in deltas or ([{"content": ""}] if log_probs else []):
                yield self._chunk(index, delta, log_probs)
                log_probs = None
            if isinstance(event, Finished):
                ends.append(event)
                for part in said.end():
                    yield self._chunk(index, _delta(part))
                yield self._chunk(index, {}, reason=_reason(event, said.calls))
        if self.body.stream_options and self.body.stream_options.include_usage:
            yield self._object("chat.completion.chunk", []) | {"usage": usage(ends)}

    def _log_probs(self, pieces: list[Piece]) -> dict[str, Any] | None:
        return chat_log_probs(self.model.tokenizer, pieces) if self.body.logprobs else None

    def _chunk(
        self, index: int, delta: dict[str, Any], log_probs: Any = None, reason: str | None = None
    ) -> dict[str, Any]:
        choice = {"index": index, "delta": delta, "logprobs": log_probs, "finish_reason": reason}
        return self._object("chat.completion.chunk", [choice])

    def _object(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.body.model, "choices": choices}


class Said:
    """One answer on its way: its words, and its calls when the model was shown tools."""

    def __init__(self, model: Model, body: ChatRequest):
        self._metrics, most = model.metrics, 1 if body.parallel_tool_calls is False else None
        self._splitter = CallSplitter(tools.forced_start(body), most) if tools.shown(body) else None

    @property
    def calls(self) -> list[Call]:
        """The good calls so far."""
        return self._splitter.calls if self._splitter else []

    def push(self, text: str) -> list[Event]:
        if self._splitter is None:
            return [Words(text)] if text else []
        return self._splitter.push(text)

    def end(self) -> list[Event]:
        if self._splitter is None:
            return []
        left = self._splitter.end()
        self._metrics.broken_calls.inc(self._splitter.broken)
        return left

    def whole(self, text: str) -> tuple[str, list[Call]]:
        """An answer that is all there: what is said, and the calls."""
        said = "".join(event.text for event in self.push(text) + self.end() if isinstance(event, Words))
        return said, self.calls


def _delta(event: Event) -> dict[str, Any]:
    match event:
        case Words(text):
            return {"content": text}
        case CallBegun(number, call, name):
            function = {"name": name, "arguments": ""}
            return {"tool_calls": [{"index": number, "id": call, "type": "function", "function": function}]}
        case CallArguments(number, text):
            return {"tool_calls": [{"index": number, "function": {"arguments": text}}]}


def _call(call: Call) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _reason(finished: Finished, calls: list[Call]) -> str:
    return "tool_calls" if calls else "length" if finished.reason == "length" else "stop"
