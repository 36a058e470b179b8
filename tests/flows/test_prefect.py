"""Stages as Prefect tasks, in a real Prefect with its own database: true states, retries, small results."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.settings import PREFECT_LOCAL_STORAGE_PATH, temporary_settings
from prefect.testing.utilities import prefect_test_harness

from flows.execute import as_task
from flows.plan import EVERYTHING, Selection
from flows.run import run_chain
from tasks.errors import StageError
from tasks.store import Store

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    storage = tmp_path_factory.mktemp("prefect")
    with prefect_test_harness(server_startup_timeout=120), temporary_settings({PREFECT_LOCAL_STORAGE_PATH: storage}):
        yield


def run(toy: ModuleType, store: Store, cfg: Any = None, selection: Selection = EVERYTHING) -> dict[str, str]:
    """Run the toy chain as a flow; task name -> name of its final state."""
    seen: list[Any] = []

    @flow(name="toy", flow_run_name="toy")
    def toy_flow() -> None:
        from prefect.context import get_run_context

        seen.append(get_run_context().flow_run.id)  # type: ignore[union-attr]
        run_chain(toy.chain, cfg or toy.Config(), store, selection, as_task)

    try:
        toy_flow()
    finally:
        states = _final_states(seen[-1])
    return states


def _final_states(flow_run_id: Any) -> dict[str, str]:
    """Prefect writes task states down a moment after they happened, so ask until all are final."""
    this_run = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id]))
    with get_client(sync_client=True) as client:
        for _ in range(200):
            tasks = client.read_task_runs(flow_run_filter=this_run)
            if tasks and all(t.state is not None and t.state.is_final() for t in tasks):
                break
            threading.Event().wait(0.05)
    return {t.name: str(t.state_name) for t in tasks}


def test_states_are_true_completed_then_cached(prefect: None, toy: ModuleType, store: Store) -> None:
    labels = ("words", "upper", "upper-again", "total")
    assert run(toy, store) == dict.fromkeys(labels, "Completed")
    assert run(toy, store) == dict.fromkeys(labels, "Cached")


def test_what_was_built_without_prefect_is_cached_too(prefect: None, toy: ModuleType, store: Store) -> None:
    run_chain(toy.chain, toy.Config(), store)
    assert set(run(toy, store).values()) == {"Cached"}


def test_a_changed_stage_completes_and_the_rest_is_cached(prefect: None, toy: ModuleType, store: Store) -> None:
    run(toy, store)
    states = run(toy, store, toy.Config().change("upper", mark="?!"))
    assert states == {"words": "Cached", "upper": "Completed", "upper-again": "Cached", "total": "Completed"}


def test_a_damaged_artifact_is_built_again_though_prefect_remembers_it(
    prefect: None, toy: ModuleType, store: Store
) -> None:
    run(toy, store)
    next(store.artifacts("words")).path.joinpath("words.txt").unlink()
    states = run(toy, store)
    assert states["words"] == "Completed"
    assert states["total"] == "Cached"


def test_force_completes_though_cached(prefect: None, toy: ModuleType, store: Store) -> None:
    run(toy, store)
    assert run(toy, store, selection=Selection(force=("upper",)))["upper"] == "Completed"


def test_a_failure_that_may_pass_is_retried(prefect: None, toy: ModuleType, store: Store, tmp_path: Path) -> None:
    toy.s.upper.retries, toy.again.retries = 1, 0
    cfg = toy.Config().change("upper", fail_until=str(tmp_path / "now"))
    assert run(toy, store, cfg)["upper"] == "Completed"


def test_a_mistake_of_the_user_is_not_retried(prefect: None, toy: ModuleType, store: Store, tmp_path: Path) -> None:
    """The toy stage refuses the first time only, so that a second attempt would end well."""
    toy.s.upper.retries = 1
    cfg = toy.Config().change("upper", refuse_until=str(tmp_path / "now"))
    with pytest.raises(StageError, match=r"upper: mark: .*refused"):
        run(toy, store, cfg)
    assert run(toy, store, cfg)["upper"] == "Completed"


def test_the_persisted_result_is_a_small_reference(prefect: None, toy: ModuleType, store: Store) -> None:
    from prefect.results import get_default_result_storage

    run(toy, store)
    folder = Path(get_default_result_storage(_sync=True).basepath)  # type: ignore[arg-type, union-attr]
    made = next(store.artifacts("words"))
    record = json.loads((folder / made.key).read_text())
    assert json.loads(record["result"]) == {"stage": "words", "key": made.key, "digest": made.digest}
