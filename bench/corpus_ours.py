"""Our side of `bench/corpus.py`: the corpus stage's blocks over the same files, with datatrove's reader and writer.

python -m bench.corpus_ours heuristics|minhash en|zh INPUT_FOLDER OUTPUT_FOLDER; prints the seconds of the run.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import orjson
import pyarrow as pa
from datatrove.data import Document, DocumentsPipeline
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter

from tasks.corpus.config import HEURISTICS
from tasks.corpus.dedup.index import load_index
from tasks.corpus.dedup.search import search_duplicates
from tasks.corpus.dedup.shingles import least_similarity
from tasks.corpus.documents import Draft
from tasks.corpus.heuristics.measures import measure
from tasks.corpus.heuristics.thresholds import Thresholds, load_thresholds
from tasks.corpus.shards import ShardExecutor
from tasks.corpus.table import read_judged, write_judged, write_table

WORKERS = 2


class Heuristics(PipelineStep):
    """Every measure of every document, written as a table; documents within all bounds go on."""

    type, name = "FILTER", "heuristics"

    def __init__(self, thresholds: Thresholds, folder: Path) -> None:
        super().__init__()
        self.thresholds, self.folder = thresholds, folder

    def run(self, data: DocumentsPipeline, rank: int = 0, _world_size: int = 1) -> DocumentsPipeline:
        rows = []
        for document in data:
            document.text, scores = measure(document.text, self.thresholds)
            faults = [name for name, bound in self.thresholds.rules.items() if bound.fault(scores.get(name, 0.0))]
            rows.append({"id": document.id, "faults": faults, **scores})
            if not faults:
                yield document
        write_table(pa.Table.from_pylist(rows), self.folder / f"{rank:05d}.parquet")


class Signer(PipelineStep):
    """Keys, content hashes and signatures, as the stage writes them."""

    type, name = "DEDUP", "sign"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def run(self, data: DocumentsPipeline, rank: int = 0, _world_size: int = 1) -> DocumentsPipeline:
        write_judged(self.folder, rank, (_row(document) for document in data), ())
        yield from ()


def _row(document: Document) -> dict[str, object]:
    from tasks.corpus.blocks import content_hash

    draft = Draft(document.text, "", document.text)
    content = {"text": draft.text, "key": draft.key, "hash": content_hash(draft.key), "shingling": draft.shingling}
    return {"id": document.id, "reason": "", **content}


def heuristics(language: str, source: Path, out: Path) -> None:
    block = Heuristics(load_thresholds(HEURISTICS)[language], out / "scores")
    _run([JsonlReader(str(source)), block, JsonlWriter(str(out / "kept"), compression=None)], source, out / "logs")


def minhash(_language: str, source: Path, out: Path) -> None:
    """Signatures, buckets, pairs verified on their shingles, clusters; then the kept documents."""
    _run([JsonlReader(str(source)), Signer(out / "judged")], source, out / "logs")
    files = len(list(source.glob("*.jsonl")))
    found = search_duplicates(out / "judged", files, least_similarity(0.6, 0.7), load_index(None))
    stays, at = (found.exact < 0) & (found.near < 0), 0
    (out / "kept").mkdir()
    for shard in range(files):
        table = read_judged(out / "judged", shard, ["id", "text"])
        kept = table.filter(pa.array(stays[at : at + len(table)]))
        at += len(table)
        lines = [orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in kept.to_pylist()]
        (out / "kept" / f"{shard:05d}.jsonl").write_bytes(b"".join(lines))


def _run(pipeline: list, source: Path, logs: Path) -> None:
    ShardExecutor(pipeline, len(list(source.glob("*.jsonl"))), WORKERS, str(logs), lambda _shards: None).run()


if __name__ == "__main__":
    kind, language, source, out = sys.argv[1:5]
    begun = time.perf_counter()
    {"heuristics": heuristics, "minhash": minhash}[kind](language, Path(source), Path(out))
    print(time.perf_counter() - begun)
