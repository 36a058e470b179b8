"""Identity of configurations: what bears it, what does not, and what has none."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from tasks.config import Content, Runtime, StageConfig, identity
from tasks.errors import StageError
from tasks.key import canonical, digest

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


class Inner(StageConfig):
    lr: float = 0.1
    device: Runtime[str] = "cpu"


class Outer(StageConfig):
    inner: Inner = Inner()
    steps: int = 3
    workers: Runtime[int] = 2


class WithFile(StageConfig):
    source: Content


@given(json_values)
def test_equal_values_have_one_identity_whatever_their_order(value: object) -> None:
    def reordered(v: object) -> object:
        if isinstance(v, dict):
            return {k: reordered(v[k]) for k in reversed(list(v))}
        return [reordered(x) for x in v] if isinstance(v, list) else v

    assert digest(identity(value)) == digest(identity(reordered(value)))


@given(st.lists(json_values, min_size=2, max_size=2, unique_by=canonical))
def test_different_values_have_different_digests(pair: list[object]) -> None:
    assert digest(pair[0]) != digest(pair[1])


def test_runtime_fields_never_count_at_any_depth() -> None:
    assert identity(Outer(workers=9, inner=Inner(device="cuda"))) == identity(Outer())
    assert identity(Outer(inner=Inner(lr=0.2))) != identity(Outer())


def test_a_file_is_known_by_its_bytes_not_by_its_name(tmp_path: Path) -> None:
    one, two = tmp_path / "one.txt", tmp_path / "two.txt"
    one.write_text("same")
    two.write_text("same")
    assert identity(WithFile(source=one)) == identity(WithFile(source=two))
    two.write_text("changed")
    assert identity(WithFile(source=one)) != identity(WithFile(source=two))


def test_a_folder_is_known_by_its_files_names_and_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.txt").write_text("1")
    before = identity(WithFile(source=tmp_path / "a"))
    (tmp_path / "a" / "x.txt").rename(tmp_path / "a" / "y.txt")
    assert identity(WithFile(source=tmp_path / "a")) != before


def test_a_missing_file_is_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"config\.source: .*nowhere does not exist.*correct the path"):
        identity(WithFile(source=tmp_path / "nowhere"))


@pytest.mark.parametrize("value", [print, {1, 2}, Path("x"), b"bytes", object(), {1: "number as key"}])
def test_what_has_no_stable_identity_is_refused(value: object) -> None:
    with pytest.raises(StageError, match=r"config.*"):
        identity({"field": value})


def test_an_open_file_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "f").open("w") as stream, pytest.raises(StageError, match="no stable identity"):
        identity([stream])


def test_a_default_has_the_identity_of_the_same_value_when_given() -> None:
    class Within(BaseModel):
        seconds: float = 10

    class Waiting(StageConfig):
        within: Within = Within()
        most: float = 1

    given_so = Waiting.model_validate({"within": {"seconds": 10}, "most": 1})
    assert canonical(identity(Waiting())) == canonical(identity(given_so))
