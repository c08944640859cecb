"""The rules by which the ledger judges a claim: each is stated before the run and can fail.

Numeric rules judge one number, or one number per seed: each of them, or their mean or median. Nothing here knows of
claims or verdicts; `lib.ledger` does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Protocol, runtime_checkable

Values = list[float]


@runtime_checkable
class Rule(Protocol):
    """A declared criterion. `accepts` and `rejects` are not each other's negation: seeds may disagree."""

    def accepts(self, measured: Any, expected: Any) -> bool:
        """Whether the measurement, all seeds of it, keeps the rule; ValueError where it does not fit the rule."""
        ...

    def rejects(self, measured: Any, expected: Any) -> bool:
        """Whether the measurement, all seeds of it, breaks the rule."""
        ...


def _numbers(value: Any, what: str) -> Values:
    """Flatten a number or a one-dimensional sequence of numbers (one per seed) to finite floats."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    items = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    try:
        numbers = [float(item) for item in items]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what} must be a number or a flat sequence of numbers, got {value!r}") from error
    if not numbers:
        raise ValueError(f"{what} is empty: expected at least one number, got none")
    if bad := [x for x in numbers if not math.isfinite(x)]:
        raise ValueError(f"{what} must be finite, got {bad[0]} among {len(numbers)} value(s)")
    return numbers


@dataclass(frozen=True, kw_only=True)
class _Numeric:
    """A rule on single numbers; a sequence of seeds is judged one by one, or by its mean or median (`over`)."""

    over: str = "each"

    def __post_init__(self) -> None:
        if self.over not in ("each", "mean", "median"):
            raise ValueError(f"over must be 'each', 'mean' or 'median', got {self.over!r}")

    def ok(self, x: float, expected: float | None) -> bool:
        raise NotImplementedError

    def _verdicts(self, measured: Any, expected: Any) -> list[bool]:
        values = _numbers(measured, "measured")
        if self.over == "mean":
            values = [sum(values) / len(values)]
        elif self.over == "median":
            ordered, half = sorted(values), len(values) // 2
            values = [ordered[half] if len(values) % 2 else (ordered[half - 1] + ordered[half]) / 2]
        targets = [None] * len(values) if expected is None else _numbers(expected, "expected")
        targets = targets * len(values) if len(targets) == 1 else targets
        if len(targets) != len(values):
            raise ValueError(f"{len(values)} measured value(s) but {len(targets)} expected one(s)")
        return [self.ok(x, e) for x, e in zip(values, targets, strict=True)]

    def accepts(self, measured: Any, expected: Any) -> bool:
        return all(self._verdicts(measured, expected))

    def rejects(self, measured: Any, expected: Any) -> bool:
        # A table of expected values is one statement: one wrong entry refutes it. Seeds must all fail.
        table = expected is not None and len(_numbers(expected, "expected")) > 1
        verdicts = self._verdicts(measured, expected)
        return not all(verdicts) if table else not any(verdicts)

    def _suffix(self) -> str:
        return "" if self.over == "each" else f" ({self.over} over seeds)"


@dataclass(frozen=True)
class Within(_Numeric):
    """|measured − expected| ≤ max(abs, rel·|expected|)."""

    abs: float | int = field(default=0.0, kw_only=True)
    rel: float | int = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.abs >= 0 and self.rel >= 0 and math.isfinite(self.abs + self.rel) and self.abs + self.rel > 0):
            raise ValueError(f"Within needs a positive finite abs or rel, got {self.abs=}, {self.rel=}")

    def ok(self, x: float, expected: float | None) -> bool:
        if expected is None:
            raise ValueError("Within compares with `expected`, which was not given")
        return abs(x - expected) <= max(self.abs, self.rel * abs(expected))

    def __str__(self) -> str:
        parts = [f"± {self.abs:g}"] * (self.abs > 0) + [f"± {self.rel:.3g} relative"] * (self.rel > 0)
        return "within " + " or ".join(parts) + self._suffix()


@dataclass(frozen=True)
class _Bound(_Numeric):
    """A rule that compares with one number."""

    bound: float | int

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(_numbers(self.bound, "bound")) > 1:
            raise ValueError(f"bound must be one number, got {self.bound!r}")


@dataclass(frozen=True)
class AtLeast(_Bound):
    """measured ≥ bound."""

    def ok(self, x: float, expected: float | None) -> bool:
        return x >= self.bound

    def __str__(self) -> str:
        return f"≥ {self.bound:g}" + self._suffix()


@dataclass(frozen=True)
class AtMost(_Bound):
    """measured ≤ bound."""

    def ok(self, x: float, expected: float | None) -> bool:
        return x <= self.bound

    def __str__(self) -> str:
        return f"≤ {self.bound:g}" + self._suffix()


@dataclass(frozen=True)
class SlopeIn(_Numeric):
    """low ≤ slope ≤ high, where `measured` is a slope, or a pair (x, y) whose log-log least-squares slope is taken."""

    low: float | int
    high: float | int

    def __post_init__(self) -> None:
        super().__post_init__()
        _numbers([self.low, self.high], "slope band")
        if self.low >= self.high:
            raise ValueError(f"SlopeIn needs low < high, got {self.low} and {self.high}")

    def ok(self, x: float, expected: float | None) -> bool:
        return self.low <= x <= self.high

    def __str__(self) -> str:
        return f"slope in [{self.low:g}, {self.high:g}]" + self._suffix()


@dataclass(frozen=True)
class Ordering:
    """The named measurements are in strictly descending order, each exceeding the next by the factor `ratio`."""

    names: tuple[str, ...]
    ratio: float | int = 1.0

    def __init__(self, *names: str, ratio: float | int = 1.0) -> None:
        if len(names) < 2 or len(set(names)) < len(names):
            raise ValueError(f"Ordering needs at least two different names, got {names}")
        if not (math.isfinite(ratio) and ratio >= 1):
            raise ValueError(f"ratio must be a finite number ≥ 1, got {ratio}")
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "ratio", ratio)

    def _verdicts(self, measured: Any) -> list[bool]:
        if not isinstance(measured, Mapping) or set(measured) != set(self.names):
            raise ValueError(f"expected a mapping with the keys {self.names}, got {measured!r}")
        columns = [_numbers(measured[name], name) for name in self.names]
        if len({len(column) for column in columns}) > 1:
            raise ValueError(f"every name needs the same number of seeds, got {[len(c) for c in columns]}")
        if self.ratio > 1 and min(min(column) for column in columns) < 0:
            raise ValueError(f"a ratio compares numbers ≥ 0, got {measured!r}")
        return [all(a > b and a >= self.ratio * b for a, b in pairwise(row)) for row in zip(*columns, strict=True)]

    def accepts(self, measured: Any, expected: Any) -> bool:
        return all(self._verdicts(measured))

    def rejects(self, measured: Any, expected: Any) -> bool:
        return not any(self._verdicts(measured))

    def __str__(self) -> str:
        return " > ".join(self.names) + (f", each by a factor {self.ratio:g}" if self.ratio > 1 else "")


def _exact(value: Any) -> Any:
    """`value` with arrays and lists as tuples; floats are refused, wherever they stand."""
    if hasattr(value, "free_symbols"):
        return value
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return tuple(_exact(item) for item in value)
    if isinstance(value, float):
        raise ValueError(f"Exact is for integers, strings and symbols; compare the float {value} with Within")
    return value


def _same(a: Any, b: Any) -> bool:
    """Equality of two exact values; of sympy expressions and matrices, that their difference simplifies to 0."""
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    if not (hasattr(a, "free_symbols") or hasattr(b, "free_symbols")):
        return bool(a == b)
    import sympy

    a, b = sympy.sympify(a), sympy.sympify(b)
    if isinstance(a, sympy.MatrixBase) and isinstance(b, sympy.MatrixBase):
        return a.shape == b.shape and all(sympy.simplify(entry) == 0 for entry in a - b)
    if isinstance(a, sympy.Expr) and isinstance(b, sympy.Expr):
        return bool(sympy.simplify(a - b) == 0)
    return bool(a == b)


@dataclass(frozen=True)
class Exact:
    """measured equals expected: integers, strings, tuples, or sympy expressions whose difference simplifies to 0."""

    def accepts(self, measured: Any, expected: Any) -> bool:
        if expected is None:
            raise ValueError("Exact compares with `expected`, which was not given")
        return _same(_exact(measured), _exact(expected))

    def rejects(self, measured: Any, expected: Any) -> bool:
        return not self.accepts(measured, expected)

    def __str__(self) -> str:
        return "exactly"


def slope(x: Any, y: Any) -> float:
    """The least-squares slope of log y against log x."""
    xs, ys = _numbers(x, "x"), _numbers(y, "y")
    if len(xs) != len(ys) or len(set(xs)) < 2 or min(*xs, *ys) <= 0:
        raise ValueError(f"a log-log slope needs equally many positive x and y, got {len(xs)} and {len(ys)} values")
    lx, ly = [math.log(v) for v in xs], [math.log(v) for v in ys]
    mx, my = sum(lx) / len(lx), sum(ly) / len(ly)
    return sum((a - mx) * (b - my) for a, b in zip(lx, ly, strict=True)) / sum((a - mx) ** 2 for a in lx)
