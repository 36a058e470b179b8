"""The report card: what was made, from what, how well it does, and how long each stage took."""

from __future__ import annotations

from pydantic import Field

from tasks.stage import Artifact, Metrics, Output, StageConfig, stage


class ReportConfig(StageConfig):
    """What the page shows."""

    title: str = Field("Fullchain report", max_length=200, description="Heading of the page")
    samples: int = Field(12, ge=0, le=500, description="Generated samples to show")


@stage(libraries=("jinja2", "matplotlib"))
def report(
    cfg: ReportConfig, out: Output, *, corpus: Artifact, tokenizer: Artifact, tokens: Artifact, pretrain: Artifact,
    finetune: Artifact, align: Artifact, scores: Artifact, quantize: Artifact, int4_scores: Artifact,
    release: Artifact, trial: Artifact,
) -> Metrics:  # fmt: skip
    """One self-contained HTML page that links everything a run of the chain made."""
    from tasks.report.facts import Run
    from tasks.report.page import render

    made = [corpus, tokenizer, tokens, pretrain, finetune, align, scores, quantize, int4_scores, release, trial]
    run = Run(made, out.chain_run)
    curves = {"pretraining": pretrain, "fine-tuning": finetune, "alignment": align}
    page = render(cfg.title, run, curves, corpus, scores, int4_scores, trial, cfg.samples)
    (out.path / "report.html").write_text(page, encoding="utf-8")
    built = sum(s.state == "run" for s in run.stages)
    return {"stages": len(made), "stages_run": built, "kilobytes": len(page) // 1000}
