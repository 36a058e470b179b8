"""What would run, and why, without running anything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from flows.names import nearest
from tasks.artifact import Artifact
from tasks.config import StageConfig
from tasks.errors import StageError
from tasks.explain import against_nearest
from tasks.key import Recipe
from tasks.session import Input, Pending, session
from tasks.stage import Stage
from tasks.store import Store

Status = Literal["cached", "will run", "may run", "left out"]


@dataclass(frozen=True)
class Selection:
    """Which part of the chain a run is about; all of it when nothing is said."""

    only: str | None = None
    from_: str | None = None
    until: str | None = None
    force: tuple[str, ...] = ()


EVERYTHING = Selection()


@dataclass(frozen=True)
class Step:
    """One stage of a plan. `needs` are the labels of the stages that feed it, `code` the digests of its modules."""

    label: str
    stage: str
    status: Status
    reasons: tuple[str, ...]
    needs: tuple[str, ...]
    key: str | None
    artifact: Artifact | None
    code: dict[str, str]

    def as_json(self) -> dict[str, Any]:
        return {
            "label": self.label, "stage": self.stage, "status": self.status, "reasons": list(self.reasons),
            "key": self.key, "needs": list(self.needs),
        }  # fmt: skip


def plan(chain: Callable[[Any], Any], cfg: Any, store: Store, selection: Selection = EVERYTHING) -> list[Step]:
    """The chain's steps in order. A step left out of the selection is said to be so.

    Raises:
        StageError: the selection names no stage of the chain, or none that is in all its parts, or leaves out an
            input that is not built; or a configuration cannot be read.
    """
    looked = _look(chain, cfg, store, frozenset())
    chosen = _chosen(looked, selection)
    forced = {s.label for name in selection.force for s in _named(looked, name)}
    if outside := sorted(forced - chosen):
        raise StageError(f"--force {outside[0]}: --only, --from or --until leave that stage out; name one of the rest")
    steps = _look(chain, cfg, store, frozenset(forced)) if forced else looked
    _refuse_missing_inputs(steps, chosen)
    return [s if s.label in chosen else _left_out(s) for s in steps]


class Planner:
    """A session that only looks: an artifact where there is one, `Pending` where something would run."""

    def __init__(self, store: Store, forced: frozenset[str]) -> None:
        self.store, self.forced = store, forced
        self.steps: list[Step] = []

    def call(self, stage: Stage, cfg: StageConfig, inputs: dict[str, Input]) -> Input:
        recipe = stage.recipe(cfg, inputs)
        status, reasons, found = self._judge(stage, recipe, inputs)
        key = recipe.key if recipe.ready else None
        needs = tuple(dict.fromkeys(self._label(value) for value in inputs.values()))
        self.steps.append(Step(stage.label, stage.name, status, reasons, needs, key, found, recipe.code))
        return found if found is not None and status == "cached" else Pending(stage.label)

    def _judge(
        self, stage: Stage, recipe: Recipe, inputs: dict[str, Input]
    ) -> tuple[Status, tuple[str, ...], Artifact | None]:
        damage = None
        found = None
        if recipe.ready:
            found, damage = self.store.find(recipe.stage, recipe.key)
        if stage.label in self.forced:
            return "will run", ("forced",), found
        if found:
            return "cached", (), found
        if damage:
            return "will run", (damage,), None
        changes = against_nearest(recipe, self._earlier(stage))
        if changes is None:
            return "will run", ("never built",), None
        if changes.own or changes.inputs:
            return "will run", changes.own + changes.inputs, None
        waits = dict.fromkeys(v.label for v in inputs.values() if isinstance(v, Pending))
        return (
            ("may run", (f"waits for {', '.join(waits)}",), None)
            if waits
            else ("will run", ("its artifact is gone",), None)
        )

    def _earlier(self, stage: Stage) -> list[Artifact]:
        every = list(self.store.artifacts(stage.name))
        return [a for a in every if a.provenance.get("label") == stage.label] or every

    def _label(self, value: Input) -> str:
        if isinstance(value, Pending):
            return value.label
        return next(s.label for s in self.steps if s.artifact is not None and s.artifact.key == value.key)


def _look(chain: Callable[[Any], Any], cfg: Any, store: Store, forced: frozenset[str]) -> list[Step]:
    planner = Planner(store, forced)
    with session(planner):
        chain(cfg)
    return planner.steps


def _refuse_missing_inputs(steps: list[Step], chosen: set[str]) -> None:
    missing = {s.label for s in steps if s.label not in chosen and s.status != "cached"}
    for step in steps:
        if step.label in chosen and (waits := [label for label in step.needs if label in missing]):
            raise StageError(
                f"{step.label}: its input {waits[0]} is not built for these settings and was left out of this run; "
                f"`fullchain run --until {waits[0]}` builds it"
            )


def _chosen(steps: list[Step], selection: Selection) -> set[str]:
    chosen = {s.label for s in steps}
    if selection.only:
        chosen &= {s.label for s in _named(steps, selection.only)}
    if selection.from_:
        chosen &= _downstream(steps, {s.label for s in _named(steps, selection.from_)})
    if selection.until:
        chosen &= _upstream(steps, {s.label for s in _named(steps, selection.until)})
    if not chosen:
        given = {"--only": selection.only, "--from": selection.from_, "--until": selection.until}
        asked = " ".join(f"{option} {name}" for option, name in given.items() if name)
        raise StageError(f"{asked}: no stage is in all of these; `fullchain plan` shows their order")
    return chosen


def _named(steps: list[Step], name: str) -> list[Step]:
    """Steps with this label; else all uses of the stage with this name."""
    found = [s for s in steps if s.label == name] or [s for s in steps if s.stage == name]
    if not found:
        raise StageError(f"no stage {name!r}; {nearest(name, [s.label for s in steps])}")
    return found


def _downstream(steps: list[Step], labels: set[str]) -> set[str]:
    for step in steps:  # the chain calls a stage after all that feed it
        if labels & set(step.needs):
            labels = labels | {step.label}
    return labels


def _upstream(steps: list[Step], labels: set[str]) -> set[str]:
    for step in reversed(steps):
        if step.label in labels:
            labels = labels | set(step.needs)
    return labels


def _left_out(step: Step) -> Step:
    why = () if step.status == "cached" else (f"not asked for; otherwise {step.status}",)
    return replace(step, status="left out", reasons=why)
