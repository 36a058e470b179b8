"""GPU engines in their own images: what is run, and what is said where it cannot be."""

import json
import shlex
import stat
import subprocess
import sys

import httpx
import openai
import pytest

from tasks.errors import StageError
from tasks.quantize.export import export
from tasks.serve.backends import BACKENDS, check, command, run
from tasks.serve.settings import Settings
from tests import tiny
from tests.command import Fullchain
from tests.serving import wait_until
from tests.tasks.serve import test_chat

SAME = [  # what any engine must answer alike; embeddings and /v1/responses are not served beside chats by all of them
    test_chat.test_a_chat_is_answered,
    test_chat.test_streamed_pieces_join_to_the_same_answer,
    test_chat.test_a_seed_repeats_an_answer,
    test_chat.test_a_streamed_tool_call_shows_no_markup,
    test_chat.test_a_tool_result_is_used,
]
KEY = "a-key-that-nobody-may-see"


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """A folder that is all of PATH, with programs that note what they are told."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def program(name: str, script: str) -> None:
        path = folder / name
        code = path.with_suffix(".py")
        code.write_text(f"import json, os, sys\n{script}\n")
        path.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(code))} "$@"\n')
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    return program


def test_all_that_is_missing_is_said(programs, tmp_path):
    with pytest.raises(StageError, match=r"docker is not installed; 2 NVIDIA GPUs asked for, 0 found"):
        check("vllm", Settings(), gpus=2)
    programs("docker", "sys.exit('Cannot connect to the Docker daemon')")
    programs("nvidia-smi", "print('GPU 0: one')")
    with pytest.raises(StageError, match=r"docker does not run \(Cannot connect.*; 2 NVIDIA GPUs asked for, 1 found"):
        check("lmdeploy", Settings(), gpus=2)


def test_what_is_missing_is_said_before_the_model_is_exported(programs, tmp_path):
    (tmp_path / "model.onnx").write_text("no model")
    said = Fullchain(tmp_path / "home")("serve", str(tmp_path), "--backend", "vllm", status=1)
    assert "docker is not installed" in said and "Traceback" not in said


def test_sigterm_ends_the_container_and_leaves_nothing(programs, tmp_path, monkeypatch):
    started, ended, drafts = tmp_path / "started", tmp_path / "ended", tmp_path / "drafts"
    drafts.mkdir()
    monkeypatch.setenv("TMPDIR", str(drafts))
    programs("nvidia-smi", "print('GPU 0: one')")
    handler = f"lambda *_: (open({str(ended)!r}, 'w').close(), sys.exit(0))"
    wait = f"import signal; signal.signal(signal.SIGTERM, {handler}); open({str(started)!r}, 'w').close()"
    programs("docker", f"'info' in sys.argv and sys.exit(0)\n{wait}; signal.pause()")
    typed = Fullchain(tmp_path / "home")
    arguments = typed.command("serve", str(tiny.int4_model()), "--backend", "vllm", "--host", "0.0.0.0")
    process = subprocess.Popen(
        arguments, env=typed.environment, cwd=typed.folder, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    wait_until(lambda: process.poll() is not None or started.exists(), 300)
    process.terminate()
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 143, said
    assert ended.exists() and not list(drafts.glob("fullchain-*"))
    assert "whoever reaches 0.0.0.0 may use this model without a key" in said


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_container_gets_the_model_and_the_address(programs, tmp_path, backend):
    note = tmp_path / "note.json"
    programs("nvidia-smi", "print('GPU 0: one')")
    told = f"open({str(note)!r}, 'w').write(json.dumps(sys.argv)); sys.exit(3)"
    programs("docker", f"'info' in sys.argv and sys.exit(0)\n{told}")
    assert run(backend, tmp_path, Settings(name="poet", port=8123), gpus=1) == 3
    said = " ".join(json.loads(note.read_text()))
    inside = BACKENDS[backend].port
    assert f"--volume {tmp_path}:/model:ro --publish 127.0.0.1:8123:{inside}" in said
    assert f"{BACKENDS[backend].image} " in said and " poet " in said and "trust" not in said


def test_a_key_travels_in_the_environment_only(programs, tmp_path):
    note = tmp_path / "note.json"
    programs("nvidia-smi", "print('GPU 0: one')")
    script = f"'info' in sys.argv or open({str(note)!r}, 'w').write(json.dumps([sys.argv, os.environ['VLLM_API_KEY']]))"
    programs("docker", script)
    assert run("vllm", tmp_path, Settings(api_key=KEY), gpus=1) == 0
    arguments, key = json.loads(note.read_text())
    assert key == KEY and KEY not in " ".join(arguments)
    with pytest.raises(StageError, match="cannot take these API keys"):
        check("lmdeploy", Settings(api_key=KEY), gpus=1)


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_the_engine_would_not_heed_is_refused(programs, tmp_path, backend):
    settings = Settings(requests_per_minute=5, replicas=2, ready_file=tmp_path / "ready", slots=4)
    with pytest.raises(StageError, match=r"ready_file, replicas, requests_per_minute: .* is not told this") as error:
        check(backend, settings, gpus=1)
    assert "slots: " not in str(error.value)


@pytest.mark.parametrize("backend", BACKENDS)
def test_slots_context_and_tools_are_carried_over(tmp_path, backend):
    said = " ".join(command(BACKENDS[backend], tmp_path, Settings(slots=4, context=1024), gpus=2))
    options = {"vllm": "--max-num-seqs 4 --max-model-len 1024", "lmdeploy": "--max-batch-size 4 --session-len 1024"}
    assert options[backend] in said and "--tool-call-parser" in said and ":latest" not in said
    plain = " ".join(command(BACKENDS[backend], tmp_path, Settings(), gpus=2))
    assert options[backend].split()[0] not in plain


@pytest.fixture(scope="module", params=BACKENDS)
def elsewhere(request, tmp_path_factory):
    """The address of a backend that serves the tiny model."""
    exported, settings = tmp_path_factory.mktemp("backend") / "exported", Settings(name="tiny", port=8261)
    export(tiny.int4_model(), BACKENDS[request.param].export, exported)
    with subprocess.Popen(command(BACKENDS[request.param], exported, settings, gpus=1)) as process:
        try:
            wait_until(lambda: process.poll() is not None or _healthy(settings.port), 600)
            assert process.poll() is None, "the container ended"
            yield f"http://127.0.0.1:{settings.port}"
        finally:
            process.terminate()


@pytest.mark.gpu
@pytest.mark.parametrize("test", SAME, ids=lambda test: test.__name__)
def test_the_api_is_that_of_ours(elsewhere, test):
    test(openai.OpenAI(base_url=f"{elsewhere}/v1", api_key="unused", max_retries=0))


def _healthy(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/v1/models").status_code == 200
    except httpx.HTTPError:
        return False
