"""Continuous batching: requests join and leave between steps, each in a slot that it keeps.

A step gives every answering request its next token, or several where guesses at them were right, and then reads prompts
up to a budget of tokens. What is answered does not depend on what else runs.
"""

import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from models.engine.grammar import Vocabulary
from models.engine.lookup import Lookup
from models.engine.prefix import PrefixCache
from models.engine.request import Embedding, Emit, Generation, Piece, Request
from models.engine.sampler import Sampler, Sampling
from models.engine.text import TextStream

log = logging.getLogger(__name__)

# Rows of a step up to which guesses are worth their time: beyond, every row costs as much as the next.
GUESSED_ROWS = 16
SMALLEST_CHUNK = 32  # tokens: a step never reads so few that the weights are read for nothing
TURN = 1024  # tokens of texts to embed after which others come first, or a chunk where that is more


class Session(Protocol):
    """What a model must offer to be scheduled; OnnxSession is one."""

    slots: int
    length: int
    vocab_size: int
    drafts: bool  # several tokens of an answer in one forward come out as one by one
    cache: Any  # a KVCache, or None
    embeds: bool  # a forward tells hidden states
    summed: np.ndarray  # the last ones [hidden], over all tokens of the last forward, where they are told

    def forward(
        self, tokens: np.ndarray, past: np.ndarray, first_slot: int = 0, *, widths: np.ndarray | None = None,
        wanted: np.ndarray | None = None, reading: bool = False, adapters: np.ndarray | None = None,
    ) -> np.ndarray: ...  # fmt: skip

    def move(self, source: int, target: int, length: int) -> None: ...


class Tokenizer(Protocol):
    """What the scheduler needs of a tokenizer; ChatTokenizer is one."""

    stop_ids: frozenset[int]

    def decode(self, tokens: Sequence[int]) -> str: ...


class PromptTooLong(ValueError):
    """The prompt leaves no room for an answer."""


@dataclass(frozen=True)
class Limits:
    """How the engine shares its time and memory.

    `chunk` is how many prompt tokens a step reads, at most but for a rest too small to read alone and texts to embed
    (EMBEDDING_CHUNK): long prompts hold up running answers by no more than that.
    `guess` is how many tokens a guess may have; 0 guesses none, and so does a session that takes no drafts.
    `positions` is how many tokens may lie in the slots and in the prefix cache together; 0: as many as fit the slots.
    `prefix` is how many of them the prefix cache may hold.
    """

    chunk: int = 256
    guess: int = 0
    positions: int = 0
    prefix: int = 0


class Scheduler:
    """Runs requests over a session, one `step` at a time, in one thread."""

    def __init__(
        self, session: Session, tokenizer: Tokenizer, limits: Limits | None = None, vocabulary: Vocabulary | None = None
    ):
        self.session, self.tokenizer, self.limits = session, tokenizer, limits or Limits()
        self.vocabulary = vocabulary
        self.waiting: deque[Request] = deque()
        self.slots: list[Request | None] = [None] * session.slots
        self.prefixes = PrefixCache(self.limits.prefix if session.cache else 0)
        self.positions = self.limits.positions or session.slots * session.length
        self.length = min(session.length, self.positions)  # a request alone must fit
        self.preempted = self.guessed = self.guessed_right = 0

    def prepare(self, prompt: Sequence[int], sampling: Sampling, emit: Emit, adapter: int = 0) -> Generation:
        """A request, not queued yet.

        Raises PromptTooLong when no answer token fits, ValueError for an empty prompt or a grammar that cannot begin.
        """
        if not prompt:
            raise ValueError("prompt: empty; expected at least one token")
        room = self.length - len(prompt)
        if room < 1:
            raise PromptTooLong(f"the prompt has {len(prompt)} tokens; at most {self.length - 1} fit here")
        if sampling.grammar and self.vocabulary is None:
            raise ValueError("grammar: this engine was made without a vocabulary for grammars")
        matcher = self.vocabulary.matcher(sampling.grammar) if sampling.grammar and self.vocabulary else None
        lookup = Lookup(prompt, self.limits.guess) if self.limits.guess and self.session.drafts else None
        stream = TextStream(self.tokenizer.decode, sampling.stop)
        limit = min(sampling.max_tokens or room, room)
        return Generation(
            prompt=list(prompt), emit=emit, adapter=adapter, sampling=sampling, stream=stream, limit=limit,
            sampler=Sampler(sampling, prompt, matcher), lookup=lookup,
        )  # fmt: skip

    def prepare_texts(self, texts: Sequence[Sequence[int]], emit: Emit, adapter: int = 0) -> Embedding:
        """A request for the texts' vectors, not queued yet. After TURN tokens it waits like all others.

        Raises PromptTooLong for a text that does not fit, ValueError for an empty one or a session that tells no
        hidden states.
        """
        if not self.session.embeds or not texts or not all(texts):
            raise ValueError("input: expected texts of at least one token each, and a model that tells hidden states")
        longest = max(map(len, texts))
        if longest > self.length:
            raise PromptTooLong(f"a text has {longest} tokens; at most {self.length} fit here")
        first, *left = map(list, texts)
        return Embedding(prompt=first, emit=emit, adapter=adapter, left=deque(left))

    @property
    def requests(self) -> list[Request]:
        """Those that have a slot."""
        return [request for request in self.slots if request]

    @property
    def busy(self) -> bool:
        return bool(self.waiting or self.requests)

    @property
    def running(self) -> int:
        return len(self.requests)

    def step(self) -> None:
        """One token or more for every running answer, then up to `chunk` tokens of prompts."""
        self._drop_cancelled()
        self._make_room()
        if any(not request.reading for request in self.requests):
            self._answer()
        budget = self.limits.chunk
        while budget > 0 and (request := self._next_to_read()):
            budget -= self._read(request, budget)

    def abort(self) -> None:
        """End every request with reason "error"."""
        ended = [*self.requests, *self.waiting]
        self.slots = [None] * len(self.slots)
        self.waiting.clear()
        for request in ended:
            request.finish("error")

    def _drop_cancelled(self) -> None:
        for request in [request for request in self.waiting if request.cancelled]:
            self.waiting.remove(request)
            request.finish("cancelled")
        for request in self.requests:
            if request.cancelled:
                self._leave(request, "cancelled")

    def _held(self) -> int:
        """Positions that running requests hold."""
        return sum(max(request.past, len(request.prompt)) for request in self.requests)

    def _make_room(self) -> None:
        """Room for one more token per answer: the prefix cache shrinks first, then the youngest request waits again."""
        while True:
            need = self._held() + sum(not request.reading for request in self.requests)
            if need <= self.positions or self.running == 1:
                self.prefixes.shrink(self.positions - need)
                return
            youngest = max(self.requests, key=lambda request: (request.reading, -len(request.answer)))
            self._wait_again(youngest)
            self.waiting.appendleft(youngest)
            self.preempted += 1

    def _next_to_read(self) -> Request | None:
        """The request whose prompt is being read, or the next waiting one when there is a slot and room for it."""
        reading = next((request for request in self.requests if request.reading), None)
        if reading or not self.waiting or None not in self.slots:
            return reading
        need = self._held() + len(self.waiting[0].prompt) + len(self.waiting[0].answer) + 1
        if need > self.positions and self.requests:
            return None
        self.prefixes.shrink(self.positions - need)
        request = self.waiting.popleft()
        request.slot = self.slots.index(None)
        self.slots[request.slot] = request
        self._recall(request)
        return request

    def _recall(self, request: Request) -> None:
        """Copy what is known of its prompt into the request's slot."""
        if isinstance(request, Embedding):
            return request.again()  # all of it must be read
        for block in self.prefixes.match(request.prompt, request.adapter) if self.prefixes.capacity else ():
            self.session.cache.write(request.slot, request.past, block)
            request.past += block.shape[2]
        if isinstance(request, Generation) and not request.answer:  # else it finds what it read itself
            request.cached = request.past
        return None

    def _read(self, request: Request, budget: int) -> int:
        """Read the next chunk of a prompt; at its end the first answer token is chosen. Returns the tokens read."""
        chunk = request.chunk(max(budget, SMALLEST_CHUNK))
        tokens, past = np.array([chunk]), np.array([request.past])
        wanted = np.array([len(chunk) - 1])
        logits = self.session.forward(tokens, past, request.slot, wanted=wanted, reading=True, **_adapted(request))
        request.past += len(chunk)
        if isinstance(request, Embedding):
            self._sum(request)
        elif isinstance(request, Generation) and not request.reading:
            self._begin(request, logits[0])
        return len(chunk)

    def _sum(self, request: Embedding) -> None:
        """Take the hidden states just read; after a text comes the next, once others had their turn where it is due."""
        request.take(self.session.summed)
        if request.reading:
            return
        if not request.next_text():
            self._leave(request, "stop")
            return
        self._wait_again(request)
        if request.turn < max(self.limits.chunk, TURN):
            self.waiting.appendleft(request)
        else:
            request.turn = 0
            self.waiting.append(request)

    def _begin(self, request: Generation, logits: np.ndarray) -> None:
        """The prompt is read: keep it for others, and answer."""
        if self.prefixes.capacity:
            read = lambda a, b: self.session.cache.read(request.slot, a, b)  # noqa: E731
            self.prefixes.insert(request.prompt, read, request.adapter)
        if not request.answer:
            self._choose(request, logits)

    def _answer(self) -> None:
        """One forward over the slots from the first to the last that answers; those between only fill the batch."""
        self._close_gap()
        answering = [one for one in self.requests if isinstance(one, Generation) and not one.reading]
        first, last = answering[0].slot, answering[-1].slot
        guesses = max(GUESSED_ROWS // len(answering) - 1, 0)
        fed = [self._fed(slot, guesses) for slot in range(first, last + 1)]
        widths = np.array([len(tokens) for tokens in fed])
        tokens = np.zeros((len(fed), widths.max()), np.int64)
        for row, known in zip(tokens, fed, strict=True):
            row[: len(known)] = known
        rows = self.slots[first : last + 1]
        past = np.array([request.past if request else 0 for request in rows])
        counts = np.arange(tokens.shape[1]) < widths[:, None]
        counts &= np.array([request in answering for request in rows])[:, None]
        logits = self.session.forward(
            tokens, past, first, widths=widths, wanted=np.flatnonzero(counts), **_adapted(*rows)
        )
        taken = 0
        for request in answering:
            known = fed[request.slot - first]
            self._take(request, known[1:], logits[taken : taken + len(known)])
            taken += len(known)

    def _fed(self, slot: int, guesses: int) -> list[int]:
        """The tokens that a slot is given: the last one and guesses at the next."""
        request = self.slots[slot]
        if not isinstance(request, Generation) or request.reading:
            return [0]  # written where the next token will overwrite it
        last = request.answer[request.past - len(request.prompt)]
        return [last, *request.guesses(guesses)]

    def _take(self, request: Generation, guesses: list[int], logits: np.ndarray) -> None:
        """Choose the tokens that follow, as far as the guesses before them were right."""
        if not request.current:
            request.past += 1  # told again after a preemption
            return
        right = 0
        for place, row in enumerate(logits):
            request.past += 1
            token = self._choose(request, row)
            if token is None or place == len(guesses) or token != guesses[place]:
                break
            right += 1
        self.guessed += len(guesses)
        self.guessed_right += right
        if request.lookup:
            request.lookup.learn(len(guesses), right)

    def _choose(self, request: Generation, logits: np.ndarray) -> int | None:
        """Choose a token and tell it; None when it ended the answer."""
        choice, matcher = request.sampler.choose(logits), request.sampler.matcher
        if matcher and matcher.failed:
            log.warning("a grammar cannot be followed further: %s", matcher.problem)
            return self._leave(request, "grammar")
        request.answer.append(choice.token)
        if choice.token in self.tokenizer.stop_ids and not request.sampling.ignore_end:
            return self._leave(request, "stop")
        if request.lookup:
            request.lookup.add(choice.token)
        request.emit(Piece(request.stream.push(choice.token), choice))
        if request.stream.stopped or (matcher and matcher.ended):
            return self._leave(request, "stop")
        if len(request.answer) >= request.limit:
            return self._leave(request, "length")
        return choice.token

    def _leave(self, request: Request, reason: str) -> None:
        self._vacate(request)
        request.finish(reason)

    def _wait_again(self, request: Request) -> None:
        """Free the slot of a request that will need one later."""
        self._vacate(request)
        request.past = 0

    def _vacate(self, request: Request) -> None:
        """Free the slot, and the memory of it that is more than its share."""
        share = self.positions // len(self.slots)
        if self.session.cache and request.past > share:
            self.session.cache.trim(request.slot, share, request.past + 2)
        self.slots[request.slot] = None
        request.slot = -1

    def _close_gap(self) -> None:
        """Move the last request to the first free slot when half of the batch would be gaps."""
        last = max(request.slot for request in self.requests)
        gap = self.slots.index(None) if None in self.slots else last
        if gap < last and 2 * self.running <= last + 1:
            request = self.slots[last]
            assert request is not None  # `last` is its slot
            self.session.move(last, gap, request.past)
            self.slots[last], self.slots[gap], request.slot = None, request, gap


def _adapted(*rows: Request | None) -> dict[str, np.ndarray]:
    """The adapters of some slots, for a forward; nothing where none is asked for, as not every session has any."""
    numbers = np.array([request.adapter if request else 0 for request in rows])
    return {"adapters": numbers} if numbers.any() else {}
