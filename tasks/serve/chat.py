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
from tasks.serve.accounts import Account
from tasks.serve.answering import Answers
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
        answers = submit(service, body, http.state.account)
        reply = Reply(service, body)
        if body.stream:
            return EventStream(reply.chunks(answers), answers)
        return JSONResponse(await reply.whole(answers, http))

    return routes


def submit(service: Service, body: ChatRequest, account: Account) -> Answers:
    """Render the conversation, check the sampling and queue it."""
    try:
        messages = [message.plain() for message in body.messages]
        prompt = encode_prompt(service.tokenizer, messages, tools.shown(body))
        sampling = body.sampling(service.defaults)
    except ValueError as error:
        raise as_api_error(error) from error
    prompt += service.tokenizer.encode(tools.forced_start(body))
    return service.answers(prompt, sampling, account, body.n or 1)


class Reply:
    """The answers to one request in OpenAI's shape, whole or in chunks."""

    def __init__(self, service: Service, body: ChatRequest):
        self.service, self.body = service, body
        self.id, self.created = f"chatcmpl-{uuid.uuid4().hex}", int(time.time())
        self.said = [Said(service, body) for _ in range(body.n or 1)]

    async def whole(self, answers: Answers, http: Request) -> dict[str, Any]:
        wholes = await answers.wholes(http)
        choices = [self._choice(index, pieces, finished) for index, (pieces, finished) in enumerate(wholes)]
        return self._object("chat.completion", choices) | {"usage": usage([finished for _, finished in wholes])}

    def _choice(self, index: int, pieces: list[Piece], finished: Finished) -> dict[str, Any]:
        said = self.said[index]
        text = "".join(said.push(event.text) for event in (*pieces, finished))
        rest, calls = said.end()
        content = text + rest
        message = {"role": "assistant", "content": content or (None if calls else "")}
        choice = {"index": index, "message": message | ({"tool_calls": calls} if calls else {})}
        return choice | {"logprobs": self._log_probs(pieces), "finish_reason": _reason(finished, calls)}

    async def chunks(self, answers: Answers) -> AsyncIterator[dict[str, Any]]:
        """Chunks as the text comes. Tool calls come at the end, each complete in one chunk."""
        for index in range(len(self.said)):
            yield self._chunk(index, {"role": "assistant", "content": ""})
        ends = []
        async for index, event in answers:
            text = self.said[index].push(event.text)
            log_probs = self._log_probs([event]) if isinstance(event, Piece) else None
            if text or log_probs:
                yield self._chunk(index, {"content": text}, log_probs)
            if isinstance(event, Finished):
                ends.append(event)
                for chunk in self._last(index, event):
                    yield chunk
        if self.body.stream_options and self.body.stream_options.include_usage:
            yield self._object("chat.completion.chunk", []) | {"usage": usage(ends)}

    def _last(self, index: int, finished: Finished) -> list[dict[str, Any]]:
        """What is left to send of one answer."""
        rest, calls = self.said[index].end()
        deltas = [{"content": rest}] if rest else []
        deltas += [{"tool_calls": [{"index": number} | call]} for number, call in enumerate(calls)]
        chunks = [self._chunk(index, delta) for delta in deltas]
        return [*chunks, self._chunk(index, {}, reason=_reason(finished, calls))]

    def _log_probs(self, pieces: list[Piece]) -> dict[str, Any] | None:
        return chat_log_probs(self.service.tokenizer, pieces) if self.body.logprobs else None

    def _chunk(
        self, index: int, delta: dict[str, Any], log_probs: Any = None, reason: str | None = None
    ) -> dict[str, Any]:
        choice = {"index": index, "delta": delta, "logprobs": log_probs, "finish_reason": reason}
        return self._object("chat.completion.chunk", [choice])

    def _object(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.body.model, "choices": choices}


class Said:
    """One answer's text on its way: what is said at once, what may be a call at the end."""

    def __init__(self, service: Service, body: ChatRequest):
        self._metrics, self._most = service.metrics, None if body.parallel_tool_calls else 1
        self._splitter = tools.CallSplitter(tools.forced_start(body)) if tools.shown(body) else None

    def push(self, text: str) -> str:
        return self._splitter.push(text) if self._splitter else text

    def end(self) -> tuple[str, list[dict[str, Any]]]:
        if self._splitter is None:
            return "", []
        rest, calls, broken = self._splitter.end(self._most)
        self._metrics.broken_calls.inc(broken)
        return rest, [tools.as_openai(call) for call in calls]


def _reason(finished: Finished, calls: list[dict[str, Any]]) -> str:
    return "tool_calls" if calls else "length" if finished.reason == "length" else "stop"
