"""What the training stages share: a run that breaks says where and what to do."""

import json
import math
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import torch

from models.lm import Architecture, build
from models.watchdog import watched
from tasks.output import Output
from tasks.stage import StageError
from tasks.store import Workplace
from tasks.training import GuardConfig, TrainingConfig, run_loop


def place(folder):
    made = Workplace(folder)
    for part in (made.files, made.logs, made.state):
        part.mkdir(parents=True)
    return Output(made, "toy")


def model(width=32):
    return build(Architecture(64, width, 1, 2, 1, 48, 64), bos_id=0, eos_id=2, pad_id=3, seed=0)


def infinite(steps):
    def objective(subject, step):
        loss = subject(torch.tensor([[1, 2, 3]])).logits.square().sum()
        return loss * (math.inf if step in steps else 1), 1.0, {}

    return objective


CONFIG = TrainingConfig(checkpoint_every=2, precision="fp32", threads=1)


def run(out, objective=None, subject=None, **settings):
    cfg = CONFIG.model_copy(update=settings)
    return run_loop(cfg, out, subject or model(), objective or infinite(()), lambda step: [step], steps=8)


def test_a_run_that_stays_broken_names_the_measure_the_step_and_what_to_do(tmp_path):
    with pytest.raises(StageError, match=r"loss is inf at step 5 of 8, after 1 rollbacks.* step 4; lower optimizer.lr"):
        run(place(tmp_path), infinite(range(5, 99)), guard=GuardConfig(rollbacks=1))


def test_what_the_guard_did_is_in_the_artifact_without_times(tmp_path):
    out = place(tmp_path)
    run(out, infinite([5]))
    [event] = [json.loads(line) for line in (out.path / "events.jsonl").read_text().splitlines()]
    assert (event["step"], event["measure"], event["value"], event["skipped_data_steps"]) == (5, "loss", "inf", [5])
    assert json.loads((out.logs / "events.jsonl").read_text())["kind"] == "rollback"


def test_readings_of_speed_are_in_the_logs_and_not_in_the_artifact(tmp_path):
    out = place(tmp_path)
    run(out)
    told = json.loads((out.logs / "curves.jsonl").read_text().splitlines()[-1])
    assert {"tokens_per_second", "mfu", "memory_bytes", "data_wait_share", "loss"} <= told.keys()
    assert "tokens_per_second" not in (out.path / "curve.jsonl").read_text()


def test_checkpoints_of_another_network_are_refused(tmp_path):
    out = place(tmp_path)
    run(out)
    with pytest.raises(
        StageError, match=r"checkpoint: step-000000008: model.embed_tokens.weight is \[64, 32\].* \[64, 64\]"
    ):
        run(out, subject=model(width=64))


def test_alerts_reach_their_addresses_and_no_log(tmp_path, monkeypatch, caplog):
    received = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self):
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    addresses = f"json://user:secret-word@127.0.0.1:{server.server_port}/ nothing-of-secret-word"
    monkeypatch.setenv("FULLCHAIN_ALERT_URLS", addresses)
    with caplog.at_level("DEBUG"):
        run(place(tmp_path), infinite([5]))
    server.shutdown()
    assert received[0]["title"] == "Fullchain: rollback" and "step 5 of 8" in received[0]["message"]
    assert "1 of the addresses in FULLCHAIN_ALERT_URLS" in caplog.text
    assert "secret-word" not in caplog.text + "".join(f.read_text() for f in tmp_path.rglob("*.jsonl"))


def test_a_stalled_step_leaves_the_stacks_of_all_threads(tmp_path):
    stalled = threading.Event()
    with watched(0.02, tmp_path / "stall.txt", lambda _: stalled.set()):
        assert stalled.wait(30)
    assert "test_a_stalled_step" in (tmp_path / "stall.txt").read_text()
