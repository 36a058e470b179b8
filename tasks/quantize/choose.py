"""Which recipe: the smallest graph whose predictions stay within the tolerance, as measured on validation text."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tasks.quantize.quality import Quality
from tasks.quantize.rounding import FINE, Recipe, Unit
from tasks.quantize.suite import Suite

HEAD: Unit = ("lm_head",)
METHODS = ("rtn", "awq", "gptq")
MARGIN = 0.8  # of the tolerance is what a recipe is meant to cost; each further attempt is meant to cost half as much
ATTEMPTS = 4
SAME = 1.01  # times the bytes of the smallest still counts as small as that


@dataclass(frozen=True)
class Tried:
    """A recipe and how its graph did, token by token and, where asked, answer by answer."""

    recipe: Recipe
    quality: Quality
    suite: Suite | None = None

    @property
    def rise(self) -> float:
        """Relative rise of bits per byte over full precision."""
        return self.quality.bits_per_byte_ratio - 1

    def rounded(self) -> dict[str, int | float]:
        """All that was measured."""
        return self.quality.rounded() | (self.suite.rounded() if self.suite else {})


@dataclass(frozen=True)
class Probe:
    """What a unit's rounding costs when all else is exact: `kl` in nats per token; `bytes` more in 8 bits than in 4."""

    unit: Unit
    kl: float
    bytes: int


def trials(
    methods: Sequence[str], bits: int, tolerance: float, attempt: Callable[[Recipe], Tried],
    probes: Callable[[Recipe], list[Probe]],
) -> list[Tried]:  # fmt: skip
    """Try recipes until one is within the tolerance: each method, then the best with ever more units in 8 bits.

    The head goes first, where small models suffer most; only when it is not enough, every unit is measured.
    """
    tried = [attempt(Recipe(method, bits)) for method in methods]
    best = min(tried, key=lambda one: one.rise)
    if bits == FINE or best.rise <= tolerance:
        return tried
    tried.append(attempt(Recipe(best.recipe.method, bits, (HEAD,))))
    if tried[-1].rise <= tolerance:
        return tried
    measured = probes(best.recipe)
    for goal in (tolerance * MARGIN / 2**number for number in range(ATTEMPTS)):
        finer = promoted(measured, goal / best.rise)
        tried.append(attempt(Recipe(best.recipe.method, bits, finer)))
        if tried[-1].rise <= tolerance:
            return tried
    return [*tried, attempt(Recipe(best.recipe.method, FINE))]


def promoted(probes: Sequence[Probe], share: float) -> tuple[Unit, ...]:
    """The units to keep in 8 bits, those first that save most per byte, until `share` of the divergence is left.

    Divergences of units rounded alone are taken to add up, which is why the result is measured again.
    """
    total = left = sum(probe.kl for probe in probes)
    chosen = []
    for probe in sorted(probes, key=lambda probe: -probe.kl / probe.bytes):
        if left <= share * total:
            break
        chosen.append(probe.unit)
        left -= probe.kl
    return tuple(chosen)


def chosen(tried: Sequence[Tried], tolerance: float) -> Tried:
    """The smallest within the tolerance, the most faithful of equals; the most exact of all when none is within it."""
    within = [one for one in tried if one.rise <= tolerance]
    if not within:
        return min(tried, key=lambda one: one.rise)
    limit = SAME * min(one.quality.bytes_int4 for one in within)
    return min((one for one in within if one.quality.bytes_int4 <= limit), key=lambda one: one.quality.mean_kl)
