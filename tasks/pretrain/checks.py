"""What would ruin a run is refused before its first step: tokens that do not fit the tokenizer, shards cut short."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from tasks.errors import StageError
from tasks.files import file_digest
from tasks.pretrain.stage import PretrainConfig

CHUNK = 1 << 24
"""Tokens looked at together."""


def check_tokens(artifact: Path, tokenizer: Any, tokenizer_path: Path) -> None:
    """Every id of every split is the tokenizer's, and the streams are as long as their description says.

    Raises:
        StageError: naming the field or file, what was expected and what mends it.
    """
    meta = json.loads((artifact / "meta.json").read_text(encoding="utf-8"))
    _check_tokenizer(meta, tokenizer, tokenizer_path)
    width = np.dtype(meta["dtype"]).itemsize
    for split, counts in meta["splits"].items():
        stream = artifact / f"{split}.bin"
        size, expected = stream.stat().st_size, counts["tokens"] * width
        if size != expected:
            raise StageError(
                f"tokens: {stream.name} has {size} bytes; expected {expected} ({counts['tokens']} tokens of {width}); "
                "it was cut short or changed: run the tokens stage again (--force tokens)"
            )
        _check_range(np.memmap(stream, dtype=meta["dtype"], mode="r"), stream.name, len(tokenizer))


def _check_tokenizer(meta: dict[str, Any], tokenizer: Any, path: Path) -> None:
    if meta["vocab_size"] != len(tokenizer):
        raise StageError(
            f"tokenizer: it has {len(tokenizer)} entries, the corpus was encoded with one of {meta['vocab_size']} "
            "(vocab_size in the tokens' meta.json); expected the same tokenizer: run the tokens stage with this one"
        )
    encoded_with = meta.get("tokenizer")
    if encoded_with and encoded_with != file_digest(path / "tokenizer.json"):
        raise StageError(
            "tokenizer: its tokenizer.json is not the one that the corpus was encoded with (tokenizer in the tokens' "
            "meta.json); expected the same: run the tokens stage with this one"
        )


def _check_range(stream: np.ndarray, name: str, entries: int) -> None:
    for start in range(0, len(stream), CHUNK):
        part = stream[start : start + CHUNK]
        worst = int(part.argmax())
        if part[worst] >= entries:
            raise StageError(
                f"tokens: {name} has id {part[worst]} at token {start + worst}; expected ids below {entries}, the "
                "tokenizer's entries; run the tokens stage again with this tokenizer"
            )


def check_model(model: Any, tokenizer: Any, seq_len: int) -> None:
    """The network has a row for every entry and a position for every token.

    Raises:
        StageError: naming the field, what was expected and what mends it.
    """
    rows = model.get_input_embeddings().weight.shape[0]
    if rows < len(tokenizer):
        raise StageError(
            f"init_from: the model has {rows} embeddings; expected at least {len(tokenizer)}, the tokenizer's entries; "
            "take the model's own tokenizer (tokenizer.init_from)"
        )
    longest = getattr(model.config, "max_position_embeddings", None) or seq_len
    if seq_len > longest:
        raise StageError(
            f"pretrain.context: the network reads {longest} tokens; expected at least tokens.seq_len, {seq_len}; "
            "raise pretrain.context or lower tokens.seq_len"
        )


def check_split(cfg: PretrainConfig) -> None:
    """Nothing is asked for that a mesh which splits rows or matrices does not do.

    Raises:
        StageError: naming the field, what was expected and what mends it.
    """
    p = cfg.parallel
    if cfg.compile == "always" and p.tensor * p.context > 1:
        raise StageError(
            f"compile: always, but with parallel.tensor {p.tensor} x parallel.context {p.context} a layer holds "
            "collectives, which are left to eager torch; expected auto or never; or set both to 1"
        )
    if cfg.precision == "fp8" and p.tensor > 1:
        raise StageError(
            f"precision: fp8, but parallel.tensor {p.tensor} splits the matrices; expected bf16 or fp32; or set "
            "parallel.tensor to 1 and raise parallel.shard"
        )
