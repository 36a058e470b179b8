"""Duplicates: found, explained by the document that stays, and the same however the work is cut."""

import random
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.corpus.dedup.duplicates import Duplicates, find_duplicates
from tasks.corpus.dedup.minhash import HASHES, band_key, in_bands, signatures
from tasks.corpus.dedup.shingles import POEM, Shingling, shingling_of

short = st.text("春夏秋冬风花雪月", max_size=14)


def jaccard(a: str, b: str, shingling: Shingling = POEM) -> float:
    """By hand, on sets of strings."""
    one, two = shingles(a, shingling), shingles(b, shingling)
    return len(one & two) / len(one | two)


def shingles(text: str, shingling: Shingling) -> set[tuple[str, ...]]:
    units = re.findall(r"[\u4e00-\u9fff]|[^\u4e00-\u9fff\s]+", text) if shingling.words else text.replace(" ", "")
    n = shingling.length
    return {tuple(units[i : i + n]) for i in range(max(1, len(units) - n + 1))}


class Texts:
    """Signed documents in memory."""

    def __init__(self, texts: list[str], shinglings: list[Shingling]) -> None:
        self.texts, self.shinglings = texts, shinglings
        self.rows = signatures(texts, shinglings)

    def band(self, band: int) -> np.ndarray:
        return band_key(in_bands(self.rows)[band])

    def signatures(self, documents: np.ndarray) -> np.ndarray:
        return self.rows[documents]

    def contents(self, documents: np.ndarray):
        return ((self.texts[i], self.shinglings[i]) for i in documents)


def search(
    texts: list[str], good: list[bool] | None = None, threshold: float = 0.6, poem: bool = True, indexed: int = 0
) -> Duplicates:
    return find_duplicates(
        hashes=np.array(texts, dtype=object),
        good=np.array(good if good else [True] * len(texts), bool),
        sizes=np.array([len(text) for text in texts], np.int64),
        least=np.full(len(texts), threshold, np.float32),
        signed=Texts(texts, [shingling_of(text, poem) for text in texts]),
        indexed=indexed,
    )


def poems(count: int, seed: int = 1) -> list[str]:
    dice = random.Random(seed)
    return [
        "".join(chr(dice.randrange(0x4E00, 0x9000)) for _ in range(dice.choice([20, 28, 40, 56]))) for _ in range(count)
    ]


def changed(text: str, characters: int, seed: int = 2) -> str:
    dice = random.Random(seed)
    letters = list(text)
    for i in dice.sample(range(len(text)), characters):
        letters[i] = "異"
    return "".join(letters)


def test_planted_near_duplicates_are_found_and_nothing_else() -> None:
    originals = poems(3000)
    copies = [changed(text, 2, i) for i, text in enumerate(originals) if len(text) >= 28][:300]
    texts = [*originals, *copies]
    found = search(texts)
    caught = np.flatnonzero(found.near >= 0)
    assert all(i >= 3000 or found.near[i] >= 3000 for i in caught)
    assert len(caught) >= 0.97 * sum(jaccard(c, originals[originals_of(c, originals)]) >= 0.6 for c in copies)


def originals_of(copy: str, originals: list[str]) -> int:
    return max((i for i, o in enumerate(originals) if len(o) == len(copy)), key=lambda i: agree(copy, originals[i]))


def agree(a: str, b: str) -> int:
    return sum(x == y for x, y in zip(a, b, strict=True))


@settings(max_examples=60, deadline=None)
@given(st.lists(short, min_size=1, max_size=25), st.data())
def test_every_duplicate_is_like_a_document_that_stays(texts: list[str], data) -> None:
    good = data.draw(st.lists(st.booleans(), min_size=len(texts), max_size=len(texts)))
    found = search(texts, good)
    for i, text in enumerate(texts):
        of = max(found.exact[i], found.near[i])
        if of < 0:
            continue
        assert text, "an empty text duplicates nothing"
        assert found.exact[of] < 0 and found.near[of] < 0, "what is named stays"
        assert good[of] or not good[i], "what passed the rules is not replaced by what did not"
        assert jaccard(text, texts[of]) == pytest.approx(float(found.similarity[i]), abs=1e-6)
        assert found.similarity[i] >= 0.6


@given(st.lists(short, min_size=1, max_size=12))
def test_no_two_equal_texts_stay(texts: list[str]) -> None:
    found = search(texts)
    stay = [t for i, t in enumerate(texts) if t and found.exact[i] < 0 and found.near[i] < 0]
    assert len(stay) == len(set(stay))


def test_the_longer_version_stays_and_the_good_one_before_it() -> None:
    text = poems(1)[0]
    assert search([text, text + "尾"]).near.tolist() == [1, -1]
    assert search([text, text + "尾"], good=[True, False]).near.tolist() == [-1, 0]
    assert search([text, text, text], good=[False, True, True]).exact.tolist() == [1, -1, 1]


def test_a_chain_does_not_drag_in_what_is_not_alike() -> None:
    a = poems(1)[0][:20]
    b, c = a[4:] + "甲乙丙丁", a[8:] + "甲乙丙丁戊己庚辛"
    found = search([a, b, c], threshold=0.6)
    assert jaccard(a, c) < 0.6
    assert found.near.tolist() in ([-1, 0, -1], [-1, 0, 0]) and found.near[2] == -1


@given(st.lists(st.text("abc风月 ", max_size=30), max_size=9), st.integers(0, 9))
def test_signatures_do_not_depend_on_the_batch(texts: list[str], cut: int) -> None:
    shinglings = [shingling_of(text, poem=False) for text in texts]
    parts = [signatures(texts[:cut], shinglings[:cut]), signatures(texts[cut:], shinglings[cut:])]
    assert np.array_equal(signatures(texts, shinglings), np.concatenate([p.reshape(-1, HASHES) for p in parts]))


def test_signatures_estimate_similarity() -> None:
    a = poems(1, seed=5)[0] * 3
    b = changed(a, len(a) // 8)
    one, two = signatures([a, b], [POEM, POEM])
    assert np.mean(one == two) == pytest.approx(jaccard(a, b), abs=0.2)


def test_an_empty_corpus_has_no_duplicates() -> None:
    assert search([]).exact.tolist() == [] and search(["", ""]).exact.tolist() == [-1, -1]


def english(count: int, seed: int = 1) -> list[str]:
    dice = random.Random(seed)
    words = ["".join(dice.choices("abcdefghij", k=4)) for _ in range(400)]
    return [" ".join(dice.choices(words, k=120)) for _ in range(count)]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_ordinary_text_is_compared_by_runs_of_five(language: str) -> None:
    originals = english(400) if language == "en" else [text * 3 for text in poems(400)]
    copies = [_one_word_changed(text, language) for text in originals[:100]]
    found = search([*originals, *copies], threshold=0.7, poem=False)
    assert [max(found.near[i], found.near[400 + i]) >= 0 for i in range(100)] == [
        jaccard(originals[i], copies[i], shingling_of(copies[i], poem=False)) >= 0.7 for i in range(100)
    ]
    assert not (found.near[100:400] >= 0).any()


def _one_word_changed(text: str, language: str) -> str:
    return text.replace(text.split()[60], "changed") if language == "en" else changed(text, 2)


def mixed(count: int, words: int, clauses: int = 12) -> list[str]:
    """Manuals: Chinese clauses of eight characters, so many English words behind each."""
    dice = random.Random(words)
    clause = ["".join(chr(dice.randrange(0x4E00, 0x9000)) for _ in range(8)) for _ in range(count * clauses)]
    command = ["".join(dice.choices("abcdefghij", k=6)) for _ in range(200)]
    return [
        " ".join(f"{clause[i * clauses + j]} {' '.join(dice.choices(command, k=words))}" for j in range(clauses))
        for i in range(count)
    ]


@pytest.mark.parametrize("words", [3, 6])  # 27% and 15% Chinese
def test_a_character_changed_in_every_other_clause_of_mixed_text_does_not_hide_a_copy(words: int) -> None:
    """If a clause were one word, each would be another word, and the copy another text."""
    originals = mixed(40, words)
    clauses = r"([\u4e00-\u9fff]{8} [^\u4e00-\u9fff]+)[\u4e00-\u9fff]([\u4e00-\u9fff]{7})"
    copies = [re.sub(clauses, r"\1異\2", text) for text in originals]
    found = search([*originals, *copies], threshold=0.6, poem=False)
    assert found.near.tolist() == [-1] * 40 + list(range(40))
    by_hand = [jaccard(a, b, shingling_of(b, poem=False)) for a, b in zip(originals, copies, strict=True)]
    assert found.similarity[40:] == pytest.approx(by_hand)


def test_a_thousand_copies_leave_one() -> None:
    text = english(1)[0]
    texts = [f"{text} {text[:9]} {i}" for i in range(1000)]
    dice = random.Random(3)
    dice.shuffle(texts)
    found = search(texts, threshold=0.7, poem=False)
    assert (found.near < 0).sum() == 1
    assert len(set(found.near[found.near >= 0])) == 1


def test_documents_of_the_index_stay_and_win() -> None:
    one, two, three = english(3)
    found = search([one, two, one, two + " more", three], poem=False, threshold=0.7, indexed=2)
    assert found.exact.tolist() == [-1, -1, 0, -1, -1]
    assert found.near.tolist() == [-1, -1, -1, 1, -1]
    assert search([one, one + " more"], poem=False, indexed=1).near.tolist() == [-1, 0]
