import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import psutil
import pytest

from models.language_model import LanguageModel
from tasks.quantize import QuantizeConfig, quantize
from tasks.quantize.rounding import Recipe
from tasks.quantize.run import Bench
from tasks.stage import StageError
from tests import stages, tiny
from tests.serving import wait_until

CONFIG = QuantizeConfig(check_tokens=600, calibration_tokens=600, probe_tokens=64, window=64, context=16, threads=1)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    inputs = {role: tiny.inputs()[role] for role in ("model", "tokens")}
    return stages.attempt(quantize, CONFIG, tmp_path_factory.mktemp("quantize"), **inputs)


def test_the_graph_answers_as_the_model_it_was_made_from(made):
    files, quality = made
    assert quality["top1_agreement"] > 0.8
    assert 0 <= quality["mean_kl"] < 0.1
    assert quality["bits_per_byte_ratio"] == pytest.approx(1, abs=0.02)
    assert quality["bytes_int4"] < quality["bytes_full"]
    assert json.loads((files / "quality.json").read_text()) == quality
    full, int4 = (LanguageModel.load(d, slots=1, length=64) for d in (tiny.hf_model(), files / "model"))
    tokens = np.arange(8, 40)[None]
    assert np.abs(full.logits(tokens) - int4.logits(tokens)).mean() < 1


def test_the_same_model_gives_the_same_bytes(made, tmp_path):
    inputs = {role: tiny.inputs()[role] for role in ("model", "tokens")}
    again, _ = stages.attempt(quantize, CONFIG, tmp_path, **inputs)
    first = {path.relative_to(made[0]): path.read_bytes() for path in made[0].rglob("*") if path.is_file()}
    assert first == {path.relative_to(again): path.read_bytes() for path in again.rglob("*") if path.is_file()}


def test_the_package_is_complete(made):
    names = {path.name for path in (made[0] / "model").iterdir()}
    assert {"model.onnx", "genai_config.json", "tokenizer.json", "config.json", "generation_config.json"} <= names
    assert {"chat_template.jinja", "selfcheck.json"} <= names
    assert json.loads((made[0] / "model" / "config.json").read_text())["model_type"] == "internlm3"


def test_an_artifact_without_a_model_is_named(tmp_path):
    with pytest.raises(StageError, match=r"model/config\.json"):
        stages.attempt(quantize, CONFIG, tmp_path, model=tmp_path, tokens=tiny.inputs()["tokens"])


def test_a_broken_checkpoint_fails_with_the_builders_words(tmp_path):
    model = tmp_path / "align" / "model"
    shutil.copytree(tiny.hf_model(), model)
    (model / "model.safetensors").write_bytes(b"not tensors")
    with pytest.raises(RuntimeError, match="builder failed"):
        stages.attempt(quantize, CONFIG, tmp_path, model=tmp_path / "align", tokens=tiny.inputs()["tokens"])


QUANTIZE = """
import sys
from pathlib import Path
from tasks.quantize import QuantizeConfig, quantize
from tests import stages
model, tokens, root = map(Path, sys.argv[1:])
stages.attempt(quantize, QuantizeConfig(), root, model=model, tokens=tokens)
"""


def test_a_killed_attempt_leaves_no_builder_behind_and_the_next_one_is_whole(made, tmp_path):
    inputs = {role: tiny.inputs()[role] for role in ("model", "tokens")}
    running = subprocess.Popen([sys.executable, "-c", QUANTIZE, *map(str, inputs.values()), str(tmp_path)])
    process = psutil.Process(running.pid)
    wait_until(lambda: process.children() or running.poll() is not None, seconds=60)
    builders = process.children(recursive=True)
    assert builders
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    assert not psutil.wait_procs(builders, timeout=20)[1], "the builder outlived the stage"
    assert not (tmp_path / "out" / "model").exists()
    again, _ = stages.attempt(quantize, CONFIG, tmp_path, **inputs)
    assert (again / "model" / "model.onnx").read_bytes() == (made[0] / "model" / "model.onnx").read_bytes()


def test_an_attempt_that_failed_in_between_is_made_again_as_if_it_were_the_first(tmp_path, monkeypatch):
    bench = Bench(CONFIG, stages.output(tmp_path / "twice"), tiny.hf_model(), tiny.inputs()["tokens"])
    recipe = Recipe("rtn", 4)
    with monkeypatch.context() as patch:
        patch.setattr(Bench, "_compare", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            bench.attempt(recipe)
    once = Bench(CONFIG, stages.output(tmp_path / "once"), tiny.hf_model(), tiny.inputs()["tokens"])
    assert bench.attempt(recipe) == once.attempt(recipe)
    assert stages.result(bench.graph(recipe)) == stages.result(once.graph(recipe))


def test_every_recipe_tried_is_in_the_table_and_every_matrix_in_the_report(made):
    table = json.loads((made[0] / "recipes.json").read_text())
    assert {"rtn-int4", "awq-int4", "gptq-int4"} <= {row["recipe"] for row in table}
    assert [row["bits_per_byte_int4"] for row in table if row["chosen"]] == [made[1]["bits_per_byte_int4"]]
    report = {row["module"]: row for row in json.loads((made[0] / "matrices.json").read_text())}
    assert report["model.layers.1.mlp.down_proj"]["bits"] in (4, 8)
    assert all(0 <= row["output_error"] < 0.1 for row in report.values())


def test_units_in_8_bits_bring_the_graph_closer(tmp_path):
    bench = Bench(CONFIG, stages.output(tmp_path), tiny.hf_model(), tiny.inputs()["tokens"])
    coarse = bench.attempt(Recipe("rtn", 4)).quality
    probes = bench.probes(Recipe("rtn", 4))
    assert all(probe.kl >= 0 for probe in probes)
    worst = max(probes, key=lambda probe: probe.kl)
    one, every = (
        bench.attempt(Recipe("rtn", 4, units)).quality for units in ((worst.unit,), tuple(p.unit for p in probes))
    )
    assert every.mean_kl < one.mean_kl < coarse.mean_kl
    assert coarse.bytes_int4 < one.bytes_int4 < every.bytes_int4
