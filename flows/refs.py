"""REF: a key prefix, `stage@preset`, or `models:/name@alias`; and the lineage that hangs on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import flows.chain
from flows.chain import chain
from flows.config import load, presets
from flows.names import nearest
from flows.plan import plan
from tasks.artifact import Artifact
from tasks.errors import StageError
from tasks.registry import package, registered
from tasks.stage import Stage
from tasks.store import Store


def resolve(ref: str, store: Store) -> Artifact:
    """The artifact that a REF means.

    Raises:
        StageError: none or several match, or the registry has no such model.
    """
    if ref.startswith("models:/"):
        return store.resolve(registered(store.home, ref).key)
    stage, at, preset = ref.partition("@")
    return _of_preset(stage, preset, store) if at else store.resolve(ref)


def model_folder(ref: str, store: Store) -> Path:
    """The serving package that a REF means: a release's or a quantized model's folder, or one on disk."""
    if ref.startswith("models:/"):
        return package(store.home, registered(store.home, ref))
    folder = Path(ref) if Path(ref).is_dir() else resolve(ref, store).path / "model"
    if not (folder / "model.onnx").is_file():
        raise StageError(
            f"{ref}: no model.onnx in {folder}; expected a release or a quantized model, such as release@poet"
        )
    return folder


def of_stage(name: str, store: Store) -> list[Artifact]:
    """The artifacts of a stage, by its name or its label, the newest first; of every stage for "*".

    Raises:
        StageError: no stage is called so.
    """
    found = [a for a in store.artifacts() if name in ("*", a.stage, a.provenance["label"])]
    labels = [value.label for value in vars(flows.chain).values() if isinstance(value, Stage)]
    if not found and name not in ("*", *labels):
        raise StageError(f"no stage {name!r}; {nearest(name, labels)}")
    return found


def report_card(ref: str, store: Store) -> Path:
    """The page of a report.

    Raises:
        StageError: as `resolve` does, or the artifact is of another stage.
    """
    artifact = resolve(ref, store)
    page = artifact.path / "report.html"
    if not page.is_file():
        preset = artifact.provenance.get("preset", "poet")
        raise StageError(f"{ref} is an artifact of {artifact.stage}, which has no report card; try report@{preset}")
    return page


def lineage(artifact: Artifact, store: Store) -> dict[str, Any]:
    """An artifact, what it was made from, and so on down to the sources with their SHA-256."""
    node: dict[str, Any] = {"stage": artifact.stage, "key": artifact.key, "digest": artifact.digest, "inputs": {}}
    if sources := sources_of(artifact):
        node["sources"] = sources
    for role, ref in artifact.inputs.items():
        node["inputs"][role] = lineage(_input(artifact, role, store), store)
        if node["inputs"][role]["digest"] != ref.digest:
            raise StageError(
                f"{artifact.stage} {artifact.key}: its input {role} was rebuilt with another content since; "
                f"`fullchain run --from {ref.stage}` brings the chain up to date"
            )
    return node


def sources_of(artifact: Artifact) -> list[dict[str, Any]]:
    """The source packages that an artifact was read from, with their SHA-256; none when it only has inputs."""
    file = artifact.path / "sources.json"
    return list(json.loads(file.read_text())) if file.is_file() else []


def ancestor(artifact: Artifact, stage: str, store: Store) -> Artifact:
    """The artifact of a stage that this one was made from (or is).

    Raises:
        StageError: there is none; it says what is gone on the way to one.
    """
    gone: dict[str, None] = {}
    found = _ancestor(artifact, stage, store, gone)
    if found is None:
        none = f"{artifact.stage} {artifact.key} was not made from any {stage} artifact that is in the store"
        raise StageError("; ".join([none, *gone]))
    return found


def _ancestor(artifact: Artifact, stage: str, store: Store, gone: dict[str, None]) -> Artifact | None:
    if artifact.stage == stage:
        return artifact
    for role in artifact.inputs:
        try:
            made_from = _input(artifact, role, store)
        except StageError as problem:
            gone[str(problem)] = None
            continue
        if found := _ancestor(made_from, stage, store, gone):
            return found
    return None


def _input(artifact: Artifact, role: str, store: Store) -> Artifact:
    ref = artifact.inputs[role]
    found, damage = store.find(ref.stage, ref.key)
    if found is None:
        why = damage or "not in the store"
        raise StageError(
            f"{artifact.stage} {artifact.key}: its input {role}, {ref.stage} {ref.key}, is gone ({why}); "
            "`fullchain run` builds it again"
        )
    return found


def _of_preset(stage: str, preset: str, store: Store) -> Artifact:
    """What the preset's present settings make, else the newest that was made under the preset's name."""
    built = [a for a in store.artifacts() if a.provenance.get("preset") == preset and a.provenance["label"] == stage]
    if built and preset not in presets():
        return built[0]
    steps = plan(chain, load(preset), store)
    for step in steps:
        if step.label == stage and step.artifact is not None:
            return step.artifact
    if built:
        return built[0]
    raise StageError(
        f"{stage}@{preset}: never built; expected one of {', '.join(s.label for s in steps)}; "
        f"`fullchain run {preset} --until {stage}` builds it"
    )
