"""Answers of both models to the beginnings of validation documents, compared."""

import json

import numpy as np
import pytest

from models.language_model import LanguageModel
from tasks.quantize import QuantizeConfig, quantize
from tasks.quantize.suite import beginnings, compare_answers, greedy
from tasks.validation import ValidationText, Window, validation_text
from tests import stages, tiny

CONFIG = QuantizeConfig(
    method="rtn", tolerance=1, check_tokens=600, calibration_tokens=600, window=64, context=16, suite_prompts=5,
    suite_tokens=12, threads=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def inputs():
    return {role: tiny.inputs()[role] for role in ("model", "tokens")}


def test_every_recipe_says_how_many_answers_stay_the_same(inputs, tmp_path):
    files, metrics = stages.attempt(quantize, CONFIG, tmp_path, **inputs)
    (row,) = json.loads((files / "recipes.json").read_text())
    full, int4 = (
        LanguageModel.load(folder, length=64, threads=1) for folder in (inputs["model"] / "model", files / "model")
    )
    prompts = beginnings(validation_text(inputs["tokens"], 600, 64, 16), 5, 52)
    answers = [greedy(model, prompts, 12) for model in (full, int4)]
    same = sum(a == b for a, b in zip(*answers, strict=True))
    assert all(0 < len(answer) <= 12 for answer in answers[0])
    assert row["answers"] == metrics["answers"] == len(prompts) == 5
    assert row["answers_identical"] == metrics["answers_identical"] == same / 5
    assert row["answers_identical"] <= row["answers_common_prefix"] <= 1


@pytest.mark.parametrize("off", [{"suite_prompts": 0}, {"suite_tokens": 0}])
def test_no_answers_where_none_are_asked_for(off, inputs, tmp_path):
    files, metrics = stages.attempt(quantize, CONFIG.model_copy(update=off), tmp_path, **inputs)
    (row,) = json.loads((files / "recipes.json").read_text())
    assert "answers_identical" not in row | metrics and row["top1_agreement"] > 0


def test_shares_of_answers_and_of_their_beginnings():
    full = [[1, 2, 3, 4], [5, 6], [7, 8, 9, 1], [], []]
    int4 = [[1, 2, 3, 4], [5, 6, 7, 8], [7, 1, 9, 1], [], [1]]
    told = compare_answers(full, int4)
    assert told.answers == 5 and told.answers_identical == pytest.approx(2 / 5)
    assert told.answers_common_prefix == pytest.approx((1 + 2 / 4 + 1 / 4 + 1 + 0) / 5)


def test_prompts_are_the_first_halves_of_documents_and_leave_room_for_the_answer():
    windows = [
        Window(np.arange(n) + 100 * n, first) for n, first in ((9, 0), (64, 0), (40, 15), (6, 0), (1, 0), (30, 0))
    ]
    text = ValidationText(windows, 5, 1)
    assert beginnings(text, 100, 20) == [
        list(range(900, 904)), list(range(6400, 6420)), list(range(600, 603)), list(range(3000, 3015)),
    ]  # fmt: skip
    assert [prompt[0] for prompt in beginnings(text, 2, 20)] == [900, 3000]
    assert beginnings(text, 0, 20) == []
