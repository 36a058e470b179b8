"""What stands in several documents: only the first keeps it, and the ledger tells how much went and why."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.artifact import Artifact
from tasks.build import build
from tasks.corpus import CorpusConfig, corpus
from tasks.corpus.dedup.passages import passages_of
from tasks.corpus.dedup.repeated import without
from tasks.corpus.dedup.spans import Spans
from tasks.corpus.dedup.spec import Repeated
from tasks.corpus.ledger import replay, settings_of, why
from tasks.sources import SourceRef
from tasks.store import Store

NOTICE = "All rights to this text are with the people who wrote it, says the notice below every page."


def sentence(dice: random.Random) -> str:
    words = ["".join(dice.choices("abcdeghilmnorstu", k=dice.randint(2, 8))) for _ in range(9)]
    return f"The {' '.join(words)} is told."


def pages(count: int = 60) -> list[str]:
    """Two paragraphs of three lines; every third page ends with the notice, every tenth has nothing of its own."""
    dice = random.Random(7)
    made: list[str] = []
    for i in range(count):
        blocks = ["\n".join(sentence(dice) for _ in range(3)) for _ in range(2)]
        if i % 3 == 0:
            blocks.append(NOTICE.upper() if i % 2 else NOTICE)
        if i % 10 == 9:  # a paragraph of one page and one of another
            blocks = [made[i - 9].split("\n\n")[0], made[i - 8].split("\n\n")[1]]
        made.append("\n\n".join(blocks))
    return made


def made(store: Store, source: Path, workers: int = 1, **repeated: object) -> Artifact:
    return build(store, corpus, config(source, workers, **repeated), {})[0]


def config(source: Path, workers: int = 1, **repeated: object) -> CorpusConfig:
    settings = {"web_rules": False, "languages": ("en", "la", "de", "fr", "es", "it", "nl", "pt", "ro", "ca"),
                "simplify": False, "validation": 0.3, "safety_words": source.parent}  # fmt: skip
    return CorpusConfig(sources=(SourceRef(str(source)),), workers=workers, repeated=Repeated(**repeated), **settings)


def rows(artifact: Artifact, *folders: str) -> list[dict]:
    files = [file for folder in folders for file in sorted((artifact.path / folder).glob("*.parquet"))]
    return pa.concat_tables(map(pq.read_table, files)).to_pylist()


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tasks.corpus.cut.SHARD", 4_000)
    path = tmp_path / "pages.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in pages()))
    return path


@pytest.mark.parametrize(
    "repeated", [{"paragraphs": True}, {"lines": True}, {"span": 80}, {"paragraphs": True, "lines": True, "span": 50}]
)
def test_only_the_first_document_keeps_what_several_hold(repeated: dict, store: Store, source: Path) -> None:
    artifact = made(store, source, **repeated)
    ledger = rows(artifact, "ledger")
    kept = {row["id"]: row["text"] for row in rows(artifact, "train", "validation")}
    assert sum(text.lower().count(NOTICE.lower()) for text in kept.values()) == (1 if repeated != {"span": 80} else 2)
    dropped = [row for row in ledger if row["reason"] == "repeated_text"]
    assert [row["offset"] for row in dropped] == [9, 19, 29, 39, 49, 59]
    for row in dropped:
        assert row["duplicate_of"] in {ledger[row["offset"] - 9]["id"], ledger[row["offset"] - 8]["id"]}
        assert row["similarity"] > 0.9 and "earlier documents" in row["detail"]
    assert not ledger[0]["repeated_characters"] and ledger[6]["repeated_characters"] >= len(NOTICE)
    whole = dict(enumerate(pages()))
    for row in ledger:
        if row["id"] in kept:
            assert row["characters"] + row["repeated_characters"] == len(whole[row["offset"]])


def test_the_waterfall_tells_of_text_taken_out_of_what_stays(store: Store, source: Path) -> None:
    artifact = made(store, source, paragraphs=True)
    *_, before, after = json.loads((artifact.path / "waterfall.json").read_text())
    ledger = rows(artifact, "ledger")
    assert after["step"] == "repeated_text" and before["documents"] - after["documents"] == 6
    assert after["characters"] == sum(len(row["text"]) for row in rows(artifact, "train", "validation"))
    gone = sum(row["repeated_characters"] for row in ledger if not row["reason"])
    gone += sum(row["characters"] for row in ledger if row["reason"] == "repeated_text")
    assert before["characters"] - after["characters"] == gone > 0
    assert artifact.metrics["dropped_repeated_text"] == 6
    assert why(artifact.path, "#9")["verdict"] == "dropped by repeated_text"


def test_the_same_bytes_at_any_number_of_workers(store: Store, source: Path, tmp_path: Path) -> None:
    repeated = {"paragraphs": True, "lines": True, "span": 50}
    one = made(store, source, workers=1, **repeated)
    two = made(Store(tmp_path / "other"), source, workers=2, **repeated)
    assert len(list((one.path / "ledger").iterdir())) > 3
    assert one.digest == two.digest


def test_replay_keeps_to_what_was_taken_out(store: Store, source: Path) -> None:
    artifact = made(store, source, lines=True)
    same = replay(artifact.path, settings_of(config(source, lines=True)))
    assert same["after"] == same["before"] and same["uncertain"] == 0
    assert same["dropped_by"]["repeated_text"] == 6
    other = config(source, lines=True).model_copy(update={"min_characters": 400})
    told = replay(artifact.path, settings_of(other))
    assert told["newly_dropped"]["documents"] > 0 and told["uncertain"] > 0


def test_poems_keep_their_refrains(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "poems.jsonl"
    refrain = "春风又绿江南岸，明月何时照我还。"
    dice = random.Random(2)
    own = ["".join(chr(dice.randrange(0x4E00, 0x9000)) for _ in range(28)) for _ in range(30)]
    poems = [
        {"title": "歌", "author": "无名", "paragraphs": [f"{a[:7]}，{a[7:14]}。{a[14:21]}，{a[21:]}。", refrain]}
        for a in own
    ]
    source.write_text("".join(json.dumps(poem) + "\n" for poem in poems))
    cfg = CorpusConfig(
        sources=(SourceRef(str(source)),), workers=1, validation=0.3, repeated=Repeated(lines=True, min_characters=5),
        simplify=False, near_duplicate=1.0,
    )  # fmt: skip
    kept = rows(build(store, corpus, cfg, {})[0], "train", "validation")
    assert len(kept) > 20 and all(refrain in row["text"] for row in kept)


def test_code_and_short_lines_stay() -> None:
    code = "```\nfor row in rows: print(row, row, row, row)\n\nreturn rows_of_the_table_that_was_read\n```"
    text, long = f"Short line.\n\n{code}\n\n", "A line that is long enough to be taken."
    found = passages_of(text + long, Repeated(paragraphs=True, lines=True))
    assert {(start, stop) for start, stop, _ in found} == {(len(text), len(text + long))}


def test_runs_of_characters_leave_fenced_code_alone() -> None:
    code = "```python\nfor row in rows:\n    print(row)   \n\n\n\n    tell(row, row, row)\n```"
    end = "and this is how the table is read."
    first, second = (f"The {name} page.\n\n{NOTICE}\n\n{code}\n{end}" for name in ("first", "second"))
    spans = spans_of([first], 30)
    assert without(second, spans.repeats(second)) == f"The second\n\n{code}"
    assert spans.repeats(code.replace("`", "")) == []  # nor does it hold anything


@pytest.mark.parametrize("fences", ["```\n~~~\n", "````c\n```c\n"])
def test_fences_without_an_end_take_no_time(fences: str) -> None:
    """Looking for the end of each anew would take hours."""
    text = f"~~~~~~\n``````\n{(fences + 'word' + chr(10)) * 50_000}\n{NOTICE}"
    *_, (start, stop, _) = passages_of(text, Repeated(paragraphs=True, lines=True, min_characters=80))
    assert text[start:stop] == NOTICE


def test_case_and_punctuation_make_no_other_passage() -> None:
    texts = ("- Read the manual: it is here, below!", "read THE manual (it is here) below.")
    one, two = (list(passages_of(text, Repeated(lines=True))) for text in texts)
    assert [h for *_, h in one] == [h for *_, h in two] != []


@given(st.lists(st.text("春夏秋冬风花雪月", max_size=40), max_size=6), st.text("春夏秋冬风花雪月", max_size=40))
def test_every_run_told_stands_in_the_document_named(texts: list[str], text: str) -> None:
    with_spans = spans_of(texts, 6)
    last = 0
    for start, stop, of in with_spans.repeats(text):
        assert start >= last and stop - start >= 6 and text[start:stop] in texts[of]
        last = stop


@given(st.integers(0, 30), st.integers(0, 30), st.integers(20, 40), st.randoms(use_true_random=False))
def test_a_run_is_found_wherever_it_stands(before: int, after: int, length: int, dice: random.Random) -> None:
    letters = [chr(code) for code in dice.sample(range(0x4E00, 0x9000), before + after + length)]
    earlier = "".join(letters)
    run = earlier[before : before + length]
    assert spans_of(["甲乙丙丁" * 9, earlier], 20).repeats(f"異{run}異") == [(1, 1 + length, 1)]


def spans_of(texts: list[str], least: int) -> Spans:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        spans = Spans(Path(folder) / "spans.bin", least)
        for number, text in enumerate(texts):
            spans.remember(text, number)
        return spans  # its memory stays mapped


def test_many_documents_outgrow_the_first_table(tmp_path: Path) -> None:
    dice = random.Random(3)
    texts = ["".join(chr(dice.randrange(0x4E00, 0x9000)) for _ in range(3000)) for _ in range(60)]
    spans = Spans(tmp_path / "spans.bin", 20)
    for number, text in enumerate(texts):
        assert spans.repeats(text) == []
        spans.remember(text, number)
    assert [spans.repeats(text) for text in texts] == [[(0, 3000, i)] for i in range(60)]


def test_a_word_is_not_cut_in_two() -> None:
    found = spans_of(["say it again and again until the band plays"], 20).repeats("xagain and again until the bandit")
    assert without("xagain and again until the bandit", found) == "xagain bandit"
