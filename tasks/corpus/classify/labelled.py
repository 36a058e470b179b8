"""What a classifier is trained from, as the configuration says it."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from tasks.sources import SourceRef

SHORTEST_PIECE = 20  # characters


class Labelled(BaseModel):
    """Where a classifier's examples are, and from which score a text is dropped."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    positive: tuple[SourceRef, ...] = Field((), description="Sources of what it finds")
    negative: tuple[SourceRef, ...] = Field(min_length=1, description="Sources of what it does not")
    spoil: bool = Field(
        False,
        description="It finds spoiled text: the negative ones with their words shuffled (see spoil.py)",
    )
    piece: int = Field(
        0,
        ge=0,
        description="Characters judged together (20 or more); a text scores the mean of its pieces. 0 = its beginning",
    )
    languages: tuple[str, ...] = Field((), description="Texts that it is asked about, ISO 639-1 codes; none = all")
    most: float = Field(1.0, ge=0, le=1, description="Highest score kept; 1 keeps all, and the ledger has the score")

    @field_validator("piece")
    @classmethod
    def _says_something(cls, piece: int) -> int:
        if 0 < piece < SHORTEST_PIECE:
            raise ValueError(f"{piece} characters tell nothing; expected at least {SHORTEST_PIECE}, or 0")
        return piece

    @model_validator(mode="after")
    def _finds_something(self) -> Self:
        if bool(self.positive) == self.spoil:
            raise ValueError("expected sources under `positive`, or `spoil: true`, and not both")
        return self
