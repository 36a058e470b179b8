"""Low-rank adaptation through peft."""

from collections.abc import Callable

import torch
from peft import LoraConfig as PeftLora
from peft import get_peft_model
from torch import nn

from tasks.finetune.stage import LoraConfig


def adapt(model: nn.Module, lora: LoraConfig, seed: int) -> Callable[[], nn.Module]:
    """Freeze the model and put low-rank updates into all its linear layers; returns what merges them for good."""
    settings = PeftLora(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        adapted = get_peft_model(model, settings)
    return adapted.merge_and_unload
