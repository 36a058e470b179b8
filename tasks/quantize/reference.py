"""A few log-probabilities of the full-precision model, by which the engine checks the graph when it loads it."""

import json
from pathlib import Path

import numpy as np

from models.language_model import LanguageModel, token_log_probs
from tasks.validation import ValidationText

TOKENS = 64  # one short forward pass
SLACK, FLOOR = 3.0, 0.5  # times the loss of rounding, plus nats: wrong kernels miss by several nats


def write_reference(full: LanguageModel, int4: LanguageModel, text: ValidationText, target: Path) -> None:
    """Write `selfcheck.json`: tokens, their log-probabilities, and how far off them a sound engine may be."""
    tokens = max(text.windows, key=lambda window: len(window.tokens)).tokens[: TOKENS + 1]
    expected, measured = (
        token_log_probs(model.logits(tokens[None, :-1]), tokens[None, 1:])[0] for model in (full, int4)
    )
    tolerance = FLOOR + SLACK * float(np.abs(measured - expected).mean())
    content = {
        "tokens": tokens.tolist(),
        "log_probs": [round(float(value), 4) for value in expected],
        "tolerance": round(tolerance, 2),
    }
    (target / "selfcheck.json").write_text(json.dumps(content))
