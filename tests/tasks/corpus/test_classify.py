"""Classifiers: trained from labelled sources, told how good they are, their scores kept and replayed."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tasks.corpus import CorpusConfig, corpus
from tasks.corpus.classify.model import train
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


def test_too_few_examples_are_refused(tmp_path: Path) -> None:
    few = write(tmp_path / "few.jsonl", ADS, 5, 1)
    with pytest.raises(StageError, match=r"classifiers\.advertisement\.positive: 5 different texts"):
        attempt(corpus, config(tmp_path, positive=[few]), tmp_path / "run")


def test_the_evaluation_counts_by_hand() -> None:
    told = evaluation(np.array([0.1, 0.6, 0.2]), np.array([0.9, 0.6]))
    assert told["auc"] == pytest.approx(5.5 / 6, abs=1e-4)
    assert told["at"][0] == {"above": 0.5, "precision": 0.6667, "recall": 1.0}
    assert told["at"][-1] == {"above": 0.99, "precision": None, "recall": 0.0}
