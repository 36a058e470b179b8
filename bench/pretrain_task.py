"""What every trainer of this bench trains: the same 7M network, from the same weights, on the same windows of verse."""

from pathlib import Path

import numpy as np
import torch

BATCH, LENGTH = 16, 256


class Task:
    """A folder with `model/` (initial weights), `train.npy` and `validation.npy`: windows of LENGTH + 1 ids."""

    def __init__(self, folder: str) -> None:
        self.model = Path(folder) / "model"
        self.train, self.held_out = (np.load(Path(folder) / f"{split}.npy") for split in ("train", "validation"))

    def batch(self, step: int, seed: int = 0) -> torch.Tensor:
        """Windows of one step [BATCH, LENGTH + 1], int64; the seed decides their order."""
        order = np.random.default_rng(seed).permutation(len(self.train))
        rows = order[np.arange(step * BATCH, (step + 1) * BATCH) % len(order)]
        return torch.from_numpy(self.train[rows].astype(np.int64))

    @torch.no_grad()
    def validation_loss(self, model: torch.nn.Module) -> float:
        """Nats per token of held-out windows, read whole; the same code for everyone's network."""
        ids = torch.from_numpy(self.held_out.astype(np.int64))
        model.eval()
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(ids[:, :-1])
        model.train()
        logits = getattr(logits, "logits", logits)
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten()).item()
