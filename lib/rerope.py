"""Positions whose distances are bent: ReRoPE, Leaky ReRoPE, interpolation and Self-Extend, on top of rotary positions.

The logit of query i and key j is Re Σ_c q_c conj(k_c) e^{iθ_c f(i−j)}, with f(r) = r inside a window w and a smaller
step outside (for training also a larger one). f is not linear, so no rotation of q and k by their own positions gives
it. Outside the window one does, by c(i) + w − c(w) and c(j) with c(x) = x/k; hence two matrices to choose from, as in
`mapped_logits`. `mapped_attention` computes of each only what is needed. Keys arrive unrotated, as a `cache.Cache`
keeps them.

Axes: b batch, h heads, n queries, m keys, d channels, e value channels; the queries are the last n of the m positions.
Posts: https://spaces.ac.cn/archives/9708 and https://spaces.ac.cn/archives/9728; derived in the article leaky-rerope.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Num
from torch import Tensor

from lib.attention import Attend, Position, check_mask, softmax_attention
from lib.checks import at_least, checked, is_opaque, positive
from lib.masks import Mask, causal
from lib.positions import phases, rotate


@dataclass(frozen=True)
class PositionMap:
    """Distance r becomes f(r) = r for r < w and c(r) + w − c(w) from there on, with c(x) = x/k or, `floor`, ⌊x/k⌋.

    Made by `plain`, `interpolate`, `rerope`, `leaky` and `self_extend`.
    """

    w: float | int = 0
    k: float | int = 1
    floor: bool = False

    def __post_init__(self) -> None:
        if not (0 <= self.w < math.inf and self.k > 0):
            raise ValueError(f"expected a finite window w >= 0 and k > 0, got w={self.w}, k={self.k}")

    @classmethod
    def plain(cls) -> PositionMap:
        """f(r) = r: rotary positions as they are."""
        return cls()

    @classmethod
    def interpolate(cls, k: float | int) -> PositionMap:
        """f(r) = r/k: position interpolation."""
        return cls(0, k)

    @classmethod
    def rerope(cls, w: float | int) -> PositionMap:
        """f(r) = min(r, w)."""
        return cls(w, math.inf)

    @classmethod
    def leaky(cls, w: float | int, k: float | int) -> PositionMap:
        """f(r) = r for r < w, else w + (r−w)/k; k < 1 is the inverse form, meant for training."""
        return cls(w, k)

    @classmethod
    def self_extend(cls, w: int, g: int) -> PositionMap:
        """i − j for i − j < w, else ⌊i/g⌋ − ⌊j/g⌋ + w − ⌊w/g⌋ (Self-Extend, arXiv 2401.01325).

        The one map that depends on more than the distance: `f` gives its value for keys at multiples of g, that is
        ⌊r/g⌋ + w − ⌊w/g⌋; for other keys it may be one more (`between`).
        """
        if w != int(w) or g != int(g) or g < 1:
            raise ValueError(f"expected an integer window and an integer group g >= 1, got {w=}, {g=}")
        return cls(w, g, floor=True)

    def coarse(self, x: Num[Tensor, "*s"]) -> Float64[Tensor, "*s"]:
        """c(x), the position that x has for what is far away."""
        return (x.double() / self.k).floor() if self.floor else x.double() / self.k

    @property
    def shift(self) -> float:
        """w − c(w), which joins the two parts of f at r = w."""
        return float(self.w - (self.w // self.k if self.floor else self.w / self.k))

    @checked
    def between(self, i: Num[Tensor, "*s"], j: Num[Tensor, "*t"]) -> Float64[Tensor, "..."]:
        """The effective distance of a query at i and a key at j, broadcast; for keys that come later −between(j, i)."""
        r = i.double() - j.double()
        return torch.where(r.abs() < self.w, r, self.coarse(i) - self.coarse(j) + r.sign() * self.shift)

    @checked
    def f(self, r: Num[Tensor, "*s"]) -> Float64[Tensor, "*s"]:
        """The effective distance for a distance r, which may be fractional; f(−r) = −f(r)."""
        return r.sign() * self.between(r.abs(), torch.zeros((), device=r.device))


def _places(q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """Positions of the queries, the last n of m, and of the keys."""
    n, m = q.shape[-2], k.shape[-2]
    if n > m:
        raise ValueError(f"the queries are the last n of m keys, so n <= m is expected, got {n=}, {m=}")
    j = torch.arange(m, device=k.device)
    return j[m - n :], j


@checked
def oracle_logits(
    q: Float[Tensor, "b h n d"],
    k: Float[Tensor, "b h m d"],
    map: PositionMap,
    *,
    base: float = 10_000.0,
    theta: Float[Tensor, " pairs"] | None = None,
) -> Float64[Tensor, "b h n m"]:
    """Re Σ_c q_c conj(k_c) e^{iθ_c f(i−j)} pair by pair in float64, before any scale; keys may come after the query."""
    i, j = _places(q, k)
    turn = phases(map.between(i[:, None], j).flatten(), q.shape[-1], base=base, theta=theta)
    a, b = (torch.view_as_complex(x.double().unflatten(-1, (-1, 2)).contiguous()) for x in (q, k))
    return torch.einsum("bhnc,bhmc,nmc->bhnm", a, b.conj(), turn.unflatten(0, (len(i), len(j)))).real


@checked
def mapped_logits(
    q: Float[Tensor, "b h n d"],
    k: Float[Tensor, "b h m d"],
    map: PositionMap,
    *,
    base: float = 10_000.0,
    theta: Float[Tensor, " pairs"] | None = None,
) -> Float[Tensor, "b h n m"]:
    """`oracle_logits` from whole matrices, chosen by distance: the near one, and one for each direction of far keys."""
    i, j = _places(q, k)
    turn = lambda x, at: rotate(x, phases(at, x.shape[-1], base=base, theta=theta))  # noqa: E731
    r, c, far_k = i[:, None] - j, map.coarse(i), turn(k, map.coarse(j)).mT
    far = torch.where(r > 0, turn(q, c + map.shift) @ far_k, turn(q, c - map.shift) @ far_k)
    return torch.where(r.abs() < map.w, turn(q, i) @ turn(k, j).mT, far)


@checked
def mapped_attention(
    map: PositionMap,
    *,
    base: float = 10_000.0,
    theta: Float[Tensor, " pairs"] | None = None,
    block: int = 64,
    scale: float | None = None,
) -> Attend:
    """An attention function with these positions for causal models: keys after a query are never seen, mask or not.

    Queries go in blocks. A block needs near logits for the last w keys and far ones for those before; only where the
    window ends inside the block are both computed. That takes some 2 · block · m numbers a head, n · m and more with
    gradients. For one query, as when decoding with stored keys, each key is turned by −f(distance) instead. Half
    precision is computed in float32; `theta` is a constant.
    """
    at_least(1, block=block)
    positive(base=base)
    theta, window = None if theta is None else theta.detach(), math.ceil(map.w)  # so many distances are near
    same, ahead, back = lambda x: x, lambda x: map.coarse(x) + map.shift, lambda x: -map.f(x.flip(0))

    @functools.lru_cache(maxsize=16)
    def table(
        places: Callable[[Tensor], Tensor], size: int, d: int, device: torch.device, dtype: torch.dtype
    ) -> Tensor:
        with torch.inference_mode(False):  # a later call may need gradients
            return phases(places(torch.arange(size, device=device)), d, base=base, theta=theta).to(dtype)

    def turn(x: Tensor, places: Callable[[Tensor], Tensor], start: int) -> Tensor:
        """x at places(start), places(start + 1), ... from a table that is made anew when the length has doubled."""
        start = 0 if places is ahead and map.k == math.inf else start  # the same place everywhere
        end, dtype = start + x.shape[-2], x.dtype.to_complex()
        phase = table(places, 1 << (end - 1).bit_length(), x.shape[-1], x.device, dtype)
        return rotate(x, phase[-end:] if places is back else phase[start:end])

    def attend(
        q: Float[Tensor, "b h n d"],
        k: Float[Tensor, "b h m d"],
        v: Float[Tensor, "b h m e"],
        *,
        mask: Mask | None = None,
        position: Position | None = None,
    ) -> Float[Tensor, "b h n e"]:
        if position is not None:
            raise ValueError(f"the map is the position, so position=None is expected, got {type(position).__name__}")
        check_mask(mask, q, k)
        _places(q, k)  # n <= m
        (b, h, n, d), m, kind = q.shape, k.shape[2], v.dtype
        wide = torch.promote_types(q.dtype, torch.float32)
        q, k, v = q.to(wide) * (d**-0.5 if scale is None else scale), k.to(wide), v.to(wide)
        if mask is not None and _is_causal(mask, n, m):
            mask = None  # nothing else is ever seen
        if n == 1 and not map.floor:
            return softmax_attention(q, turn(k, back, 0), v, mask=mask, scale=1.0).to(kind)
        if mask is not None:
            mask = mask[(None,) * (4 - mask.ndim)].expand(-1, -1, n, m)
        q, k, v = (x.flatten(0, 1) for x in (q, k, v))
        first = max(0, m - n - window + 1)  # of the keys that are near to some query; they count from there
        near_q, near_k = (turn(q, same, m - n - first), turn(k[:, first:], same, 0)) if window else (q, k)
        far_q = turn(q, ahead, m - n) if m > window else q
        far_k = turn(k, map.coarse, 0) if m > window and map.k < math.inf else k
        rows, hidden = min(n, block), torch.finfo(wide).min  # not −∞: a row may see nothing
        # Without gradients all blocks share one room for their logits.
        lean = not any(is_opaque(x) or x.requires_grad for x in (q, k, v))
        room = q.new_empty(b * h * rows * m if lean else 0)
        later = torch.ones(rows, rows, dtype=torch.bool, device=q.device).triu(1)  # key after query within a block
        future = torch.zeros(rows, rows, dtype=wide, device=q.device).masked_fill(later, -torch.inf)
        out = []
        for s in range(0, n, block):
            t = min(s + block, n)
            lo, hi = m - n + s, m - n + t  # the positions of these queries
            a, e = max(0, lo - window + 1) if window else hi, max(0, hi - window)  # keys: far < a <= both < e <= near
            parts = []
            if e > 0:
                far = far_q[:, s:t] @ far_k[:, :e].mT
                parts.append(far[..., :a])
            if hi > a:
                near = near_q[:, s:t] @ near_k[:, a - first : hi - first].mT
                if e > a:
                    parts.append(near[..., : e - a].where(later[: t - s, t - s - (e - a) : t - s], far[..., a:]))
                parts.append(near[..., max(0, e - a) :])
            shape = b * h, t - s, hi
            logits = torch.cat(parts, -1, out=room[: math.prod(shape)].view(shape)) if lean else torch.cat(parts, -1)
            logits[..., lo:].add_(future[: t - s, : t - s])
            if mask is not None:
                logits.unflatten(0, (b, h)).masked_fill_(~mask[:, :, s:t, :hi], hidden)
                blind = logits.amax(-1, keepdim=True) == hidden
            mixed = (torch.softmax(logits, -1, out=logits) if lean else logits.softmax(-1)) @ v[:, :hi]
            out.append(mixed if mask is None else mixed.masked_fill(blind, 0))
        return torch.cat(out, -2).unflatten(0, (b, h)).to(kind)

    return checked(attend)


def _is_causal(mask: Tensor, n: int, m: int) -> bool:
    """Whether this mask is the causal one, as far as one can look."""
    past = causal(n, m, device=mask.device)
    return mask.shape[-2:] == past.shape and not is_opaque(mask) and bool((mask == past).all())
