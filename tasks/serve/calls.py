"""An answer's words and its calls of tools, told apart as they come.

The arguments of a call are passed on as the model writes them, but their last brace only once the whole call is known
to be one: joined pieces that parse as JSON are a good call, and a call that turns out malformed never becomes one.
"""

import json
import re
import uuid
from dataclasses import dataclass

from models.engine.text import overlap
from tasks.chat import TOOL_CALL, parse_tool_calls

OPENING, CLOSING = TOOL_CALL
_HEAD = re.compile(r'\s*\{\s*"name"\s*:\s*"([^"\\]+)"\s*,\s*"arguments"\s*:\s*(?=\{)')
_MARK = re.compile(r'[{}"\\]')


@dataclass(frozen=True)
class Words:
    """Text that is said."""

    text: str


@dataclass(frozen=True)
class CallBegun:
    """A call whose name is known; `number` counts the calls of an answer from 0."""

    number: int
    id: str
    name: str


@dataclass(frozen=True)
class CallArguments:
    """The next piece of a call's arguments, JSON when joined."""

    number: int
    text: str


@dataclass(frozen=True)
class Call:
    """A whole call; `arguments` is what its pieces join to."""

    number: int
    id: str
    name: str
    arguments: str


Event = Words | CallBegun | CallArguments


class CallSplitter:
    """One answer. `start` is what it was made to begin with; of calls beyond `at_most` nothing is told."""

    def __init__(self, start: str = "", at_most: int | None = None):
        self.calls: list[Call] = []
        self.broken = 0  # blocks that look like calls but are none
        self._at_most, self._begun = at_most, 0
        self._text, self._shown = start, 0
        self._block: _Block | None = None
        self._from = 0  # where to look for the next block

    def push(self, text: str) -> list[Event]:
        """What the text so far makes certain."""
        self._text += text
        events: list[Event] = []
        while self._block or self._enter(events):
            assert self._block is not None
            close = self._text.find(CLOSING, self._block.start)
            events += self._block.read(self._text, close if close >= 0 else len(self._text))
            if close < 0:
                break
            events += self._leave(close)
        return events

    def end(self) -> list[Event]:
        """What is left once no text follows.

        What stands between and behind calls is dropped, as the tools answer next. Without any good call the whole text
        is said as it is, so that the client can see what went wrong.
        """
        events = self._leave(len(self._text)) if self._block else []
        if not self.calls and self._shown < len(self._text):
            events.append(Words(self._text[self._shown :]))
        return events

    def _enter(self, events: list[Event]) -> bool:
        """Go to the next block; before the first one, the text is said."""
        at = self._text.find(OPENING, self._from)
        if not self._from:
            end = at if at >= 0 else len(self._text) - overlap(self._text, OPENING)
            if end > self._shown:
                events.append(Words(self._text[self._shown : end]))
            self._shown = max(self._shown, end)
        if at < 0:
            return False
        full = self._at_most is not None and len(self.calls) >= self._at_most
        self._from = at + len(OPENING)
        self._block = _Block(self._from, None if full else self._begun)
        return True

    def _leave(self, close: int) -> list[Event]:
        """The block ended: what is still to be told of its call, when it is one."""
        block, self._block, self._from = self._block, None, max(close, self._from)
        assert block is not None
        if block.number is None:
            return []
        _, found, _ = parse_tool_calls(OPENING + self._text[block.start : close])
        text = block.whole(self._text)
        self._begun += block.begun is not None
        if not found or (block.begun and (found[0].name, found[0].arguments) != (block.begun.name, _object(text))):
            self.broken += 1
            return []
        events: list[Event] = []
        if block.begun is None:
            text = json.dumps(found[0].arguments, ensure_ascii=False)
            events.append(block.begin(found[0].name))
            self._begun += 1
        events.append(CallArguments(block.number, text[block.told :]))
        assert block.begun is not None
        self.calls.append(Call(block.number, block.begun.id, block.begun.name, text))
        return events


class _Block:
    """What stands between two tags, from `start` of the text, read piece by piece; `number` None tells nothing."""

    def __init__(self, start: int, number: int | None):
        self.start, self.number = start, number
        self.begun: CallBegun | None = None
        self.told = 0  # characters of the arguments that are out
        self._first = self._read = start  # where the arguments begin; how far they were read
        self._depth, self._quoted, self._closed = 0, False, False

    def begin(self, name: str) -> CallBegun:
        assert self.number is not None
        self.begun = CallBegun(self.number, f"call_{uuid.uuid4().hex[:24]}", name)
        return self.begun

    def read(self, text: str, end: int) -> list[Event]:
        """What `text` up to `end` makes certain."""
        events: list[Event] = []
        if self.number is None:
            return events
        if self.begun is None and (head := _HEAD.match(text, self.start, end)):
            self._first = self._read = head.end()
            events.append(self.begin(head[1]))
        if self.begun is None:
            return events
        self._scan(text, end - overlap(text[self._read : end], CLOSING))
        until = self._read - self._first - self._closed
        if until > self.told:
            assert self.number is not None
            events.append(CallArguments(self.number, text[self._first + self.told : self._first + until]))
            self.told = until
        return events

    def whole(self, text: str) -> str:
        """The arguments, as far as they were read."""
        return text[self._first : self._read]

    def _scan(self, text: str, end: int) -> None:
        """Read on until the brace that closes the arguments."""
        while not self._closed and (mark := _MARK.search(text, self._read, end)):
            self._read = mark.end()
            if mark[0] == "\\":
                if self._read == end:  # what it escapes is not there yet
                    self._read -= 1
                    return
                self._read += 1
            elif mark[0] == '"':
                self._quoted = not self._quoted
            elif not self._quoted:
                self._depth += 1 if mark[0] == "{" else -1
                self._closed = self._depth == 0
        if not self._closed:
            self._read = max(self._read, end)


def _object(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return None
