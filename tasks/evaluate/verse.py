"""Is it verse of the asked form, does it rhyme as real poems do, is it new?"""

from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

from tasks.documents import read_documents, read_texts, shards
from tasks.memorisation import COUPLET, SubstringIndex
from tasks.verse import distinct_n, matches_form, repetition, rhyme_rate, split_lines

REAL_POEMS = 1000  # validation poems that the baselines are taken from


def verse_scores(items: list[dict[str, Any]], corpus: Path) -> dict[str, float]:
    """Scores over the items that ask for a form; each such item gets its `checks`. Empty when no item does.

    Rates of real validation poems of the same forms stand beside ours: a rate by itself says little.
    """
    asked = [item for item in items if item["check"].get("form")]
    if not asked:
        return {}
    index = SubstringIndex(text for shard in shards(corpus, "train") for _, text in read_texts(shard))
    for item in asked:
        item["checks"] = _checks(item["answer"], item["check"]["form"], index)
    checks = [item["checks"] for item in asked]
    answers = [item["answer"] for item in asked]
    scores = {
        "asked_form_share": fmean(check["form"] for check in checks),
        "memorisation_rate": fmean(check["copied"] >= COUPLET for check in checks),
        "repetition": fmean(check["repetition"] for check in checks),
        "verse_answers": len(asked),
    }
    for kind in sorted({item["check"].get("kind", "") for item in asked} - {""}):
        of_kind = [item["checks"]["form"] for item in asked if item["check"].get("kind") == kind]
        scores[f"asked_form_share_{kind}"] = fmean(of_kind)
    whole = [item["answer"] for item in asked if item["check"].get("kind") != "continue"]
    scores |= _distinct("", answers) | _rhyme("", whole)
    real = list(_real_poems(corpus, {item["check"]["form"] for item in asked}, REAL_POEMS))
    return scores | _distinct("real_poem_", real[: len(answers)]) | _rhyme("real_poem_", real)


def _checks(answer: str, form: str, index: SubstringIndex) -> dict[str, Any]:
    longest = index.longest(answer)
    return {
        "form": matches_form(answer, form),
        "rhyme": rhyme_rate(split_lines(answer)),
        "repetition": repetition(answer),
        "copied": len(longest),
        "copied_text": longest,
    }


def _distinct(prefix: str, texts: list[str]) -> dict[str, float]:
    """Variety falls with the number of texts, so compare it over equally many."""
    return {f"{prefix}distinct_{n}": distinct_n(texts, n) for n in (1, 2)}


def _rhyme(prefix: str, texts: list[str]) -> dict[str, float]:
    """Mean rhyme rate of whole poems; a continuation does not say which of its lines should rhyme."""
    rates = [rate for text in texts if (rate := rhyme_rate(split_lines(text))) is not None]
    return {f"{prefix}rhyme_rate": fmean(rates)} if rates else {}


def _real_poems(corpus: Path, forms: set[str], count: int) -> Iterator[str]:
    for shard in shards(corpus, "validation"):
        for document in read_documents(shard):
            if document.metadata.get("form") in forms and count > 0:
                count -= 1
                yield "\n".join(document.metadata["lines"])
