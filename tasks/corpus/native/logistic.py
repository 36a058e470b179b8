"""Logistic regression over hashed features: fitted by AdaGrad (Duchi et al. 2011), one text at a time, in order."""

from __future__ import annotations

import math

import numpy as np

from tasks.corpus.native import kernel


@kernel
def probability(features, weights):
    """Of one text, whose features (int64, distinct) all have the value 1 / sqrt(how many): its vector has length 1."""
    total = weights[-1]
    if len(features):
        value = 1.0 / math.sqrt(len(features))
        for i in features:
            total += weights[i] * value
    return 1.0 / (1.0 + math.exp(-min(max(total, -30.0), 30.0)))


@kernel
def fit(features, ends, labels, importance, rate, epochs, weights):
    """Change weights (float64 [buckets + 1], the last one is the bias) by all texts, `epochs` times.

    Text i has features[ends[i - 1]:ends[i]] and counts importance[labels[i]] times.
    """
    squares = np.full(len(weights), 1e-8)
    for _ in range(epochs):
        start = 0
        for text in range(len(ends)):
            own = features[start : ends[text]]
            start = ends[text]
            error = (probability(own, weights) - labels[text]) * importance[labels[text]]
            squares[-1] += error * error
            weights[-1] -= rate * error / math.sqrt(squares[-1])
            step = error / math.sqrt(max(1, len(own)))
            for i in own:
                squares[i] += step * step
                weights[i] -= rate * step / math.sqrt(squares[i])
