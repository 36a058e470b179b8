"""MLflow: one run per chain, one nested run per executed stage; and the ground under `tasks.registry`.

The only module that imports MLflow, and only when something is executed (the import takes seconds).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.artifact import Artifact
from tasks.errors import StageError
from tasks.files import local_path
from tasks.key import Recipe
from tasks.redact import without_secrets
from tasks.stage import Stage
from tasks.store import Workplace

if TYPE_CHECKING:
    from mlflow.entities import RunInfo
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient

KEY_TAG, DIGEST_TAG = "fullchain.key", "fullchain.digest"
FLUSH_POINTS, FLUSH_SECONDS = 500, 10.0  # one batch of 1,000 takes 0.05 s, 100 single calls take seconds
LARGEST_LOGGED_FILE = 8 * 2**20  # bytes; larger ones stay in the store, which the run names
NOT_THERE = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}  # a model or a version; an alias
FILES = "mlartifacts"  # below the home: what the runs of its own database log
LOGGED_SUFFIXES = {".json", ".jsonl", ".html", ".png", ".svg", ".md"}


def tracking_uri(home: Path) -> str:
    """$MLFLOW_TRACKING_URI, or a sqlite file in the home."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home / 'mlflow.db'}"


class ChainRun:
    """The MLflow run of one chain; its experiment is the preset's."""

    def __init__(self, home: Path, preset: str, tags: dict[str, str]) -> None:
        self.client = client(home)
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
            known = find_run(self.client, run_id)
            if known is not None and known.experiment_id == self.experiment_id:
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


def model_version(home: Path, uri: str) -> ModelVersion | None:
    """What the registry has as `models:/name@alias` or `models:/name/version`; None where there is no such one.

    Raises:
        StageError: the registry does not answer.
    """
    from mlflow.exceptions import MlflowException

    named, _, alias = uri.removeprefix("models:/").partition("@")
    name, _, number = named.partition("/")
    try:
        if alias:
            return client(home).get_model_version_by_alias(named, alias)
        return client(home).get_model_version(name, number) if number else None
    except MlflowException as error:
        if error.error_code in NOT_THERE:
            return None
        where = without_secrets(f"{tracking_uri(home)} does not answer: {error}")
        raise StageError(f"{uri}: the registry at {where}") from error


def superseded(home: Path, digest: str) -> bool:
    """Whether the registry has versions with this output digest, and no alias means any of them.

    Raises:
        StageError: the registry does not answer.
    """
    from mlflow.exceptions import MlflowException

    try:
        mlflow = client(home)
        versions = mlflow.search_model_versions(f"tags.`{DIGEST_TAG}` = '{digest}'")
        meant = {name: mlflow.get_registered_model(name).aliases.values() for name in {v.name for v in versions}}
    except MlflowException as error:
        where = without_secrets(f"{tracking_uri(home)} does not answer: {error}")
        raise StageError(f"the registry at {where}") from error
    return bool(versions) and not any(str(v.version) in map(str, meant[v.name]) for v in versions)


def download(home: Path, uri: str, folder: Path) -> Path:
    """Files that MLflow keeps, brought into a folder; where they are in it."""
    from mlflow.artifacts import download_artifacts

    return Path(download_artifacts(artifact_uri=uri, dst_path=str(folder), tracking_uri=tracking_uri(home)))


def client(home: Path) -> MlflowClient:
    """MLflow as `tracking_uri` names it."""
    from mlflow.tracking import MlflowClient

    home.mkdir(parents=True, exist_ok=True)
    return MlflowClient(tracking_uri(home), tracking_uri(home))


def _experiment(client: MlflowClient, home: Path, name: str) -> str:
    found = client.get_experiment_by_name(name)
    if found is not None and not _left_behind(found.artifact_location, home):
        return str(found.experiment_id)
    if found is not None:  # its runs stay to be read, under another name
        client.rename_experiment(found.experiment_id, f"{name} ({found.experiment_id}, {found.artifact_location})")
    local = tracking_uri(home).startswith("sqlite:")
    return str(client.create_experiment(name, (home / FILES).as_uri() if local else None))


def _left_behind(location: str, home: Path) -> bool:
    """Whether files of an experiment in the home's own database would go to another home: this one was moved."""
    path = None if os.environ.get("MLFLOW_TRACKING_URI") else local_path(location)
    return path is not None and path.name == FILES and path.resolve() != (home / FILES).resolve()


def find_run(client: MlflowClient, run_id: str) -> RunInfo | None:
    """What MLflow knows of a run, if anything."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(run_id).info
    except MlflowException:
        return None


def gone(uri: str) -> bool:
    """Whether a uri names a folder on this machine that is not there."""
    path = local_path(uri)
    return path is not None and not path.is_dir()


def _flat(value: Any, prefix: str = "") -> list[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        return [pair for k, v in value.items() for pair in _flat(v, f"{prefix}.{k}" if prefix else k)]
    return [(prefix[:250], value)] if prefix else []
