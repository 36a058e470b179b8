"""The steps of the corpus stage: records read, judged, compared with each other, published, described."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from datatrove.pipeline.base import PipelineStep

from tasks.corpus.ahead import ahead
from tasks.corpus.blocks import Drafter, Judge, JudgedWriter, SpoolReader
from tasks.corpus.code.repositories import concatenated, lone_repositories, on_one_side
from tasks.corpus.config import CorpusConfig
from tasks.corpus.criteria import Criteria
from tasks.corpus.datacard import write_cards
from tasks.corpus.dedup.duplicates import Duplicates
from tasks.corpus.dedup.embedding import Embedder, FeatureWriter, feature_weights
from tasks.corpus.dedup.index import Index
from tasks.corpus.dedup.passages import PassageWriter
from tasks.corpus.dedup.repeated import RULE as REPEATED
from tasks.corpus.dedup.repeated import Repeats
from tasks.corpus.dedup.semantic import RULE as SEMANTIC
from tasks.corpus.dedup.semantic import Alike, search_alike
from tasks.corpus.facts import describe, quarantine, require_documents, require_readable, write_json
from tasks.corpus.heuristics.blocks import Measurer
from tasks.corpus.ledger import settings_of, write_settings
from tasks.corpus.page import render
from tasks.corpus.publish import DUPLICATE_RULES, SPLITS, SplitWriter, decided_shards, write_ledger
from tasks.corpus.ray_shards import RayShardExecutor
from tasks.corpus.sample import Sample, write_sample
from tasks.corpus.shards import ShardExecutor
from tasks.corpus.spool import Piece, spool
from tasks.corpus.waterfall import Waterfall
from tasks.processes import cores
from tasks.sources import Source
from tasks.stage import Output, StageError


class Published(NamedTuple):
    """What was counted and drawn while the ledger and the splits were written."""

    waterfall: Waterfall
    sample: Sample
    splits: list[SplitWriter]


def spooled(sources: list[Source], out: Output) -> list[list[Piece]]:
    """The records of all sources in `state/spool`, in shards. Raises StageError when there is none."""
    shards = spool(sources, out.state / "spool")
    if not shards:
        names = ", ".join(source.card.name for source in sources)
        raise StageError(f"sources: no records in {names}; check that the members named by the card are there")
    return shards


def judged(cfg: CorpusConfig, criteria: Criteria, sources: list[Source], shards: int, out: Output) -> Path:
    """The folder of all shards with every rule's verdicts, judged in parallel."""
    parts = {(source.card.name, name): part for source in sources for name, part in source.parts.items()}
    reader = SpoolReader(out.state / "spool", parts)
    drafter = Drafter(
        cfg.simplify, extractor=cfg.extractor, keep_links=cfg.keep_links, mask_personal_data=cfg.mask_personal_data
    )
    measurer = Measurer(criteria.thresholds, cfg.max_characters)
    folder = out.state / "judged"
    cutter = [PassageWriter(folder, cfg.repeated)] if cfg.repeated.asked else []
    counter = [FeatureWriter(folder)] if cfg.semantic.asked else []
    judge, writer = Judge(criteria.rules), JudgedWriter(folder, criteria.names)
    pipeline = [reader, drafter, measurer, judge, *cutter, *counter, writer]
    _over_shards(cfg, pipeline, shards, ("judge", "shards judged"), out)
    return folder


def compared(cfg: CorpusConfig, folder: Path, shards: int, found: Duplicates, indexed: int, out: Output) -> Alike:
    """Give the judged texts vectors, in parallel, and find those that say what an earlier one says."""
    embedder = Embedder(folder, feature_weights(folder, shards))
    _over_shards(cfg, [embedder], shards, ("embed", "shards embedded"), out)
    return search_alike(folder, shards, found, indexed, cfg.semantic)


def _over_shards(
    cfg: CorpusConfig, pipeline: list[PipelineStep], shards: int, name: tuple[str, str], out: Output
) -> None:
    """Run a pipeline over all shards, resumed after kills; name: of its folder in the state, and of what is done."""
    executor = RayShardExecutor if cfg.compute == "ray" else ShardExecutor
    workers = cfg.workers if cfg.compute == "ray" else cfg.workers or cores()
    with out.progress(name[1], shards) as progress:
        executor(pipeline, shards, workers, str(out.state / name[0]), progress.advance).run()


def published(
    cfg: CorpusConfig,
    criteria: Criteria,
    folder: Path,
    shards: int,
    found: Duplicates,
    index: Index,
    alike: Alike | None,
    out: Output,
) -> Published:
    """Write the ledger and the two splits of what was judged into the folder, shard by shard.

    Raises:
        StageError: more records than allowed could not be read, or a split came out empty.
    """
    repeats = Repeats(cfg.repeated, cfg.min_characters, folder, shards) if cfg.repeated.asked else None
    waterfall, sample = Waterfall(order_of(cfg, criteria)), Sample(criteria.bounds)
    splits = [SplitWriter(out.path / name) for name in SPLITS]
    alone = lone_repositories(folder, shards) if criteria.code else set()
    decided = decided_shards(folder, shards, found, index, cfg.validation, repeats, alike)
    for shard, table in enumerate(ahead(decided)):
        table = on_one_side(table, cfg.validation, alone) if criteria.code else table
        write_ledger(table, out.path / "ledger" / f"{shard:05d}.parquet", criteria.names)
        waterfall.add(table)
        sample.add(table)
        quarantine(table, out)
        documents = concatenated(table) if criteria.code else table
        for split in splits:
            split.write(documents)
    for split in splits:
        split.close()
    require_readable(waterfall, cfg.max_quarantined)
    require_documents(splits, waterfall)
    return Published(waterfall, sample, splits)


def order_of(cfg: CorpusConfig, criteria: Criteria) -> tuple[str, ...]:
    """All that can drop a record, in the order in which the first that does so is named."""
    late = ((SEMANTIC, cfg.semantic.asked), (REPEATED, cfg.repeated.asked))
    return (*criteria.names, *DUPLICATE_RULES, *(rule for rule, asked in late if asked))


def described(
    cfg: CorpusConfig,
    criteria: Criteria,
    sources: list[Source],
    shards: list[list[Piece]],
    result: Published,
    out: Output,
) -> None:
    """Write what programs and people are told of the corpus: counts, sources, rules, a sample, a page, the cards."""
    steps, origins = result.waterfall.steps(), [describe(source, shards) for source in sources]
    records = result.sample.records()
    write_json(out.path / "waterfall.json", steps)
    write_json(out.path / "sources.json", origins)
    settings = settings_of(cfg, criteria.thresholds, criteria.code)
    write_settings(order_of(cfg, criteria), settings, out.path / "rules.json")
    if criteria.classifiers:
        write_json(out.path / "classifiers.json", criteria.classifiers)
    write_sample(records, out.path / "sample.jsonl")
    (out.path / "report.html").write_text(render(steps, records, origins), encoding="utf-8")
    documents = sum(split.documents for split in result.splits)
    write_cards(out.path, documents, steps, origins, [bound._asdict() for bound in criteria.bounds])
