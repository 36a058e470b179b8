import json
import os
import subprocess
import sys

import httpx
import pytest
from pydantic import ValidationError

from tasks.apply import ApplyConfig, apply
from tasks.apply.agent import Run, Step
from tasks.apply.agent_trial import AgentTask, judge
from tasks.apply.poems import PoemIndex
from tasks.apply.poet import poet_toolbox
from tasks.apply.server import served
from tasks.stage import StageError
from tests import stages, tiny
from tests.serving import wait_until

CONFIG = ApplyConfig(chats=3, agent_tasks=3, max_tokens=24)


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    folder = tmp_path_factory.mktemp("release")
    (folder / "model").symlink_to(tiny.int4_model())
    return folder


def test_a_release_is_tried_and_the_same_trial_leaves_the_same_bytes(released, tmp_path):
    inputs = {"release": released, "corpus": tiny.inputs()["corpus"]}
    runs = [stages.attempt(apply, CONFIG, tmp_path / name, **inputs) for name in ("first", "again")]
    trials = [(files / "trial.json").read_bytes() for files, _ in runs]
    assert trials[0] == trials[1]
    trial = json.loads(trials[0])
    assert trial["rates"]["chat_streamed_same"] == 1
    assert trial["rates"]["agent_tasks"] == 3
    assert {record["kind"] for record in trial["agent"]["transcripts"]} == {"search_poems", "check_form", "rhymes_with"}
    assert [record["messages"][0]["role"] for record in trial["agent"]["transcripts"]] == ["user"] * 3
    latency = json.loads((runs[0][0] / "logs" / "latency.json").read_text())
    assert latency["tokens_per_s"] > 0 and latency["first_token_ms"] > 0
    assert runs[0][1] == trial["rates"] | latency


def test_the_questions_may_be_ones_own(released, tmp_path):
    cfg = ApplyConfig(questions=(tiny.GREETING,), agent_tasks=0, temperature=0)
    files, _ = stages.attempt(apply, cfg, tmp_path, release=released, corpus=tiny.inputs()["corpus"])
    (record,) = json.loads((files / "trial.json").read_text())["chat"]["transcripts"]
    assert record["answer"] == tiny.GREETED


def test_a_key_for_the_users_own_server_does_not_lock_the_trial_out(released, tmp_path, monkeypatch):
    monkeypatch.setenv("FULLCHAIN_API_KEY", "a-key-for-another-server")
    with served(released / "model", "m", tmp_path / "log") as url:
        assert httpx.get(f"{url}/v1/models").status_code == 200


def test_more_chats_than_the_server_lets_wait_are_refused_by_the_config():
    with pytest.raises(ValidationError, match="chats"):
        ApplyConfig(chats=65)
    with pytest.raises(ValidationError, match="questions"):
        ApplyConfig(questions=("hello",) * 65)


def test_the_server_is_gone_however_the_trial_ends(released, tmp_path):
    with pytest.raises(ZeroDivisionError), served(released / "model", "m", tmp_path / "log") as url:
        assert httpx.get(f"{url}/health").status_code == 200
        process = _pid(tmp_path / "log")
        raise ZeroDivisionError
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/health")
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_the_server_does_not_outlive_a_killed_trial(released, tmp_path):
    script = (
        "import sys, time; from pathlib import Path; from tasks.apply.server import served\n"
        "with served(Path(sys.argv[1]), 'm', Path(sys.argv[2])) as url: print(url, flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", script, str(released / "model"), str(tmp_path / "log")]
    trial = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    url = trial.stdout.readline().strip()
    assert httpx.get(f"{url}/health").status_code == 200
    trial.kill()
    trial.wait()
    wait_until(lambda: not _answers(url))


def test_a_server_that_does_not_start_says_why(tmp_path):
    with pytest.raises(RuntimeError, match=r"genai_config\.json"), served(tmp_path, "m", tmp_path / "log"):
        pass


def test_an_artifact_that_is_no_release_is_named(tmp_path):
    with pytest.raises(StageError, match=r"model/model\.onnx"):
        stages.attempt(apply, CONFIG, tmp_path / "run", release=tmp_path, corpus=tiny.inputs()["corpus"])


def test_a_run_is_judged_by_what_the_tool_says():
    toolbox = poet_toolbox(PoemIndex(tiny.inputs()["corpus"]))
    task = AgentTask("check_form", "是五言绝句吗", {"text": tiny.POEM, "form": "5x4"})
    good = json.dumps(task.arguments, ensure_ascii=False)
    right = Run([], [Step("check_form", good, "{}", True)], "是的，这是一首五言绝句。", "answered")
    assert judge(task, right, toolbox) == {"tool": True, "valid": True, "arguments": True, "answer": True}
    denies = Run([], [Step("check_form", '{"text": "a"}', "{}", False)], "不合五言绝句", "answered")
    assert judge(task, denies, toolbox) == {"tool": True, "valid": False, "arguments": False, "answer": False}
    silent = Run([], [Step("search_poems", '{"query": "月"}', "{}", True)])
    assert judge(task, silent, toolbox) == {"tool": False, "valid": True, "arguments": False, "answer": False}


def _answers(url):
    try:
        return httpx.get(f"{url}/health").status_code == 200
    except httpx.TransportError:
        return False


def _pid(log):
    return int(log.read_text().partition("process [")[2].partition("]")[0])
