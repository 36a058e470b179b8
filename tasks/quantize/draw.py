"""A decoder as an ONNX graph in fp32, by onnxruntime-genai's builder; quantized matrices take their places later."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

BUILDER = "onnxruntime_genai.models.builder"
# The builder, as a process that ends when nobody is left at the other end of its standard input.
ATTACHED = """
import os, runpy, sys, threading
threading.Thread(target=lambda: (os.read(0, 1), os._exit(1)), daemon=True).start()
import onnxruntime_genai
onnxruntime_genai.disable_telemetry_events()
runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
"""
KEPT = ("config.json", "generation_config.json")  # of the source, beside the graph


def draw(source: Path, target: Path) -> None:
    """Write the fp32 graph of a Hugging Face directory, its config and the tokenizer into `target`.

    `target` appears whole or not at all; what a killed build leaves lies beside it.
    Raises RuntimeError with the builder's last lines when it fails.
    """
    with tempfile.TemporaryDirectory(prefix="quantize-", dir=target.parent) as folder:
        model, cache, built = Path(folder, "model"), Path(folder, "cache"), Path(folder, "built")
        _linked(source, model)
        command = [sys.executable, "-c", ATTACHED, BUILDER, "-i", str(model), "-o", str(built), "-p", "fp32"]
        done = _run_attached([*command, "-e", "cpu", "-c", str(cache)], folder)
        if done.returncode or not (built / "model.onnx").exists():
            raise RuntimeError(f"{BUILDER} failed with status {done.returncode} on {source}:\n{done.stderr[-2000:]}")
        for name in KEPT:
            if (source / name).exists():
                shutil.copyfile(source / name, built / name)
        built.rename(target)


def _run_attached(command: list[str], folder: str) -> subprocess.CompletedProcess[str]:
    """Run in a folder that is empty of modules: the builder imports its neighbours by bare names."""
    ours, theirs = os.pipe()[::-1]  # our end closes when we end, even by SIGKILL, and the builder ends with us
    try:
        return subprocess.run(command, cwd=folder, env=_offline(), stdin=theirs, capture_output=True, text=True)
    finally:
        os.close(ours)
        os.close(theirs)


def _linked(source: Path, target: Path) -> None:
    """A copy of the directory by links, with a config that the builder knows."""
    target.mkdir()
    for path in source.iterdir():
        if path.name != "config.json":
            (target / path.name).symlink_to(path.resolve())
    config = json.loads((source / "config.json").read_text())
    (target / "config.json").write_text(json.dumps(as_llama(config)))


def as_llama(config: dict[str, Any]) -> dict[str, Any]:
    """A config that says Llama where it said InternLM3: without biases the same network."""
    if config["model_type"] != "internlm3":
        return config
    return config | {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}


def _offline() -> dict[str, str]:
    """No hub, no GPU, and no repository, whose commit the builder would write into the graph."""
    return os.environ | {
        "HF_HUB_OFFLINE": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "DO_NOT_TRACK": "1",
        "GIT_DIR": os.devnull,
    }
