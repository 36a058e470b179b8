"""Texts that say what an earlier one says go, in another order or partly other words; the ledger tells of which."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.artifact import Artifact
from tasks.build import build
from tasks.corpus import CorpusConfig, corpus
from tasks.corpus.dedup.clusters import centroids, nearest
from tasks.corpus.dedup.embedding import DIMENSIONS, SCALE, unit
from tasks.corpus.dedup.semantic import first_alike
from tasks.corpus.dedup.spec import Semantic
from tasks.corpus.ledger import replay, settings_of, why
from tasks.sources import SourceRef
from tasks.store import Store

OWN = 40  # texts that say things of their own
RULE = "semantic_duplicate"


def text(dice: random.Random, letters: str) -> list[list[str]]:
    """Eight sentences of ten words that are its own."""
    words = lambda: "".join(dice.choices(letters, k=dice.randint(4, 8)))  # noqa: E731
    return [[words() for _ in range(10)] for _ in range(8)]


def told_anew(dice: random.Random, sentences: list[list[str]]) -> list[list[str]]:
    """Its sentences in another order, halves swapped, two words in ten replaced: few runs of five words are left."""
    anew = [list(one[5:] + one[:5]) for one in dice.sample(sentences, len(sentences))]
    for one in anew:
        for at in dice.sample(range(10), 1):
            one[at] = "".join(dice.choices("qwxyz", k=6))
    return anew


def joined(sentences: list[list[str]]) -> str:
    return "\n".join(f"The {' '.join(one)} of it is told." for one in sentences)


def pages() -> list[str]:
    """OWN texts in letters and OWN in Chinese characters, then the first ten of each told anew."""
    dice = random.Random(5)
    latin = [text(dice, "abcdeghilmnorstu") for _ in range(OWN)]
    han = [["".join(chr(dice.randrange(0x4E00, 0x9000)) for _ in range(14)) for _ in range(12)] for _ in range(OWN)]
    anew = [joined(told_anew(dice, one)) for one in latin[:10]]
    return [
        *map(joined, latin), *("。".join(one) + "。" for one in han),
        *anew, *("！".join(reversed([half[7:] + "，" + half[:7] for half in one])) + "！" for one in han[:10]),
    ]  # fmt: skip


def config(source: Path, workers: int = 1, least: float = 0.5, cluster: int = 50, **settings: object) -> CorpusConfig:
    spoken = ("en", "la", "de", "fr", "es", "it", "nl", "pt", "ro", "ca", "zh", "ja")
    given = {"web_rules": False, "languages": spoken, "simplify": False, "validation": 0.3}
    given |= {"safety_words": source.parent, "semantic": Semantic(least=least, cluster=cluster)}
    return CorpusConfig(sources=(SourceRef(str(source)),), workers=workers, **(given | settings))


def made(store: Store, source: Path, **settings: object) -> Artifact:
    return build(store, corpus, config(source, **settings), {})[0]


def rows(artifact: Artifact, folder: str = "ledger") -> list[dict]:
    return pa.concat_tables(map(pq.read_table, sorted((artifact.path / folder).glob("*.parquet")))).to_pylist()


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tasks.corpus.cut.SHARD", 12_000)
    path = tmp_path / "pages.jsonl"
    path.write_text("".join(json.dumps({"text": one}) + "\n" for one in pages()))
    return path


def test_what_is_told_anew_goes_and_all_else_stays(store: Store, source: Path) -> None:
    artifact = made(store, source)
    ledger = rows(artifact)
    gone = [row for row in ledger if row["reason"] == RULE]
    assert [row["offset"] for row in gone] == list(range(2 * OWN, 2 * OWN + 20))
    for row in gone:
        first = row["offset"] - 2 * OWN + (0 if row["offset"] < 2 * OWN + 10 else OWN - 10)
        assert row["duplicate_of"] == ledger[first]["id"] and 0.5 <= row["similarity"] < 1
        assert row[RULE] is False and not row["split"] and row["near_duplicate"]
    assert {row["reason"] for row in ledger[: 2 * OWN]} == {""} and all(row[RULE] for row in ledger[: 2 * OWN])
    steps = json.loads((artifact.path / "waterfall.json").read_text())
    assert steps[-1]["step"] == RULE and steps[-2]["documents"] - steps[-1]["documents"] == 20
    assert artifact.metrics[f"dropped_{RULE}"] == 20
    assert why(artifact.path, f"#{2 * OWN}")["verdict"] == f"dropped by {RULE}"


def test_near_duplicates_and_other_runs_do_not_find_them(store: Store, source: Path) -> None:
    ledger = rows(made(store, source, least=0))
    assert {row["reason"] for row in ledger} == {""} and RULE not in ledger[0]


def test_the_same_bytes_at_any_number_of_workers(store: Store, source: Path, tmp_path: Path) -> None:
    one = made(store, source, workers=1)
    two = made(Store(tmp_path / "other"), source, workers=2)
    assert len(list((one.path / "ledger").iterdir())) > 3
    assert one.digest == two.digest


def test_replay_tells_what_it_cannot_know(store: Store, source: Path) -> None:
    artifact = made(store, source, min_characters=300)
    same = replay(artifact.path, settings_of(config(source, min_characters=300)))
    assert same["after"] == same["before"] and same["uncertain"] == 0 and same["dropped_by"][RULE] == 10
    wider = replay(artifact.path, settings_of(config(source, min_characters=16)))
    assert wider["newly_kept"]["documents"] == wider["uncertain"] == OWN + 10  # Chinese texts that were not compared


def test_poems_are_not_compared(store: Store, tmp_path: Path) -> None:
    dice = random.Random(2)
    path = tmp_path / "poems.jsonl"
    lines = [["".join(chr(dice.randrange(0x4E00, 0x9000)) for _ in range(5)) for _ in range(4)] for _ in range(20)]
    poems = [
        {"title": "歌", "author": "无名", "paragraphs": [f"{a}，{b}。", f"{c}，{d}。"]}
        for one in lines
        for a, b, c, d in (one, one[::-1])
    ]
    path.write_text("".join(json.dumps(poem) + "\n" for poem in poems))
    ledger = rows(made(store, path, near_duplicate=1.0))
    assert {row[RULE] for row in ledger} == {None} and sum(not row["reason"] for row in ledger) > 30


@given(st.integers(0, 2**32 - 1), st.integers(1, 60))
def test_every_text_that_goes_is_like_one_that_stays(seed: int, count: int) -> None:
    dice = np.random.default_rng(seed)
    vectors = unit(
        dice.normal(size=(6, DIMENSIONS))[dice.integers(0, 6, count)] + dice.normal(size=(count, DIMENSIONS)) / 3
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.corpus.dedup.semantic.AT_ONCE", int(dice.integers(1, 20)))
        place, cosine = first_alike(vectors, 0.8)
    cosines = vectors.astype(float) @ vectors.T.astype(float) / SCALE**2
    for i in range(count):
        kept = [j for j in range(i) if place[j] < 0]
        best = max((cosines[i, j] for j in kept), default=0)
        assert (place[i] >= 0) == (best >= 0.8)
        assert place[i] < 0 or (place[i] in kept and cosine[i] == cosines[i, place[i]] == best)


class Here:
    """Vectors in memory."""

    def __init__(self, vectors: np.ndarray) -> None:
        self.vectors = vectors

    def of(self, documents: np.ndarray) -> np.ndarray:
        return self.vectors[documents]


def test_clusters_part_what_points_elsewhere() -> None:
    dice = np.random.default_rng(1)
    centres = dice.normal(size=(4, DIMENSIONS))
    truth = dice.integers(0, 4, 400)
    here = Here(unit(centres[truth] + dice.normal(size=(400, DIMENSIONS)) / 4))
    found = nearest(here, np.arange(400), centroids(here, np.arange(400), 12))
    for cluster in np.unique(found):
        assert len(set(truth[found == cluster])) == 1
