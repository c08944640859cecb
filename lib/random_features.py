"""Performer: random features whose inner products average to exp(q·k), their variances, and the attention they give.

Axes: b batch, h heads, n queries, m keys, d channels, e value channels, r random directions (rows of W).
Posts: https://spaces.ac.cn/archives/7921 and https://spaces.ac.cn/archives/8338, derived in
`performer-to-linear-attention`. Unlike the public implementations, the orthogonal directions are Haar distributed
(QR with the signs of diag R put back), no eps is added to the features, and the causal form cannot see the future.
The feature maps take x as it is; `favor_attention` scales q and k by d^(-1/4), once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lib.checks import at_least, checked

Mask = Bool[Tensor, "..."]


@checked
def gaussian(
    m: int,
    d: int,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float32,
    *,
    draws: int | None = None,
) -> Float[Tensor, "*draws {m} {d}"]:
    """`m` independent directions ω ~ N(0, I_d) as rows; `draws` such matrices when given."""
    at_least(1, m=m, d=d, draws=1 if draws is None else draws)
    shape = (m, d) if draws is None else (draws, m, d)
    device = "cpu" if generator is None else generator.device
    return torch.randn(shape, generator=generator, dtype=dtype, device=device)


@checked
def orthogonal(
    m: int,
    d: int,
    generator: torch.Generator | None = None,
    norms: str = "chi",
    haar: bool = True,
    dtype: torch.dtype = torch.float32,
    *,
    draws: int | None = None,
) -> Float[Tensor, "*draws {m} {d}"]:
    """`m` directions in blocks of d mutually orthogonal rows (the last block cut short).

    `norms`: `chi` draws each length from the χ_d law, so that every row is N(0, I) and positive features stay
    unbiased; `sqrt_d` sets all to √d; `quantile` to the χ_d quantiles i/(m+1) (the author's proposal) and `midpoint`
    to (i−½)/m, both in random order. `haar=False` leaves out the correction of the QR signs, as public code does:
    row i then has a mean along coordinate i, and features that are not even in ω are biased.
    """
    at_least(1, m=m, d=d, draws=1 if draws is None else draws)
    if norms not in ("chi", "sqrt_d", "quantile", "midpoint"):
        raise ValueError(f"norms must be 'chi', 'sqrt_d', 'quantile' or 'midpoint', got {norms!r}")
    count, blocks = (1 if draws is None else draws), -(-m // d)
    directions, R = torch.linalg.qr(gaussian(d, d, generator, torch.float64, draws=count * blocks))
    if haar:
        directions = directions * R.diagonal(dim1=-2, dim2=-1).sign()[:, None, :]
    rows = directions.mT.reshape(count, blocks * d, d)[:, :m]
    if norms == "chi":
        lengths = gaussian(m, d, generator, torch.float64, draws=count).norm(dim=-1)
    else:
        lengths = _fixed_norms(norms, m, d).to(rows.device).expand(count, m)
        order = torch.rand(count, m, generator=generator, dtype=torch.float64, device=rows.device).argsort(-1)
        lengths = lengths.gather(-1, order)
    W = (rows * lengths[..., None]).to(dtype)
    return W[0] if draws is None else W


def _fixed_norms(norms: str, m: int, d: int) -> Float[Tensor, " m"]:
    if norms == "sqrt_d":
        return torch.full((m,), math.sqrt(d), dtype=torch.float64)
    from scipy.stats import chi

    i = np.arange(1, m + 1)
    return torch.from_numpy(chi.ppf(i / (m + 1) if norms == "quantile" else (i - 0.5) / m, df=d))


def _project(x: Float[Tensor, "*b n d"], W: Float[Tensor, "*c r w"]) -> Float[Tensor, "*p n r"]:
    if x.shape[-1] != W.shape[-1]:
        raise ValueError(f"expected as many channels as the directions W have, {W.shape[-1]}, got {x.shape[-1]}")
    return x @ W.mT


@checked
def positive(x: Float[Tensor, "*b n d"], W: Float[Tensor, "*c r w"], *, log: bool = False) -> Float[Tensor, "*p n r"]:
    """φ_r(x) = exp(ω_r·x − |x|²/2)/√r, or its logarithm: E φ(q)·φ(k) = e^{q·k}, never negative."""
    exponent = _project(x, W) - (x.square().sum(-1, keepdim=True) + math.log(W.shape[-2])) / 2
    return exponent if log else exponent.exp()


@checked
def hyperbolic(
    x: Float[Tensor, "*b n d"], W: Float[Tensor, "*c r w"], *, log: bool = False
) -> Float[Tensor, "*p n {2*W.shape[-2]}"]:
    """exp(±ω_r·x − |x|²/2)/√(2r), 2r features (or logarithms): positive features on the pairs ω, −ω."""
    return positive(x, torch.cat([W, -W], -2), log=log)


@checked
def trig(x: Float[Tensor, "*b n d"], W: Float[Tensor, "*c r w"]) -> Float[Tensor, "*p n {2*W.shape[-2]}"]:
    """[cos ω_r·x, sin ω_r·x]·e^{|x|²/2}/√r, 2r features: unbiased for e^{q·k} too, but of either sign."""
    angle = _project(x, W)
    scale = (x.square().sum(-1, keepdim=True) / 2).exp() / math.sqrt(W.shape[-2])
    return torch.cat([angle.cos(), angle.sin()], -1) * scale


_VARIANCES: dict[str, Callable[[Any, Any], Any]] = {
    "positive": lambda s, t: np.expm1(s),
    "hyperbolic": lambda s, t: np.cosh(s) - 1,
    "trig": lambda s, t: np.cosh(t) - 1,
}


@checked
def relative_variance(kind: str, s: float | np.ndarray, t: float | np.ndarray, m: int) -> float | np.ndarray:
    """Var[φ(q)·φ(k)]/e^{2q·k} for `m` independent ω ~ N(0, I), with s = |q+k|² and t = |q−k|².

    positive: (e^s − 1)/m; hyperbolic: (cosh s − 1)/m; trig: (cosh t − 1)/m.
    """
    if kind not in _VARIANCES:
        raise ValueError(f"kind must be one of {', '.join(_VARIANCES)}, got {kind!r}")
    at_least(1, m=m)
    at_least(0, s=s, t=t)
    value = _VARIANCES[kind](s, t) / m
    return value if isinstance(value, np.ndarray) else float(value)


@checked
def favor_attention(
    q: Float[Tensor, "*b n d"],
    k: Float[Tensor, "*b m d"],
    v: Float[Tensor, "*b m e"],
    *,
    W: Float[Tensor, "*c r w"],
    mask: Mask | None = None,
    position: Callable[[Tensor], Tensor] | None = None,
    causal: bool = False,
    chunk: int = 64,
) -> Float[Tensor, "*b n e"]:
    """Softmax attention with e^{q·k/√d} replaced by positive random features, in time linear in n.

    With a_ir = ω_r·q_i and the log features b_jr = log φ_r(k_j), this is exactly a product of two softmaxes,

        out_i = Σ_r softmax_r(a_ir + z_r) Σ_j softmax_j(b_jr) v_j,   z_r = log Σ_j e^{b_jr}:

    −|q_i|²/2 cancels, nothing overflows or becomes 0/0, and no eps is needed. `position` acts on q and k before the
    features. `mask` is True at keys that count and must not depend on the query; a query without keys gets 0. The
    causal form works by chunks, in float32 up to |q+k|² of about 1000 after scaling. Sums run in float32 or wider.
    """
    at_least(1, chunk=chunk)
    if mask is not None and (mask.shape[-1] != k.shape[-2] or (mask.ndim > 1 and mask.shape[-2] != 1)):
        raise ValueError(
            f"a mask must end in (1, {k.shape[-2]}), the same keys for every query, got {tuple(mask.shape)}; "
            "use causal=True for the causal mask"
        )
    if causal and q.shape[-2] != k.shape[-2]:
        raise ValueError(f"causal needs as many queries as keys, got {q.shape[-2]} and {k.shape[-2]}")
    dtype = torch.float64 if q.dtype == torch.float64 else torch.float32
    if position is not None:
        q, k = position(q), position(k)
    q, k, W = q.to(dtype) * q.shape[-1] ** -0.25, k.to(dtype) * k.shape[-1] ** -0.25, W.to(dtype)
    a, b = _project(q, W), positive(k, W, log=True)
    keep = torch.ones_like(b[..., :1], dtype=torch.bool)
    if mask is not None:
        keep = keep & mask.reshape(*mask.shape[:-2], -1, 1)  # (*b, m, 1)
    alive = (keep.cumsum(-2) > 0) if causal else keep.any(-2, keepdim=True)
    b = b.masked_fill(~keep & (causal | alive), -math.inf)  # a batch entry without keys stays finite, then becomes 0
    out = _causal(a, b, v.to(dtype), alive, chunk) if causal else _bidirectional(a, b, v.to(dtype))
    return torch.where(alive, out, 0.0).to(v.dtype)


def _bidirectional(a: Tensor, b: Tensor, v: Tensor) -> Tensor:
    top = b.detach().amax(-2, keepdim=True)
    keys = (b - top).exp()
    mass = keys.sum(-2, keepdim=True)  # z_r = top_r + log mass_r
    return torch.softmax(a + (top + mass.log()), -1) @ ((keys.mT @ v) / mass.mT)


def _finite_max(x: Tensor) -> Tensor:
    """The maximum over features as a constant for stabilising; −1e30 for a hidden key, which has only −∞."""
    top = x.detach().amax(-1, keepdim=True)
    return top.clamp(min=-1e30)


def _causal(a: Tensor, b: Tensor, v: Tensor, alive: Tensor, chunk: int) -> Tensor:
    """Earlier chunks enter through a state (S, top), the chunk itself through its lower triangle.

    `top` is the running maximum of b per feature over earlier chunks; S holds Σ e^{b−top}[v, 1] and is rescaled when
    `top` grows. Inside the chunk each key brings its own maximum c_j and row i uses max_{j≤i} c_j: no number that a
    row uses depends on a later key, so the outputs do not move by one bit when the future is edited.
    """
    v = torch.cat([v, torch.ones_like(v[..., :1])], -1)
    top = a.new_full((*b.shape[:-2], 1, b.shape[-1]), -math.inf)
    S = v.new_zeros(*b.shape[:-2], b.shape[-1], v.shape[-1])
    outs = []
    for start in range(0, a.shape[-2], chunk):
        ai, bi, vi, seen = (x[..., start : start + chunk, :] for x in (a, b, v, alive))
        tri = torch.ones(ai.shape[-2], ai.shape[-2], dtype=torch.bool, device=a.device).tril()
        row, key, past = _finite_max(ai), _finite_max(bi), ai + top
        level = torch.maximum(row + key.cummax(-2).values, past.detach().amax(-1, keepdim=True))
        inside = (ai - row).exp() @ (bi - key).exp().mT
        inside = inside * (row + key.mT - level).masked_fill(~tri, -math.inf).exp()
        sums = inside @ vi + (past - level).exp() @ S
        outs.append(sums[..., :-1] / sums[..., -1:].masked_fill(~seen, 1.0))
        new = torch.maximum(top, bi.detach().amax(-2, keepdim=True))
        shift = new.masked_fill(new == -math.inf, 0.0)
        S = S * (top - shift).exp().mT + (bi - shift).exp().mT @ vi
        top = new
    return torch.cat(outs, -2)
