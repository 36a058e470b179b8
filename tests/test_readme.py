"""The README's commands, typed in order as they stand there, on the micro preset where they name or mean poet."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.command import PROJECT, Fullchain

pytestmark = pytest.mark.slow

README = (PROJECT / "README.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"^## ([^\n]+)\n(?:(?!^## ).)*?^```bash\n(.*?)^```", README, re.MULTILINE | re.DOTALL))
SERVERS = ("serve", "up")  # stay until they are ended; tests/flows/test_up.py and tests/tasks/serve look closer
MICRO = {"plan": "plan micro", "chat": "chat release@micro", "agent": "agent --model release@micro"}
OF_MICRO = {
    "poet": "micro",
    "web-zh-en": "micro",
    "zh_CN/man1/nl.1.gz": "micro-verses/content.jsonl#0",
    "--set corpus.thresholds=my-thresholds": "",  # a folder of the reader's own
}


def commands() -> list[str]:
    """Every `fullchain` command of the README, without its remark."""
    lines = [line for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]
    return [line.partition("  #")[0].strip() for line in lines if line.startswith(".venv/bin/fullchain ")]


def on_micro(command: str) -> list[str]:
    """The command's arguments, for the micro preset."""
    for named, twin in OF_MICRO.items():
        command = command.replace(named, twin)
    verb, *rest = shlex.split(command.removeprefix(".venv/bin/fullchain "))
    return shlex.split(MICRO[verb]) + rest if verb in MICRO and "micro" not in rest else [verb, *rest]


def test_every_command_can_be_typed_as_it_stands_and_nothing_is_left_to_fill_in() -> None:
    blocks = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    assert not [line for block in blocks for line in block.splitlines() if line.startswith("fullchain ")]
    assert "@@" not in README


@pytest.mark.parametrize("command", [c for c in commands() if on_micro(c)[0] not in SERVERS])
def test_a_command_of_the_readme_ends_well(command: str, own_micro: Fullchain, tmp_path: Path) -> None:
    assert Fullchain(own_micro.home, folder=tmp_path)(*on_micro(command), stdin="你好\n")


def test_the_two_commands_are_there_and_run_is_up_to_date(micro: Fullchain) -> None:
    first, second = (line.partition("#")[0].strip() for line in BLOCKS["Start"].splitlines()[:2])
    assert (first, second) == ("make run", "make test")
    there = (
        "-o",
        ".venv/installed",
        f"BIN={shlex.quote(str(Path(sys.executable).parent))}",
    )  # the one that runs this
    done = subprocess.run(
        ["make", *there, "run", "PRESET=micro"],
        cwd=PROJECT,
        env=micro.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Everything is up to date for micro" in done.stdout


@pytest.mark.parametrize("command", [c for c in commands() if on_micro(c)[0] == "serve"])
def test_the_served_model_answers_an_openai_client_streaming_and_not(
    command: str, micro: Fullchain, tmp_path: Path
) -> None:
    from openai import OpenAI

    ready = tmp_path / "ready.json"
    arguments = [*on_micro(command), "--port", "0", "--ready-file", str(ready)]
    process = subprocess.Popen(
        micro.command(*arguments), env=micro.environment, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        for _ in range(600):
            if ready.exists() or process.poll() is not None:
                break
            threading.Event().wait(0.2)
        assert ready.exists(), process.communicate(timeout=5)[0]
        client = OpenAI(base_url=f"{json.loads(ready.read_text())['url']}/v1", api_key="none")
        (model,) = client.models.list().data
        assert model.id == "micro"
        ask = {"model": model.id, "messages": [{"role": "user", "content": "你好"}], "max_tokens": 8, "temperature": 0}
        whole = client.chat.completions.create(**ask).choices[0].message.content
        streamed = client.chat.completions.create(**ask, stream=True)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in streamed if chunk.choices) == whole
        assert whole
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
    assert process.returncode in {0, 130, -signal.SIGINT}


def test_your_own_data_in_ten_lines(own_micro: Fullchain, tmp_path: Path) -> None:
    """The settings under "Your own data", on a small twin of the chain, with files like the ones it speaks of."""
    settings = re.search(r"## Your own data.*?```yaml\n(.*?)```", README, re.DOTALL)
    assert settings
    assert len(settings[1].splitlines()) <= 10
    (tmp_path / "mine.yaml").write_text(settings[1].replace("extends: poet", "extends: micro"))
    _own_files(tmp_path)
    here = Fullchain(own_micro.home, folder=tmp_path)
    checked = here.json("data", "check", "./texts.jsonl")
    assert (checked["records"], checked["bad"]) == (300, [])
    printed = here("run", "mine.yaml")
    assert "models:/mine@champion" in printed


def _own_files(folder: Path) -> None:
    words = "river stone cloud lantern harbour winter garden signal meadow copper thunder ribbon".split()  # noqa: SIM905
    texts, talks, pairs = [], [], []
    for n in range(300):
        a, b, c = (words[(n * step + shift) % len(words)] for step, shift in ((1, 0), (5, n // 12), (7, n // 7)))
        text = f"""Note {n}. The {a} stood beside the {b}, and every evening someone carried the {c} {n} steps away.
            Nobody knew why they moved it to {c} {a} street. When we have {n} of them, said the keeper of the {b}, one
            {a} will be enough for all. That {b} had {n + 3} owners before; {a} and {c} were the names of two.
            In spring they painted {n} more with {a} {c} dye. It was late before anyone came back to the {b} again."""
        texts.append({"text": " ".join(text.split())})
        question = {"role": "user", "content": f"Where did the {a} of note {n} stand?"}
        talks.append({"messages": [question, {"role": "assistant", "content": f"Beside the {b}."}]})
        pairs.append({"messages": [question], "chosen": f"Beside the {b}.", "rejected": "I do not know."})
    for name, rows in {"texts": texts, "conversations": talks, "preferences": pairs}.items():
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines)
