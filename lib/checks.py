"""Refusal of bad input with a ValueError that names what was expected and what came.

`checked` reads the shapes that stand in a signature anyway (jaxtyping enforces them under pytest alone) and refuses at
every call arrays that do not fit them, are empty, or hold NaN or infinity, and numbers that are NaN. The scan of the
entries is made once, by the outermost checked function: what that calls in turn, callbacks and models included, is
held to its shapes only. There is no scan under `torch.compile` and none of tensors that `torch.func` has wrapped.
"""

from __future__ import annotations

import functools
import inspect
import math
import sys
import threading
import typing
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

P, R = ParamSpec("P"), TypeVar("R")
_scan = threading.local()


def _fits(shape: Sequence[int], axes: Sequence[str], sizes: dict[str, Any]) -> bool:
    """Whether a shape fits axes such as `*b n 3`; if so, `sizes` gains the lengths of the axes it names."""
    star = next((i for i, axis in enumerate(axes) if axis[0] in "*."), None)
    parts: list[Any] = list(shape)
    if star is not None and len(parts) >= len(axes) - 1:
        stop = len(parts) - len(axes) + 1 + star
        parts[star:stop] = [tuple(parts[star:stop])]
    found = {axis: int(axis) for axis in axes if axis.isdigit()} | sizes
    named = [(axis, part) for axis, part in zip(axes, parts, strict=False) if axis not in ("...", "_")]
    if len(parts) != len(axes) or any(found.setdefault(axis, part) != part for axis, part in named):
        return False
    sizes.update(found)
    return True


def _bad_entries(value: Any) -> int:
    """The number of entries that are NaN or infinite; 0 for tensors that have no values to look at."""
    if not hasattr(value, "is_meta"):  # numpy
        import numpy as np

        return int((~np.isfinite(value)).sum()) if np.asarray(value).dtype.kind in "fc" else 0
    import torch

    if not (value.is_floating_point() or value.is_complex()) or value.is_meta:
        return 0
    if torch._C._functorch.is_functorch_wrapped_tensor(value):
        return 0
    value = value.detach()
    # NaN and infinity survive a sum, which is one fast pass; where it is not finite, it may also have overflowed.
    return 0 if math.isfinite(abs(value.sum().item())) else int((~value.isfinite()).sum())


def array(name: str, value: Any, *shapes: str, sizes: dict[str, Any] | None = None, scan: bool = True) -> None:
    """Raise unless `value` is a non-empty, finite array of one of the shapes, written as in jaxtyping: `*b n 3`.

    `sizes` holds the lengths of named axes and gains those that this array names.
    """
    wanted = " or ".join(f"({', '.join(shape.split())})" for shape in shapes)
    expected, shape = f"expected a finite, non-empty {name} of shape {wanted}", getattr(value, "shape", None)
    if shape is None:
        raise ValueError(f"{expected}, got {type(value).__name__}")
    sizes = {} if sizes is None else sizes
    if 0 in shape or not any(_fits(shape, axes.split(), sizes) for axes in shapes):
        known = ", ".join(f"{axis} = {size}" for axis, size in sizes.items() if not axis.isdigit())
        raise ValueError(f"{expected}{f' where {known}' if known else ''}, got shape {tuple(shape)}")
    if scan and (bad := _bad_entries(value)):
        raise ValueError(f"{expected}, got shape {tuple(shape)} with {bad} NaN or infinite")


def at_least(low: float | int, **numbers: Any) -> None:
    """Raise unless every number given by name is finite and at least `low`; of arrays, every entry."""
    for name, value in numbers.items():
        if not all(math.isfinite(v) and v >= low for v in (getattr(value, "min", lambda v=value: v)(), value.max() if hasattr(value, "max") else value)):
            raise ValueError(f"expected finite {name} >= {low}, got {name}={value!r}")


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """`function`, with its arguments held to its annotations before it runs."""
    signature = inspect.signature(function)

    @functools.cache
    def shapes() -> dict[str, tuple[list[str], bool]]:
        """The shapes of every parameter annotated with an array type, and whether it may be something else."""
        found = {}
        for name, hint in typing.get_type_hints(function).items():
            options = typing.get_args(hint) if not hasattr(hint, "dim_str") else (hint,)
            arrays = list(dict.fromkeys(o.dim_str for o in options if hasattr(o, "dim_str")))
            if arrays and name != "return":
                found[name] = arrays, not all(hasattr(o, "dim_str") for o in options)
        return found

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        if (torch := sys.modules.get("torch")) and torch.compiler.is_compiling():
            return function(*args, **kwargs)
        outer, sizes = not getattr(_scan, "off", False), {}
        given = signature.bind(*args, **kwargs).arguments
        for name, value in given.items():
            if name in shapes() and not (shapes()[name][1] and not hasattr(value, "shape")):
                array(name, value, *shapes()[name][0], sizes=sizes, scan=outer)
            elif isinstance(value, float) and math.isnan(value):
                raise ValueError(f"expected a number for {name}, got {value}")
        if not outer:
            return function(*args, **kwargs)
        _scan.off = True
        try:
            return function(*args, **kwargs)
        finally:
            _scan.off = False

    return wrapper
