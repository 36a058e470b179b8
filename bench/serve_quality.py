"""Bits per byte of our graph as served and of llama.cpp's file, its weights in the same fp32 network."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM

from bench.serving import Texts
from models.language_model import LanguageModel
from tasks.quantize.quality import Quality, compare
from tasks.validation import ValidationText, Window

WINDOW, CONTEXT, TOKENS = 256, 64, 4096


def quality(source: Path, package: Path, file: Path, texts: Texts) -> dict[str, Any]:
    """A JSON line: how many more bits per byte the peer's file takes than our graph."""
    full, other = (LanguageModel.load(source, length=WINDOW) for _ in range(2))
    text = plain_text(texts)
    ours = compare(full, LanguageModel.load(package, length=WINDOW), text, (0, 0), lambda _: None)
    other.session.model.load_state_dict(gguf_weights(file), strict=False)
    peer = compare(full, other, text, (0, 0), lambda _: None)
    return quality_line("serve_quality", ours, peer) | {
        "bits_per_byte_full": round(ours.bits_per_byte_full, 5), "peer_version": f"llama.cpp's {file.stem}",
        "agreement": f"the same {text.scored} tokens of web text; top-1 {ours.top1_agreement:.4f}",
    }  # fmt: skip


def gguf_weights(file: Path) -> dict[str, torch.Tensor]:
    """Parameters by name, dequantized."""
    loaded = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    return loaded.state_dict()


def plain_text(texts: Texts) -> ValidationText:
    """Windows over the bench's text, each but the first beginning with tokens that were scored already."""
    tokens = np.array(texts.take(TOKENS))
    starts = range(0, len(tokens) - WINDOW, WINDOW - CONTEXT)
    windows = [Window(tokens[at : at + WINDOW], CONTEXT - 1 if at else 0) for at in starts]
    scored = tokens[1 : starts[-1] + WINDOW]
    return ValidationText(windows, 1, len(texts.tokenizer.decode(scored.tolist()).encode()))


def quality_line(name: str, ours: Quality, peer: Quality) -> dict[str, Any]:
    """The facts that every line of a comparison of two models begins with."""
    ratio = round(peer.bits_per_byte_int4 / ours.bits_per_byte_int4, 4)
    return {
        "bench": name, "ratio": ratio, "min": ratio, "max": ratio, "pairs": 1,
        "ours": round(ours.bits_per_byte_int4, 5), "peer": round(peer.bits_per_byte_int4, 5), "unit": "bits per byte",
        "peer_version": f"gguf {version('gguf')}", "agreement": round(ours.top1_agreement, 4),
    }  # fmt: skip
