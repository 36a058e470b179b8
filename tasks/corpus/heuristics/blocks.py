"""The datatrove block that measures ordinary text."""

from __future__ import annotations

from collections.abc import Mapping

from datatrove.data import DocumentsPipeline
from datatrove.pipeline.base import PipelineStep

from tasks.corpus.documents import Draft
from tasks.corpus.heuristics.long import measure_long
from tasks.corpus.heuristics.measures import measure
from tasks.corpus.heuristics.thresholds import Thresholds


class Measurer(PipelineStep):
    """Measures each draft that is no poem by the thresholds of its language, and takes out the lines they filter.

    Of Markdown the prose is measured, and all lines stay: a heading of two words is no line too short, nor is code.
    Longer texts than `longest` are measured window by window where their language has rules for them; else they are
    too long to stay and left as they are, so one endless line costs no memory.
    """

    type, name = "FORMAT", "measure"

    def __init__(self, thresholds: Mapping[str, Thresholds], longest: int) -> None:
        super().__init__()
        self.thresholds, self.longest = thresholds, longest

    def run(self, data: DocumentsPipeline, _rank: int, _world_size: int) -> DocumentsPipeline:
        for document in data:
            draft: Draft | None = document.metadata.get("draft")
            if draft and not draft.poem and draft.code is None:
                thresholds = self.thresholds.get(draft.language)
                if thresholds:
                    self._measure(draft, thresholds)
            yield document

    def _measure(self, draft: Draft, thresholds: Thresholds) -> None:
        prose = draft.text if draft.prose is None else draft.prose
        draft.long = len(draft.text) > self.longest and thresholds.long is not None
        if draft.long:
            measured = measure_long(prose, thresholds, filter_lines=draft.prose is None)
        elif len(draft.text) <= 2 * self.longest:
            measured = measure(prose, thresholds)
        else:
            return
        draft.scores |= measured.scores
        if draft.prose is None:
            draft.text = draft.body = measured.text
