"""Johnson-Lindenstrauss: Gaussian projections and their distortion, sign hashes, the randomised range finder.

N points in D dimensions are mapped to n. Distortions are of squared distances, as in the posts
https://spaces.ac.cn/archives/8679 and https://spaces.ac.cn/archives/8706. Derived in the article embedding-dimension.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from lib.checks import at_least, checked, positive


def _check_eps(N: float | int, eps: float) -> None:
    if not (N >= 2 and 0 < eps < 1):
        raise ValueError(f"expected N ≥ 2 points and 0 < eps < 1, got {N=}, {eps=}")


@checked
def gaussian_projection(D: int, n: int, *, seed: int = 0) -> Float[np.ndarray, "{D} {n}"]:
    """A matrix with independent N(0, 1/n) entries: X @ A keeps squared lengths in expectation."""
    at_least(1, D=D, n=n)
    return np.random.default_rng(seed).standard_normal((D, n)) / math.sqrt(n)


@checked
def distortion(X: Float[np.ndarray, "N D"], Y: Float[np.ndarray, "N n"]) -> Float[np.ndarray, " pairs"]:
    """| |y_i - y_j|² / |x_i - x_j|² - 1 | for the pairs i < j of points that differ in X."""
    from scipy.spatial.distance import pdist

    at_least(2, N=len(X))
    before, after = pdist(X, "sqeuclidean"), pdist(Y, "sqeuclidean")
    apart = before > 0
    if not apart.any():
        raise ValueError("all points of X coincide; distortion needs two different ones")
    return np.abs(after[apart] / before[apart] - 1)


@checked
def jl_dimension(N: float | int, eps: float, *, constant: float | int | None = None) -> int:
    """Dimensions sufficient for N points: ⌈c log N / ε²⌉ (the post: c = 24, for existence 16).

    Without a constant, the bound 4 log N / (ε²/2 - ε³/3) that scikit-learn prints, rounded down as it does.
    """
    _check_eps(N, eps)
    if constant is None:
        return int(4 * math.log(N) / (eps**2 / 2 - eps**3 / 3))
    positive(constant=constant)
    return math.ceil(constant * math.log(N) / eps**2)


@checked
def jl_success(
    X: Float[np.ndarray, "N D"], eps: float, dims: Sequence[int], *, seed: int = 0
) -> Bool[np.ndarray, " dims"]:
    """For each of the increasing `dims`: did one Gaussian projection keep every pair within 1 ± ε?

    The dimensions are prefixes of one draw, so the Gram matrix grows by blocks and each pair is paid for once.
    """
    _check_eps(len(X), eps)
    if not dims or min(dims) < 1 or list(dims) != sorted(set(dims)):
        raise ValueError(f"dims must be increasing positive integers, got {list(dims)}")
    Y = X @ gaussian_projection(X.shape[1], dims[-1], seed=seed) * math.sqrt(dims[-1])
    pairs = np.triu_indices(len(X), 1)
    gram = X @ X.T
    before = (gram.diagonal()[:, None] + gram.diagonal() - 2 * gram)[pairs]
    if before.min() <= 0:
        raise ValueError("X holds a point twice; relative distortion needs distinct points")
    G, kept, start = np.zeros_like(gram), [], 0
    for n in dims:
        G += Y[:, start:n] @ Y[:, start:n].T
        after = (G.diagonal()[:, None] + G.diagonal() - 2 * G)[pairs] / n
        kept.append(bool(np.abs(after / before - 1).max() <= eps))
        start = n
    return np.array(kept)


@checked
def simhash_cosine(c: Float[np.ndarray, "*s"] | float) -> Float[np.ndarray, "*s"] | float:
    """(2/π) arcsin c: the expected cosine of the signs of random projections of vectors with cosine c."""
    if not np.all(np.abs(c) <= 1):
        raise ValueError(f"a cosine lies in [-1, 1], got {c!r}")
    return 2 / math.pi * np.arcsin(c)


@checked
def range_finder(M: Float[np.ndarray, "rows columns"], k: int, *, seed: int = 0) -> Float[np.ndarray, "rows {k}"]:
    """Orthonormal columns Q that span M G for a Gaussian G with k columns; M ≈ Q Qᵀ M when M has rank near k."""
    if not 1 <= k <= min(M.shape):
        raise ValueError(f"k must lie in [1, {min(M.shape)}], got {k}")
    return np.linalg.qr(M @ gaussian_projection(M.shape[1], k, seed=seed))[0]


@checked
def randomized_svd(
    M: Float[np.ndarray, "rows columns"], k: int, *, seed: int = 0
) -> tuple[Float[np.ndarray, "rows {k}"], Float[np.ndarray, " {k}"], Float[np.ndarray, "{k} columns"]]:
    """U, s, Vᵀ of Q Qᵀ M: the SVD of a k-row matrix instead of M (no power iterations)."""
    Q = range_finder(M, k, seed=seed)
    small, s, Vt = np.linalg.svd(Q.T @ M, full_matrices=False)
    return Q @ small, s, Vt
