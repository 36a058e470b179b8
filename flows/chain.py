"""The chain: from raw text to a model in use. Read it from top to bottom; a session gives the calls their meaning."""

from __future__ import annotations

from flows.config import ChainConfig
from flows.stages import (
    align,
    apply,
    corpus,
    evaluate,
    finetune,
    pretrain,
    quantize,
    release,
    report,
    tokenizer,
    tokens,
)
from tasks.session import Input

evaluate_int4 = evaluate.named("evaluate-int4")


def chain(cfg: ChainConfig) -> Input:
    """Data, pretraining, tuning, alignment, evaluation, quantization, release, use, and the report that links them."""
    clean = corpus(cfg.uncontaminated)
    tok = tokenizer(cfg.tokenizer, corpus=clean)
    packed = tokens(cfg.tokens, corpus=clean, tokenizer=tok)
    base = pretrain(cfg.pretrain, tokens=packed, tokenizer=tok)
    tuned = finetune(cfg.finetune, base=base, corpus=clean)
    aligned = align(cfg.align, model=tuned, corpus=clean)
    scores = evaluate(cfg.evaluate, model=aligned, finetune=tuned, corpus=clean, tokens=packed)
    int4 = quantize(cfg.quantize, model=aligned, tokens=packed)
    int4_scores = evaluate_int4(cfg.evaluate, model=int4, finetune=tuned, corpus=clean, tokens=packed)
    released = release(cfg.release, model=int4, scores=scores, int4_scores=int4_scores)
    trial = apply(cfg.apply, release=released, corpus=clean)
    return report(
        cfg.report, corpus=clean, tokenizer=tok, tokens=packed, pretrain=base, finetune=tuned, align=aligned,
        scores=scores, quantize=int4, int4_scores=int4_scores, release=released, trial=trial,
    )  # fmt: skip
