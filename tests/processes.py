"""Several gloo processes in a test: forked from one server that has imported torch once, gone when the test is."""

import multiprocessing
import socket
import struct
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

PRELOADED = [
    "torch",
    "lightning.pytorch",
    "transformers.models.llama.modeling_llama",
    "models.trainer",
    "tests.training",
]
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(PRELOADED)


def start(function: Callable[..., Any], ranks: int, folder: Path, *arguments: Any) -> tuple[list[Any], Any]:
    """`function(rank, *arguments)` in each of `ranks` processes of one group; the processes, and where results come."""
    folder.mkdir(parents=True, exist_ok=True)
    store, results = folder / "store", _context.Queue()
    store.unlink(missing_ok=True)
    processes = [
        _context.Process(target=_child, args=(function, rank, ranks, str(store), results, arguments), daemon=True)
        for rank in range(ranks)
    ]
    for process in processes:
        process.start()
    return processes, results


def run(function: Callable[..., Any], ranks: int, folder: Path, *arguments: Any) -> list[Any]:
    """The results by rank; fails with the traceback of the first process that failed."""
    processes, results = start(function, ranks, folder, *arguments)
    found: dict[int, Any] = {}
    try:
        while len(found) < ranks:
            rank, well, value = results.get(timeout=600)
            assert well, f"rank {rank}:\n{value}"
            found[rank] = value
    finally:
        for process in processes:
            process.kill() if len(found) < ranks else None
            process.join()
    return [found[rank] for rank in range(ranks)]


def _child(function: Callable[..., Any], rank: int, ranks: int, store: str, results: Any, arguments: Any) -> None:
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    try:
        dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=ranks)
        results.put((rank, True, function(rank, *arguments)))
        dist.destroy_process_group()
    except Exception:
        results.put((rank, False, traceback.format_exc()))


def bytes_sent() -> int:
    """By this process over all its TCP connections, as the kernel counts them (tcpi_bytes_sent, Linux 4.19 on)."""
    total = 0
    for link in Path("/proc/self/fd").iterdir():
        try:
            connection = socket.socket(fileno=_duplicate(int(link.name)))
        except OSError:
            continue
        with connection:
            try:
                facts = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 232)
            except OSError:
                continue
            total += struct.unpack_from("=Q", facts, 200)[0]
    return total


def _duplicate(number: int) -> int:
    import os
    import stat

    if not stat.S_ISSOCK(os.fstat(number).st_mode):
        raise OSError("not a socket")
    return os.dup(number)
