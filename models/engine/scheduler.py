"""Continuous batching: requests join and leave between steps, each in its own slot.

Slots 0 to d-1 hold the sequences that decode, slot d the one whose prompt is being read; the rest wait in a queue.
When a sequence ends, the last decoding one takes its slot, so that the running rows always lie side by side.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from models.engine.sampler import Choice, Sampler, Sampling
from models.engine.text import TextStream


class Session(Protocol):
    """What a model must offer to be scheduled; OnnxSession is one."""

    slots: int
    length: int

    def forward(self, tokens: np.ndarray, past: np.ndarray, first_slot: int = 0) -> np.ndarray: ...

    def move(self, source: int, target: int, length: int) -> None: ...


class Tokenizer(Protocol):
    """What the scheduler needs of a tokenizer; ChatTokenizer is one."""

    stop_ids: frozenset[int]

    def decode(self, tokens: Sequence[int]) -> str: ...


class PromptTooLong(ValueError):
    """The prompt leaves no room for an answer."""


@dataclass(frozen=True)
class Piece:
    """One token of an answer and the text it made certain."""

    text: str
    choice: Choice


@dataclass(frozen=True)
class Finished:
    """The end of an answer: `reason` "stop", "length", "cancelled" or "error", `text` what was still held back."""

    reason: str
    text: str
    prompt_tokens: int
    answer_tokens: int


Emit = Callable[[Piece | Finished], None]


@dataclass
class Request:
    """A sequence from its arrival to its end."""

    prompt: list[int]
    sampling: Sampling
    emit: Emit
    sampler: Sampler
    stream: TextStream
    limit: int  # answer tokens at most
    past: int = 0  # tokens in the slot
    answer: list[int] = field(default_factory=list)
    cancelled: bool = False

    def cancel(self) -> None:
        """End at the next step, wherever the request is."""
        self.cancelled = True

    def finish(self, reason: str) -> None:
        self.emit(Finished(reason, self.stream.flush(), len(self.prompt), len(self.answer)))


class Scheduler:
    """Runs requests over a session, one `step` at a time, in one thread.

    `chunk` is how many prompt tokens a step reads at most: long prompts hold up running answers by no more than that.
    """

    def __init__(self, session: Session, tokenizer: Tokenizer, chunk: int = 256):
        self.session, self.tokenizer, self.chunk = session, tokenizer, chunk
        self.waiting: deque[Request] = deque()
        self.decoding: list[Request] = []  # position = slot
        self.reading: Request | None = None  # in slot len(decoding)

    def prepare(self, prompt: Sequence[int], sampling: Sampling, emit: Emit) -> Request:
        """A request, not queued yet. Raises PromptTooLong when no answer token fits, ValueError for an empty prompt."""
        if not prompt:
            raise ValueError("prompt: empty; expected at least one token")
        room = self.session.length - len(prompt)
        if room < 1:
            raise PromptTooLong(
                f"the prompt has {len(prompt)} tokens; at most {self.session.length - 1} fit this model's context"
            )
        sampler = Sampler(sampling, prompt)
        stream = TextStream(self.tokenizer.decode, sampling.stop)
        limit = min(sampling.max_tokens or room, room)
        return Request(list(prompt), sampling, emit, sampler, stream, limit)

    @property
    def busy(self) -> bool:
        return bool(self.decoding or self.reading or self.waiting)

    @property
    def running(self) -> int:
        return len(self.decoding) + (self.reading is not None)

    def step(self) -> None:
        """One token for every running answer, then up to `chunk` tokens of waiting prompts."""
        self._drop_cancelled()
        if self.decoding:
            self._decode()
        budget = self.chunk
        while budget > 0 and self._admit():
            budget -= self._read(budget)

    def abort(self) -> None:
        """End every request with reason "error"."""
        for request in self._take_all():
            request.finish("error")

    def _take_all(self) -> list[Request]:
        requests = [*self.decoding, *([self.reading] if self.reading else []), *self.waiting]
        self.decoding, self.reading = [], None
        self.waiting.clear()
        return requests

    def _drop_cancelled(self) -> None:
        for request in [request for request in self.waiting if request.cancelled]:
            self.waiting.remove(request)
            request.finish("cancelled")
        for slot in reversed(range(len(self.decoding))):
            if self.decoding[slot].cancelled:
                self._leave(slot, "cancelled")
        if self.reading and self.reading.cancelled:
            request, self.reading = self.reading, None
            request.finish("cancelled")

    def _admit(self) -> bool:
        """Give the next waiting request the free slot after the decoding ones; False when there is nothing to read."""
        if self.reading is None and self.waiting and len(self.decoding) < self.session.slots:
            self.reading = self.waiting.popleft()
        return self.reading is not None

    def _read(self, budget: int) -> int:
        """Read the next chunk of a prompt; at its end the first answer token is chosen. Returns the tokens read."""
        request = self.reading
        chunk = request.prompt[request.past : request.past + budget]
        slot = len(self.decoding)
        logits = self.session.forward(np.array([chunk]), np.array([request.past]), slot)
        request.past += len(chunk)
        if request.past == len(request.prompt):
            self.decoding.append(request)
            self.reading = None
            self._choose(slot, logits[0, -1])
        return len(chunk)

    def _decode(self) -> None:
        tokens = np.array([[request.answer[-1]] for request in self.decoding])
        past = np.array([request.past for request in self.decoding])
        logits = self.session.forward(tokens, past)[:, 0]
        for request in self.decoding:
            request.past += 1
        for slot in reversed(range(len(self.decoding))):  # a leaving row is replaced by one already served
            self._choose(slot, logits[slot])

    def _choose(self, slot: int, logits: np.ndarray) -> None:
        request = self.decoding[slot]
        choice = request.sampler.choose(logits)
        request.answer.append(choice.token)
        if choice.token in self.tokenizer.stop_ids:
            return self._leave(slot, "stop")
        request.emit(Piece(request.stream.push(choice.token), choice))
        if request.stream.stopped:
            return self._leave(slot, "stop")
        if len(request.answer) >= request.limit:
            return self._leave(slot, "length")
        return None

    def _leave(self, slot: int, reason: str) -> None:
        request, last = self.decoding[slot], len(self.decoding) - 1
        if slot != last:
            self.decoding[slot] = self.decoding[last]
            self.session.move(last, slot, self.decoding[slot].past)
        self.decoding.pop()
        if self.reading:
            self.session.move(last + 1, last, self.reading.past)
        request.finish(reason)
