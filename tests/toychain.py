"""A chain of three small stages in a folder of its own, whose code a test may edit."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

WORDS = '''
"""The first toy stage, the only one that uses the helper."""
from pydantic import Field
from tasks.stage import Metrics, Output, Runtime, StageConfig, stage
import {helper}


class WordsConfig(StageConfig):
    count: int = Field(3, ge=1, le=100, description="Words")
    workers: Runtime[int] = Field(1, ge=0, description="Bears no identity")


@stage()
def words(cfg: WordsConfig, out: Output) -> Metrics:
    """Write words."""
    (out.path / "words.txt").write_text("\\n".join({helper}.word(i) for i in range(cfg.count)))
    return {{"words": cfg.count}}
'''

STAGES = '''
"""The other toy stages."""
from pathlib import Path
from pydantic import Field
from tasks.stage import Artifact, Metrics, Output, Runtime, StageConfig, StageError, stage


class UpperConfig(StageConfig):
    mark: str = Field("!", description="Put behind each word")
    fail_until: Runtime[str] = Field("", description="Raise until this file exists")
    refuse_until: Runtime[str] = Field("", description="Ask the user for a mend until this file exists")


class TotalConfig(StageConfig):
    scale: float = Field(1.0, gt=0, description="Factor")


@stage(libraries=("pydantic",))
def upper(cfg: UpperConfig, out: Output, *, words: Artifact) -> Metrics:
    """Make them louder."""
    if cfg.fail_until and not Path(cfg.fail_until).exists():
        Path(cfg.fail_until).touch()
        raise RuntimeError("not yet")
    if cfg.refuse_until and not Path(cfg.refuse_until).exists():
        Path(cfg.refuse_until).touch()
        raise StageError(f"mark: {{cfg.mark}} is refused; give another")
    text = (words.path / "words.txt").read_text()
    out.metrics(1, length=len(text))
    (out.path / "upper.txt").write_text(text.upper() + cfg.mark)
    return {{"characters": len(text)}}


@stage()
def total(cfg: TotalConfig, out: Output, *, first: Artifact, second: Artifact | None = None) -> Metrics:
    """Count characters."""
    size = sum(len((a.path / "upper.txt").read_text()) for a in (first, second) if a)
    (out.path / "total.txt").write_text(str(size * cfg.scale))
    return {{"total": size * cfg.scale}}
'''

HELPER = '''
"""Toy helper."""


def word(i):
    """The i-th word."""
    return "word" + str(i)  # counted from zero
'''

CHAIN = """
from dataclasses import dataclass, replace
import {words} as w
import {stages} as s

again = s.upper.named("upper-again")


@dataclass(frozen=True)
class Config:
    name: str = "toy"
    words: w.WordsConfig = w.WordsConfig()
    upper: s.UpperConfig = s.UpperConfig()
    again: s.UpperConfig = s.UpperConfig(mark="?")
    total: s.TotalConfig = s.TotalConfig()

    def change(self, stage, **fields):
        return replace(self, **{{stage: getattr(self, stage).model_copy(update=fields)}})


def chain(cfg):
    text = w.words(cfg.words)
    first = s.upper(cfg.upper, words=text)
    second = again(cfg.again, words=text)
    return s.total(cfg.total, first=first, second=second)
"""


def write_toy(folder: Path, tag: str) -> ModuleType:
    """Write the toy chain's modules (their names end in `tag`) into a folder, and import it."""
    names = {part: f"toy_{part}_{tag}" for part in ("helper", "words", "stages", "chain")}
    sources = {"helper": HELPER, "words": WORDS, "stages": STAGES, "chain": CHAIN}
    for part, name in names.items():
        (folder / f"{name}.py").write_text(sources[part].format(**names))
    for name in names.values():
        spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return module


def edit(folder: Path, tag: str, old: str, new: str) -> None:
    """Replace a text in the toy helper."""
    file = folder / f"toy_helper_{tag}.py"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
