"""`fullchain serve` where there is nothing to serve, or nowhere."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import pytest

from tests import tiny
from tests.command import Fullchain


def test_a_taken_port_is_told_in_words(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = Fullchain(tmp_path)("serve", str(tiny.int4_model()), "--port", port, status=1)
    assert f"fullchain: port {port} on 127.0.0.1 cannot be had" in said
    assert "Traceback" not in said


def test_a_damaged_model_is_told_in_words(tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny.int4_model(), model)
    (model / "model.onnx").write_text("not a graph")
    said = Fullchain(tmp_path / "home")("serve", str(model), "--port", "0", status=1)
    assert f"fullchain: {model} cannot be served" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("slots=0", "slots: Input should be greater"),
        ("slot=2", "slot: Extra inputs are not permitted (there are name, host"),
        ("slots", "--set slots: expected KEY=VALUE"),
        ("ready_file=ready", "--set ready_file: expected KEY=VALUE of a setting that has no option"),
        ("model_dir=elsewhere", "model_dir: Extra inputs are not permitted"),
        ("api_keys_file=nowhere", "nowhere: cannot be read"),
    ],
)
def test_a_bad_setting_is_told_in_words(tmp_path: Path, setting: str, words: str) -> None:
    said = Fullchain(tmp_path)("serve", str(tiny.int4_model()), "--port", "0", "--set", setting, status=1)
    assert words in said
    assert "Traceback" not in said


def test_an_unknown_backend_is_told_in_words(tmp_path: Path) -> None:
    said = Fullchain(tmp_path)("serve", str(tiny.int4_model()), "--backend", "vlm", status=1)
    assert "no backend 'vlm'; did you mean vllm?" in said
    assert "Traceback" not in said
