"""Colourings of the cross of five squares whose bars obey rules on their dominant colours.

Edges lie at odd points of a grid on which squares are centred at even points; a square lists its edges in the order
top, right, bottom, left. Derived in the article cross-counting, post https://spaces.ac.cn/archives/9291.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import product
from typing import Any

import numpy as np
from jaxtyping import Bool, Int8, Int64, UInt8

from lib import counting, figures
from lib.squares import arm_counts, dominance

CENTRES = {"centre": (0, 0), "up": (0, 2), "right": (2, 0), "down": (0, -2), "left": (-2, 0)}
STEPS = ((0, 1), (1, 0), (0, -1), (-1, 0))
EDGES = sorted({(x + dx, y + dy) for x, y in CENTRES.values() for dx, dy in STEPS}, key=lambda e: (-e[1], e[0]))
SQUARES = {name: [EDGES.index((x + dx, y + dy)) for dx, dy in STEPS] for name, (x, y) in CENTRES.items()}
BARS = (("up", "down"), ("left", "right"))
Rule = Callable[[Any, Any, Any], Any]
Rules = tuple[Rule, Rule]


def distinct(a: Any, m: Any, b: Any) -> Any:
    """The post's rule for a bar: the dominants of its three squares are pairwise different."""
    return (a != m) & (m != b) & (a != b)


def neighbours(a: Any, m: Any, b: Any) -> Any:
    """A weaker rule: only squares that share an edge have different dominants."""
    return (a != m) & (m != b)


def free(a: Any, m: Any, b: Any) -> Any:
    """No rule."""
    return (a == a) & (m == m) & (b == b)


DISTINCT = (distinct, distinct)


def enumerate_crosses(q: int = 3) -> Iterator[tuple[UInt8[np.ndarray, "n 16"], Int8[np.ndarray, "n 5"]]]:
    """All q^16 colourings, in q^3 blocks: those with five dominated squares, and their dominants (as CENTRES)."""
    if not 2 <= q <= 3:
        raise ValueError(f"an enumeration of q^16 colourings is feasible for 2 or 3 colours, got {q}")
    table = dominance(q).ravel()
    tail = np.indices((q,) * 13, dtype=np.uint8).reshape(13, -1)
    for head in product(range(q), repeat=3):
        edge = [np.full_like(tail[0], c) for c in head] + list(tail)
        found = []
        for top, right, bottom, left in SQUARES.values():
            code = ((edge[top] * q + edge[right]) * q + edge[bottom]) * q + edge[left]  # below 81: fits uint8
            found.append(table[code])
        keep = np.flatnonzero(np.min(found, axis=0) >= 0)
        yield np.stack([e[keep] for e in edge], 1), np.stack([d[keep] for d in found], 1)


def obey(dominants: Int8[np.ndarray, "n 5"], rules: Rules = DISTINCT) -> Bool[np.ndarray, " n"]:
    """Which rows of dominants (centre, up, right, down, left) obey the rules of the vertical and horizontal bar."""
    centre, up, right, down, left = dominants.T
    return rules[0](up, centre, down) & rules[1](left, centre, right)


def bar_weights(q: int, rule: Rule = distinct) -> Int64[np.ndarray, "{q} {q} {q}"]:
    """W[m, x, y]: completions of both arms of a bar whose centre is dominated by m and shares the edges x and y."""
    a, d = arm_counts(q), np.arange(q)
    allowed = np.asarray(rule(d[:, None, None], d[:, None], d)).astype(np.int64)  # (first arm, centre, second arm)
    return np.einsum("xi,imj,yj->mxy", a, allowed, a)


def count_centre_first(q: int = 3, rules: Rules = DISTINCT) -> int:
    """The number of colourings: every centre, times the weights of its two bars (vertical, horizontal)."""
    vertical, horizontal = (bar_weights(q, rule) for rule in rules)
    top, right, bottom, left = np.nonzero(dominance(q) >= 0)
    m = dominance(q)[top, right, bottom, left]
    return int((vertical[m, top, bottom] * horizontal[m, left, right]).sum())


def cross_tree(q: int = 3, rules: Rules = DISTINCT) -> tuple[counting.Factors, dict[str, int]]:
    """The cross for `counting.sum_product`: a factor for each arm and each bar, a variable for each square.

    The centre's values number the dominated squares; an arm's value e·q + d is its shared edge and its dominant.
    """
    if not 3 <= q <= 6:
        raise ValueError(f"the tables are meant for 3 to 6 colours, got {q}")
    squares = np.argwhere(dominance(q) >= 0)
    m = dominance(q)[tuple(squares.T)][:, None, None]
    e, d = np.divmod(np.arange(q * q), q)
    factors: dict[str, Any] = {f"arm {name}": ((name,), arm_counts(q).ravel()) for name in CENTRES if name != "centre"}
    for (first, second), (i, j), rule in zip(BARS, ((0, 2), (3, 1)), rules, strict=True):
        fits = (e[:, None] == squares[:, i, None, None]) & (e == squares[:, j, None, None])
        factors[f"{first}-{second}"] = (("centre", first, second), fits & rule(d[:, None], m, d))
    return factors, {name: len(squares) if name == "centre" else q * q for name in CENTRES}


def _attach(rows: UInt8[np.ndarray, "n 16"], name: str, shared: int, q: int) -> UInt8[np.ndarray, "m 16"]:
    """Every row with every dominated square as its arm `name` that agrees on the shared edge."""
    place = SQUARES[name].index(shared)
    squares = np.argwhere(dominance(q) >= 0)
    by_colour = np.stack([squares[squares[:, place] == c] for c in range(q)])  # (q, k, 4)
    joined = np.repeat(rows, by_colour.shape[1], axis=0)
    joined[:, SQUARES[name]] = by_colour[rows[:, shared]].reshape(-1, 4)
    return joined


def solutions(rules: Rules = DISTINCT) -> UInt8[np.ndarray, "n 16"]:
    """The explicit list of colourings with three colours, by joining arm after arm to the 36 centres."""
    squares = np.argwhere(dominance(3) >= 0)
    rows = np.zeros((len(squares), 16), dtype=np.uint8)
    rows[:, SQUARES["centre"]] = squares
    for arms, rule in zip(BARS, rules, strict=True):
        for name in arms:
            rows = _attach(rows, name, next(iter({*SQUARES[name]} & {*SQUARES["centre"]})), 3)
        a, m, b = (dominance(3)[tuple(rows[:, SQUARES[name]].T)] for name in (arms[0], "centre", arms[1]))
        rows = rows[rule(a, m, b)]
    return rows


def sample_solutions(rng: np.random.Generator, size: int, q: int = 3) -> UInt8[np.ndarray, "size 16"]:
    """Uniformly random colourings: squares from the factor tree, then each arm uniform given its edge and dominant."""
    found = counting.draw(*cross_tree(q), rng, size)
    rows = np.zeros((size, 16), dtype=np.uint8)
    rows[:, SQUARES["centre"]] = np.argwhere(dominance(q) >= 0)[found["centre"]]
    for name in list(CENTRES)[1:]:
        place = next(i for i, edge in enumerate(SQUARES[name]) if edge in SQUARES["centre"])
        for value in np.unique(found[name]):
            mine = np.flatnonzero(found[name] == value)
            fits = np.argwhere(dominance(q) == value % q)
            fits = fits[fits[:, place] == value // q]
            rows[mine[:, None], SQUARES[name]] = fits[rng.integers(len(fits), size=len(mine))]
    return rows


def dihedral() -> Int64[np.ndarray, "8 16"]:
    """The eight symmetries of the cross as permutations of its edges: four turns, then their mirror images."""
    maps = [lambda x, y: (x, y), lambda x, y: (-y, x), lambda x, y: (-x, -y), lambda x, y: (y, -x)]
    turned = [[f(*edge) for edge in EDGES] for f in maps]
    mirrored = [[(-x, y) for x, y in edges] for edges in turned]
    return np.array([[EDGES.index(edge) for edge in edges] for edges in turned + mirrored])


def polynomial() -> Any:
    """T(q) = 162 q (q−1) (q−2)^7 (3q−5) (4q−5), the number of colourings with q colours, as a sympy expression."""
    import sympy

    q = sympy.Symbol("q")
    return 162 * q * (q - 1) * (q - 2) ** 7 * (3 * q - 5) * (4 * q - 5)


def draw_cross(ax: Any, colours: Mapping[int, int], fills: Mapping[str, int] | None = None) -> None:
    """The cross with coloured edges (grey where unknown), the colour's number on each, squares tinted by `fills`."""
    for name, (x, y) in CENTRES.items():
        if fills and name in fills:
            ax.fill([x - 1, x + 1, x + 1, x - 1], [y - 1, y - 1, y + 1, y + 1], figures.PALETTE[fills[name]], alpha=0.2)
    for i, (x, y) in enumerate(EDGES):
        dx, dy = (0, 0.9) if x % 2 else (0.9, 0)
        colour = figures.PALETTE[colours[i]] if i in colours else figures.THEORY
        ax.plot([x - dx, x + dx], [y - dy, y + dy], "-", color=colour, lw=5 if i in colours else 1.5)
        if i in colours:
            badge = {"boxstyle": "circle,pad=0.15", "fc": "white", "ec": colour}
            ax.text(x, y, str(colours[i]), color=colour, ha="center", va="center", fontsize=10, bbox=badge)
    ax.set(aspect="equal", xlim=(-3.3, 3.3), ylim=(-3.3, 3.3))
    ax.set_axis_off()
