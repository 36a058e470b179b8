"""What may be configured of the corpus stage."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tasks.code import PROJECT
from tasks.corpus.classify.labelled import Labelled
from tasks.corpus.dedup.spec import Repeated, Semantic
from tasks.sources import SourceRef
from tasks.stage import Content, MaybeContent, Runtime, StageConfig

SAFETY, BLOCKED, HEURISTICS, CODE = (
    PROJECT / "conf" / name for name in ("safety", "blocklists", "heuristics", "code/thresholds.yaml")
)


class CorpusConfig(StageConfig):
    """Where text comes from and what may stay."""

    sources: tuple[SourceRef, ...] = Field(
        (SourceRef("chinese-poetry"),), min_length=1, description="Catalogue names (NAME or NAME/PART), cards or paths"
    )
    simplify: bool = Field(True, description="Turn Traditional into Simplified Chinese characters (OpenCC t2s)")
    languages: tuple[Annotated[str, Field(pattern="^[a-z]{2,3}$")], ...] = Field(
        ("zh",), min_length=1, description="ISO 639-1 codes of the languages kept"
    )
    min_characters: int = Field(16, ge=1, description="Shortest text kept; a poem's count is its Chinese characters")
    max_characters: int = Field(
        200_000, ge=1, description="Longest text judged as a whole; longer prose is judged by windows, the rest dropped"
    )
    max_long_characters: int = Field(8_000_000, ge=1, description="Longest text kept of those judged by windows")
    max_line: int = Field(16, ge=1, description="Longest verse line; poems with a longer one are prose or unpunctuated")
    max_title: int = Field(60, ge=1, description="Longest title of a poem, in Chinese characters")
    max_notes: float = Field(
        0.6, ge=0, le=1, description="Largest share of a poem's record that editors' notes may take"
    )
    max_repetition: float = Field(0.3, ge=0, le=1, description="Largest share of characters in repeated lines")
    web_rules: bool = Field(
        True, description="Judge ordinary text, not poems, by the rules of Gopher, C4, FineWeb and FineWeb-2"
    )
    thresholds: Content = Field(HEURISTICS, description="Folder of those rules' thresholds, LANGUAGE.yaml")
    code_thresholds: Content = Field(CODE, description="File of the rules for code (parts that are code)")
    max_unsafe: float = Field(1.0, ge=0, description="Most words of the safety lists per 1,000 characters")
    safety_words: Content = Field(SAFETY, description="Folder of word lists, *.txt, one word a line")
    safety_sources: tuple[SourceRef, ...] = Field((), description="Sources of further words, one a record")
    safety_words_least: int = Field(
        4,
        ge=1,
        le=100,
        description="Characters of the shortest word taken from them; shorter ones are everyday words, too",
    )
    blocked_urls: Content = Field(BLOCKED, description="Folder of lists of domains and addresses, *.txt, one a line")
    extractor: Literal["trafilatura", "resiliparse"] = Field(
        "trafilatura", description="How the main text of HTML is found: trafilatura for quality, resiliparse for speed"
    )
    keep_links: bool = Field(True, description="Keep the addresses of links in text from HTML")
    mask_personal_data: bool = Field(
        True, description="Put <EMAIL>, <PHONE>, <IP>, <ID_CARD>, <BANK_CARD>, <KEY> in the place of such data"
    )
    classifiers: dict[Annotated[str, Field(pattern="^[a-z]{2,30}$")], Labelled] = Field(
        {}, description="NAME: labelled sources that a classifier is trained from; the ledger gets NAME_score"
    )
    evaluation_sets: tuple[SourceRef, ...] = Field(
        (),
        description="Sources of evaluation sets; texts that hold n-grams of them are dropped. The chain adds "
        "finetune.sources, of which held-out prompts are",
    )
    contamination_ngram: int = Field(13, ge=8, le=50, description="Words or Chinese characters that must be the same")
    max_contamination: int = Field(0, ge=0, description="Most n-grams of evaluation sets that a text may hold")
    max_quarantined: float = Field(
        0.25, gt=0, le=1, description="Share of records that may be unreadable; above it the stage fails"
    )
    near_duplicate: float = Field(
        0.6, ge=0.5, le=1, description="Jaccard similarity of bigrams from which a poem is a duplicate (MinHash)"
    )
    near_duplicate_text: float = Field(
        0.7, ge=0.5, le=1, description="The same for ordinary text, of runs of 5 words or 5 Chinese characters"
    )
    repeated: Repeated = Field(
        Repeated(), description="Paragraphs, lines and runs of characters of earlier documents that are taken out"
    )
    semantic: Semantic = Field(Semantic(), description="Texts that go because an earlier one says the same")
    index: MaybeContent = Field(None, description="index.parquet of an earlier corpus; what stands there is dropped")
    save_index: bool = Field(False, description="Write index.parquet, for later corpora to be compared with")
    validation: float = Field(0.01, gt=0, lt=1, description="Share of the texts held out, chosen by content hash")
    compute: Runtime[Literal["local", "ray"]] = Field(
        "local", description="Where shards are judged: here, or on the Ray cluster at RAY_ADDRESS (else on a local Ray)"
    )
    workers: Runtime[int] = Field(0, ge=0, description="Processes; 0 = all cores, of Ray's machines where it is used")

    @model_validator(mode="after")
    def _lengths_leave_room(self) -> Self:
        if self.min_characters > self.max_characters:
            raise ValueError(f"min_characters {self.min_characters} is above max_characters {self.max_characters}")
        return self


# Settings whose effect the ledger's scores tell without running the stage
REPLAYABLE = {
    "languages", "min_characters", "max_long_characters", "max_line", "max_title", "max_notes", "max_repetition",
    "max_unsafe", "max_contamination", "near_duplicate", "near_duplicate_text", "thresholds", "classifiers",
    "code_thresholds",
}  # fmt: skip
