"""Words of languages that put spaces between them, cut the way Penn Treebank and spaCy's English rules do.

A run of non-space characters loses punctuation at both ends, one mark at a time, unless what is left is a known form
(Mr., U.S., don't = do + n't); a URL stays whole; the rest splits at hyphens, slashes and marks between letters.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from tasks.corpus.native import kernel
from tasks.corpus.native.characters import AFFIX, ALPHA, CURRENCY, DIGIT, ICON, LOWER, QUOTE, SPACE, UPPER
from tasks.corpus.native.counting import hash_of, hash_range, slot_of

LONGEST_FORM = 12
_DOT, _PLUS, _MINUS, _STAR, _CARET, _COMMA, _SLASH, _COLON = 46, 43, 45, 42, 94, 44, 47, 58
_LESS, _EQUALS, _MORE, _TILDE, _PERCENT, _SECTION, _AT, _DOLLAR = 60, 61, 62, 126, 37, 0xA7, 64, 36
_EN_DASH, _EM_DASH, _ELLIPSIS, _SQUARED = 0x2013, 0x2014, 0x2026, 0xB2
_APOSTROPHE, _RIGHT_QUOTE = 39, 0x2019

_ABBREVIATIONS = """Adm. Apr. Aug. Ave. Bros. Co. Corp. D.C. Dec. Dr. E.g. Feb. Gen. Gov. I.e. Inc. Jan. Jr. Jul. Jun.
Ltd. Mar. Md. Messrs. Mo. Mont. Mr. Mrs. Ms. Mt. Nov. Oct. Ph.D. Prof. Rep. Rev. Sen. Sep. Sept. St. a.m. co. e.g. i.e.
p.m. v.s. vs. Ala. Ariz. Ark. Calif. Colo. Conn. Del. Fla. Ga. Ia. Id. Ill. Ind. Kan. Kans. Ky. La. Mass. Mich. Minn.
Miss. Neb. Nebr. Nev. Okla. Ore. Pa. Tenn. Va. Wash. Wis. and/or w/o C++ o'clock O'clock ma'am 'm 's 're 'd 'll 've
'em 'bout 'cause goin' doin' lovin' havin' nothin' somethin' ol' '' ' — :) :( ): (: ;)
(; :* :/ :D :P =) =( :-)""".split()
_ABBREVIATIONS += [f"{letter}." for letter in "abcdefghijklmnopqrstuvwxyz"]
_PRONOUNS, _ASKING = "i you he she it we they".split(), "who what when where why how there that this".split()
_NOT = """ca could do does did had may might must need ought sha should wo would ai are is was were have has
dare""".split()
_SAME_WORD = frozenset("ill its hell shell shed were well whore".split())
_UNITS = """km m dm cm mm ha nm yd in ft kg g mg t lb oz kmh mph hPa Pa mbar mb MB kb KB gb GB tb TB T G M K % km² m²
cm² mm² m³ µm µg m/s km/h""".split()


@lru_cache(maxsize=1)
def known_forms() -> tuple[np.ndarray, np.ndarray]:
    """(keys uint64, parts uint32) [slots]: known forms by hash; parts = the lengths of a form's words, a byte each."""
    forms = {form: (form,) for form in _ABBREVIATIONS} | _contractions()
    keys, parts = np.zeros(4096, np.uint64), np.zeros(4096, np.uint32)
    for form, words in forms.items():
        key = np.uint64(hash_of(form))
        at = slot_of(keys, key)
        keys[at] = key
        parts[at] = sum(len(word) << 8 * i for i, word in enumerate(words))
    return keys, parts


@lru_cache(maxsize=1)
def unit_hashes() -> np.ndarray:
    """uint64 [units]: what splits off a number, as in 5km."""
    return np.array([hash_of(unit) for unit in _UNITS], np.uint64)


def _contractions() -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}

    def add(*words: str) -> None:
        for cased in {(words[0], *words[1:]), (words[0].title(), *words[1:])}:
            for variant in (cased, tuple(word.replace("'", "") for word in cased)):
                if "".join(variant) not in _SAME_WORD | {w.title() for w in _SAME_WORD}:
                    found["".join(variant)] = variant
            found["".join(cased).replace("'", "’")] = tuple(word.replace("'", "’") for word in cased)

    for word in _PRONOUNS + _ASKING:
        for ending in (("'ll",), ("'d",), ("'ll", "'ve"), ("'d", "'ve")):
            add(word, *ending)
        if word not in ("he", "she", "it", "i"):
            add(word, "'re")
            add(word, "'ve")
        if word not in ("i", "you", "we", "they"):
            add(word, "'s")
    add("i", "'m")
    add("i", "'ve")
    for word in _NOT:
        add(word, "n't")
    for word in ("could", "might", "must", "should", "would"):
        add(word, "'ve")
    add("let", "'s")
    found.pop("lets", None), found.pop("Lets", None)
    for pair in ("can not", "gon na", "got ta"):
        one, two = pair.split()
        found[one + two] = (one, two)
        found[one.title() + two] = (one.title(), two)
    for hour in range(1, 13):
        for half in ("a.m.", "am", "p.m.", "pm"):
            found[f"{hour}{half}"] = (str(hour), half)
    return found


@kernel
def segment_words(codes, classes, keys, parts, units, starts, ends):
    """Write the words' boundaries; how many there are. starts, ends: int32, as long as `codes`."""
    n, at, size = 0, 0, len(codes)
    last = len(classes) - 1
    while at < size:
        if classes[min(codes[at], last)] & SPACE:
            at += 1
            continue
        start, plain = at, True
        while at < size:
            bits = classes[min(codes[at], last)]
            if bits & SPACE:
                break
            plain = plain and (bits & ALPHA) != 0
            at += 1
        if plain:
            n = _whole(codes, start, at, keys, parts, starts, ends, n)
        else:
            n = _chunk(codes, classes, start, at, keys, parts, units, starts, ends, n)
    return n


@kernel
def _known(codes, start, end, keys):
    """The slot of a known form, or -1."""
    if end - start > LONGEST_FORM or end <= start:
        return -1
    key = hash_range(codes, start, end)
    at = slot_of(keys, key)
    return at if keys[at] == key else -1


@kernel
def _whole(codes, start, end, keys, parts, starts, ends, n):
    """One word, or the words of a known form."""
    form = _known(codes, start, end, keys)
    if form < 0:
        starts[n], ends[n] = start, end
        return n + 1
    rest = parts[form]
    while rest:
        starts[n], ends[n] = start, start + (rest & 255)
        start = ends[n]
        rest >>= 8
        n += 1
    return n


@kernel
def _chunk(codes, classes, start, end, keys, parts, units, starts, ends, n):
    cut = 0  # marks cut off the end wait, last first, at the far end of the arrays
    top = len(starts) - 1
    while start < end and _known(codes, start, end, keys) < 0:
        before = _prefix(codes, classes, start, end)
        if before and _known(codes, start + before, end, keys) >= 0:
            starts[n], ends[n] = start, start + before
            n, start = n + 1, start + before
            break
        after = _suffix(codes, classes, start + before, end, units)
        alone = after and _known(codes, start, end - after, keys) >= 0
        if before and not alone:
            starts[n], ends[n] = start, start + before
            n, start = n + 1, start + before
        if after:
            ends[top - cut] = end
            end -= after
            cut += 1
        if alone or not (before or after):
            break
    if start < end:
        if _known(codes, start, end, keys) >= 0 or _is_url(codes, classes, start, end):
            n = _whole(codes, start, end, keys, parts, starts, ends, n)
        else:
            n = _inner(codes, classes, start, end, starts, ends, n)
    for i in range(cut):
        stop = ends[top - (cut - 1 - i)]
        starts[n], ends[n] = end, stop
        end = stop
        n += 1
    return n


@kernel
def _prefix(codes, classes, start, end):
    c = codes[start]
    bits = classes[min(c, len(classes) - 1)]
    if c == _DOT:
        stop = start
        while stop < end and codes[stop] == _DOT:
            stop += 1
        return stop - start if stop - start > 1 else 0
    if bits & (AFFIX | CURRENCY) or c == _SECTION or c == _PERCENT or c == _EQUALS or c == _EN_DASH or c == _EM_DASH:
        return 1
    if end - start > 2 and c == 85 and codes[start + 1] == 83 and codes[start + 2] == _DOLLAR:  # US$
        return 3
    if c == _PLUS:
        return 0 if start + 1 < end and classes[min(codes[start + 1], len(classes) - 1)] & DIGIT else 1
    return 0


@kernel
def _suffix(codes, classes, start, end, units):
    """How many characters at the end of [start, end) split off; what they follow must lie within it."""
    if end <= start:
        return 0
    last = len(classes) - 1
    c = codes[end - 1]
    bits = classes[min(c, last)]
    if end - start >= 2:
        before = codes[end - 2]
        if (c == 115 or c == 83) and (before == _APOSTROPHE or before == _RIGHT_QUOTE):
            return 2
        previous = classes[min(before, last)]
        if c == _DOT:
            if before == _DOT:
                stop = end
                while stop > start and codes[stop - 1] == _DOT:
                    stop -= 1
                return end - stop
            if previous & (DIGIT | LOWER | AFFIX | QUOTE) and not previous & ICON:
                return 1
            if before == _PERCENT or before == _SQUARED or before == _MINUS or before == _PLUS:
                return 1
            two = end - start >= 3 and previous & UPPER and classes[min(codes[end - 3], last)] & UPPER
            return 1 if two else 0
        if previous & DIGIT and (c == _PLUS or bits & CURRENCY):
            return 1
    if bits & AFFIX or c == _EN_DASH or c == _EM_DASH:
        return 1
    return _unit(codes, classes, start, end, units)


@kernel
def _unit(codes, classes, start, end, units):
    last = len(classes) - 1
    stop = end
    while stop > start and end - stop < 5 and not classes[min(codes[stop - 1], last)] & DIGIT:
        stop -= 1
    if stop == end or stop == start or not classes[min(codes[stop - 1], last)] & DIGIT:
        return 0
    key = hash_range(codes, stop, end)
    for unit in units:
        if unit == key:
            return end - stop
    return 0


@kernel
def _inner(codes, classes, start, end, starts, ends, n):
    """Split what is left between its letters."""
    at = start
    while at < end:
        size = _infix(codes, classes, start, at, end)
        if size and at > start:
            starts[n], ends[n] = start, at
            starts[n + 1], ends[n + 1] = at, at + size
            n += 2
            start = at + size
        at += max(1, size)
    if start < end:
        starts[n], ends[n] = start, end
        n += 1
    return n


@kernel
def _infix(codes, classes, start, at, end):
    """Length of the mark at `at` that separates what stands around it; 0 when none does."""
    last = len(classes) - 1
    c = codes[at]
    bits = classes[min(c, last)]
    if bits & (ALPHA | DIGIT):
        return 0
    if c == _DOT and at + 1 < end and codes[at + 1] == _DOT:
        stop = at
        while stop < end and codes[stop] == _DOT:
            stop += 1
        return stop - at
    if c == _ELLIPSIS or bits & ICON:
        return 1
    if at == start or at + 1 >= end:
        return 0
    before, after = classes[min(codes[at - 1], last)], classes[min(codes[at + 1], last)]
    if c == _PLUS or c == _MINUS or c == _STAR or c == _CARET:
        if before & DIGIT and (after & DIGIT or codes[at + 1] == _MINUS):
            return 1
    if c == _DOT:
        return 1 if before & (LOWER | QUOTE) and after & (UPPER | QUOTE) else 0
    if c == _COMMA:
        return 1 if before & ALPHA and after & ALPHA else 0
    if before & (ALPHA | DIGIT):
        if c == _COLON or c == _LESS or c == _MORE or c == _EQUALS or c == _SLASH or c == _TILDE or c == _EN_DASH:
            return 1 if after & ALPHA else 0
        if c == _MINUS or c == _EM_DASH:
            stop = at
            while stop < end and codes[stop] == c:
                stop += 1
            most = 3 if c == _MINUS else 2
            return stop - at if stop - at <= most and stop < end and classes[min(codes[stop], last)] & ALPHA else 0
    return 0


@kernel
def _is_url(codes, classes, start, end):
    """Whether it reads scheme://user@host.tld:port/path, all but the host left out at will."""
    last = len(classes) - 1
    at = start
    for i in range(start, end - 2):
        if codes[i] == _COLON and codes[i + 1] == _SLASH and codes[i + 2] == _SLASH and i - start >= 2:
            at = i + 3
            break
    for i in range(at, end):
        if codes[i] == _AT:
            at = i + 1
    dot, label = -1, at
    while at < end:
        c = codes[at]
        if c == _DOT:
            if at == label:
                return False
            dot, label = at, at + 1
        elif c == _SLASH or c == 63 or c == 35 or c == _COLON:
            break
        elif not (classes[min(c, last)] & (ALPHA | DIGIT) or c == _MINUS or c == 95 or c >= 0xA1):
            return False
        at += 1
    if dot < 0 or at - dot < 3:
        return False
    letters, digits = True, True
    for i in range(dot + 1, at):
        letters = letters and (classes[min(codes[i], last)] & LOWER) != 0
        digits = digits and (classes[min(codes[i], last)] & DIGIT) != 0
    if not letters:
        return False
    if at < end and codes[at] == _COLON:
        at += 1
        digits = at
        while at < end and classes[min(codes[at], last)] & DIGIT:
            at += 1
        if at - digits < 2:
            return False
    return at == end or codes[at] == _SLASH or codes[at] == 63 or codes[at] == 35
