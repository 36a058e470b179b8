"""What makes verse better or worse, by rule; and how to make good verse bad."""

import random
from collections.abc import Callable

from tasks.poems import verse
from tasks.verse import form_of, punctuated_in_couplets, repetition, rhyme_rate, rhymes, split_lines

WELL_FORMED = 1.0  # the quality of verse that keeps its form, before rhyme and variety are looked at
CLEARLY = 0.15  # the least difference in quality that is a preference


def quality(text: str, form: str) -> float:
    """0 to 2: at least 1 when the form is kept, more the better it rhymes, less the more it repeats itself."""
    lines = split_lines(text)
    if form_of(lines) != form or not punctuated_in_couplets(text):
        return max(0.0, 0.5 - 0.1 * abs(len(lines) - int(form.split("x")[1])))
    rhyme = rhyme_rate(lines)
    return WELL_FORMED + (0.5 if rhyme is None else rhyme) - min(1.0, 3 * repetition(text))


def broken(lines: list[str], draw: random.Random, characters: str) -> str:
    """The verse with one rule broken: a line cut or too long, a line lost, repeated, or off rhyme."""
    ways: list[Callable[[list[str], random.Random, str], list[str]]] = [_cut, _lengthened, _lost, _repeated, _off_rhyme]
    return verse(draw.choice(ways)(list(lines), draw, characters))


def _cut(lines: list[str], draw: random.Random, _: str) -> list[str]:
    place = draw.randrange(len(lines))
    lines[place] = lines[place][:-1]
    return lines


def _lengthened(lines: list[str], draw: random.Random, characters: str) -> list[str]:
    place = draw.randrange(len(lines))
    lines[place] += draw.choice(characters)
    return lines


def _lost(lines: list[str], draw: random.Random, _: str) -> list[str]:
    del lines[draw.randrange(len(lines))]
    return lines


def _repeated(lines: list[str], draw: random.Random, _: str) -> list[str]:
    place = draw.randrange(1, len(lines)) if len(lines) > 1 else 0
    lines[place] = lines[place - 1]
    return lines


def _off_rhyme(lines: list[str], draw: random.Random, characters: str) -> list[str]:
    """Every even line ends on a character that does not rhyme with the even line before."""
    for place in range(3, len(lines), 2):
        before = lines[place - 2][-1]
        off = [c for c in characters if not rhymes(c, before)]
        lines[place] = lines[place][:-1] + draw.choice(off or [before])
    return lines if len(lines) > 3 else _cut(lines, draw, characters)
