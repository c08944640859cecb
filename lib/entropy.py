"""Entropy of attention rows: measured, expected for random keys, and the inverse temperature that fits retrieval best.

A row is p = softmax(β s) over m scores s; its entropy is H = log Σ e^{βs} − β ⟨s⟩_p, in nats. Derived in the article
entropy-invariant-attention, posts https://spaces.ac.cn/archives/8823, 9034 and 9588. `sphere_shift` is the number
that `dims.entropy_correction` gets from Bessel functions, here from an integral.

Axes: b rows, m keys, d channels.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lib import quadrature
from lib.checks import at_least, checked, indices

Values = Float[np.ndarray, "*s"] | float


@checked
def attention_entropy(weights: Float[Tensor, "*b m"]) -> Float[Tensor, "*b"]:
    """−Σ p log p of every row, in nats and in float64; a row of zeros, a query that may see nothing, has 0.

    Other rows must be non-negative and sum to 1 (to 2% in half precision).
    """
    p = weights.double()
    total = p.sum(-1)
    slack = 0.02 if weights.dtype in (torch.float16, torch.bfloat16) else 1e-4
    if bool((p < 0).any()) or bool((((total - 1).abs() > slack) & (total != 0)).any()):
        raise ValueError(
            f"expected rows of non-negative weights with sum 1, got minimum {p.min().item():.3g} and sums "
            f"{total.min().item():.4g}..{total.max().item():.4g}"
        )
    return -torch.xlogy(p, p).sum(-1)


@checked
def sphere_shift(lam: Float[np.ndarray, "*s"] | float | int, d: int) -> Values:
    """g(λ) = log E e^{λ d cos θ} − λ d ⟨cos θ⟩: what λ adds to the entropy log n of a row with random keys.

    θ is the angle to a direction uniform in d ≥ 2 dimensions, with density ∝ sin^{d−2} θ, and ⟨·⟩ the mean under the
    law tilted by e^{λ d cos θ}. Exact for n → ∞ at fixed d and λ. Composite Gauss rule in θ.
    """
    at_least(2, d=d)
    at_least(0, lam=lam)
    lams = np.atleast_1d(np.asarray(lam, dtype=np.float64))
    pieces = 4 + math.ceil(math.sqrt(d * (1 + lams.max())) / 4)  # the peak is about (d (1 + λ))^(−1/2) wide
    nodes, weights = quadrature.on_pieces(quadrature.rule("gauss", 32), np.linspace(0, 1, pieces + 1))
    theta = math.pi * nodes
    base = np.log(weights) + (d - 2) * np.log(np.sin(theta))
    tilted = base + d * lams[..., None] * np.cos(theta)
    log_sum = np.logaddexp.reduce(tilted, -1)
    mean = (np.exp(tilted - log_sum[..., None]) * np.cos(theta)).sum(-1)
    g = log_sum - np.logaddexp.reduce(base) - d * lams * mean
    return g if np.ndim(lam) else float(g[0])


@checked
def sphere_shift_laplace(lam: Float[np.ndarray, "*s"] | float | int, d: int) -> Values:
    """(d/2) log(1 − c²) with the saddle c = 2λ/(1 + √(1 + 4λ²)): the leading term of `sphere_shift` for large d.

    λ = 1 gives −0.2406 d, the post's constant; small λ give −λ²d/2.
    """
    at_least(2, d=d)
    at_least(0, lam=lam)
    c = 2 * lam / (1 + np.sqrt(1 + 4 * np.square(lam)))
    g = d / 2 * np.log1p(-np.square(c))
    return g if np.ndim(lam) else float(g)


@checked
def best_beta(scores: Float[Tensor, "b m"], target: Int[Tensor, " b"], *, tol: float = 1e-6) -> float:
    """The β > 0 that minimises the mean cross entropy −log softmax(β s)[target] over the rows.

    The loss is convex in β with slope mean(⟨s⟩_p − s[target]); its zero is found by Newton steps inside a bracket, to
    `tol` relative. ValueError where the slope has no zero: if targets are no better than average, or always the best.
    """
    indices("target", target, scores.shape[1])
    if not 0 < tol < 1:
        raise ValueError(f"expected 0 < tol < 1, got {tol}")
    s = scores.double()
    s = s - s.gather(1, target.long()[:, None])
    if s.mean() >= 0 or s.amax(1).mean() <= 0:
        raise ValueError("expected targets that score above average and not always best, got no optimum with 0 < β < ∞")

    def slope(beta: float) -> tuple[float, float]:
        p = (beta * s).softmax(1)
        mean = (p * s).sum(1)
        return mean.mean().item(), ((p * s.square()).sum(1) - mean.square()).mean().item()

    low, high = 0.0, 1 / s.std().item()
    while slope(high)[0] < 0:
        low, high = high, 2 * high
    beta = (low + high) / 2
    while high - low > tol * high:
        first, second = slope(beta)
        low, high = (beta, high) if first < 0 else (low, beta)
        step = first / max(second, 1e-300)
        if abs(step) <= tol * beta:
            break
        beta = beta - step if low < beta - step < high else (low + high) / 2
    return beta


@checked
def lead(scores: Float[Tensor, "b m"], target: Int[Tensor, " b"]) -> tuple[float, float]:
    """(Δ, σ): by how much targets lead the mean of the other scores, and the deviation of those within their row."""
    indices("target", target, scores.shape[1])
    at_least(3, m=scores.shape[1])
    s = scores.double()
    own = torch.zeros_like(s, dtype=torch.bool).scatter_(1, target.long()[:, None], True)
    crowd = s[~own].view(len(s), -1)
    return (s[own].mean() - crowd.mean()).item(), crowd.var(1).mean().sqrt().item()


def _free_energy(sigma: float, n: float | int) -> float:
    """log of the sum of n Gaussian scores of deviation σ, exponentiated: log n + σ²/2, linear in σ once it freezes."""
    edge = math.sqrt(2 * math.log(n))
    return edge**2 / 2 + sigma**2 / 2 if sigma < edge else sigma * edge


@checked
def log_odds(margin: float | int, sigma: float | int, n: int, factor: float | int = 1.0) -> float:
    """Log-odds of a target that leads n scores of deviation σ by a margin, all logits times a factor.

    λΔ − log n − (λσ)²/2 while λσ < √(2 log n), λΔ − λσ √(2 log n) beyond: the random energy model for large n.
    """
    at_least(2, n=n)
    at_least(0, sigma=sigma, factor=factor)
    at_least(-math.inf, margin=margin)
    return factor * margin - _free_energy(factor * sigma, n)
