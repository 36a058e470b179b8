"""One sequence from its arrival to its end, and what its asker hears of it."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from models.engine.lookup import Lookup
from models.engine.sampler import Choice, Sampler, Sampling
from models.engine.text import TextStream

EMBEDDING_CHUNK = 128  # tokens: always cut alike, a text is summed alike


@dataclass(frozen=True)
class Piece:
    """One token of an answer and the text it made certain."""

    text: str
    choice: Choice


@dataclass(frozen=True)
class Finished:
    """The end of a request, `text` what was still held back.

    `reason`: "stop", "length", "cancelled", "grammar" (the answer's grammar became too complex to follow) or "error".
    `cached_tokens` of the prompt were not read, as their keys and values were known. `vectors` [hidden] are those of
    an embedding's texts.
    """

    reason: str
    text: str
    prompt_tokens: int
    answer_tokens: int
    cached_tokens: int = 0
    vectors: tuple[np.ndarray, ...] = ()


Emit = Callable[[Piece | Finished], None]


@dataclass(eq=False, kw_only=True)
class Request:
    """A sequence: it waits while it has no slot, then reads while its prompt is not in the slot."""

    prompt: list[int]
    emit: Emit
    adapter: int = 0  # its number in the session; 0: none
    slot: int = -1
    past: int = 0  # tokens in the slot
    answer: list[int] = field(default_factory=list)
    cancelled: bool = False

    def cancel(self) -> None:
        """End at the next step, wherever the request is."""
        self.cancelled = True

    @property
    def reading(self) -> bool:
        return self.past < len(self.prompt)

    def chunk(self, budget: int) -> list[int]:
        """What to read next, about `budget` tokens of it."""
        return self.prompt[self.past : self.past + budget]

    def finish(self, reason: str) -> None:
        raise NotImplementedError


@dataclass(eq=False, kw_only=True)
class Generation(Request):
    """A prompt that is answered."""

    sampling: Sampling
    sampler: Sampler
    stream: TextStream
    limit: int  # answer tokens at most
    lookup: Lookup | None = None
    cached: int = 0  # tokens of the prompt that were known

    @property
    def current(self) -> bool:
        """The slot holds all but the last token; false after a preemption, while the answer is told again."""
        return self.past == len(self.prompt) + len(self.answer) - 1

    def guesses(self, most: int) -> list[int]:
        """Tokens that may follow, at most as many as may still be answered after one more."""
        if self.lookup is None or not self.current:
            return []
        return self.lookup.guess(min(most, self.limit - len(self.answer) - 1))

    def finish(self, reason: str) -> None:
        self.emit(Finished(reason, self.stream.flush(), len(self.prompt), len(self.answer), self.cached))


@dataclass(eq=False, kw_only=True)
class Embedding(Request):
    """Texts of which the mean of the last hidden states is asked, one read after another; `prompt` is the one now."""

    left: deque[list[int]]
    summed: np.ndarray = field(default_factory=lambda: np.zeros(()))  # [hidden], over the tokens read
    vectors: list[np.ndarray] = field(default_factory=list)
    read: int = 0  # tokens of the texts that are done
    turn: int = 0  # of them, those read since others came before it

    def chunk(self, budget: int) -> list[int]:  # noqa: ARG002 (see EMBEDDING_CHUNK)
        return self.prompt[self.past : self.past + EMBEDDING_CHUNK]

    def take(self, summed: np.ndarray) -> None:
        """Add the hidden states of the chunk just read."""
        self.summed = self.summed + summed.astype(np.float64)

    def again(self) -> None:
        """Begin the text anew."""
        self.summed = np.zeros(())

    def next_text(self) -> bool:
        """Note the vector of the text read, and go to the next; False when there is none."""
        self.vectors.append(self.summed / len(self.prompt))
        self.read += len(self.prompt)
        self.turn += len(self.prompt)
        if not self.left:
            return False
        self.prompt = self.left.popleft()
        return True

    def finish(self, reason: str) -> None:
        self.emit(Finished(reason, "", self.read, 0, vectors=tuple(self.vectors)))
