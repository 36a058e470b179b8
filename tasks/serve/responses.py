"""POST /v1/responses: OpenAI's newer form of a chat. Nothing is stored: each request carries its conversation."""

import time
import uuid
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.engine import Finished
from tasks.serve import shapes
from tasks.serve.answering import Answers
from tasks.serve.calls import Call, CallArguments, CallBegun, Event, Words
from tasks.serve.chat import Said, submit
from tasks.serve.errors import ApiError
from tasks.serve.protocol import MAX_MESSAGES, MAX_TOOLS, ChatRequest, Shallow
from tasks.serve.service import Service
from tasks.serve.sse import EventStream

RESULT = {"content": "output", "tool_call_id": "call_id"}  # a tool's answer in a chat, and here


class ResponsesRequest(BaseModel):
    """The request, as far as it is answered; the rest of its meaning is a chat's."""

    model_config = ConfigDict(allow_inf_nan=False)

    model: str
    input: Annotated[str, Field(min_length=1)] | Annotated[list[Shallow], Field(min_length=1, max_length=MAX_MESSAGES)]
    instructions: str | None = None
    max_output_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    tools: list[Shallow] | None = Field(None, max_length=MAX_TOOLS)
    tool_choice: Literal["auto", "none", "required"] | Shallow | None = None
    parallel_tool_calls: bool | None = None
    text: Shallow | None = None
    stream: bool | None = None
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
            where = ".".join(map(str, self._place(first["loc"]))) or "body"
            raise ApiError(400, f"{where}: {first['msg']}", where, first["type"]) from error

    def _place(self, loc: tuple[int | str, ...]) -> tuple[int | str, ...]:
        """What a field of the chat is called in this request."""
        match loc:
            case ("messages", 0, *_) if self.instructions:
                return ("instructions",)
            case ("messages", int(number), *rest) if not isinstance(self.input, str):
                place = number - bool(self.instructions)
                names = RESULT if self.input[place].get("type") == "function_call_output" else {}
                return ("input", place, *(names.get(name, name) for name in _inner(rest)))
            case ("messages", *_):
                return ("input",)
            case ("tools", int(number), *rest):
                return ("tools", number, *_inner(rest))
            case ("response_format", "json_schema", *rest):
                return ("text", "format", *rest)
            case ("tool_choice", *_):
                return ("tool_choice",)
            case ("response_format", *rest):
                return ("text", "format", *rest)
        return loc


def router(service: Service) -> APIRouter:
    routes = APIRouter()

    @routes.post("/v1/responses", response_model=None, responses=shapes.streamed(shapes.Response))
    async def responses(body: ResponsesRequest, http: Request) -> Response:
        chat = body.as_chat()
        async with service.using() as model:
            answers = await submit(model, chat, http.state.account, "input")
        reply = Reply(body, Said(model, chat))
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
        text, calls = self.said.whole("".join(event.text for event in (*pieces, finished)))
        return self._response(text, calls, finished)

    async def events(self, answers: Answers) -> AsyncIterator[dict[str, Any]]:
        """The response as it grows; every event has its number."""
        number = 0
        async for event in self._events(answers):
            yield event | {"sequence_number": number}
            number += 1

    async def _events(self, answers: Answers) -> AsyncIterator[dict[str, Any]]:
        yield {"type": "response.created", "response": self._response("", [], None)}
        items, finished = Items(self.item), None
        async for _, event in answers:
            finished = event if isinstance(event, Finished) else None
            for part in self.said.push(event.text) + (self.said.end() if finished else []):
                for change in items.take(part):
                    yield change
        response = self._response(items.text, self.said.calls, finished)
        for change in items.close(self.said.calls):
            yield change
        yield {"type": f"response.{response['status']}", "response": response}

    def _response(self, text: str, calls: list[Call], finished: Finished | None) -> dict[str, Any]:
        cut = finished is not None and finished.reason == "length" and not calls
        output = [_said(self.item, text)] if text or (finished and not calls) else []
        return {
            "id": self.id, "object": "response", "created_at": self.created, "model": self.body.model,
            "status": "in_progress" if finished is None else "incomplete" if cut else "completed",
            "error": None, "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "instructions": self.body.instructions, "output": [*output, *map(_called, calls)],
            "parallel_tool_calls": self.body.parallel_tool_calls is not False, "tools": self.body.tools or [],
            "tool_choice": self.body.tool_choice or "auto", "temperature": self.body.temperature,
            "top_p": self.body.top_p, "metadata": {}, "usage": _usage(finished),
        }  # fmt: skip


class Items:
    """The items of an answer that is streamed: each is added, grows and is done."""

    def __init__(self, message: str):
        self.text, self._message, self._calls = "", message, dict[int, CallBegun]()
        self._indices: dict[str, int] = {}  # of items, in the order in which they were added

    def take(self, event: Event) -> list[dict[str, Any]]:
        """What the client hears of it."""
        match event:
            case Words(text):
                place, item = self._place(self._message) | {"content_index": 0}, _said(self._message, "")
                opening = [] if self.text else [
                    {"type": "response.output_item.added", "item": item} | self._index(self._message),
                    {"type": "response.content_part.added", "part": _part("")} | place,
                ]  # fmt: skip
                self.text += text
                return [*opening, {"type": "response.output_text.delta", "delta": text, "logprobs": []} | place]
            case CallBegun(number, call, name):
                self._calls[number] = event
                item = _function_call(call, name, "", "in_progress")
                return [{"type": "response.output_item.added", "item": item} | self._index(item["id"])]
            case CallArguments(number, text):
                place = self._place(_item_id(self._calls[number].id))
                return [{"type": "response.function_call_arguments.delta", "delta": text} | place]

    def close(self, calls: list[Call]) -> list[dict[str, Any]]:
        """The ends of all items; a call that is none of the good ones stays incomplete."""
        events: list[dict[str, Any]] = []
        if self.text:
            place = self._place(self._message) | {"content_index": 0}
            events.append({"type": "response.output_text.done", "text": self.text, "logprobs": []} | place)
            events.append({"type": "response.content_part.done", "part": _part(self.text)} | place)
            events.append(self._done(_said(self._message, self.text)))
        good = {call.number: call for call in calls}
        for number, begun in self._calls.items():
            if call := good.get(number):
                done = {"type": "response.function_call_arguments.done", "name": call.name, "arguments": call.arguments}
                events.append(done | self._place(_item_id(call.id)))
                events.append(self._done(_called(call)))
            else:
                events.append(self._done(_function_call(begun.id, begun.name, "", "incomplete")))
        return events

    def _index(self, item: str) -> dict[str, Any]:
        return {"output_index": self._indices.setdefault(item, len(self._indices))}

    def _place(self, item: str) -> dict[str, Any]:
        return {"item_id": item} | self._index(item)

    def _done(self, item: dict[str, Any]) -> dict[str, Any]:
        return {"type": "response.output_item.done", "item": item} | self._index(item["id"])


def _said(item: str, text: str) -> dict[str, Any]:
    content = [_part(text)] if text else []
    return {"type": "message", "id": item, "role": "assistant", "status": "completed", "content": content}


def _called(call: Call) -> dict[str, Any]:
    return _function_call(call.id, call.name, call.arguments, "completed")


def _function_call(call: str, name: str, arguments: str, status: str) -> dict[str, Any]:
    facts = {"type": "function_call", "id": _item_id(call), "call_id": call, "status": status}
    return facts | {"name": name, "arguments": arguments}


def _item_id(call: str) -> str:
    return call.replace("call_", "fc_", 1)


def _inner(loc: list[int | str]) -> list[int | str]:
    """A place in a chat's call or tool as it is without what stands around the function."""
    return loc[loc.index("function") + 1 :] if "function" in loc else loc


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


def _usage(finished: Finished | None) -> dict[str, Any] | None:
    if finished is None:
        return None
    read, answered = finished.prompt_tokens, finished.answer_tokens
    return {
        "input_tokens": read, "input_tokens_details": {"cached_tokens": finished.cached_tokens},
        "output_tokens": answered, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": read + answered,
    }  # fmt: skip
