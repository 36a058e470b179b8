"""How likely the model finds the reference answers."""

from typing import Any

import numpy as np

from models.language_model import LanguageModel, token_log_probs
from tasks.chat import TURN_END, encode_chat, encode_prompt
from tasks.evaluate.prompts import Prompt


def answer_likelihood(
    model: LanguageModel, prompts: list[Prompt], items: list[dict[str, Any]], length: int
) -> dict[str, float]:
    """Perplexity per token of the answers, each given its prompt; empty when no prompt has a reference.

    References that do not fit `length` tokens with their prompt are left out, and counted.
    """
    nats, tokens, skipped = 0.0, 0, 0
    by_id = {item["id"]: item for item in items}
    for prompt in prompts:
        if prompt.answer is None:
            continue
        start = len(encode_prompt(model.tokenizer, prompt.messages, prompt.tools))
        whole = _through_last_turn(
            model, encode_chat(model.tokenizer, [*prompt.messages, prompt.answer], prompt.tools)[0]
        )
        if len(whole) > min(length, model.session.length):
            skipped += 1
            continue
        ids = np.array([whole])
        log_probs = token_log_probs(model.logits(ids[:, :-1]), ids[:, 1:])[0, start - 1 :]
        nats, tokens = nats - float(log_probs.sum()), tokens + len(log_probs)
        if prompt.id in by_id:
            by_id[prompt.id].setdefault("checks", {})["reference_log_prob"] = round(float(log_probs.mean()), 6)
    if not tokens:
        return {}
    return {"answer_perplexity": float(np.exp(nats / tokens)), "answer_tokens": tokens, "answers_too_long": skipped}


def _through_last_turn(model: LanguageModel, ids: list[int]) -> list[int]:
    """The conversation up to and with the token that ends its last turn; the line break after it is nobody's."""
    end = model.tokenizer.convert_tokens_to_ids(TURN_END)
    return ids[: len(ids) - ids[::-1].index(end)] if end in ids else ids
