"""Refusal of bad input with a ValueError that names what was expected and what came.

`checked` reads the shapes and dtypes that stand in a signature anyway (jaxtyping enforces them under pytest alone) and
refuses at every call arrays that do not fit them, are empty, or hold NaN or infinity, and numbers that are NaN. The
scan of the entries is made once, by the outermost checked function: what that calls in turn, callbacks and models
included, is held to its shapes only. There is no scan under `torch.compile` and none of tensors that `torch.func` has
wrapped.
"""

from __future__ import annotations

import functools
import inspect
import math
import sys
import threading
import typing
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])
_scan = threading.local()
_COMMON = ("bool", "int32", "int64", "float16", "bfloat16", "float32", "float64", "complex64", "complex128")


@functools.cache
def _axes(shape: str) -> tuple[str, ...]:
    return tuple(shape.split())


def _fits(shape: Sequence[int], axes: Sequence[str], sizes: dict[str, Any]) -> bool:
    """Whether a shape fits axes such as `*b n 3`; if so, `sizes` gains the lengths of the axes it names."""
    star = next((i for i, axis in enumerate(axes) if axis[0] in "*."), None)
    parts: list[Any] = list(shape)
    if star is not None and len(parts) >= len(axes) - 1:
        stop = len(parts) - len(axes) + 1 + star
        parts[star:stop] = [tuple(parts[star:stop])]
    if len(parts) != len(axes):
        return False
    found = dict(sizes)
    for axis, part in zip(axes, parts, strict=True):
        if axis != "..." and part != (int(axis) if axis.isdigit() else found.setdefault(axis, part)):
            return False
    sizes.update(found)
    return True


def _is_compiling() -> bool:
    return "torch" in sys.modules and sys.modules["torch"].compiler.is_compiling()


def is_opaque(tensor: Any) -> bool:
    """Whether a tensor has no values to look at: it lies nowhere, or `torch.func` has wrapped it."""
    return tensor.is_meta or sys.modules["torch"]._C._functorch.is_functorch_wrapped_tensor(tensor)


def _bad_entries(value: Any) -> int:
    """The number of entries that are NaN or infinite; 0 for tensors that have no values to look at."""
    if not hasattr(value, "is_meta"):  # numpy
        import numpy as np

        return int((~np.isfinite(value)).sum()) if np.asarray(value).dtype.kind in "fc" else 0
    if not (value.is_floating_point() or value.is_complex()) or is_opaque(value):
        return 0
    value = value.detach()
    # NaN and infinity survive a sum, which is one fast pass; where it is not finite, it may also have overflowed.
    return 0 if math.isfinite(abs(value.sum().item())) else int((~value.isfinite()).sum())


def array(name: str, value: Any, *shapes: str, sizes: dict[str, Any] | None = None, scan: bool = True) -> None:
    """Raise unless `value` is a non-empty, finite array of one of the shapes, written as in jaxtyping: `*b n 3`.

    `sizes` holds the lengths of named axes and gains those that this array names; without `scan` entries may be
    anything.
    """
    shape, sizes = getattr(value, "shape", None), {} if sizes is None else sizes
    if shape is None:
        got = type(value).__name__
    elif 0 in shape or not any(_fits(shape, _axes(wanted), sizes) for wanted in shapes):
        known = ", ".join(f"{axis} = {size}" for axis, size in sizes.items())
        got = f"shape {tuple(shape)}" + (f" where {known}" if known else "")
    elif scan and (bad := _bad_entries(value)):
        got = f"shape {tuple(shape)} with {bad} NaN or infinite"
    else:
        return
    wanted = " or ".join(f"({', '.join(_axes(shape))})" for shape in shapes)
    raise ValueError(f"expected finite, non-empty {name} of shape {wanted}, got {got}")


def at_least(low: float | int, **numbers: Any) -> None:
    """Raise unless every number given by name is finite and at least `low`; of an array, every entry."""
    for name, value in numbers.items():
        ends = (value.min(), value.max()) if hasattr(value, "shape") else (value, value)
        if not (ends[0] >= low and math.isfinite(ends[1])):
            raise ValueError(f"expected finite {name} >= {low}, got {name}={value!r}")


def positive(**numbers: Any) -> None:
    """Raise unless every number given by name is finite and greater than 0."""
    for name, value in numbers.items():
        if not (value > 0 and math.isfinite(value)):
            raise ValueError(f"expected finite {name} > 0, got {name}={value!r}")


def indices(name: str, value: Any, size: int) -> None:
    """Raise unless all entries of a tensor of integers lie in [0, size)."""
    if _is_compiling() or is_opaque(value):
        return
    low, high = int(value.min()), int(value.max())
    if low < 0 or high >= size:
        raise ValueError(f"{name} must lie in [0, {size}), got {low}..{high}")


def broadcastable(name: str, value: Any, shape: Sequence[int]) -> None:
    """Raise unless an array can be broadcast to this shape."""
    pairs = zip(value.shape[::-1], shape[::-1], strict=False)
    if len(value.shape) > len(shape) or any(size not in (1, wanted) for size, wanted in pairs):
        raise ValueError(f"expected {name} broadcastable to {tuple(shape)}, got {value.dtype} {tuple(value.shape)}")


def checked(function: F) -> F:
    """`function`, with its arguments held to its annotations before it runs."""
    signature = inspect.signature(function)

    @functools.cache
    def shapes() -> dict[str, tuple[list[str], set[str], bool]]:
        """Shapes and dtypes of every parameter annotated with an array type, and whether it may be something else."""
        found = {}
        for name, hint in typing.get_type_hints(function).items():
            options = typing.get_args(hint) if not hasattr(hint, "dim_str") else (hint,)
            arrays = list(dict.fromkeys(o.dim_str for o in options if hasattr(o, "dim_str")))
            if arrays and name != "return":
                dtypes = {str(d) for o in options if hasattr(o, "dim_str") for d in o.dtypes}
                found[name] = arrays, dtypes, not all(hasattr(o, "dim_str") for o in options)
        return found

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if _is_compiling():
            return function(*args, **kwargs)
        depth, sizes = getattr(_scan, "depth", 0), {}
        for name, value in signature.bind(*args, **kwargs).arguments.items():
            arrays, dtypes, others = shapes().get(name, ([], set(), True))
            if arrays and (hasattr(value, "shape") or not others):
                array(name, value, *arrays, sizes=sizes, scan=depth == 0)
                if hasattr(value, "is_meta") and (dtype := str(value.dtype).removeprefix("torch.")) not in dtypes:
                    kinds = ", ".join(sorted(d for d in dtypes if d in _COMMON))
                    raise ValueError(f"expected {name} of dtype {kinds}, got {dtype}")
            elif isinstance(value, float) and math.isnan(value):
                raise ValueError(f"expected a number for {name}, got {value}")
        _scan.depth = depth + 1
        try:
            return function(*args, **kwargs)
        finally:
            _scan.depth = depth

    return cast(F, wrapper)
