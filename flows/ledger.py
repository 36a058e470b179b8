"""`fullchain data why / replay / audit`: questions to a built corpus, as the command shows them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from flows.config import ChainConfig, load
from flows.refs import resolve
from tasks.corpus.config import REPLAYABLE
from tasks.corpus.ledger import Ambiguous, replay, settings_of, why
from tasks.errors import StageError
from tasks.store import Store


def explain(record: str, ref: str, store: Store) -> dict[str, Any]:
    """A record's verdict in the corpus that REF names; without REF in the newest that has the record."""
    if ref:
        return why(resolve(ref, store).path, record)
    mistake = StageError(f"no corpus in {store.home / 'store'}; `fullchain run --only corpus` builds one")
    for artifact in store.artifacts("corpus"):
        try:
            return {"corpus": artifact.key, **why(artifact.path, record)}
        except Ambiguous:
            raise
        except StageError as error:
            mistake = error
    raise mistake


def try_settings(preset: str, sets: tuple[str, ...], store: Store) -> dict[str, Any]:
    """What a preset's corpus would keep under other settings, from the ledger of the one that is built.

    Raises:
        StageError: the corpus is not built, or a setting changes more than thresholds.
    """
    before, after = load(preset), load(preset, sets)
    changed = _changed(before, after)
    artifact = resolve(f"corpus@{preset}", store)
    found = replay(artifact.path, settings_of(after.corpus))
    return {"corpus": artifact.key, "changed": changed, **found}


def _changed(before: ChainConfig, after: ChainConfig) -> dict[str, list[Any]]:
    old, new = (c.corpus.model_dump(mode="json") for c in (before, after))
    changed = {name: [old[name], new[name]] for name in old if old[name] != new[name]}
    other = sorted(set(changed) - REPLAYABLE)
    if other:
        raise StageError(
            f"corpus.{other[0]}: the ledger cannot tell; replay knows {', '.join(sorted(REPLAYABLE))}; "
            "run the stage for anything else"
        )
    return changed


def write_lines(rows: list[dict[str, Any]], path: Path) -> None:
    """JSON lines."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
