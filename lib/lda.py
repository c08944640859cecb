"""Logistic regression in closed form: classes are Gaussians with one covariance, so the log-odds are linear.

This is linear discriminant analysis. Weights are defined up to one vector and one number that are the same for all
classes; ours come from class means relative to the grand mean. Compare fits by `relative_logits`.
Post: https://spaces.ac.cn/archives/8578, derived in the article logistic-closed-form.

Axes: n rows, d features, c classes, t values of the shrinkage.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lib.checks import checked, positive
from lib.moments import Moments, moments, residuals, whitening

SINGULAR = 1e-10  # a feature is a combination of others if less than this share of its variance is its own
ROUNDING = 1e-13  # a deviation below this share of the mean is rounding
GRID = (1e-6, 1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.06, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)


def _shrunk(S: Tensor, amount: float) -> Tensor:
    eye = torch.eye(len(S), dtype=S.dtype, device=S.device)
    return (1 - amount) * S + amount * S.trace() / len(S) * eye


def _solve(S: Tensor, B: Tensor) -> Tensor:
    """S⁻¹B by Cholesky; where S is singular, S⁺B with eigenvalues up to 1e-10 of the largest cut off."""
    factor, failed = torch.linalg.cholesky_ex(S)
    if not failed and bool((factor.diagonal().square() > SINGULAR * S.diagonal()).all()):
        return torch.cholesky_solve(B, factor)
    kernel = whitening(S, SINGULAR)
    return kernel @ (kernel.mT @ B)


def fit_gaussian_linear(  # checked by `moments` and `from_moments`
    X: Float[Tensor, "n d"],
    y: Int[Tensor, " n"],
    classes: int,
    shrinkage: float | int | Literal["lw", "loo"] | None = None,
    prior: Float[Tensor, " c"] | None = None,
) -> tuple[Float[Tensor, "d c"], Float[Tensor, " c"]]:
    """(W, b) in float64 such that softmax(XW + b) is p(class | x) for Gaussian classes with one covariance.

    w_k = S⁻¹(μ_k − μ) and b_k = log p_k − ½(μ_k − μ)ᵀS⁻¹(μ_k − μ) − μᵀw_k, with S the covariance within classes
    (divisor n) and p the class frequencies, or `prior`. A number a in [0, 1] replaces S by (1−a)S + a·tr(S)/d·I;
    "lw" takes a from `ledoit_wolf`, "loo" from `loo_log_loss`. A class without rows gets w = 0 and b = −inf.
    """
    m = moments(X, y, classes)
    if isinstance(shrinkage, str):
        if shrinkage == "lw":
            shrinkage = ledoit_wolf(residuals(X, y.long(), m.mean))
        elif shrinkage == "loo":
            shrinkage = GRID[int(loo_log_loss(X, y, classes).argmin())]
        else:
            raise ValueError(f"shrinkage must be a number, 'lw', 'loo' or None, got {shrinkage!r}")
    return from_moments(m, shrinkage, prior)


def from_moments(
    m: Moments, shrinkage: float | int | None = None, prior: Float[Tensor, " c"] | None = None
) -> tuple[Float[Tensor, "d c"], Float[Tensor, " c"]]:
    """`fit_gaussian_linear` from moments by class, such as `lib.moments.stream` gathers from data of any length."""
    seen, amount = m.count > 0, 0.0 if shrinkage is None else float(shrinkage)
    if int(seen.sum()) < 2:
        raise ValueError(f"expected rows of two classes at least, got rows of {int(seen.sum())}")
    if not 0 <= amount <= 1:
        raise ValueError(f"shrinkage must lie in [0, 1], got {shrinkage}")
    S = m.covariance()
    # what is constant within classes up to rounding has no variance to divide by
    alive = S.diagonal() > (ROUNDING * m.mean.abs().amax(0)).square()
    if not bool(alive.any()):
        raise ValueError("expected rows that differ within classes, got none: their covariance is zero")
    p = m.count / m.count.sum()
    if prior is not None:
        if prior.shape != p.shape or not bool((prior > 0).all() and prior.isfinite().all()):
            raise ValueError(f"expected {len(p)} finite priors > 0, got {prior.tolist()}")
        p = (prior / prior.sum()).double()
    grand = m.count @ m.mean / m.count.sum()
    apart = torch.where(seen[:, None], m.mean - grand, 0.0).mT  # (d, c)
    if amount or bool(alive.all()):
        W = _solve(_shrunk(S, amount) if amount else S, apart)
    else:
        W = torch.zeros_like(apart)
        W[alive] = _solve(S[alive][:, alive], apart[alive])
    b = torch.where(seen, p, 0.0).log() - (apart * W).sum(0) / 2 - grand @ W
    return W, b


@checked
def relative_logits(Z: Float[Tensor, "*b c"]) -> Float[Tensor, "*b c"]:
    """Logits minus that of class 0, the part of them that probabilities determine."""
    return Z - Z[..., :1]


@checked
def ledoit_wolf(Z: Float[Tensor, "n d"]) -> float:
    """The shrinkage towards tr(S)/d·I that minimises the expected squared error of S = ZᵀZ/n, estimated from rows Z.

    The rows are taken as centred. β/δ with δ = ‖S − tr(S)/d·I‖²_F and β = (Σ‖z‖⁴/n − ‖S‖²_F)/n, at most 1.
    """
    Z = Z.detach().double()
    n, d = Z.shape
    S = Z.mT @ Z / n
    delta = float(S.square().sum() - S.trace().square() / d)
    beta = float(Z.square().sum(1).square().mean() - S.square().sum()) / n
    return 0.0 if beta <= 0 else min(beta / delta, 1.0) if delta > 0 else 1.0


@checked
def loo_log_loss(
    X: Float[Tensor, "n d"],
    y: Int[Tensor, " n"],
    classes: int,
    grid: tuple[float, ...] = GRID,
    *,
    per_row: bool = False,
) -> Float[Tensor, " t"] | Float[Tensor, "t scored"]:
    """Log-loss on each row of the model fitted without it, for every shrinkage in `grid`: one eigendecomposition.

    The mean over rows, or every row's own loss.

    Leaving out row x of class k with z = x − μ_k changes n·S by −zzᵀ n_k/(n_k − 1), a rank-one change, and μ_k by
    −z/(n_k − 1). The divisor n, the target tr(S)/d and the priors are kept. A class with a single row cannot do
    without it; such rows are not scored.
    """
    if not grid or not all(0 < a <= 1 for a in grid):
        raise ValueError(f"expected shrinkages in (0, 1], got {grid}")
    m = moments(X, y, classes)
    n, y, S = len(X), y.long(), m.covariance()
    values, U = torch.linalg.eigh(S)
    grand = m.total().mean
    mean, x = (m.mean - grand) @ U, (X.detach().double() - grand) @ U  # a far mean would cost digits below
    z, scale = x - mean[y], (m.count / (m.count - 1).clamp_min(1))[y]
    scored = m.count[y] > 1
    if not bool(scored.any()):
        raise ValueError("expected a class of two rows at least, got one row of each")
    own = torch.nn.functional.one_hot(y, classes).bool()
    losses = []
    for a in grid:
        inverse = 1 / ((1 - a) * values.clamp_min(0) + a * values.mean())
        zz = (z.square() @ inverse)[:, None]
        # zᵀA⁻¹(x − μ_j) and (x − μ_j)ᵀA⁻¹(x − μ_j) for every class j
        cross = (z * x) @ inverse[:, None] - (z * inverse) @ mean.mT
        square = x.square() @ inverse[:, None] - 2 * (x * inverse) @ mean.mT + mean.square() @ inverse
        cross = torch.where(own, scale[:, None] * zz, cross)
        square = torch.where(own, scale.square()[:, None] * zz, square)
        c = (1 - a) * scale[:, None] / n
        distance = square + c * cross.square() / (1 - c * zz)
        log_p = ((m.count / n).log() - distance / 2).log_softmax(-1)
        losses.append(-log_p[own][scored])
    table = torch.stack(losses)
    return table if per_row else table.mean(1)


@checked
def efron_are(delta: float | int) -> float:
    """How many rows the closed form needs for each one of maximum likelihood, for two equally likely Gaussian classes.

    (1 + Δ²/4) · 2e^(−Δ²/8)/√(2π) · ∫ e^(−x²/2)/(e^(Δx/2) + e^(−Δx/2)) dx with Δ the Mahalanobis distance of the means
    (Efron 1975): the limit of the ratio of the excess errors.
    """
    positive(delta=delta)
    x = torch.linspace(-40, 40, 8001, dtype=torch.float64)
    # a trapezoidal sum over an analytic function that vanishes at both ends is exact to rounding
    log_f = -x.square() / 2 - torch.logaddexp(delta * x / 2, -delta * x / 2)
    integral = torch.trapezoid(log_f.exp(), x)
    return float((1 + delta**2 / 4) * 2 * math.exp(-(delta**2) / 8) / math.sqrt(2 * math.pi) * integral)
