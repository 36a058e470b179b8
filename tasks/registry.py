"""The model registry: releases as versions of a model, and the folder with the files that a version is served from."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tasks.artifact import Artifact
from tasks.errors import StageError
from tasks.files import local_path, mark_used, write_whole
from tasks.redact import without_secrets
from tasks.tracking import (
    DIGEST_TAG,
    KEY_TAG,
    client,
    download,
    find_run,
    gone,
    model_version,
    superseded,
    tracking_uri,
)

DRAFT = ".draft-"  # a copy that is being fetched
IDLE_S = 86_400.0  # without a sign that somebody serves it, a copy may go


@dataclass(frozen=True)
class Version:
    """One version of a registered model: the release that it is (key and output digest), and where its files are."""

    name: str
    number: str
    key: str
    digest: str
    source: str


def register(home: Path, release: Artifact, uri: str, chain_run: str) -> str:
    """Make a release a version of the model that `uri` (models:/name@alias) names, and point the alias at it.

    Returns the version; idempotent. Where the registry does not know the run that made the release (it was built
    untracked, or against another registry), or that run's files are gone, the version hangs on the run of the chain.
    A version whose files are gone, as after a move of the home, is left as it is, and a new one made.
    """
    mlflow = client(home)
    name, _, alias = uri.removeprefix("models:/").partition("@")
    made_by = find_run(mlflow, str(release.provenance.get("mlflow_run_id", "none")))
    run_id = chain_run if made_by is None or gone(made_by.artifact_uri) else made_by.run_id
    if not mlflow.search_registered_models(f"name = '{name}'"):
        mlflow.create_registered_model(name)
    versions = mlflow.search_model_versions(f"name = '{name}'")
    known = [v for v in versions if v.tags.get(DIGEST_TAG) == release.digest and not gone(v.source)]
    if not known:
        mlflow.log_artifacts(run_id, str(release.path / "model"), "release")
        source = f"{mlflow.get_run(run_id).info.artifact_uri}/release"
        tags = {KEY_TAG: release.key, DIGEST_TAG: release.digest}
        known = [mlflow.create_model_version(name, source, run_id, tags=tags)]
    mlflow.set_registered_model_alias(name, alias, known[0].version)
    note = _registration(home, uri)
    note.parent.mkdir(parents=True, exist_ok=True)
    write_whole(note, json.dumps(_registered_as(home, release) | {"source": known[0].source}))
    return str(known[0].version)


def is_registered(home: Path, release: Artifact, uri: str) -> bool:
    """Whether `register` last pointed this alias at this release, in this registry, and its files are there.

    Asks no server: the files of one are taken to be there.
    """
    path = _registration(home, uri)
    server = os.environ.get("MLFLOW_TRACKING_URI")
    if not path.is_file() or not (server or (home / "mlflow.db").is_file()):
        return False
    note = json.loads(path.read_text())
    source = note.pop("source", None)
    return note == _registered_as(home, release) and source is not None and not gone(source)


def _registered_as(home: Path, release: Artifact) -> dict[str, str]:
    where = tracking_uri(home)  # with the home's own place, where it is a file there; it may hold a password
    return {"registry": hashlib.sha256(where.encode()).hexdigest(), "digest": release.digest}


def _registration(home: Path, uri: str) -> Path:
    return home / "registered" / f"{uri.removeprefix('models:/')}.json"


def registered(home: Path, uri: str) -> Version:
    """The version that `models:/name@alias` or `models:/name/version` means now. Its files are not looked for.

    Raises:
        StageError: there is no such model, alias or version, or `register` did not make it.
    """
    found = model_version(home, uri)
    if found is None:
        names = sorted(f"models:/{m.name}@{a}" for m in client(home).search_registered_models() for a in m.aliases)
        raise StageError(
            f"{uri}: not in the registry at {without_secrets(tracking_uri(home))}; expected models:/NAME@ALIAS or "
            f"models:/NAME/VERSION, one of: {', '.join(names) or 'none yet; `fullchain run` makes one'}"
        )
    if not {KEY_TAG, DIGEST_TAG} <= found.tags.keys():
        raise StageError(
            f"{uri}: version {found.version} of {found.name} was not registered by fullchain (it lacks the tag "
            f"{KEY_TAG}); name one that `fullchain run` registered"
        )
    return Version(found.name, str(found.version), found.tags[KEY_TAG], found.tags[DIGEST_TAG], found.source)


def package(home: Path, version: Version) -> Path:
    """The folder of a version's files; of a registry elsewhere a copy, which is fetched once and kept.

    Raises:
        StageError: they are gone.
    """
    here = local_path(version.source)
    if here is None:
        return _kept(home, version)
    if gone(version.source):
        raise StageError(
            f"version {version.number} of {version.name}: its files are gone from {here}; `fullchain run` registers "
            "the release again"
        )
    return here


def unneeded_copies(home: Path) -> list[Path]:
    """Copies unused for a day, of versions that no alias means.

    Servers mark the one that they serve every few seconds. Copies that the registry does not know may be another
    registry's, and are needed.

    Raises:
        StageError: the registry does not answer.
    """
    known = bool(os.environ.get("MLFLOW_TRACKING_URI")) or (home / "mlflow.db").is_file()
    idle = [path for path in _idle(home) if not path.name.startswith(DRAFT)] if known else []
    return [path for path in idle if superseded(home, path.name)]


def abandoned_drafts(home: Path) -> list[Path]:
    """What killed fetches left behind a day ago or more."""
    return [path for path in _idle(home) if path.name.startswith(DRAFT)]


def _idle(home: Path) -> list[Path]:
    return [path for path in sorted(_copies(home).glob("*")) if time.time() - _last_used(path) > IDLE_S]


def _copies(home: Path) -> Path:
    return home / "cache" / "models"


def _last_used(copy: Path) -> float:
    """When it was last asked for, served or written, in seconds since the epoch."""
    try:
        return max(path.stat().st_mtime for path in (copy, *copy.rglob("*")))
    except FileNotFoundError:  # a fetch ends while it is looked at
        return time.time()


def _kept(home: Path, version: Version) -> Path:
    kept = _copies(home) / version.digest
    if not kept.is_dir():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=DRAFT, dir=kept.parent) as draft:
            got = download(home, version.source, Path(draft))
            try:
                got.rename(kept)
            except OSError:
                if not kept.is_dir():  # else another process was quicker
                    raise
    mark_used(kept)
    return kept
