"""Training checkpoints without pickle: tensors in safetensors, everything else in JSON, published by one rename."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

PREFIX = "step-"


class Mismatch(ValueError):
    """A checkpoint that is not of the model at hand; the text names the first tensor that differs."""


def save(
    root: Path, step: int, model: nn.Module, optimizers: list[Optimizer], record: dict[str, Any], keep: int
) -> Path:
    """Write `root/step-N` whole or not at all, then drop all but the newest `keep` checkpoints."""
    root.mkdir(parents=True, exist_ok=True)
    draft, final = root / f".draft-{os.getpid()}", root / f"{PREFIX}{step:09d}"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    save_file(_trained(model), draft / "model.safetensors")
    tensors, scalars = _flatten(optimizers)
    save_file(tensors, draft / "optimizer.safetensors")
    (draft / "record.json").write_text(json.dumps({"step": step, "optimizer": scalars, **record}), encoding="utf-8")
    if final.exists():
        shutil.rmtree(final)
    draft.rename(final)
    for old in steps(root)[:-keep]:
        shutil.rmtree(root / f"{PREFIX}{old:09d}")
    return final


def steps(root: Path) -> list[int]:
    """The steps that have a checkpoint under `root`, oldest first."""
    return sorted(int(path.name.removeprefix(PREFIX)) for path in root.glob(f"{PREFIX}*"))


def drop_after(root: Path, step: int) -> None:
    """Forget the checkpoints of steps behind `step`, newest first."""
    for newer in reversed([found for found in steps(root) if found > step]):
        shutil.rmtree(root / f"{PREFIX}{newer:09d}")


def restore(root: Path, model: nn.Module, optimizers: list[Optimizer]) -> dict[str, Any] | None:
    """Bring model and optimizers to the newest checkpoint's state; its record, or None when there is none.

    Raises:
        Mismatch: the checkpoint is of another model.
    """
    found = steps(root)
    if not found:
        return None
    folder = root / f"{PREFIX}{found[-1]:09d}"
    with torch.no_grad():
        saved = load_file(folder / "model.safetensors")
        _check(folder, _trained(model), saved)
        for name, parameter in _trained(model).items():
            parameter.copy_(saved[name])
    record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    _unflatten(optimizers, load_file(folder / "optimizer.safetensors"), record.pop("optimizer"))
    return record


def _check(folder: Path, expected: dict[str, Tensor], saved: dict[str, Tensor]) -> None:
    for name in sorted(expected.keys() | saved.keys()):
        ours, theirs = (str(list(t[name].shape)) if name in t else "missing" for t in (expected, saved))
        if ours != theirs:
            raise Mismatch(f"{folder.name}: {name} is {theirs}, the model's is {ours}")


def _trained(model: nn.Module) -> dict[str, Tensor]:
    """The parameters that change; frozen ones are the base model's, tied ones are named once."""
    return {name: parameter.detach() for name, parameter in model.named_parameters() if parameter.requires_grad}


def _flatten(optimizers: list[Optimizer]) -> tuple[dict[str, Tensor], dict[str, float]]:
    tensors: dict[str, Tensor] = {}
    scalars: dict[str, float] = {}
    for number, optimizer in enumerate(optimizers):
        for position, state in optimizer.state_dict()["state"].items():
            for field, value in state.items():
                name = f"{number}.{position}.{field}"
                if isinstance(value, Tensor):
                    tensors[name] = value.contiguous()
                else:
                    scalars[name] = value
    return tensors, scalars


def _unflatten(optimizers: list[Optimizer], tensors: dict[str, Tensor], scalars: dict[str, float]) -> None:
    states: list[dict[int, dict[str, Any]]] = [{} for _ in optimizers]
    for name, value in [*tensors.items(), *scalars.items()]:
        number, position, field = name.split(".", 2)
        states[int(number)].setdefault(int(position), {})[field] = value
    for optimizer, state in zip(optimizers, states, strict=True):
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": state, "param_groups": groups})
