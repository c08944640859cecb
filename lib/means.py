"""Power means of score tables, the rankings they give, and conditions under which two of them agree.

Axes: s systems, tasks. M_p(x) = (Σ w_i x_i^p)^(1/p), with M_0 the geometric mean, M_1 the arithmetic, M_-1 the harmonic
one, and M_±∞ the largest and smallest score. The post is https://spaces.ac.cn/archives/8783; all of this is derived in
the article leaderboard-means. Zero and negative scores are refused for p ≤ 0 and for fractional p, not patched.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float, Int

from lib.checks import at_least, checked

Scores = Float[np.ndarray, "*s tasks"]
Means = Float[np.ndarray, "*s"] | float
NAMES = {"AM": 1, "GM": 0, "HM": -1}
SMALL = 1e-3


def _positive(X: Scores) -> None:
    if X.min() <= 0:
        raise ValueError(f"expected scores > 0, got {X.min():g}: a power mean is undefined or 0 there")


@checked
def power_mean(X: Scores, p: float | int, w: Float[np.ndarray, " tasks"] | None = None) -> Means:
    """M_p over the last axis, for any p including 0 and ±∞; all scores must be positive unless p = 1.

    Powers are taken of x over the geometric mean, the largest one factored out, so that large |p| does not overflow.
    """
    weights = np.full(X.shape[-1], 1 / X.shape[-1]) if w is None else np.asarray(w)
    at_least(0, w=weights)
    if not weights.sum() > 0:
        raise ValueError(f"expected weights with a positive sum, got {weights}")
    weights = weights / weights.sum()
    if p == 1:
        return X @ weights
    _positive(X)
    used, weights = X[..., weights > 0], weights[weights > 0]
    if math.isinf(p):
        return used.max(-1) if p > 0 else used.min(-1)
    if p == -1:
        return 1 / ((1 / used) @ weights)
    logs = np.log(used)
    center = logs @ weights
    powers = p * (logs - np.asarray(center)[..., None])
    if abs(p) < SMALL:  # log1p and expm1 keep the digits that the general form loses near p = 0
        return np.exp(center + np.log1p(np.expm1(powers) @ weights) / p) if p else np.exp(center)
    top = powers.max(-1, keepdims=True)
    return np.exp(center + (top[..., 0] + np.log(np.exp(powers - top) @ weights)) / p)


@checked
def power_curve(x: Float[np.ndarray, " tasks"], p: Float[np.ndarray, " points"]) -> Float[np.ndarray, " points"]:
    """M_p(x) for every p of a grid."""
    _positive(x)
    logs = np.log(x) - np.log(x).mean()
    safe = np.where(np.abs(p) < SMALL, SMALL, p)  # log M_p is smooth: between 0 and SMALL it is a straight line
    powers = safe[:, None] * logs
    top = powers.max(1)
    curve = (top + np.log(np.exp(powers - top[:, None]).mean(1))) / safe
    return np.exp(np.log(x).mean() + curve * np.where(np.abs(p) < SMALL, p / SMALL, 1.0))


@checked
def rank(scores: Float[np.ndarray, " s"]) -> Int[np.ndarray, " s"]:
    """Rank 1 for the highest score; equal scores share the best of their places, whatever the order of the input."""
    return 1 + (scores[None, :] > scores[:, None]).sum(1)


@checked
def kendall_tau_matrix(rankings: Float[np.ndarray, "k s"]) -> Float[np.ndarray, "k k"]:
    """Kendall's tau for every two of k score vectors: (pairs in the same order - pairs reversed) / pairs.

    A pair tied in either vector counts for neither side (tau-a); without ties this is tau-b.
    """
    size = rankings.shape[1]
    if size < 2:
        raise ValueError(f"expected two systems or more, got {size}")
    balance = np.zeros((len(rankings), len(rankings)))
    for i in range(size - 1):  # one system against the rest: all pairs at once would not fit for thousands of systems
        signs = np.sign(rankings[:, i + 1 :] - rankings[:, i : i + 1])
        balance += signs @ signs.T
    return balance / (size * (size - 1) / 2)


@checked
def second_order(X: Scores, p: float | int) -> Means:
    """A - (1 - p) V / (2A), the power mean to second order in the spread: A is the mean, V the population variance."""
    A = X.mean(-1)
    _positive(np.asarray(A)[..., None])
    return A - (1 - p) * X.var(-1) / (2 * A)


@checked
def flip_condition(X: Scores, Y: Scores, p: float | int) -> Bool[np.ndarray, "*s"] | bool:
    """Whether M_p orders X and Y against their arithmetic means, by `second_order`.

    For A_X > A_Y this reads (1 - p)/2 (V_X/A_X - V_Y/A_Y) > A_X - A_Y.
    """
    flips = (second_order(X, p) - second_order(Y, p)) * (X.mean(-1) - Y.mean(-1)) < 0
    return flips if X.ndim > 1 else bool(flips)


@checked
def dominates(x: Float[np.ndarray, " tasks"], y: Float[np.ndarray, " tasks"], *, order: int = 2) -> bool:
    """Whether x dominates y in sorted scores (order 1) or in the sums of their k lowest scores (order 2).

    Order 1 gives M_p(x) ≥ M_p(y) for every p, order 2 for every p ≤ 1. A rounding error of the sums is no violation.
    """
    if order not in (1, 2):
        raise ValueError(f"order must be 1 or 2, got {order}")
    gap = np.sort(x) - np.sort(y)
    slack = 1e-12 * len(x) * max(np.abs(x).max(), np.abs(y).max())
    return bool(((gap if order == 1 else gap.cumsum()) >= -slack).all())


@checked
def crossing_bound(x: Float[np.ndarray, " tasks"], y: Float[np.ndarray, " tasks"]) -> int:
    """The most often M_p(x) - M_p(y) can change sign as p runs over the line, at most 2 tasks - 2.

    The sign changes along the merged sorted scores (+ for x, - for y, equal ones cancel), less the zero at p = 0 that
    every pair has.
    """
    _positive(np.stack([x, y]))
    values, places = np.unique(np.concatenate([x, y]), return_inverse=True)
    sign = np.r_[np.ones(len(x)), -np.ones(len(y))]
    signs = np.sign(np.bincount(places, sign, minlength=len(values)))
    signs = signs[signs != 0]
    return max(int((signs[1:] != signs[:-1]).sum()) - 1, 0)


@checked
def crossings(
    x: Float[np.ndarray, " tasks"],
    y: Float[np.ndarray, " tasks"],
    low: float | int = -30.0,
    high: float | int = 30.0,
    *,
    points: int = 6001,
) -> list[float]:
    """The p in [low, high] where M_p(x) - M_p(y) changes sign, to the width of the grid; ties are passed over."""
    at_least(2, points=points)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"expected finite low < high, got {low} and {high}")
    grid = np.linspace(low, high, points)
    gaps = power_curve(x, grid) - power_curve(y, grid)
    clear = np.abs(gaps) > 1e-12 * max(x.max(), y.max())
    gaps, grid = gaps[clear], grid[clear]
    at = np.flatnonzero(np.sign(gaps[1:]) != np.sign(gaps[:-1]))
    return [float((grid[i] + grid[i + 1]) / 2) for i in at]
