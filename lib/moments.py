"""First and second moments that can be streamed and merged, pooled within classes or over all rows, and whitening.

Everything is kept in float64 and centred before it is squared, because a one-pass sum of squares loses as many digits
as the mean exceeds the deviation. Articles: logistic-closed-form (https://spaces.ac.cn/archives/8578), which needs the
covariance within classes, and those on whitening (https://spaces.ac.cn/archives/8069), which need the total one.

Axes: n rows, d features, c classes, r kept directions.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lib.checks import at_least, checked, indices


class Moments(NamedTuple):
    """Rows seen, their mean, both by class, and Σ (x − mean of its class)(x − mean of its class)ᵀ over all rows."""

    count: Float[Tensor, " c"]
    mean: Float[Tensor, "c d"]
    scatter: Float[Tensor, "d d"]

    def total(self) -> Moments:
        """The same rows as one class: the scatter gains Σ count (mean − grand mean)(mean − grand mean)ᵀ."""
        rows = self.count.sum()
        grand = (self.count @ self.mean / rows.clamp_min(1))[None]
        apart = (self.mean - grand) * self.count.sqrt()[:, None]
        return Moments(rows[None], grand, self.scatter + apart.mT @ apart)

    def covariance(self, ddof: int = 0) -> Float[Tensor, "d d"]:
        """scatter / (rows − ddof); `ddof=classes` is unbiased within classes, `ddof=1` is numpy's default for one."""
        rows = float(self.count.sum())
        if not rows > ddof >= 0:
            raise ValueError(f"expected more rows than ddof >= 0, got {rows:.0f} rows and {ddof=}")
        return self.scatter / (rows - ddof)


def _gram(Z: Float[Tensor, "n d"]) -> Float[Tensor, "d d"]:
    """ZᵀZ. numpy sees that both factors are one matrix and does half the work; torch does not."""
    if Z.device.type == "cpu":
        matrix = Z.detach().numpy()
        return torch.from_numpy(matrix.T @ matrix)
    return Z.mT @ Z


def _apart(X: Tensor, y: Tensor, mean: Tensor) -> Tensor:
    apart = mean[y]
    return torch.sub(X, apart, out=apart)


@checked
def residuals(X: Float[Tensor, "n d"], y: Int[Tensor, " n"], mean: Float[Tensor, "c d"]) -> Float[Tensor, "n d"]:
    """X − mean[y] in float64, in one new array."""
    indices("y", y, len(mean))
    return _apart(X.detach(), y, mean.double())


@checked
def moments(X: Float[Tensor, "n d"], y: Int[Tensor, " n"] | None = None, classes: int = 1) -> Moments:
    """The moments of a batch of rows, by class if labels in [0, classes) are given. A class without rows has mean 0."""
    at_least(1, classes=classes)
    if y is None and classes > 1:
        raise ValueError(f"expected labels for {classes} classes, got none")
    y = torch.zeros(len(X), dtype=torch.int64, device=X.device) if y is None else y.long()
    indices("y", y, classes)
    X = X.detach().double()
    count = torch.bincount(y, minlength=classes).double()
    mean = X.new_zeros(classes, X.shape[1]).index_add_(0, y, X) / count.clamp_min(1)[:, None]
    return Moments(count, mean, _gram(_apart(X, y, mean)))


def merge(a: Moments, b: Moments) -> Moments:
    """The moments of the rows of both, exactly (Chan, Golub and LeVeque).

    With δ the difference of the class means, the mean moves by δ n_b/(n_a + n_b) and the scatter gains
    Σ δδᵀ n_a n_b/(n_a + n_b) over classes. Order and grouping of merges do not matter beyond rounding.
    """
    if a.mean.shape != b.mean.shape:
        raise ValueError(f"expected moments of equal shape, got {tuple(a.mean.shape)} and {tuple(b.mean.shape)}")
    count = a.count + b.count
    delta, share = b.mean - a.mean, (b.count / count.clamp_min(1))[:, None]
    apart = delta * (a.count[:, None] * share).sqrt()
    return Moments(count, a.mean + delta * share, a.scatter + b.scatter + apart.mT @ apart)


def stream(batches: Iterable[Tensor | tuple[Tensor, Tensor]], classes: int = 1) -> Moments:
    """The moments of an iterable of X or (X, y), one batch in memory at a time; the state is O(d² + classes·d)."""
    parts = (moments(*(b if isinstance(b, tuple) else (b,)), classes=classes) for b in batches)
    first = next(parts, None)
    if first is None:
        raise ValueError("expected at least one batch, got none")
    return reduce(merge, parts, first)


@checked
def whitening(covariance: Float[Tensor, "d d"], rank_tol: float = 1e-10) -> Float[Tensor, "d r"]:
    """A kernel K with Kᵀ covariance K = I of size r, the number of eigenvalues above `rank_tol` times the largest.

    K = U Λ^(−1/2) with the eigenvectors in descending order: rows (x − mean) K are white. Directions without variance
    are left out rather than divided by the square root of rounding noise.
    """
    if not 0 < rank_tol < 1:
        raise ValueError(f"rank_tol must lie in (0, 1), got {rank_tol}")
    covariance = covariance.double()
    if not torch.allclose(covariance, covariance.mT, rtol=1e-6, atol=1e-12 * float(covariance.abs().max())):
        raise ValueError("expected a symmetric covariance, got one that differs from its transpose")
    values, vectors = torch.linalg.eigh(covariance)
    values, vectors = values.flip(0), vectors.flip(1)
    if not values[0] > 0:
        raise ValueError(f"expected a covariance with a positive eigenvalue, got {float(values[0])} as the largest")
    keep = values > rank_tol * values[0]
    return vectors[:, keep] / values[keep].sqrt()
