"""Associative memory: what a matrix of d rows remembers of n pairs, written by the Hebb rule or by the delta rule.

The state of linear attention without normaliser is S = Σ k vᵀ, and Sᵀk reads it (Hebb). The delta rule first takes off
what the key already recalls. For independent unit keys of uniform direction the mean recall error of both is known
exactly.

Axes: b independent memories, n pairs, d channels of a key, e channels of a value.
Post: https://spaces.ac.cn/archives/7546; derived in the article linear-attention.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from lib.checks import at_least, checked


@checked
def unit_keys(
    *shape: int,
    generator: torch.Generator,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str | None = None,
) -> Float[Tensor, "*b n d"]:
    """Independent unit vectors of uniform direction, drawn where the generator lives and moved to `device`."""
    at_least(1, **{f"axis {i}": size for i, size in enumerate(shape)})
    if len(shape) < 2:
        raise ValueError(f"expected a shape (..., n, d), got {shape}")
    x = torch.randn(*shape, generator=generator, dtype=dtype, device=generator.device)
    return torch.nn.functional.normalize(x, dim=-1).to(device)


@checked
def hebbian(k: Float[Tensor, "*b n d"], v: Float[Tensor, "*b n e"]) -> Float[Tensor, "*b d e"]:
    """S = Σ k vᵀ."""
    return k.mT @ v


@checked
def delta(k: Float[Tensor, "*b n d"], v: Float[Tensor, "*b n e"], *, beta: float = 1.0) -> Float[Tensor, "*b d e"]:
    """S ← S + β k (v − Sᵀk)ᵀ, one pass from S = 0; for unit keys and β = 1 the last pair is recalled exactly."""
    if not 0 < beta <= 2:
        raise ValueError(f"expected beta in (0, 2], where unit keys keep the state bounded, got {beta}")
    S = torch.zeros(*k.shape[:-2], k.shape[-1], v.shape[-1], dtype=k.dtype, device=k.device)
    for i in range(k.shape[-2]):
        key = k[..., i, :, None]  # (*b, d, 1)
        S = S + beta * key * (v[..., i, None, :] - key.mT @ S)
    return S


@checked
def recall_error(
    S: Float[Tensor, "*b d e"], k: Float[Tensor, "*b n d"], v: Float[Tensor, "*b n e"]
) -> Float[Tensor, "*b"]:
    """Σ |Sᵀk_i − v_i|² / Σ |v_i|²: 0 is perfect recall, 1 what an empty memory gets."""
    total = v.square().sum((-2, -1))
    if not bool((total > 0).all()):
        raise ValueError("expected values that are not all 0 in every memory, got a memory of zeros")
    return (k @ S - v).square().sum((-2, -1)) / total


def hebbian_law(n: int, d: int) -> float:
    """(n − 1)/d, the mean recall error of `hebbian`, whatever the values are."""
    at_least(1, n=n, d=d)
    return (n - 1) / d


def delta_law(n: int, d: int) -> float:
    """The mean recall error of `delta` with β = 1 for independent values of mean 0 and equal length.

    Reading key i gives u: E|u|² = a and E u·v = b in units of |v|², 1 − 2b + a the error. A later pair multiplies
    b by 1 − 1/d and turns a into a(1 − 2/d) + (s + 2a)/(d(d + 2)) + 1/d, where s = E|S|² = d(1 − (1 − 1/d)^t)
    after t pairs. The error is averaged over the pairs. It rises to 2.
    """
    at_least(1, n=n, d=d)
    keep = 1 - 1 / d
    a, b = [], []  # one entry for each pair written so far
    for t in range(n):
        s = d * (1 - keep**t)
        a = [x * (1 - 2 / d) + (s + 2 * x) / (d * (d + 2)) + 1 / d for x in a] + [1.0]
        b = [x * keep for x in b] + [1.0]
    return sum(1 - 2 * y + x for x, y in zip(a, b, strict=True)) / n
