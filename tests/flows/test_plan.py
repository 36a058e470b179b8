"""Plans: what would run and why, and the parts that --only, --from, --until and --force name."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest

from flows.plan import Selection, Step, plan
from flows.run import at_once, run_chain
from tasks.errors import StageError
from tasks.store import Store
from tests.toychain import edit

Look = Callable[..., dict[str, Step]]


@pytest.fixture
def look(store: Store, toy: ModuleType) -> Look:
    def found(cfg: object = None, **selection: object) -> dict[str, Step]:
        return {s.label: s for s in plan(toy.chain, cfg or toy.Config(), store, Selection(**selection))}  # type: ignore[arg-type]

    return found


@pytest.fixture
def built(store: Store, toy: ModuleType) -> Store:
    run_chain(toy.chain, toy.Config(), store, Selection(), at_once)
    return store


def statuses(steps: dict[str, Step]) -> list[str]:
    return [s.status for s in steps.values()]


def test_at_first_everything_will_run_because_nothing_was_built(look: Look) -> None:
    steps = look()
    assert list(steps) == ["words", "upper", "upper-again", "total"]
    assert statuses(steps) == ["will run"] * 4
    assert {s.reasons for s in steps.values()} == {("never built",)}


def test_after_a_run_everything_is_cached(built: Store, look: Look) -> None:
    assert statuses(look()) == ["cached"] * 4


def test_a_changed_field_names_exactly_what_runs_and_why(built: Store, look: Look, toy: ModuleType) -> None:
    steps = look(toy.Config().change("upper", mark="?!"))
    assert statuses(steps) == ["cached", "will run", "cached", "may run"]
    assert steps["upper"].reasons == ("mark ! -> ?!",)
    assert steps["total"].reasons == ("waits for upper",)


def test_a_changed_helper_line_is_named_by_its_module(built: Store, look: Look, toy: ModuleType) -> None:
    edit(toy.folder, toy.tag, '"word"', '"wort"')
    steps = look()
    assert f"code: toy_helper_{toy.tag}.py" in steps["words"].reasons


def test_a_comment_only_edit_reruns_nothing(built: Store, look: Look, toy: ModuleType) -> None:
    edit(toy.folder, toy.tag, "# counted from zero", "# counted from nought")
    assert statuses(look()) == ["cached"] * 4


def test_an_edit_that_changes_no_output_stops_after_its_stage(built: Store, toy: ModuleType) -> None:
    edit(toy.folder, toy.tag, '"word" + str(i)', '"".join(["word", str(i)])')
    done = run_chain(toy.chain, toy.Config(), built, Selection(), at_once)
    assert [d.label for d in done if d.built] == ["words"]


def test_runtime_fields_change_nothing(built: Store, look: Look, toy: ModuleType) -> None:
    assert statuses(look(toy.Config().change("words", workers=7))) == ["cached"] * 4


def test_damage_is_the_reason(built: Store, look: Look) -> None:
    next(built.artifacts("words")).path.joinpath("words.txt").unlink()
    assert look()["words"].reasons == ("words.txt is missing",)


def test_force_runs_one_and_what_follows_may_stay(built: Store, look: Look) -> None:
    steps = look(force=("upper-again",))
    assert statuses(steps) == ["cached", "cached", "will run", "may run"]
    assert steps["upper-again"].reasons == ("forced",)


@pytest.mark.parametrize(
    ("selection", "chosen"),
    [
        ({"only": "upper"}, {"upper"}),
        ({"from_": "upper"}, {"upper", "total"}),
        ({"until": "upper"}, {"words", "upper"}),
        ({"from_": "words", "until": "upper-again"}, {"words", "upper-again"}),
    ],
)
def test_parts_of_the_chain(built: Store, look: Look, selection: dict[str, str], chosen: set[str]) -> None:
    assert {s.label for s in look(**selection).values() if s.status != "left out"} == chosen


def test_only_runs_that_stage_and_leaves_the_rest(built: Store, toy: ModuleType) -> None:
    cfg = toy.Config().change("upper", mark="?!")
    done = run_chain(toy.chain, cfg, built, Selection(only="upper"), at_once)
    assert [(d.label, d.built) for d in done] == [("upper", True)]


def test_a_missing_input_says_how_to_build_it(store: Store, toy: ModuleType) -> None:
    with pytest.raises(StageError, match=r"^upper: its input words is not built.*run --until words"):
        run_chain(toy.chain, toy.Config(), store, Selection(only="upper"), at_once)


def test_force_builds_it_again_even_when_nothing_changed(built: Store, toy: ModuleType) -> None:
    done = run_chain(toy.chain, toy.Config(), built, Selection(force=("upper",)), at_once)
    assert [d.label for d in done if d.built] == ["upper"]


def test_code_edited_while_a_run_goes_on_is_not_taken_for_what_ran(store: Store, toy: ModuleType) -> None:
    def editing(stage: object, key: str, afresh: bool, work: Callable[[], object]) -> None:
        work()
        file = toy.folder / f"toy_stages_{toy.tag}.py"
        file.write_text(file.read_text().replace("text.upper()", "text.lower()"))

    with pytest.raises(StageError, match=f"upper: toy_stages_{toy.tag} was edited while the run went on; run again"):
        run_chain(toy.chain, toy.Config(), store, execute=editing)
    assert [a.stage for a in store.artifacts()] == ["words"]


def test_an_unknown_stage_gets_the_nearest_names(look: Look) -> None:
    with pytest.raises(StageError, match="no stage 'uper'; did you mean upper"):
        look(only="uper")


def test_planning_writes_nothing(look: Look, store: Store) -> None:
    look()
    assert not store.home.exists()


def test_forcing_what_the_selection_leaves_out_is_refused(built: Store, look: Look) -> None:
    with pytest.raises(StageError, match="--force words: --only"):
        look(only="upper", force=("words",))


def test_a_stage_whose_input_was_left_out_is_refused_before_anything_runs(look: Look) -> None:
    with pytest.raises(StageError, match=r"upper: its input words is not built.*--until words"):
        look(only="upper")


def test_a_selection_of_nothing_is_refused(built: Store, look: Look) -> None:
    with pytest.raises(StageError, match=r"^--from total --until words: no stage is in all of these"):
        look(from_="total", until="words")
