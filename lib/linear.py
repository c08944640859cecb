"""Linear scores for a rare class: likelihood, its maximum, the F1 score, and how to maximise that.

Parameters are {"w": (d,), "b": ()}, so that `torch.func` can stack them. Article: task-loss-by-sampling.
Axes: b points, d features, n thresholds or candidates.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from lib import mgs
from lib.checks import at_least, checked
from lib.logistic import max_likelihood
from lib.mgs import Params
from lib.train import minibatches


def score(params: Params, X: Float[Tensor, "b d"]) -> Float[Tensor, " b"]:
    """w·x + b: positive scores say "rare"."""
    return X @ params["w"] + params["b"]


def log_loss(params: Params, X: Float[Tensor, "b d"], y: Bool[Tensor, " b"]) -> Float[Tensor, ""]:
    """The mean of log(1 + e^{∓score}), the negative log-likelihood of logistic regression."""
    return F.softplus(torch.where(y, -1, 1) * score(params, X)).mean()


@checked
def fitted(X: Float[Tensor, "b d"], y: Bool[Tensor, " b"]) -> Params:
    """The maximum of the likelihood, by `lib.logistic.max_likelihood`, scaled to |w| = 1."""
    v = max_likelihood(X, y.long())[0].to(X)
    v = v / v[:-1].norm()
    return {"w": v[:-1], "b": v[-1]}


@checked
def f1(said: Bool[Tensor, "*n b"], y: Bool[Tensor, " b"]) -> Float[Tensor, "*n"]:
    """2 TP / (2 TP + FP + FN) for every row of answers; 0 where neither answers nor truth hold a positive."""
    return 2 * (said & y).sum(-1) / (said.sum(-1) + y.sum(-1)).clamp_min(1)


@checked
def accuracy(said: Bool[Tensor, "*n b"], y: Bool[Tensor, " b"]) -> Float[Tensor, "*n"]:
    """The share of right answers in every row."""
    return (said == y).float().mean(-1)


@checked
def best_threshold(
    scores: Float[Tensor, " b"], y: Bool[Tensor, " b"], metric: Callable[[Tensor, Tensor], Tensor], levels: int = 400
) -> float:
    """The threshold, among `levels` quantiles of the scores, at which `metric(scores > threshold, y)` is largest."""
    at_least(2, levels=levels)
    cuts = scores.quantile(torch.linspace(0, 1, levels, dtype=scores.dtype, device=scores.device))
    return float(cuts[metric(scores > cuts[:, None], y).argmax()])


@checked
def maximise_f1(
    X: Float[Tensor, "b d"], y: Bool[Tensor, " b"], method: str, *, updates: int = 120, size: int = 1000, seed: int
) -> Params:
    """Parameters after optimising F1 on minibatches, from the maximum of the likelihood.

    `method`: a kind of `mgs.log_weights` (guided search), "ES", "REINFORCE", or "likelihood" (the surrogate alone).
    Rates: 8 candidates or outputs, σ = 0.1, α = 0.02; 0.5 = σ²/α for ES and REINFORCE; 0.1 for the surrogate.
    """
    at_least(1, updates=updates)
    if method not in ("likelihood", "ES", "REINFORCE", *get_args(mgs.Kind)):
        raise ValueError(f"expected likelihood, ES, REINFORCE or a kind of weights as method, got {method!r}")
    generator = torch.Generator().manual_seed(seed)
    batch, params = minibatches(X, y, size=size, seed=seed), fitted(X, y)
    for i in range(updates):
        rows, truth = batch(i)
        params = _f1_update(params, rows, truth, method, generator)
    return params


def _f1_update(params: Params, X: Tensor, y: Tensor, method: str, generator: torch.Generator) -> Params:
    def task(stack: Params) -> Tensor:
        return 1 - f1(stack["w"] @ X.mT + stack["b"][:, None] > 0, y)

    if method == "ES":
        return mgs.es_step(params, task, n=8, sigma=0.1, lr=0.5, generator=generator).params
    if method == "REINFORCE":
        said = torch.rand(8, len(X), generator=generator) < score(params, X).sigmoid()
        sign = torch.where(said, 1, -1)
        return mgs.reinforce_step(params, lambda q: F.logsigmoid(sign * score(q, X)).sum(1), 1 - f1(said, y), lr=0.5)
    mean = mgs.surrogate_move(params, lambda q: log_loss(q, X, y), lr=0.1)
    if method == "likelihood":
        return {key: p + mean[key] for key, p in params.items()}
    kind = cast(mgs.Kind, method)
    return mgs.mgs_step(params, mean, task, n=8, sigma=0.1, alpha=0.02, kind=kind, generator=generator).params
