"""Which device a model computes on: the GPU that this machine has, or its CPU."""

import torch

KNOWN = ("cuda", "mps")
"""Accelerators that Lightning drives, by torch's names."""


def accelerator() -> torch.device:
    """The GPU that is there, not only in torch's build; else the CPU."""
    found = torch.accelerator.current_accelerator(check_available=True)
    return found if found is not None and found.type in KNOWN else torch.device("cpu")
