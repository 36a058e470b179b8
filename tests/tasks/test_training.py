"""What the training stages share: a run that breaks says where and what to do."""

import json
import math
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import torch

from models import checkpoints
from models.fp8 import Float8Linear
from models.lm import Architecture, build
from models.probe import check_isolation
from models.watchdog import watched
from tasks.output import Output
from tasks.stage import StageError
from tasks.store import Workplace
from tasks.training import GuardConfig, OptimizerConfig, TrainingConfig, compiled, prepare, run_loop


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


def test_torch_built_for_gpus_trains_on_a_machine_without_one(monkeypatch):
    monkeypatch.setattr("torch._C._accelerator_getAccelerator", lambda: torch.device("cuda"))
    monkeypatch.setattr("torch.accelerator.is_available", lambda: False)
    assert prepare(TrainingConfig(), model()).config._attn_implementation == "packed"


def test_the_model_is_put_where_it_computes(monkeypatch):
    monkeypatch.setattr("models.parallel.accelerator", lambda: torch.device("meta"))
    assert prepare(TrainingConfig(), model()).device.type == "meta"


@pytest.fixture
def eight_bits(monkeypatch):
    """Where the slow reference of the CPU will do."""
    monkeypatch.setattr("models.fp8.missing", lambda _: "")


def test_a_network_is_tried_before_its_products_are_rounded_to_8_bits(eight_bits, caplog):
    """One scale for all tokens of a product lets each depend on all others."""
    with caplog.at_level("INFO"):
        made = prepare(TrainingConfig(precision="fp8"), model(), check=check_isolation)
    assert isinstance(made.model.layers[0].mlp.up_proj, Float8Linear)
    assert "7 matrices multiply in 8 bits" in caplog.text


def test_8_bits_for_no_matrix_at_all_are_refused(eight_bits):
    with pytest.raises(StageError, match=r"precision: fp8, but .* has no linear module in its layers"):
        prepare(TrainingConfig(precision="fp8"), model(width=24))


def test_without_a_compiler_always_is_refused_and_auto_is_not(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    assert not compiled(TrainingConfig(), model(), 10**15)
    with pytest.raises(StageError, match=r"compile: always, but none of g\+\+, clang\+\+ and c\+\+ is on the PATH"):
        compiled(TrainingConfig(compile="always"), model(), 10**15)


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


def test_a_step_that_is_told_again_keeps_its_readings_of_speed(tmp_path):
    out = place(tmp_path)
    run(out)
    run(out)  # finds all steps done
    first, again = [json.loads(line) for line in (out.logs / "curves.jsonl").read_text().splitlines()]
    assert first["step"] == again["step"] == 8
    assert "tokens_per_second" in first and "tokens_per_second" not in again


def test_checkpoints_of_another_network_are_refused(tmp_path):
    out = place(tmp_path)
    run(out)
    with pytest.raises(
        StageError, match=r"checkpoint: step-000000008 is of .*hidden_size 32 \(this run: 64\).*; remove"
    ):
        run(out, subject=model(width=64))
    with pytest.raises(StageError, match=r"optimizers \['Muon', 'AdamW'\] \(this run: \['AdamW'\]\)"):
        run(out, optimizer=OptimizerConfig(name="adamw"))


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


class Watching:
    """Remembers what a stage tells of its progress."""

    def __init__(self):
        self.told = []

    def progress(self, label, done, total):
        self.told.append((done, total))

    def point(self, *_):
        pass

    def event(self, *_):
        pass


@pytest.mark.parametrize("sick", [(), [5]], ids=["resumed", "rolled back"])
def test_progress_is_that_of_the_run_and_not_of_its_attempts(tmp_path, sick):
    watching = Watching()
    out = place(tmp_path)
    run(out, infinite(sick))
    again = Output(Workplace(tmp_path), "toy", [watching])
    run(again, infinite(sick))
    assert watching.told[-1] == (8, 8) and max(watching.told) == (8, 8)
    fresh = Output(Workplace(tmp_path / "fresh"), "toy", [watching])
    for part in (fresh.path, fresh.logs, fresh.state):
        part.mkdir(parents=True)
    run(fresh, infinite(sick))
    assert watching.told[-1] == (8, 8) and max(watching.told) == (8, 8)


def test_forward_passes_of_a_long_validation_are_no_stall(tmp_path):
    out, passed = place(tmp_path), threading.Event()

    def validate(subject):
        until = time.monotonic() + 1.6
        while time.monotonic() < until:
            subject(torch.tensor([[1, 2, 3]]))
        passed.set()
        return {"validation_loss": 1.0}

    cfg = CONFIG.model_copy(update={"guard": GuardConfig(stall_seconds=1)})
    run_loop(cfg, out, model(), infinite(()), lambda step: [step], 8, validate)
    assert passed.is_set() and not (out.logs / "stall.txt").exists()


def test_the_curve_has_the_learning_rates_by_the_names_of_their_fields(tmp_path):
    curve = run(place(tmp_path), optimizer=OptimizerConfig(schedule="constant", warmup=0, lr=0.01, matrix_lr=0.02))
    assert (curve[-1]["lr"], curve[-1]["matrix_lr"]) == (0.01, 0.02)


def test_asked_to_stop_it_saves_and_ends(tmp_path):
    out, asked = place(tmp_path), threading.Event()

    def micro_batches(step):
        if step == 4:
            asked.set()
        return [step]

    with pytest.raises(SystemExit):
        run_loop(CONFIG, out, model(), infinite(()), micro_batches, 100, stop=asked.is_set)
    reached = checkpoints.steps(out.state / "checkpoints")[-1]
    assert 2 <= reached <= 6
