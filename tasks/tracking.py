"""MLflow: one run per chain, one nested run per executed stage, and the model registry.

The only module that imports MLflow, and only when something is executed (the import takes seconds).
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.artifact import Artifact
from tasks.errors import StageError
from tasks.files import write_whole
from tasks.key import Recipe
from tasks.redact import without_secrets
from tasks.stage import Stage
from tasks.store import Workplace

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

KEY_TAG, DIGEST_TAG = "fullchain.key", "fullchain.digest"
FLUSH_POINTS, FLUSH_SECONDS = 500, 10.0  # one batch of 1,000 takes 0.05 s, 100 single calls take seconds
LARGEST_LOGGED_FILE = 8 * 2**20  # bytes; larger ones stay in the store, which the run names
LOGGED_SUFFIXES = {".json", ".jsonl", ".html", ".png", ".svg", ".md"}


def tracking_uri(home: Path) -> str:
    """$MLFLOW_TRACKING_URI, or a sqlite file in the home."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home / 'mlflow.db'}"


class ChainRun:
    """The MLflow run of one chain; its experiment is the preset's."""

    def __init__(self, home: Path, preset: str, tags: dict[str, str]) -> None:
        self.client = _client(home)
        self.experiment_id = _experiment(self.client, home, preset)
        self.run_id = self.client.create_run(
            self.experiment_id, run_name=f"{preset} {time.strftime('%Y-%m-%d %H:%M')}", tags=tags
        ).info.run_id

    @contextmanager
    def stage(
        self, stage: Stage, recipe: Recipe, inputs: dict[str, Artifact], place: Workplace
    ) -> Iterator[TrackedStage]:
        """The nested run of one executed stage; a killed attempt's run is continued."""
        run = TrackedStage(self.client, self._run_for(stage, recipe, place))
        run.describe(recipe, inputs)
        try:
            yield run
        except BaseException as error:
            run.close("FAILED" if isinstance(error, Exception) else "KILLED")
            raise
        run.close("FINISHED")

    def note_cached(self, label: str, artifact: Artifact) -> None:
        """Say in the chain's run which artifact stood ready, and which run once made it."""
        made_by = artifact.provenance.get("mlflow_run_id", "an untracked run")
        self.client.set_tag(self.run_id, f"stage.{label}", f"cached {artifact.key}, made by {made_by}")

    def close(self, status: str) -> None:
        self.client.set_terminated(self.run_id, status)

    def _run_for(self, stage: Stage, recipe: Recipe, place: Workplace) -> str:
        tags = {"mlflow.parentRunId": self.run_id, "fullchain.stage": stage.name, KEY_TAG: recipe.key}
        if place.tracking_run.is_file():
            run_id = place.tracking_run.read_text().strip()
            if _exists(self.client, run_id):
                self.client.update_run(run_id, "RUNNING")
                self.client.set_tag(run_id, "mlflow.parentRunId", self.run_id)
                return run_id
        run_id = self.client.create_run(self.experiment_id, run_name=stage.label, tags=tags).info.run_id
        place.root.mkdir(parents=True, exist_ok=True)
        place.tracking_run.write_text(run_id)
        return run_id


class TrackedStage:
    """Writes one stage's record in batches; a `tasks.build.StageRun`."""

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self.client, self.run_id = client, run_id
        self._points: list[Any] = []
        self._flushed = time.monotonic()

    def describe(self, recipe: Recipe, inputs: dict[str, Artifact]) -> None:
        """Config as params, inputs as datasets named by their digest."""
        from mlflow.entities import Dataset, DatasetInput, InputTag, Param

        params = [Param(name, str(value)[:6000]) for name, value in _flat(recipe.config)]
        for start in range(0, len(params), 100):
            self.client.log_batch(self.run_id, params=params[start : start + 100])
        datasets = [
            DatasetInput(
                Dataset(
                    name=f"{a.stage}-{a.key}", digest=a.digest, source_type="local", source=json.dumps({"key": a.key})
                ),
                [InputTag("mlflow.data.context", role)],
            )
            for role, a in inputs.items()
        ]
        if datasets:
            self.client.log_inputs(self.run_id, datasets=datasets)

    def progress(self, label: str, done: float, total: float | None) -> None:
        """Progress is for the terminal and for Prefect."""

    def point(self, step: int, values: dict[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._points += [Metric(name, float(value), now, step) for name, value in values.items()]
        if len(self._points) >= FLUSH_POINTS or time.monotonic() - self._flushed > FLUSH_SECONDS:
            self._flush()

    def event(self, kind: str, text: str) -> None:
        """The latest of each kind, as a tag."""
        self.client.set_tag(self.run_id, f"event.{kind}", text)

    def finish(self, artifact: Artifact) -> None:
        """Final metrics, what was made, and the files that a person would look at."""
        numbers = {k: v for k, v in artifact.metrics.items() if isinstance(v, int | float)}
        self.point(0, numbers | {"seconds": artifact.provenance["seconds"]})
        texts = {k: str(v) for k, v in artifact.metrics.items() if not isinstance(v, int | float)}
        for name, value in (texts | {DIGEST_TAG: artifact.digest}).items():
            self.client.set_tag(self.run_id, name, value)
        for file in sorted(artifact.path.rglob("*")):
            if file.suffix in LOGGED_SUFFIXES and file.is_file() and file.stat().st_size <= LARGEST_LOGGED_FILE:
                folder = file.parent.relative_to(artifact.path).as_posix()
                self.client.log_artifact(self.run_id, str(file), None if folder == "." else folder)

    def close(self, status: str) -> None:
        self._flush()
        self.client.set_terminated(self.run_id, status)

    def _flush(self) -> None:
        for start in range(0, len(self._points), 1000):
            self.client.log_batch(self.run_id, metrics=self._points[start : start + 1000])
        self._points.clear()
        self._flushed = time.monotonic()


def register(home: Path, release: Artifact, uri: str, chain_run: str) -> str:
    """Make a release a version of the model that `uri` (models:/name@alias) names, and point the alias at it.

    Returns the version; idempotent. Where the registry does not know the run that made the release (it was built
    untracked, or against another registry), the version hangs on the run of the chain.
    """
    client = _client(home)
    name, _, alias = uri.removeprefix("models:/").partition("@")
    made_by = str(release.provenance.get("mlflow_run_id", ""))
    run_id = made_by if made_by and _exists(client, made_by) else chain_run
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    known = [v for v in client.search_model_versions(f"name = '{name}'") if v.tags.get(DIGEST_TAG) == release.digest]
    if not known:
        client.log_artifacts(run_id, str(release.path / "model"), "release")
        source = f"{client.get_run(run_id).info.artifact_uri}/release"
        tags = {KEY_TAG: release.key, DIGEST_TAG: release.digest}
        known = [client.create_model_version(name, source, run_id, tags=tags)]
    client.set_registered_model_alias(name, alias, known[0].version)
    note = _registration(home, uri)
    note.parent.mkdir(parents=True, exist_ok=True)
    write_whole(note, json.dumps(_registered_as(release)))
    return str(known[0].version)


def is_registered(home: Path, release: Artifact, uri: str) -> bool:
    """Whether `register` last pointed this alias at this release, in this registry. Asks no server."""
    note = _registration(home, uri)
    server = os.environ.get("MLFLOW_TRACKING_URI")
    there = note.is_file() and (server or (home / "mlflow.db").is_file())
    return bool(there and json.loads(note.read_text()) == _registered_as(release))


def _registered_as(release: Artifact) -> dict[str, str]:
    server = os.environ.get("MLFLOW_TRACKING_URI", "this home's")
    return {"registry": hashlib.sha256(server.encode()).hexdigest(), "digest": release.digest}  # it may hold a password


def _registration(home: Path, uri: str) -> Path:
    return home / "registered" / f"{uri.removeprefix('models:/')}.json"


def registered(home: Path, uri: str) -> tuple[str, Path]:
    """(artifact key, local folder of the serving package) of `models:/name@alias` or `models:/name/version`.

    Raises:
        StageError: there is no such model, alias or version.
    """
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    client = _client(home)
    name, at, alias = uri.removeprefix("models:/").partition("@")
    try:
        by_alias = client.get_model_version_by_alias
        found = by_alias(name, alias) if at else client.get_model_version(*name.split("/", 1))
        folder = download_artifacts(artifact_uri=found.source, tracking_uri=tracking_uri(home))
    except (MlflowException, TypeError) as error:
        names = sorted(f"models:/{m.name}@{a}" for m in client.search_registered_models() for a in m.aliases)
        raise StageError(
            f"{uri}: not in the registry at {without_secrets(tracking_uri(home))}; expected models:/NAME@ALIAS or "
            f"models:/NAME/VERSION, one of: {', '.join(names) or 'none yet; `fullchain run` makes one'}"
        ) from error
    return found.tags[KEY_TAG], Path(folder)


def _client(home: Path) -> MlflowClient:
    from mlflow.tracking import MlflowClient

    home.mkdir(parents=True, exist_ok=True)
    return MlflowClient(tracking_uri(home), tracking_uri(home))


def _experiment(client: MlflowClient, home: Path, name: str) -> str:
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    local = tracking_uri(home).startswith("sqlite:")
    return str(client.create_experiment(name, (home / "mlartifacts").as_uri() if local else None))


def _exists(client: MlflowClient, run_id: str) -> bool:
    from mlflow.exceptions import MlflowException

    try:
        client.get_run(run_id)
    except MlflowException:
        return False
    return True


def _flat(value: Any, prefix: str = "") -> list[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        return [pair for k, v in value.items() for pair in _flat(v, f"{prefix}.{k}" if prefix else k)]
    return [(prefix[:250], value)] if prefix else []
