"""Weight-only quantization: rounding, GPTQ, activation-aware scaling, and what each costs."""

from models.quantization.awq import Rescaled, original, rescaled
from models.quantization.blocks import Format, Quantized, round_to_nearest, stacked
from models.quantization.cache import cache_scales
from models.quantization.calibration import Moments, linear_modules, moments, units
from models.quantization.error import divergences, output_error
from models.quantization.gptq import gptq
from models.quantization.packing import packed, unpacked

__all__ = [
    "Format", "Moments", "Quantized", "Rescaled", "cache_scales", "divergences", "gptq", "linear_modules", "moments",
    "original", "output_error", "packed", "rescaled", "round_to_nearest", "stacked", "units", "unpacked",
]  # fmt: skip
