"""Low-rank adaptation through peft."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from peft import LoraConfig as PeftLora
from peft import get_peft_model
from torch import nn

from tasks.finetune.stage import LoraConfig


def adapt(model: nn.Module, lora: LoraConfig, seed: int, target: Path) -> Callable[[], nn.Module]:
    """Freeze the model and put low-rank updates into all its linear layers.

    Returns what saves these to `target`, as peft does, and merges them into the weights for good.
    """
    settings = PeftLora(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # peft asks by the name that transformers had before activation checkpointing
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        torch.manual_seed(seed)
        adapted = get_peft_model(model, settings)

    def merge() -> nn.Module:
        adapted.save_pretrained(target)
        (target / "README.md").unlink(missing_ok=True)  # a form to fill in, with the path of the model on this machine
        config = target / "adapter_config.json"
        plain = json.loads(config.read_text()) | {"base_model_name_or_path": ""}
        config.write_text(json.dumps(plain, indent=1, sort_keys=True))
        return adapted.merge_and_unload()

    return merge
