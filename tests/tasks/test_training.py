"""What the training stages share: a run that breaks says where and what to do."""

import math

import pytest
import torch

from models.lm import Architecture, build
from tasks.output import Output
from tasks.stage import StageError
from tasks.store import Workplace
from tasks.training import TrainingConfig, run_loop


def test_a_loss_that_is_no_number_names_the_step_the_checkpoint_and_what_to_do(tmp_path):
    place = Workplace(tmp_path)
    place.logs.mkdir(parents=True)
    model = build(Architecture(64, 32, 1, 2, 1, 48, 64), bos_id=0, eos_id=2, pad_id=3, seed=0)

    def objective(subject, step):
        loss = subject(torch.tensor([[1, 2, 3]])).logits.sum()
        return loss * (math.inf if step == 5 else 1), 1.0, {}

    cfg = TrainingConfig(checkpoint_every=2, precision="fp32")
    with pytest.raises(StageError, match=r"not finite at step 5 of 8.* step 4; lower optimizer.lr"):
        run_loop(cfg, Output(place, "toy"), model, objective, lambda step: [step], steps=8)
