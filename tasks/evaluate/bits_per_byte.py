"""Bits per byte: how well a model predicts validation text, whatever its tokenizer."""

from pathlib import Path

import numpy as np

from models.language_model import LanguageModel, token_log_probs
from models.ngram import Trigram
from tasks.stage import Output
from tasks.token_meta import tokens_meta
from tasks.validation import ValidationText, batches, rows_at_once

ROWS = 16  # windows read at once
TRIGRAM_TOKENS = 50_000_000  # training tokens that a trigram model counts at most, for the memory of its sort


def bits_per_byte(model: LanguageModel, text: ValidationText, out: Output) -> dict[str, float]:
    """-log2 p(text) over its UTF-8 bytes, documents' ends included (Gao et al. 2020, section 3.1)."""
    rows = rows_at_once(text.windows, model.session.vocab_size, min(ROWS, model.session.slots))
    nats = 0.0
    with out.progress("bits per byte", len(text.windows)) as bar:
        for inputs, targets, scored in batches(text.windows, rows):
            nats -= float(token_log_probs(model.logits(inputs), targets)[scored].sum(dtype=np.float64))
            bar.advance(len(inputs))
    return {
        "bits_per_byte": nats / np.log(2) / text.bytes,
        "token_perplexity": float(np.exp(nats / text.scored)),
        "scored_tokens": text.scored,
        "scored_documents": text.documents,
    }


def trigram_bits_per_byte(tokens: Path, text: ValidationText) -> dict[str, float]:
    """The same of a trigram model over the same tokens, trained on the same training split: the bar to clear."""
    meta = tokens_meta(tokens)
    stream = np.fromfile(tokens / "train.bin", dtype=meta.dtype, count=TRIGRAM_TOKENS)
    trigram = Trigram(stream, meta.vocab_size, separator=int(stream[0]))
    nats = -sum(float(trigram.log_probs(window.tokens)[window.first :].sum()) for window in text.windows)
    return {"trigram_bits_per_byte": nats / np.log(2) / text.bytes}
