"""The release gate: the quantized model goes out only when it lost little, and well enough scores are reached."""

from __future__ import annotations

import json
import shutil

from pydantic import Field

from tasks.release.gate import compare, refusals
from tasks.stage import Artifact, Metrics, Output, Runtime, StageConfig, StageError, stage


class ReleaseConfig(StageConfig):
    """What the gate asks for, and under which name the model is registered."""

    registered_name: Runtime[str] = Field(
        "", pattern=r"^([A-Za-z0-9][\w.-]{0,127})?$", description="Name in the model registry; empty = the preset's"
    )
    alias: Runtime[str] = Field(
        "champion", pattern=r"^[a-z][a-z0-9_-]{0,63}$", description="Registry alias that moves to it"
    )
    tolerance: float = Field(
        0.01, ge=0, le=1, description="Largest relative rise of bits per byte that quantization may cost"
    )
    at_least: dict[str, float] = Field({}, description="Score name -> value that the quantized model must reach")


@stage()
def release(cfg: ReleaseConfig, out: Output, *, model: Artifact, scores: Artifact, int4_scores: Artifact) -> Metrics:
    """Gate the quantized model against the model it was made from, and lay out the serving package."""
    before, after = (json.loads((a.path / "scores.json").read_text()) for a in (scores, int4_scores))
    if reasons := refusals(before, after, cfg.tolerance, cfg.at_least):
        raise StageError("the gate refuses the quantized model: " + "; ".join(reasons))
    shutil.copytree(model.path / "model", out.path / "model")
    card = {
        "tolerance": cfg.tolerance, "model_digest": model.digest, "scores": compare(before, after),
    }  # fmt: skip
    (out.path / "card.json").write_text(json.dumps(card, ensure_ascii=False, indent=1, sort_keys=True))
    size = sum(f.stat().st_size for f in (out.path / "model").rglob("*") if f.is_file())
    rise = after["bits_per_byte"] / before["bits_per_byte"] - 1
    return {"megabytes": round(size / 1e6, 2), "bits_per_byte": after["bits_per_byte"], "bits_per_byte_rise": rise}
