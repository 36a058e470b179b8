"""Pretraining side by side with Hugging Face Trainer and litgpt, `make bench-pretrain`; how: bench/README.md.

`python bench/pretrain.py PEER_PYTHON [--pairs N] [--seeds 0 1 2] [--only trainer|trainer_compiled|litgpt|length|loss]`
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

HERE = Path(__file__).parent
BATCH, LENGTH, VOCABULARY = 16, 256, 8192
WARM_UP, TURN = 3, 8  # steps
PEERS = {"trainer": "transformers", "trainer_compiled": "transformers", "litgpt": "litgpt"}
SPEED_LR = 1e-3
RACE = {"steps": 160, "lr": 4e-3, "schedule": "cosine"}  # the best of five rates for Trainer + AdamW: bench/README.md
OURS = {"steps": 88, "lr": 4e-3, "schedule": "wsd"}
RACE_TURN = 8
SHORT = 6  # steps of which `length` takes ten times as many


class Worker:
    """A trainer in a process of its own; it trains only when told to."""

    def __init__(self, python: str, script: str, *arguments: Any) -> None:
        places = {"PYTHONPATH": f"{HERE.parent}:{HERE}", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "2"}
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            [python, str(HERE / script), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env=os.environ | places,
        )
        self._answer()

    def steps(self, count: int) -> dict[str, float]:
        """Train so many steps; seconds and loss."""
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(60)

    def _answer(self) -> dict[str, float]:
        line = self.process.stdout.readline()
        if not line:
            self.log.seek(0)
            raise RuntimeError(f"a worker ended early:\n{self.log.read()[-3000:]}")
        return json.loads(line)


def make_task(folder: Path) -> None:
    """Windows of real verse and the initial weights of the 7M network."""
    from models.lm import Architecture, build
    from tasks.pretrain.sizes import SIZES

    shape = SIZES["7M"].shape
    shape = {
        name: shape[name] for name in ("hidden_size", "layers", "heads", "kv_heads", "intermediate_size", "context")
    }
    build(Architecture(VOCABULARY, **shape), 0, 2, 3, seed=0).save_pretrained(folder / "model")
    ids = np.array(_verse_ids(), dtype=np.uint16)
    windows = np.lib.stride_tricks.sliding_window_view(ids, LENGTH + 1)[::LENGTH]
    order = np.random.default_rng(0).permutation(len(windows))
    np.save(folder / "validation.npy", windows[order[:32]])
    np.save(folder / "train.npy", windows[order[32:]])


def _verse_ids() -> list[int]:
    """The catalogue's poems through a byte-level BPE of VOCABULARY entries."""
    from tokenizers import ByteLevelBPETokenizer

    from tasks.sources import Record, open_source

    texts = []
    for record in open_source("chinese-poetry").records():
        if isinstance(record, Record) and record.data.get("paragraphs"):
            texts.append("\n".join(record.data["paragraphs"]))
        if len(texts) == 30_000:
            break
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(
        texts, VOCABULARY, special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"]
    )
    return [token for encoding in bpe.encode_batch(texts) for token in (0, *encoding.ids)]


def speed(peer_python: str, folder: Path, name: str, pairs: int) -> list[dict[str, Any]]:
    """Tokens per second of ours and of one peer in turns, and the share that ours is of the measured GEMM ceiling."""
    total = WARM_UP + pairs * TURN + 1
    shared = (folder, total, SPEED_LR, "constant", 0)
    ours = Worker(sys.executable, "pretrain_ours.py", "adamw", *shared)
    peer = Worker(peer_python, "pretrain_peers.py", name, *shared)
    for worker in (ours, peer):
        worker.steps(WARM_UP)
    turns = [(ours.steps(TURN), peer.steps(TURN)) for _ in range(pairs)]
    for worker in (ours, peer):
        worker.close()
    ratios = [_rate(mine) / _rate(theirs) for mine, theirs in turns]
    mfu = [_rate(mine) / mine["ceiling"] for mine, _ in turns]
    mine, theirs = turns[-1][0]["loss"], turns[-1][1].get("loss")
    agreement = f"validation loss {mine:.4f}"
    if theirs:
        agreement += f" and {theirs:.4f} after {WARM_UP + pairs * TURN} steps from the same weights"
    rates = [median(_rate(turn[side]) for turn in turns) for side in (0, 1)]
    logits = f"logits of the saved and loaded model differ by {turns[-1][0]['logits_difference']:.1e} at most"
    return [
        _result(f"pretrain_{name}", ratios, rates, "tokens/s", _version(peer_python, PEERS[name]), agreement),
        _result("pretrain_mfu", mfu, [median(mfu), 1.0], "of the bf16 GEMM ceiling", "2048³ torch", logits),
    ]


def length(folder: Path, pairs: int) -> dict[str, Any]:
    """Ten times the tokens in ten times the seconds and the same memory? Above 1: long runs are faster."""
    total = WARM_UP + pairs * 11 * SHORT + 1
    ours = Worker(sys.executable, "pretrain_ours.py", "adamw", folder, total, SPEED_LR, "constant", 0)
    ours.steps(WARM_UP)
    turns = [(ours.steps(SHORT), ours.steps(10 * SHORT)) for _ in range(pairs)]
    ours.close()
    ratios = [10 * short["seconds"] / long["seconds"] for short, long in turns]
    seconds = [median(turn[side]["seconds"] for turn in turns) for side in (1, 0)]
    memory = [turns[0][0]["memory"] / 2**20, turns[-1][1]["memory"] / 2**20]
    agreement = f"peak memory {memory[0]:.0f} MiB after {WARM_UP + SHORT} steps, {memory[1]:.0f} MiB after {total - 1}"
    return _result("pretrain_length", ratios, seconds, f"s for {10 * SHORT} and {SHORT} steps", "itself", agreement)


def time_to_loss(peer_python: str, folder: Path, seeds: tuple[int, ...]) -> dict[str, Any]:
    """Seconds of training until the validation loss that Trainer + AdamW ends with."""
    ratios, times, losses = [], [], []
    for seed in seeds:
        theirs = Worker(
            peer_python, "pretrain_peers.py", "trainer", folder, RACE["steps"], RACE["lr"], RACE["schedule"], seed
        )
        ours = Worker(
            sys.executable, "pretrain_ours.py", "muon", folder, OURS["steps"], OURS["lr"], OURS["schedule"], seed
        )
        clocks = [0.0, 0.0]
        done = [0, 0]
        last: list[dict[str, float]] = [{}, {}]
        while done != [OURS["steps"], RACE["steps"]]:
            for side, (worker, plan) in enumerate(((ours, OURS), (theirs, RACE))):
                turn = min(RACE_TURN, plan["steps"] - done[side])
                if turn:
                    last[side] = worker.steps(turn)
                    clocks[side] += last[side]["seconds"]
                    done[side] += turn
        for worker in (ours, theirs):
            worker.close()
        losses.append([side["loss"] for side in last])
        times.append(clocks)
        ratios.append(clocks[1] / clocks[0] if losses[-1][0] <= losses[-1][1] else 0.0)
    rounded = [[round(value, 4) for value in pair] for pair in losses]
    agreement = f"validation losses ours/theirs by seed {rounded}; compilation included"
    middle = [median(pair[side] for pair in times) for side in (0, 1)]
    return _result("pretrain_time_to_loss", ratios, middle, "s", _version(peer_python, "transformers"), agreement)


def _rate(turn: dict[str, float]) -> float:
    return TURN * BATCH * LENGTH / turn["seconds"]


def _version(python: str, package: str) -> str:
    code = f"from importlib.metadata import version; print(version({package!r}))"
    return (
        f"{package} " + subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    )


def _result(
    name: str, ratios: list[float], rates: list[float], unit: str, version: str, agreement: str
) -> dict[str, Any]:
    rounded = {"ratio": median(ratios), "min": min(ratios), "max": max(ratios)}
    facts = {"pairs": len(ratios), "ours": round(rates[0], 3), "peer": round(rates[1], 3), "unit": unit}
    return (
        {"bench": name}
        | {k: round(v, 3) for k, v in rounded.items()}
        | facts
        | {"peer_version": version, "agreement": agreement}
    )


def main() -> None:
    """All comparisons; a table, then JSON lines."""
    parser = argparse.ArgumentParser()
    parser.add_argument("peer_python")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", choices=[*PEERS, "length", "loss"])
    options = parser.parse_args()
    chosen = [options.only] if options.only else [*PEERS, "length", "loss"]
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_task(folder)
        for name in chosen:
            if name in PEERS:
                results += speed(options.peer_python, folder, name, options.pairs)
            elif name == "length":
                results.append(length(folder, min(3, options.pairs)))
            else:
                results.append(time_to_loss(options.peer_python, folder, tuple(options.seeds)))
    for r in results:
        spread = f"{r['ratio']:6.2f}x  {r['min']:.2f} to {r['max']:.2f}"
        print(f"{r['bench']:26} {spread}  {r['ours']} / {r['peer']} {r['unit']}")
    for r in results:
        print(json.dumps(r, ensure_ascii=False))


if __name__ == "__main__":
    main()
