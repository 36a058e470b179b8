"""HTML extraction against stock datatrove's Trafilatura block: MB of HTML per second, and how alike the texts are.

    python -m bench.corpus_extract [--pairs 5] [--megabytes 12]

Both run in this process tree, in turn, on two workers, on the same pages: the real HTML packages of the catalogue, an
even sample of each. Agreement is the F1 of the words (of Chinese: the characters) of the two texts, Markdown marks
not counted, averaged over pages; also over the pages where stock found a text.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import statistics
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib.metadata import version

SOURCES = ("libreoffice-help-zh-cn", "libreoffice-help-en-us", "git-doc/pages", "python3.11-doc/pages")
SOURCES += ("debian-handbook/zh", "debian-handbook/en", "debian-reference-zh-cn")
WORKERS = 2
_WORD = re.compile("[\u4e00-\u9fff]|[A-Za-z0-9]+")
_ADDRESS = re.compile(r"\]\(https?://\S+?\)")


def pages(megabytes: float) -> list[str]:
    """Pages of every source, evenly in bytes, spread over each source's members."""
    from tasks.sources import Record, open_source

    chosen = []
    for name in SOURCES:
        all_of_it = [r.data["html"] for r in open_source(name).records() if isinstance(r, Record)]
        share, size = megabytes * 1e6 / len(SOURCES), 0
        for page in all_of_it[:: max(1, int(sum(map(len, all_of_it)) / share))]:
            if size < share:
                chosen.append(page)
                size += len(page.encode())
    return chosen


def stock(batch: list[str]) -> list[str]:
    """datatrove's block as it comes: each page crosses a pipe to a sandbox process."""
    from datatrove.data import Document
    from datatrove.pipeline.extractors import Trafilatura
    from loguru import logger

    logger.remove()
    logging.disable(logging.CRITICAL)
    documents = [Document(text=page, id=str(i)) for i, page in enumerate(batch)]
    found = {d.id: d.text for d in Trafilatura(timeout=20).run(iter(documents))}
    return [found.get(str(i), "") for i in range(len(batch))]


def ours(batch: list[str], extractor: str) -> list[str]:
    from tasks.corpus.extract import Unextractable, title_and_text

    texts = []
    for page in batch:
        try:
            texts.append(title_and_text(page, extractor)[1])
        except Unextractable:
            texts.append("")
    return texts


def warm() -> None:
    """Import what either side needs before the clock runs."""
    import resiliparse.extract.html2text  # noqa: F401
    import trafilatura

    trafilatura.extract("<html><body><p>Nothing.</p></body></html>")


def timed(pool: ProcessPoolExecutor, run: Callable[[list[str]], list[str]], batches: list[list[str]]) -> tuple:
    begun = time.perf_counter()
    texts = [text for part in pool.map(run, batches) for text in part]
    return time.perf_counter() - begun, texts


def agreement(mine: list[str], theirs: list[str]) -> float:
    """Mean F1 of the words of two texts."""
    return statistics.fmean(_f1(a, b) for a, b in zip(mine, theirs, strict=True))


def _f1(a: str, b: str) -> float:
    first, second = (Counter(_WORD.findall(_ADDRESS.sub("]", text))) for text in (a, b))
    total = first.total() + second.total()
    return 2 * (first & second).total() / total if total else 1.0


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--pairs", type=int, default=5)
    arguments.add_argument("--megabytes", type=float, default=8.0)
    given = arguments.parse_args()
    chosen = pages(given.megabytes)
    size = sum(len(page.encode()) for page in chosen) / 1e6
    batches = [chosen[i::WORKERS] for i in range(WORKERS)]
    runs = {name: partial(ours, extractor=name) for name in ("trafilatura", "resiliparse")} | {"stock": stock}
    times: dict[str, list[float]] = {name: [] for name in runs}
    texts: dict[str, list[str]] = {}
    with ProcessPoolExecutor(WORKERS, initializer=warm) as pool:
        for _ in range(given.pairs):
            for name, run in runs.items():
                seconds, texts[name] = timed(pool, run, batches)
                times[name].append(seconds)
    print(f"{len(chosen)} pages, {size:.1f} MB of HTML, {WORKERS} workers")
    for name, seconds in times.items():
        spread = f"{size / max(seconds):.2f}–{size / min(seconds):.2f}"
        print(
            f"{name:12} {size / statistics.median(seconds):6.2f} MB/s ({spread}), {sum(map(len, texts[name])):,} chars"
        )
    for name in ("trafilatura", "resiliparse"):
        ratios = [b / a for a, b in zip(times[name], times["stock"], strict=True)]
        found = [i for i, text in enumerate(texts["stock"]) if text]
        result = {
            "bench": "corpus_extract" if name == "resiliparse" else "corpus_extract_trafilatura",
            "ratio": round(statistics.median(ratios), 2), "min": round(min(ratios), 2), "max": round(max(ratios), 2),
            "pairs": given.pairs, "ours": round(size / statistics.median(times[name]), 2),
            "peer": round(size / statistics.median(times["stock"]), 2), "unit": "MB/s",
            "peer_version": f"datatrove {version('datatrove')}, trafilatura {version('trafilatura')}",
            "agreement": round(agreement(texts[name], texts["stock"]), 4),
            "agreement_where_stock_found_text": round(
                agreement([texts[name][i] for i in found], [texts["stock"][i] for i in found]), 4
            ),
        }  # fmt: skip
        print(json.dumps(result))


if __name__ == "__main__":
    main()
