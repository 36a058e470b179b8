import json
import os
import shutil
import signal
import socket
import subprocess
import sys

import httpx
import openai
import pytest

from tasks.errors import StageError
from tasks.serve.server import serve, warn_if_open
from tasks.serve.settings import Settings
from tests import tiny
from tests.serving import serving, wait_until

SECRET = "a-key-for-this-test"
SAID = "a prompt that no log may repeat"


@pytest.fixture
def process(tmp_path):
    ready, log = tmp_path / "ready.json", tmp_path / "log"
    command = [sys.executable, "-m", "tasks.serve", str(tiny.int4_model()), "--port", "0", "--ready-file", str(ready)]
    with log.open("w") as output:
        process = subprocess.Popen([*command, "--name", "tiny", "--threads", "1"], stdout=output, stderr=output)
    try:
        wait_until(lambda: ready.exists() or process.poll() is not None)
        yield process, json.loads(ready.read_text()), log
    finally:
        process.kill()
        process.wait()


def test_the_process_says_where_it_is_and_ends_well_on_sigterm(process):
    running, ready, log = process
    assert ready["pid"] == running.pid
    client = openai.OpenAI(base_url=f"{ready['url']}/v1", api_key="unused")
    messages = [{"role": "user", "content": SAID}]
    stream = client.chat.completions.create(model="tiny", messages=messages, max_tokens=60, stream=True, seed=0)
    chunks = [next(stream)]
    os.kill(running.pid, signal.SIGTERM)
    chunks += list(stream)  # what was under way is finished
    assert chunks[-1].choices[0].finish_reason in ("stop", "length")
    assert running.wait(timeout=30) == 0
    assert SAID not in log.read_text()
    assert "/v1/chat/completions 200" in log.read_text()


@pytest.mark.parametrize("end", ["its input closes", "a signal, its input open"])
def test_an_attached_process_ends_well(tmp_path, end):
    ready = tmp_path / "ready.json"
    command = [sys.executable, "-m", "tasks.serve", str(tiny.int4_model()), "--port", "0", "--ready-file", str(ready)]
    with subprocess.Popen([*command, "--attached", "--threads", "1"], stdin=subprocess.PIPE) as process:
        wait_until(lambda: ready.exists() or process.poll() is not None)
        if end == "its input closes":
            process.stdin.close()
        else:
            process.terminate()
        assert process.wait(timeout=30) == 0


def test_a_taken_port_is_named():
    with serving(slots=1) as (url, _):
        port = url.rsplit(":", 1)[1]
        command = [sys.executable, "-m", "tasks.serve", str(tiny.int4_model()), "--port", port]
        done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode != 0
    assert f"port {port} on 127.0.0.1 cannot be had" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"), [(["--slots", "0"], "--slots: Input should be"), ([], "genai_config.json: missing")]
)
def test_what_cannot_be_served_is_said_without_a_traceback(tmp_path, arguments, words):
    done = subprocess.run(
        [sys.executable, "-m", "tasks.serve", str(tmp_path), *arguments], capture_output=True, text=True
    )
    assert done.returncode != 0
    assert words in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("file", ["model.onnx", "model.onnx.data", "genai_config.json", "tokenizer.json"])
def test_a_damaged_model_is_named_without_a_traceback(tmp_path, file):
    model = tmp_path / "model"
    shutil.copytree(tiny.int4_model(), model)
    (model / file).write_text("{}")
    with pytest.raises(StageError, match=f"{model} cannot be served.*quantize"):
        serve(model, port=0)


def test_a_port_is_taken_while_its_server_loads(monkeypatch):
    ports = []

    def load(model_dir, settings):
        ports.append(settings.port)
        monkeypatch.undo()
        with pytest.raises(StageError, match=f"port {settings.port} on 127.0.0.1 cannot be had"):
            serve(model_dir, port=settings.port)
        raise StageError("was asked to load")

    monkeypatch.setattr("tasks.serve.server._load", load)
    with pytest.raises(StageError, match="was asked to load"):
        serve(tiny.int4_model(), port=0)
    socket.create_server(("127.0.0.1", ports[0])).close()  # it can be had again


def test_a_taken_port_and_an_unknown_host_are_named(url, tmp_path):
    port = url.rpartition(":")[2]
    with pytest.raises(StageError, match=f"port {port} on 127.0.0.1 cannot be had"):
        serve(tiny.int4_model(), port=int(port))
    with pytest.raises(StageError, match=r"port 0 on no\.such\.host\.invalid cannot be had"):
        serve(tiny.int4_model(), host="no.such.host.invalid", port=0)


def test_an_empty_key_is_no_key():
    with serving(slots=1, api_key="") as (url, _):
        assert httpx.get(f"{url}/v1/models").status_code == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", ""])
def test_a_server_that_others_reach_without_a_key_is_warned_of(host, caplog):
    warn_if_open(Settings(host=host, api_key=SECRET))
    warn_if_open(Settings(host="127.0.0.1"))
    assert not caplog.text
    warn_if_open(Settings(host=host))
    assert "without a key" in caplog.text and "FULLCHAIN_API_KEY" in caplog.text


def test_a_key_is_asked_for_where_one_is_set():
    with serving(slots=1, api_key=SECRET) as (url, _):
        assert httpx.get(f"{url}/v1/models").status_code == 401
        assert httpx.get(f"{url}/metrics").status_code == 401
        assert httpx.get(f"{url}/v1/models", headers={"Authorization": "Bearer wrong"}).status_code == 401
        assert httpx.get(f"{url}/health").status_code == 200
        client = openai.OpenAI(base_url=f"{url}/v1", api_key=SECRET)
        assert [model.id for model in client.models.list()] == ["tiny"]


def test_health_models_metrics_and_page(url, client, service):
    client.completions.create(model="tiny", prompt="hello", max_tokens=2)
    assert httpx.get(f"{url}/health").json()["status"] == "ok"
    (model,) = httpx.get(f"{url}/v1/models").json()["data"]
    assert (model["id"], model["max_model_len"]) == ("tiny", service.engine.session.length)
    metrics = httpx.get(f"{url}/metrics").text
    assert 'fullchain_requests_total{path="/v1/completions",status="200"}' in metrics
    assert "fullchain_first_token_seconds_count" in metrics


def test_the_page_is_self_contained_and_may_run_nothing_from_elsewhere(url):
    page = httpx.get(f"{url}/")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "v1/chat/completions" in page.text
    assert "src=" not in page.text and "@import" not in page.text
    assert "发送" in page.text and "Send" in page.text
