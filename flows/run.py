"""Running the selected part of a chain: plan, then build each stage through Prefect, tracked in MLflow."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from flows.plan import EVERYTHING, Selection, Step, plan
from tasks.artifact import Artifact
from tasks.build import Tracker, build, untracked
from tasks.config import StageConfig
from tasks.errors import StageError
from tasks.key import Recipe
from tasks.output import Watcher
from tasks.registry import is_registered
from tasks.session import Input, Pending, session
from tasks.stage import Stage
from tasks.store import Store

Execute = Callable[[Stage, str, bool, Callable[[], tuple[Artifact, bool]]], None]
"""How a stage's work is carried out: (stage, key, whether to build afresh, the work). Through Prefect, or at once."""


@dataclass(frozen=True)
class Done:
    """One stage of a run that ended: its artifact, and whether this run built it."""

    label: str
    artifact: Artifact
    built: bool


@dataclass
class Runner:
    """A session that builds: the chosen stages in the order of the chain, each once its inputs are there."""

    store: Store
    steps: dict[str, Step]
    execute: Execute
    track: Tracker = untracked
    provenance: dict[str, Any] = field(default_factory=dict)
    watch: Callable[[str], AbstractContextManager[tuple[Watcher, ...]]] = lambda _label: nullcontext(())
    done: list[Done] = field(default_factory=list)

    def call(self, stage: Stage, cfg: StageConfig, inputs: dict[str, Input]) -> Input:
        step = self.steps[stage.label]
        ready = {role: value for role, value in inputs.items() if isinstance(value, Artifact)}
        if step.status == "left out":
            return self._as_it_is(stage, cfg, inputs, ready)
        return self._build(stage, cfg, ready, step)

    def _as_it_is(self, stage: Stage, cfg: StageConfig, inputs: dict[str, Input], ready: dict[str, Artifact]) -> Input:
        if len(ready) < len(inputs):
            return Pending(stage.label)
        recipe = stage.recipe(cfg, inputs)
        return self.store.find(recipe.stage, recipe.key)[0] or Pending(stage.label)

    def _build(self, stage: Stage, cfg: StageConfig, inputs: dict[str, Artifact], step: Step) -> Artifact:
        force = step.reasons == ("forced",)
        recipe = stage.recipe(cfg, dict(inputs))
        _refuse_edited_code(step, recipe)
        afresh = force or self.store.find(recipe.stage, recipe.key)[0] is None
        result: list[tuple[Artifact, bool]] = []

        def work() -> tuple[Artifact, bool]:
            with self.watch(stage.label) if afresh else nullcontext(()) as watchers:
                made = build(
                    self.store, stage, cfg, inputs, force=force, track=self.track, watchers=watchers,
                    provenance=self.provenance,
                )  # fmt: skip
            result.append(made)
            return made

        self.execute(stage, recipe.key, afresh, work)
        artifact, built = result[-1] if result else (self._found(recipe), False)
        self.done.append(Done(stage.label, artifact, built))
        return artifact

    def _found(self, recipe: Recipe) -> Artifact:
        found, damage = self.store.find(recipe.stage, recipe.key)
        if found is None:
            raise StageError(f"{recipe.stage}: {recipe.key} vanished from the store ({damage or 'deleted'}); run again")
        return found


def _refuse_edited_code(step: Step, recipe: Recipe) -> None:
    """Code that was edited since the plan may be loaded already, so that the key would name what did not run."""
    if edited := sorted(n for n in step.code.keys() | recipe.code.keys() if step.code.get(n) != recipe.code.get(n)):
        raise StageError(
            f"{step.label}: {', '.join(edited)} was edited while the run went on; run again: it continues from here"
        )


def at_once(_stage: Stage, _key: str, _afresh: bool, work: Callable[[], tuple[Artifact, bool]]) -> None:
    """Do the work here and now, without Prefect."""
    work()


def nothing_to_do(steps: list[Step]) -> bool:
    """Whether every chosen stage of a plan is cached."""
    return all(step.status in {"cached", "left out"} for step in steps)


def released(steps: list[Step], uri: str, store: Store) -> bool:
    """Whether the registry has the release of a plan that asks for its trial, under the name it is to have."""
    ready = {step.stage: step.artifact for step in steps if step.status == "cached" and step.artifact}
    return not {"release", "apply"} <= ready.keys() or is_registered(store.home, ready["release"], uri)


def champion(done: list[Done]) -> Artifact | None:
    """The release of a run that its trial ended well with; what cannot be served is none."""
    made = {stage.artifact.stage: stage.artifact for stage in done}
    return made.get("release") if "apply" in made else None


def run_chain(
    chain: Callable[[Any], Any], cfg: Any, store: Store, selection: Selection = EVERYTHING, execute: Execute = at_once,
    **runner: Any,
) -> list[Done]:  # fmt: skip
    """Build what the selection names, in the order of the chain, and return it."""
    steps = plan(chain, cfg, store, selection)
    run = Runner(store, {step.label: step for step in steps}, execute, **runner)
    with session(run):
        chain(cfg)
    return run.done
