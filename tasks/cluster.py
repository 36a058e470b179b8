"""Several processes for one training run, and their mesh."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from pydantic import Field

from models.mesh import Mesh
from tasks.code import PROJECT
from tasks.errors import StageError
from tasks.output import Output
from tasks.ray_workers import ray_started, require_plain_path
from tasks.stage import StageConfig

RESTARTS = 2
SPEC, EVENTS, ERROR, STOP, LOG = "spec.json", "events.jsonl", "error.txt", "stop", "processes.log"
GPU_BACKEND = "cpu:gloo,cuda:nccl"
"""Tensors travel by NCCL, what ranks tell each other of checkpoints (Python's objects) by gloo."""

SHUTDOWN_SECONDS = 300
"""For a process that was asked to stop: the end of its step and a checkpoint. torchrun's own is 30."""

PR_SET_PDEATHSIG = 1
"""prctl(2)."""


class ParallelConfig(StageConfig):
    """The mesh of a training run; replicate x shard x context x tensor must be nodes x processes.

    `fullchain size` recommends one. None of it bears identity: a run may be resumed on another mesh.
    """

    nodes: int = Field(1, ge=1, le=4096, description="Machines; above 1 the processes are started by Ray")
    processes: int = Field(1, ge=1, le=64, description="Processes per machine, each with a GPU where there are any")
    replicate: int = Field(1, ge=1, description="Copies of the optimizer's states; their gradients are averaged")
    shard: int = Field(1, ge=1, description="Ranks that share one copy of the optimizer's states (zero1 of InternEvo)")
    parameter_shard: int = Field(
        0, ge=0, description="Ranks that share one copy of the weights between uses; 0 = as `shard`, 1 = none (ZeRO-1)"
    )
    context: int = Field(1, ge=1, description="Ranks that share one sequence")
    tensor: int = Field(1, ge=1, description="Ranks that share each matrix, inside a node")

    @property
    def world(self) -> int:
        """All processes."""
        return self.nodes * self.processes

    @property
    def mesh(self) -> Mesh:
        """The mesh in numbers, not yet checked."""
        states = self.shard * self.context
        return Mesh(self.replicate, self.shard, self.context, self.tensor, self.parameter_shard or states)


class Relay:
    """A watcher in the first process: what it is told goes into a file that the stage's own process follows."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def progress(self, label: str, done: float, total: float | None) -> None:
        self._put("progress", [label, done, total])

    def point(self, step: int, values: dict[str, float], /) -> None:
        self._put("point", [step, values])

    def event(self, kind: str, text: str, /) -> None:
        self._put("event", [kind, text])

    def _put(self, what: str, arguments: list[Any]) -> None:
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps([what, arguments]) + "\n")


def launch(parallel: ParallelConfig, module: str, spec: dict[str, Any], out: Output) -> None:
    """Run `module.work(spec)` in every process of the mesh, and tell what the first one tells its `Relay`.

    torchrun on one machine, Ray Train on several. A process that dies takes the others with it; all are started again
    and go on from their checkpoint, RESTARTS times.

    Raises:
        StageError: what a process raised as such.
        RuntimeError: the processes died otherwise; their last words are in the log.
    """
    folder = out.state / "processes"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / SPEC).write_text(json.dumps(spec), encoding="utf-8")
    start = _torchrun if parallel.nodes == 1 else _ray
    status = start(parallel, module, folder, out)
    error = folder / ERROR
    if error.exists():
        raise StageError(error.read_text(encoding="utf-8"))
    if status:
        last = (out.logs / LOG).read_text(encoding="utf-8", errors="replace").splitlines()[-20:]
        raise RuntimeError(f"processes ended with status {status}; the last lines of {LOG}:\n" + "\n".join(last))


def worker(module: str, folder: Path) -> None:
    """One process: `module.work(spec)`, a StageError of which is left for `launch` to raise."""
    spec = json.loads((folder / SPEC).read_text(encoding="utf-8"))
    try:
        import_module(module).work(spec, folder)
    except StageError as error:
        (folder / ERROR).write_text(str(error), encoding="utf-8")


def _torchrun(parallel: ParallelConfig, module: str, folder: Path, out: Output) -> int:
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--max-restarts", str(RESTARTS),
        "--shutdown-timeout", str(SHUTDOWN_SECONDS),
        "--nproc-per-node", str(parallel.processes), "-m", "tasks.cluster", module, str(folder),
    ]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(PROJECT), os.environ.get("PYTHONPATH", "")])}
    environment |= {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}  # shared, it gives restarted processes dead addresses
    with (out.logs / LOG).open("ab") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, preexec_fn=die_with_parent)
        try:
            with _terminated_with_us(process.terminate):
                for _ in _follow(folder / EVENTS, out, lambda: process.poll() is not None):
                    time.sleep(0.2)
        finally:
            process.terminate()
            process.wait()
    return process.returncode


@contextmanager
def _terminated_with_us(stop: Callable[[], object]) -> Iterator[None]:
    """SIGTERM goes on to the processes, which save and end; then we end, too, with the usual status 128 + 15."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked: list[int] = []

    def forward(number: int, _: Any) -> None:
        asked.append(number)
        stop()

    before = signal.signal(signal.SIGTERM, forward)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
    if asked:
        raise SystemExit(128 + signal.SIGTERM)


def _ray(parallel: ParallelConfig, module: str, folder: Path, out: Output) -> int:
    """Ray Train starts the processes and their process group; all machines must share the storage of the folders."""
    require_plain_path()
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    with ray_started(parallel.world) as ray, ThreadPoolExecutor(1) as pool:
        gpus = ray.cluster_resources().get("GPU", 0) >= parallel.world
        trainer = TorchTrainer(
            _ray_worker,
            train_loop_config={"module": module, "folder": str(folder)},
            scaling_config=ScalingConfig(num_workers=parallel.world, use_gpu=gpus),
            torch_config=TorchConfig(backend=GPU_BACKEND if gpus else "gloo"),
            run_config=RunConfig(
                name="processes", storage_path=str(folder), failure_config=FailureConfig(max_failures=RESTARTS)
            ),
        )
        running = pool.submit(trainer.fit)
        try:
            with _terminated_with_us((folder / STOP).touch):  # Ray passes no signals on
                for _ in _follow(folder / EVENTS, out, running.done):
                    time.sleep(0.2)
                running.result()
        except Exception as error:
            (out.logs / LOG).write_text(f"{error}\n", encoding="utf-8")
            return 1
    return 0


def _ray_worker(config: dict[str, str]) -> None:
    with suppress(SystemExit):  # asked to stop, and saved: no failure to Ray
        worker(config["module"], Path(config["folder"]))


def _follow(path: Path, out: Output, done: Callable[[], bool]) -> Iterator[None]:
    """Tell the stage's watchers what comes into the file until the processes are done; yields between looks."""
    place, finished = 0, False
    while not finished:
        finished = done()  # before the look, so that the last lines are read
        if path.exists():
            with path.open("rb") as stream:
                stream.seek(place)
                lines = stream.read().splitlines(keepends=True)
            for line in lines:
                if line.endswith(b"\n"):
                    place += len(line)
                    what, arguments = json.loads(line)
                    if what == "event":
                        out.log.warning("%s", arguments[1])
                    for watcher in out.watchers:
                        getattr(watcher, what)(*arguments)
        if not finished:
            yield


def die_with_parent() -> None:
    """On Linux: no process outlives who started it, even when that is killed; two runs would write one checkpoint."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


if __name__ == "__main__":
    die_with_parent()
    worker(sys.argv[1], Path(sys.argv[2]))
