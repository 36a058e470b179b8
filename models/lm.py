"""The language model: an InternLM3 network, packed sequences, and the next-token loss over them.

A packed row holds several documents side by side. `position_ids` count from 0 within each document, so they alone say
where documents begin; attention never crosses such a border. Letters: B rows, T tokens per row, V vocabulary.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.attention_choice import early_borders, mask
from models.losses import IGNORED, linear_cross_entropy


class Batch(NamedTuple):
    """One micro-batch: ids, their positions within their document, and the id to be predicted at each (all [B, T])."""

    input_ids: Tensor
    position_ids: Tensor
    labels: Tensor


class Bordered(NamedTuple):
    """A micro-batch, and where its documents begin when all rows lie end to end [1, 1, 1, documents + 1]."""

    input_ids: Tensor
    position_ids: Tensor
    labels: Tensor
    borders: Tensor


@dataclass(frozen=True)
class Architecture:
    """The size of a network; special token ids come from the tokenizer. `kind` is transformers' model type."""

    vocab_size: int
    hidden_size: int
    layers: int
    heads: int
    kv_heads: int
    intermediate_size: int
    context: int
    tie_embeddings: bool = True
    kind: str = "internlm3"


def build(architecture: Architecture, bos_id: int, eos_id: int, pad_id: int, seed: int) -> nn.Module:
    """A randomly initialised causal language model in fp32, of transformers' own class.

    Raises:
        ValueError: transformers has no such model type, or none that predicts the next token.
    """
    from transformers import AutoModelForCausalLM

    config = configuration(architecture, bos_id, eos_id, pad_id)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32)


def outline(config: Any) -> nn.Module:
    """The model of a transformers configuration without its weights: modules and shapes on the meta device."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32)


def configuration(architecture: Architecture, bos_id: int, eos_id: int, pad_id: int) -> Any:
    """transformers' configuration of an architecture, without dropout.

    Raises:
        ValueError: transformers has no such model type.
    """
    from transformers import AutoConfig

    config = AutoConfig.for_model(
        architecture.kind,
        vocab_size=architecture.vocab_size,
        hidden_size=architecture.hidden_size,
        num_hidden_layers=architecture.layers,
        num_attention_heads=architecture.heads,
        num_key_value_heads=architecture.kv_heads,
        intermediate_size=architecture.intermediate_size,
        max_position_embeddings=architecture.context,
        tie_word_embeddings=architecture.tie_embeddings,
        bos_token_id=bos_id,
        eos_token_id=eos_id,
        pad_token_id=pad_id,
        **_size_of_heads(architecture),
    )
    return without_noise(config)


def _size_of_heads(architecture: Architecture) -> dict[str, int]:
    """`head_dim`; nothing where transformers' configuration takes none, as it has the same by a formula (Falcon's)."""
    from transformers import CONFIG_MAPPING

    if architecture.kind in CONFIG_MAPPING:
        formula = getattr(CONFIG_MAPPING[architecture.kind], "head_dim", None)
        if isinstance(formula, property) and formula.fset is None:
            return {}
    return {"head_dim": architecture.hidden_size // architecture.heads}


def without_noise(config: Any) -> Any:
    """The configuration with every rate of dropout and jitter at 0, in place: training draws nothing at random."""
    for name, value in list(vars(config).items()):
        if hasattr(value, "model_type"):  # of a part, such as the text's
            without_noise(value)
        elif type(value) in (int, float) and ("drop" in name or "jitter" in name):
            setattr(config, name, type(value)(0))
    return config


def load(directory: Path) -> nn.Module:
    """The model in a Hugging Face directory, fp32, without dropout; safetensors only, no code out of the directory."""
    from transformers import AutoConfig, AutoModelForCausalLM

    safe = {"trust_remote_code": False, "local_files_only": True}
    config = without_noise(AutoConfig.from_pretrained(directory, **safe))
    return AutoModelForCausalLM.from_pretrained(
        directory, config=config, dtype=torch.float32, use_safetensors=True, **safe
    )


def ready(model: nn.Module, batch: Any) -> Any:
    """A micro-batch, still on the CPU, with what `model` needs to know of it before it goes to a GPU."""
    borders = early_borders(model, batch.position_ids) if isinstance(batch, Batch) else None
    return batch if borders is None else Bordered(*batch, borders)


def hidden_states(model: nn.Module, input_ids: Tensor, position_ids: Tensor, borders: Tensor | None = None) -> Tensor:
    """What the network says of every position before its head, [B, T, H]."""
    inputs = _inputs(model, input_ids, position_ids, borders)
    return model.get_decoder()(**inputs).last_hidden_state


def logits(model: nn.Module, input_ids: Tensor, position_ids: Tensor, borders: Tensor | None = None) -> Tensor:
    """Scores of every next token over packed rows, [B, T, V]."""
    return model(**_inputs(model, input_ids, position_ids, borders)).logits


def _inputs(model: nn.Module, input_ids: Tensor, position_ids: Tensor, borders: Tensor | None) -> dict[str, Any]:
    seen = mask(model, position_ids, borders)
    return {"input_ids": input_ids, "position_ids": position_ids, "attention_mask": seen, "use_cache": False}


def next_token_loss(model: nn.Module, batch: Batch | Bordered, z_loss: float = 0.0, compiled: bool = False) -> Tensor:
    """Sum over the labelled positions of -log p(label), in nats, a scalar; `z_loss` as in `linear_cross_entropy`."""
    borders = batch.borders if isinstance(batch, Bordered) else None
    if plain_head(model):
        hidden = hidden_states(model, batch.input_ids, batch.position_ids, borders).flatten(0, 1)  # [B·T, H]
        head = model.get_output_embeddings().weight
        return linear_cross_entropy(hidden, head, batch.labels.flatten(), z_loss, compiled)
    scores = logits(model, batch.input_ids, batch.position_ids, borders).flatten(0, 1).float()
    loss = F.cross_entropy(scores, batch.labels.flatten(), ignore_index=IGNORED, reduction="sum")
    kept = (batch.labels.flatten() != IGNORED).float()
    return loss + z_loss * (scores.logsumexp(1).square() * kept).sum() if z_loss else loss


def plain_head(model: nn.Module) -> bool:
    """Whether logits are the last hidden states times one matrix: no bias, no scale, no cap."""
    scaled = ("final_logit_softcapping", "logits_scaling", "logit_scale")
    head = model.get_output_embeddings()
    return isinstance(head, nn.Linear) and head.bias is None and not any(getattr(model.config, n, None) for n in scaled)


def label_log_probs(model: nn.Module, input_ids: Tensor, position_ids: Tensor, labels: Tensor) -> Tensor:
    """log p(label) at each position, [B, T] fp32, zero where there is no label."""
    kept = labels != IGNORED
    if plain_head(model):  # prompts and padding need no scores
        scores = model.get_output_embeddings()(hidden_states(model, input_ids, position_ids)[kept])  # [N, V]
    else:
        scores = logits(model, input_ids, position_ids)[kept]
    found = -F.cross_entropy(scores.float(), labels[kept], reduction="none")
    return torch.zeros(labels.shape, device=found.device).masked_scatter(kept, found)


def bits_per_byte(nats: float, utf8_bytes: int) -> float:
    """A summed loss in nats over text of so many UTF-8 bytes, independent of the tokenizer."""
    return nats / math.log(2) / utf8_bytes
