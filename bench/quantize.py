"""Quality of our int4 beside llama.cpp's formats, on the same validation text of a preset.

    python -m bench.quantize [--align REF] [--quantize REF] [--tokens REF] [--check-tokens 8192]

Every format's weights are put back into the same fp32 network, so that nothing but rounding differs; ours are measured
once more as they are served, by the graph, with activations in int8. Q4_0 and Q4_1 come from the reference quantizers
of the package gguf (llama.cpp's bytes; its output head, which it keeps finer, in Q8_0). Q4_K_M needs llama.cpp's own
program: the environment variable LLAMA_QUANTIZE says where it is.
"""

import argparse
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import torch
from gguf import GGMLQuantizationType
from torch import Tensor

from bench.serve_quality import gguf_weights, quality_line
from flows.refs import resolve
from models.language_model import LanguageModel
from tasks.quantize.export.gguf import write
from tasks.quantize.export.graph import Weights, read_weights
from tasks.quantize.quality import Quality, compare
from tasks.store import Store, home
from tasks.validation import validation_text

WINDOW, CONTEXT = 256, 64
PROGRAM = " (program)"  # behind a format's name: written by llama.cpp's own, not by the package gguf
State = dict[str, Tensor]


def main() -> None:
    """A table, then a JSON line for each peer: by how much more it raises bits per byte than the served graph does."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for stage in ("align", "quantize", "tokens"):
        asked.add_argument(f"--{stage}", default=f"{stage}@smollm2", help="a REF, or an artifact's folder")
    asked.add_argument("--check-tokens", type=int, default=8192)
    options = asked.parse_args()
    source, package = _artifact(options.align) / "model", _artifact(options.quantize) / "model"
    text = validation_text(_artifact(options.tokens), options.check_tokens, WINDOW, CONTEXT)
    full, other = (LanguageModel.load(source, length=WINDOW) for _ in range(2))
    rows: dict[str, Quality] = {}

    def measure(name: str, model: LanguageModel, bits: float) -> None:
        rows[name] = row = compare(full, model, text, (0, 0), lambda _: None)
        print(
            f"{name:16} {bits:5.2f} bits/weight  bits per byte {row.bits_per_byte_int4:.4f} "
            f"({100 * (row.bits_per_byte_ratio - 1):+.2f}%)  KL {row.mean_kl:.4f}  top-1 {row.top1_agreement:.4f}",
            flush=True,
        )

    ours = read_weights(package)
    measure("ours, as served", LanguageModel.load(package, length=WINDOW), _bits(ours))
    for name, bits, state in [("ours, weights", _bits(ours), _state(ours)), *peers(source, other)]:
        other.session.model.load_state_dict(state, strict=False)
        measure(name, other, bits)
    for name, row in rows.items():
        if not name.startswith("ours"):
            print(json.dumps(_line(name, rows["ours, as served"], row)))


def _line(name: str, ours: Quality, peer: Quality) -> dict[str, Any]:
    form, by_program, _ = name.lower().partition(PROGRAM)
    line = quality_line(f"quantize_quality_{form}" + ("_program" if by_program else ""), ours, peer)
    return line | ({"peer_version": f"llama.cpp's {Path(os.environ['LLAMA_QUANTIZE']).name}"} if by_program else {})


def _artifact(reference: str) -> Path:
    return Path(reference) if Path(reference).is_dir() else resolve(reference, Store(home())).path


def peers(source: Path, model: LanguageModel) -> Iterator[tuple[str, float, State]]:
    """llama.cpp's formats: name, bits per weight, and the weights that they leave of the model."""
    original = {name: tensor.clone() for name, tensor in model.session.model.state_dict().items()}
    for kind in (GGMLQuantizationType.Q4_0, GGMLQuantizationType.Q4_1):
        state, size = {}, 0
        for name, tensor in original.items():
            form = GGMLQuantizationType.Q8_0 if name.startswith(("lm_head", "model.embed")) else kind
            data = gguf.quantize(tensor.numpy(), form) if tensor.ndim == 2 else tensor.numpy()
            size += data.nbytes if name != "lm_head.weight" else 0
            state[name] = torch.from_numpy(gguf.dequantize(data, form)) if tensor.ndim == 2 else tensor
        yield kind.name, 8 * size / sum(t.numel() for n, t in original.items() if n != "lm_head.weight"), state
    if program := os.environ.get("LLAMA_QUANTIZE"):
        with tempfile.TemporaryDirectory() as folder:
            config = json.loads((source / "config.json").read_text())
            write(source, Weights({}, original, config), Path(folder))
            for kind in ("Q4_0", "Q4_K_M"):
                target = Path(folder, f"{kind}.gguf")
                subprocess.run(
                    [program, Path(folder, "model.gguf"), target, kind, "2"], check=True, capture_output=True
                )
                state = gguf_weights(target)
                count = sum(tensor.numel() for name, tensor in state.items() if name != "lm_head.weight")
                yield kind + PROGRAM, 8 * target.stat().st_size / count, state


def _state(weights: Weights) -> State:
    return weights.vectors | {f"{name}.weight": matrix.dequantized() for name, matrix in weights.matrices.items()}


def _bits(weights: Weights) -> float:
    matrices = weights.matrices.values()
    return 8 * sum(m.bytes for m in matrices) / sum(m.codes.numel() for m in matrices)


if __name__ == "__main__":
    main()
