"""Data cards: where a source is, what pins it, who owns it and how to read it. One YAML file per source."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tasks.errors import StageError

CATALOGUE = Path(__file__).resolve().parents[2] / "conf" / "catalogue"
Format = Literal[
    "auto", "json", "jsonl", "text", "parquet", "mediawiki", "html", "warc", "man", "mail", "code", "lines", "binary"
]
Kind = Literal["poems", "text", "instructions", "preferences", "words", "labels", "model"]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Part(_Strict):
    """How to read some members of a source."""

    members: tuple[str, ...] = Field(
        ("**",), description="Globs over member names; * stays within a folder, ** does not"
    )
    format: Format = Field("auto", description="How a member is cut into records; auto = by its suffix")
    kind: Kind = Field("text", description="What a record is for")
    language: str = Field("", description="ISO 639-1 codes of the text, separated by a comma; empty = unknown")
    fields: dict[str, str | tuple[str, ...]] = Field(
        {}, description="Our field name -> theirs, or the first present of several. Empty = taken as they are"
    )
    repository_folders: int = Field(
        0,
        ge=0,
        le=10,
        description="Of code: how many folders of a file's path name its repository, where its record has no field "
        "`repository`; 0 = one for all",
    )
    constants: dict[str, str] = Field({}, description="Fields that every record of this part gets")

    @property
    def is_code(self) -> bool:
        """Whether its records are files of code: the field `code` is mapped, or comes with the format."""
        return "code" in self.fields if self.fields else self.format == "code"


class Card(_Strict):
    """A source. Everything here except the prose bears identity (see `SourceRef`)."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$", description="The name it is called by")
    title: str = Field("", description="One line for people")
    uri: str = Field(description="pypi:NAME==VERSION[#sdist], npm:NAME@VERSION, deb:, hf:, ms:, https: or a path")
    version: str = Field("", description="The version the uri names")
    sha256: str = Field("", pattern=r"^([0-9a-f]{64})?$", description="Of the fetched file; empty only for local paths")
    bytes: int = Field(0, ge=0, description="Size of the fetched file")
    licence: str = Field("unknown", description="As the source states it")
    rights: str = Field("", description="What a user must know beside the licence")
    parts: dict[str, Part] = Field(min_length=1, description="Name -> how to read that part")

    def part_names(self, only: str = "") -> list[str]:
        """The parts a reference selects: one by name, or all. Raises StageError for an unknown part."""
        if only and only not in self.parts:
            raise StageError(f"source {self.name}: no part {only!r}; expected one of {', '.join(self.parts)}")
        return [only] if only else list(self.parts)


def catalogue(folder: Path = CATALOGUE) -> list[str]:
    """Names of the cards in a catalogue folder."""
    return sorted(f.stem for f in folder.glob("*.yaml"))


def load_card(name: str, folder: Path = CATALOGUE) -> Card:
    """The card of a catalogue name.

    Raises:
        StageError: unknown name (with the nearest ones), or a card that does not hold (with each wrong field).
    """
    path = folder / f"{name}.yaml"
    if not path.is_file():
        names = catalogue(folder)
        near = get_close_matches(name, names, n=3, cutoff=0.4) or names
        raise StageError(f"source {name!r} is not in the catalogue; the nearest are {', '.join(near)}; or give a path")
    return read_card(path)


def read_card(path: Path) -> Card:
    """A card from its YAML file; a relative path in `uri` counts from the file's own folder."""
    import yaml

    try:
        card = Card.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise StageError(f"data card {path}: not readable as YAML: {error}") from error
    except ValidationError as error:
        wrong = "; ".join(f"{_place(e['loc'])}: {e['msg']}" for e in error.errors())
        raise StageError(f"data card {path}: {wrong}; see tasks/sources/card.py for the fields") from error
    if is_local(card.uri):
        return card.model_copy(update={"uri": str((path.parent / card.uri).resolve())})
    if not card.sha256:
        raise StageError(f"data card {path}: sha256: missing; a fetched source must be pinned; add its sha256")
    return card


def is_local(uri: str) -> bool:
    """Whether a uri is a path on this machine: it has no scheme."""
    scheme, colon, _ = uri.partition(":")
    return not colon or "/" in scheme or len(scheme) == 1


def _place(location: tuple[Any, ...]) -> str:
    return ".".join(map(str, location)) or "card"
