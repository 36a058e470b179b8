"""Ask a published corpus: why a record was kept or dropped, and what other thresholds would keep."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.corpus.criteria import code_thresholds_of, limits_of, thresholds_of
from tasks.corpus.dedup.repeated import RULE as REPEATED
from tasks.corpus.dedup.repeated import TAKEN_OUT
from tasks.corpus.dedup.semantic import RULE as SEMANTIC
from tasks.corpus.dedup.shingles import POEM, least_similarity
from tasks.corpus.facts import write_json
from tasks.corpus.heuristics.measures import MEASURES
from tasks.corpus.rules import Bound, rules_of
from tasks.corpus.table import is_code
from tasks.errors import StageError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from tasks.corpus.code.thresholds import CodeThresholds
    from tasks.corpus.config import CorpusConfig
    from tasks.corpus.heuristics.thresholds import Thresholds

EXACT, NEAR = "exact_duplicate", "near_duplicate"
LATE = (EXACT, NEAR, SEMANTIC, REPEATED)  # rules that look at more than one document


class Ambiguous(StageError):
    """Several records answer to what was asked."""


class Settings(NamedTuple):
    """What replay may change: the rules' bounds, the languages kept, the similarity of near duplicates.

    least: by a shingling's name. measuring: by language, how text was cut into words and lines, which may not change;
    nor may classifiers, by name what they learnt from.
    """

    bounds: tuple[Bound, ...]
    languages: tuple[str, ...]
    least: dict[str, float]
    measuring: dict[str, Any]
    classifiers: dict[str, Any]


def settings_of(
    cfg: CorpusConfig, thresholds: Mapping[str, Thresholds] | None = None, code: CodeThresholds | None = None
) -> Settings:
    """What a configuration says; thresholds and code: those that applied, when they are known already."""
    code = code_thresholds_of(cfg) if thresholds is None else code
    thresholds = thresholds_of(cfg) if thresholds is None else thresholds
    return Settings(
        bounds=tuple(bound for rule in rules_of(limits_of(cfg), thresholds, code) for bound in rule.bounds),
        languages=cfg.languages,
        least=least_similarity(cfg.near_duplicate, cfg.near_duplicate_text),
        measuring=_without({"rules": True, "long": {"rules"}}, thresholds),
        classifiers=_without({"most"}, cfg.classifiers),
    )


def _without(fields: Any, models: Mapping[str, BaseModel]) -> dict[str, Any]:
    return {name: one.model_dump(mode="json", exclude=fields) for name, one in models.items()}


def write_settings(order: Sequence[str], settings: Settings, path: Path) -> None:
    """`rules.json`: the rules in the order in which the first that fails drops, and by which numbers they went."""
    bounds = [bound._asdict() for bound in settings.bounds]
    write_json(path, {"order": list(order), **settings._asdict(), "bounds": bounds})


def read_settings(path: Path) -> tuple[list[str], Settings]:
    """What `write_settings` wrote."""
    told = json.loads(path.read_text(encoding="utf-8"))
    bounds = tuple(Bound(**bound) for bound in told["bounds"])
    return told["order"], Settings(
        bounds, tuple(told["languages"]), told["least"], told["measuring"], told["classifiers"]
    )


def read_ledger(corpus: Path, columns: list[str] | None = None) -> pa.Table:
    """The ledger, one row per record in input order.

    Raises:
        StageError: the artifact holds none.
    """
    files = sorted((corpus / "ledger").glob("*.parquet"))
    if not files:
        raise StageError(f"{corpus.name}: no ledger/*.parquet; expected a corpus artifact; build it again")
    return pa.concat_tables(pq.read_table(file, columns=columns) for file in files)


def why(corpus: Path, record: str) -> dict[str, Any]:
    """A record's row of the ledger, by its id or a part of it that no other id has.

    Raises:
        StageError: no id holds the text; `Ambiguous`, several do.
    """
    ids = read_ledger(corpus, ["id"])["id"]
    found = pc.equal(ids, record)
    if not pc.any(found).as_py():
        found = pc.match_substring(ids, record)
    rows = pc.indices_nonzero(found).to_pylist()
    expected = "expected a record's id, SOURCE/MEMBER#INDEX, or a part only it has"
    if not rows:
        raise StageError(f"{record!r} is in no id of the ledger; {expected}")
    if len(rows) > 1:
        some = ", ".join(ids[i].as_py() for i in rows[:3])
        raise Ambiguous(f"{record!r} is part of {len(rows)} ids, such as {some}; {expected}")
    (whole,) = read_ledger(corpus).slice(rows[0], 1).to_pylist()
    row = {name: value for name, value in whole.items() if value is not None}  # null = not asked
    verdicts = {name: row.pop(name) for name in list(row) if isinstance(row[name], bool)}
    failed = [name for name, passed in verdicts.items() if not passed]
    verdict = f"dropped by {row['reason']}" if row["reason"] else f"kept, in {row['split']}"
    scores = {name: row.pop(name) for name in list(row) if isinstance(row[name], float) and name != "similarity"}
    return {"verdict": verdict, **row, "failed": failed, "scores": scores}


def replay(corpus: Path, after: Settings) -> dict[str, Any]:
    """What would be kept under other settings, from the ledger's scores alone.

    Verdicts of rules whose bounds stay are taken as they stand. Duplicates are decided anew: of equal texts the first
    that passes stays; a near duplicate stays when its similarity to the text it names is below the threshold, and when
    that text goes, the longest of its near duplicates that passes takes its place. `uncertain` counts those, as the
    ledger knows how alike a text is to the one it names, not to the others; kept texts that were too long to be
    measured (above twice `max_characters`), which the web-text rules may still drop; and, under other settings, those
    with text taken out that earlier ones held, as it stays out, and those whose comparison by meaning would come out
    otherwise: they were like a text that goes, or were not compared.

    Raises:
        StageError: what the settings change is not in the ledger.
    """
    order, before = read_settings(corpus / "rules.json")
    _require_known(before, after)
    table = read_ledger(corpus)
    verdicts = _verdicts(table, order, before, after)
    unread = pc.equal(table["reason"], "quarantined").to_numpy(zero_copy_only=False)
    first = np.where(unread, -1, _first_failed(verdicts, len(table)))
    good = (first < 0) & ~unread
    exact, near, uncertain = _duplicates(table, good, after.least)
    stays = good & ~exact & ~near
    other = stays & _passed(table, SEMANTIC)
    kept = other & _passed(table, REPEATED)
    was = pc.equal(table["reason"], "").to_numpy(zero_copy_only=False)
    names = list(verdicts)
    reasons = Counter(names[i] for i in first[(first >= 0)].tolist())
    reasons |= {EXACT: int((good & exact).sum()), NEAR: int((good & ~exact & near).sum())}
    reasons |= {SEMANTIC: int((stays & ~other).sum()), REPEATED: int((other & ~kept).sum())}
    reasons |= {"quarantined": int(unread.sum())}
    if not _alike(before, after, table.column_names):  # what is taken out, and compared, hangs on what stays
        uncertain += _hanging(table, stays, other, kept)
    return {
        "before": _counts(table, was),
        "after": _counts(table, kept),
        "newly_kept": _counts(table, kept & ~was),
        "newly_dropped": _counts(table, was & ~kept),
        "dropped_by": {name: reasons[name] for name in (*names, *LATE, "quarantined") if reasons[name]},
        "uncertain": uncertain + int((kept & ~was & _unmeasured(table, before)).sum()),
        "examples": {
            "newly_kept": table["id"].filter(pa.array(kept & ~was)).slice(0, 5).to_pylist(),
            "newly_dropped": table["id"].filter(pa.array(was & ~kept)).slice(0, 5).to_pylist(),
        },
    }


def _require_known(before: Settings, after: Settings) -> None:
    for shingling, least in after.least.items():
        if least < before.least[shingling]:
            field = "near_duplicate" if shingling == POEM.name else "near_duplicate_text"
            raise StageError(
                f"{field} {least}: below {before.least[shingling]}, at which the search ran, so the ledger does not "
                "know those pairs; run the stage with it"
            )
    if _long_from(before) not in {None, _long_from(after)}:
        raise StageError(
            f"max_characters {_long_from(after)}: longer texts are judged by windows, which the ledger knows only of "
            f"those above {_long_from(before)}; run the stage with it"
        )
    if before.classifiers != after.classifiers:
        raise StageError(
            "classifiers: others than the corpus was built with have no scores in the ledger; run the stage with them, "
            "or change only `most`"
        )
    if before.measuring and before.measuring != after.measuring:
        languages = before.measuring.keys() | after.measuring.keys()
        other = [name for name in sorted(languages) if before.measuring.get(name) != after.measuring.get(name)]
        raise StageError(
            f"thresholds of {', '.join(other)}: another segmenter, line filter, stop words or short_line give other "
            "measures than the ledger's; run the stage with them, or change only the ranges under `rules`"
        )


def _long_from(settings: Settings) -> float | None:
    """Above how many characters a text is judged by windows; None where no rule does so."""
    most = {bound.rule: bound.most for bound in settings.bounds}
    return most.get("length") if "long_length" in most else None


def _verdicts(table: pa.Table, order: list[str], before: Settings, after: Settings) -> dict[str, np.ndarray]:
    """Rule -> bool [records], in order: whether each record passes under the settings after."""
    verdicts = {}
    further = dict.fromkeys(b.rule for b in after.bounds if b.rule not in order and b.score in table.column_names)
    for name in (*order, *further):
        if name in LATE:
            continue
        new, old = ([b for b in s.bounds if b.rule == name] for s in (after, before))
        passed = np.ones(len(table), bool)
        if name in order:
            passed = _passed(table, name)
        if name == "language" and after.languages != before.languages:
            asked = pc.is_valid(table[name])  # code is written in no such language
            spoken = pc.is_in(table["detected_language"], pa.array(after.languages))
            passed = pc.or_(spoken, pc.invert(asked)).to_numpy(zero_copy_only=False)
        elif new != old:
            for_other_reasons = ~passed & _within_all(table, old)
            passed = _within_all(table, new) & ~for_other_reasons
        verdicts[name] = passed
    return verdicts


def _passed(table: pa.Table, rule: str) -> np.ndarray:
    """bool [records]: the rule's verdicts as they stand; true where it was not asked."""
    if rule not in table.column_names:
        return np.ones(len(table), bool)
    return pc.fill_null(table[rule], True).to_numpy(zero_copy_only=False)


def _hanging(table: pa.Table, stays: np.ndarray, other: np.ndarray, kept: np.ndarray) -> int:
    """How many verdicts hang on which other documents stay, of those that passed up to, and after, each comparison."""
    count = 0
    if REPEATED in table.column_names:
        count += int((other & (table[TAKEN_OUT[0]].to_numpy() > 0)).sum())
    if SEMANTIC in table.column_names:
        like = pc.is_in(table["duplicate_of"], table["id"].filter(pa.array(kept)).combine_chunks()).to_numpy()
        never = pc.or_(is_code(table), pc.equal(table["shingling"], POEM.name))
        compared = pc.or_(pc.is_valid(table[SEMANTIC]), never).to_numpy()
        count += int((stays & ~other & ~like).sum()) + int((kept & ~compared).sum())
    return count


def _alike(before: Settings, after: Settings, scores: Sequence[str]) -> bool:
    """Whether they judge records with these scores in the same way; how text is measured replay has compared."""
    asked = [s._replace(bounds=tuple(b for b in s.bounds if b.score in scores), measuring={}) for s in (before, after)]
    return asked[0] == asked[1]


def _unmeasured(table: pa.Table, settings: Settings) -> np.ndarray:
    """Which records are prose of a language with thresholds, yet have no measures."""
    if MEASURES[0] not in table.column_names:
        return np.zeros(len(table), bool)
    prose = pc.and_(
        pc.not_equal(table["shingling"], POEM.name),
        pc.is_in(table["detected_language"], pa.array(list(settings.measuring), pa.string())),
    )
    return pc.and_(prose, pc.is_null(table[MEASURES[0]])).to_numpy(zero_copy_only=False)


def _within_all(table: pa.Table, bounds: list[Bound]) -> np.ndarray:
    return np.logical_and.reduce([np.ones(len(table), bool), *(_within(table, bound) for bound in bounds)])


def _within(table: pa.Table, bound: Bound) -> np.ndarray:
    score = pc.fill_null(table[bound.score], math.nan).to_numpy()
    fails = (score < (-math.inf if bound.least is None else bound.least)) | (
        score > (math.inf if bound.most is None else bound.most)
    )
    if bound.language:
        fails &= pc.equal(table["detected_language"], bound.language).to_numpy(zero_copy_only=False)
    return ~fails


def _first_failed(verdicts: dict[str, np.ndarray], records: int) -> np.ndarray:
    """int [records]: the place of the first rule that fails, or -1."""
    first = np.full(records, -1)
    for place, passed in enumerate(verdicts.values()):
        first[(first < 0) & ~passed] = place
    return first


def _duplicates(table: pa.Table, good: np.ndarray, least: dict[str, float]) -> tuple[np.ndarray, np.ndarray, int]:
    """Which records are exact and which are near duplicates of what stays; and how many clusters got another head."""
    hashes, ids = table["hash"].to_pylist(), table["id"].to_pylist()
    rank = np.lexsort((np.arange(len(table)), -table["characters"].to_numpy(), ~good))
    keeper = _stays(hashes, [*np.flatnonzero(good), *np.flatnonzero(~good)])
    exact = np.array([bool(h) and keeper[h] != i for i, h in enumerate(hashes)])
    place = {one: i for i, one in enumerate(ids)}
    names = table["duplicate_of"].to_pylist()
    named = np.array([place.get(one, -1) if one else -1 for one in names])
    bounds = np.array([least.get(name, 1.0) for name in table["shingling"].to_pylist()], np.float32)
    similar = pc.fill_null(table["similarity"], 0.0).to_numpy() >= bounds
    is_near, was_exact = (
        pc.fill_null(pc.invert(table[name]), False).to_numpy(zero_copy_only=False) for name in (NEAR, EXACT)
    )
    elsewhere = np.array([bool(one) for one in names]) & (named < 0) & similar  # in the index of an earlier corpus
    linked = is_near & similar & (named >= 0)
    clusters = [ids[named[i]] if linked[i] else ids[i] for i in range(len(ids))]
    best = _stays(clusters, rank[~(exact | elsewhere)[rank]].tolist())
    near = np.array([not exact[i] and best.get(clusters[i]) not in {i, None} for i in range(len(ids))])
    moved = sum(1 for c, i in best.items() if ids[i] != c)
    return exact | (elsewhere & was_exact), near | (elsewhere & is_near), moved


def _stays(groups: list[str], order: list[Any]) -> dict[str, int]:
    """Of every group, the member that comes first in the order."""
    stays: dict[str, int] = {}
    for i in order:
        stays.setdefault(groups[i], int(i))
    return stays


def _counts(table: pa.Table, chosen: np.ndarray) -> dict[str, int]:
    rows = table.select(["characters", "tokens"]).filter(pa.array(chosen))
    sums: Callable[[str], int] = lambda name: pc.sum(rows[name]).as_py() or 0  # noqa: E731
    return {"documents": len(rows), "characters": sums("characters"), "tokens": sums("tokens")}
