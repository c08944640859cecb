"""Exact counting: sum-product on trees of constraints, transfer matrices, shortest linear recurrences, orbits.

Counts are Python integers held in object arrays, so nothing overflows. Derived in the article cross-counting, post
https://spaces.ac.cn/archives/9291, which counts by hand what `sum_product` counts by messages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from itertools import zip_longest

import numpy as np
from jaxtyping import Int, Integer, Shaped

from lib import checks

Table = Shaped[np.ndarray, "..."]
Factors = Mapping[str, tuple[Sequence[str], Table]]


@dataclass(frozen=True)
class Beliefs:
    """What one sum-product pass knows: the total, the messages (sender, receiver), and the counts of each value."""

    total: int
    messages: dict[tuple[str, str], Table]
    counts: dict[str, Table]


def _check(factors: Factors, domains: Mapping[str, int]) -> dict[str, list[str]]:
    """The factors that touch each variable; raises unless the tables fit and the factor graph is one tree."""
    touching: dict[str, list[str]] = {v: [] for v in domains}
    if both := set(factors) & set(domains):
        raise ValueError(f"expected factors and variables to have different names, got {sorted(both)} as both")
    for name, (scope, table) in factors.items():
        if unknown := [v for v in scope if v not in domains]:
            raise ValueError(f"factor {name} expected variables of the domains, got {unknown}")
        sizes = tuple(domains[v] for v in scope)
        if table.shape != sizes or 0 in sizes or table.dtype.kind not in "biuO" or (table < 0).any():
            raise ValueError(
                f"factor {name} expected counts >= 0 of shape {sizes}, got shape {table.shape} of {table.dtype}"
            )
        for v in scope:
            touching[v].append(name)
    links = sum(len(scope) for scope, _ in factors.values())
    reached, todo = set(), list(domains)[:1]
    while todo:
        v = todo.pop()
        if v not in reached:
            reached.add(v)
            todo += [u for f in touching[v] for u in factors[f][0]]
    if set(domains) != reached or links != len(factors) + len(domains) - 1:
        raise ValueError(
            f"expected factors and variables to form one tree, got {len(factors)} factors, {len(domains)} variables "
            f"({len(reached)} connected) and {links} links"
        )
    return touching


def _weighted(factors: Factors, messages: Mapping[tuple[str, str], Table], f: str, v: str) -> Table:
    """The table of f times the messages of all its variables but v, with the axis of v first."""
    scope, table = factors[f]
    out = table.astype(object)
    for axis, u in enumerate(scope):
        if u != v:
            out = out * messages[u, f].reshape([-1 if i == axis else 1 for i in range(len(scope))])
    return np.moveaxis(out, list(scope).index(v), 0)


def sum_product(factors: Factors, domains: Mapping[str, int]) -> Beliefs:
    """The number of assignments, each weighted by the product of all factors.

    μ(v→f) = Π_{g≠f} μ(g→v),   μ(f→v) = Σ_{others} f · Π_{u≠v} μ(u→f),   total = Σ Π_g μ(g→v) at any v.

    `factors` maps a name to its variables and its table of counts, `domains` a variable to its number of values.
    """
    touching = _check(factors, domains)
    messages: dict[tuple[str, str], Table] = {}

    def product(v: str, but: str | None = None) -> Table:
        ones = np.array([1] * domains[v], dtype=object)
        return reduce(lambda a, g: a * to_variable(g, v), (g for g in touching[v] if g != but), ones)

    def to_variable(f: str, v: str) -> Table:
        if (f, v) not in messages:
            for u in factors[f][0]:
                if u != v:
                    to_factor(u, f)
            weighted = _weighted(factors, messages, f, v)
            messages[f, v] = weighted.reshape(domains[v], -1).sum(1)
        return messages[f, v]

    def to_factor(v: str, f: str) -> None:
        if (v, f) not in messages:
            messages[v, f] = product(v, but=f)

    counts = {v: product(v) for v in domains}
    for f, (scope, _) in factors.items():
        for v in scope:
            to_factor(v, f)
    return Beliefs(int(sum(counts[next(iter(domains))])), messages, counts)


def draw(
    factors: Factors, domains: Mapping[str, int], rng: np.random.Generator, size: int
) -> dict[str, Int[np.ndarray, " size"]]:
    """`size` independent assignments with probability proportional to the product of the factors.

    Ancestral sampling: the first variable from its counts, then outwards, each factor's other variables jointly.
    """
    if size < 1:
        raise ValueError(f"expected size >= 1, got {size}")
    beliefs, touching = sum_product(factors, domains), _check(factors, domains)
    if beliefs.total == 0:
        raise ValueError("expected at least one assignment to draw from, got a total of 0")

    def pick(weights: Table, count: int) -> Int[np.ndarray, " count"]:
        p = np.array([w / beliefs.total for w in weights], dtype=float)
        return rng.choice(len(p), size=count, p=p / p.sum())

    root = next(iter(domains))
    found = {root: pick(beliefs.counts[root], size)}
    todo = [(f, root) for f in touching[root]]
    for f, v in todo:  # grows while it is read
        if not (others := [u for u in factors[f][0] if u != v]):
            continue
        weighted = _weighted(factors, beliefs.messages, f, v)
        choice = np.zeros(size, dtype=int)
        for value in np.unique(found[v]):
            rows = found[v] == value
            choice[rows] = pick(weighted[value].ravel(), int(rows.sum()))
        found |= dict(zip(others, np.unravel_index(choice, weighted.shape[1:]), strict=True))
        todo += [(g, u) for u in others for g in touching[u] if g != f]
    return found


def berlekamp_massey(sequence: Sequence[int]) -> list[Fraction]:
    """Coefficients c of the shortest recurrence s_n = Σ_i c_i s_{n−i} (i = 1, 2, ...) of a sequence, over Q.

    The recurrence is determined by 2·len(c) terms; a sequence with fewer is refused, for any would fit.
    """
    s = [Fraction(int(x)) for x in sequence]
    c, b, length, shift, last = [Fraction(1)], [Fraction(1)], 0, 1, Fraction(1)
    for n in range(len(s)):
        gap = sum((c[i] * s[n - i] for i in range(min(length, len(c) - 1) + 1)), Fraction(0))
        if gap == 0:
            shift += 1
            continue
        old, step = c, [Fraction(0)] * shift + [gap / last * x for x in b]
        c = [x - y for x, y in zip_longest(c, step, fillvalue=Fraction(0))]
        shift += 1
        if 2 * length <= n:
            length, b, last, shift = n + 1 - length, old, gap, 1
    if not s or 2 * length > len(s):
        raise ValueError(f"a recurrence of order {length} needs {max(2 * length, 1)} terms, got {len(s)}")
    c += [Fraction(0)] * (length + 1 - len(c))
    return [-x for x in c[1 : length + 1]]


@checks.checked
def walks(start: Integer[np.ndarray, " states"], step: Integer[np.ndarray, "states states"], count: int) -> list[int]:
    """The totals of start·step^k for k = 0, ..., count − 1: what a transfer matrix counts."""
    checks.at_least(1, count=count)
    totals, state = [], start.astype(object)
    for _ in range(count):
        totals.append(int(state.sum()))
        state = state @ step.astype(object)
    return totals


@checks.checked
def burnside(
    rows: Integer[np.ndarray, "rows places"],
    positions: Int[np.ndarray, "g places"],
    values: Int[np.ndarray, "h colours"],
) -> tuple[int, list[int]]:
    """The number of orbits of rows of colours, and the number of rows that each group element fixes.

    orbits = Σ_{(p, v)} #{row : v[row[p]] = row} / (g h), over the product of a group of `positions` (permutations of
    the places) and one of `values` (of the colours); use the identity alone for either. The list must be closed.
    """
    places, colours = rows.shape[1], values.shape[1]
    if rows.max() >= colours or rows.min() < 0:
        raise ValueError(f"expected rows of colours in [0, {colours}), got {rows.min()}..{rows.max()}")
    if colours**places >= 2**63:
        raise ValueError(f"expected colours^places below 2^63, got {colours}^{places}")
    weights = colours ** np.arange(places)
    codes = rows @ weights
    known = np.unique(codes)
    if len(known) < len(rows):
        raise ValueError(f"expected different rows, got {len(rows) - len(known)} of them twice")
    fixed = []
    for p in positions:
        for v in values:
            image = v[rows[:, p]] @ weights
            if not np.array_equal(np.sort(image), known):
                raise ValueError("expected a list closed under the group, got an image outside of it")
            fixed.append(int((image == codes).sum()))
    return sum(fixed) // len(fixed), fixed
