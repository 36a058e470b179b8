"""Locks: the living are waited for, the dead are not."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from pathlib import Path

import pytest

from tasks import lock
from tasks.lock import building, held, start_time


def write_lock(path: Path, host: str, pid: int, start: str, age_seconds: float = 0) -> None:
    path.write_text(json.dumps({"host": host, "pid": pid, "start": start, "token": "t"}))
    then = time.time() - age_seconds
    os.utime(path, (then, then))


def take(path: Path) -> list[str]:
    waited: list[str] = []
    with building(path, waited.append, poll_seconds=0.01):
        assert held(path)
    assert not path.exists()
    return waited


def test_a_dead_process_of_this_host_does_not_hold(tmp_path: Path) -> None:
    write_lock(tmp_path / "l", socket.gethostname(), 2**22 - 1, "1")
    assert take(tmp_path / "l") == []


def test_a_reused_pid_is_not_taken_for_the_builder(tmp_path: Path) -> None:
    write_lock(tmp_path / "l", socket.gethostname(), os.getpid(), "another start time")
    assert take(tmp_path / "l") == []


def test_a_stopped_process_of_this_host_still_holds(tmp_path: Path) -> None:
    mine = start_time(os.getpid())
    assert mine is not None
    write_lock(tmp_path / "l", socket.gethostname(), os.getpid(), mine, age_seconds=lock.DEAD_AFTER_SECONDS + 60)
    assert held(tmp_path / "l")


def test_another_hosts_builder_is_dead_when_its_heartbeat_stopped(tmp_path: Path) -> None:
    write_lock(tmp_path / "l", "elsewhere", 1, "1", age_seconds=lock.DEAD_AFTER_SECONDS + 1)
    assert take(tmp_path / "l") == []


def test_another_hosts_living_builder_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_lock(tmp_path / "l", "elsewhere", 7, "1")
    monkeypatch.setattr(lock, "DEAD_AFTER_SECONDS", 0.3)
    assert take(tmp_path / "l") == ["process 7 on elsewhere"]


def test_a_half_written_lock_is_broken(tmp_path: Path) -> None:
    (tmp_path / "l").write_text("{")
    assert take(tmp_path / "l") == []


def test_only_one_holds_at_a_time(tmp_path: Path) -> None:
    inside, most = [0], [0]

    def work() -> None:
        for _ in range(20):
            with building(tmp_path / "l", lambda _: None, poll_seconds=0.001):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
    assert list(tmp_path.iterdir()) == []


def test_a_process_has_a_start_time_and_a_missing_one_none() -> None:
    assert start_time(os.getpid())
    assert start_time(2**22 - 1) is None
