"""The model registry: what a name means, and the files behind it, here and in a registry that keeps them elsewhere."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mlflow.entities import FileInfo
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import _artifact_repository_registry

from tasks.errors import StageError
from tasks.registry import is_registered, package, register, registered
from tasks.tracking import ChainRun, client

URI = "models:/poet@champion"


class Elsewhere(ArtifactRepository):
    """Keeps artifacts where MLflow cannot say so with a path: its uris are `elsewhere:` and a folder's name."""

    @property
    def root(self) -> Path:
        return Path(self.artifact_uri.partition(":")[2])

    def log_artifact(self, local_file: str, artifact_path: str | None = None) -> None:
        (self.root / (artifact_path or "")).mkdir(parents=True, exist_ok=True)
        shutil.copy(local_file, self.root / (artifact_path or ""))

    def log_artifacts(self, local_dir: str, artifact_path: str | None = None) -> None:
        shutil.copytree(local_dir, self.root / (artifact_path or ""))

    def list_artifacts(self, path: str | None = None) -> list[FileInfo]:
        folder = self.root / (path or "")
        files = sorted(folder.iterdir()) if folder.is_dir() else []
        return [FileInfo(f.relative_to(self.root).as_posix(), f.is_dir(), f.stat().st_size) for f in files]

    def _download_file(self, remote_file_path: str, local_path: str) -> None:
        shutil.copy(self.root / remote_file_path, local_path)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with MLflow's empty database, which takes seconds to make."""
    home = tmp_path_factory.mktemp("fresh") / "home"
    client(home).search_experiments()
    return home


@pytest.fixture
def home(fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setitem(_artifact_repository_registry._registry, "elsewhere", Elsewhere)
    return Path(shutil.copytree(fresh, tmp_path / "home"))


def release(home: Path, name: str) -> Any:
    """A release artifact whose package says its name."""
    path = home / "store" / "release" / name
    (path / "model").mkdir(parents=True)
    (path / "model" / "model.onnx").write_text(name)
    return SimpleNamespace(stage="release", key=name, digest=f"digest of {name}", path=path, provenance={})


def run(home: Path) -> str:
    return ChainRun(home, "poet", {}).run_id


def served(home: Path, uri: str = URI) -> Path:
    return package(home, registered(home, uri))


def test_files_elsewhere_are_fetched_once_and_anew_when_the_alias_moves(home: Path, tmp_path: Path) -> None:
    remote = tmp_path / "remote"
    client(home).create_experiment("poet", f"elsewhere:{remote}")
    register(home, release(home, "first"), URI, run(home))
    before = served(home)
    register(home, release(home, "second"), URI, run(home))
    after = served(home)
    assert [(folder / "model.onnx").read_text() for folder in (before, after)] == ["first", "second"]
    shutil.rmtree(remote)
    assert (served(home), served(home, "models:/poet/1")) == (after, before)
    assert sorted((home / "cache" / "models").iterdir()) == sorted([before, after])


def test_what_a_name_means_is_told_without_its_files(home: Path) -> None:
    made = release(home, "first")
    assert register(home, made, URI, run(home)) == "1"
    shutil.rmtree(home / "mlartifacts")
    found = registered(home, "models:/poet/1")
    assert (found.key, found.digest, found.number) == (made.key, made.digest, "1")


@pytest.mark.parametrize("uri", ["models:/poet@next", "models:/poet/7", "models:/poet", "models:/bard@champion"])
def test_an_unknown_name_gets_those_that_there_are(home: Path, uri: str) -> None:
    register(home, release(home, "first"), URI, run(home))
    with pytest.raises(StageError, match=f"^{uri}: not in the registry at .*, one of: {URI}$"):
        registered(home, uri)


def test_a_version_of_another_maker_is_told_as_such(home: Path) -> None:
    client(home).create_registered_model("guest")
    client(home).create_model_version("guest", "elsewhere:guest")
    with pytest.raises(StageError, match=r"^models:/guest/1: version 1 of guest was not registered by fullchain"):
        registered(home, "models:/guest/1")


def test_a_registry_that_does_not_answer_is_told_as_such(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ann:secret@127.0.0.1:1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(StageError, match="does not answer") as error:
        registered(home, URI)
    assert "secret" not in str(error.value)


def test_a_release_whose_files_went_is_registered_by_the_next_run(home: Path) -> None:
    made = release(home, "first")
    register(home, made, URI, run(home))
    assert is_registered(home, made, URI)
    shutil.rmtree(home / "mlartifacts")
    assert not is_registered(home, made, URI)
    register(home, made, URI, run(home))
    assert is_registered(home, made, URI) and (served(home) / "model.onnx").read_text() == "first"


def test_a_moved_home_says_what_is_gone_and_is_mended_by_the_next_run(home: Path, tmp_path: Path) -> None:
    register(home, release(home, "first"), URI, run(home))
    moved = Path(shutil.move(home, tmp_path / "moved home"))
    made = SimpleNamespace(**vars(release(moved, "again")) | {"digest": "digest of first"})
    assert not is_registered(moved, made, URI)
    with pytest.raises(StageError, match=rf"version 1 of poet: its files are gone from {home}.*`fullchain run`"):
        served(moved)
    assert register(moved, made, URI, run(moved)) == "2"
    assert is_registered(moved, made, URI)
    assert moved in served(moved).parents
    assert register(moved, made, URI, run(moved)) == "2"
    assert not home.exists()


def test_runs_of_one_home_are_of_one_experiment_and_those_of_a_moved_one_stay(home: Path, tmp_path: Path) -> None:
    first, second = (ChainRun(home, "poet", {}) for _ in range(2))
    assert first.experiment_id == second.experiment_id
    moved = Path(shutil.move(home, tmp_path / "moved home"))
    third, fourth = (ChainRun(moved, "poet", {}) for _ in range(2))
    assert third.experiment_id == fourth.experiment_id != first.experiment_id
    assert client(moved).get_run(first.run_id).info.experiment_id == first.experiment_id
