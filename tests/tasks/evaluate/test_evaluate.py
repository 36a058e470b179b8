import json

import pytest

from models.language_model import LanguageModel
from tasks.evaluate import EvaluateConfig, evaluate
from tasks.evaluate.prompts import read_prompts
from tasks.stage import StageError
from tests import stages, tiny

SUITES = ("bits_per_byte", "verse", "answers", "toolcalls")
CONFIG = EvaluateConfig(
    suites=SUITES, tokens=400, window=64, context=16, batch=3, max_tokens=40, temperature=0, threads=1
)


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    return stages.attempt(evaluate, CONFIG, tmp_path_factory.mktemp("full"), **tiny.inputs())


@pytest.fixture(scope="module")
def int4_inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quantized")
    (folder / "model").symlink_to(tiny.int4_model())
    return tiny.inputs() | {"model": folder}


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_what_was_learnt_scores_as_learnt(full):
    files, scores = full
    assert scores == json.loads((files / "scores.json").read_text())
    assert scores["asked_form_share_compose"] == 1
    assert scores["tool_call_validity"] == scores["tool_call_arguments"] == 1
    assert scores["real_poem_rhyme_rate"] == 1  # the made-up verse all rhymes
    assert 0 <= scores["memorisation_rate"] <= 1
    assert scores["bits_per_byte"] > 0 and scores["trigram_bits_per_byte"] > 0
    assert scores["answer_perplexity"] > 1


def test_every_item_keeps_its_result(full):
    items = {item["id"]: item for item in lines(full[0] / "items.jsonl")}
    assert len(items) == 8
    assert items["item-0"]["answer"] == tiny.POEM
    assert items["item-0"]["checks"]["form"] is True
    assert items["item-2"]["checks"] == {"parsed": True, "name": True, "arguments": True}
    assert items["item-1"]["checks"]["reference_log_prob"] > -0.1
    samples = lines(full[0] / "samples.jsonl")
    assert {"prompt", "answer", "checks"} == set(samples[0])


def test_the_int4_model_is_measured_by_the_same_and_scores_alike(full, int4_inputs, tmp_path):
    _, scores = stages.attempt(evaluate, CONFIG, tmp_path, **int4_inputs)
    assert scores.keys() == full[1].keys()
    assert scores["bits_per_byte"] == pytest.approx(full[1]["bits_per_byte"], rel=0.05)
    assert scores["trigram_bits_per_byte"] == full[1]["trigram_bits_per_byte"]
    assert scores["tool_call_validity"] == 1


def test_an_interrupted_evaluation_goes_on_and_ends_the_same(full, int4_inputs, tmp_path, monkeypatch):
    hot = CONFIG.model_copy(update={"temperature": 1.5})
    whole, _ = stages.attempt(evaluate, hot, tmp_path / "whole", **int4_inputs)
    answered, answer = [], LanguageModel.answer

    def dies_at_the_third_batch(model, prompts, sampling):
        if len(answered) == 2:
            raise KeyboardInterrupt
        answered.append(len(prompts))
        return answer(model, prompts, sampling)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(LanguageModel, "answer", dies_at_the_third_batch)
        stages.attempt(evaluate, hot, tmp_path / "cut", **int4_inputs)
    assert answered == [3, 3]
    again, _ = stages.attempt(evaluate, hot, tmp_path / "cut", **int4_inputs)
    for name in ("scores.json", "items.jsonl", "samples.jsonl"):
        assert (again / name).read_bytes() == (whole / name).read_bytes()


def test_only_the_asked_suites_run(tmp_path):
    cfg = CONFIG.model_copy(update={"suites": ("bits_per_byte",)})
    files, scores = stages.attempt(evaluate, cfg, tmp_path, **tiny.inputs())
    assert "asked_form_share" not in scores
    assert (files / "items.jsonl").read_text() == ""


def test_a_prompt_that_does_not_fit_is_put_aside(int4_inputs, tmp_path):
    cfg = CONFIG.model_copy(update={"suites": ("verse",), "length": 64, "window": 64})
    files, _ = stages.attempt(evaluate, cfg, tmp_path, **int4_inputs)
    assert {record["id"] for record in lines(files / "quarantine.jsonl")} == {"item-2", "item-6"}
    assert len(lines(files / "items.jsonl")) == 6


def test_missing_prompts_and_models_are_named(tmp_path):
    with pytest.raises(StageError, match=r"heldout\.jsonl is missing"):
        read_prompts(tmp_path / "heldout.jsonl", 1)
    (tmp_path / "heldout.jsonl").write_text("")
    with pytest.raises(StageError, match="empty"):
        read_prompts(tmp_path / "heldout.jsonl", 1)
    with pytest.raises(StageError, match="neither"):
        stages.attempt(evaluate, CONFIG, tmp_path / "run", **tiny.inputs() | {"model": tmp_path})
