"""What text that stands in several documents is, as the configuration says it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Repeated(BaseModel):
    """Which repeats are taken out of ordinary text (not of poems); the first document that holds one keeps it."""

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
