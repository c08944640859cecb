"""Linear attention in its quadratic, recurrent and chunked forms.

Softmax replaced by φ(q)·φ(k), so that the sums over keys can be formed before the query is known. Rotary positions turn
the features in the numerator only. `linear_attention` has the signature of `attention.softmax_attention` and stands in
its place; its functions raise ValueError for shapes that do not fit and for input that is empty or not finite, while
`LinearState` trusts its caller, since it runs once a position.

Axes: b batch, h heads, n queries, m keys, d channels, e value channels, r features, t chunks.
Posts: https://spaces.ac.cn/archives/7546 and https://spaces.ac.cn/archives/8338; derived in the
article linear-attention, used in performer-to-linear-attention.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from lib.attention import Position, check_mask
from lib.checks import checked
from lib.features import FeatureMap, elu1
from lib.masks import Mask


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
    check_mask(mask, q, k)
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
    check_mask(mask, q, k)
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
