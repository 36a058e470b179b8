"""`@stage`: makes a plain function (config, output, input artifacts) -> metrics a cached, resumable, tracked stage."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, get_type_hints

from tasks.artifact import Artifact, Metrics
from tasks.code import code_digests, library_versions
from tasks.config import Content, MaybeContent, Runtime, StageConfig, identity
from tasks.errors import StageError
from tasks.key import Recipe
from tasks.output import Output
from tasks.session import Input, Pending, current

if TYPE_CHECKING:
    from prefect import Task

__all__ = [
    "Artifact",
    "Content",
    "MaybeContent",
    "Metrics",
    "Output",
    "Runtime",
    "Stage",
    "StageConfig",
    "StageError",
    "stage",
]


class Stage:
    """A stage function with its name, its config class, its input roles and what its key depends on.

    Calling it means what the session in force says: a plan looks, a run builds. `named` labels a second use.
    """

    def __init__(
        self,
        function: Callable[..., Metrics],
        libraries: tuple[str, ...] = (),
        runs: tuple[str, ...] = (),
        retries: int = 0,
        label: str = "",
    ) -> None:
        self.function, self.libraries, self.runs, self.retries = function, libraries, runs, retries
        self.name = function.__name__
        self.label = label or self.name
        self.description = inspect.getdoc(function) or ""
        parameters = inspect.signature(function).parameters
        self.config_type: type[StageConfig] = get_type_hints(function)["cfg"]
        self.roles = {n: p.default is p.empty for n, p in parameters.items() if p.kind is p.KEYWORD_ONLY}

    def named(self, label: str) -> Stage:
        """The same stage under another label in the plan, Prefect and MLflow; it shares the key and the store."""
        return Stage(self.function, self.libraries, self.runs, self.retries, label)

    def __call__(self, cfg: StageConfig, **inputs: Input | None) -> Any:
        given = {role: value for role, value in inputs.items() if value is not None}
        missing = [role for role, required in self.roles.items() if required and role not in given]
        unknown = given.keys() - self.roles.keys()
        if missing or unknown:
            raise TypeError(
                f"{self.label}: inputs missing: {missing}, unknown: {sorted(unknown)}; it takes {sorted(self.roles)}"
            )
        return current().call(self, cfg, given)

    def recipe(self, cfg: StageConfig, inputs: dict[str, Input]) -> Recipe:
        """All that the key is made from; an input that is pending stands as None."""
        return Recipe(
            stage=self.name,
            config=identity(cfg, self.name),
            inputs={
                role: None if isinstance(value, Pending) else value.digest for role, value in sorted(inputs.items())
            },
            code=code_digests(self.function, self.runs),
            libraries=library_versions(self.libraries),
        )

    def prefect_task(self, body: Callable[[str], Any]) -> Task[[str], Any]:
        """A Prefect task around `body(key)`, cached under our key and retried with backoff; it returns a reference."""
        from prefect import task
        from prefect.cache_policies import CacheKeyFnPolicy
        from prefect.tasks import exponential_backoff

        return task(
            name=self.label,
            task_run_name=self.label,
            description=self.description.partition("\n")[0],
            cache_policy=CacheKeyFnPolicy(cache_key_fn=_stage_key),
            persist_result=True,
            result_serializer="json",
            retries=self.retries,
            retry_delay_seconds=exponential_backoff(backoff_factor=5),
            retry_jitter_factor=0.5,
            retry_condition_fn=_worth_a_retry,
            log_prints=False,
        )(body)


def stage(
    libraries: tuple[str, ...] = (), runs: tuple[str, ...] = (), retries: int = 2
) -> Callable[[Callable[..., Metrics]], Stage]:
    """Make a function `(cfg, out, *, role: Artifact, ...) -> Metrics` a stage.

    libraries: distributions whose version can change the result; they are part of the key.
    runs: project modules started in a process of their own, such as a server; their code counts as the stage's.
    retries: attempts after the first, with exponential backoff; a `StageError` is never retried.
    """
    return lambda function: Stage(function, libraries, runs, retries)


def _stage_key(_context: Any, arguments: dict[str, Any]) -> str:
    return str(arguments["key"])


def _worth_a_retry(_task: Any, _run: Any, state: Any) -> bool:
    return not isinstance(state.data, StageError)
