"""Differences between recipes, in words."""

from __future__ import annotations

from tasks.explain import differences
from tasks.key import Recipe

CONFIG = {"optimizer": {"lr": 0.003, "name": "muon"}, "steps": 10}
BASE = Recipe("pretrain", CONFIG, {"tokens": "d1"}, {"models.optim": "c1"}, {"torch": "2.13"})


def changed(**parts: object) -> Recipe:
    return Recipe(**(vars(BASE) | parts))  # type: ignore[arg-type]


def test_a_changed_field_is_named_by_its_path_with_both_values() -> None:
    wanted = changed(config={"optimizer": {"lr": 0.001, "name": "muon"}, "steps": 10})
    assert differences(wanted, BASE).own == ("optimizer.lr 0.003 -> 0.001",)


def test_a_changed_module_is_named_by_its_file() -> None:
    assert differences(changed(code={"models.optim": "c2"}), BASE).own == ("code: models/optim.py",)


def test_new_and_gone_modules_and_fields_are_said_to_be_so() -> None:
    wanted = changed(code={"models.muon": "c1"}, config={"steps": 10, "optimizer": {"name": "muon"}})
    assert differences(wanted, BASE).own == (
        "optimizer.lr 0.003 -> (none)", "code: models/muon.py (new)", "code: models/optim.py (gone)",
    )  # fmt: skip


def test_a_changed_library_and_input_are_named() -> None:
    wanted = changed(libraries={"torch": "2.14"}, inputs={"tokens": "d2", "tokenizer": "x"})
    found = differences(wanted, BASE)
    assert found.own == ("torch 2.13 -> 2.14",)
    assert found.inputs == ("input tokenizer added", "input tokens changed")


def test_an_input_yet_to_be_built_is_no_difference() -> None:
    assert len(differences(changed(inputs={"tokens": None}), BASE)) == 0


def test_one_and_one_point_nought_are_the_same_only_if_their_keys_are() -> None:
    wanted = changed(config={"optimizer": {"lr": 0.003, "name": "muon"}, "steps": 10.0})
    assert (wanted.key == BASE.key) == (len(differences(wanted, BASE)) == 0)
