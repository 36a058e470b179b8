"""A quantized model for other engines: its codes and scales, not rounded again, in the formats that those load."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from tasks.errors import StageError


def export(package: Path, to: str, target: Path) -> list[str]:
    """Write the graph in `package` as `to` into the folder `target`; notes on what engines must know.

    Raises:
        StageError: an unknown format, a target that is not empty, or a model that the format cannot hold.
    """
    if to not in (formats := _formats()):
        raise StageError(f"export: unknown format {to!r}; expected one of {', '.join(formats)}")
    if target.exists() and any(target.iterdir()):
        raise StageError(f"export: {target} is not empty; name a new folder")
    from tasks.quantize.export.graph import read_weights

    weights = read_weights(package)
    target.mkdir(parents=True, exist_ok=True)
    return formats[to](package, weights, target)


def _formats() -> dict[str, Callable]:
    from tasks.quantize.export.compressed_tensors import LMDEPLOY, VLLM, write_for
    from tasks.quantize.export.gguf import write as gguf

    return {"gguf": gguf, "compressed-tensors": partial(write_for, VLLM), "lmdeploy": partial(write_for, LMDEPLOY)}
