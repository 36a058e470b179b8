"""Typing `fullchain ...` as a user does, in a process of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
STAGES = (
    "corpus", "tokenizer", "tokens", "pretrain", "finetune", "align",
    "evaluate", "quantize", "evaluate-int4", "release", "apply", "report",
)  # fmt: skip


class Fullchain:
    """The command, with a home of its own; `project` is the tree whose code it uses, `folder` where it is typed."""

    def __init__(self, home: Path, project: Path = PROJECT, folder: Path | None = None) -> None:
        self.home, self.project, self.folder = home, project, folder or project

    @property
    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_"))}
        return kept | {"FULLCHAIN_HOME": str(self.home), "PYTHONPATH": str(self.project), "NO_COLOR": "1"}

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "flows.cli", *arguments]

    def __call__(self, *arguments: str, status: int = 0, stdin: str = "") -> str:
        """What it prints, both streams together; fails when it ends with another status."""
        done = subprocess.run(
            self.command(*arguments), env=self.environment, cwd=self.folder, input=stdin, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600, check=False,
        )  # fmt: skip
        assert done.returncode == status, f"fullchain {' '.join(arguments)}: status {done.returncode}\n{done.stdout}"
        return done.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "--json"))

    def statuses(self, *arguments: str) -> dict[str, str]:
        """Label -> status of a plan."""
        return {step["label"]: step["status"] for step in self.json("plan", *arguments)}

    def reasons(self, *arguments: str) -> dict[str, list[str]]:
        """Label -> why, of the stages that would run or may run."""
        steps = self.json("plan", *arguments)
        return {step["label"]: step["reasons"] for step in steps if step["status"] in {"will run", "may run"}}


def ran(output: str) -> list[str]:
    """The stages that a `run` built, in order."""
    return re.findall(r"^(\S+) done in", output, re.MULTILINE)
