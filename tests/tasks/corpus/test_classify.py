"""Classifiers: trained from labelled sources, told how good they are, their scores kept and replayed."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from tasks.corpus import CorpusConfig, corpus
from tasks.corpus.classify.model import pieces, train
from tasks.corpus.classify.training import evaluation
from tasks.corpus.ledger import replay, settings_of
from tasks.sources import SourceRef
from tasks.stage import StageError
from tests.stages import attempt

ADS = ["buy", "now", "offer", "free", "money", "winner", "click", "cheap", "prize", "deal", "立即购买免费优惠"]
TALK = [
    "the",
    "river",
    "walked",
    "slowly",
    "because",
    "evening",
    "garden",
    "letter",
    "from",
    "her",
    "bridge",
    "春天的河流",
]

ORDER = (
    ("the", "this", "our"),
    ("old", "red", "big"),
    ("garden", "letter", "bridge"),
    ("was", "is", "lay"),
    ("in", "by", "on"),
)


def write(path: Path, words: list[str], count: int, seed: int) -> SourceRef:
    dice = random.Random(seed)
    texts = (" ".join(dice.choices(words, k=dice.randint(20, 40))) + "." for _ in range(count))
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return SourceRef(str(path))


def config(tmp_path: Path, **spec: object) -> CorpusConfig:
    ads, talk = write(tmp_path / "ads.jsonl", ADS, 120, 1), write(tmp_path / "talk.jsonl", TALK, 120, 2)
    new = [write(tmp_path / "new-ads.jsonl", ADS, 20, 3), write(tmp_path / "new-talk.jsonl", TALK, 20, 4)]
    return CorpusConfig(
        sources=new, languages=("en", "zh", "la"), web_rules=False, simplify=False, validation=0.3, workers=1,
        max_repetition=1.0, classifiers={"advertisement": {"positive": [ads], "negative": [talk], **spec}},
    )  # fmt: skip


def rows(files: Path) -> list[dict]:
    return [row for file in sorted((files / "ledger").glob("*.parquet")) for row in pq.read_table(file).to_pylist()]


def test_soft_scores_are_in_the_ledger_and_the_evaluation_beside_them(tmp_path: Path) -> None:
    files, _ = attempt(corpus, config(tmp_path), tmp_path / "run")[:2]
    ledger = rows(files)
    scores = {source: [r["advertisement_score"] for r in ledger if r["source"] == source] for source in
              {r["source"] for r in ledger}}  # fmt: skip
    low, high = sorted(scores.values(), key=max)
    assert max(low) < 0.5 < min(high)
    assert all(row["classified_advertisement"] for row in ledger)
    told = json.loads((files / "classifiers.json").read_text())["advertisement"]
    assert told["auc"] == 1.0 and sum(told["held_out"].values()) + sum(told["trained_on"].values()) == 240


def test_a_threshold_drops_and_is_replayed(tmp_path: Path) -> None:
    soft = attempt(corpus, config(tmp_path), tmp_path / "soft")[0]
    hard = attempt(corpus, config(tmp_path, most=0.5), tmp_path / "hard")[0]
    dropped = [row["reason"] for row in rows(hard)].count("classified_advertisement")
    assert dropped == 20
    told = replay(soft, settings_of(config(tmp_path, most=0.5)))
    assert told["dropped_by"]["classified_advertisement"] == dropped
    with pytest.raises(StageError, match="classifiers: others"):
        replay(soft, settings_of(config(tmp_path, languages=("en",))))


def test_training_is_the_same_in_any_order_of_the_texts() -> None:
    texts = [(f"{word} {other}", int(word in ADS)) for word in ADS + TALK for other in ("one", "two", "three")]
    assert np.array_equal(train(texts).weights, train(texts[::-1]).weights)


def test_spoiled_text_is_told_from_text_in_order(tmp_path: Path) -> None:
    def sentences(count: int, seed: int) -> list[str]:
        dice = random.Random(seed)
        return [" ".join(dice.choice(pool) for _ in range(8) for pool in ORDER) + "." for _ in range(count)]

    known, new = sentences(200, 1), sentences(20, 2)
    muddled = [" ".join(random.Random(3).sample(text.split(), len(text.split()))) for text in sentences(20, 4)]
    files = [tmp_path / name for name in ("known.jsonl", "new.jsonl", "muddled.jsonl")]
    for file, texts in zip(files, (known, new, muddled), strict=True):
        file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    spec = {"negative": [SourceRef(str(files[0]))], "spoil": True, "piece": 120, "most": 0.5}
    cfg = config(tmp_path).model_dump() | {"sources": files[1:], "classifiers": {"disfluent": spec}}
    found = attempt(corpus, CorpusConfig(**{**cfg, "sources": [str(f) for f in files[1:]]}), tmp_path / "run")[0]
    dropped = [row["reason"] == "classified_disfluent" for row in rows(found)]
    assert sum(dropped[:20]) <= 2 and sum(dropped[20:]) >= 18


@pytest.mark.parametrize("key", ["", "one two three four", "一二三四五六七八九十" * 5, "a " * 300])
def test_pieces_leave_nothing_out(key: str) -> None:
    cut = pieces(key, 20)
    assert "".join(cut).replace(" ", "") == key.replace(" ", "")
    assert all(len(piece) < 40 for piece in cut) and pieces(key, 0) == [key.strip()]


@pytest.mark.parametrize("size", range(1, 5))
def test_pieces_of_any_size_come_to_an_end(size: int) -> None:
    assert "".join(pieces("a  b c " * 9, size)).replace(" ", "") == "abc" * 9


def test_pieces_too_short_to_tell_anything_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=r"piece\s+Value error, 1 characters tell nothing; expected at least 20"):
        config(tmp_path, piece=1)


@pytest.mark.parametrize("spec", [{"positive": []}, {"spoil": True}])
def test_a_classifier_has_positive_texts_or_spoils_the_negative_ones(tmp_path: Path, spec: dict) -> None:
    with pytest.raises(ValidationError, match="not both"):
        config(tmp_path, **spec)


def test_too_few_examples_are_refused(tmp_path: Path) -> None:
    few = write(tmp_path / "few.jsonl", ADS, 5, 1)
    with pytest.raises(StageError, match=r"classifiers\.advertisement\.positive: 5 different texts"):
        attempt(corpus, config(tmp_path, positive=[few]), tmp_path / "run")


def test_the_evaluation_counts_by_hand() -> None:
    told = evaluation(np.array([0.1, 0.6, 0.2]), np.array([0.9, 0.6]))
    assert told["auc"] == pytest.approx(5.5 / 6, abs=1e-4)
    assert told["at"][0] == {"above": 0.5, "precision": 0.6667, "recall": 1.0}
    assert told["at"][-1] == {"above": 0.99, "precision": None, "recall": 0.0}
