"""What text that stands in several documents is, and which documents say the same, as the configuration says it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Repeated(BaseModel):
    """Which repeats are taken out of ordinary text, not of poems or code; the first document with one keeps it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    paragraphs: bool = Field(False, description="Take out paragraphs, between blank lines, of earlier documents")
    lines: bool = Field(False, description="Take out lines of earlier documents")
    min_characters: int = Field(
        30, ge=1, description="Shortest paragraph or line taken out, without punctuation and spaces around"
    )
    span: int = Field(
        0, ge=0, le=1 << 20, description="Take out runs of so many equal characters and more (0 = none; 50 to 200)"
    )

    @property
    def asked(self) -> bool:
        """Whether anything is to be taken out."""
        return self.paragraphs or self.lines or self.span > 0


class Semantic(BaseModel):
    """Which ordinary texts (no poems, no code) say what an earlier one says, in another order or partly other words.

    SemDeDup (Abbas et al. 2023) on lexical vectors: hashed TF-IDF of words, Chinese characters and their pairs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    least: float = Field(
        0, ge=0, le=1, description="Cosine similarity to an earlier text from which one goes (0 = off; 0.8 to 0.95)"
    )
    cluster: int = Field(
        1000, ge=2, le=100_000, description="Texts in a cluster, on average; they are compared within one only"
    )

    @property
    def asked(self) -> bool:
        """Whether texts are to be compared."""
        return self.least > 0
