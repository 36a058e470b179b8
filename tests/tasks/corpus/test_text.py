"""Ordinary text through the stage: web-text rules, near duplicates, an earlier index, any number of workers."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import subprocess
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from tasks.artifact import Artifact
from tasks.corpus import CorpusConfig
from tasks.corpus.config import HEURISTICS
from tasks.corpus.ledger import replay, settings_of
from tasks.sources import SourceRef
from tasks.stage import StageError
from tasks.store import Store
from tests.tasks.corpus import test_kills as kills
from tests.tasks.corpus.test_corpus import made, table

WORDS = """the river of and that with have moon over quiet hills old house under rain window garden letter never said
morning road walked toward village evening small fire kept winter bread table children little water stone
bridge light across field horse summer heavy door opened slowly laughed because nothing changed after years
garden music""".split()  # noqa: SIM905
HAN = "春夏秋冬山水云雨风花雪月天地人心日夜江湖海路桥城村田园树木草石火金银铁书画琴棋诗酒茶饭衣食住行东西南北中大小多少"


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.corpus.cut.SHARD", 20_000)


def english(number: int, sentences: int = 12) -> str:
    dice = random.Random(number)
    one = lambda: " ".join(dice.choices(WORDS, k=dice.randint(7, 14))).capitalize() + "."  # noqa: E731
    return "\n".join(" ".join(one() for _ in range(3)) for _ in range(sentences // 3))


def chinese(number: int) -> str:
    dice = random.Random(number)

    def one() -> str:
        parts = ["".join(dice.choices(HAN, k=dice.randint(9, 14))) for _ in range(3)]
        return f"{parts[0]}的{parts[1]}在{parts[2]}。"

    return "\n".join(one() + one() for _ in range(6))


def write(path: Path, texts: list[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts))
    return path


WEB = {"web_rules": True, "languages": ("en", "zh"), "simplify": False, "max_repetition": 1.0}


def web(store: Store, source: Path, **config: object) -> Artifact:
    return made(store, source, **(WEB | config))


def settings(source: Path, **config: object) -> CorpusConfig:
    return CorpusConfig(sources=(SourceRef(str(source)),), **(WEB | config))


def near(text: str) -> str:
    return text.replace("\n", " Well.\n", 1)


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    repeated = "\n".join([english(7, 3)] * 4)
    cookies = english(8) + "\nThis site uses cookies all day.\nToo short\n" + english(9)
    texts = [*map(english, range(40)), *map(chinese, range(40)), repeated, cookies, near(english(3)), english(4)]
    return write(tmp_path / "mine.jsonl", texts)


def test_every_rule_that_would_have_failed_is_in_the_ledger(store: Store, mixed: Path) -> None:
    ledger = table(web(store, mixed), "ledger")
    repeated = ledger[80]
    failed = [name for name, passed in repeated.items() if passed is False]
    assert repeated["reason"] == failed[0] == "gopher_duplicate_lines"
    assert {"gopher_duplicate_10_grams", "fineweb_duplicated_characters"} <= set(failed)
    assert repeated["duplicate_lines"] == pytest.approx(0.75)
    assert ledger[0]["reason"] == "" and ledger[0]["sentences"] == 12


def test_rules_ask_only_what_their_language_has(store: Store, mixed: Path) -> None:
    ledger = table(web(store, mixed), "ledger")
    assert ledger[0]["c4_sentences"] is True and ledger[40]["c4_sentences"] is None
    assert ledger[40]["gopher_word_length"] is True and 1 <= ledger[40]["word_length"] <= 5
    assert ledger[40]["reason"] == ""


def test_the_line_filter_changes_what_is_published(store: Store, mixed: Path) -> None:
    artifact = web(store, mixed)
    texts = [row["text"] for split in ("train", "validation") for row in table(artifact, split)]
    assert f"{english(8)}\n{english(9)}" in texts
    assert not any("cookies" in text or "Too short" in text for text in texts)


def test_near_duplicates_name_the_document_that_stays(store: Store, mixed: Path) -> None:
    ledger = table(web(store, mixed), "ledger")
    assert (ledger[3]["reason"], ledger[3]["duplicate_of"]) == ("near_duplicate", ledger[82]["id"])  # the longer stays
    assert ledger[3]["similarity"] > 0.9
    assert (ledger[83]["reason"], ledger[83]["duplicate_of"]) == ("exact_duplicate", ledger[4]["id"])


def test_replay_tells_what_other_thresholds_would_keep(store: Store, tmp_path: Path, mixed: Path) -> None:
    thresholds = {name: yaml.safe_load((HEURISTICS / f"{name}.yaml").read_text()) for name in ("en", "zh")}
    thresholds["en"]["rules"] |= {"duplicate_lines": {"most": 0.8}, "words": {"least": 125}}
    del thresholds["en"]["rules"]["duplicate_10_grams"]
    thresholds["zh"]["rules"] |= {"word_length": {"most": 1.6}, "short_lines": {"most": 0.1}}
    for name, values in thresholds.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(values, allow_unicode=True, sort_keys=False))
    built = web(store, mixed)
    told = replay(built.path, settings_of(settings(mixed, thresholds=tmp_path)))
    again = web(store, mixed, thresholds=tmp_path)
    assert told["before"]["documents"] == built.metrics["documents_kept"] != again.metrics["documents_kept"]
    assert told["after"]["documents"] == again.metrics["documents_kept"]
    assert told["after"]["tokens"] == again.metrics["tokens_kept"]
    dropped = {name.removeprefix("dropped_"): n for name, n in again.metrics.items() if name.startswith("dropped_")}
    assert told["dropped_by"] == dropped
    thresholds["zh"]["stop_words"] = ["的"]
    (tmp_path / "zh.yaml").write_text(yaml.safe_dump(thresholds["zh"], allow_unicode=True))
    with pytest.raises(StageError, match="thresholds of zh: another segmenter"):
        replay(built.path, settings_of(settings(mixed, thresholds=tmp_path)))


def test_replay_counts_texts_that_were_too_long_to_measure_as_uncertain(store: Store, tmp_path: Path) -> None:
    source = write(
        tmp_path / "mine.jsonl", [*map(english, range(20)), "\n".join([english(7, 3)] * 40), english(9, 300)]
    )
    without = without_rules_of_long_texts(tmp_path / "thresholds")
    built = web(store, source, max_characters=3000, thresholds=without)
    assert [row["reason"] for row in table(built, "ledger")[20:]] == ["length", "length"]
    told = replay(built.path, settings_of(settings(source, max_characters=100_000, thresholds=without)))
    assert (told["newly_kept"]["documents"], told["uncertain"]) == (2, 2)
    longer = web(store, source, max_characters=100_000, thresholds=without)
    assert longer.metrics["documents_kept"] == built.metrics["documents_kept"] + 1
    settled = settings(source, max_characters=3001, thresholds=without)
    assert replay(built.path, settings_of(settled))["uncertain"] == 0


def without_rules_of_long_texts(folder: Path) -> Path:
    folder.mkdir()
    for file in HEURISTICS.glob("*.yaml"):
        thresholds = yaml.safe_load(file.read_text(encoding="utf-8"))
        thresholds.pop("long", None)
        (folder / file.name).write_text(yaml.safe_dump(thresholds, allow_unicode=True), encoding="utf-8")
    return folder


def test_replay_knows_what_stands_in_an_earlier_corpus(store: Store, tmp_path: Path, mixed: Path) -> None:
    first = web(store, mixed, save_index=True)
    new = write(tmp_path / "new.jsonl", [english(5), near(chinese(6)), *map(english, range(100, 110))])
    second = web(store, new, index=first.path, validation=0.3)
    same = replay(second.path, settings_of(settings(new)))
    assert same["after"]["documents"] == second.metrics["documents_kept"] == 10
    assert same["dropped_by"] == {"exact_duplicate": 1, "near_duplicate": 1}
    loose = replay(second.path, settings_of(settings(new, near_duplicate_text=1.0)))
    assert loose["dropped_by"] == {"exact_duplicate": 1}


def test_poems_know_nothing_of_web_text(store: Store) -> None:
    artifact = made(store, "micro-verses", web_rules=True)
    assert not any(name.startswith(("gopher", "c4", "fineweb")) for name in table(artifact, "ledger")[0])


def test_the_same_bytes_at_one_two_and_four_workers(store: Store, tmp_path: Path, mixed: Path) -> None:
    made_by = [web(Store(tmp_path / str(workers)), mixed, workers=workers) for workers in (1, 2, 4)]
    assert len({artifact.digest for artifact in made_by}) == 1
    assert len(list((made_by[0].path / "ledger").iterdir())) > 2


def test_what_an_earlier_corpus_kept_is_dropped(store: Store, tmp_path: Path, mixed: Path) -> None:
    first = web(store, mixed, save_index=True)
    kept = [row["id"] for row in table(first, "ledger") if row["reason"] == ""]
    assert pq.read_table(first.path / "index.parquet")["id"].to_pylist() == kept
    new = write(tmp_path / "new.jsonl", [english(5), near(chinese(6)), *map(english, range(100, 110))])
    second = web(store, new, index=first.path, validation=0.3)
    ledger = table(second, "ledger")
    assert [row["reason"] for row in ledger[:2]] == ["exact_duplicate", "near_duplicate"]
    assert [row["duplicate_of"] for row in ledger[:2]] == [table(first, "ledger")[i]["id"] for i in (5, 46)]
    assert all(row["reason"] == "" for row in ledger[2:])


def test_an_index_that_is_none_is_refused(store: Store, tmp_path: Path, mixed: Path) -> None:
    pq.write_table(pa.table({"x": [1]}), tmp_path / "index.parquet")
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "index.parquet", tmp_path, tmp_path / "empty"):
        with pytest.raises(StageError, match=r"corpus\.index.*save_index"):
            web(store, mixed, index=path)


@pytest.mark.slow
def test_text_killed_and_resumed_is_as_if_uninterrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write(tmp_path / "mine.jsonl", [*map(english, range(150)), *map(chinese, range(60))])
    monkeypatch.setattr(kills, "CODE", CODE.format(source=source))
    expected, _ = kills.finished(tmp_path / "whole", 1)
    for judged in (1, 4):
        running = kills.start(tmp_path / "killed", 2)
        while running.poll() is None and shards_judged(tmp_path / "killed") < judged:
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.wait(timeout=0.01)
        running.kill()
        running.communicate()
        assert running.returncode == -signal.SIGKILL
    assert kills.finished(tmp_path / "killed", 4)[0] == expected


def shards_judged(store: Path) -> int:
    return len(list(store.glob("work/corpus/*/state/judged/?????.parquet")))


CODE = """
import sys
from pathlib import Path
import tasks.corpus.cut as cut
from tasks.build import build
from tasks.corpus import CorpusConfig, corpus
from tasks.store import Store
cut.SHARD = 20_000
if __name__ == "__main__":
    cfg = CorpusConfig(
        sources=["{source}"], languages=["en", "zh"], save_index=True, validation=0.1, workers=int(sys.argv[2])
    )
    print(build(Store(Path(sys.argv[1])), corpus, cfg, {{}})[0].digest)
"""
