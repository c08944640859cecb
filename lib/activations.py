"""GELU, its two elementary approximations, and the derivatives of all three, for torch and numpy alike.

With a distribution function F in the place of the normal one, every form is x F(x) and its derivative F(x) + x F'(x):

    erf      F(x) = Φ(x) = erfc(-x/√2) / 2
    tanh     F(x) = (1 + tanh u) / 2 = σ(2u),   u = √(2/π) (x + c x³),   c = 0.044715
    sigmoid  F(x) = σ(λx),                                                λ = 1.702

Post: https://spaces.ac.cn/archives/7309; derived in the article gelu-approximations. Unlike torch's kernel, which
computes 1 + erf(x/√2), erfc and σ keep their relative accuracy on the negative side. Half precision is computed in
float32 and rounded once. As in torch, -inf gives nan (-∞·0), so an input that is to be masked must be masked after.
"""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

GELU_TANH = 0.044715
GELU_SIGMOID = 1.702
FORMS = ("erf", "tanh", "sigmoid")


def _check(form: str, coefficient: float | None) -> float:
    """The coefficient of a form: its default, or the given one if it makes sense."""
    if form not in FORMS:
        raise ValueError(f"form must be one of {', '.join(FORMS)}, got {form!r}")
    if form == "erf" and coefficient is not None:
        raise ValueError(f"the form 'erf' is exact and has no coefficient, got {coefficient}")
    value = {"erf": 0.0, "tanh": GELU_TANH, "sigmoid": GELU_SIGMOID}[form] if coefficient is None else coefficient
    if not math.isfinite(value):
        raise ValueError(f"coefficient must be finite, got {coefficient}")
    return float(value)


def _functions(x: Any) -> tuple[Any, Any, Any]:
    if isinstance(x, np.ndarray):
        from scipy import special

        return special.erfc, special.expit, np.exp
    return torch.erfc, torch.sigmoid, torch.exp


def _widen(x: Any) -> Any:
    if isinstance(x, np.ndarray):
        return x.astype(np.float32) if x.itemsize < 4 else x
    return x.float() if x.element_size() < 4 else x


def _narrow(y: Any, x: Any) -> Any:
    """`y` in the dtype of `x`; numpy turns arrays without axes into scalars, which are turned back."""
    return np.asarray(y, dtype=x.dtype) if isinstance(x, np.ndarray) else y.to(x.dtype)


def _cdf(x: Any, form: str, c: float) -> tuple[Any, Any]:
    """F and F' at x."""
    erfc, sigmoid, exp = _functions(x)
    if form == "erf":
        return erfc(x * -math.sqrt(0.5)) / 2, exp(x * x / -2) / math.sqrt(2 * math.pi)
    if form == "tanh":
        a = 2 * math.sqrt(2 / math.pi)
        z, slope = a * (x + c * x * x * x), a * (1 + 3 * c * x * x)
    else:
        z, slope = c * x, c
    F = sigmoid(z)
    return F, F * sigmoid(-z) * slope


def gelu(
    x: Float[Tensor | np.ndarray, "*shape"], form: str = "erf", coefficient: float | None = None
) -> Float[Tensor | np.ndarray, "*shape"]:
    """x F(x), in the dtype of x; `coefficient` replaces c of the form `tanh` or λ of the form `sigmoid`."""
    c, wide = _check(form, coefficient), _widen(x)
    return _narrow(wide * _cdf(wide, form, c)[0], x)


def gelu_grad(
    x: Float[Tensor | np.ndarray, "*shape"], form: str = "erf", coefficient: float | None = None
) -> Float[Tensor | np.ndarray, "*shape"]:
    """F(x) + x F'(x), the derivative of `gelu`, wherever x³ is finite."""
    c, wide = _check(form, coefficient), _widen(x)
    F, density = _cdf(wide, form, c)
    return _narrow(F + wide * density, x)


class Activation(nn.Module):
    """`gelu` with fixed form and coefficient as a module: `mlp(sizes, lambda: Activation("sigmoid", 1.702))`."""

    def __init__(self, form: str = "erf", coefficient: float | None = None):
        super().__init__()
        _check(form, coefficient)
        self.form, self.coefficient = form, coefficient

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return cast(Tensor, gelu(x, self.form, self.coefficient))

    def extra_repr(self) -> str:
        return f"{self.form}" + ("" if self.coefficient is None else f", {self.coefficient:g}")
