"""Which kernel attends over packed rows, by device, precision and model, and what each takes as its mask.

packed   blocks of plain matrix products, in a CPU's cache
flash    FlashAttention over documents of various lengths: CUDA from compute capability 8.0 on, 16-bit numbers
flex     FlexAttention with a mask of blocks: CUDA with Triton
sdpa     torch's scaled dot product with a mask of [T, T]: everywhere
"""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from models import attention, attention_flash, attention_flex

Kernel = Literal["auto", "packed", "flash", "flex", "sdpa"]

PREFERRED = {"cpu": ("packed",), "cuda": ("flash", "flex", "sdpa")}
"""What `auto` tries, by device; elsewhere sdpa."""

NAMES = {"packed": attention.NAME, "flash": attention_flash.NAME, "flex": attention_flex.NAME, "sdpa": "sdpa"}

MASKS: dict[str, Callable[[Tensor], Any]] = {
    attention.NAME: attention.packed_mask,
    attention_flash.NAME: attention_flash.borders,
    attention_flex.NAME: lambda position_ids: attention_flex.block_mask(attention.documents(position_ids)[:, 0, 0]),
    "across": attention.documents,  # the decoder's own hook knows the whole row, and makes its mask
}


class Unusable(ValueError):
    """A kernel that was asked for and cannot serve here; the text says why, and what can."""


def use(model: nn.Module, wanted: Kernel, device: torch.device, half: bool) -> str:
    """Let `model` train with the kernel `wanted`, or the best there is; which one it is. `half`: 16-bit numbers.

    A model with attention of its own kind (windows, caps, sinks, dropout) keeps it, under sdpa.

    Raises:
        Unusable: `wanted` is not auto and does not fit.
    """
    fits = _plain(model)
    order = (wanted,) if wanted != "auto" else (*PREFERRED.get(device.type, ()), "sdpa")
    reasons = {name: _lacking(name, model, device, half) or _own_kind(name, fits) for name in order}
    chosen = next((name for name, reason in reasons.items() if not reason), None)
    if chosen is None:
        raise Unusable(f"{wanted}: {reasons[wanted]}; expected auto, or sdpa, which works everywhere")
    if fits:
        model.set_attn_implementation(NAMES[chosen])
    return chosen


def mask(model: nn.Module, position_ids: Tensor) -> Any:
    """What `model`'s kernel takes as its mask over packed rows [B, T]; made once, for all layers."""
    return MASKS.get(model.config._attn_implementation, _dense)(position_ids)


def _dense(position_ids: Tensor) -> Tensor:
    return attention.visible(attention.documents(position_ids))


def _plain(model: nn.Module) -> bool:
    """Whether it is nothing but softmax over the past."""
    config = model.config
    unusual = ("sliding_window", "attn_logit_softcapping", "attention_dropout", "attention_chunk_size")
    plain = getattr(model, "_supports_attention_backend", False) and not any(getattr(config, n, None) for n in unusual)
    return plain and not any(name.endswith(".sinks") for name, _ in model.named_parameters())


def _own_kind(name: str, fits: bool) -> str:
    return "" if fits or name == "sdpa" else "the model attends in a way of its own"


def _lacking(name: str, model: nn.Module, device: torch.device, half: bool) -> str:
    """Why a kernel cannot serve; nothing when it can."""
    if name == "sdpa":
        return ""
    if name == "packed":
        return "" if device.type == "cpu" else "it is made for CPUs"
    if device.type != "cuda":
        return f"it needs CUDA, the device is {device.type}"
    return _lacking_flash(model, half) if name == "flash" else _lacking_triton()


def _lacking_flash(model: nn.Module, half: bool) -> str:
    channels = getattr(model.config, "head_dim", None) or model.config.hidden_size // model.config.num_attention_heads
    if not half:
        return "it needs 16-bit numbers (precision bf16)"
    if channels % 8 or channels > 256:
        return f"its heads have a multiple of 8 channels up to 256, the model's have {channels}"
    if not torch.backends.cuda.is_flash_attention_available() or torch.cuda.get_device_capability() < (8, 0):
        return "this build of torch or this GPU has none (compute capability 8.0)"
    return ""


def _lacking_triton() -> str:
    from torch.utils._triton import has_triton

    return "" if has_triton() else "it is compiled by Triton, which is not there"
