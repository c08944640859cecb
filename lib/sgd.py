"""Softmax regression by one pass of SGD in given orders of the data, for many orders at once.

Used in the article global-shuffle, which asks what the order does to the result; post
https://spaces.ac.cn/archives/8662. Axes: runs, d channels, c classes.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from lib.checks import at_least, checked, positive

Weights = Float[np.ndarray, "runs d c"]


def _check_labels(y: Int[np.ndarray, "..."], classes: int) -> None:
    if y.min() < 0 or y.max() >= classes:
        raise ValueError(f"expected labels in [0, {classes}), got {y.min()}..{y.max()}")


def _log_softmax(X: Float[np.ndarray, "... d"], W: Weights, b: Float[np.ndarray, "runs 1 c"]) -> np.ndarray:
    logits = X @ W + b
    logits = logits - logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


@checked
def softmax_epoch(
    X: Float[np.ndarray, "lines d"],
    y: Int[np.ndarray, " lines"],
    orders: Int[np.ndarray, "runs steps"],
    *,
    batch: int,
    rate: float,
) -> tuple[Weights, Float[np.ndarray, "runs 1 c"]]:
    """Weights and biases after one pass through the lines in each of the orders, started from zero.

    The step is W ← W − rate·∇(mean cross-entropy of the batch); an incomplete last batch is left out.
    """
    positive(rate=rate)
    at_least(1, batch=batch)
    if batch > orders.shape[1] or orders.min() < 0 or orders.max() >= len(X):
        got = f"orders of length {orders.shape[1]} with entries {orders.min()}..{orders.max()}"
        raise ValueError(f"expected orders of {batch} lines or more, entries in [0, {len(X)}), got {got}")
    classes = int(y.max()) + 1
    _check_labels(y, classes)
    one_hot = np.eye(classes, dtype=X.dtype)
    W = np.zeros((len(orders), X.shape[1], classes), dtype=X.dtype)
    b = np.zeros((len(orders), 1, classes), dtype=X.dtype)
    for start in range(0, orders.shape[1] - batch + 1, batch):
        rows = orders[:, start : start + batch]
        gradient = (np.exp(_log_softmax(X[rows], W, b)) - one_hot[y[rows]]) / batch
        W -= rate * X[rows].swapaxes(1, 2) @ gradient
        b -= rate * gradient.sum(1, keepdims=True)
    return W, b


@checked
def softmax_loss(
    X: Float[np.ndarray, "lines d"],
    y: Int[np.ndarray, " lines"],
    W: Weights,
    b: Float[np.ndarray, "runs 1 c"],
) -> Float[np.ndarray, " runs"]:
    """Mean cross-entropy in nats of each run on the lines."""
    _check_labels(y, W.shape[2])
    logs = _log_softmax(X, W, b)
    return -logs[:, np.arange(len(y)), y].mean(1, dtype=float)
