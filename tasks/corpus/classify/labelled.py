"""What a classifier is trained from, as the configuration says it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from tasks.sources import SourceRef


class Labelled(BaseModel):
    """Where a classifier's examples are, and from which score a text is dropped."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    positive: tuple[SourceRef, ...] = Field(min_length=1, description="Sources of what it finds")
    negative: tuple[SourceRef, ...] = Field(min_length=1, description="Sources of what it does not")
    languages: tuple[str, ...] = Field((), description="Texts that it is asked about, ISO 639-1 codes; none = all")
    most: float = Field(1.0, ge=0, le=1, description="Highest score kept; 1 keeps all, and the ledger has the score")
