"""Long texts through the stage: kept when their windows are good, dropped by what the windows have in common."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tasks.artifact import Artifact
from tasks.corpus import CorpusConfig
from tasks.corpus.heuristics.long import windows
from tasks.corpus.ledger import replay, settings_of
from tasks.sources import SourceRef
from tasks.stage import StageError
from tasks.store import Store
from tests.tasks.corpus.test_corpus import made, table
from tests.tasks.corpus.test_text import WEB, chinese, english, write


def list_of_words(number: int) -> str:
    dice = random.Random(number)
    return "\n".join(" ".join("".join(dice.choices("aeioubcdfg", k=6)) for _ in range(10)) + "." for _ in range(1500))


BOOKS = {
    "en": "\n".join(english(n) for n in range(80)),
    "zh": "\n".join(chinese(n).replace("的", "，因为", 4) for n in range(400)),
    "the same chapter again": "\n".join([*map(english, range(100, 140))] * 3),
    "lines of no sentence": "\n".join(f"{english(n, 3)}\n" + "* - = 1234 #\n" * 60 for n in range(200, 300)),
    "no connectives": "\n".join(english(n).replace("because", "and").replace("after", "and") for n in range(300, 380)),
    "beyond all bounds": "\n".join(english(n) for n in range(400, 900)),
}
CONFIG = {"max_characters": 20_000, "max_long_characters": 200_000}


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Artifact]:
    folder = tmp_path_factory.mktemp("books")
    source = write(folder / "books.jsonl", [*BOOKS.values(), *map(english, range(1000, 1040))])
    return source, made(Store(folder), source, **WEB, **CONFIG)


def test_a_book_stays_and_what_only_looks_like_one_goes(books: tuple[Path, Artifact]) -> None:
    rows = table(books[1], "ledger")
    assert {name: rows[i]["reason"] for i, name in enumerate(BOOKS)} == {
        "en": "", "zh": "", "the same chapter again": "long_repeated_windows",
        "lines of no sentence": "long_failing_windows", "no connectives": "long_connectives",
        "beyond all bounds": "long_length",
    }  # fmt: skip
    assert rows[0]["coherence"] > 0.3 and rows[0]["words"] is None and rows[0]["length"] is None
    documents = {d["id"]: d["text"] for split in ("train", "validation") for d in table(books[1], split)}
    assert documents[rows[0]["id"]] == BOOKS["en"]
    assert rows[-1]["coherence"] is None and rows[-1]["words"] > 50


def test_replay_takes_other_ranges_but_not_another_length(books: tuple[Path, Artifact], tmp_path: Path) -> None:
    source, corpus = books
    settings = lambda **other: settings_of(CorpusConfig(sources=(SourceRef(str(source)),), **WEB | CONFIG | other))  # noqa: E731
    after = replay(corpus.path, settings(max_long_characters=1_000_000))
    assert after["newly_kept"]["documents"] == 1
    with pytest.raises(StageError, match="max_characters 30000: longer texts are judged by windows"):
        replay(corpus.path, settings(max_characters=30_000))


@pytest.mark.parametrize("text", ["", "a" * 25, "ab\ncd\nef\ngh\n", "one\n" * 40 + "x" * 33])
def test_windows_make_up_the_text(text: str) -> None:
    cut = list(windows(text, 10))
    assert "".join(window + end for window, end in cut) == text
    assert all(len(window) <= 10 for window, _ in cut)
