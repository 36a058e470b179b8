"""Held-out prompts: conversations that end where the assistant is to speak, and what is expected of it."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks.stage import StageError


@dataclass(frozen=True)
class Prompt:
    """One line of heldout.jsonl. `check` says what can be checked: form, kind, tool; `answer` is a reference."""

    id: str
    messages: list[dict[str, Any]]
    check: dict[str, Any] = field(default_factory=dict)
    tools: list[dict[str, Any]] | None = None
    answer: dict[str, Any] | None = None


def read_prompts(path: Path, count: int) -> list[Prompt]:
    """`count` prompts, evenly from the whole file. An assistant's message at the end is the reference, not the prompt.

    Raises:
        StageError: the file is missing or empty.
    """
    if not path.exists():
        raise StageError(f"finetune: {path.name} is missing; expected held-out prompts, one JSON object per line")
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
    if not records:
        raise StageError(f"finetune: {path.name} is empty; hold some prompts out of the training")
    count = min(count, len(records))
    return [_prompt(records[position * len(records) // count]) for position in range(count)]


def _prompt(record: dict[str, Any]) -> Prompt:
    messages, answer = record["messages"], record.get("answer")
    if messages[-1]["role"] == "assistant":
        messages, answer = messages[:-1], messages[-1]
    if isinstance(answer, str):
        answer = {"role": "assistant", "content": answer}
    return Prompt(str(record["id"]), messages, record.get("check") or {}, record.get("tools"), answer)
