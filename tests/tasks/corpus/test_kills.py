"""SIGKILL at any moment: the next run goes on, ends with the same bytes, and no process stays behind."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

CODE = """
import sys
from pathlib import Path
import tasks.corpus.cut as cut
from tasks.build import build
from tasks.corpus import CorpusConfig, corpus
from tasks.store import Store
cut.SHARD = 20_000
if __name__ == "__main__":
    cfg = CorpusConfig(sources=["micro-verses"], workers=int(sys.argv[2]))
    print(build(Store(Path(sys.argv[1])), corpus, cfg, {})[0].digest)
"""


def start(store: Path, workers: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CODE, str(store), str(workers)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finished(store: Path, workers: int) -> tuple[str, float]:
    begun = time.monotonic()
    running = start(store, workers)
    digest, errors = running.communicate(timeout=300)
    assert running.returncode == 0, errors
    return digest.strip(), time.monotonic() - begun


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_killed_and_resumed_is_as_if_uninterrupted(workers: int, tmp_path: Path) -> None:
    expected, seconds = finished(tmp_path / "whole", 1)
    dice = random.Random(workers)
    left: list[psutil.Process] = []
    killed = 0
    for attempt in range(4):
        store = tmp_path / f"{attempt // 2}"  # every store is killed twice
        running = start(store, workers)
        try:
            running.wait(timeout=dice.uniform(0.3, 0.95) * seconds)
        except subprocess.TimeoutExpired:
            left += psutil.Process(running.pid).children(recursive=True)
            os.kill(running.pid, signal.SIGKILL)
        running.communicate()
        killed += running.returncode == -signal.SIGKILL
    assert killed, "every run ended before its kill"
    _, alive = psutil.wait_procs(left, timeout=30)
    assert not alive, f"{alive} outlived the process that started them"
    for store in ("0", "1"):
        assert finished(tmp_path / store, workers)[0] == expected
