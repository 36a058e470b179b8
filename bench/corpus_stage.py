"""The whole corpus stage on one file, as `fullchain run` runs it, without Prefect: for timing and for its memory.

python -m bench.corpus_stage INPUT_FILE OUTPUT_FOLDER WORKERS; prints the seconds.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from tasks.build import build
from tasks.corpus import CorpusConfig, corpus
from tasks.sources import SourceRef
from tasks.store import Store


def main(source: str, out: Path, workers: int) -> float:
    cfg = CorpusConfig(sources=(SourceRef(source),), languages=("en", "zh"), simplify=False, workers=workers)
    begun = time.perf_counter()
    artifact = build(Store(out), corpus, cfg, {})[0]
    seconds = time.perf_counter() - begun
    (out / "digest").write_text(artifact.digest)
    return seconds


if __name__ == "__main__":
    print(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
