"""Our server against llama.cpp's and onnxruntime-genai's Engine: the same model, prompts, load generator and threads.

    make bench-serve            # builds the peers first
    python -m bench.serve --llama PATH/TO/llama.cpp/build/bin --threads 1 --pairs 3
    python -m bench.serve --model quantize@smollm2 --source align@smollm2     # a released graph, and what it is made of

Every pair runs ours and the peer in turn on prompts that neither has seen. Beside the ratio of wall times stands that
of the processor time that the servers took (`cpu_ratio`): on a shared machine it is the steadier one. llama.cpp runs at
its best (bench/serve_llama.py). A load ends after `--seconds`, whatever pairs are left, so that all takes 15 minutes.
"""

import argparse
import json
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

from bench.serve_llama import FORMATS, Setting, best, command, programs
from bench.serve_model import gguf, int4_graph, located, package_weights
from bench.serve_quality import quality
from bench.serving import ROOT, Load, Server, Texts, measure, our_command, running
from models.engine import ChatTokenizer

LOADS = (
    Load("serve_16_clients", 16, 32, 128, 64),
    Load("serve_1_client", 1, 2, 128, 96, look="one"),
    Load("serve_prefill", 1, 3, 1000, 1, metric="prompt_per_s", look="prefill"),
    Load("serve_shared_prefix", 16, 16, 1030, 24, shared=1000, look="shared"),
    Load("serve_16_clients_1000", 16, 16, 1000, 32, look="long"),
    Load("serve_16_clients_4000", 16, 16, 4000, 16, look="long"),
)


def compare(load: Load, ours: Server, peer: Server, texts: Texts, limit: tuple[int, float]) -> dict[str, Any]:
    """Pairs in turn, until there are as many as `limit` says or its seconds are over; the order alternates."""
    runs: dict[str, list[dict[str, Any]]] = {"ours": [], "peer": []}
    ends = time.monotonic() + limit[1]
    for number in range(limit[0]):
        asks = texts.asks(load)
        for name, server in sorted({"ours": ours, "peer": peer}.items(), reverse=bool(number % 2)):
            runs[name].append(measure(server, asks, load))
        if time.monotonic() > ends:
            break
    pairs_of = list(zip(runs["ours"], runs["peer"], strict=True))
    line = {"bench": load.name, **_ratios([(a[load.metric], b[load.metric]) for a, b in pairs_of])}
    line |= {"unit": load.metric.replace("_per_s", "/s")}
    line["cpu_ratio"] = round(statistics.median(b["cpu_s"] / max(a["cpu_s"], 1e-3) for a, b in pairs_of), 3)
    for key in ("first_token_ms", "per_token_ms", "normalized_ms"):
        line[key] = {who: _middle(each, key) for who, each in runs.items()}
    return line | {"agreement": "the same prompts and number of tokens; greedy"}


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--llama", type=Path, default=ROOT / ".venv-bench/llama.cpp/build/bin")
    parser.add_argument("--work", type=Path, default=ROOT / ".venv-bench/serve")
    parser.add_argument("--model", help="REF or folder of a quantized model; made of --source when not given")
    parser.add_argument("--source", help="REF or folder of the weights that it was made of; SmolLM2's when not given")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=90, help="No pair of a load begins later than this")
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--format", choices=FORMATS, help="The only one that is tried of llama.cpp's")
    args = parser.parse_args()
    if bool(args.model) != bool(args.source):
        parser.error("--model and --source go together: the peers run the weights that the model was made of")
    args.work.mkdir(parents=True, exist_ok=True)
    source = located(args.source, "config.json") if args.source else package_weights(args.work)
    model = located(args.model, "model.onnx") if args.model else int4_graph(args.work)
    texts = Texts(ChatTokenizer(model))
    forms = [args.format] if args.format else FORMATS
    models = {form: gguf(args.work, source, args.llama / "llama-quantize", form) for form in forms}
    peers = programs(args.llama)
    settings: dict[str, Setting] = {}
    lines = []
    for load in (load for load in LOADS if not args.only or load.name in args.only):
        if load.look not in settings:
            settings[load.look] = best(load.look, peers, models, texts, args.threads)
        setting = settings[load.look]
        slots = min(load.clients, 16)
        options = ("--guess", "8") if slots == 1 else ()
        with (
            running("ours", our_command(model, args.threads, slots, load.length, *options)) as ours,
            running("llama", command(setting, peers, models, args.threads, load.length)) as peer,
        ):
            line = compare(load, ours, peer, texts, (args.pairs, args.seconds))
            lines.append(line | {"peer_version": f"{setting}, {args.threads} threads"})
            _show(lines[-1])
            if load.shared:
                lines.append(first_token_gain(ours, texts))
                _show(lines[-1])
    if not args.only or "serve_genai_engine" in args.only:
        with running("ours", our_command(model, args.threads, 16, 256)) as ours:
            lines.append(genai(model, ours, texts, args.pairs, ROOT / ".venv-bench/bin/python"))
            _show(lines[-1])
    if not args.only or "serve_quality" in args.only:
        form = settings["many"].form if "many" in settings else forms[0]
        lines.append(quality(source, model, models[form], texts))
        _show(lines[-1])
    for line in lines:
        print(json.dumps(line))


def _show(line: dict[str, Any]) -> None:
    spread = f"{line['ratio']:6.2f}x ({line['min']:.2f}-{line['max']:.2f})"
    print(f"{line['bench']:26} {spread}  {line['ours']} to {line['peer']} {line['unit']}", flush=True)


if __name__ == "__main__":
    main()
