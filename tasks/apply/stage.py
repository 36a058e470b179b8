"""The stage and its configuration."""

import json

from pydantic import Field

from tasks.stage import Artifact, Metrics, Output, Runtime, StageConfig, StageError, stage

MOST = 64  # requests at once: so many may wait for one of the server's slots, whatever their number


class ApplyConfig(StageConfig):
    """How much the released model is tried, and how it is sampled."""

    chats: int = Field(8, ge=1, le=MOST, description="Chat requests, each sent streamed and whole")
    questions: tuple[str, ...] = Field(
        (), max_length=MOST, description="Chat requests to send instead of ones made from poems"
    )
    agent_tasks: int = Field(12, ge=0, description="Tasks that need a tool; made from validation poems, so poems only")
    max_steps: int = Field(3, ge=1, le=32, description="Rounds of tool calls before a task is given up")
    max_tokens: int = Field(128, ge=1, description="Tokens of an answer")
    temperature: float = Field(0.7, ge=0, le=2, description="Sampling of the chat; the agent is greedy")
    seed: int = Field(0, ge=0, description="Seed of the requests that are made and of their answers")
    tool_timeout_s: float = Field(10, gt=0, description="Seconds a tool may take")
    slots: Runtime[int] = Field(8, ge=1, description="Answers that the server generates at once")


@stage(libraries=("onnxruntime", "fastapi", "openai", "pypinyin"), runs=("tasks.serve.__main__",))
def apply(cfg: ApplyConfig, out: Output, *, release: Artifact, corpus: Artifact) -> Metrics:
    """Serve the release and use it over HTTP: a chat, streamed and whole, and an agent with tools over the corpus."""
    from openai import OpenAI

    from tasks.apply.agent_trial import agent_tasks, try_agent
    from tasks.apply.chat_trial import chat_requests, try_chats
    from tasks.apply.server import served

    if not (release.path / "model" / "model.onnx").exists():
        raise StageError("release: it has no model/model.onnx; expected the serving package of the release stage")
    requests = chat_requests(cfg, corpus.path)
    tasks = agent_tasks(cfg, corpus.path)
    with served(release.path / "model", "model", out.logs / "server.log", "--slots", str(cfg.slots)) as url:
        client = OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=2)
        chat, latency = try_chats(cfg, client, requests, out)
        agent = try_agent(cfg, client, tasks, corpus.path, out)
    rates = chat.pop("rates") | agent.pop("rates")
    trial = {"rates": rates, "chat": chat, "agent": agent}
    (out.path / "trial.json").write_text(json.dumps(trial, ensure_ascii=False, indent=1), encoding="utf-8")
    # Times differ from run to run: they are for people, and no part of the artifact's identity.
    (out.logs / "latency.json").write_text(json.dumps(latency, indent=1))
    return rates | latency
