"""The corpus stage against stock datatrove: heuristics, MinHash, one big file on two cores.

    python -m bench.corpus [--megabytes 60] [--slices 3] [--pairs 5] [--only NAME ...]

The pairs take the slices of the input by turns, ours and the peer one after the other, both as processes of their own
with two workers; seconds are those of the run itself, workers' start included. Prints one JSON line per comparison at
the end. `cpu` is the ratio of processor seconds of all processes, which a busy machine disturbs less than the clock.
Turns run at real-time priority (SCHED_RR) where the system allows it, which `real_time` tells.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from bench.corpus_texts import texts
from tasks.store import home

HERE = Path(__file__).resolve().parent
PEER_PYTHON = HERE.parent / ".venv-bench" / "bin" / "python"
PEER = "datatrove 0.10.1"
FILES = 4  # per slice: stock datatrove gives a file to one worker


class Plan(NamedTuple):
    megabytes: float
    slices: int
    pairs: int


class Turn(NamedTuple):
    seconds: float
    cpu: float  # processor seconds of all its processes
    out: Path


class Compared(NamedTuple):
    ours: list[Turn]
    peer: list[Turn]
    slices: list[Path]
    megabytes: float  # of one slice, 10^6 bytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=60, help="of input per language")
    parser.add_argument("--slices", type=int, default=3, help="cut the input into so many, a pair takes one")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--only", nargs="*", choices=BENCHES, default=list(BENCHES))
    options = parser.parse_args()
    _adopt_orphans()
    real_time = _at_real_time_priority()
    plan = Plan(options.megabytes, options.slices, options.pairs)
    lines = [BENCHES[name](name, plan) for name in options.only]
    for line in lines:
        print(json.dumps(line | {"real_time": real_time}, ensure_ascii=False))


def heuristics(name: str, plan: Plan) -> dict[str, Any]:
    language = name[-2:]
    with tempfile.TemporaryDirectory(dir=home()) as folder:
        done = _in_turn("heuristics", language, plan, Path(folder))
        same = total = alike = both = kept = 0
        for source, ours, peer in zip(done.slices, done.ours, done.peer, strict=True):
            ids, mine, theirs = list(_documents(source)), _documents(ours.out / "kept"), _documents(peer.out / "kept")
            same += sum((i in mine) == (i in theirs) for i in ids)
            total, kept = total + len(ids), kept + len(theirs)
            both += len(mine.keys() & theirs.keys())
            alike += sum(mine[i]["text"] == theirs[i]["text"] for i in mine.keys() & theirs.keys())
        return _line(name, done) | {
            "agreement": round(same / total, 5),
            "documents": total,
            "kept_by_peer": round(kept / total, 3),
            "kept_texts_equal": round(alike / both, 5),
        }


def minhash(name: str, plan: Plan) -> dict[str, Any]:
    language = name[-2:]
    with tempfile.TemporaryDirectory(dir=home()) as folder:
        done = _in_turn("minhash", language, plan, Path(folder))
        ours = _planted(done.slices, [turn.out for turn in done.ours])
        peer = _planted(done.slices, [turn.out for turn in done.peer])
        return _line(name, done) | {"agreement": None, "found_ours": ours, "found_peer": peer}


def _planted(slices: list[Path], outs: list[Path]) -> dict[str, Any]:
    """How many planted copies were found, by the share of words edited; and how many of those dropped were planted."""
    found, planted, dropped, right = Counter(), Counter(), 0, 0
    for source, out in zip(slices, outs, strict=True):
        documents, kept = _documents(source), _documents(out / "kept")
        copies = {i: d for i, d in documents.items() if d.get("of") in documents}
        family = copies.keys() | {d["of"] for d in copies.values()}
        gone = documents.keys() - kept.keys()
        dropped, right = dropped + len(gone), right + len(gone & family)
        for i, copy in copies.items():
            planted[copy["edited"]] += 1
            found[copy["edited"]] += i in gone or copy["of"] in gone
    recall = {str(share): round(found[share] / planted[share], 4) for share in sorted(planted)}
    return {"recall_by_edited_share": recall, "precision": round(right / max(1, dropped), 4), "dropped": dropped}


def one_file(name: str, plan: Plan) -> dict[str, Any]:
    """The whole stage on one JSON-lines file: two workers over one. The outputs must be the same bytes."""
    source = texts("en", plan.megabytes)
    with tempfile.TemporaryDirectory(dir=home()) as folder:
        turns: dict[str, list[Turn]] = {"1": [], "2": []}
        _stage(source, Path(folder) / "warm", "2")  # compiled kernels, a warm disk cache
        for pair in range(plan.pairs):
            for workers in ("1", "2") if pair % 2 else ("2", "1"):
                turns[workers].append(_stage(source, Path(folder) / f"{pair}-{workers}", workers))
        digests = {(turn.out / "digest").read_text() for both in turns.values() for turn in both}
        done = Compared(turns["2"], turns["1"], [source], source.stat().st_size / 1e6)
        return _line(name, done) | {"agreement": float(len(digests) == 1), "peer_version": "1 worker"}


def _stage(source: Path, out: Path, workers: str) -> Turn:
    return _timed([sys.executable, "-m", "bench.corpus_stage", str(source), str(out), workers], out)


def _in_turn(kind: str, language: str, plan: Plan, folder: Path) -> Compared:
    parts = _slices(texts(language, plan.megabytes), plan.slices, folder / "slices")
    slices = [parts[pair % plan.slices] for pair in range(plan.pairs)]
    ours = [sys.executable, "-m", "bench.corpus_ours", kind, language]
    peer = [str(PEER_PYTHON), str(HERE / "corpus_datatrove.py"), kind, language]
    _timed([*ours, str(slices[0]), str(folder / "warm")], folder / "warm")  # kernels are compiled once per machine
    turns: dict[str, list[Turn]] = {"ours": [], "peer": []}
    for pair, source in enumerate(slices):
        sides = [("ours", ours), ("peer", peer)]
        for side, command in sides if pair % 2 else reversed(sides):
            out = folder / f"{side}-{pair}"
            turns[side].append(_timed([*command, str(source), str(out)], out))
            print(f"{kind} {language} pair {pair} {side}: {turns[side][-1].seconds:.1f} s", file=sys.stderr)
    size = sum(f.stat().st_size for source in slices for f in source.iterdir()) / 1e6 / len(slices)
    return Compared(turns["ours"], turns["peer"], slices, size)


def _slices(path: Path, count: int, folder: Path) -> list[Path]:
    lines = path.read_bytes().splitlines(keepends=True)
    for i in range(count * FILES):
        file = folder / f"{i // FILES}" / f"{i % FILES:05d}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"".join(lines[i * len(lines) // (count * FILES) : (i + 1) * len(lines) // (count * FILES)]))
    return sorted(folder.iterdir())


def _timed(command: list[str], out: Path) -> Turn:
    shutil.rmtree(out, ignore_errors=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, cwd=HERE.parent)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    with contextlib.suppress(ChildProcessError):
        while True:  # a fork server outlives the process it served for a moment
            os.waitpid(-1, 0)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Turn(float(done.stdout.split()[-1]), cpu, out)


def _adopt_orphans() -> None:
    """Be the parent of processes whose own parent ended, so that their processor time is counted (Linux)."""
    PR_SET_CHILD_SUBREAPER = 36
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _at_real_time_priority() -> bool:
    """Take precedence over other work on the machine, as do all processes started from here; whether it is allowed."""
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except PermissionError:
        return False
    return True


def _documents(folder: Path) -> dict[str, dict[str, Any]]:
    lines = (line for file in sorted(folder.glob("*.jsonl")) for line in file.read_bytes().splitlines())
    return {document["id"]: document for document in map(json.loads, lines)}


def _line(name: str, done: Compared) -> dict[str, Any]:
    ratios = [peer.seconds / ours.seconds for ours, peer in zip(done.ours, done.peer, strict=True)]
    cpu = [peer.cpu / ours.cpu for ours, peer in zip(done.ours, done.peer, strict=True)]
    rate = lambda turns: done.megabytes / statistics.median(turn.seconds for turn in turns)  # noqa: E731
    return {
        "bench": name,
        "ratio": round(statistics.median(ratios), 2),
        "min": round(min(ratios), 2),
        "max": round(max(ratios), 2),
        "pairs": len(ratios),
        "ours": round(rate(done.ours), 2),
        "peer": round(rate(done.peer), 3),
        "unit": "MB/s",
        "peer_version": PEER,
        "cpu": round(statistics.median(cpu), 2),
        "megabytes": round(done.megabytes, 1),
    }


BENCHES: dict[str, Callable[[str, Plan], dict[str, Any]]] = {
    "corpus_heuristics_en": heuristics,
    "corpus_heuristics_zh": heuristics,
    "corpus_minhash_en": minhash,
    "corpus_minhash_zh": minhash,
    "corpus_one_file": one_file,
}

if __name__ == "__main__":
    main()
