"""The code digest follows imports, and only meaning counts."""

from __future__ import annotations

from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.stages import corpus, pretrain
from tasks.code import code_digests, normalise
from tests.toychain import edit


def digests(toy: ModuleType) -> dict[str, str]:
    return code_digests(toy.w.words.function)


def test_the_helpers_of_a_stage_are_part_of_it(toy: ModuleType) -> None:
    assert {f"toy_words_{toy.tag}", f"toy_helper_{toy.tag}"} <= digests(toy).keys()


def test_the_contract_counts_by_its_version_only(toy: ModuleType) -> None:
    assert digests(toy)["contract"]
    assert not any(name.startswith(("tasks.stage", "tasks.store", "tasks.key")) for name in digests(toy))


def test_a_changed_line_of_a_helper_changes_that_module_alone(toy: ModuleType) -> None:
    before = digests(toy)
    edit(toy.folder, toy.tag, '"word"', '"wort"')
    after = digests(toy)
    assert {name for name in after if after[name] != before[name]} == {f"toy_helper_{toy.tag}"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# counted from zero", "# counted from nought"),
        ('"""The i-th word."""', '"""Another docstring."""'),
        ('return "word" + str(i)', 'return (  "word"\n            + str( i ))'),
    ],
)
def test_comments_docstrings_and_formatting_do_not_count(toy: ModuleType, old: str, new: str) -> None:
    before = digests(toy)
    edit(toy.folder, toy.tag, old, new)
    assert digests(toy) == before


def test_what_editors_leave_beside_package_data_does_not_count(toy: ModuleType) -> None:
    package = toy.folder / f"pack_{toy.tag}"
    (package / "lists").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    edit(toy.folder, toy.tag, "return ", f"import pack_{toy.tag}\n    return ")
    before = digests(toy)
    for name in (".words.txt.swp", "words.txt~", ".DS_Store", "lists/.words.txt.swp"):
        (package / name).write_text("half a word")
    assert digests(toy) == before


def test_imports_inside_functions_relative_ones_and_package_data_count(toy: ModuleType) -> None:
    package = toy.folder / f"pack_{toy.tag}"
    (package / "deep").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "deep" / "__init__.py").write_text("from .. import sibling\n")
    (package / "sibling.py").write_text("x = 1\n")
    (package / "words.txt").write_text("one")
    edit(toy.folder, toy.tag, "return ", f"import pack_{toy.tag}.deep\n    return ")
    found = digests(toy)
    data = f"pack_{toy.tag}/words.txt"
    assert {f"pack_{toy.tag}.deep", f"pack_{toy.tag}.sibling", data} <= found.keys()
    (package / "words.txt").write_text("two!")
    assert digests(toy)[data] != found[data]


def test_the_corpus_and_pretraining_start_ray_without_the_code_of_one_another() -> None:
    read, trained = (code_digests(stage.function, stage.runs).keys() for stage in (corpus, pretrain))
    assert {"tasks.corpus.ray_shards", "tasks.ray_tasks"} <= read - trained
    assert {"tasks.cluster", "tasks.pretrain.run"} <= trained - read


@given(st.text(alphabet="abc #'\n", max_size=40))
def test_a_comment_never_changes_the_normal_form(comment: str) -> None:
    line = comment.replace("\n", " ")
    assert normalise(f"x = 1  # {line}\n") == normalise("x = 1\n")
