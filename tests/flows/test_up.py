"""`fullchain up`: the deployments, their forms, and runs of them started through Prefect's API."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.command import STAGES, Fullchain

pytestmark = pytest.mark.slow

SECONDS = 240  # a start, or a run of cached stages, on a machine that is busy with other things


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Team:
    """A running `up`, spoken to as Prefect's UI speaks to it."""

    def __init__(self, fullchain: Fullchain, process: subprocess.Popen[str], api: str, mlflow: str) -> None:
        self.fullchain, self.process, self.api, self.mlflow = fullchain, process, f"{api}/api", mlflow

    def post(self, path: str, **body: Any) -> Any:
        answer = httpx.post(f"{self.api}/{path}", json=body, timeout=30)
        answer.raise_for_status()
        return answer.json()

    def deployments(self) -> dict[str, Any]:
        """Flow name/deployment name -> the deployment."""
        flows = {flow["id"]: flow["name"] for flow in self.post("flows/filter")}
        return {f"{flows[d['flow_id']]}/{d['name']}": d for d in self.post("deployments/filter")}

    def start(self, deployment: str, **parameters: Any) -> tuple[str, dict[str, str]]:
        """Run a deployment to its end; (state of the flow run, task name -> name of its state)."""
        made = self.post(f"deployments/{self.deployments()[deployment]['id']}/create_flow_run", parameters=parameters)
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            run = httpx.get(f"{self.api}/flow_runs/{made['id']}", timeout=30).json()
            tasks = self.post("task_runs/filter", flow_runs={"id": {"any_": [made["id"]]}})
            if _final(run) and all(map(_final, tasks)):
                break
            assert self.process.poll() is None, "up ended by itself"
            time.sleep(0.5)
        return run["state"]["name"], {task["name"]: task["state"]["name"] for task in tasks}


def _final(run: dict[str, Any]) -> bool:
    return run["state"]["type"] in {"COMPLETED", "FAILED", "CANCELLED", "CRASHED"}


@pytest.fixture(scope="module")
def team(micro: Fullchain, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    home = tmp_path_factory.mktemp("team") / "home"
    shutil.copytree(micro.home, home)
    fullchain, ports = Fullchain(home), (free_port(), free_port())
    arguments = ("up", "--prefect-port", str(ports[0]), "--mlflow-port", str(ports[1]))
    process = subprocess.Popen(
        fullchain.command(*arguments), env=fullchain.environment, cwd=fullchain.project, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        written = _written(home / "up.json", process)
        yield Team(fullchain, process, written["prefect"], written["mlflow"])
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _written(file: Path, process: subprocess.Popen[str]) -> dict[str, Any]:
    deadline = time.monotonic() + SECONDS
    while not file.exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "up did not come up"
        time.sleep(0.5)
    return dict(json.loads(file.read_text()))


def test_every_flow_is_deployed_and_the_chain_is_scheduled_nightly(team: Team) -> None:
    deployed = team.deployments()
    assert deployed.keys() == {f"{flow}/poet" for flow in ("chain", *STAGES)}
    (schedule,) = deployed["chain/poet"]["schedules"]
    assert schedule["schedule"]["cron"] == "0 2 * * *"
    assert schedule["active"]


def test_forms_show_what_a_field_means_and_its_bounds(team: Team) -> None:
    form = team.deployments()["tokenizer/poet"]["parameter_openapi_schema"]
    field = form["definitions"]["TokenizerConfig"]["properties"]["vocab_size"]
    assert (field["minimum"], field["maximum"]) == (300, 262_144)
    assert field["description"]


def test_through_a_deployment_every_stage_ends_cached(team: Team) -> None:
    state, tasks = team.start("chain/poet", preset="micro")
    assert state == "Completed"
    assert tasks == dict.fromkeys(STAGES, "Cached")


def test_one_stage_is_rerun_by_force(team: Team) -> None:
    state, tasks = team.start("tokenizer/poet", preset="micro", force=True)
    assert (state, tasks) == ("Completed", {"tokenizer": "Completed"})


def test_part_of_the_chain_is_run_with_settings_of_a_form(team: Team) -> None:
    state, tasks = team.start("evaluate/poet", preset="micro", config=_evaluate(team) | {"seed": 11})
    assert (state, tasks) == ("Completed", {"evaluate": "Completed"})


def _evaluate(team: Team) -> dict[str, Any]:
    shown = team.fullchain.json("show", "evaluate@micro")
    return dict(shown["config"])


def test_a_mistake_in_a_form_is_refused_or_fails_with_words(team: Team) -> None:
    made = team.deployments()["tokenizer/poet"]["id"]
    answer = httpx.post(
        f"{team.api}/deployments/{made}/create_flow_run", json={"parameters": {"config": {"vocab_size": 5}}}, timeout=30
    )
    assert answer.status_code in {409, 422}
    assert "vocab_size" in answer.text


def test_mlflow_answers_and_the_command_uses_the_standing_server(team: Team) -> None:
    assert httpx.get(f"{team.mlflow}/health", timeout=30).is_success
    team.fullchain("run", "micro", "--force", "tokenizer", "--only", "tokenizer")
    runs = team.post("flow_runs/filter", sort="START_TIME_DESC", limit=1)
    assert runs[0]["name"] == "chain micro"


def test_mlflow_has_the_homes_database_and_no_argument_shows_its_address(team: Team) -> None:
    found = httpx.get(
        f"{team.mlflow}/api/2.0/mlflow/experiments/get-by-name", params={"experiment_name": "micro"}, timeout=30
    )
    assert found.json()["experiment"]["name"] == "micro"
    arguments = [process.cmdline() for process in psutil.Process(team.process.pid).children(recursive=True)]
    assert any("mlflow" in given for given in arguments)
    assert not [given for given in arguments if "mlflow.db" in " ".join(given)]


def test_a_second_up_is_refused(team: Team) -> None:
    assert "is up already" in team.fullchain("up", status=1)
