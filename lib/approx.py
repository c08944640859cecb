"""Minimax fits of one to a few parameters, with their alternation certificate.

For a target f and a family g(·; p) the fit minimises sup |f - g| over an interval that a fine grid samples. At a
regular optimum with n parameters the error takes its largest absolute value at n + 1 points with alternating signs
(Chebyshev), which is what the result reports. Such an alternation certifies a local optimum; it is the global one
where the family is linear in p, or has one parameter and is monotone in it.

Posts: https://spaces.ac.cn/archives/7309 and, for SquarePlus, https://spaces.ac.cn/archives/8833; derived in the
article gelu-approximations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.optimize import linprog

from lib.checks import at_least, checked

Grid = Float[np.ndarray, " x"]
Extrema = Float[np.ndarray, " extrema"]
COARSE = 1500  # grid points of the linear programmes; the polish uses them all


@dataclass(frozen=True)
class MinimaxResult:
    """A fit: its parameters, its largest absolute error, and the extrema of the error that certify it.

    `spread` is 1 - (smallest / largest absolute error at the extrema): 0 for a perfect alternation.
    """

    parameters: tuple[float, ...]
    error: float
    extrema: tuple[float, ...]
    signs: tuple[int, ...]
    spread: float

    @property
    def alternates(self) -> bool:
        """Whether n + 1 extrema of equal size and alternating signs were found, equal to one part in a million."""
        return len(self.extrema) == len(self.parameters) + 1 and self.spread < 1e-6


@checked
def extrema(error: Callable[[np.ndarray], np.ndarray], grid: Grid) -> tuple[Extrema, Extrema]:
    """The local extrema x of |error| between the ends of the grid, ends included, and the signed error there.

    An interior extremum is moved to the vertex of the parabola through its three grid points. Runs of one sign are
    reduced to their largest member, so the signs alternate; errors below 1e-9 of the largest are left out.
    """
    e = error(grid)
    if e.shape != grid.shape or not np.isfinite(e).all():
        raise ValueError(f"the error must be finite with shape {grid.shape}, got shape {e.shape}")
    size = np.abs(e)
    peak = np.r_[True, size[1:] >= size[:-1]] & np.r_[size[:-1] > size[1:], True] & (size > 1e-9 * size.max())
    i = np.flatnonzero(peak)
    if not len(i):
        return grid[:0], e[:0]
    x, inner = grid[i].copy(), (i > 0) & (i < len(grid) - 1)
    left, mid, right = (size[i[inner] + k] for k in (-1, 0, 1))
    step = (grid[i[inner] + 1] - grid[i[inner] - 1]) / 2
    x[inner] += step * (left - right) / (2 * (left - 2 * mid + right))
    values = error(x)
    runs = np.split(np.arange(len(x)), np.flatnonzero(np.diff(np.sign(values))) + 1)
    best = np.array([run[np.abs(values[run]).argmax()] for run in runs])
    return x[best], values[best]


@checked
def sup(error: Callable[[np.ndarray], np.ndarray], grid: Grid) -> tuple[float, float]:
    """(x, largest |error|) over the interval that the grid samples."""
    x, values = extrema(error, grid)
    if not len(x):
        return float(grid[0]), 0.0
    k = np.abs(values).argmax()
    return float(x[k]), float(abs(values[k]))


@checked
def minimax(
    f: Callable[[np.ndarray], np.ndarray],
    g: Callable[..., np.ndarray],
    start: Sequence[float],
    grid: Grid,
    *,
    bounds: Sequence[tuple[float, float]] | None = None,
    iterations: int = 60,
) -> MinimaxResult:
    """The parameters p near `start` that minimise sup |f(x) - g(x, *p)| over the interval of an increasing grid.

    First linear programmes on a coarse grid (g linearised at p, within a step bound that shrinks when the error does
    not fall), then Newton steps on the equations f - g = ± E at the n + 1 alternating extrema of the fine grid.
    """
    p, n = np.asarray(start, dtype=float), len(start)
    box = np.asarray(bounds if bounds is not None else [(-np.inf, np.inf)] * n, dtype=float)
    if not n or not np.isfinite(p).all() or box.shape != (n, 2) or (p < box[:, 0]).any() or (p > box[:, 1]).any():
        raise ValueError(f"expected finite start values within bounds, one pair each, got {start} and {bounds}")
    at_least(1, iterations=iterations)
    if len(grid) < 8 * (n + 1) or not (np.diff(grid) > 0).all():
        raise ValueError(f"expected an increasing grid of {8 * (n + 1)} points or more, got {len(grid)}")

    def jacobian(p: np.ndarray, x: np.ndarray) -> np.ndarray:
        steps = 1e-6 * np.maximum(1.0, np.abs(p))
        return np.stack([(g(x, *(p + h)) - g(x, *(p - h))) / (2 * h.sum()) for h in np.diag(steps)], -1)

    def error(p: np.ndarray, x: np.ndarray) -> np.ndarray:
        return f(x) - g(x, *p)

    coarse = grid[np.unique(np.linspace(0, len(grid) - 1, COARSE).astype(int))]
    largest, radius = np.abs(error(p, coarse)).max(), np.maximum(0.3 * np.abs(p), 0.03)
    for _ in range(iterations):
        e, J = error(p, coarse), jacobian(p, coarse)
        rows = np.block([[-J, -np.ones((len(e), 1))], [J, -np.ones((len(e), 1))]])
        steps = [(max(low - q, -r), min(high - q, r)) for q, r, (low, high) in zip(p, radius, box, strict=True)]
        scale = largest or 1.0  # an error of 1e-6 would drown in the solver's tolerance
        lp = linprog(
            [0] * n + [1],
            A_ub=rows / [*([1] * n), 1],
            b_ub=np.r_[-e, e] / scale,
            bounds=[*((lo / scale, hi / scale) for lo, hi in steps), (0, None)],
        )
        trial = p if lp.x is None else p + lp.x[:n] * scale
        size = np.abs(error(trial, coarse)).max()
        if size < largest * (1 - 1e-9):
            p, largest = trial, size
        else:
            radius = radius / 4
        if (radius < 1e-9 * np.maximum(1.0, np.abs(p))).all():
            break
    p = _polish(error, jacobian, p, grid, box)

    x, values = _alternation(error, p, grid)
    sizes, largest = np.abs(values), sup(lambda x: error(p, x), grid)[1]
    spread = float(1 - sizes.min() / largest) if len(sizes) else 1.0
    signs = np.sign(values).astype(int)
    return MinimaxResult(tuple(p.tolist()), largest, tuple(x.tolist()), tuple(signs.tolist()), spread)


def _polish(
    error: Callable[..., np.ndarray],
    jacobian: Callable[..., np.ndarray],
    p: np.ndarray,
    grid: np.ndarray,
    box: np.ndarray,
) -> np.ndarray:
    """Newton steps e(x_i) - J_i δ = ± E at the extrema, as long as they stay in the box and do no harm."""
    for _ in range(20):
        x, values = _alternation(error, p, grid)
        if len(x) <= len(p):
            break
        # The extrema move by O(δ), which changes the error there by O(δ²) alone: they may be held fixed.
        delta = np.linalg.lstsq(np.c_[jacobian(p, x), np.sign(values)], values)[0][:-1]
        trial = p + delta
        if (trial < box[:, 0]).any() or (trial > box[:, 1]).any():
            break
        if sup(lambda x, q=trial: error(q, x), grid)[1] > 1.01 * np.abs(values).max():
            break
        p = trial
        if (np.abs(delta) < 1e-13 * np.maximum(1.0, np.abs(p))).all():
            break
    return p


def _alternation(error: Callable[..., np.ndarray], p: np.ndarray, grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Up to n + 1 neighbouring extrema with the largest one among them and the smallest one as large as possible."""
    x, values = extrema(lambda x: error(p, x), grid)
    sizes, count = np.abs(values), min(len(p) + 1, len(x))
    if not count:
        return x, values
    top = int(sizes.argmax())
    starts = range(max(0, top - count + 1), min(top, len(x) - count) + 1)
    k = max(starts, key=lambda k: sizes[k : k + count].min())
    return x[k : k + count], values[k : k + count]
