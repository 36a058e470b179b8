"""The align stage: pairs by rule and from sources, a preference learned, and a kill that leaves no trace."""

import json
import shutil

import pytest

from tasks.align import AlignConfig, align
from tasks.align.judge import quality
from tasks.stage import StageError
from tests.stages import attempt, result
from tests.tasks.finetune.test_finetune import inputs, lines, made  # noqa: F401 (fixtures: the tuned model)

SMALL = {"poem_requests": 12, "sample": {"answers": 2, "max_tokens": 16, "batch": 8}, "pairs_per_step": 4}
SMALL |= {"threads": 2, "micro_batch": 2, "epochs": 2, "compile": "never", "log_every": 1, "checkpoint_every": 1}
SMALL |= {"optimizer": {"name": "adamw", "lr": 2e-3, "warmup": 0.1, "decay": 0.5}}


@pytest.fixture(scope="module")
def aligned(tmp_path_factory, inputs, made):  # noqa: F811
    roles = {"model": made[0], "corpus": inputs["corpus"]}
    root = tmp_path_factory.mktemp("align")
    return roles, root, *attempt(align, AlignConfig(**SMALL), root, **roles)


def test_it_learns_to_prefer(aligned):
    *_, path, metrics = aligned
    curve = lines(path / "curve.jsonl")
    assert curve[0]["margin"] == 0
    assert metrics["margin"] > 0 and metrics["accuracy"] > 0.5


def test_the_chosen_answer_is_the_better_one(aligned):
    *_, path, metrics = aligned
    pairs = lines(path / "preferences.jsonl")
    assert len(pairs) == metrics["pairs"] > 0
    forms = {"五言绝句": "5x4", "七言绝句": "7x4", "五言律诗": "5x8", "七言律诗": "7x8"}
    for pair in pairs:
        assert pair["chosen"] != pair["rejected"]
        form = next((code for name, code in forms.items() if name in pair["messages"][0]["content"]), "")
        if quality(pair["chosen"], form) >= 1 and "：" not in pair["messages"][0]["content"]:
            assert quality(pair["chosen"], form) > quality(pair["rejected"], form)


def test_stopped_after_some_answers_and_steps_it_ends_the_same(aligned, tmp_path):
    roles, root, path, _ = aligned
    shutil.copytree(root / "state", tmp_path / "state")
    newest = max((tmp_path / "state" / "checkpoints").iterdir())
    shutil.rmtree(newest)  # as if killed before the last step
    (tmp_path / "state" / "answers-000016.json").unlink()
    again, _ = attempt(align, AlignConfig(**SMALL), tmp_path, **roles)
    assert result(again) == result(path)


def test_preferences_of_a_source(aligned, tmp_path):
    roles = aligned[0]
    records = [{"instruction": f"问{n}", "input": "", "chosen": "好的，请看。", "rejected": "不。"} for n in range(6)]
    records += [{"instruction": "问", "chosen": "同", "rejected": "同"}, {"chosen": "x"}]
    own = tmp_path / "preferences.jsonl"
    own.write_text("\n".join(json.dumps(record, ensure_ascii=False) for record in records))
    cfg = AlignConfig(**SMALL | {"poem_requests": 0, "sources": [str(own)]})
    path, metrics = attempt(align, cfg, tmp_path / "run", **roles)
    assert metrics["pairs"] == metrics["pairs_source"] == 6
    assert len(lines(path / "quarantine.jsonl")) == 2


def test_nothing_to_prefer_says_so(aligned, tmp_path):
    with pytest.raises(StageError, match="no pair to learn from"):
        attempt(align, AlignConfig(**SMALL | {"poem_requests": 0}), tmp_path, **aligned[0])


def test_answers_are_the_same_however_many_processes_give_them(aligned, tmp_path):
    roles, root, *_ = aligned
    attempt(align, AlignConfig(**SMALL | {"threads": 1}), tmp_path, **roles)
    several, alone = (
        {path.name: path.read_text(encoding="utf-8") for path in (place / "state").glob("answers-*.json")}
        for place in (root, tmp_path)
    )
    assert len(alone) > 2 and several == alone
