"""The command on the micro chain: what a user types, and what the user then sees."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from flows.environment import NO_TELEMETRY
from tests.command import PROJECT, STAGES, Fullchain, ran

pytestmark = pytest.mark.slow


def test_the_first_run_builds_every_stage_and_says_what_there_is(micro_run: tuple[Fullchain, str]) -> None:
    fullchain, printed = micro_run
    assert ran(printed) == list(STAGES)
    assert "models:/micro@champion" in printed
    report = Path(printed.rpartition("Report: ")[2].strip())
    assert report.is_file()
    assert str(report) == fullchain("report", "report@micro").strip()


def test_the_second_run_is_up_to_date_and_starts_nothing(micro: Fullchain) -> None:
    probe = (
        "import sys; from flows.cli import app\n"
        "try: app(['run', 'micro'])\n"
        "except SystemExit as end: assert not end.code, end\n"
        "print('loaded', sorted({'prefect', 'mlflow', 'torch'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe], env=micro.environment, cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert "Everything is up to date for micro" in done.stdout, done.stdout + done.stderr
    assert "loaded []" in done.stdout
    assert done.stdout.count("cached") == len(STAGES)


def test_a_plan_of_what_is_built_is_all_cached(micro: Fullchain) -> None:
    assert micro.statuses("micro") == dict.fromkeys(STAGES, "cached")


def test_a_changed_field_names_the_stage_and_what_waits_for_it(micro: Fullchain) -> None:
    assert micro.reasons("micro", "--set", "align.beta=0.5") == {
        "align": ["beta 2 -> 0.5"],
        "evaluate": ["waits for align"],
        "quantize": ["waits for align"],
        "evaluate-int4": ["waits for quantize"],
        "release": ["waits for quantize, evaluate, evaluate-int4"],
        "apply": ["waits for release"],
        "report": ["waits for align, evaluate, quantize, evaluate-int4, release, apply"],
    }


@pytest.fixture
def edited(micro: Fullchain, tmp_path: Path) -> Fullchain:
    """The command on a copy of the project, which may be edited, with the same home."""
    for folder in ("flows", "tasks", "models", "conf"):
        shutil.copytree(PROJECT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return Fullchain(micro.home, tmp_path)


def test_an_edited_line_of_a_helper_names_the_stages_that_reach_it(edited: Fullchain) -> None:
    helper = edited.project / "tasks" / "memorisation.py"
    helper.write_text(helper.read_text() + "\n\ndef added() -> int:\n    return 1\n")
    reasons = edited.reasons("micro")
    assert {label for label, why in reasons.items() if why == ["code: tasks/memorisation.py"]} == {
        "evaluate",
        "evaluate-int4",
    }
    assert reasons.keys() == {"evaluate", "evaluate-int4", "release", "apply", "report"}


def test_comments_docstrings_and_blank_lines_rerun_nothing(edited: Fullchain) -> None:
    for file in (*edited.project.rglob("tasks/**/*.py"), *edited.project.rglob("models/**/*.py")):
        file.write_text(file.read_text().rstrip() + "\n\n\n# a remark\n")
    assert edited.reasons("micro") == {}


def test_only_from_until_and_force_do_what_they_say(own_micro: Fullchain) -> None:
    other = ("--set", "evaluate.seed=7")
    assert ran(own_micro("run", "micro", "--only", "evaluate-int4", *other)) == ["evaluate-int4"]
    assert own_micro.statuses("micro", *other)["evaluate"] == "will run"
    assert ran(own_micro("run", "micro", "--force", "tokenizer", "--until", "tokens")) == ["tokenizer"]
    assert ran(own_micro("run", "micro", "--from", "release", "--set", "release.tolerance=0.4")) == [
        "release",
        "apply",
        "report",
    ]


def test_a_stage_whose_input_is_not_there_is_refused(own_micro: Fullchain) -> None:
    said = own_micro("run", "micro", "--only", "align", "--set", "finetune.seed=5", status=1)
    assert "align: its input finetune is not built for these settings" in said
    assert "--until finetune" in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "mikro"), ("mikro", "micro")),
        (("plan", "micro", "--set", "pretrain.optimizer.lrr=1"), ("pretrain.optimizer.lrr", "lr")),
        (("plan", "micro", "--set", "tokenizer.vocab_size=7"), ("tokenizer.vocab_size", "7", "300")),
        (("plan", "micro", "--only", "evaluat"), ("evaluat", "evaluate")),
        (("show", "release@smollm2"), ("release", "smollm2")),
        (("lineage", "models:/nobody@champion"), ("nobody",)),
        (("trace", "tokens@micro", "--token", "999999999"), ("999999999",)),
        (("data", "info", "chinese-poetr"), ("chinese-poetr", "chinese-poetry")),
    ],
)
def test_mistakes_end_with_a_status_and_the_nearest_names(
    micro: Fullchain, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    said = micro(*arguments, status=1)
    assert "Traceback" not in said
    for word in words:
        assert word in said


def test_the_champion_follows_the_settings_though_nothing_is_built_again(own_micro: Fullchain) -> None:
    other = ("--set", "release.tolerance=0.4")
    own_micro("run", "micro", *other)
    assert _champion(own_micro) == 2
    assert ran(own_micro("run", "micro")) == []
    assert _champion(own_micro) == 1
    assert "Everything is up to date" in own_micro("run", "micro")


def test_a_lost_registry_is_filled_again(own_micro: Fullchain) -> None:
    (own_micro.home / "mlflow.db").unlink()
    assert ran(own_micro("run", "micro")) == []
    assert own_micro.json("lineage", "models:/micro@champion")["stage"] == "release"


def _champion(fullchain: Fullchain) -> int:
    with sqlite3.connect(fullchain.home / "mlflow.db") as database:
        return int(database.execute("select version from registered_model_aliases").fetchone()[0])


def test_no_verb_reports_to_anyone(micro: Fullchain) -> None:
    probe = (
        "from flows.cli import app\n"
        "try: app(['show', 'models:/micro@champion', '--json'])\n"
        "except SystemExit as end: assert not end.code, end\n"
        "from mlflow.telemetry.utils import is_telemetry_disabled\n"
        "print('disabled', is_telemetry_disabled())"
    )
    quiet = {k: v for k, v in micro.environment.items() if k not in NO_TELEMETRY}
    done = subprocess.run(
        [sys.executable, "-c", probe], env=quiet, cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert "disabled True" in done.stdout, done.stdout + done.stderr


def test_ls_and_show(micro: Fullchain) -> None:
    listed = micro.json("ls")
    assert sorted(row["stage"] for row in listed) == sorted(STAGES)
    made = micro.json("show", "quantize@micro")
    assert made["stage"] == "quantize"
    assert made["provenance"]["preset"] == "micro"
    assert made["key"] in micro("show", made["key"][:10])


def test_lineage_walks_from_the_served_model_to_the_source_and_its_sha256(micro: Fullchain) -> None:
    node = micro.json("lineage", "models:/micro@champion")
    path = [node["stage"]]
    for role in ("quantized", "model", "base", "base", "tokens", "corpus"):
        node = node["inputs"].get(role) or next(iter(node["inputs"].values()))
        path.append(node["stage"])
    assert path == ["release", "quantize", "align", "finetune", "pretrain", "tokens", "corpus"]
    (source,) = node["sources"]
    assert source["name"] == "micro-verses"
    assert len(source["sha256"]) == 64
    assert source["sha256"] in micro("lineage", "models:/micro@champion")


def test_trace_takes_a_training_token_to_its_poem(micro: Fullchain) -> None:
    found = micro.json("trace", "pretrain@micro", "--token", "100")
    assert found["source"]["name"] == "micro-verses"
    assert len(found["source"]["sha256"]) == 64
    titles = re.findall(r'"title": "([^"]+)"', (PROJECT / "conf" / "micro" / "verses.jsonl").read_text())
    assert found["text"].partition("》")[0].removeprefix("《") in titles


def test_mlflow_holds_the_chain_its_stages_and_the_champion(micro: Fullchain) -> None:
    with sqlite3.connect(micro.home / "mlflow.db") as database:
        ask = database.execute
        rows = ask("select r.name from runs r join tags t using (run_uuid) where t.key = 'mlflow.parentRunId'")
        assert {name for (name,) in rows} >= set(STAGES)
        rows = ask("select alias, version from registered_model_aliases where name = 'micro'")
        assert rows.fetchall() == [("champion", 1)]
        assert ask("select count(*) from metrics where key='loss'").fetchone()[0] > 3
        assert ask("select count(*) from inputs").fetchone()[0] >= len(STAGES) - 1


def test_doctor_and_gc_find_a_healthy_home(micro: Fullchain) -> None:
    found = {row["what"]: row["well"] for row in micro.json("doctor")}
    assert all(found.values()), found
    assert len([what for what in found if what.split()[0] in STAGES]) == len(STAGES)
    assert micro.json("gc") == []


def test_gc_deletes_what_no_preset_and_no_release_refers_to(own_micro: Fullchain) -> None:
    own_micro("run", "micro", "--only", "evaluate-int4", "--set", "evaluate.seed=7")
    assert own_micro.json("gc") == [], "what was made last is kept, it may be of settings that no preset has"
    own_micro("run", "micro", "--only", "evaluate-int4", "--set", "evaluate.seed=8")
    (waste,) = own_micro.json("gc")
    own_micro("gc", "--yes")
    assert not Path(waste["path"]).exists()
    assert own_micro.statuses("micro") == dict.fromkeys(STAGES, "cached")


def test_a_run_that_is_told_to_end_leaves_no_process_behind(tmp_path: Path):
    typed = Fullchain(tmp_path / "home")
    run = subprocess.Popen(
        typed.command("run", "micro"), env=typed.environment, cwd=typed.folder,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True,
    )  # fmt: skip
    assert run.stdout is not None
    for line in run.stdout:
        if "done in" in line:  # Prefect's temporary server is up
            break
    run.send_signal(signal.SIGTERM)
    assert run.wait(60) == 143
    with pytest.raises(ProcessLookupError):
        os.killpg(run.pid, 0)  # the group is empty
