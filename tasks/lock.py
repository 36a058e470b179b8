"""One builder per key: a lock file whose heartbeat tells the living from the dead."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

HEARTBEAT_SECONDS = 2.0
DEAD_AFTER_SECONDS = 30.0


@contextmanager
def building(path: Path, on_wait: Callable[[str], None], poll_seconds: float = 0.5) -> Iterator[None]:
    """Hold the lock file at `path`, waiting for a living holder and breaking a dead one's lock.

    A holder on this host is dead when its process is gone, however long a living one is silent (stopped, suspended);
    one on another host when its heartbeat (the file's time) is older than `DEAD_AFTER_SECONDS`. `on_wait` is told who
    holds the lock, once.
    """
    token = uuid.uuid4().hex
    path.parent.mkdir(parents=True, exist_ok=True)
    told = False
    while not _take(path, token):
        holder = _holder(path)
        if holder is None or _dead(path, holder):
            _break(path, holder)
            continue
        if not told:
            on_wait(f"process {holder['pid']} on {holder['host']}")
            told = True
        time.sleep(poll_seconds)
    stop = threading.Event()
    beat = threading.Thread(target=_beat, args=(path, token, stop), daemon=True)
    beat.start()
    try:
        yield
    finally:
        stop.set()
        beat.join()
        holder = _holder(path)
        if holder is not None and holder["token"] == token:
            path.unlink(missing_ok=True)


def held(path: Path) -> bool:
    """Whether a living builder holds the lock file."""
    holder = _holder(path)
    return holder is not None and not _dead(path, holder)


def alive(pid: int, start: object) -> bool:
    """Whether the process that had this id and start time on this host still runs."""
    return start is not None and start_time(pid) == start


def _take(path: Path, token: str) -> bool:
    mine = path.with_name(f"{path.name}.{token}")
    record = {"host": socket.gethostname(), "pid": os.getpid(), "start": start_time(os.getpid()), "token": token}
    try:
        mine.write_text(json.dumps(record))
        os.link(mine, path)  # atomic, and the file is whole from the first moment on
    except FileExistsError:
        return False
    finally:
        mine.unlink(missing_ok=True)
    return True


def _holder(path: Path) -> dict[str, object] | None:
    try:
        return dict(json.loads(path.read_text()))
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def _dead(path: Path, holder: dict[str, object]) -> bool:
    try:
        silent = time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return False
    if holder["host"] == socket.gethostname():
        return not alive(int(str(holder["pid"])), holder["start"])
    return silent > DEAD_AFTER_SECONDS


def _break(path: Path, holder: dict[str, object] | None) -> None:
    """Take a dead holder's file away. When two breakers meet, the second puts back the successor's file."""
    aside = path.with_name(f"{path.name}.dead.{uuid.uuid4().hex}")
    try:
        path.rename(aside)
    except FileNotFoundError:
        return
    if holder is not None and _holder(aside) != holder:
        with suppress(FileExistsError):
            os.link(aside, path)
    aside.unlink()


def _beat(path: Path, token: str, stop: threading.Event) -> None:
    while not stop.wait(HEARTBEAT_SECONDS):
        holder = _holder(path)
        if holder is None or holder["token"] != token:
            return
        with suppress(OSError):  # a beat that a full or remote disk refuses is made up for by the next
            os.utime(path)


def start_time(pid: int) -> str | None:
    """A process's start time, so that a reused pid is not taken for the builder; None when there is no such process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] == "Z" else fields[19]  # a zombie is dead, though not yet buried by its parent
    except (FileNotFoundError, ProcessLookupError):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        except PermissionError:
            return "unknown"
        return None if Path("/proc/self/stat").exists() else "unknown"
