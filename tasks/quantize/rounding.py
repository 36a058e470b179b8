"""A model's matrices, rounded by one recipe or another."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from models.quantization import (
    Format,
    Moments,
    Quantized,
    Rescaled,
    gptq,
    original,
    output_error,
    rescaled,
    round_to_nearest,
)

TABLE = "model.embed_tokens"  # the token table's module, when the head has another matrix
FINE = 8  # bits of units that suffer in fewer, and of token tables

Unit = tuple[str, ...]  # modules that read one input; engines compute them in one product, so they share a format


@dataclass(frozen=True)
class Recipe:
    """How to round: by `method` to `bits`, but the units in `finer` to 8."""

    method: str
    bits: int
    finer: tuple[Unit, ...] = ()

    @property
    def name(self) -> str:
        finer = sorted(name for unit in self.finer for name in unit)
        mark = hashlib.sha256(" ".join(finer).encode()).hexdigest()[:6]
        return f"{self.method}-int{self.bits}" + (f"-{len(self.finer)}x8-{mark}" if finer else "")


class Rounding:
    """Rounds the matrices of `model`, whose inputs have second moments `moments`, in blocks of `block` weights.

    What was rounded once is kept.
    """

    def __init__(self, model: nn.Module, moments: Moments, block: int) -> None:
        self.model, self.moments, self.block = model, moments, block
        self._matrix, self._scaled = cache(self._rounded), lru_cache(1)(self._rescaled)  # the latter is a whole model

    def matrices(self, recipe: Recipe, advance: Callable[[], None] = lambda: None) -> dict[str, Quantized]:
        """Every matrix by module name, the token table too where it is one of its own; `advance()` hears of each."""
        finer, scaled_for = {name for unit in recipe.finer for name in unit}, self._scaled_for(recipe)
        made = {}
        for name in self.moments:
            made[name] = self._matrix(recipe.method, scaled_for, name, FINE if name in finer else recipe.bits)
            advance()
        if not self.model.config.tie_word_embeddings:
            made[TABLE] = round_to_nearest(self.model.get_input_embeddings().weight.data, Format(FINE, self.block))
        return made

    def vectors(self, recipe: Recipe) -> dict[str, Tensor]:
        """The other parameters that the recipe changes, by name."""
        return self._numbers(recipe).vectors

    def rescaling(self, recipe: Recipe) -> dict[str, Tensor]:
        """By module and side, `NAME.inputs` [K] and `NAME.outputs` [N], what the recipe scaled: see `Rescaled`."""
        numbers = self._numbers(recipe)
        sides = {"inputs": numbers.inputs, "outputs": numbers.outputs}
        return {f"{name}.{side}": scale for side, scales in sides.items() for name, scale in scales.items()}

    def strengths(self, recipe: Recipe) -> dict[str, Tensor]:
        """How strong each input [K] of each matrix is, by module name, up to a factor."""
        return {name: moment.diagonal().sqrt() for name, moment in self._numbers(recipe).moments.items()}

    def plain(self, recipe: Recipe) -> dict[str, Tensor]:
        """The rounded matrices in the model's own numbers, before any rescaling, fp32."""
        ours, theirs, made = self._plain.matrices, self._numbers(recipe).matrices, self.matrices(recipe)
        return {
            name: made[name].dequantized() * torch.where(theirs[name] == 0, 1, ours[name] / theirs[name])
            for name in ours
        }

    def report(self, recipe: Recipe) -> list[dict[str, Any]]:
        """Of each matrix its bits, and the square error of its outputs over their square sum on calibration text."""
        numbers = self._numbers(recipe)
        made = self.matrices(recipe)
        return [
            {
                "module": name,
                "bits": made[name].format.bits,
                "output_error": round(output_error(weight, made[name].dequantized(), numbers.moments[name]), 8),
            }
            for name, weight in numbers.matrices.items()
        ]

    def _rounded(self, method: str, scaled_for: int, name: str, bits: int) -> Quantized:
        numbers, form = self._scaled(scaled_for) if scaled_for else self._plain, Format(bits, self.block)
        weight, moment = numbers.matrices[name], numbers.moments[name]
        if method == "gptq":
            return gptq(weight, moment, form)
        return round_to_nearest(weight, form, moment.diagonal() if method == "awq" else None)

    def _numbers(self, recipe: Recipe) -> Rescaled:
        bits = self._scaled_for(recipe)
        return self._scaled(bits) if bits else self._plain

    @staticmethod
    def _scaled_for(recipe: Recipe) -> int:
        """The bits that its scales are looked for with; 0 where it has none."""
        return recipe.bits if recipe.method == "awq" else 0

    @cached_property
    def _plain(self) -> Rescaled:
        return original(self.model, self.moments)

    def _rescaled(self, bits: int) -> Rescaled:
        return rescaled(self.model, self.moments, Format(bits, self.block))
