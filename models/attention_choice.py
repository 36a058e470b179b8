"""Which kernel attends over packed rows, by device, precision and model, and what each takes as its mask."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers.masking_utils import create_masks_for_generate

from models import attention, attention_flash, attention_flex
from models.kernels import Kernel

PREFERRED = {"cpu": ("packed",), "cuda": ("flash", "flex", "sdpa")}
"""What `auto` tries, by device; elsewhere sdpa."""

NAMES = {"packed": attention.NAME, "flash": attention_flash.NAME, "flex": attention_flex.NAME, "sdpa": "sdpa"}

MASKS: dict[str, Callable[[Tensor], Any]] = {
    attention.NAME: attention.packed_mask,
    attention_flash.NAME: lambda position_ids: attention_flash.of_any_number(attention_flash.borders(position_ids)),
    attention_flex.NAME: lambda position_ids: attention_flex.block_mask(attention.documents(position_ids)[:, 0, 0]),
    attention.ACROSS: attention.documents,  # the decoder's own hook knows the whole row, and makes its mask
}


class Unusable(ValueError):
    """A kernel that was asked for and cannot serve here; the text says why, and what can."""


def use(model: nn.Module, wanted: Kernel, device: torch.device, half: bool) -> str:
    """Let `model` train with the kernel `wanted`, or the best there is; which one it is. `half`: 16-bit numbers.

    A model with attention of its own kind (windows, caps, sinks) keeps it, under sdpa.

    Raises:
        Unusable: `wanted` is not auto and does not fit.
    """
    fits = not attention.unusual(model)
    order = (wanted,) if wanted != "auto" else (*PREFERRED.get(device.type, ()), "sdpa")
    reasons = {name: _lacking(name, model, device, half) or _own_kind(name, fits) for name in order}
    chosen = next((name for name, reason in reasons.items() if not reason), None)
    if chosen is None:
        raise Unusable(f"{wanted}: {reasons[wanted]}; expected auto, or sdpa, which works everywhere")
    if fits:
        model.set_attn_implementation(NAMES[chosen])
    return chosen


def mask(model: nn.Module, position_ids: Tensor, borders: Tensor | None = None) -> Any:
    """What `model`'s kernel takes as its mask over packed rows [B, T]; made once, for all layers.

    `borders` are the rows' own, from `early_borders`.
    """
    if borders is not None:
        return attention_flash.of_any_number(borders)
    make = MASKS.get(model.config._attn_implementation)
    return make(position_ids) if make else _as_transformers_makes(model, position_ids)


def early_borders(model: nn.Module, position_ids: Tensor) -> Tensor | None:
    """Borders of documents, found on the CPU, if `model`'s kernel wants them: its GPU would have to be waited for."""
    wanted = model.config._attn_implementation == attention_flash.NAME
    return attention_flash.borders(position_ids) if wanted else None


def _as_transformers_makes(model: nn.Module, position_ids: Tensor) -> Any:
    """It knows each implementation's form (float to be added, bool) and each layer's sliding window."""
    width = torch.empty(*position_ids.shape, 0, device=position_ids.device)
    return create_masks_for_generate(
        model.config, width, attention_mask=None, past_key_values=None, position_ids=position_ids
    )


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
