"""Watching a training run's health: losses and gradients that are no numbers, or far out of their recent range."""

import math
from collections import deque
from dataclasses import dataclass, field
from statistics import median
from typing import Any

SIGMA = 1.4826
"""The standard deviation of a normal distribution, in median absolute deviations (Rousseeuw and Croux 1993)."""


class Anomaly(ArithmeticError):
    """`measure` (loss or gradient_norm) was `value` at `step`, above `limit`, or no number at all."""

    def __init__(self, step: int, measure: str, value: float, limit: float) -> None:
        super().__init__(f"{measure} {value} at step {step}; at most {limit} is normal")
        self.step, self.measure, self.value, self.limit = step, measure, value, limit


@dataclass(frozen=True)
class Bounds:
    """When a value is a spike: above the median of the last `window` by `deviations` robust standard deviations.

    A spike is also `loss_rise` times the median loss, or `norm_rise` times the median gradient norm: noise that is
    merely unusual is left to gradient clipping. Before `least` values are known nothing is a spike.
    """

    spikes: bool = True
    window: int = 64
    least: int = 16
    deviations: float = 8.0
    loss_rise: float = 1.25
    norm_rise: float = 8.0
    rollbacks: int = 3
    skip: int = 1


@dataclass
class Guard:
    """Judges each step before its update; remembers only what was normal, so a spike does not widen its own bounds."""

    bounds: Bounds = field(default_factory=Bounds)
    losses: deque[float] = field(default_factory=deque)
    norms: deque[float] = field(default_factory=deque)

    def check(self, step: int, loss: float, norm: float) -> None:
        """Take note of a step.

        Raises:
            Anomaly: the loss or the gradient norm is not finite, or a spike.
        """
        for measure, value, seen, rise in (
            ("loss", loss, self.losses, self.bounds.loss_rise),
            ("gradient_norm", norm, self.norms, self.bounds.norm_rise),
        ):
            limit = self._limit(seen, rise)
            if not math.isfinite(value) or value > limit:
                raise Anomaly(step, measure, value, limit)
        for seen, value in ((self.losses, loss), (self.norms, norm)):
            seen.append(value)
            if len(seen) > self.bounds.window:
                seen.popleft()

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"losses": list(self.losses), "norms": list(self.norms)}

    @classmethod
    def restored(cls, bounds: Bounds, state: dict[str, Any]) -> "Guard":
        """From a checkpoint; an empty state remembers nothing."""
        return cls(bounds, deque(state.get("losses", [])), deque(state.get("norms", [])))

    def _limit(self, seen: deque[float], rise: float) -> float:
        if not self.bounds.spikes or len(seen) < self.bounds.least:
            return math.inf
        middle = median(seen)
        spread = SIGMA * median(abs(value - middle) for value in seen)
        return middle + max(self.bounds.deviations * spread, (rise - 1) * abs(middle))
