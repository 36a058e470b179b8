"""The peers, in their own environment: Hugging Face Trainer, the same with torch_compile, and litgpt's pretrain.

`python pretrain_peers.py trainer|trainer_compiled|litgpt TASK_FOLDER STEPS LR SCHEDULE SEED`
"""

import sys
import tempfile
from pathlib import Path

import torch
from gate import Gate
from pretrain_task import BATCH, LENGTH, Task

torch.set_num_threads(2)


class Windows(torch.utils.data.Dataset):
    """Single windows in the order of the steps."""

    def __init__(self, task: Task, steps: int, seed: int) -> None:
        self.rows = torch.cat([task.batch(step, seed) for step in range(steps)])[:, :-1]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, item: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self.rows[item], "labels": self.rows[item]}


def trainer(task: Task, steps: int, lr: float, schedule: str, seed: int, compiled: bool) -> None:
    """Hugging Face Trainer with bf16, its defaults otherwise but for the learning rate, its schedule and beta2."""
    from transformers import AutoModelForCausalLM, Trainer, TrainerCallback, TrainingArguments

    model = AutoModelForCausalLM.from_pretrained(task.model, dtype=torch.float32)
    gate = Gate(lambda: {"loss": task.validation_loss(model)})

    class Turns(TrainerCallback):
        def on_step_end(self, *_, **__) -> None:
            gate.step_done()

    arguments = TrainingArguments(
        tempfile.mkdtemp(),
        per_device_train_batch_size=BATCH,
        max_steps=steps,
        bf16=True,
        torch_compile=compiled,
        learning_rate=lr,
        lr_scheduler_type=schedule,
        warmup_steps=0 if schedule == "constant" else max(1, steps // 20),
        adam_beta2=0.95,
        seed=seed,
        use_cpu=True,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        train_sampling_strategy="sequential",
    )
    Trainer(model, arguments, train_dataset=Windows(task, steps, seed), callbacks=[Turns()]).train()


def litgpt(task: Task, steps: int, lr: float, seed: int) -> None:
    """litgpt's own `pretrain`: compiled, bf16-true; a constant learning rate, as all have in the race for speed."""
    from litgpt.args import EvalArgs, TrainArgs
    from litgpt.config import Config
    from litgpt.data import DataModule
    from litgpt.pretrain import setup

    gate = Gate(dict)

    class Turns(torch.utils.data.IterableDataset):
        def __iter__(self):
            for step in range(steps):
                yield task.batch(step, seed)
                gate.step_done()

    class Verse(DataModule):
        def connect(self, *_, **__) -> None:
            pass

        def train_dataloader(self):
            return torch.utils.data.DataLoader(Turns(), batch_size=None)

        def val_dataloader(self):
            return torch.utils.data.DataLoader([task.batch(0), task.batch(1)], batch_size=None)

    shape = {"n_layer": 6, "n_head": 4, "n_query_groups": 4, "n_embd": 256, "intermediate_size": 688}
    kinds = {"norm_class_name": "RMSNorm", "mlp_class_name": "LLaMAMLP", "rotary_percentage": 1.0, "norm_eps": 1e-6}
    size = {"vocab_size": 8192, "padded_vocab_size": 8192, "block_size": LENGTH}
    setup(
        "bench",
        Config(name="bench", bias=False, parallel_residual=False, **shape, **kinds, **size),
        Path(tempfile.mkdtemp()),
        precision="bf16-true",
        data=Verse(),
        train=TrainArgs(
            save_interval=None,
            global_batch_size=BATCH,
            micro_batch_size=BATCH,
            max_tokens=steps * BATCH * LENGTH,
            max_norm=1.0,
            min_lr=lr,
            lr_warmup_steps=0,
            tie_embeddings=True,
        ),
        eval=EvalArgs(interval=10**9, max_iters=1, initial_validation=False, final_validation=False),
        optimizer={
            "class_path": "torch.optim.AdamW",
            "init_args": {"lr": lr, "betas": [0.9, 0.95], "weight_decay": 0.0},
        },
        logger_name="csv",
        seed=seed,
    )


if __name__ == "__main__":
    name, folder, steps, lr, schedule, seed = sys.argv[1:]
    if name == "litgpt":
        litgpt(Task(folder), int(steps), float(lr), int(seed))
    else:
        trainer(Task(folder), int(steps), float(lr), schedule, int(seed), name == "trainer_compiled")
