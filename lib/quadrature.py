"""Quadrature rules on [0, 1] whose weights sum to 1, so that a constant is always integrated exactly.

Derived in the article integrated-gradients, post https://spaces.ac.cn/archives/7533, which takes the right rule.
captum's `riemann_trapezoid` divides by n where the rule has n - 1 intervals; ours does not.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from jaxtyping import Float64

from lib.checks import checked

NAMES = ("left", "right", "midpoint", "trapezoid", "gauss")
Rule = tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]


@lru_cache(maxsize=256)
def rule(name: str, n: int) -> Rule:
    """Nodes and weights of an n-point rule, read-only: ∫₀¹ g(α) dα ≈ Σ_k w_k g(α_k).

    Errors for smooth g: left and right ∓(g(1) − g(0))/2n, midpoint −(g′(1) − g′(0))/24n², trapezoid with n − 1
    intervals (g′(1) − g′(0))/12(n − 1)² (all: leading term of rule − integral), Gauss exact to degree 2n − 1.
    """
    smallest = 2 if name == "trapezoid" else 1
    if name not in NAMES:
        raise ValueError(f"rule must be one of {', '.join(NAMES)}, got {name!r}")
    if not isinstance(n, int) or n < smallest:
        raise ValueError(f"the {name} rule needs an integer n >= {smallest}, got {n}")
    nodes, weights = np.arange(n) / n, np.full(n, 1 / n)
    match name:
        case "right":
            nodes = np.arange(1, n + 1) / n
        case "midpoint":
            nodes = (np.arange(n) + 0.5) / n
        case "trapezoid":
            nodes, weights = np.linspace(0, 1, n), np.full(n, 1 / (n - 1))
            weights[[0, -1]] /= 2
        case "gauss":
            nodes, weights = (v / 2 for v in np.polynomial.legendre.leggauss(n))
            nodes = nodes + 0.5
    nodes.flags.writeable = weights.flags.writeable = False
    return nodes, weights


@checked
def on_pieces(inner: tuple[np.ndarray, np.ndarray], breaks: Float64[np.ndarray, " k"]) -> Rule:
    """The rule `inner` repeated on every interval of the increasing points `breaks`, which run from 0 to 1.

    For integrands that are smooth between known kinks: Gauss points on each piece keep their order.
    """
    if len(breaks) < 2 or breaks[0] != 0 or breaks[-1] != 1 or not (np.diff(breaks) >= 0).all():
        raise ValueError(f"breaks must increase from 0 to 1, got {len(breaks)} points: {breaks[:3]} ... {breaks[-3:]}")
    nodes, weights = inner
    lengths = np.diff(breaks)[:, None]
    return (breaks[:-1, None] + lengths * nodes).ravel(), (lengths * weights).ravel()
