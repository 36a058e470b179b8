"""Answers to many prompts at once, without a server: the scheduler stepped until it is done."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from models.engine.request import Finished, Piece
from models.engine.sampler import Choice, Sampling
from models.engine.scheduler import Limits, Scheduler, Session, Tokenizer


@dataclass
class Answer:
    """A whole answer: its text, tokens, choices and why it ended."""

    text: str = ""
    tokens: list[int] = field(default_factory=list)
    choices: list[Choice] = field(default_factory=list)
    reason: str = ""

    def take(self, event: Piece | Finished) -> None:
        """Add what the scheduler emits."""
        self.text += event.text
        if isinstance(event, Finished):
            self.reason = event.reason
        else:
            self.tokens.append(event.choice.token)
            self.choices.append(event.choice)


def generate(
    session: Session,
    tokenizer: Tokenizer,
    prompts: Sequence[Sequence[int]],
    sampling: Iterable[Sampling],
    limits: Limits | None = None,
) -> list[Answer]:
    """Answers in the order of the prompts, batched over the session's slots. Raises what Scheduler.prepare raises."""
    scheduler = Scheduler(session, tokenizer, limits)
    answers = [Answer() for _ in prompts]
    for prompt, how, answer in zip(prompts, sampling, answers, strict=True):
        scheduler.waiting.append(scheduler.prepare(prompt, how, answer.take))
    while scheduler.busy:
        scheduler.step()
    return answers
