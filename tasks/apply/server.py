"""A server of its own for as long as it is needed: started as a process, spoken to over loopback, always ended."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

START_S, END_S = 120, 15  # seconds a server may take to load its model, and to end
KEY = "FULLCHAIN_API_KEY"  # the user's own server asks for it; this one, on loopback for a moment, asks for none


@contextmanager
def served(model_dir: Path, name: str, log: Path, *options: str) -> Iterator[str]:
    """Serve a directory of the quantize stage on a free loopback port; yields the address.

    `log` gets the server's output. Raises RuntimeError with its last lines when it does not come up. However the block
    ends, the server and whatever it started are gone after it.
    """
    with tempfile.TemporaryDirectory(prefix="apply-") as folder, log.open("w") as output:
        ready = Path(folder, "ready.json")
        command = [sys.executable, "-m", "tasks.serve", str(model_dir), "--name", name, "--port", "0", "--attached"]
        command += ["--ready-file", str(ready), *options]
        # Our end of its input closes when we end, even by SIGKILL, and the server with it.
        process = subprocess.Popen(
            command,
            env={name: value for name, value in os.environ.items() if name != KEY},
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield _address(process, ready, log)
        finally:
            _end(process)


def _address(process: subprocess.Popen, ready: Path, log: Path) -> str:
    end = time.monotonic() + START_S
    while not ready.exists():
        if process.poll() is not None or time.monotonic() > end:
            lines = log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"the server did not start (status {process.poll()}); its last lines:\n{lines}")
        time.sleep(0.05)
    return json.loads(ready.read_text())["url"]


def _end(process: subprocess.Popen) -> None:
    """Ask the process to end, then end its whole group."""
    process.terminate()
    process.stdin.close()
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # the group is the process's own
        process.wait()
