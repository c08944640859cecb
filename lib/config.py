"""Run configuration: mode, seeds and device, read from the environment and from nowhere else.

`BOOK_MODE` is `small` (default: offline, CPU), `full` (hub and GPU) or `dry` (the full configuration with the small
one's numbers, used to test the full code path on local stand-ins). `BOOK_SEED` shifts every seed of an article.
"""

from __future__ import annotations

import dataclasses
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import numpy
    import torch

C = TypeVar("C")
MODES = ("small", "full", "dry")
SEED_STRIDE = 1000


def mode() -> str:
    """The value of `BOOK_MODE`: `small`, `full` or `dry`."""
    value = os.environ.get("BOOK_MODE", "small")
    if value not in MODES:
        raise ValueError(f"BOOK_MODE must be one of {', '.join(MODES)}, got {value!r}")
    return value


def small_or_full(small: C, full: C) -> C:
    """The configuration of the current mode; both are instances of one frozen dataclass.

    In `dry` mode the result is `full` with every number, and every tuple of numbers, of `small`, so that the full code
    path runs in seconds. Flags are no numbers: they keep the value of `full`.
    """
    frozen = getattr(getattr(type(small), "__dataclass_params__", None), "frozen", False)
    if type(small) is not type(full) or not frozen:
        got = f"{type(small).__name__} and {type(full).__name__}"
        raise ValueError(f"expected two instances of one frozen dataclass, got {got}")
    match mode():
        case "small":
            return small
        case "full":
            return full
    values = {f.name: getattr(small, f.name) for f in dataclasses.fields(small)}  # type: ignore[arg-type]
    return dataclasses.replace(full, **{k: v for k, v in values.items() if _is_numeric(v)})  # type: ignore[type-var]


def _is_numeric(value: Any) -> bool:
    if isinstance(value, tuple):
        return bool(value) and all(_is_numeric(item) for item in value)
    return isinstance(value, int | float) and not isinstance(value, bool)


def seed(k: int = 0) -> int:
    """Seed number `k` of an article, shifted by 1000 for each unit of `BOOK_SEED`."""
    shift = os.environ.get("BOOK_SEED", "0")
    if not shift.isdecimal():
        raise ValueError(f"BOOK_SEED must be a non-negative integer, got {shift!r}")
    if not 0 <= k < SEED_STRIDE:
        raise ValueError(f"seed number must lie in [0, {SEED_STRIDE}), got {k}")
    return k + SEED_STRIDE * int(shift)


def seeds(count: int) -> list[int]:
    """The first `count` seeds of an article."""
    if count < 1:
        raise ValueError(f"expected at least one seed, got {count}")
    return [seed(k) for k in range(count)]


def generator(k: int = 0, device: str | torch.device = "cpu") -> torch.Generator:
    """A torch generator seeded with `seed(k)`; use one per purpose (data, weights, batches)."""
    import torch

    return torch.Generator(device=device).manual_seed(seed(k))


def rng(k: int = 0) -> numpy.random.Generator:
    """A numpy generator seeded with `seed(k)`."""
    import numpy as np

    return np.random.default_rng(seed(k))


def device() -> torch.device:
    """The device that models should run on: CUDA when there is one and the mode is not `small`, else the CPU."""
    import torch

    return torch.device("cuda" if mode() != "small" and torch.cuda.is_available() else "cpu")


@contextmanager
def cpu_seconds() -> Iterator[dict[str, float]]:
    """Measure the process's CPU time of a block: `with cpu_seconds() as spent: ...; spent["seconds"]`."""
    spent: dict[str, float] = {}
    start = time.process_time()
    try:
        yield spent
    finally:
        spent["seconds"] = time.process_time() - start


def versions() -> dict[str, Any]:
    """What the current run rests on: mode, seed, Python, and the versions of the numerical packages."""
    from importlib import metadata

    found = {}
    for name in ("torch", "numpy", "scipy", "sympy"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "absent"
    return {"mode": mode(), "seed": seed(), "python": platform.python_version(), **found}
