"""Our server against llama.cpp's and onnxruntime-genai's Engine: the same model, prompts, load generator and threads.

    make bench-serve            # builds the peers first
    python -m bench.serve --llama PATH/TO/llama.cpp/build/bin --threads 1 --pairs 3

Every pair runs ours and the peer in turn on prompts that neither has seen. Beside the ratio of wall times stands that
of the processor time that the servers took (`cpu_ratio`): on a shared machine it is the steadier one.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.serve_model import FORMATS, gguf, int4_graph
from models.engine import ChatTokenizer
from tasks.serve.load import Ask, Goal, closed_loop, summary
from tasks.sources import open_source
from tasks.sources.records import Record

ROOT = Path(__file__).parent.parent
PORT = {"ours": 8231, "llama": 8232}
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Load:
    """What the clients do: `clients` at once, `requests` in all, so many tokens of prompt, of which some are shared."""

    name: str
    clients: int
    requests: int
    prompt: int
    answer: int
    shared: int = 0
    metric: str = "tokens_per_s"


LOADS = (
    Load("serve_16_clients", 16, 32, 128, 64),
    Load("serve_1_client", 1, 2, 128, 96),
    Load("serve_prefill", 1, 3, 1000, 1, metric="prompt_per_s"),
    Load("serve_shared_prefix", 16, 32, 1030, 24, shared=1000),
    Load("serve_16_clients_1000", 16, 16, 1000, 32),
    Load("serve_16_clients_4000", 16, 16, 4000, 16),
)


@dataclass
class Server:
    """A server under test."""

    url: str
    process: subprocess.Popen

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS


class Texts:
    """Prompts as tokens, never the same twice."""

    def __init__(self, tokenizer: ChatTokenizer):
        documents = open_source("enwiki-extract").records()
        text = "\n\n".join(record.data["text"] for record in documents if isinstance(record, Record))
        self.tokens, self.at = tokenizer.encode(text), 0

    def take(self, count: int) -> list[int]:
        if self.at + count > len(self.tokens):
            self.at = self.at % 97 + 1
        self.at += count
        return self.tokens[self.at - count : self.at]

    def asks(self, load: Load) -> list[Ask]:
        shared = self.take(load.shared)
        body = {"model": "bench", "max_tokens": load.answer, "temperature": 0, "ignore_eos": True}
        prompts = (shared + self.take(load.prompt - load.shared) for _ in range(load.requests))
        return [Ask("/v1/completions", body | {"prompt": prompt}) for prompt in prompts]


def measure(server: Server, asks: list[Ask], load: Load) -> dict[str, Any]:
    """One run; a failed request fails the bench."""
    before = server.cpu_seconds()
    seen, seconds = asyncio.run(closed_loop(server.url, asks, load.clients))
    result = summary(seen, seconds, Goal())
    if result["failed"]:
        raise SystemExit(f"{load.name}: {result['failed']} requests failed: {result['errors']}")
    result["cpu_s"] = server.cpu_seconds() - before
    result["prompt_per_s"] = result["prompt_tokens"] / seconds
    return result


def compare(load: Load, ours: Server, peer: Server, texts: Texts, pairs: int, version: str) -> dict[str, Any]:
    """Pairs in turn; the order alternates."""
    runs: dict[str, list[dict[str, Any]]] = {"ours": [], "peer": []}
    for number in range(pairs):
        asks = texts.asks(load)
        for name, server in sorted({"ours": ours, "peer": peer}.items(), reverse=bool(number % 2)):
            runs[name].append(measure(server, asks, load))
    pairs_of = list(zip(runs["ours"], runs["peer"], strict=True))
    line = {"bench": load.name, **_ratios([(a[load.metric], b[load.metric]) for a, b in pairs_of])}
    line |= {"unit": load.metric.replace("_per_s", "/s")}
    line["cpu_ratio"] = round(statistics.median(b["cpu_s"] / max(a["cpu_s"], 1e-3) for a, b in pairs_of), 3)
    for key in ("first_token_ms", "per_token_ms"):
        line[key] = {who: _middle(each, key) for who, each in runs.items()}
    return line | {"peer_version": version, "agreement": "the same prompts and number of tokens; greedy"}


def _ratios(pairs: list[tuple[float, float]]) -> dict[str, Any]:
    ratios = [ours / peer for ours, peer in pairs]
    facts = {"ratio": statistics.median(ratios), "min": min(ratios), "max": max(ratios), "pairs": len(pairs)}
    facts |= {"ours": statistics.median(a for a, _ in pairs), "peer": statistics.median(b for _, b in pairs)}
    return {name: round(value, 3) for name, value in facts.items()}


def _middle(runs: list[dict[str, Any]], key: str) -> dict[str, float]:
    return {name: round(statistics.median(run[key][name] for run in runs), 1) for name in ("p50", "p95")}


def first_token_gain(server: Server, texts: Texts) -> dict[str, Any]:
    """Time to first token behind a known prefix of 1,000 tokens against a cold one, alone on the server."""
    load, times = Load("", 1, 2, 1030, 1, shared=1000), []
    for _ in range(5):
        times.append([measure(server, [ask], load)["first_token_ms"]["p50"] for ask in texts.asks(load)])
    facts = _ratios([(cold, warm) for cold, warm in times])
    return {
        "bench": "serve_first_token_shared", **facts, "unit": "ms, cold and known",
        "peer_version": "ours, known prefix", "agreement": "the same prefix",
    }  # fmt: skip


def genai(model: Path, ours: Server, texts: Texts, pairs: int, python: Path) -> dict[str, Any]:
    """onnxruntime-genai's Engine in process, ours over HTTP."""
    load, rates = Load("serve_genai_engine", 16, 16, 128, 64), []
    for _ in range(pairs):
        asks = texts.asks(load)
        job = {"model": str(model), "prompts": [ask.body["prompt"] for ask in asks], "tokens": load.answer}
        command = [python, ROOT / "bench/serve_genai.py"]
        done = subprocess.run(command, input=json.dumps(job), capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"onnxruntime-genai failed:\n{done.stderr[-2000:]}")
        peer = json.loads(done.stdout.splitlines()[-1])
        rates.append((measure(ours, asks, load)["tokens_per_s"], peer["tokens"] / peer["seconds"]))
    return {
        "bench": load.name, **_ratios(rates), "unit": "tokens/s", "peer_version": "onnxruntime-genai 0.18.0",
        "agreement": "the same int4 graph and prompts",
    }  # fmt: skip


@contextmanager
def running(name: str, command: list[Any]) -> Iterator[Server]:
    """A server until the block ends."""
    with tempfile.TemporaryFile() as log:
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(list(map(str, command)), stdout=log, stderr=log, env=environment)
        server = Server(f"http://127.0.0.1:{PORT[name]}", process)
        try:
            _wait(server, log)
            yield server
        finally:
            process.terminate()
            process.wait(60)


def _wait(server: Server, log: Any) -> None:
    for _ in range(600):
        try:
            with urllib.request.urlopen(f"{server.url}/health", timeout=2) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.2)
        if server.process.poll() is not None:
            log.seek(0)
            raise SystemExit(f"a server did not start:\n{log.read()[-2000:].decode(errors='replace')}")
    raise SystemExit(f"{server.url} does not answer")


def our_command(model: Path, threads: int, slots: int, length: int, *options: str) -> list[Any]:
    limits = ["--slots", slots, "--context", length, "--threads", threads, "--queue", 64]
    command = [sys.executable, "-m", "tasks.serve", model, "--name", "bench", "--port", PORT["ours"]]
    return [*command, "--spin", *limits, *options]  # as llama.cpp's threads do


def llama_command(binaries: Path, model: Path, threads: int, slots: int, length: int) -> list[Any]:
    """Continuous batching and the prompt cache are on by default."""
    sizes = ["-np", slots, "-c", slots * length, "-t", threads, "-tb", threads, "-fa", "on"]
    return [binaries / "llama-server", "-m", model, "--port", PORT["llama"], *sizes, "--no-webui", "--log-disable"]


def fastest(binaries: Path, models: dict[str, Path], texts: Texts, threads: int) -> str:
    """The format in which llama.cpp serves 16 clients fastest."""
    load, rates = Load("", 16, 16, 128, 32), {}
    for form, model in models.items():
        with running("llama", llama_command(binaries, model, threads, 16, 512)) as server:
            rates[form] = measure(server, texts.asks(load), load)["tokens_per_s"]
    print("llama.cpp, tokens/s of 16 clients by format:", rates, flush=True)
    return max(rates, key=lambda form: rates[form])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--llama", type=Path, default=ROOT / ".venv-bench/llama.cpp/build/bin")
    parser.add_argument("--work", type=Path, default=ROOT / ".venv-bench/serve")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--format", choices=FORMATS, help="Skip the search for llama.cpp's fastest format")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    model = int4_graph(args.work)
    texts = Texts(ChatTokenizer(model))
    models = {form: gguf(args.work, args.llama / "llama-quantize", form) for form in FORMATS}
    form = args.format or fastest(args.llama, models, texts, args.threads)
    version = f"llama-cpp-python 0.3.36's llama-server, {form}, {args.threads} threads"
    lines = []
    for load in (load for load in LOADS if not args.only or load.name in args.only):
        length = -(-(load.prompt + load.answer + 8) // 256) * 256
        slots = min(load.clients, 16)
        options = ("--guess", "8") if slots == 1 else ()
        pairs = args.pairs if load.prompt < 4000 else 1
        with (
            running("ours", our_command(model, args.threads, slots, length, *options)) as ours,
            running("llama", llama_command(args.llama, models[form], args.threads, slots, length)) as peer,
        ):
            lines.append(compare(load, ours, peer, texts, pairs, version))
            _show(lines[-1])
            if load.shared:
                lines.append(first_token_gain(ours, texts))
                _show(lines[-1])
    if not args.only or "serve_genai_engine" in args.only:
        with running("ours", our_command(model, args.threads, 16, 256)) as ours:
            lines.append(genai(model, ours, texts, min(args.pairs, 3), ROOT / ".venv-bench/bin/python"))
            _show(lines[-1])
    for line in lines:
        print(json.dumps(line))


def _show(line: dict[str, Any]) -> None:
    spread = f"{line['ratio']:6.2f}x ({line['min']:.2f}-{line['max']:.2f})"
    print(f"{line['bench']:26} {spread}  {line['ours']} to {line['peer']} {line['unit']}", flush=True)


if __name__ == "__main__":
    main()
