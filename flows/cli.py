"""The `fullchain` command: its verbs, in the order in which `--help` lists them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import typer

from flows.environment import prepare
from flows.verbs import artifacts, chain, data, machine, serving
from tasks.errors import StageError
from tasks.store import home

VERBS: dict[str, Callable[..., None]] = {
    "run": chain.run,
    "plan": chain.show_plan,
    "size": chain.show_size,
    "ls": artifacts.ls,
    "show": artifacts.show,
    "lineage": artifacts.show_lineage,
    "trace": artifacts.show_trace,
    "serve": serving.serve,
    "bench-serve": serving.bench_serve,
    "export": serving.export_model,
    "chat": serving.chat,
    "agent": serving.agent,
    "report": artifacts.show_report,
    "up": machine.up,
    "doctor": machine.doctor,
    "gc": machine.gc,
}
DATA_VERBS: dict[str, Callable[..., None]] = {
    "search": data.search,
    "info": data.info,
    "get": data.get,
    "check": data.check,
    "why": data.why,
    "replay": data.replay,
    "audit": data.audit,
}


@contextmanager
def _mistakes_in_words() -> Iterator[None]:
    """A mistake that the user can mend is told in words and ends with status 1; anything else keeps its traceback."""
    try:
        yield
    except StageError as error:
        print(f"fullchain: {error}", file=sys.stderr)
        raise typer.Exit(1) from error


def _guarded(verb: Callable[..., None]) -> Callable[..., None]:
    @wraps(verb)
    def guarded(*args: Any, **kwargs: Any) -> None:
        with _mistakes_in_words():
            verb(*args, **kwargs)

    return guarded


def _group(verbs: dict[str, Callable[..., None]], **settings: Any) -> typer.Typer:
    group = typer.Typer(no_args_is_help=True, **settings)
    for name, verb in verbs.items():
        group.command(name)(_guarded(verb))
    return group


app = _group(VERBS, add_completion=False, rich_markup_mode="markdown", pretty_exceptions_enable=False)
app.add_typer(_group(DATA_VERBS, help="The dataset catalogue."), name="data")


@app.callback()
def _main() -> None:
    """A language model through the whole chain: data, pretraining, tuning, evaluation, int4, serving, agents."""
    prepare(home())


if __name__ == "__main__":
    app()
