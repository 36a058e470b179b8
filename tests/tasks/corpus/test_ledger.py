"""What the ledger answers: why, what other thresholds would keep, how often the rules err; and the cards made of it."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.artifact import Artifact
from tasks.build import build
from tasks.corpus import CorpusConfig, corpus
from tasks.corpus.audit import draw, judged, wilson
from tasks.corpus.ledger import replay, settings_of, why
from tasks.sources import SourceRef
from tasks.stage import StageError
from tasks.store import Store

WORDS = ("moon", "hill", "river", "bridge", "lamp", "harbour", "winter", "garden", "letter", "window", "summer", "road")
WORDS += ("tower", "bell", "snow", "field")


def config(source: Path | str, **values: object) -> CorpusConfig:
    own = {
        "web_rules": False,
        "languages": ("en", "zh"),
        "min_characters": 40,
        "validation": 0.3,
        "workers": 1,
        "near_duplicate_text": 0.6,
    }
    return CorpusConfig(sources=(SourceRef(str(source)),), **(own | values))


def sentence(number: int, length: int) -> str:
    chosen = [WORDS[(number * 7 + i * (number % 5 + 1)) % len(WORDS)] + "s" * (number * i % 2) for i in range(length)]
    return f"The {' and the '.join(chosen)} of day {number} were seen by all who came."


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sentences of growing length; some repeated, some in other languages, some alike, one unreadable."""
    lines = [{"text": sentence(i, 2 + i % 9)} for i in range(60)]
    lines += [{"text": sentence(i, 2 + i % 9)} for i in range(0, 20, 4)]
    lines += [{"text": sentence(i, 10) + f" Or so they say, {i}."} for i in range(8, 60, 9)]
    lines += [{"text": f"{sentence(i, 3)}\n" * 4} for i in range(70, 75)]
    lines += [{"text": "Der Mond ist aufgegangen, die goldnen Sternlein prangen am Himmel hell und klar."}]
    lines += [
        {
            "text": "今天的天气很好，我们一起去公园散步，看看湖边的柳树。"
            "傍晚再去山上看月亮和灯火，听远处的钟声，然后慢慢走回家，睡一个好觉。"
        }
    ]
    path = tmp_path_factory.mktemp("texts") / "a.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in lines) + "\nbroken\n")
    return path


@pytest.fixture(scope="module")
def made(texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return build(Store(tmp_path_factory.mktemp("home")), corpus, config(texts), {})[0]


@pytest.mark.parametrize(
    "changed",
    [{}, {"min_characters": 90}, {"min_characters": 1}, {"max_characters": 200}, {"max_repetition": 1.0},
     {"languages": ("en",)}, {"languages": ("de",)}, {"max_repetition": 0.0, "min_characters": 60}],
    ids=str,
)  # fmt: skip
def test_replay_tells_what_a_run_would_keep(changed: dict, made: Artifact, texts: Path, tmp_path: Path) -> None:
    told = replay(made.path, settings_of(config(texts, **changed)))
    try:
        again = build(Store(tmp_path), corpus, config(texts, **changed), {})[0]
    except StageError:
        assert told["after"]["documents"] <= 1  # too little for two splits
        return
    assert told["after"]["characters"] == again.metrics["characters_kept"]
    assert told["after"]["documents"] == again.metrics["documents_kept"]
    assert told["after"]["tokens"] == again.metrics["tokens_kept"]
    assert told["before"]["documents"] == made.metrics["documents_kept"]
    dropped = {name.removeprefix("dropped_"): n for name, n in again.metrics.items() if name.startswith("dropped_")}
    assert told["dropped_by"] == dropped


def test_replay_of_more_alike_duplicates_keeps_those_below(made: Artifact, texts: Path) -> None:
    rows = pa.concat_tables(map(pq.read_table, sorted((made.path / "ledger").glob("*.parquet")))).to_pylist()
    near = [row["similarity"] for row in rows if row["reason"] == "near_duplicate"]
    assert near
    told = replay(made.path, settings_of(config(texts, near_duplicate_text=0.999)))
    assert told["newly_kept"]["documents"] == sum(similarity < 0.999 for similarity in near)
    with pytest.raises(StageError, match=r"0\.5: below 0\.6"):
        replay(made.path, settings_of(config(texts, near_duplicate_text=0.5)))


def test_why_tells_every_rule_that_failed(made: Artifact) -> None:
    german = next(row for row in range(60, 100) if why(made.path, f"#{row}")["detected_language"] == "de")
    told = why(made.path, f"content.jsonl#{german}")
    assert (
        told["verdict"] == "dropped by language" and told["detail"] == "language de" and told["failed"] == ["language"]
    )
    copy = why(made.path, "#60")
    assert copy["verdict"] == "dropped by exact_duplicate" and copy["duplicate_of"].endswith("#0")
    with pytest.raises(StageError, match=r"is part of .* ids"):
        why(made.path, "#6")
    with pytest.raises(StageError, match="in no id"):
        why(made.path, "nonsense")


def test_the_waterfall_adds_up_by_language_and_source(made: Artifact) -> None:
    for step in json.loads((made.path / "waterfall.json").read_text()):
        for group in ("languages", "sources"):
            for unit in ("documents", "characters", "tokens"):
                assert sum(counts[unit] for counts in step[group].values()) == step[unit]
    assert step["languages"]["zh"]["tokens"] > 40 and step["languages"]["de"]["documents"] == 0


def test_the_page_shows_dropped_records_escaped_and_stands_alone(tmp_path: Path) -> None:
    lines = [{"text": sentence(i, 9)} for i in range(20)] + [{"text": "<script>alert('x')</script>"}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    page = (build(Store(tmp_path / "h"), corpus, config(tmp_path / "a.jsonl"), {})[0].path / "report.html").read_text()
    assert "&lt;script&gt;alert" in page and "<script>alert" not in page
    assert "http" not in page.replace("https://", "http://").split("<h2>Sources")[0]


def test_croissant_describes_the_files_so_that_others_can_load_them(made: Artifact) -> None:
    import mlcroissant

    dataset = mlcroissant.Dataset(jsonld=str(made.path / "croissant.json"))
    assert not dataset.metadata.ctx.issues.errors
    assert json.loads((made.path / "croissant.json").read_text())["conformsTo"].endswith("croissant/1.1")
    for split in ("train", "validation"):
        rows = pq.read_table(made.path / split).to_pylist()
        loaded = [record[f"{split}/text"].decode() for record in dataset.records(split)]
        assert loaded == [row["text"] for row in rows]


def test_the_card_names_licences_and_what_was_dropped(made: Artifact) -> None:
    card = (made.path / "card.md").read_text()
    assert (
        "licence unknown" in card and "| near_duplicate |" in card and "length: characters_judged at least 40" in card
    )


def test_an_audit_draws_dropped_records_and_reads_the_labels(made: Artifact, tmp_path: Path) -> None:
    drawn = draw(made.path, 10)
    assert len(drawn) == 10 and all(row["reason"] and row["text"] for row in drawn)
    for row, label in zip(drawn, ["keep"] * 2 + ["drop"] * 6 + ["", ""], strict=True):
        row["label"] = label
    path = tmp_path / "labels.jsonl"
    path.write_text("\n".join(map(json.dumps, drawn)))
    found = judged(path)["all"]
    assert (found.wrong, found.labelled, found.share) == (2, 8, 0.25)
    assert found.low == pytest.approx(0.0715, abs=1e-3) and found.high == pytest.approx(0.5907, abs=1e-3)
    path.write_text(json.dumps(drawn[0] | {"label": "perhaps"}))
    with pytest.raises(StageError, match="line 1: label 'perhaps'"):
        judged(path)


@given(st.integers(0, 200), st.integers(1, 200))
def test_the_interval_holds_the_share(hits: int, trials: int) -> None:
    hits = min(hits, trials)
    low, high = wilson(hits, trials)
    assert 0 <= low <= hits / trials + 1e-12 and hits / trials - 1e-12 <= high <= 1
