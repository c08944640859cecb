"""Entropy of random word vectors: the law n > 8.33 log N, its constant, and the freezing point behind it.

N words, n dimensions. The model is p(i, j) ∝ exp⟨u_i, v_j⟩ with |u_i||v_j| = κ n and directions uniform on the
sphere; the post (https://spaces.ac.cn/archives/7695) has κ = 1, scaled dot-product attention has κ = 1/√n.
`rows=True` means one row of a softmax (N terms) instead of all N² pairs. Derived in the article embedding-dimension.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Num
from scipy.special import gammaln, ive

from lib.checks import at_least, checked, positive

Dimension = Num[np.ndarray, "*s"] | float | int
Values = Float[np.ndarray, "*s"] | float
BLOCK = 2**21  # logits held at once: 16 MB of float64


class SoftmaxEntropies(NamedTuple):
    """Entropies in nats and largest probabilities of exp⟨u_i, v_j⟩, normalised over all pairs and over each row."""

    joint: float
    rows: float
    p_max: float
    row_p_max: float


def _log_iv(order: Float[np.ndarray, "*s"], x: Float[np.ndarray, "*s"]) -> Float[np.ndarray, "*s"]:
    """log I_order(x); where the scaled function underflows, by Debye's expansion (NIST DLMF 10.41.3)."""
    scaled = ive(order, x)
    tiny = scaled < 1e-280
    v = np.where(tiny, order, 1.0)
    z = x / v
    root = np.hypot(1, z)
    p = 1 / root
    series = 1 + (3 * p - 5 * p**3) / (24 * v)
    series = series + (81 * p**2 - 462 * p**4 + 385 * p**6) / (1152 * v**2)
    series = series + (30375 * p**3 - 369603 * p**5 + 765765 * p**7 - 425425 * p**9) / (414720 * v**3)
    debye = v * (root - np.arcsinh(1 / z)) - 0.5 * np.log(2 * np.pi * v * root) + np.log(series)
    return np.where(tiny, debye, np.log(np.where(tiny, 1.0, scaled)) + x)


@checked
def entropy_correction(n: Dimension, kappa: float | int = 1.0) -> Values:
    """h_n = log E[e^s] - E[s e^s] / E[e^s] for s = κ n cos θ, θ the angle of two random directions.

    With ν = n/2 - 1 and x = κ n: E[e^s] = Γ(n/2) (2/x)^ν I_ν(x), and the tilted mean of s is x I_{ν+1}(x) / I_ν(x).
    """
    at_least(1, n=n)
    positive(kappa=kappa)
    dim = np.atleast_1d(np.asarray(n, dtype=np.float64))
    nu, x = dim / 2 - 1, kappa * dim
    low, high = _log_iv(nu, x), _log_iv(nu + 1, x)
    h = gammaln(dim / 2) + nu * np.log(2 / x) + low - x * np.exp(high - low)
    return h if np.ndim(n) else float(h[0])


def _saddle(kappa: float | int) -> float:
    """The cosine t at which κ t + log(1 - t²)/2 is largest."""
    return 2 * kappa / (1 + math.sqrt(1 + 4 * kappa**2))


@checked
def freezing_constant(kappa: float | int = 1.0, *, rows: bool = False) -> float:
    """c in n = c log N where the annealed entropy vanishes: 2/r, or 1/r for a row, with r = -log(1 - t²)/2."""
    positive(kappa=kappa)
    return -(2 if rows else 4) / math.log1p(-(_saddle(kappa) ** 2))


@checked
def entropy_asymptote(n: Dimension, kappa: float | int = 1.0) -> Values:
    """The two leading terms of h_n: n log(1 - t²)/2, then -log(1 - t⁴)/2 - 2t⁴/(1 + t²)²; the error is O(1/n)."""
    at_least(1, n=n)
    positive(kappa=kappa)
    t = _saddle(kappa)
    offset = -0.5 * math.log1p(-(t**4)) - 2 * t**4 / (1 + t**2) ** 2
    return n * 0.5 * math.log1p(-(t**2)) + offset


@checked
def annealed_entropy(N: float | int, n: Dimension, kappa: float | int = 1.0, *, rows: bool = False) -> Values:
    """2 log N + h_n, or log N + h_n for a row: the entropy with every sum replaced by its expectation."""
    at_least(2, N=N)
    return (1 if rows else 2) * math.log(N) + entropy_correction(n, kappa)


@checked
def critical_dimension(N: float | int, kappa: float | int = 1.0, *, rows: bool = False) -> int:
    """The smallest integer n at which the annealed entropy is negative."""
    at_least(2, N=N)
    positive(kappa=kappa)
    high = 1
    while annealed_entropy(N, high, kappa, rows=rows) >= 0:
        high *= 2
        if high > 10**6:
            raise ValueError(f"no zero of the annealed entropy below n = 10^6 for {N=}, {kappa=}")
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if annealed_entropy(N, middle, kappa, rows=rows) >= 0 else (low, middle)
    return high


@checked
def softmax_entropies(U: Float[np.ndarray, "N n"], V: Float[np.ndarray, "M n"]) -> SoftmaxEntropies:
    """Exact entropies of exp⟨u_i, v_j⟩ over all pairs and over rows, in float64 with at most `BLOCK` logits at once."""
    U, V = U.astype(np.float64), V.astype(np.float64)
    step = max(1, BLOCK // len(V))
    top, log_z, mean = (np.empty(len(U)) for _ in range(3))
    for start in range(0, len(U), step):
        part = slice(start, start + step)
        S = U[part] @ V.T
        top[part] = S.max(1)
        weight = np.exp(S - top[part, None])
        Z = weight.sum(1)
        log_z[part] = top[part] + np.log(Z)
        mean[part] = np.einsum("nm,nm->n", weight, S) / Z
    log_total = float(np.logaddexp.reduce(log_z))
    joint = log_total - float(np.exp(log_z - log_total) @ mean)
    p_max, row_p_max = math.exp(top.max() - log_total), float(np.exp(top - log_z).mean())
    return SoftmaxEntropies(joint, float((log_z - mean).mean()), p_max, row_p_max)


@checked
def random_vectors(N: int, n: int, kappa: float | int = 1.0, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """U and V of shape (N, n): independent uniform directions, every norm √(κ n)."""
    at_least(2, N=N)
    at_least(1, n=n)
    positive(kappa=kappa)
    U, V = np.random.default_rng(seed).standard_normal((2, N, n))
    return tuple(math.sqrt(kappa * n) * X / np.linalg.norm(X, axis=1, keepdims=True) for X in (U, V))


@checked
def sample_entropy(N: int, n: int, kappa: float | int = 1.0, *, seed: int = 0) -> SoftmaxEntropies:
    """The entropies of one draw of `random_vectors`: what `annealed_entropy` approximates."""
    return softmax_entropies(*random_vectors(N, n, kappa, seed=seed))
