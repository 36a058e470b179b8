"""Words of Chinese text: jieba's dictionary and model, its decisions exactly, compiled.

The likeliest path through the dictionary's words (unigram frequencies), then a hidden Markov model with the states
Begin, Middle, End, Single (Viterbi 1967) for the runs of single characters that are left.
"""

from __future__ import annotations

import math
from functools import lru_cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tasks.corpus.native import code_points, kernel
from tasks.corpus.native.characters import SPACE
from tasks.corpus.native.counting import slot_of

HAN_FIRST, HAN_LAST = 0x4E00, 0x9FD5  # what jieba takes for Chinese characters
NEVER = -3.14e100
_SLOTS = 1 << 20
_B, _E, _M, _S = 0, 1, 2, 3  # in the order of their letters: of equal paths jieba takes the later letter


class Dictionary(NamedTuple):
    """A trie whose edges (node, character) -> node lie in a hash table, and the model of unknown words."""

    edges: np.ndarray  # uint64 [slots]: (node + 1) << 21 | character; the root's node is 0
    children: np.ndarray  # int32 [slots]
    weight: np.ndarray  # float64 [nodes]: ln of the word's share; 1 where no word ends
    unknown: float  # ln of the share of a word that was seen once
    emit: np.ndarray  # float64 [4, characters]: ln P(character | state)
    start: np.ndarray  # float64 [4]
    move: np.ndarray  # float64 [4, 4]


@lru_cache(maxsize=1)
def dictionary() -> Dictionary:
    """The dictionary of the installed jieba."""
    package = find_spec("jieba")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("jieba is not installed; its package holds the dictionary of Chinese words")
    folder = Path(package.origin).parent
    edges, children = np.zeros(_SLOTS, np.uint64), np.zeros(_SLOTS, np.int32)
    counts = np.zeros(_SLOTS // 2, np.int64)
    nodes, total = _read_words(code_points((folder / "dict.txt").read_text("utf-8")), edges, children, counts)
    log_total = math.log(total)
    weight = np.array([math.log(n) - log_total if n else 1.0 for n in counts[:nodes].tolist()])
    emit, start, move = np.full((4, HAN_LAST + 1 - HAN_FIRST), NEVER), np.full(4, NEVER), np.full((4, 4), NEVER)
    states = "BEMS"
    for i, state in enumerate(states):
        start[i] = _table(folder, "start")[state]
        for j, other in enumerate(states):
            move[i, j] = _table(folder, "trans")[state].get(other, NEVER)
        for character, chance in _table(folder, "emit")[state].items():
            if HAN_FIRST <= ord(character) <= HAN_LAST:
                emit[i, ord(character) - HAN_FIRST] = chance
    return Dictionary(edges, children, weight, -log_total, emit, start, move)


@lru_cache(maxsize=3)
def _table(folder: Path, name: str) -> Any:
    spec = spec_from_file_location(f"_jieba_{name}", folder / "finalseg" / f"prob_{name}.py")
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"jieba has no finalseg/prob_{name}.py; install the version that is locked")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.P


@kernel
def _read_words(text, edges, children, counts):
    """Insert the lines `WORD COUNT TAG`; (nodes, sum of counts)."""
    nodes, total, at, size = 1, 0, 0, len(text)
    while at < size:
        node = 0
        while text[at] != 32:
            key = np.uint64((node + 1) << 21 | text[at])
            slot = slot_of(edges, key)
            if edges[slot] == 0:
                edges[slot], children[slot] = key, nodes
                nodes += 1
            node = children[slot]
            at += 1
        at += 1
        count = 0
        while at < size and 48 <= text[at] <= 57:
            count = 10 * count + np.int64(text[at]) - 48
            at += 1
        counts[node] = count
        total += count
        while at < size and text[at] != 10:
            at += 1
        at += 1
    return nodes, total


@kernel
def _child(edges, children, node, code):
    """The node after `node` by a character; -1 where no word goes on so."""
    key = np.uint64((node + 1) << 21 | code)
    slot = slot_of(edges, key)
    return np.int64(children[slot]) if edges[slot] == key else np.int64(-1)


@kernel
def _in_block(c):
    """Han, letters, digits and + # & . _ % -, which jieba looks at together."""
    if HAN_FIRST <= c <= HAN_LAST:
        return True
    if c > 122:
        return False
    return (
        c >= 97
        or 65 <= c <= 90
        or 48 <= c <= 57
        or c == 43
        or c == 35
        or c == 38
        or c == 46
        or c == 95
        or c == 37
        or c == 45
    )


@kernel
def segment_chinese(codes, classes, d, starts, ends):
    """Write the words' boundaries; how many there are. starts, ends: int32, as long as `codes`."""
    size, last = len(codes), len(classes) - 1
    best, to = np.empty(size + 1, np.float64), np.empty(size + 1, np.int32)
    back = np.empty((size, 4), np.uint8)
    n, at = 0, 0
    while at < size:
        if not _in_block(codes[at]):
            if not classes[min(codes[at], last)] & SPACE:
                starts[n], ends[n] = at, at + 1
                n += 1
            at += 1
            continue
        stop = at
        while stop < size and _in_block(codes[stop]):
            stop += 1
        _route(codes, at, stop, d, best, to)
        n = _block(codes, at, stop, d, to, back, starts, ends, n)
        at = stop
    return n


@kernel
def _route(codes, start, end, d, best, to):
    """to[i]: the end of the word that starts at i on the likeliest path from i to the block's end."""
    best[end] = 0.0
    for i in range(end - 1, start - 1, -1):
        found = False
        node, j = np.int64(0), i
        while j < end:
            node = _child(d.edges, d.children, node, codes[j])
            if node < 0:
                break
            if d.weight[node] <= 0.0:
                score = d.weight[node] + best[j + 1]
                if not found or score >= best[i]:
                    best[i], to[i] = score, j + 1
                found = True
            j += 1
        if not found:
            best[i], to[i] = d.unknown + best[i + 1], i + 1


@kernel
def _block(codes, start, end, d, to, back, starts, ends, n):
    """The words of the path; single characters in a row go to the model."""
    at, run = start, start
    while at < end:
        stop = to[at]
        if stop - at > 1:
            n = _singles(codes, run, at, d, back, starts, ends, n)
            starts[n], ends[n] = at, stop
            n += 1
            run = stop
        at = stop
    return _singles(codes, run, end, d, back, starts, ends, n)


@kernel
def _singles(codes, start, end, d, back, starts, ends, n):
    if start >= end:
        return n
    if end - start == 1 or _is_word(codes, start, end, d):
        for i in range(start, end):
            starts[n], ends[n] = i, i + 1
            n += 1
        return n
    at = start
    while at < end:
        stop = at
        if HAN_FIRST <= codes[at] <= HAN_LAST:
            while stop < end and HAN_FIRST <= codes[stop] <= HAN_LAST:
                stop += 1
            n = _model(codes, at, stop, d, back, starts, ends, n)
        else:
            while stop < end and not HAN_FIRST <= codes[stop] <= HAN_LAST:
                stop += 1
            n = _letters(codes, at, stop, starts, ends, n)
        at = stop
    return n


@kernel
def _is_word(codes, start, end, d):
    node = np.int64(0)
    for i in range(start, end):
        node = _child(d.edges, d.children, node, codes[i])
        if node < 0:
            return False
    return d.weight[node] <= 0.0


@kernel
def _alphanumeric(c):
    return 97 <= c <= 122 or 65 <= c <= 90 or 48 <= c <= 57


@kernel
def _letters(codes, start, end, starts, ends, n):
    """Runs of letters and digits, with a decimal part and a percent sign; what stands between them stays together."""
    at, rest = start, start
    while at < end:
        if not _alphanumeric(codes[at]):
            at += 1
            continue
        if rest < at:
            starts[n], ends[n] = rest, at
            n += 1
        stop = at
        while stop < end and _alphanumeric(codes[stop]):
            stop += 1
        if stop + 1 < end and codes[stop] == 46 and 48 <= codes[stop + 1] <= 57:
            stop += 1
            while stop < end and 48 <= codes[stop] <= 57:
                stop += 1
        if stop < end and codes[stop] == 37:
            stop += 1
        starts[n], ends[n] = at, stop
        n += 1
        at = rest = stop
    if rest < end:
        starts[n], ends[n] = rest, end
        n += 1
    return n


@kernel
def _model(codes, start, end, d, back, starts, ends, n):
    """Viterbi over the states of each character."""
    score, following = np.empty(4), np.empty(4)
    first = codes[start] - HAN_FIRST
    for y in range(4):
        score[y] = d.start[y] + d.emit[y, first]
    for i in range(start + 1, end):
        c = codes[i] - HAN_FIRST
        for y in range(4):
            low, high = _before(y)
            a = score[low] + d.move[low, y] + d.emit[y, c]
            b = score[high] + d.move[high, y] + d.emit[y, c]
            back[i, y] = high if b >= a else low
            following[y] = b if b >= a else a
        score[:] = following
    state = _S if score[_S] >= score[_E] else _E
    stop = end  # from the last character to the first: where each word starts
    first_word = n
    for i in range(end - 1, start - 1, -1):
        if state == _B or state == _S:
            starts[n], ends[n] = i, stop
            n += 1
            stop = i
        if i > start:
            state = back[i, state]
    if stop > start:
        starts[n], ends[n] = start, stop
        n += 1
    low, high = first_word, n - 1
    while low < high:
        starts[low], starts[high] = starts[high], starts[low]
        ends[low], ends[high] = ends[high], ends[low]
        low, high = low + 1, high - 1
    return n


@kernel
def _before(state):
    """The two states that may stand before one, in the order of their letters."""
    if state == _B or state == _S:
        return _E, _S
    return _B, _M
