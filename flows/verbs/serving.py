"""Verbs that put a model to use: serve it, put load on it, write it for other engines, talk to it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from flows.terminal import tell
from flows.verbs.options import Json, Ref
from tasks.errors import StageError
from tasks.store import Store, home


def serve(
    ref: Ref, host: Annotated[str, typer.Option(help="Address to bind")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one")] = 8000,
    ready_file: Annotated[Path | None, typer.Option(help="Written when requests are answered")] = None,
    replicas: Annotated[int, typer.Option(min=1, max=64, help="Copies of the server, in processes of Ray Serve's")] = 1,
    backend: Annotated[str, typer.Option(help="ours, or vllm or lmdeploy in their own images, for GPUs")] = "ours",
    gpus: Annotated[int, typer.Option(min=1, help="GPUs that share the model; of other backends only")] = 1,
    sets: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE, as slots=16; `python -m tasks.serve -h` lists them")
    ] = None,
) -> None:  # fmt: skip
    """Serve a model behind an OpenAI-compatible API, with a chat page at /."""
    import logging
    import os

    from flows.refs import model_folder
    from tasks.serve.server import serve as serve_forever
    from tasks.serve.settings import checked

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    name = ref.removeprefix("models:/").partition("@")[0] if ref.startswith("models:/") else ref
    given = {
        "host": host, "port": port, "name": name, "api_key": os.environ.get("FULLCHAIN_API_KEY"),
        "replicas": replicas if replicas > 1 else None, "ready_file": ready_file,
    }  # fmt: skip
    settings = checked({k: v for k, v in given.items() if v is not None} | _settings(sets or []))
    if backend != "ours":
        from flows.backends import serve_elsewhere

        raise typer.Exit(serve_elsewhere(backend, model_folder(ref, Store(home())), settings, gpus))
    if gpus > 1:
        raise StageError("--gpus: served here is on the processor; GPUs are for --backend vllm or lmdeploy")
    find = lambda: model_folder(ref, Store(home()))  # noqa: E731
    serve_forever(find(), settings, find if ref.startswith("models:/") else None)


OPTIONS = {"host", "port", "name", "replicas", "ready_file", "api_key"}  # settings given otherwise than by --set


def _settings(sets: list[str]) -> dict[str, str]:
    """KEY=VALUE pairs by key."""
    pairs = [text.partition("=") for text in sets]
    if wrong := [key for key, equals, _ in pairs if not equals or key in OPTIONS]:
        raise StageError(f"--set {wrong[0]}: expected KEY=VALUE of a setting that has no option or variable of its own")
    return {key: value for key, _, value in pairs}


def bench_serve(
    url: Annotated[str, typer.Argument(help="An OpenAI-compatible server, such as http://127.0.0.1:8000")],
    model: Annotated[str, typer.Option(help="The model's id; the first one served when not given")] = "",
    clients: Annotated[int, typer.Option(min=1, max=4096, help="Closed loop: clients that take turns")] = 16,
    rate: Annotated[float, typer.Option(min=0, help="Open loop: requests per second instead, at random times")] = 0,
    requests: Annotated[int, typer.Option(min=1, help="Requests in all")] = 64,
    prompt: Annotated[int, typer.Option(min=1, help="Words of each prompt")] = 100,
    tokens: Annotated[int, typer.Option(min=1, help="Tokens of each answer")] = 64,
    first_ms: Annotated[float, typer.Option(help="Goodput: time to the first token at most")] = 2000,
    token_ms: Annotated[float, typer.Option(help="Goodput: time per token at most")] = 100,
    as_json: Json = False,
) -> None:
    """Put load on a server and say what its clients see. FULLCHAIN_API_KEY is sent when set."""
    from flows.load import load_table, run_load
    from tasks.serve.load import Goal

    result = run_load(url, model, clients, rate, requests, prompt, tokens, Goal(first_ms / 1000, token_ms / 1000))
    tell(result, as_json, load_table(result))
    if result["failed"]:
        raise typer.Exit(1)


def export_model(
    ref: Ref, directory: Annotated[Path, typer.Argument(help="A new folder")],
    to: Annotated[str, typer.Option("--to", help="gguf (llama.cpp), compressed-tensors (vLLM) or lmdeploy")],
) -> None:  # fmt: skip
    """Write a quantized model in another engine's format, weight for weight."""
    from flows.refs import model_folder
    from tasks.quantize.export import export

    for note in export(model_folder(ref, Store(home())), to, directory):
        print(f"fullchain: note: {note}", file=sys.stderr)
    print(directory)


def chat(ref: Annotated[str, typer.Argument(help="What to talk to")] = "release@poet") -> None:
    """Talk to a model in the terminal."""
    from flows.talk import chat as talk

    talk(ref, Store(home()))


def agent(
    question: Annotated[str, typer.Argument(help="What the agent is to do")],
    ref: Annotated[str, typer.Option("--model", help="A REF")] = "release@poet",
) -> None:
    """Let a model use its tools to answer one question."""
    from flows.talk import agent as ask

    ask(ref, question, Store(home()))
