"""Softmax attention, its weights, and what may be plugged into it: masks, positions, a scale that grows with length.

An attention function has the signature `attend(q, k, v, *, mask=None, position=None)`. A mask is boolean (see
`lib.masks`); a query that may attend to nothing gets 0. The queries are the last n of the m key positions, so that one
query against stored keys stands where it belongs. A position is None, a callable `position(x, start)` that turns
(..., n, d) as positions start, start + 1, ... (see `positions.rotary`), or a `Bias` added to the logits.

Axes: b batch, h heads, n queries, m keys, d channels, e value channels.
Used wherever a transformer stands. Shapes that do not fit and input that is empty or not finite raise
ValueError.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from lib.checks import broadcastable, checked, positive
from lib.masks import Mask


class Bias(nn.Module, ABC):
    """A position that adds to the logits instead of turning queries and keys, such as that of T5 or ALiBi."""

    @abstractmethod
    def forward(self, n: int, m: int) -> Float[Tensor, "h n m"]:
        """What to add to the logits when the queries are the last n of m positions."""


Position = Callable[..., Tensor]  # position(x, start=0) -> x, or a Bias
Attend = Callable[..., Tensor]


def check_mask(mask: Tensor | None, q: Tensor, k: Tensor) -> None:
    """Raise unless the mask is boolean and broadcasts to (b, h, n, m)."""
    if mask is None:
        return
    if mask.dtype != torch.bool:
        raise ValueError(f"expected a boolean mask, got {mask.dtype}")
    broadcastable("mask", mask, (*q.shape[:3], k.shape[2]))


def _place(q: Tensor, k: Tensor, position: Position | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """Queries and keys at their positions, and what is added to their products."""
    n, m = q.shape[-2], k.shape[-2]
    if position is None:
        return q, k, None
    if n > m:
        raise ValueError(f"with positions the queries are the last n of m keys, so n <= m is expected, got {n=}, {m=}")
    if isinstance(position, Bias):
        return q, k, position(n, m).to(q.dtype)
    return position(q, m - n) if m > n else position(q), position(k), None


@checked
def softmax_attention(
    q: Float[Tensor, "b h n d"],
    k: Float[Tensor, "b h m d"],
    v: Float[Tensor, "b h m e"],
    *,
    mask: Mask | None = None,
    position: Position | None = None,
    scale: float | None = None,
) -> Float[Tensor, "b h n e"]:
    """softmax(scale · q kᵀ) v with scale = d^(−1/2) by default."""
    check_mask(mask, q, k)
    q, k, bias = _place(q, k, position)
    if mask is None:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scale)
    alive = mask.any(-1, keepdim=True)
    seen = mask | ~alive
    added = seen if bias is None else torch.where(seen, bias, -torch.inf)
    return torch.where(alive, F.scaled_dot_product_attention(q, k, v, attn_mask=added, scale=scale), 0.0)


@checked
def attention_weights(
    q: Float[Tensor, "b h n d"],
    k: Float[Tensor, "b h m d"],
    *,
    mask: Mask | None = None,
    position: Position | None = None,
    scale: float | None = None,
) -> Float[Tensor, "b h n m"]:
    """The matrix softmax(scale · q kᵀ) that `softmax_attention` applies to v."""
    check_mask(mask, q, k)
    q, k, bias = _place(q, k, position)
    logits = q @ k.mT * (q.shape[-1] ** -0.5 if scale is None else scale)
    logits = logits if bias is None else logits + bias
    if mask is None:
        return logits.softmax(-1)
    alive = mask.any(-1, keepdim=True)
    return torch.where(mask, logits.masked_fill(~mask & alive, -torch.inf).softmax(-1), 0.0)


@checked
def length_scale(
    q: Float[Tensor, "b h n d"],
    m: int,
    mask: Mask | None = None,
    *,
    base: float = 512.0,
    least: float = 0.0,
) -> Float[Tensor, "#b #h n 1"]:
    """log_base of the number of keys that each query may see, at least `least`: the factor of entropy invariance.

    Multiply q by it. With `least=1` lengths up to `base` stay as they are, the form used on models that were trained
    without it. Post: https://spaces.ac.cn/archives/8823.
    """
    positive(base=base, m=m)
    if base <= 1:
        raise ValueError(f"expected base > 1, got {base}")
    n = q.shape[-2]
    if mask is None:
        seen = torch.full((1, 1, n, 1), float(m), device=q.device)  # every query sees every key
    else:
        broadcastable("mask", mask, (*q.shape[:3], m))
        seen = mask.expand(*mask.shape[:-2], n, m).sum(-1, keepdim=True).float()
        seen = seen[(None,) * (4 - seen.ndim)]
    return (seen.clamp(min=1).log() / math.log(base)).clamp(min=least).to(q.dtype)


def length_scaled(attend: Attend, *, base: float = 512.0, least: float = 0.0) -> Attend:
    """`attend` with its queries multiplied by `length_scale`: entropy-invariant attention."""

    def scaled(q: Tensor, k: Tensor, v: Tensor, *, mask: Tensor | None = None, **options: object) -> Tensor:
        return attend(q * length_scale(q, k.shape[-2], mask, base=base, least=least), k, v, mask=mask, **options)

    return scaled
