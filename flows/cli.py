"""The `fullchain` command. Every verb is a few lines here; the work is elsewhere."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from flows.environment import prepare
from flows.plan import Selection
from flows.terminal import console, lineage_tree, plan_table
from tasks.errors import StageError
from tasks.store import Store, home

app = typer.Typer(
    no_args_is_help=True, add_completion=False, rich_markup_mode="markdown", pretty_exceptions_enable=False
)
data = typer.Typer(no_args_is_help=True, help="The dataset catalogue.")
app.add_typer(data, name="data")


@app.callback()
def _main() -> None:
    """A language model through the whole chain: data, pretraining, tuning, evaluation, int4, serving, agents."""
    prepare(home())


Preset = Annotated[str, typer.Argument(help="A preset's name, or the path of a YAML file")]
Sets = Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE, such as pretrain.optimizer.lr=1e-3")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON")]
Ref = Annotated[str, typer.Argument(help="A key's first characters, stage@preset, or models:/NAME@ALIAS")]
Source = Annotated[str, typer.Argument(help="A name in the catalogue; `fullchain data search` lists them")]
Only = Annotated[str | None, typer.Option("--only", help="This stage alone")]
From = Annotated[str | None, typer.Option("--from", help="This stage and all that follow it")]
Until = Annotated[str | None, typer.Option("--until", help="This stage and all that it needs")]
Force = Annotated[
    list[str] | None, typer.Option("--force", help="Run this stage although it is cached; may be repeated")
]


@contextmanager
def _mistakes_in_words() -> Iterator[None]:
    """A mistake that the user can mend is told in words and ends with status 1; anything else keeps its traceback."""
    try:
        yield
    except StageError as error:
        print(f"fullchain: {error}", file=sys.stderr)
        raise typer.Exit(1) from error


def _verb(function: Callable[..., Any]) -> Callable[..., Any]:
    from functools import wraps

    @wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> None:
        with _mistakes_in_words():
            function(*args, **kwargs)

    return guarded


@app.command()
@_verb
def run(
    preset: Preset = "poet", sets: Sets = None, only: Only = None, from_: From = None, until: Until = None,
    force: Force = None,
) -> None:  # fmt: skip
    """Run the chain, or part of it."""
    from flows.chain import chain
    from flows.config import load
    from flows.plan import plan
    from flows.run import nothing_to_do, released

    cfg, store = load(preset, tuple(sets or ())), Store(home())
    steps = plan(chain, cfg, store, Selection(only, from_, until, tuple(force or ())))
    console.print(plan_table(steps))
    if nothing_to_do(steps) and released(steps, cfg.model_uri, store):
        console.print(f"[green]Everything is up to date[/green] for {cfg.name}.")
        return
    import os
    import signal

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # an ordinary end, which ends Prefect's server, too
    store.home.mkdir(parents=True, exist_ok=True)  # Prefect's database does not make its folder
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")
    from flows.deployments import chain as chain_flow

    done = chain_flow(cfg.name, cfg, only, from_, until, force)
    if "release" in done:
        console.print(f"Model:  {cfg.model_uri}  (fullchain serve {cfg.model_uri})", soft_wrap=True)
    if "report" in done:
        console.print(f"Report: {store.home / 'store' / done['report'] / 'report.html'}", soft_wrap=True)


@app.command("plan")
@_verb
def show_plan(
    preset: Preset = "poet", sets: Sets = None, only: Only = None, from_: From = None, until: Until = None,
    force: Force = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Say for every stage whether it would run, and why. Runs nothing."""
    from flows.chain import chain
    from flows.config import load
    from flows.plan import plan

    cfg = load(preset, tuple(sets or ()))
    steps = plan(chain, cfg, Store(home()), Selection(only, from_, until, tuple(force or ())))
    _print([s.as_json() for s in steps], as_json, plan_table(steps))


@app.command("size")
@_verb
def show_size(
    preset: Preset = "cluster-8b",
    gpus: Annotated[int, typer.Option("--gpus", min=1, max=65_536, help="How many")] = 8,
    gpu: Annotated[str, typer.Option("--gpu", help="Which, such as A100-80G")] = "A100-80G",
    network: Annotated[str, typer.Option("--network", help="Of a node: ports x rate, such as 4x100Gb")] = "4x100Gb",
    top: Annotated[int, typer.Option("--top", min=1, max=100, help="How many meshes to show")] = 5,
    sets: Sets = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Predict memory, communication, speed and MFU of a preset's pretraining on a cluster, and the mesh to take."""
    from flows.config import load
    from flows.size import size, size_table

    found = size(load(preset, tuple(sets or ())), gpus, gpu, network, top)
    _print(found, as_json, size_table(found))


@app.command()
@_verb
def ls(stage: Annotated[str, typer.Argument(help="A stage's name")] = "*", as_json: Json = False) -> None:
    """List the artifacts, the newest first."""
    from flows.refs import of_stage

    found = of_stage(stage, Store(home()))
    table = Table("stage", "key", "made", "seconds", "MB", "preset", box=None, pad_edge=False)
    rows = []
    for a in found:
        who, megabytes = a.provenance, sum(f.size for f in a.files) / 1e6
        row = {
            "stage": who["label"], "key": a.key, "made": who["started"], "seconds": who["seconds"],
            "megabytes": round(megabytes, 2), "preset": who.get("preset", ""),
        }  # fmt: skip
        rows.append(row)
        table.add_row(*(str(value) for value in row.values()))
    _print(rows, as_json, table)


@app.command()
@_verb
def show(ref: Ref, as_json: Json = False) -> None:
    """Show one artifact: what it is, what it was made from, by whom, and how it did."""
    from flows.refs import resolve

    artifact = resolve(ref, Store(home()))
    facts = artifact.model_dump(mode="json") | {"path": str(artifact.path)}
    _print(
        facts,
        as_json,
        json.dumps({k: v for k, v in facts.items() if k not in {"files", "code"}}, ensure_ascii=False, indent=2),
    )


@app.command("lineage")
@_verb
def show_lineage(ref: Ref, as_json: Json = False) -> None:
    """Walk from an artifact or a served model down to the source packages and their SHA-256."""
    from flows.refs import lineage, resolve

    store = Store(home())
    tree = lineage(resolve(ref, store), store)
    _print(tree, as_json, lineage_tree(tree))


@app.command("trace")
@_verb
def show_trace(
    ref: Ref, token: Annotated[int, typer.Option("--token", min=0, help="Position in the training stream")],
    as_json: Json = False,
) -> None:  # fmt: skip
    """Take a training token to the record it came from."""
    from flows.trace import trace_token

    found = trace_token(ref, token, Store(home()))
    _print(found, as_json, "\n".join(f"{name}: {value}" for name, value in found.items()))


@app.command()
@_verb
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

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    folder = model_folder(ref, Store(home()))
    name = ref.removeprefix("models:/").partition("@")[0] if ref.startswith("models:/") else ref
    if backend != "ours":
        from flows.backends import serve_elsewhere

        given: dict[str, Any] = {"api_key": os.environ.get("FULLCHAIN_API_KEY"), "ready_file": ready_file}
        given["replicas"] = replicas if replicas > 1 else None
        fields = {"host": host, "port": port, "name": name} | {k: v for k, v in given.items() if v is not None}
        raise typer.Exit(serve_elsewhere(backend, folder, fields | _settings(sets or []), gpus))
    if gpus > 1:
        raise StageError("--gpus: served here is on the processor; GPUs are for --backend vllm or lmdeploy")
    find = (lambda: model_folder(ref, Store(home()))) if ref.startswith("models:/") else None
    serve_forever(
        folder,
        find=find,
        host=host,
        port=port,
        name=name,
        replicas=replicas,
        ready_file=ready_file,
        api_key=os.environ.get("FULLCHAIN_API_KEY"),
        **_settings(sets or []),
    )


def _settings(sets: list[str]) -> dict[str, Any]:
    """KEY=VALUE pairs by key."""
    pairs = [text.partition("=") for text in sets]
    if wrong := [
        key for key, equals, _ in pairs if not equals or key in ("host", "port", "name", "replicas", "api_key")
    ]:
        raise StageError(f"--set {wrong[0]}: expected KEY=VALUE of a setting that has no option or variable of its own")
    return {key: value for key, _, value in pairs}


@app.command("bench-serve")
@_verb
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
    _print(result, as_json, load_table(result))
    if result["failed"]:
        raise typer.Exit(1)


@app.command("export")
@_verb
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


@app.command()
@_verb
def chat(ref: Annotated[str, typer.Argument(help="What to talk to")] = "release@poet") -> None:
    """Talk to a model in the terminal."""
    from flows.talk import chat as talk

    talk(ref, Store(home()))


@app.command()
@_verb
def agent(
    question: Annotated[str, typer.Argument(help="What the agent is to do")],
    ref: Annotated[str, typer.Option("--model", help="A REF")] = "release@poet",
) -> None:
    """Let a model use its tools to answer one question."""
    from flows.talk import agent as ask

    ask(ref, question, Store(home()))


@app.command("report")
@_verb
def show_report(ref: Annotated[str, typer.Argument(help="A REF")] = "report@poet", as_json: Json = False) -> None:
    """Print where the report card is."""
    from flows.refs import report_card

    page = str(report_card(ref, Store(home())))
    _print({"report": page}, as_json, page)


@app.command()
@_verb
def up(
    prefect_port: Annotated[int, typer.Option(min=1, max=65535)] = 4200,
    mlflow_port: Annotated[int, typer.Option(min=1, max=65535)] = 5000,
) -> None:
    """Start Prefect, MLflow, a worker and the deployments on this machine."""
    from flows.servers import up as start

    start(home(), prefect_port, mlflow_port, lambda text: console.print(text, soft_wrap=True))


@app.command()
@_verb
def doctor(as_json: Json = False) -> None:
    """Look for what is wrong here, and say how to mend it."""
    from flows.housekeeping import doctor as look

    findings = look(Store(home()))
    table = Table("", "what", "mend", box=None, pad_edge=False)
    for f in findings:
        table.add_row("[green]ok[/green]" if f.well else "[red]no[/red]", f.what, "" if f.well else f.mend)
    _print([vars(f) for f in findings], as_json, table)
    if not all(f.well for f in findings):
        raise typer.Exit(1)


@app.command()
@_verb
def gc(
    yes: Annotated[bool, typer.Option("--yes", help="Delete; without it, only say what would go")] = False,
    unfinished: Annotated[bool, typer.Option("--unfinished", help="Also the work of killed stages")] = False,
    as_json: Json = False,
) -> None:
    """Reclaim disk; never what a preset's plan or a release refers to."""
    from flows.housekeeping import collect, garbage

    found = garbage(Store(home()), unfinished)
    freed = collect(found) if yes else 0
    rows = [{"path": str(g.path), "bytes": g.bytes} for g in found]
    total = sum(g.bytes for g in found) / 1e6
    end = f"{freed / 1e6:.1f} MB freed" if yes else f"{total:.1f} MB would go; --yes deletes"
    _print(rows, as_json, "\n".join([*(str(g.path) for g in found), end]))


@data.command("search")
@_verb
def data_search(text: Annotated[str, typer.Argument(help="Words to look for")] = "", as_json: Json = False) -> None:
    """List the sources in the catalogue."""
    from flows.catalogue import search

    rows = search(text)
    table = Table("name", "title", "kinds", "languages", "licence", "MB", box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(", ".join(v) if isinstance(v, list) else str(v) for v in row.values()))
    _print(rows, as_json, table)


@data.command("info")
@_verb
def data_info(name: Source, as_json: Json = False) -> None:
    """Show a source's card: where it is, what pins it, its licence, and how it is read."""
    from tasks.sources import load_card

    card = load_card(name).model_dump(mode="json")
    _print(card, as_json, json.dumps(card, ensure_ascii=False, indent=2))


@data.command("get")
@_verb
def data_get(name: Source, as_json: Json = False) -> None:
    """Fetch a source through the configured package clients, verify it, and print where it is."""
    from tasks.sources import open_source

    source = open_source(name)
    _print({"path": str(source.path), "sha256": source.sha256}, as_json, str(source.path))


@data.command("check")
@_verb
def data_check(
    name: Annotated[str, typer.Argument(help="A catalogue name, or a file or folder of your own")],
    records: Annotated[int, typer.Option(min=1, help="How many records to read at the most")] = 10_000,
    as_json: Json = False,
) -> None:
    """Read a source as the stage that it is for would, and say what is wrong with its records."""
    from flows.catalogue import check

    found = check(name, records)
    _print(found, as_json, json.dumps(found, ensure_ascii=False, indent=2))
    if not found["records"]:
        count = found["quarantined"]
        raise StageError(f"{name}: none of {count} record{'s' * (count != 1)} is good; `bad` says why")


@data.command("why")
@_verb
def data_why(
    record: Annotated[str, typer.Argument(help="A record's id, or a part of it")],
    ref: Annotated[str, typer.Option("--corpus", help="A REF; default: the newest corpus that has it")] = "",
    as_json: Json = False,
) -> None:  # fmt: skip
    """Say why a record was kept or dropped: every rule it failed, every score, what it duplicates."""
    from flows.ledger import explain

    found = explain(record, ref, Store(home()))
    _print(found, as_json, json.dumps(found, ensure_ascii=False, indent=2))


@data.command("replay")
@_verb
def data_replay(preset: Preset = "poet", sets: Sets = None, as_json: Json = False) -> None:
    """Say what a built corpus would keep under other thresholds, from its ledger, without running anything."""
    from flows.ledger import try_settings

    found = try_settings(preset, tuple(sets or ()), Store(home()))
    _print(found, as_json, json.dumps(found, ensure_ascii=False, indent=2))


@data.command("audit")
@_verb
def data_audit(
    ref: Annotated[str, typer.Argument(help="A REF of a corpus")] = "corpus@poet",
    out: Annotated[Path, typer.Option(help="Where to write the records to label")] = Path("audit.jsonl"),
    size: Annotated[int, typer.Option(min=1, max=300, help="How many")] = 100,
    labels: Annotated[Path | None, typer.Option(exists=True, help="A file that you have labelled")] = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Draw dropped records to label keep or drop; with --labels, tell the share of false drops and its interval."""
    from tasks.corpus.audit import draw, judged

    if labels is not None:
        shares = {name: share._asdict() for name, share in judged(labels).items()}
        _print(shares, as_json, json.dumps(shares, indent=2))
        return
    from flows.ledger import write_lines
    from flows.refs import resolve

    drawn = draw(resolve(ref, Store(home())).path, size)
    write_lines(drawn, out)
    told = f"{len(drawn)} records in {out}: write keep or drop into each label, then give it as --labels"
    _print({"file": str(out), "records": len(drawn)}, as_json, told)


def _print(value: Any, as_json: bool, shown: Any) -> None:
    if as_json:
        print(json.dumps(value, ensure_ascii=False, indent=1))
    else:
        console.print(shown, soft_wrap=True, markup=not isinstance(shown, str))


if __name__ == "__main__":
    app()
