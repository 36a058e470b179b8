"""By what records are judged: the rules, and the numbers, lists and classifiers that the configuration gives them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from tasks.corpus.classify.training import trained
from tasks.corpus.code.thresholds import CodeThresholds, load_code_thresholds
from tasks.corpus.config import CorpusConfig
from tasks.corpus.contamination import SHORTEST, index_of
from tasks.corpus.heuristics.thresholds import Thresholds, load_thresholds
from tasks.corpus.rules import Bound, Limits, Rule, rules_of
from tasks.corpus.words import words_of
from tasks.files import write_whole
from tasks.redact import without_secrets
from tasks.sources import Record, Source, SourceRef, open_source
from tasks.stage import Output, StageError

_FIELDS = {
    "evaluation_sets": "corpus.evaluation_sets, or finetune.sources, which the chain adds to them",
    "safety_sources": "corpus.safety_sources",
}

Found = TypeVar("Found", set[str], np.ndarray)


class Criteria(NamedTuple):
    """The rules in their order, and what they were made from.

    thresholds: by language; none where no source has prose. code: None where no source has any.
    classifiers: by name, how each does on its held-out texts.
    """

    rules: list[Rule]
    thresholds: Mapping[str, Thresholds]
    code: CodeThresholds | None
    classifiers: Mapping[str, Any]

    @property
    def names(self) -> tuple[str, ...]:
        """The rules' names."""
        return tuple(rule.name for rule in self.rules)

    @property
    def bounds(self) -> list[Bound]:
        """The rules' bounds, one rule after the other."""
        return [bound for rule in self.rules for bound in rule.bounds]


def criteria_of(cfg: CorpusConfig, sources: list[Source], out: Output) -> Criteria:
    """By what these sources are judged; what that takes (classifiers, lists) is made in `state`, once."""
    folder = out.state / "classifiers"
    classifiers = trained(cfg.classifiers, folder, cfg.simplify)
    thresholds = thresholds_of(cfg) if any(map(_has_prose, sources)) else {}
    code = code_thresholds_of(cfg) if any(map(_has_code, sources)) else None
    limits = limits_of(cfg, _contamination_index(cfg, out), folder, _further_words(cfg, out))
    limits = replace(limits, blocked_urls=_blocked_urls(cfg, out))
    return Criteria(rules_of(limits, thresholds, code), thresholds, code, classifiers)


def limits_of(
    cfg: CorpusConfig, index: Path | None = None, trained: Path | None = None, words: Path | None = None
) -> Limits:
    """The rules' numbers, out of the configuration."""
    given = {name: getattr(cfg, name) for name in Limits.__annotations__ if name in CorpusConfig.model_fields}
    return Limits(**given, contamination_index=index, trained=trained, further_words=words)


def thresholds_of(cfg: CorpusConfig) -> dict[str, Thresholds]:
    """By language, how ordinary text is judged; empty when the web-text rules are off."""
    return load_thresholds(cfg.thresholds) if cfg.web_rules else {}


def code_thresholds_of(cfg: CorpusConfig) -> CodeThresholds:
    """How code is judged."""
    return load_code_thresholds(cfg.code_thresholds)


def _has_prose(source: Source) -> bool:
    """Whether any of it is neither poems nor code."""
    return any(part.kind != "poems" and not part.is_code for part in source.parts.values())


def _has_code(source: Source) -> bool:
    """Whether any of it is code."""
    return any(part.is_code for part in source.parts.values())


def _blocked_urls(cfg: CorpusConfig, out: Output) -> Path:
    """A copy of the block lists, made once: workers elsewhere can read it, and an edit meanwhile changes nothing."""
    folder = out.state / "blocked"
    if not folder.exists():
        draft = out.state / ".blocked"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        for file in sorted(cfg.blocked_urls.glob("*.txt")):
            shutil.copyfile(file, draft / file.name)
        draft.rename(folder)
    return folder


def _further_words(cfg: CorpusConfig, out: Output) -> Path | None:
    """The file of the words that sources bring, made once; None when there are none."""
    path = out.state / "words.txt"
    if cfg.safety_sources and not path.exists():
        take = lambda source, records: words_of(source, records, cfg.safety_words_least, cfg.simplify)  # noqa: E731
        words: set[str] = set()
        for name, some in _looked_for("safety_sources", cfg.safety_sources, take, out):
            if not some:
                raise StageError(
                    f"{name}: nothing in it to look for; expected words of {cfg.safety_words_least} characters and "
                    "more; correct the source or leave it out"
                )
            words |= some
        write_whole(path, "".join(f"{word}\n" for word in sorted(words)))
    return path if cfg.safety_sources else None


def _contamination_index(cfg: CorpusConfig, out: Output) -> Path | None:
    """The file of the evaluation sets' n-grams, made once; None when there are none to look for."""
    if not cfg.evaluation_sets:
        return None
    path = out.state / "contamination.npy"
    if not path.exists():
        temporary = path.with_name(".contamination.npy")
        take = lambda _source, records: index_of(records, cfg.contamination_ngram, cfg.simplify)  # noqa: E731
        found = []
        for name, some in _looked_for("evaluation_sets", cfg.evaluation_sets, take, out):
            if not len(some):  # conversations, which the chain adds, may all be short ones
                out.log.warning("%s: no text of %d words or Chinese characters to look for", name, SHORTEST)
            found.append(some)
        np.save(temporary, np.unique(np.concatenate(found)))
        temporary.replace(path)
    return path


def _looked_for(
    field: str, references: tuple[SourceRef, ...], take: Callable[[Source, Iterator[Record]], Found], out: Output
) -> Iterator[tuple[str, Found]]:
    """Field and source in words, and what is taken from its records."""
    for reference in references:
        source, name = open_source(reference), f"{_FIELDS[field]}: {without_secrets(reference.root)}"
        yield name, take(source, _readable(source, name, out))


def _readable(source: Source, name: str, out: Output) -> Iterator[Record]:
    """The records of a source that can be read; how many cannot is told in the log.

    Raises:
        StageError: there is none: the field would do nothing, and nobody know.
    """
    good = bad = 0
    for item in source.records():
        if isinstance(item, Record):
            good += 1
            yield item
        else:
            bad += 1
    if not good:
        raise StageError(
            f"{name}: none of its {bad} records can be read; `fullchain data check` tells what is wrong with them; "
            "correct the source or leave it out"
        )
    if bad:
        out.log.warning("%s: %d records could not be read and count for nothing", name, bad)
