"""`fullchain chat` and `fullchain agent`: a server of its own for the length of a conversation, reached over HTTP."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flows.refs import ancestor, model_folder, resolve
from flows.terminal import console
from tasks.apply.agent import Run, Step, run_agent
from tasks.apply.chat import stream_chat
from tasks.apply.poems import PoemIndex
from tasks.apply.poet import poet_toolbox
from tasks.apply.server import served
from tasks.errors import StageError
from tasks.store import Store

NAME = "model"


def chat(ref: str, store: Store) -> None:
    """Read lines from the terminal and stream the model's answers, until the input ends."""
    with _client(ref, store) as client:
        messages: list[dict[str, Any]] = []
        console.print(f"[dim]{ref}; an empty line or Ctrl-D ends the chat[/dim]")
        while question := _ask():
            messages.append({"role": "user", "content": question})
            answer = ""
            for piece in stream_chat(client, NAME, messages):
                print(piece, end="", flush=True)
                answer += piece
            print()
            messages.append({"role": "assistant", "content": answer})


def agent(ref: str, question: str, store: Store) -> None:
    """Let the model use the tools over the corpus it was made from, and print each call and the answer.

    Raises:
        StageError: it gave no answer.
    """
    corpus = ancestor(resolve(ref, store), "corpus", store)
    toolbox = poet_toolbox(PoemIndex(corpus.path))

    def show(step: Step) -> None:
        console.print(f"[cyan]{step.name}[/cyan] {step.arguments} [dim]-> {step.result}[/dim]", soft_wrap=True)

    with _client(ref, store) as client:
        run = run_agent(client, NAME, [{"role": "user", "content": question}], toolbox, watch=show)
    print(told(run))


def told(run: Run) -> str:
    """An agent's answer. Raises StageError when it gave none."""
    if run.ended != "answered":
        calls = len(run.steps)
        raise StageError(
            f"no answer within {calls} tool call{'s' * (calls != 1)}; ask for one thing, or take another model"
        )
    return run.answer


@contextmanager
def _client(ref: str, store: Store) -> Iterator[Any]:
    from openai import OpenAI

    folder, log = model_folder(ref, store), store.home / "logs" / "chat-server.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with served(folder, NAME, log) as url:
        yield OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0)


def _ask() -> str:
    try:
        return input("> " if sys.stdin.isatty() else "").strip()
    except EOFError:
        return ""
