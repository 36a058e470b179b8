"""`fullchain up`: Prefect's server and worker, MLflow's UI and the deployments, on this machine, ended together."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from flows.environment import TEAM_FILE, prepare, running_servers
from tasks.errors import StageError
from tasks.files import write_whole
from tasks.lock import start_time
from tasks.redact import without_secrets
from tasks.tracking import FILES, tracking_uri

PROJECT = Path(__file__).resolve().parents[1]
POOL = "fullchain"
READY_SECONDS = 180


def up(home: Path, prefect_port: int, mlflow_port: int, say: Callable[[str], None]) -> None:
    """Start everything, deploy every flow, and stay until SIGINT or SIGTERM; then end everything.

    Raises:
        StageError: it runs already, or a server did not come up (with the path of its log).
    """
    if running := running_servers(home):
        raise StageError(
            f"fullchain is up already (process {running['pid']}): {running['prefect']}; end that one first"
        )
    api, mlflow = f"http://127.0.0.1:{prefect_port}", f"http://127.0.0.1:{mlflow_port}"
    elsewhere = tracking_uri(home) if tracking_uri(home).startswith("http") else ""  # a server that runs already
    _refuse_taken({"--prefect-port": prefect_port} | ({} if elsewhere else {"--mlflow-port": mlflow_port}))
    os.environ["PREFECT_API_URL"] = f"{api}/api"
    prepare(home)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    started: list[subprocess.Popen[bytes]] = []
    try:
        started.append(_start(home, "prefect-server", "prefect", "server", "start", "--port", str(prefect_port)))
        if not elsewhere:
            store = {"MLFLOW_BACKEND_STORE_URI": tracking_uri(home)}  # a password in it would be seen in arguments
            started.append(_start(home, "mlflow", "mlflow", "server", *_mlflow_options(home, mlflow_port), **store))
        _wait(f"{api}/api/health", started[0], home / "logs" / "prefect-server.log")
        say(f"Prefect  {api}")
        _call("work-pool", "create", POOL, "--type", "process", "--overwrite")
        _call("deploy", "--all", "--prefect-file", str(PROJECT / "prefect.yaml"))
        started.append(_start(home, "prefect-worker", "prefect", "worker", "start", "--pool", POOL))
        if elsewhere:
            mlflow = without_secrets(elsewhere)
        else:
            _wait(f"{mlflow}/health", started[1], home / "logs" / "mlflow.log")
        say(f"MLflow   {mlflow}")
        write_whole(
            home / TEAM_FILE,
            json.dumps({"prefect": api, "mlflow": mlflow, "pid": os.getpid(), "start": start_time(os.getpid())}),
        )
        say("The deployments are ready; Ctrl-C ends everything.")
        _supervise(started)
    except KeyboardInterrupt:
        say("ending")
    finally:
        (home / TEAM_FILE).unlink(missing_ok=True)
        for process in reversed(started):
            _end(process)


def _refuse_taken(ports: dict[str, int]) -> None:
    for option, port in ports.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do: a closed one is free
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                raise StageError(f"{option} {port}: another program listens there; end it or name another") from error


def _start(home: Path, name: str, module: str, *arguments: str, **variables: str) -> subprocess.Popen[bytes]:
    log = home / "logs" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as stream:  # a process group of its own, so that _end reaches its children
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments], cwd=PROJECT, stdout=stream, stderr=stream,
            stdin=subprocess.DEVNULL, start_new_session=True, env=os.environ | variables,
        )  # fmt: skip


def _mlflow_options(home: Path, port: int) -> list[str]:
    options = {
        "--host": "127.0.0.1",
        "--port": str(port),
        "--workers": "1",
        "--artifacts-destination": str(home / FILES),
    }
    return [text for pair in options.items() for text in pair]


def _call(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", *arguments],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise StageError(f"prefect {' '.join(arguments[:2])} failed: {(done.stdout + done.stderr).strip()[-1500:]}")


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            tail = log.read_text(errors="replace")[-800:]
            raise StageError(f"{log.stem} ended with status {process.returncode}; its log {log} closes with:\n{tail}")
        try:
            if httpx.get(url, timeout=2).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    raise StageError(f"{log.stem} did not answer at {url} within {READY_SECONDS} s; see {log}")


def _supervise(started: list[subprocess.Popen[bytes]]) -> None:
    while all(process.poll() is None for process in started):
        time.sleep(1)
    dead = next(p for p in started if p.poll() is not None)
    raise StageError(f"{' '.join(map(str, dead.args[1:4]))} ended by itself, status {dead.returncode}")  # type: ignore[index]


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
