"""Tiny models of every architecture that the chain trains or adapts, with random weights."""

import functools
from pathlib import Path
from typing import Any

from tests import tiny

NAMES = ("internlm3", "llama", "qwen2", "qwen3")
SIZES: dict[str, Any] = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 768, "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 3,
}  # fmt: skip
ROPE = {"llama": {"rope_type": "default", "rope_theta": 50_000.0}}


@functools.cache
def hf_model(name: str) -> Path:
    """A Hugging Face directory: InternLM3 as `tiny` trains it; tied Llama; Qwen2 with biases; Qwen3 with head norms."""
    if name == "internlm3":
        return tiny.hf_model()
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, Qwen2Config, Qwen3Config

    kind = {"llama": LlamaConfig, "qwen2": Qwen2Config, "qwen3": Qwen3Config}[name]
    tokenizer = AutoTokenizer.from_pretrained(tiny.hf_model())
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(
        kind(vocab_size=len(tokenizer), tie_word_embeddings=name != "qwen2", rope_parameters=ROPE.get(name), **SIZES)
    )
    with torch.no_grad():
        for parameter in model.parameters():  # wide enough for predictions to differ, and biases and norms to matter
            parameter.add_(0.1 * torch.randn(parameter.shape))
    folder = tiny.folder() / name
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@functools.cache
def quantized(name: str) -> Path:
    """The same as a graph, rounded to nearest."""
    if name == "internlm3":
        return tiny.int4_model()
    return tiny.quantized(hf_model(name), tiny.folder())
