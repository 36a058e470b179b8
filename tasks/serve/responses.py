"""POST /v1/responses: OpenAI's newer form of a chat. Nothing is stored: each request carries its conversation."""

import time
import uuid
from collections.abc import AsyncIterator
from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.engine import Finished
from tasks.serve.answering import Answers
from tasks.serve.chat import Said, submit
from tasks.serve.errors import ApiError
from tasks.serve.protocol import MAX_MESSAGES, MAX_TOOLS, ChatRequest
from tasks.serve.service import Service
from tasks.serve.sse import EventStream


class ResponsesRequest(BaseModel):
    """The request, as far as it is answered; the rest of its meaning is a chat's."""

    model_config = ConfigDict(allow_inf_nan=False)

    model: str
    input: str | list[dict[str, Any]] = Field(min_length=1, max_length=MAX_MESSAGES)
    instructions: str | None = None
    max_output_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    tools: list[dict[str, Any]] | None = Field(None, max_length=MAX_TOOLS)
    tool_choice: Literal["auto", "none", "required"] | dict[str, Any] | None = None
    parallel_tool_calls: bool = True
    text: dict[str, Any] | None = None
    stream: bool = False
    previous_response_id: None = None

    def as_chat(self) -> ChatRequest:
        """The same as a chat request. Raises ApiError that names what is wrong."""
        messages = [{"role": "system", "content": self.instructions}] if self.instructions else []
        items = [{"role": "user", "content": self.input}] if isinstance(self.input, str) else self.input
        form = (self.text or {}).get("format")
        if isinstance(form, dict) and form.get("type") == "json_schema":
            form = {"type": "json_schema", "json_schema": form}
        fields = {
            "model": self.model,
            "messages": messages + [_message(item) for item in items],
            "max_completion_tokens": self.max_output_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "tools": [{"type": "function", "function": tool} for tool in self.tools] if self.tools else None,
            "tool_choice": {"type": "function", "function": self.tool_choice}
            if isinstance(self.tool_choice, dict)
            else self.tool_choice,
            "parallel_tool_calls": self.parallel_tool_calls,
            "response_format": form,
        }
        try:
            return ChatRequest.model_validate(fields)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "body"
            raise ApiError(400, f"{where}: {first['msg']}", where, first["type"]) from error


def router(service: Service) -> APIRouter:
    routes = APIRouter()

    @routes.post("/v1/responses", response_model=None)
    async def responses(body: ResponsesRequest, http: Request) -> Response:
        service.check_model(body.model)
        chat = body.as_chat()
        answers = submit(service, chat, http.state.account)
        reply = Reply(body, Said(service, chat))
        if body.stream:
            return EventStream(reply.events(answers), answers)
        return JSONResponse(await reply.whole(answers, http))

    return routes


class Reply:
    """The answer as items of output: a message, calls of functions."""

    def __init__(self, body: ResponsesRequest, said: Said):
        self.body, self.said = body, said
        self.id, self.created = f"resp_{uuid.uuid4().hex}", int(time.time())
        self.item = f"msg_{uuid.uuid4().hex}"

    async def whole(self, answers: Answers, http: Request) -> dict[str, Any]:
        ((pieces, finished),) = await answers.wholes(http)
        text = "".join(self.said.push(event.text) for event in (*pieces, finished))
        rest, calls = self.said.end()
        return self._response(text + rest, calls, finished)

    async def events(self, answers: Answers) -> AsyncIterator[dict[str, Any]]:
        """The response as it grows; every event has its number."""
        number = 0
        async for event in self._events(answers):
            yield event | {"sequence_number": number}
            number += 1

    async def _events(self, answers: Answers) -> AsyncIterator[dict[str, Any]]:
        yield {"type": "response.created", "response": self._response("", [], None)}
        place: dict[str, Any] = {"item_id": self.item, "output_index": 0, "content_index": 0}
        text, finished = "", None
        async for _, event in answers:
            piece = self.said.push(event.text)
            finished = event if isinstance(event, Finished) else None
            rest, calls = self.said.end() if finished else ("", [])
            if not (piece or rest):
                continue
            if not text:
                yield {"type": "response.output_item.added", "output_index": 0, "item": self._message("")}
                yield {"type": "response.content_part.added", "part": _part("")} | place
            text += piece + rest
            yield {"type": "response.output_text.delta", "delta": piece + rest, "logprobs": []} | place
        if text:
            yield {"type": "response.output_text.done", "text": text, "logprobs": []} | place
            yield {"type": "response.content_part.done", "part": _part(text)} | place
        response = self._response(text, calls, finished)
        for index, item in enumerate(response["output"]):
            if item["type"] == "function_call":
                yield {"type": "response.output_item.added", "output_index": index, "item": item}
            yield {"type": "response.output_item.done", "output_index": index, "item": item}
        yield {"type": f"response.{response['status']}", "response": response}

    def _response(self, text: str, calls: list[dict[str, Any]], finished: Finished | None) -> dict[str, Any]:
        cut = finished is not None and finished.reason == "length" and not calls
        output = [self._message(text)] if text or (finished and not calls) else []
        return {
            "id": self.id, "object": "response", "created_at": self.created, "model": self.body.model,
            "status": "in_progress" if finished is None else "incomplete" if cut else "completed",
            "error": None, "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "instructions": self.body.instructions, "output": [*output, *map(_call, calls)],
            "parallel_tool_calls": self.body.parallel_tool_calls, "tools": self.body.tools or [],
            "tool_choice": self.body.tool_choice or "auto", "temperature": self.body.temperature,
            "top_p": self.body.top_p, "metadata": {}, "usage": _usage(finished),
        }  # fmt: skip

    def _message(self, text: str) -> dict[str, Any]:
        content = [_part(text)] if text else []
        return {"type": "message", "id": self.item, "role": "assistant", "status": "completed", "content": content}


def _message(item: dict[str, Any]) -> dict[str, Any]:
    """One item of the input as a chat's message."""
    match item.get("type", "message"):
        case "function_call":
            function = {"name": item.get("name"), "arguments": item.get("arguments", "{}")}
            return {"role": "assistant", "tool_calls": [{"type": "function", "function": function}]}
        case "function_call_output":
            return {"role": "tool", "content": item.get("output"), "tool_call_id": item.get("call_id")}
        case "message":
            content = item.get("content")
            return {"role": item.get("role"), "content": _text(content) if isinstance(content, list) else content}
    raise ApiError(400, f"input: items of type {item['type']!r} are not supported", "input")


def _text(parts: list[Any]) -> list[Any]:
    """Parts of a content, their types as chats name them."""
    names = {"input_text": "text", "output_text": "text"}
    return [p | {"type": names.get(p.get("type"), p.get("type"))} if isinstance(p, dict) else p for p in parts]


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _call(call: dict[str, Any]) -> dict[str, Any]:
    facts = {"type": "function_call", "id": f"fc_{uuid.uuid4().hex}", "call_id": call["id"], "status": "completed"}
    return facts | call["function"]


def _usage(finished: Finished | None) -> dict[str, Any] | None:
    if finished is None:
        return None
    read, answered = finished.prompt_tokens, finished.answer_tokens
    return {
        "input_tokens": read, "input_tokens_details": {"cached_tokens": finished.cached_tokens},
        "output_tokens": answered, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": read + answered,
    }  # fmt: skip
