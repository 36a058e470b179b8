"""Quantization from a model directory to the graph that serves it."""

import json
import shutil
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

from models.engine.adapters import save_rescaling
from models.language_model import LanguageModel
from models.quantization import cache_scales, divergences, moments, units
from tasks.errors import StageError
from tasks.files import write_whole
from tasks.output import Output
from tasks.quantize.choose import METHODS, Probe, Tried, chosen, trials
from tasks.quantize.draw import draw
from tasks.quantize.fill import fill
from tasks.quantize.quality import Quality, compare, weight_bytes
from tasks.quantize.reference import write_reference
from tasks.quantize.rounding import Recipe, Rounding
from tasks.quantize.stage import QuantizeConfig
from tasks.quantize.suite import Suite, Tokens, beginnings, compare_answers, greedy
from tasks.token_meta import tokens_meta
from tasks.validation import validation_text

QUALITY = "quality.json"  # beside an attempt's graph: the attempt is finished


def run(cfg: QuantizeConfig, out: Output, source: Path, tokens: Path) -> dict[str, Any]:
    """Try recipes, publish the chosen graph as `model/`; writes `quality.json`, `recipes.json` and `matrices.json`."""
    bench = Bench(cfg, out, source, tokens)
    methods = METHODS if cfg.method == "auto" else (cfg.method,)
    tried = trials(methods, cfg.bits, cfg.tolerance, bench.attempt, bench.probes)
    best = chosen(tried, cfg.tolerance)
    if best.rise > cfg.tolerance:
        out.log.warning("no recipe is within quantize.tolerance %g; the most exact costs %g", cfg.tolerance, best.rise)
    out.log.info("chosen: %s", best.recipe.name)
    shutil.copytree(bench.graph(best.recipe), out.path / "model", ignore=shutil.ignore_patterns(QUALITY))
    write_reference(
        bench.full, LanguageModel.load(out.path / "model", length=cfg.window), bench.text, out.path / "model"
    )
    quality = best.rounded() | {"recipes_tried": len(tried), "within_tolerance": best.rise <= cfg.tolerance}
    table = [{"recipe": one.recipe.name, "chosen": one is best, **one.rounded()} for one in tried]
    for name, content in (("quality", quality), ("recipes", table), ("matrices", bench.rounding.report(best.recipe))):
        (out.path / f"{name}.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    return quality


class Bench:
    """A model on the bench: what its matrices see, its drawn graph, and attempts at it, each kept in the state."""

    def __init__(self, cfg: QuantizeConfig, out: Output, source: Path, tokens: Path) -> None:
        self.cfg, self.out = cfg, out
        self.text = validation_text(tokens, cfg.check_tokens, cfg.window, cfg.context)
        self.windows = calibration_windows(tokens, cfg.calibration_tokens, cfg.window)
        self.drawn = _drawn(out, source)
        self.full = LanguageModel.load(source, length=cfg.window)
        self.model: Any = self.full.session.model
        self.bytes = weight_bytes(source)
        with out.progress("calibrating", len(self.windows)) as bar:
            self.moments = moments(self.model, self.windows, advance=bar.advance)
        self.cache = cache_scales(self.model, self.windows) if cfg.kv_cache == "int8" else []
        self.answer_tokens = min(cfg.suite_tokens, cfg.window // 2)
        self.rounding = Rounding(self.model, self.moments, cfg.block_size)

    def attempt(self, recipe: Recipe) -> Tried:
        """Round, fill the graph and compare it with full precision; an attempt that a killed run finished is kept."""
        graph = self.graph(recipe)
        result = graph / QUALITY
        if not result.exists():
            with self.out.progress(f"rounding: {recipe.name}", len(self.moments)) as bar:
                matrices = self.rounding.matrices(recipe, bar.advance)
            vectors, strengths = self.rounding.vectors(recipe), self.rounding.strengths(recipe)
            fill(self.drawn, graph, matrices, vectors, strengths, self.cache)
            save_rescaling({name: scale.numpy() for name, scale in self.rounding.rescaling(recipe).items()}, graph)
            quality, suite = self._compare(recipe.name, graph)
            measured = {"quality": vars(quality), "suite": vars(suite) if suite else None}
            write_whole(result, json.dumps(measured))
        kept = json.loads(result.read_text(encoding="utf-8"))
        tried = Tried(recipe, Quality(**kept["quality"]), Suite(**kept["suite"]) if kept["suite"] else None)
        self.out.log.info("%s: bits per byte %+.2f%%", recipe.name, 100 * tried.rise)
        return tried

    def probes(self, recipe: Recipe) -> list[Probe]:
        """What each unit costs when it alone is rounded."""
        rounded = self.rounding.plain(recipe)
        windows = self.windows[:: max(1, self.windows.numel() // self.cfg.probe_tokens)]
        found = units(self.moments)
        with self.out.progress("measuring units", len(found)) as bar:
            kls = divergences(self.model, windows, found, rounded, bar.advance)
        sizes = [sum(rounded[name].numel() for name in unit) // 2 for unit in found]  # half a byte more per weight
        return [Probe(*probe) for probe in zip(found, kls, sizes, strict=True)]

    def graph(self, recipe: Recipe) -> Path:
        """Where the recipe's graph is, once attempted."""
        return self.out.state / "graphs" / recipe.name

    @cached_property
    def prompts(self) -> list[Tokens]:
        """What both models answer; none where that is off."""
        count = self.cfg.suite_prompts if self.answer_tokens else 0
        return beginnings(self.text, count, self.cfg.window - self.answer_tokens)

    @cached_property
    def answers(self) -> list[Tokens]:
        """What the full-precision model answers."""
        return greedy(self.full, self.prompts, self.answer_tokens)

    def _compare(self, name: str, graph: Path) -> tuple[Quality, Suite | None]:
        int4 = LanguageModel.load(graph, length=self.cfg.window, threads=self.cfg.threads)
        with self.out.progress(f"comparing: {name}", len(self.text.windows)) as bar:
            quality = compare(self.full, int4, self.text, (self.bytes, weight_bytes(graph)), bar.advance)
        if not self.prompts:
            return quality, None
        return quality, compare_answers(self.answers, greedy(int4, self.prompts, self.answer_tokens))


def calibration_windows(tokens: Path, count: int, window: int) -> torch.Tensor:
    """About `count` training tokens as windows [W, window], half of them evenly from all of the stream.

    The other half comes from documents that fill a window: a few long texts must not be drowned by many short ones of
    another kind, since GPTQ serves what it has seen at the cost of what it has not.

    Raises:
        StageError: the stream is shorter than a window.
    """
    stream = np.memmap(tokens / "train.bin", dtype=tokens_meta(tokens).dtype, mode="r")
    if len(stream) < window:
        raise StageError(f"tokens: {len(stream)} training tokens; expected at least quantize.window = {window}")
    documents = pq.read_table(tokens / "train.documents.parquet", columns=["start", "length"])
    begins, lengths = (documents[name].to_numpy() for name in ("start", "length"))
    inside = [np.arange(b, b + n - window + 1, window) for b, n in zip(begins, lengths, strict=True) if n >= window]
    long = np.concatenate(inside) if inside else np.zeros(0, np.int64)
    number = max(1, min(count, len(stream)) // window)
    few = min(number // 2, len(long))
    starts = np.concatenate([np.linspace(0, len(stream) - window, number - few).astype(np.int64), _spread(long, few)])
    return torch.from_numpy(np.stack([stream[start : start + window] for start in starts]).astype(np.int64))


def _spread(values: np.ndarray, count: int) -> np.ndarray:
    """`count` of the values, evenly from all of them."""
    return values[np.linspace(0, len(values) - 1, count).round().astype(np.int64)]


def _drawn(out: Output, source: Path) -> Path:
    """The fp32 graph, drawn once."""
    drawn = out.state / "drawn"
    if not drawn.exists():
        out.log.info("drawing the graph")
        draw(source, drawn)
    return drawn
