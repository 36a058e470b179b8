"""Low-rank adapters beside a quantized graph, one per sequence (Hu et al. 2021; several at once: Chen et al. 2023).

The matrices of all adapters lie side by side in one product; each row of tokens keeps the ranks of its own adapter and
zeros for the rest, so that a row's result depends neither on its neighbours nor on which adapters are loaded with it.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

JOINED = {"qkv_proj": ("q_proj", "k_proj", "v_proj")}  # what the builder makes one product
_KEY = re.compile(r"base_model\.model\.model\.(layers\.\d+)\.(?:self_attn|mlp)\.(\w+)\.lora_([AB])\.weight")
_NODE = re.compile(r"/(layers\.\d+)/(?:attn|mlp)/(\w+)/")
_SIDE = re.compile(r"model\.(layers\.\d+)\.(?:self_attn|mlp)\.(\w+)\.(inputs|outputs)")
_RESCALING = "rescaling.safetensors"
UNKNOWN = ("use_dora", "modules_to_save", "rank_pattern", "alpha_pattern", "fan_in_fan_out", "lora_bias")


@dataclass(frozen=True)
class Adapter:
    """By module, such as "layers.0.q_proj": A [rank, K] and B [N, rank], which holds the scale."""

    name: str
    factors: dict[str, tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class LowRank:
    """What one product of the graph is given in addition: keep[row] * (x @ down) @ up.

    `down` [K, R], `up` [R, N], `keep` [adapters + 1, R]: row 0 is the model's own and keeps nothing.
    """

    down: np.ndarray
    up: np.ndarray
    keep: np.ndarray
    modules: frozenset[str]


def save_rescaling(scales: Mapping[str, np.ndarray], directory: Path) -> None:
    """Write what a recipe multiplied the inputs of modules by (`NAME.inputs` [K]) and divided their outputs by."""
    if scales:
        save_file(
            {name: np.ascontiguousarray(scale, np.float32) for name, scale in scales.items()}, directory / _RESCALING
        )


def read_adapters(folder: Path, model_dir: Path) -> list[Adapter]:
    """The adapters of a folder's subfolders, by their names, as peft writes them, in the numbers of a quantized model.

    Raises ValueError that names the file and what in it is not understood.
    """
    path = model_dir / _RESCALING
    scales = load_file(path) if path.exists() else {}
    found = [_rescaled(_read(path.parent), scales) for path in sorted(folder.glob("*/adapter_config.json"))]
    if not found:
        raise ValueError(f"{folder}: no adapter; expected a folder per adapter, as peft's save_pretrained writes them")
    return found


def _rescaled(adapter: Adapter, scales: Mapping[str, np.ndarray]) -> Adapter:
    """The adapter of the model whose columns and rows these scales changed; one that does not fit stays as it is."""
    factors = dict(adapter.factors)
    for key, scale in scales.items():
        layer, module, side = _SIDE.fullmatch(key).groups()  # type: ignore[union-attr]
        a, b = factors.get(f"{layer}.{module}", (scale[:0], scale[:0]))
        if side == "inputs" and a.shape[-1] == len(scale):
            factors[f"{layer}.{module}"] = (a * scale, b)
        elif side == "outputs" and b.shape[0] == len(scale):
            factors[f"{layer}.{module}"] = (a, b / scale[:, None])
    return Adapter(adapter.name, factors)


def _read(folder: Path) -> Adapter:
    config = json.loads((folder / "adapter_config.json").read_text())
    odd = [name for name in UNKNOWN if config.get(name)]
    if config.get("peft_type") != "LORA" or config.get("bias", "none") != "none" or odd:
        raise ValueError(f"{folder}: expected plain LoRA without biases; found {odd or config.get('peft_type')}")
    path = folder / "adapter_model.safetensors"
    if not path.exists():
        raise ValueError(f"{path}: missing; adapters are read from safetensors only")
    halves: dict[str, dict[str, np.ndarray]] = {}
    for key, tensor in load_file(path).items():
        match = _KEY.fullmatch(key)
        if match is None or not np.isfinite(tensor).all():
            raise ValueError(f"{path}: {key}: expected finite updates of attention and feed-forward matrices only")
        halves.setdefault(f"{match[1]}.{match[2]}", {})[match[3]] = tensor.astype(np.float32)
    root = math.sqrt if config.get("use_rslora") else float
    factors = {
        name: (half["A"], half["B"] * (config["lora_alpha"] / root(len(half["A"])))) for name, half in halves.items()
    }
    return Adapter(folder.name, factors)


def low_rank(node: str, columns: int, parts: dict[str, int], adapters: Sequence[Adapter]) -> LowRank | None:
    """The update of the product called `node`, from K = `columns`; None when no adapter changes it.

    `parts` has the rows of each matrix that one product may join. Raises ValueError for factors that do not fit.
    """
    match = _NODE.search(node)
    if match is None:
        return None
    layer, last = match[1], match[2]
    names = JOINED.get(last, (last,))
    starts = np.cumsum([0, *(parts[name] for name in names)])
    blocks = [
        (number, int(start), size, *adapter.factors[f"{layer}.{name}"])
        for number, adapter in enumerate(adapters, 1)
        for name, start, size in zip(names, starts, np.diff(starts), strict=False)
        if f"{layer}.{name}" in adapter.factors
    ]
    if not blocks:
        return None
    ranks = np.cumsum([0, *(len(a) for _, _, _, a, _ in blocks)])
    down = np.zeros((columns, ranks[-1]), np.float32)
    up = np.zeros((ranks[-1], starts[-1]), np.float32)
    keep = np.zeros((len(adapters) + 1, ranks[-1]), np.float32)
    for (number, start, size, a, b), first, last_rank in zip(blocks, ranks, ranks[1:], strict=False):
        if a.shape[1] != columns or b.shape != (size, len(a)):
            raise ValueError(
                f"adapter {adapters[number - 1].name}: {layer}.{last}: factors {a.shape} and {b.shape} do not fit a "
                f"matrix of {size} x {columns}; expected an adapter of this very model"
            )
        down[:, first:last_rank], keep[number, first:last_rank] = a.T, 1
        up[first:last_rank, start : start + size] = b.T
    return LowRank(down, up, keep, frozenset(f"{layer}.{name}" for name in names))
