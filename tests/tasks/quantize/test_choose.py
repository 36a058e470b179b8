from dataclasses import replace

from tasks.quantize.choose import METHODS, Probe, Tried, chosen, promoted, trials
from tasks.quantize.quality import Quality
from tasks.quantize.rounding import Recipe

QUALITY = Quality(1, 1.0, 0.0, 1.0, 1.0, 1.0, 100, 100)
PROBES = [Probe(("head",), 0.01, 100), Probe(("q", "k", "v"), 0.04, 10), Probe(("down",), 0.05, 100)]


def _tried(method: str, ratio: float, size: int = 100, kl: float = 0.0, finer: tuple = ()) -> Tried:
    quality = replace(QUALITY, bits_per_byte_ratio=ratio, bytes_int4=size, mean_kl=kl)
    return Tried(Recipe(method, 4, finer), quality)


def test_units_that_save_most_per_byte_come_first():
    assert promoted(PROBES, 1.0) == ()
    assert promoted(PROBES, 0.7) == (("q", "k", "v"),)
    assert promoted(PROBES, 0.3) == (("q", "k", "v"), ("down",))
    assert len(promoted(PROBES, 0.0)) == 3


def test_more_units_keep_8_bits_until_the_graph_is_within_the_tolerance():
    rises = {0: 0.04, 1: 0.03, 2: 0.02, 3: 0.005}
    asked = []

    def attempt(recipe: Recipe) -> Tried:
        asked.append(recipe)
        return _tried(recipe.method, 1 + rises[len(recipe.finer)], 100 + len(recipe.finer), finer=recipe.finer)

    tried = trials(["rtn", "gptq"], 4, 0.01, attempt, lambda _recipe: PROBES)
    assert [len(recipe.finer) for recipe in asked] == sorted(len(recipe.finer) for recipe in asked)
    assert len(chosen(tried, 0.01).recipe.finer) == 3


def test_8_bits_alone_are_the_last_resort_and_the_first_when_asked_for():
    rough = replace(QUALITY, bits_per_byte_ratio=1.1)
    tried = trials(["gptq"], 4, 0.0, lambda recipe: Tried(recipe, rough), lambda _recipe: PROBES)
    assert tried[-1].recipe == Recipe("gptq", 8)
    first = trials(METHODS, 8, 0.0, lambda recipe: Tried(recipe, QUALITY), lambda _recipe: [])
    assert [one.recipe for one in first] == [Recipe(method, 8) for method in METHODS]


def test_the_most_faithful_of_those_as_small_is_chosen():
    big, near, best = _tried("rtn", 1.0, 200), _tried("awq", 1.001, 999, 0.02), _tried("gptq", 1.002, 1000, 0.01)
    assert chosen([near, best], 0.01) is best
    assert chosen([_tried("rtn", 1.02), _tried("awq", 1.015)], 0.01).recipe.method == "awq"
    assert chosen([big, _tried("gptq", 1.02, 100)], 0.01) is big
