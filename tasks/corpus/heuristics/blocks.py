"""The datatrove block that measures ordinary text."""

from __future__ import annotations

from collections.abc import Mapping

from datatrove.data import DocumentsPipeline
from datatrove.pipeline.base import PipelineStep

from tasks.corpus.documents import Draft
from tasks.corpus.heuristics.measures import measure
from tasks.corpus.heuristics.thresholds import Thresholds


class Measurer(PipelineStep):
    """Measures each draft that is no poem by the thresholds of its language, and takes out the lines they filter.

    Of Markdown the prose is measured, and all lines stay: a heading of two words is no line too short, nor is code.
    Texts that are too long to stay anyway are left as they are, so one endless line costs no memory.
    """

    type, name = "FORMAT", "measure"

    def __init__(self, thresholds: Mapping[str, Thresholds], longest: int) -> None:
        super().__init__()
        self.thresholds, self.longest = thresholds, longest

    def run(self, data: DocumentsPipeline, _rank: int, _world_size: int) -> DocumentsPipeline:
        for document in data:
            draft: Draft | None = document.metadata.get("draft")
            if draft and not draft.poem and len(draft.text) <= 2 * self.longest:
                thresholds = self.thresholds.get(draft.language)
                if thresholds and draft.prose is not None:
                    draft.scores |= measure(draft.prose, thresholds).scores
                elif thresholds:
                    draft.text, scores = measure(draft.text, thresholds)
                    draft.body = draft.text
                    draft.scores |= scores
            yield document
