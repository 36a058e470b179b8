"""The stage and its configuration."""

from typing import Literal

from pydantic import Field

from tasks.stage import Artifact, Metrics, Output, Runtime, StageConfig, StageError, stage


class QuantizeConfig(StageConfig):
    """How weights may be rounded, what that may cost, and the text it is learnt and checked on."""

    bits: Literal[4, 8] = Field(4, description="Bits of a weight; at 4, units that suffer most are kept in 8")
    method: Literal["auto", "rtn", "awq", "gptq"] = Field(
        "auto", description="Rounding: to nearest, after activation-aware scaling, GPTQ; auto: whichever loses least"
    )
    block_size: Literal[16, 32, 64, 128] = Field(
        32, description="Weights that share a scale; 32 leaves as GGUF exactly"
    )
    tolerance: float = Field(
        0.008, ge=0, le=1, description="Largest relative rise of bits per byte; as many units keep 8 bits as that takes"
    )
    kv_cache: Literal["fp32", "int8"] = Field(
        "fp32", description="Keys and values; int8 takes a quarter of the memory, but prompts are read far slower"
    )
    calibration_tokens: int = Field(
        16_384, ge=64, description="Training tokens from which the matrices' inputs are known"
    )
    probe_tokens: int = Field(512, ge=8, description="Of these, tokens on which each unit is measured alone")
    check_tokens: int = Field(16_384, ge=64, description="Validation tokens on which every recipe is measured")
    window: int = Field(256, ge=8, description="Tokens the models read at once")
    context: int = Field(64, ge=1, description="Tokens repeated from the window before, where a document is longer")
    suite_prompts: int = Field(
        8, ge=0, le=1000, description="Beginnings of validation documents that every recipe goes on with; 0 = off"
    )
    suite_tokens: int = Field(32, ge=0, description="Tokens of such an answer, at most half of `window`; 0 = off")
    threads: Runtime[int] = Field(
        0, ge=0, description="Threads of the quantized model in comparisons; 0 = one per core"
    )


@stage(libraries=("onnxruntime-genai", "onnxruntime", "onnx", "torch", "transformers"))
def quantize(cfg: QuantizeConfig, out: Output, *, model: Artifact, tokens: Artifact) -> Metrics:
    """Round the weights in an ONNX graph for the CPU, by the recipe that does best on validation text."""
    from tasks.quantize.run import run

    source = model.path / "model"
    if not (source / "config.json").exists():
        raise StageError("model: the artifact has no model/config.json; expected a Hugging Face directory")
    return run(cfg, out, source, tokens.path)
