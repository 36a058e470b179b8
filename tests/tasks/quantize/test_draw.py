"""The graph as the builder draws it."""

import subprocess

import onnx
import pytest

from tasks.quantize.draw import draw
from tests import tiny


def test_the_graph_names_no_commit_of_a_repository_that_happens_to_be_around(tmp_path, monkeypatch: pytest.MonkeyPatch):
    git = ["git", "-C", str(tmp_path), "-c", "user.name=me", "-c", "user.email=me@localhost"]
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "mine"]):
        subprocess.run([*git, *command], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout
    monkeypatch.setenv("GIT_DIR", str(tmp_path / ".git"))
    draw(tiny.hf_model(), tmp_path / "drawn")
    graph = onnx.load(tmp_path / "drawn" / "model.onnx", load_external_data=False)
    assert graph.producer_version and commit[:7] not in graph.producer_version
