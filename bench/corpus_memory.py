"""Peak memory of the corpus stage on 50 MB and on 500 MB of input: it must not grow with the input.

    python -m bench.corpus_memory [--megabytes 50 500] [--workers 2]

The input is one JSON-lines file of English and Chinese text (see `corpus_texts`); the larger one repeats the smaller's
documents with their words changed, so that nothing of it is a mere copy. Memory is the proportional set size of all of
the stage's processes together (Linux, smaps_rollup), looked at ten times a second, its highest value. Prints one JSON
line: `ratio` is the smaller input's peak over the larger's, so 0.9 means 11% more for ten times the input.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path

from bench.corpus_texts import texts
from tasks.store import home

HERE = Path(__file__).resolve().parent
BASE = 25  # megabytes of each language that all inputs are made of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, nargs=2, default=(50, 500))
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    peaks = [peak(source(size), options.workers) for size in options.megabytes]
    for size, used in zip(options.megabytes, peaks, strict=True):
        print(f"{size} MB of input: {used['all']:.0f} MB in all, {used['main']:.0f} MB in the main process")
    small, large = (one["all"] for one in peaks)
    line = {"bench": "corpus_memory", "ratio": round(small / large, 3), "pairs": 1, "ours": round(large),
            "peer": round(small), "unit": "MB", "peer_version": f"{options.megabytes[0]} MB of input",
            "main": [round(one["main"]) for one in peaks], "workers": options.workers}  # fmt: skip
    print(json.dumps(line))


def source(megabytes: int) -> Path:
    """A file of at least so many megabytes (10^6 bytes); every round over the texts changes other words."""
    path = home() / "bench" / f"corpus-both-{megabytes}.jsonl"
    if not path.exists():
        parts = [texts(language, BASE) for language in ("en", "zh")]
        temporary, size = path.with_suffix(".tmp"), 0
        with temporary.open("w", encoding="utf-8") as stream:
            for line in _rounds(parts):
                stream.write(line)
                size += len(line.encode())
                if size >= megabytes * 1e6:
                    break
        temporary.replace(path)
    return path


def _rounds(parts: list[Path]) -> Iterable[str]:
    number = 0
    while True:
        for pair in zip(*(part.open(encoding="utf-8") for part in parts), strict=False):
            for record in map(json.loads, pair):
                yield json.dumps({"text": _changed(record["text"], number)}, ensure_ascii=False) + "\n"
        number += 1


def _changed(text: str, number: int) -> str:
    """The text with every eighth word or Chinese character, another eighth each round, turned into another one."""
    if number == 0:
        return text
    places = iter(range(len(text)))

    def other(match: re.Match[str]) -> str:
        if next(places) % 8 != number % 8:
            return match[0]
        if match[0] > "\u3000":
            return chr(0x4E00 + (ord(match[0]) * 31 + number * 97) % 3000)
        return "".join(chr(97 + (ord(c) + 7 * number) % 26) for c in match[0])

    return re.sub(r"[a-z]{3,}|[\u4e00-\u9fff]", other, text)


def peak(file: Path, workers: int) -> dict[str, float]:
    """Highest memory in MB (10^6 bytes) of the stage's processes: all together, and the main one alone."""
    out = Path(tempfile.mkdtemp(dir=home()))
    command = [sys.executable, "-m", "bench.corpus_stage", str(file), str(out), str(workers)]
    try:
        running = subprocess.Popen(command, cwd=HERE.parent, stdout=subprocess.DEVNULL)
        highest, ended = {"all": 0.0, "main": 0.0}, threading.Event()
        while running.poll() is None:
            sizes = {pid: size for pid in family(running.pid) if (size := proportional(pid))}
            highest["all"] = max(highest["all"], sum(sizes.values()))
            highest["main"] = max(highest["main"], sizes.get(running.pid, 0.0))
            ended.wait(0.1)
    finally:
        shutil.rmtree(out, ignore_errors=True)
    if running.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {running.returncode}")
    return highest


def family(root: int) -> list[int]:
    """A process and all below it."""
    parents = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(status.parent.name)] = int(status.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def proportional(pid: int) -> float:
    """Proportional set size in MB; 0 when the process has ended."""
    try:
        rows = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return next((int(row.split()[1]) / 1000 for row in rows if row.startswith("Pss:")), 0.0)


if __name__ == "__main__":
    main()
