"""A reference to a source in a stage's config, and what identifies it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, RootModel

from tasks.errors import StageError
from tasks.files import tree_digest
from tasks.redact import without_secrets
from tasks.sources.archive import single_name
from tasks.sources.card import CATALOGUE, Card, Part, is_local, load_card, read_card


class SourceRef(RootModel[str]):
    """A catalogue name (`NAME` or `NAME/PART`), a pinned uri (`https://...#sha256=...`), a card file, or a local path.

    Its identity is the source's name, sha256 and reading rules; of a local path the bytes, never the place.
    """

    model_config = ConfigDict(frozen=True)

    def card(self) -> tuple[Card, str]:
        """The card it means, and the part it selects (empty = all).

        Raises:
            StageError: no such name, part or path; a uri without its sha256.
        """
        text = self.root
        if not is_local(text):
            return _card_of_uri(text), ""
        name, _, part = text.partition("/")
        if (CATALOGUE / f"{name}.yaml").is_file() and re.fullmatch(r"[\w.-]+(/\w+)?", text):
            card = load_card(name)
            card.part_names(part)
            return card, part
        path = Path(text).expanduser().absolute()
        if path.exists():
            return (read_card(path) if path.suffix in {".yaml", ".yml"} else _card_of_path(path)), ""
        if re.fullmatch(r"[a-z0-9_.-]+(/\w+)?", text) and not path.suffix:
            load_card(name)  # raises, with the nearest names
        raise StageError(f"source {text!r}: {path} does not exist; correct the path, or use a name of the catalogue")

    def identity(self) -> dict[str, Any]:
        card, part = self.card()
        sha256 = card.sha256 if not is_local(card.uri) else tree_digest(_present(card))
        rules = {name: card.parts[name].model_dump(mode="json") for name in card.part_names(part)}
        return {"name": card.name, "sha256": sha256, "parts": rules}


def _card_of_uri(uri: str) -> Card:
    address, _, fragment = uri.partition("#")
    marks = dict.fromkeys(filter(None, fragment.split("&")))
    pin = next((m for m in marks if m.startswith("sha256=")), "")
    kept = "&".join(m for m in marks if m != pin)
    sha256 = pin.removeprefix("sha256=").lower()
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        shown = without_secrets(uri)
        raise StageError(f"source {shown!r} is not pinned; append #sha256=HEX (64 digits), or write a card for it")
    return Card(
        name=f"uri-{sha256[:8]}", uri=f"{address}#{kept}" if kept else address, sha256=sha256, parts={"all": Part()}
    )


def _card_of_path(path: Path) -> Card:
    # the suffix is part of the reading rules: it tells the format of a plain file
    members = ("**",) if path.is_dir() else (single_name(path), "**")
    return Card(name=f"local-{tree_digest(path)[:8]}", uri=str(path), parts={"all": Part(members=members)})


def _present(card: Card) -> Path:
    path = Path(card.uri)
    if not path.exists():
        raise StageError(f"source {card.name}: {path} does not exist; correct uri in its card")
    return path
