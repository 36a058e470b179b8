"""The stage and its configuration."""

import json
import shutil
from typing import Literal

from pydantic import Field

from tasks.stage import Artifact, Metrics, Output, Runtime, StageConfig, StageError, stage


class QuantizeConfig(StageConfig):
    """How weights are rounded, and how much validation text they are checked on."""

    algorithm: Literal["rtn", "k_quant"] = Field(
        "rtn", description="Rounding: to nearest (rtn), or scales fitted to each block's weights (k_quant)"
    )
    block_size: Literal[16, 32, 64, 128] = Field(32, description="Weights that share a scale")
    symmetric: bool = Field(False, description="Without a zero point per block: smaller, less exact")
    head_bits: Literal[4, 8] = Field(8, description="Bits of the last projection, a small model's most sensitive one")
    sensitive_bits: Literal[4, 8] = Field(
        4, description="Bits of attention inputs and down projections in the first, last and every third other layer"
    )
    check_tokens: int = Field(16_384, ge=64, description="Validation tokens on which both models are compared")
    window: int = Field(256, ge=8, description="Tokens the models read at once in the comparison")
    context: int = Field(64, ge=1, description="Tokens repeated from the window before, where a document is longer")
    threads: Runtime[int] = Field(0, ge=0, description="Threads of the int4 model in the comparison; 0 = one per core")


@stage(libraries=("onnxruntime-genai", "onnxruntime", "onnx", "transformers"))
def quantize(cfg: QuantizeConfig, out: Output, *, model: Artifact, tokens: Artifact) -> Metrics:
    """Round the weights to int4 in an ONNX graph for the CPU and measure what that costs on validation text."""
    from models.language_model import LanguageModel
    from tasks.quantize.build import Recipe, build_int4
    from tasks.quantize.quality import compare, weight_bytes
    from tasks.quantize.reference import write_reference
    from tasks.validation import validation_text

    source, built, target = model.path / "model", out.state / "model", out.path / "model"
    if not (source / "config.json").exists():
        raise StageError("model: the artifact has no model/config.json; expected a Hugging Face directory")
    text = validation_text(tokens.path, cfg.check_tokens, cfg.window, cfg.context)
    if not built.exists():
        out.log.info("building the int4 graph")
        recipe = Recipe(cfg.algorithm, cfg.block_size, cfg.symmetric, cfg.head_bits, cfg.sensitive_bits)
        build_int4(source, built, recipe)
    shutil.copytree(built, target)
    full = LanguageModel.load(source, length=cfg.window)
    int4 = LanguageModel.load(target, length=cfg.window, threads=cfg.threads)
    with out.progress("comparing with full precision", len(text.windows)) as bar:
        sizes = weight_bytes(source), weight_bytes(target)
        quality = compare(full, int4, text, sizes, bar.advance).rounded()
    write_reference(full, int4, text, target)
    (out.path / "quality.json").write_text(json.dumps(quality, indent=2))
    return quality
