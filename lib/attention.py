"""Masks, softmax attention, and linear attention in its quadratic, recurrent and chunked forms.

A mask is boolean, True = may attend, broadcastable to (b, h, n, m); masks combine by `&` and `|`. A query that may
attend to nothing gets 0. An attention function has the signature `attend(q, k, v, *, mask=None, position=None)`; where
to rotate is its own affair: softmax attention turns q and k, linear attention turns the features in the numerator.

Axes: b batch, h heads, n queries, m keys, d channels, e value channels, r features, t chunks.
Posts: https://spaces.ac.cn/archives/7546 and https://spaces.ac.cn/archives/8338; used in the article
performer-to-linear-attention. The attention functions raise ValueError for shapes that do not fit and for input that
is empty or not finite; `LinearState` trusts its caller, since it runs once a position.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from lib.checks import broadcastable, checked
from lib.features import FeatureMap, elu1, exp, exp_causal, identity, one_plus_cos, relu

__all__ = [
    "LinearState", "attention_weights", "band", "causal", "elu1", "exp", "exp_causal", "identity", "linear_attention",
    "linear_weights", "one_plus_cos", "padding", "relu", "softmax_attention",
]  # fmt: skip

Position = Callable[[Tensor], Tensor]
Mask = Bool[Tensor, "..."]
Device = torch.device | str | None


def causal(n: int, m: int | None = None, *, device: Device = None) -> Bool[Tensor, "n m"]:
    """Query i sees keys j <= i + m − n: the last query sees everything, as when decoding with stored keys."""
    m = n if m is None else m
    if n < 1 or m < n:
        raise ValueError(f"expected 1 <= n <= m, got n={n}, m={m}")
    return torch.ones(n, m, dtype=torch.bool, device=device).tril(m - n)


def band(n: int, width: int, *, device: Device = None) -> Bool[Tensor, "n n"]:
    """Query i sees keys with |i − j| <= width."""
    if n < 1 or width < 0:
        raise ValueError(f"expected n >= 1 and width >= 0, got n={n}, width={width}")
    at = torch.arange(n, device=device)
    return (at[:, None] - at).abs() <= width


@checked
def padding(keep: Bool[Tensor, "b m"] | Int[Tensor, " b"], m: int | None = None) -> Bool[Tensor, "b 1 1 m"]:
    """Hide the padding keys, given which keys to keep or the length of each row (then `m` is needed)."""
    if keep.dtype != torch.bool:
        if m is None or keep.ndim != 1 or not bool(((keep >= 0) & (keep <= m)).all()):
            raise ValueError(f"lengths must lie in [0, m] with m given, got m={m}, lengths {keep.tolist()}")
        keep = torch.arange(m, device=keep.device) < keep[:, None]
    return keep[:, None, None, :]


def _check_mask(mask: Tensor | None, q: Tensor, k: Tensor) -> None:
    if mask is None:
        return
    if mask.dtype != torch.bool:
        raise ValueError(f"expected a boolean mask, got {mask.dtype}")
    broadcastable("mask", mask, (*q.shape[:3], k.shape[2]))


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
    _check_mask(mask, q, k)
    if position is not None:
        q, k = position(q), position(k)
    if mask is None:
        return F.scaled_dot_product_attention(q, k, v, scale=scale)
    alive = mask.any(-1, keepdim=True)
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask | ~alive, scale=scale)
    return torch.where(alive, out, 0.0)


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
    _check_mask(mask, q, k)
    if position is not None:
        q, k = position(q), position(k)
    logits = q @ k.mT * (q.shape[-1] ** -0.5 if scale is None else scale)
    if mask is None:
        return logits.softmax(-1)
    alive = mask.any(-1, keepdim=True)
    return torch.where(mask, logits.masked_fill(~mask & alive, -torch.inf).softmax(-1), 0.0)


class LinearState(NamedTuple):
    """Everything a causal linear attention remembers: S = Σ φ(k) vᵀ and z = Σ φ(k)."""

    S: Float[Tensor, "b h r e"]
    z: Float[Tensor, "b h r"]

    @classmethod
    def empty(cls, b: int, h: int, r: int, e: int, **options: Any) -> LinearState:
        """The state before the first key; `dtype` and `device` as in `torch.zeros`."""
        return cls(torch.zeros(b, h, r, e, **options), torch.zeros(b, h, r, **options))

    def step(
        self, fk: Float[Tensor, "b h r"], v: Float[Tensor, "b h e"], turned: Float[Tensor, "b h r"] | None = None
    ) -> LinearState:
        """The state after one more key with features `fk`; `turned` are the rotated ones, if there are positions."""
        return LinearState(self.S + (fk if turned is None else turned)[..., None] * v[..., None, :], self.z + fk)

    def read(
        self, fq: Float[Tensor, "b h r"], turned: Float[Tensor, "b h r"] | None = None, eps: float = 0.0
    ) -> Float[Tensor, "b h e"]:
        """φ(q)ᵀS / φ(q)ᵀz, the output for a query with features `fq`."""
        sums = torch.einsum("bhr,bhre->bhe", fq if turned is None else turned, self.S)
        return _quotient(sums, (fq * self.z).sum(-1, keepdim=True), eps)


def _quotient(sums: Tensor, total: Tensor, eps: float) -> Tensor:
    total = total + eps
    return sums / torch.where(total == 0, torch.inf, total)


def _features(q: Tensor, k: Tensor, feature_map: FeatureMap, position: Position | None) -> tuple[Tensor, ...]:
    """Features of q and k, plain and rotated, in float32 or wider."""
    fq, fk = (f.float() if f.dtype in (torch.bfloat16, torch.float16) else f for f in feature_map(q, k))
    return (fq, fk, fq, fk) if position is None else (fq, fk, position(fq), position(fk))


@checked
def linear_weights(
    q: Float[Tensor, "b h n d"],
    k: Float[Tensor, "b h m d"],
    *,
    feature_map: FeatureMap = elu1,
    mask: Mask | None = None,
    causal: bool = False,
    position: Position | None = None,
    eps: float = 0.0,
) -> Float[Tensor, "b h n m"]:
    """The matrix φ(q_i)ᵀφ(k_j) / Σ_j φ(q_i)ᵀφ(k_j) that linear attention applies to v without ever forming it."""
    _check_mask(mask, q, k)
    fq, fk, rq, rk = _features(q, k, feature_map, position)
    seen = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool, device=q.device).tril(0 if causal else k.shape[-2])
    seen = seen if mask is None else seen & mask
    total = (fq @ fk.mT * seen).sum(-1, keepdim=True)
    return _quotient(rq @ rk.mT * seen, total, eps)


@checked
def linear_attention(
    q: Float[Tensor, "b h n d"],
    k: Float[Tensor, "b h m d"],
    v: Float[Tensor, "b h m e"],
    *,
    feature_map: FeatureMap = elu1,
    mask: Mask | None = None,
    causal: bool = False,
    position: Position | None = None,
    impl: Literal["chunked", "recurrent", "quadratic"] = "chunked",
    chunk: int = 64,
    eps: float = 0.0,
) -> Float[Tensor, "b h n e"]:
    """out_i = Σ_j (φ(q_i)ᵀφ(k_j)) v_j / Σ_j φ(q_i)ᵀφ(k_j), over j <= i if `causal`; three ways to the same numbers.

    `position` turns the features in the numerator only, so the weights need not sum to 1 nor be positive. A mask that
    differs between queries needs `impl="quadratic"`; one over keys alone (b, 1, 1, m) goes everywhere. A total of
    exactly 0 gives 0; `eps` is added to the total. Sums run in float32 or wider.
    """
    _check_mask(mask, q, k)
    n, m = q.shape[-2], k.shape[-2]
    if (causal and n != m) or chunk < 1 or impl not in ("chunked", "recurrent", "quadratic"):
        raise ValueError(f"expected n = m if causal, chunk >= 1, a known impl, got n={n}, m={m}, {chunk=}, {impl=}")
    if impl == "quadratic":
        weights = linear_weights(q, k, feature_map=feature_map, mask=mask, causal=causal, position=position, eps=eps)
        return (weights @ v.to(weights.dtype)).to(v.dtype)
    fq, fk, rq, rk = _features(q, k, feature_map, position)
    if mask is not None:
        if mask.ndim < 2 or mask.shape[-2] != 1:
            raise ValueError(f"a mask of {tuple(mask.shape)} differs between queries: it needs impl='quadratic'")
        fk, rk = fk * mask.mT, rk * mask.mT
    wide = v.to(fk.dtype)
    if not causal:
        return _quotient(rq @ (rk.mT @ wide), fq @ fk.sum(-2)[..., None], eps).to(v.dtype)
    if impl == "chunked":
        if position is None:  # the total rides along as one more value channel
            both = _prefix_sums(fq, fk, F.pad(wide, (0, 1), value=1.0), chunk)
            return _quotient(both[..., :-1], both[..., -1:], eps).to(v.dtype)
        total = (fq * fk.cumsum(-2)).sum(-1, keepdim=True)
        return _quotient(_prefix_sums(rq, rk, wide, chunk), total, eps).to(v.dtype)
    b, h, _, r = fk.shape
    state = LinearState.empty(b, h, r, v.shape[-1], dtype=fk.dtype, device=v.device)
    out = []
    for i in range(n):
        state = state.step(fk[:, :, i], wide[:, :, i], rk[:, :, i])
        out.append(state.read(fq[:, :, i], rq[:, :, i], eps))
    return torch.stack(out, -2).to(v.dtype)


def _prefix_sums(fq: Tensor, fk: Tensor, v: Tensor, chunk: int) -> Float[Tensor, "b h n e"]:
    """Σ_{j <= i} (fq_i · fk_j) v_j: quadratic inside a chunk, S = Σ fk vᵀ carried from one chunk to the next."""
    S = v.new_zeros(fk.shape[0] * fk.shape[1], fk.shape[-1], v.shape[-1])
    out = []
    for a, b, w in zip(*(x.flatten(0, 1).split(chunk, 1) for x in (fq, fk, v)), strict=True):
        inside = torch.bmm(a, b.mT).tril_()  # (b·h, chunk, chunk)
        out.append(torch.baddbmm(torch.bmm(a, S), inside, w))
        S = torch.baddbmm(S, b.mT, w)
    return torch.cat(out, 1).unflatten(0, fq.shape[:2])
