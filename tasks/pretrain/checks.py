"""What would ruin a run is refused before its first step: tokens that do not fit the tokenizer, shards cut short."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from models.memory import exhausted
from models.mesh import ImpossibleMesh, Sizes, check
from models.parallel_checks import check_shareable
from models.probe import Leak, check_isolation
from tasks.errors import StageError
from tasks.files import file_digest
from tasks.pretrain.stage import PretrainConfig
from tasks.token_meta import AGAIN, TokensMeta, tokens_meta

CHUNK = 1 << 24
"""Tokens looked at together."""


def check_tokens(artifact: Path, tokenizer: Any, tokenizer_path: Path) -> None:
    """Every id of every split is the tokenizer's, and the streams are as long as their description says.

    Raises:
        StageError: naming the field or file, what was expected and what mends it.
    """
    meta = tokens_meta(artifact)
    _check_tokenizer(meta, tokenizer, tokenizer_path)
    kind = np.dtype(meta.dtype)
    for split, counts in (("train", meta.splits.train), ("validation", meta.splits.validation)):
        stream = artifact / f"{split}.bin"
        size, expected = stream.stat().st_size if stream.exists() else 0, counts.tokens * kind.itemsize
        if size != expected or not size:
            raise StageError(
                f"tokens: {stream.name} has {size} bytes; expected {expected} ({counts.tokens} tokens of "
                f"{kind.itemsize}) and more than none; it was cut short, changed or left empty: {AGAIN}"
            )
        _check_range(np.memmap(stream, dtype=kind, mode="r"), stream.name, len(tokenizer))
    _check_documents(artifact / "validation.documents.parquet", meta.splits.validation.tokens)


def _check_tokenizer(meta: TokensMeta, tokenizer: Any, path: Path) -> None:
    if meta.vocab_size != len(tokenizer):
        raise StageError(
            f"tokenizer: it has {len(tokenizer)} entries, the corpus was encoded with one of {meta.vocab_size} "
            "(vocab_size in the tokens' meta.json); expected the same tokenizer: run the tokens stage with this one"
        )
    if meta.tokenizer and meta.tokenizer != file_digest(path / "tokenizer.json"):
        raise StageError(
            "tokenizer: its tokenizer.json is not the one that the corpus was encoded with (tokenizer in the tokens' "
            "meta.json); expected the same: run the tokens stage with this one"
        )


def _check_documents(path: Path, tokens: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        index = pq.read_table(path, columns=["start", "length", "bytes"])
    except (OSError, pa.ArrowException) as problem:
        raise StageError(f"tokens: {path.name} cannot be read: {problem}; expected the document index; {AGAIN}") from (
            problem
        )
    ends = index["start"].to_numpy() + index["length"].to_numpy()
    if not len(ends) or ends.max() > tokens:
        raise StageError(
            f"tokens: {path.name} lists {len(ends)} documents up to token {ends.max(initial=0)}; expected at least "
            f"one, within the {tokens} tokens of the validation split; give corpus more documents, or {AGAIN}"
        )


def _check_range(stream: np.ndarray, name: str, entries: int) -> None:
    for start in range(0, len(stream), CHUNK):
        part = stream[start : start + CHUNK]
        worst = int(part.argmax()) if part.min() >= 0 else int(part.argmin())
        if not 0 <= part[worst] < entries:
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


def check_network(model: nn.Module, cfg: PretrainConfig) -> None:
    """Its weights are numbers, and in packed rows no token sees the future or another document.

    Raises:
        StageError: naming the field, what was expected and what mends it.
    """
    for name, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            raise StageError(
                f"{_source(cfg)}: {name} has values that are no numbers (NaN or infinite); expected finite weights; "
                "take another model or checkpoint"
            )
    problem: Exception
    try:
        return check_isolation(model)
    except Leak as leak:
        problem, what = leak, f"{leak}; expected causal attention within each document"
    except Exception as error:  # whatever a network's own code says to packed rows
        if exhausted(error):
            raise
        problem, what = error, f"it cannot read packed rows: {type(error).__name__}: {error}"
    raise StageError(
        f"{_source(cfg)}: {model.config.model_type}: {what}; take an architecture whose attention knows positions, "
        "such as internlm3, llama, qwen3, mistral or gemma2"
    ) from problem


def _source(cfg: PretrainConfig) -> str:
    return "pretrain.architecture" if cfg.init_from is None else "pretrain.init_from"


def check_mesh(cfg: PretrainConfig, model: nn.Module, tokens: Path) -> None:
    """Refuse a mesh that does not fit the network (which may be on the meta device), before any process starts.

    Raises:
        StageError: with the product that must hold.
    """
    network, seq_len = model.config, tokens_meta(tokens).seq_len
    heads = getattr(network, "num_attention_heads", 1)
    sizes = Sizes(
        heads,
        getattr(network, "num_key_value_heads", None) or heads,
        network.hidden_size,
        getattr(network, "intermediate_size", None) or network.hidden_size,
        seq_len,
        cfg.micro_batch * cfg.micro_batches(seq_len),
    )
    mesh = cfg.parallel.mesh
    try:
        check(mesh, sizes, cfg.parallel.world)
        if cfg.parallel.processes % mesh.tensor:
            raise ImpossibleMesh(
                f"tensor = {mesh.tensor}; expected a divisor of the processes per machine, {cfg.parallel.processes}: "
                "its ranks exchange too much for the network between machines"
            )
        check_shareable(model, mesh)
    except ImpossibleMesh as error:
        raise StageError(f"pretrain.parallel: {error}; `fullchain size` recommends a mesh") from error
