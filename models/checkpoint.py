"""Training checkpoints: every rank writes its own parts, and any other number of ranks, on any mesh, reads them back.

torch's distributed checkpoint (DCP) in safetensors, without pickle; everything else is JSON. The root is a folder or
an fsspec URL, kept by models/checkpoints.py.
"""

import json
import secrets
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from fsspec.implementations.local import LocalFileSystem
from torch import Tensor, nn
from torch.distributed.checkpoint._fsspec_filesystem import FileSystem
from torch.optim import Optimizer

from models.checkpoints import RECORD, drop, folder_url, place, prune, read, steps, write
from models.muon import Muon

Tensors = dict[str, Tensor]

warnings.filterwarnings("ignore", "torch.distributed is disabled")  # so we ask for it


class Mismatch(ValueError):
    """A checkpoint that is not of the model at hand; the text names the settings or the first tensor that differ."""


class Saver:
    """Writes `root/step-N` in the background: training goes on as soon as the state is copied. One save at a time.

    Behind each, all but the newest `keep` checkpoints and the one with the best score are dropped.
    """

    def __init__(self, root: Path | str, keep: int) -> None:
        self.root, self.keep = root, keep
        self._group = dist.new_group(backend="gloo") if dist.is_initialized() else None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None

    def save(self, step: int, model: nn.Module, optimizers: list[Optimizer], record: dict[str, Any]) -> None:
        """Copy the state to the CPU now, write it soon. Raises what the save before ran into."""
        self.wait()
        tensors, scalars = _state(model, optimizers)
        copies = {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}
        text = json.loads(json.dumps({"step": step, "of": _origin(model, optimizers), "optimizer": scalars, **record}))
        self._pending = self._thread.submit(_write, self.root, step, copies, text, self.keep, self._group)

    def wait(self) -> None:
        """Return when the last checkpoint is whole, on every rank. Raises what the writing ran into."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            pending.result()

    def close(self) -> None:
        self.wait()
        self._thread.shutdown()


def restore(
    root: Path | str, model: nn.Module, optimizers: list[Optimizer], step: int | None = None
) -> dict[str, Any] | None:
    """Bring model and optimizers to a checkpoint's state, the newest's by default; its record, or None without one.

    Raises:
        Mismatch: the checkpoint is of another model or optimizer.
    """
    found = steps(root)
    if not found:
        return None
    chosen = found[-1] if step is None else step
    fs, folder = place(root, chosen)
    record = read(folder_url(root, chosen), RECORD)
    _check_origin(record.pop("of"), _origin(model, optimizers), folder)
    scalars = record.pop("optimizer")
    _make_room(model, optimizers, scalars)
    tensors, _ = _state(model, optimizers)
    with _readable(fs, folder) as local:
        reader = dcp.HuggingFaceStorageReader(local)
        _check(tensors, reader.read_metadata().state_dict_metadata, folder)
        dcp.load(tensors, storage_reader=reader, no_dist=not dist.is_initialized())
    _put_scalars(model, optimizers, scalars)
    return record


def _write(
    root: Path | str, step: int, tensors: Tensors, record: dict[str, Any], keep: int, group: dist.ProcessGroup | None
) -> None:
    alone = not dist.is_initialized()
    first = alone or dist.get_rank() == 0
    fs, folder = place(root, step)
    if first:
        drop(root, step)  # a save that was killed, perhaps on another mesh
        fs.makedirs(folder, exist_ok=True)
    if not alone:
        dist.barrier(group)
    dcp.save(tensors, storage_writer=_writer(fs, folder, root), process_group=group, no_dist=alone)
    if not alone:
        dist.barrier(group)
    if first:
        write(folder_url(root, step), RECORD, record)
        prune(root, keep)
    if not alone:
        dist.barrier(group)


def _writer(fs: Any, folder: str, root: Path | str) -> dcp.HuggingFaceStorageWriter:
    writer = dcp.HuggingFaceStorageWriter(folder, save_distributed=True)
    if not isinstance(fs, LocalFileSystem):
        writer.fs, writer.sync_files = FileSystem(), False
        writer.path = writer.fs.init_path(f"{str(root).rstrip('/')}/{folder.rpartition('/')[2]}")
    return writer


@contextmanager
def _readable(fs: Any, folder: str) -> Iterator[str]:
    """A local folder with the checkpoint's files; safetensors are read from local files only.

    One rank of each machine fetches them: whoever makes the folder, whose name all ranks draw together.
    """
    if isinstance(fs, LocalFileSystem):
        yield folder
        return
    local = Path(tempfile.gettempdir(), f"fullchain-checkpoint-{_drawn_together():016x}")
    ours = _made(local)
    try:
        if ours:
            for path in fs.ls(folder, detail=False):
                fs.get_file(path, str(local / str(path).rpartition("/")[2]))
        _meet()
        yield str(local)
        _meet()
    finally:
        if ours:
            shutil.rmtree(local)


def _drawn_together() -> int:
    number = torch.tensor(secrets.randbits(62))
    if dist.is_initialized():
        number = number.to(_group_device())
        dist.broadcast(number, 0)
    return int(number)


def _group_device() -> torch.device:
    return torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")


def _made(folder: Path) -> bool:
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        return False
    return True


def _meet() -> None:
    if dist.is_initialized():
        dist.barrier()


def _state(model: nn.Module, optimizers: list[Optimizer]) -> tuple[Tensors, dict[str, dict[str, float | None]]]:
    """All tensors by name, and per optimized parameter its scalars; a field that is a tensor stands there as None.

    Frozen parameters are the base model's and not saved; tied ones are named once.
    """
    tensors = {f"model.{name}": parameter.detach() for name, parameter in _trained(model)}
    scalars: dict[str, dict[str, float | None]] = {}
    for name, _, state in _states(model, optimizers):
        fields: dict[str, float | None] = {}
        for field, value in state.items():
            large = isinstance(value, Tensor) and value.ndim > 0
            fields[field] = None if large else float(value)
            if large:
                tensors[f"optimizer.{name}.{field}"] = value
        scalars[name] = fields
    return tensors, scalars


def _make_room(model: nn.Module, optimizers: list[Optimizer], scalars: dict[str, dict[str, float | None]]) -> None:
    """Give every optimized parameter the state tensors that the checkpoint has for it."""
    for name, parameter, state in _states(model, optimizers):
        fields = scalars.get(name, {})
        for field in state.keys() - fields.keys():
            del state[field]
        for field, value in fields.items():
            if value is None and field not in state:
                state[field] = torch.zeros_like(parameter.detach())


def _put_scalars(model: nn.Module, optimizers: list[Optimizer], scalars: dict[str, dict[str, float | None]]) -> None:
    """On their parameters' device, where fused AdamW wants its count of steps."""
    for name, parameter, state in _states(model, optimizers):
        for field, value in scalars.get(name, {}).items():
            if value is not None:
                state[field] = torch.tensor(value, device=parameter.device)


def _states(model: nn.Module, optimizers: list[Optimizer]) -> Iterator[tuple[str, Tensor, dict[str, Any]]]:
    names = {id(parameter): name for name, parameter in _trained(model)}
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                yield names[id(parameter)], parameter, optimizer.state[parameter]


def _trained(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    return ((name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad)


def _origin(model: nn.Module, optimizers: list[Optimizer]) -> dict[str, Any]:
    """What a checkpoint must be of, beside its tensors' shapes: the network's settings, the optimizers' kinds."""
    network = json.loads(model.config.to_json_string())
    kinds = ["Muon" if isinstance(optimizer, Muon) else type(optimizer).__name__ for optimizer in optimizers]
    return {name: network[name] for name in sorted(network) if name != "transformers_version"} | {"optimizers": kinds}


def _check_origin(saved: dict[str, Any], ours: dict[str, Any], folder: str) -> None:
    other = [name for name in sorted(saved.keys() | ours.keys()) if saved.get(name) != ours.get(name)]
    if other:
        told = ", ".join(f"{name} {saved.get(name)} (this run: {ours.get(name)})" for name in other)
        raise Mismatch(f"{folder.rpartition('/')[2]} is of {told}")


def _check(wanted: Tensors, saved: dict[str, Any], folder: str) -> None:
    for name in sorted(wanted.keys() | saved.keys()):
        ours = str(list(wanted[name].shape)) if name in wanted else "missing"
        theirs = str(list(saved[name].size)) if name in saved else "missing"
        if ours != theirs:
            raise Mismatch(
                f"{folder.rpartition('/')[2]}: {name.removeprefix('model.')} is {theirs}, the model's is {ours}"
            )
