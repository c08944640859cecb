"""Statistics by which random orders are told apart: counts of all orders, positions, pairs, shares of files per block.

Axes: draws, N lines; `orders[draw, j]` is the line at position j, as in `lib.orders`. The post is
https://spaces.ac.cn/archives/8662; the expected values are derived in the article global-shuffle.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from lib.checks import at_least, checked

Orders = Int[np.ndarray, "draws N"]


class ChiSquare(NamedTuple):
    """Pearson's statistic against equal chances, its degrees of freedom, p value, and how many cells occurred."""

    statistic: float
    df: int
    p: float
    reached: int


def _check_orders(orders: Orders) -> None:
    if not np.array_equal(np.sort(orders, axis=1), np.broadcast_to(np.arange(orders.shape[1]), orders.shape)):
        raise ValueError(f"expected each row to hold 0 ... {orders.shape[1] - 1} once, got rows such as {orders[0]}")


def _check_divides(name: str, value: int, N: int) -> None:
    at_least(1, **{name: value})
    if N % value:
        raise ValueError(f"expected {name} that divides the {N} lines, got {name}={value}")


@checked
def order_rank(orders: Orders) -> Int[np.ndarray, " draws"]:
    """The place of each order in the lexicographic list of all N! of them; N ≤ 20."""
    _check_orders(orders)
    N = orders.shape[1]
    if N > 20:
        raise ValueError(f"expected at most 20 lines, whose orders a 64-bit integer can count, got {N}")
    rank = np.zeros(len(orders), dtype=np.int64)
    for j in range(N):
        smaller = (orders[:, j + 1 :] < orders[:, j : j + 1]).sum(1)
        rank += smaller * math.factorial(N - 1 - j)
    return rank


@checked
def permutation_chi2(orders: Orders) -> ChiSquare:
    """Pearson's chi-square test of the counts of all N! orders against equal chances; N ≤ 8, 5 draws a cell or more."""
    from scipy.stats import chi2

    N = orders.shape[1]
    if not (2 <= N <= 8 and len(orders) >= 5 * math.factorial(N)):
        raise ValueError(f"expected 2 to 8 lines and at least 5·N! draws, got N={N} and {len(orders)} draws")
    counts = np.bincount(order_rank(orders), minlength=math.factorial(N))
    expected, df = len(orders) / len(counts), len(counts) - 1
    statistic = float(((counts - expected) ** 2).sum() / expected)
    return ChiSquare(statistic, df, float(chi2.sf(statistic, df)), int((counts > 0).sum()))


@checked
def position_law(orders: Orders) -> Float[np.ndarray, "N N"]:
    """How often line i (row) comes to stand at position j (column)."""
    _check_orders(orders)
    N = orders.shape[1]
    cells = orders * N + np.arange(N)
    return np.bincount(cells.ravel(), minlength=N * N).reshape(N, N) / len(orders)


@checked
def shared_block(orders: Orders, block: int) -> Float[np.ndarray, "N N"]:
    """How often lines i and j stand in one aligned block of outputs; 1 on the diagonal."""
    _check_orders(orders)
    _check_divides("block", block, orders.shape[1])
    of_line = np.argsort(orders, axis=1) // block
    return np.mean([row[:, None] == row for row in of_line], axis=0)


@checked
def same_file_neighbours(orders: Orders, n: int) -> Int[np.ndarray, " draws"]:
    """Adjacent outputs that come from one file of n lines, counted in each order; n − 1 on average if uniform."""
    _check_orders(orders)
    _check_divides("n", n, orders.shape[1])
    files = orders // n
    return (files[:, 1:] == files[:, :-1]).sum(1)


@checked
def block_variance(orders: Orders, n: int, block: int) -> float:
    """Mean squared deviation, from its mean block·n/N, of the number of lines that a file has in an aligned block."""
    _check_orders(orders)
    N = orders.shape[1]
    _check_divides("n", n, N)
    _check_divides("block", block, N)
    files, groups = N // n, N // block
    cells = (np.arange(len(orders))[:, None] * groups + np.arange(N) // block) * files + orders // n
    counts = np.bincount(cells.ravel(), minlength=len(orders) * groups * files)
    return float(((counts - block * n / N) ** 2).mean())
