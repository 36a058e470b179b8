"""The facts of a run, read from its artifacts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from tasks.artifact import Artifact


@dataclass(frozen=True)
class StageFacts:
    """One row of the chain: `state` is "run" when this run built it, else "cached". Sizes are in bytes."""

    label: str
    stage: str
    key: str
    digest: str
    state: str
    seconds: float
    started: str
    size: int
    metrics: dict[str, Any]
    mlflow_run: str
    inputs: dict[str, str]


class Run:
    """All stages of one run, and what they have in common."""

    def __init__(self, artifacts: list[Artifact], chain_run: str) -> None:
        self.stages = [_facts(a, chain_run) for a in artifacts]
        self.slowest = max((s.seconds for s in self.stages), default=0.0)
        self.seconds = sum(s.seconds for s in self.stages)
        self.libraries = dict(sorted(pair for a in artifacts for pair in a.libraries.items()))
        newest = max(artifacts, key=lambda a: a.provenance["finished"])
        self.provenance = newest.provenance


def _facts(artifact: Artifact, chain_run: str) -> StageFacts:
    about = artifact.provenance
    this_run = bool(chain_run) and about.get("chain_run") == chain_run
    return StageFacts(
        label=about["label"], stage=artifact.stage, key=artifact.key, digest=artifact.digest,
        state="run" if this_run else "cached", seconds=about["seconds"], started=about["started"],
        size=sum(f.size for f in artifact.files), metrics=artifact.metrics,
        mlflow_run=about.get("mlflow_run_id", ""), inputs={role: ref.key for role, ref in artifact.inputs.items()},
    )  # fmt: skip


def read_json(path: Path) -> Any:
    """A JSON file's value."""
    return json.loads(path.read_text(encoding="utf-8"))


def read_jsonl(path: Path, limit: int | None = None) -> list[dict[str, Any]]:
    """The first records of a JSON lines file; none when there is no such file."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in islice(lines, limit)]
