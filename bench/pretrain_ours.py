"""Our side: the product's own loop, objective and optimizers, one step at a time.

`python pretrain_ours.py adamw|muon TASK_FOLDER STEPS LR SCHEDULE SEED`
"""

import sys
import tempfile
from pathlib import Path

import torch
from gate import Gate
from pretrain_task import BATCH, LENGTH, Task
from transformers import AutoModelForCausalLM

from models.learner import Learner
from models.lm import IGNORED, Batch, load, logits
from models.meter import gemm_ceiling, multiplied_parameters, peak_memory
from models.objectives import LanguageModelling
from models.optim import optimizers, schedule
from models.recorder import Hooks, Loop
from models.trainer import train
from tasks.training import TrainingConfig, prepare

torch.set_num_threads(2)


def main(optimizer: str, folder: str, steps: int, lr: float, shape: str, seed: int) -> None:
    """Train until told to stop."""
    task = Task(folder)
    model = prepare(TrainingConfig(), load(task.model))
    places = torch.arange(LENGTH).expand(BATCH, LENGTH)  # one document per row, as the peers see it

    def micro_batches(step: int) -> list[Batch]:
        ids = task.batch(step, seed)[:, :-1]
        labels = torch.cat([ids[:, 1:], torch.full((BATCH, 1), IGNORED)], 1)
        return [Batch(ids, places, labels)]

    def measure() -> dict[str, float]:
        gemm_ceiling.cache_clear()
        ceiling = gemm_ceiling(model.device, torch.bfloat16)
        with torch.compiler.set_stance("force_eager"):
            loss = task.validation_loss(plain(model))
        return {
            "logits_difference": difference(model, task),
            "loss": loss,
            "ceiling": ceiling / 6 / multiplied_parameters(model),
            "memory": peak_memory(model.device),
        }

    reference = load(task.model)

    def plain(trained: torch.nn.Module) -> torch.nn.Module:
        reference.load_state_dict(trained.state_dict())
        return reference

    updates = optimizers(model, optimizer, lr, 4 * lr)
    gate = Gate(measure)
    hooks = Hooks(step=lambda done: gate.step_done() if done else None)
    learner = Learner(model, LanguageModelling(compiled=True), updates, schedule(shape, steps, 0.05, 0.6), 1.0)
    loop = Loop(steps, log_every=10**9, checkpoint_every=10**9, threads=2)
    train(learner, micro_batches, loop, Path(tempfile.mkdtemp()), hooks)


@torch.no_grad()
def difference(trained: torch.nn.Module, task: Task) -> float:
    """The largest difference of logits, fp32, between the network in training and what from_pretrained makes of it."""
    ids = torch.from_numpy(task.held_out[:4, :-1].astype("int64"))
    with tempfile.TemporaryDirectory() as folder:
        trained.save_pretrained(folder)
        loaded = AutoModelForCausalLM.from_pretrained(folder)
    places = torch.arange(ids.shape[1]).expand(ids.shape)
    with torch.autocast("cpu", enabled=False), torch.compiler.set_stance("force_eager"):
        return (logits(trained, ids, places) - loaded(ids).logits).abs().max().item()


if __name__ == "__main__":
    name, folder, steps, lr, shape, seed = sys.argv[1:]
    main(name, folder, int(steps), float(lr), shape, int(seed))
