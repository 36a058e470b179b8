"""Stages run as plain functions on small inputs: a corpus of made-up verse, and an artifact that is only a folder."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.files import files_below, tree_digest
from tasks.output import Output
from tasks.poems import verse
from tasks.poet_tools import FORMS
from tasks.stage import Metrics, Stage, StageConfig
from tasks.store import Workplace

ENDS = "风中生清行明空声更青"  # all in one rhyme group
CHARACTERS = "春江月花山水云雨天人夜秋白日红烟高楼远近古今来去东西南北"


def artifact(path: Path) -> Any:
    """A folder of files in the place of an input artifact."""
    return SimpleNamespace(path=path, logs=path / "logs", name=path.name, digest=path.name)


def attempt(stage: Stage, cfg: StageConfig, root: Path, **inputs: Path) -> tuple[Path, Metrics]:
    """One attempt at a stage, with the state that earlier attempts in `root` left; its files and metrics."""
    out = output(root, stage.name)
    metrics = stage.function(cfg, out, **{k: artifact(v) for k, v in inputs.items()})
    return out.path, metrics


def output(root: Path, name: str = "test") -> Output:
    """What a stage sees of the world, in `root`."""
    place = Workplace(root)
    for folder in (place.files, place.logs, place.state):
        folder.mkdir(parents=True, exist_ok=True)
    return Output(place, name)


def result(path: Path) -> dict[str, str]:
    """Digests of what bears an artifact's identity: all its files but the logs, which hold times."""
    return {
        str(file.relative_to(path)): tree_digest(file)
        for file in files_below(path)
        if path / "logs" not in file.parents
    }


def corpus(folder: Path, poems: int = 120, validation: int = 24, shards: int = 2) -> Path:
    """A corpus artifact of made-up regular verse in two training shards."""
    rows = list(itertools.islice(_rows(), poems + validation))
    per_shard = -(-poems // shards)
    for number in range(shards):
        _write(
            folder / "train" / f"{number:05d}.parquet", rows[number * per_shard : min(poems, (number + 1) * per_shard)]
        )
    _write(folder / "validation" / "00000.parquet", rows[poems:])
    return folder


def _rows() -> Iterator[dict[str, str]]:
    characters = itertools.cycle(CHARACTERS + CHARACTERS[::-1] + CHARACTERS[::3] + "酒")
    for number in itertools.count():
        form = list(FORMS.values())[number % len(FORMS)]
        length, count = map(int, form.split("x"))
        lines = ["".join(itertools.islice(characters, length - 1)) + ENDS[(number + i) % 10] for i in range(count)]
        title, author = f"{lines[0][:2]}{number}", "甲乙丙丁"[number % 4]
        metadata = {"title": title, "author": author, "lines": lines, "form": form}
        yield {
            "id": f"poem-{number:04d}",
            "text": f"《{title}》{author}\n{verse(lines)}",
            "source": "made-up",
            "metadata": json.dumps(metadata, ensure_ascii=False, sort_keys=True),
        }


def _write(path: Path, rows: list[dict[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)
