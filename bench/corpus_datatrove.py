"""The peer: stock datatrove's blocks, as FineWeb and FineWeb-2 put them together. Runs in `.venv-bench` alone.

python corpus_datatrove.py heuristics|minhash en|zh INPUT_FOLDER OUTPUT_FOLDER; prints the seconds of the run.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import yaml
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import (
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter

WORKERS = 2
LANGUAGES = {"en": "eng", "zh": "cmn_Hani"}
CONF = Path(__file__).resolve().parents[1] / "conf" / "heuristics"


def heuristics(language: str, source: Path, out: Path) -> None:
    """The quality filters of FineWeb (English) and FineWeb-2 (Chinese)."""
    filters = _english() if language == "en" else _chinese()
    _run([JsonlReader(str(source)), *filters, JsonlWriter(str(out / "kept"), compression=None)], source, out / "logs")


def _english() -> list:
    return [
        GopherRepetitionFilter(),
        GopherQualityFilter(),
        C4QualityFilter(filter_no_terminal_punct=False),
        FineWebQualityFilter(),
    ]


def _chinese() -> list:
    conf = yaml.safe_load((CONF / "zh.yaml").read_text(encoding="utf-8"))
    most = {name: bound.get("most") for name, bound in conf["rules"].items()}
    least = {name: bound.get("least") for name, bound in conf["rules"].items()}
    language = LANGUAGES["zh"]
    return [
        GopherRepetitionFilter(
            language=language,
            dup_para_frac=0,
            dup_line_char_frac=0,
            dup_para_char_frac=0,
            dup_line_frac=most["duplicate_lines"],
            top_n_grams=[(n, most[f"top_{n}_gram"]) for n in (2, 3, 4)],
            dup_n_grams=[(n, most[f"duplicate_{n}_grams"]) for n in range(5, 11)],
        ),
        FineWebQualityFilter(
            language=language,
            short_line_thr=999,
            char_duplicates_ratio=most["duplicated_characters"],
            line_punct_thr=least["line_punctuation"],
            new_line_ratio=most["lines_per_word"],
        ),
        GopherQualityFilter(
            language=language,
            max_avg_word_length=most["word_length"],
            min_avg_word_length=least["word_length"],
            stop_words=conf["stop_words"],
            max_non_alpha_words_ratio=least["alphabetic_words"],
            min_stop_words=int(least["stop_words"]),
        ),
    ]


def minhash(language: str, source: Path, out: Path) -> None:
    """All four stages: signatures of 5-grams in 14 buckets of 8, pairs, clusters, filter."""
    config = MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=8)
    signatures, buckets, removed = str(out / "signatures"), str(out / "buckets"), str(out / "removed")
    signature = MinhashDedupSignature(signatures, config, LANGUAGES[language])
    _run([JsonlReader(str(source)), signature], source, out / "logs1")
    _run([MinhashDedupBuckets(signatures, buckets, config=config)], source, out / "logs2", config.num_buckets)
    _run([MinhashDedupCluster(buckets, removed, config)], source, out / "logs3", 1)
    kept = JsonlWriter(str(out / "kept"), compression=None)
    _run([JsonlReader(str(source)), MinhashDedupFilter(removed), kept], source, out / "logs4")


def _run(pipeline: list, source: Path, logs: Path, tasks: int = 0) -> None:
    tasks = tasks or len(list(source.glob("*.jsonl")))
    LocalPipelineExecutor(pipeline, tasks=tasks, workers=min(WORKERS, tasks), logging_dir=str(logs)).run()


if __name__ == "__main__":
    kind, language, source, out = sys.argv[1:5]
    begun = time.perf_counter()
    {"heuristics": heuristics, "minhash": minhash}[kind](language, Path(source), Path(out))
    print(time.perf_counter() - begun)
