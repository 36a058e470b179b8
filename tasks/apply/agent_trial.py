"""The agent trial: tasks made from validation poems, each for one tool, judged by what the tool really says."""

import json
import random
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from tasks.apply.agent import Run, run_agent
from tasks.apply.poems import PoemIndex
from tasks.apply.poet import poet_toolbox
from tasks.apply.stage import ApplyConfig
from tasks.apply.tools import Toolbox
from tasks.poems import regular_poems
from tasks.poet_dialogues import NOTHING_FOUND, Dialogues
from tasks.stage import Output

if TYPE_CHECKING:
    from openai import OpenAI

MODEL = "model"


@dataclass(frozen=True)
class AgentTask:
    """A request, and the call that it asks for."""

    kind: str
    prompt: str
    arguments: dict[str, Any]


def agent_tasks(cfg: ApplyConfig, corpus: Path) -> list[AgentTask]:
    """Tasks of every kind in turn, around held-out poems; none for a corpus without regular verse."""
    poems = list(islice(regular_poems(corpus, "validation"), cfg.chats, cfg.chats + cfg.agent_tasks))
    if not poems:
        return []
    dialogues, draw = Dialogues(poems), random.Random(cfg.seed)
    kinds = (dialogues.search, dialogues.check, dialogues.rhyme)
    tasks = []
    for number, poem in enumerate(poems):
        asked, called, *_ = kinds[number % len(kinds)](poem, draw)
        function = called["tool_calls"][0]["function"]
        tasks.append(AgentTask(function["name"], asked["content"], function["arguments"]))
    return tasks


def try_agent(cfg: ApplyConfig, client: "OpenAI", tasks: list[AgentTask], corpus: Path, out: Output) -> dict[str, Any]:
    """Transcripts with success rates: of all tasks, and of each kind."""
    if not tasks:
        return {"rates": {"agent_tasks": 0}, "transcripts": []}
    toolbox = poet_toolbox(PoemIndex(corpus), cfg.tool_timeout_s)
    records = []
    with out.progress("agent trial", len(tasks)) as bar:
        for task in tasks:
            messages = [{"role": "user", "content": task.prompt}]
            sampling = {"temperature": 0, "max_tokens": cfg.max_tokens}
            run = run_agent(client, MODEL, messages, toolbox, cfg.max_steps, **sampling)
            records.append({"kind": task.kind, "checks": judge(task, run, toolbox), "messages": _without_ids(run)})
            bar.advance()
    return {"rates": _rates(records), "transcripts": records}


def judge(task: AgentTask, run: Run, toolbox: Toolbox) -> dict[str, bool]:
    """Was the right tool called, were all arguments valid, were they the asked ones, did the tool's fact get told?"""
    right = [step for step in run.steps if step.name == task.kind]
    given = [json.loads(step.arguments) for step in right if step.valid]
    return {
        "tool": bool(right),
        "valid": bool(run.steps) and all(step.valid for step in run.steps),
        "arguments": task.arguments in given,
        "answer": bool(given) and run.ended == "answered" and _states_fact(task, run.answer, toolbox),
    }


def _states_fact(task: AgentTask, answer: str, toolbox: Toolbox) -> bool:
    """Whether the answer says what the tool says when it is called as the task asks."""
    fact = toolbox.call(task.kind, json.dumps(task.arguments, ensure_ascii=False))
    if task.kind == "search_poems":
        titles = [poem["title"] for poem in fact["poems"]]
        return any(title in answer for title in titles) if titles else NOTHING_FOUND in answer
    if task.kind == "check_form":
        return bool(answer) and ("不" in answer) != fact["correct"]
    listed = [character for character in answer if character in fact["characters"]]
    return len(listed) >= min(3, len(fact["characters"]))


def _rates(records: list[dict[str, Any]]) -> dict[str, float]:
    def share(name: str, kind: str = "") -> float:
        return fmean(record["checks"][name] for record in records if kind in ("", record["kind"]))

    kinds = sorted({record["kind"] for record in records})
    rates = {f"agent_{name}": share(name) for name in ("tool", "valid", "arguments", "answer")}
    rates |= {f"agent_answer_{kind}": share("answer", kind) for kind in kinds}
    return {"agent_tasks": len(records)} | {name: round(value, 6) for name, value in rates.items()}


def _without_ids(run: Run) -> list[dict[str, Any]]:
    """The conversation without the calls' random ids, so that the same run leaves the same bytes."""
    plain = []
    for message in run.messages:
        kept = {name: value for name, value in message.items() if name != "tool_call_id"}
        if calls := kept.get("tool_calls"):
            kept["tool_calls"] = [{"function": call["function"]} for call in calls]
        plain.append(kept)
    return plain
