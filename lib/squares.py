"""Dominated squares: one, in a line, and in a block.

A square is dominated by colour d if two of its four edges have colour d and the other two have two further, different
colours. With q > 3 colours these two need not be the only ones left. Derived in the article cross-counting, post
https://spaces.ac.cn/archives/9291.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache
from itertools import product

import numpy as np
from jaxtyping import Int8, Int64


def dominant(colours: Sequence[int]) -> int | None:
    """The dominant colour of a square with these four edge colours, or None."""
    if len(colours) != 4:
        raise ValueError(f"a square has 4 edges, got {len(colours)}")
    (first, count), *rest = Counter(colours).most_common()
    return first if count == 2 and len(rest) == 2 else None


@cache
def dominance(q: int) -> Int8[np.ndarray, "{q} {q} {q} {q}"]:
    """The dominant of every square with q colours, indexed by top, right, bottom, left; −1 where there is none."""
    if not 2 <= q <= 20:
        raise ValueError(f"expected 2 to 20 colours, got {q}")
    found = (dominant(square) for square in product(range(q), repeat=4))
    table = np.array([-1 if d is None else d for d in found], dtype=np.int8).reshape((q,) * 4)
    table.flags.writeable = False
    return table


def arm_counts(q: int) -> Int64[np.ndarray, "{q} {q}"]:
    """a[e, d]: squares dominated by d one of whose edges, fixed in place, has colour e."""
    table = dominance(q)
    return np.stack([(table == d).sum((1, 2, 3)) for d in range(q)], axis=1)


def line_matrix(q: int = 3) -> tuple[Int64[np.ndarray, " states"], Int64[np.ndarray, "states states"]]:
    """Start and step of the transfer matrix of a line whose every three consecutive dominants are distinct.

    A state is (right edge, dominant before, dominant); "before" is q while there is only one square.
    """
    table = dominance(q)
    by_ends = np.stack([(table == d).sum((0, 2)) for d in range(q)], axis=-1)  # [right, left, dominant]
    start, step = np.zeros((q, q + 1, q), dtype=np.int64), np.zeros((q, q + 1, q) * 2, dtype=np.int64)
    start[:, q] = by_ends.sum(1)
    for before, last, new in product(range(q + 1), range(q), range(q)):
        if new not in (before, last) and before != last:
            step[:, before, last, :, last, new] = by_ends[:, :, new].T  # from the left edge to the right one
    return start.ravel(), step.reshape(start.size, start.size)


def block_matrix(rows: int, q: int = 3) -> Int64[np.ndarray, "states states"]:
    """M[x, y]: fillings of one column of `rows` dominated squares with left edges x and right edges y, both q^rows."""
    if not (rows >= 1 and q**rows <= 1000):
        raise ValueError(f"expected at least one row and q^rows <= 1000, got {rows} rows and {q} colours")
    square = (dominance(q) >= 0).astype(np.int64).transpose(3, 1, 0, 2)  # left, right, top, bottom
    found = np.ones((1, 1, q), dtype=np.int64)
    for _ in range(rows):
        n = q * len(found)
        found = np.einsum("xyt,abtu->xaybu", found, square).reshape(n, n, q)
    return found.sum(-1)
