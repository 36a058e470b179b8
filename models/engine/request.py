"""One sequence from its arrival to its end, and what its asker hears of it."""

from collections.abc import Callable
from dataclasses import dataclass, field

from models.engine.lookup import Lookup
from models.engine.sampler import Choice, Sampler, Sampling
from models.engine.text import TextStream


@dataclass(frozen=True)
class Piece:
    """One token of an answer and the text it made certain."""

    text: str
    choice: Choice


@dataclass(frozen=True)
class Finished:
    """The end of an answer: `reason` "stop", "length", "cancelled" or "error", `text` what was still held back.

    `cached_tokens` of the prompt were not read, as their keys and values were known.
    """

    reason: str
    text: str
    prompt_tokens: int
    answer_tokens: int
    cached_tokens: int = 0


Emit = Callable[[Piece | Finished], None]


@dataclass(eq=False)
class Request:
    """A sequence: it waits while it has no slot, reads while its prompt is not in the slot, then answers."""

    prompt: list[int]
    sampling: Sampling
    emit: Emit
    sampler: Sampler
    stream: TextStream
    limit: int  # answer tokens at most
    adapter: int = 0  # its number in the session; 0: none
    lookup: Lookup | None = None
    slot: int = -1
    past: int = 0  # tokens in the slot
    cached: int = 0  # of them, tokens that were known
    answer: list[int] = field(default_factory=list)
    cancelled: bool = False

    def cancel(self) -> None:
        """End at the next step, wherever the request is."""
        self.cancelled = True

    @property
    def reading(self) -> bool:
        return self.past < len(self.prompt)

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
