"""Laws of random orders: the post's shuffle by columns and rows, its repair, and shuffles that are exactly uniform.

Axes: draws, N = m·n lines. Line i belongs to file i // n; `order[j]` is the line at output position j. The post is
https://spaces.ac.cn/archives/8662; all of this is derived in the article global-shuffle. Orders live in memory here.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from fractions import Fraction

import numpy as np
from jaxtyping import Int

from lib.checks import at_least, checked

Orders = Int[np.ndarray, "draws N"]
Rng = np.random.Generator
MOST = 1_000_000  # entries that an enumeration may list


def _log_fraction(m: int, n: int) -> float:
    """log of (n!)^m (m!)^n / (mn)!."""
    at_least(1, m=m, n=n)
    return m * math.lgamma(n + 1) + n * math.lgamma(m + 1) - math.lgamma(m * n + 1)


def reachable_log10(m: int, n: int) -> float:
    """log10 of the share (n!)^m (m!)^n / (mn)! of all orders that m files of n lines reach by columns and rows."""
    return _log_fraction(m, n) / math.log(10)


def tv_to_uniform(m: int, n: int) -> float:
    """Total variation distance of the post's order to a uniform one: 1 − (n!)^m (m!)^n / (mn)!."""
    return abs(math.expm1(min(_log_fraction(m, n), 0.0)))


def columns_then_rows_all(m: int, n: int) -> Orders:
    """Every order of the post's scheme, one row for each outcome of its shuffles; m, n ≤ 3 or so."""
    at_least(1, m=m, n=n)
    if (count := math.factorial(n) ** m * math.factorial(m) ** n) * m * n > MOST:
        raise ValueError(f"expected a scheme with at most {MOST} entries to list, got {count} orders of {m * n} lines")
    columns = np.array(list(itertools.product(itertools.permutations(range(n)), repeat=m)))  # (., m, n)
    rows = np.array(list(itertools.product(itertools.permutations(range(m)), repeat=n)))  # (., n, m)
    lines = (columns + n * np.arange(m)[:, None]).transpose(0, 2, 1)  # (., n, m)
    index = np.broadcast_to(rows[None], (len(lines), *rows.shape))
    return np.take_along_axis(lines[:, None], index, axis=3).reshape(count, m * n)


def _lines(N: int, draws: int) -> Orders:
    at_least(1, N=N, draws=draws)
    return np.tile(np.arange(N), (draws, 1))


def uniform(N: int, draws: int, rng: Rng) -> Orders:
    """Independent uniformly random orders, all of a file in memory: what the others are compared with."""
    return rng.permuted(_lines(N, draws), axis=1)


def columns_then_rows(m: int, n: int, draws: int, rng: Rng) -> Orders:
    """The post's scheme: shuffle each of m files of n lines, then write all first lines in random order, and so on."""
    at_least(1, m=m, n=n)
    columns = rng.permuted(_lines(m * n, draws).reshape(draws, m, n), axis=2)
    return rng.permuted(columns.transpose(0, 2, 1), axis=2).reshape(draws, m * n)


def scatter(N: int, buckets: int, draws: int, rng: Rng) -> Orders:
    """An independent uniform bucket for each line, a shuffle within every bucket, concatenation: exactly uniform."""
    at_least(1, buckets=buckets)
    bucket = rng.integers(buckets, size=_lines(N, draws).shape)
    return np.argsort(bucket + rng.random(bucket.shape), axis=1)


def _fill(labels: Orders, m: int, n: int, rng: Rng) -> Orders:
    """The order in which m locally shuffled files are read when `labels` names the file of each output."""
    lines = rng.permuted(_lines(m * n, len(labels)).reshape(-1, m, n), axis=2).reshape(-1, m * n)
    out = np.empty_like(lines)
    np.put_along_axis(out, np.argsort(labels, axis=1, kind="stable"), lines, axis=1)
    return out


def merge(m: int, n: int, draws: int, rng: Rng) -> Orders:
    """Local shuffles, then a uniformly random arrangement of the file labels: exactly uniform."""
    at_least(1, m=m, n=n)
    return _fill(rng.permuted(_lines(m * n, draws) // n, axis=1), m, n, rng)


def blocked_merge(m: int, n: int, block: int, draws: int, rng: Rng) -> Orders:
    """`merge` with the labels drawn block by block, in bounded memory: exactly uniform.

    The counts of a block are multivariate hypergeometric in the lines that the files still hold.
    """
    at_least(1, m=m, n=n, block=block)
    left = np.full((len(_lines(m * n, draws)), m), n)
    parts = []
    for start in range(0, m * n, block):
        size = min(block, m * n - start)
        counts, wanted = np.zeros_like(left), np.full(draws, size)
        for i in range(m):
            counts[:, i] = rng.hypergeometric(left[:, i], left[:, i + 1 :].sum(1), wanted)
            wanted -= counts[:, i]
        left -= counts
        labels = (np.arange(size)[None, :, None] >= counts.cumsum(1)[:, None, :]).sum(2)
        parts.append(rng.permuted(labels, axis=1))
    return _fill(np.concatenate(parts, axis=1), m, n, rng)


def buffered(N: int, slots: int, draws: int, rng: Rng) -> Orders:
    """A shuffle buffer: fill the slots, then write a random one and refill it with the next line."""
    at_least(1, slots=slots)
    out, each = np.empty_like(_lines(N, draws)), np.arange(draws)
    slots = min(slots, N)
    buffer = _lines(slots, draws)
    for j in range(N):
        held = min(slots, N - j)
        at = rng.integers(held, size=draws)
        out[:, j] = buffer[each, at]
        buffer[each, at] = j + slots if j + slots < N else buffer[:, held - 1]
    return out


def short_last(m: int, n: int, last: int, draws: int, rng: Rng, *, rejection: bool) -> Orders:
    """The post's scheme for m files of n lines and one of `last` ≤ n lines, which are the lines from m·n on.

    Plainly the short file is read in the first rounds until it is empty. With `rejection` a round reads it with the
    probability (its lines left) / (lines left of any other file).
    """
    _check_short(m, n, last)
    full = rng.permuted(_lines(m * n, draws).reshape(draws, m, n), axis=2).transpose(0, 2, 1)
    short = rng.permuted(_lines(last, draws), axis=1) + m * n
    rounds, left = np.full((draws, n, 1), -1), np.full(draws, last)
    for t in range(n):
        read = rng.random(draws) < left / (n - t) if rejection else left > 0
        rounds[read, t, 0] = short[read, last - left[read]]
        left = left - read
    mixed = rng.permuted(np.concatenate([full, rounds], axis=2), axis=2).reshape(draws, -1)
    return mixed[mixed >= 0].reshape(draws, m * n + last)


def _check_short(m: int, n: int, last: int) -> None:
    at_least(1, m=m, n=n, last=last)
    if last > n:
        raise ValueError(f"expected a last file with at most n={n} lines, got last={last}")


def short_last_law(m: int, n: int, last: int, *, rejection: bool) -> list[Fraction]:
    """The exact law of the position of a line of the short file, by the rounds before its own; see `short_last`."""
    _check_short(m, n, last)
    law = [Fraction(0)] * (m * n + last)
    for t in range(n if rejection else last):
        for before in range(last) if rejection else [t]:  # lines of the short file in rounds 0 ... t−1
            others = math.comb(t, before) * math.comb(n - 1 - t, last - 1 - before)
            p = Fraction(others, n * math.comb(n - 1, last - 1)) if rejection else Fraction(1, last)
            for slot in range(m + 1):
                if p:
                    law[t * m + before + slot] += p / (m + 1)
    return law


@checked
def tv_after_rounds(m: int, rounds: int) -> Fraction:
    """TV distance to uniform after the post's scheme with m files of m lines has run `rounds` times, m ≤ 3.

    Each run cuts the last output into m files. Given the table C[k, i] of how many lines of file i stand in output
    block k, every order is equally likely, both here and for the uniform law, so the tables alone decide. One run
    hands each line of block k to another block: C becomes a sum of m arrangements of its rows.
    """
    at_least(1, m=m, rounds=rounds)
    if m > 3:
        raise ValueError(f"expected m <= 3, since every table is listed, got m={m}")
    law = {tuple(tuple(m * int(i == k) for i in range(m)) for k in range(m)): Fraction(1)}
    for _ in range(rounds):
        after: defaultdict[tuple[tuple[int, ...], ...], Fraction] = defaultdict(Fraction)
        for table, p in law.items():
            rows = [[i for i, c in enumerate(row) for _ in range(c)] for row in table]
            for choice in itertools.product(*(itertools.permutations(row) for row in rows)):
                blocks = [Counter(labels) for labels in zip(*choice, strict=True)]
                after[tuple(tuple(b[i] for i in range(m)) for b in blocks)] += p / math.factorial(m) ** m
        law = dict(after)
    rows = [row for row in itertools.product(range(m + 1), repeat=m) if sum(row) == m]
    distance = Fraction(0)
    for table in itertools.product(rows, repeat=m):
        if all(sum(column) == m for column in zip(*table, strict=True)):
            ways = math.factorial(m) ** (2 * m) // math.prod(math.factorial(c) for row in table for c in row)
            distance += abs(law.get(table, Fraction(0)) - Fraction(ways, math.factorial(m * m)))
    return distance / 2
