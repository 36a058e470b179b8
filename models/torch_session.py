"""A Hugging Face model behind the engine's Session, so that one evaluation serves it and the int4 graph alike.

The reference, in float32: right rather than fast. Any decoder of transformers will do, its attention given a mask.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.cache_utils import Cache

from models.engine.session import DEFAULT_LENGTH

WORTH_THREADS = 2e9  # operations of a forward pass above which it is shared by all threads: below, on a busy machine,
# they wait for each other at every product for longer than the product takes (ten times, measured on two cores)


class TorchSession:
    """One model in memory with `slots` places for running sequences of at most `length` tokens each."""

    def __init__(self, directory: Path, slots: int = 8, length: int = 0):
        config = AutoConfig.from_pretrained(directory)
        self.vocab_size, self.context_length = config.vocab_size, config.max_position_embeddings
        self.slots, self.length = slots, min(length or DEFAULT_LENGTH, self.context_length)
        self.model = AutoModelForCausalLM.from_pretrained(
            directory, dtype=torch.float32, attn_implementation="sdpa", use_safetensors=True
        ).eval()
        self.drafts, self.embeds, self.cache, self.summed = False, False, None, np.zeros(0)
        self._cache = _SlotCache()
        self._parameters = self.model.num_parameters()

    @torch.inference_mode()
    def forward(
        self,
        tokens: np.ndarray,
        past: np.ndarray,
        first_slot: int = 0,
        *,
        widths: np.ndarray | None = None,  # noqa: ARG002 (what lies beyond is overwritten)
        wanted: np.ndarray | None = None,
        reading: bool = False,  # noqa: ARG002 (one kernel for all)
    ) -> np.ndarray:
        """Logits [B, T, vocabulary] of `tokens` [B, T], row b after the `past[b]` tokens that its slot holds.

        Or [n, vocabulary] of the `wanted` places b * T + t.
        """
        width = tokens.shape[1]
        total = int(past.max()) + width
        if total > self.length or first_slot + len(tokens) > self.slots:
            raise ValueError(f"{len(tokens)} rows of {total} tokens do not fit {self.slots} slots of {self.length}")
        positions = torch.as_tensor(np.asarray(past, np.int64))[:, None] + torch.arange(width)  # [B, T]
        self._cache.select(first_slot, positions, total, (self.slots, self.length))
        visible = torch.arange(total) <= positions[:, None, :, None]  # [B, 1, T, total]
        with _threads_worth(2 * tokens.size * self._parameters):
            output = self.model(
                input_ids=torch.as_tensor(np.asarray(tokens, np.int64)),
                attention_mask=visible,
                position_ids=positions,
                past_key_values=self._cache,
                use_cache=True,
            )
        logits = output.logits.numpy()
        return logits if wanted is None else logits.reshape(-1, logits.shape[-1])[wanted]

    @torch.inference_mode()
    def move(self, source: int, target: int, length: int) -> None:
        """Give the sequence in slot `source` the slot `target`."""
        self._cache.move(source, target, length)


@contextmanager
def _threads_worth(operations: float) -> Iterator[None]:
    """One thread for few operations; torch's number is the process's, so it is put back for whoever comes next."""
    before = torch.get_num_threads()
    torch.set_num_threads(before if operations > WORTH_THREADS else 1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _SlotCache(Cache):
    """Keys and values [slots, kv_heads, length, head_dim] per layer, written at each row's own positions."""

    def __init__(self) -> None:
        super().__init__(layers=[])
        self._tensors: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def select(self, first_slot: int, positions: torch.Tensor, total: int, shape: tuple[int, int]) -> None:
        """Choose the slots and positions [B, T] that the next forward writes, and how far it sees."""
        self._rows = torch.arange(first_slot, first_slot + len(positions))[:, None]
        self._positions, self._total, self._shape = positions, total, shape

    def update(self, key_states, value_states, layer_idx, *_args, **_kwargs):
        if layer_idx not in self._tensors:
            slots, length = self._shape
            _, heads, _, head_dim = key_states.shape
            self._tensors[layer_idx] = tuple(torch.zeros(slots, heads, length, head_dim) for _ in range(2))
        seen = []
        for tensor, states in zip(self._tensors[layer_idx], (key_states, value_states), strict=True):
            tensor[self._rows, :, self._positions] = states.transpose(1, 2)  # [B, T, kv_heads, head_dim]
            seen.append(tensor[self._rows[0, 0] : self._rows[-1, 0] + 1, :, : self._total])
        return tuple(seen)

    def move(self, source: int, target: int, length: int) -> None:
        for pair in self._tensors.values():
            for tensor in pair:
                tensor[target, :, :length] = tensor[source, :, :length]

    def get_seq_length(self, layer_idx: int = 0) -> int:  # noqa: ARG002 (the interface of transformers)
        return self._total
