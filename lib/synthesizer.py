"""Synthesizer: attention logits that are made without comparing tokens, as mixers of `transformer.encoder`.

A layer computes softmax(B) V. What varies is B, the work of a module `logits(x) -> (b or 1, h, n, n)` made from a
`Config`: `encoder(config, mixer=synthesizer(Dense))`. Options are bound by `functools.partial`, as in
`synthesizer(partial(Random, trainable=False))`. A mask is applied to B before the softmax, whatever B is. All but
`DotProduct` see absolute positions and end at `max_len`.

Axes: b batch, h heads, n positions, d channels, r rows of a table, k rank.
Post: https://spaces.ac.cn/archives/7430; derived in the article synthesizer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lib.checks import array, at_least, broadcastable, checked
from lib.masks import Mask
from lib.transformer import Config

Logits = Callable[[Config], nn.Module]
Tiling = Callable[[Tensor, Tensor], Tensor]
FAR = -1e4  # a logit whose softmax weight is exactly 0 in float32


def _max_len(c: Config) -> int:
    if c.max_len is None:
        raise ValueError("expected a Config with max_len, since these logits are a table of positions, got none")
    return c.max_len


def _fits(n: int, most: int) -> None:
    if n > most:
        raise ValueError(f"expected at most {most} positions, got {n}")


class DotProduct(nn.Module):
    """Vanilla attention: B = (X W_q)(X W_k)ᵀ / √d_h."""

    def __init__(self, c: Config):
        super().__init__()
        at_least(c.heads, d=c.d)
        self.heads, self.query, self.key = c.heads, nn.Linear(c.d, c.d), nn.Linear(c.d, c.d)

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b h n n"]:
        q, k = (f(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.query, self.key))
        return q @ k.mT * q.shape[-1] ** -0.5


class Dense(nn.Module):
    """B = relu(X W₁ + b₁) W₂ + b₂ with `max_len` columns: a query knows where to look from its own content alone.

    W₁ is split among the heads, which share W₂.
    """

    def __init__(self, c: Config):
        super().__init__()
        self.heads, self.inner = c.heads, nn.Linear(c.d, c.d)
        self.outer = nn.Linear(c.d // c.heads, _max_len(c))

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b h n n"]:
        n = x.shape[-2]
        _fits(n, self.outer.out_features)
        hidden = self.inner(x).relu().unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return self.outer(hidden)[..., :n]


class Random(nn.Module):
    """B = R: one table per head, drawn with standard deviation `std`; frozen unless `trainable`."""

    def __init__(self, c: Config, trainable: bool = True, std: float = 1.0):
        super().__init__()
        at_least(0, std=std)
        n = _max_len(c)
        self.table = nn.Parameter(std * torch.randn(c.heads, n, n), requires_grad=trainable)

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "1 h n n"]:
        n = x.shape[-2]
        _fits(n, self.table.shape[-1])
        return self.table[None, :, :n, :n]


class FactorizedRandom(nn.Module):
    """B = R₁ R₂ᵀ with two tables of `rank` columns per head; at the start its entries have variance 1."""

    def __init__(self, c: Config, rank: int = 4):
        super().__init__()
        at_least(1, rank=rank)
        shape = (c.heads, _max_len(c), rank)
        self.rows, self.columns = (nn.Parameter(rank**-0.25 * torch.randn(shape)) for _ in range(2))

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "1 h n n"]:
        n = x.shape[-2]
        _fits(n, self.rows.shape[-2])
        return (self.rows[:, :n] @ self.columns[:, :n].mT)[None]


@checked
def tile_tile(p: Float[Tensor, "*b n p"], q: Float[Tensor, "*b n q"]) -> Float[Tensor, "*b n n"]:
    """B[i, j] = p[i, j mod a] · q[i, j mod b]: columns with equal residues are equal, so only lcm(a, b) differ."""
    j = torch.arange(p.shape[-2], device=p.device)
    return p.index_select(-1, j % p.shape[-1]) * q.index_select(-1, j % q.shape[-1])


@checked
def tile_repeat(p: Float[Tensor, "*b n p"], q: Float[Tensor, "*b n q"]) -> Float[Tensor, "*b n n"]:
    """B[i, j] = p[i, j mod a] · q[i, ⌊j / a⌋]: every column has its own pair of indices; needs a · b >= n."""
    (n, a), b = p.shape[-2:], q.shape[-1]
    if a * b < n:
        raise ValueError(f"expected a * b >= n, so that every column has its own pair, got {a=}, {b=}, {n=}")
    j = torch.arange(n, device=p.device)
    return p.index_select(-1, j % a) * q.index_select(-1, j // a)


@checked
def transposed(p: Float[Tensor, "*b n p"], q: Float[Tensor, "*b n q"]) -> Float[Tensor, "*b n n"]:
    """B[i, j] = p[i, j mod a] · q[j, i mod b]: the post's guess; it looks at the content of token j."""
    i = torch.arange(p.shape[-2], device=p.device)
    return p.index_select(-1, i % p.shape[-1]) * q.index_select(-1, i % q.shape[-1]).mT


class FactorizedDense(nn.Module):
    """Two Dense maps with a and b columns, spread to n columns and multiplied entry by entry by `tiling`."""

    def __init__(self, c: Config, a: int, b: int, tiling: Tiling = tile_repeat):
        super().__init__()
        at_least(1, a=a, b=b)
        self.heads, self.max_len, self.tiling = c.heads, _max_len(c), tiling
        if a * b < self.max_len:
            raise ValueError(f"expected a * b >= max_len = {self.max_len}, got {a=}, {b=}")
        self.inner = nn.Linear(c.d, c.d)
        self.first, self.second = (nn.Linear(c.d // c.heads, size) for size in (a, b))

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b h n n"]:
        _fits(x.shape[-2], self.max_len)
        hidden = self.inner(x).relu().unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return self.tiling(self.first(hidden), self.second(hidden))


class Fixed(nn.Module):
    """B is a given table (h or 1, max_len, max_len) without parameters."""

    table: Tensor

    def __init__(self, c: Config, table: Float[Tensor, "h r r"]):
        super().__init__()
        n = _max_len(c)
        array("table", table, f"{c.heads} {n} {n}", f"1 {n} {n}")
        self.heads = c.heads
        self.register_buffer("table", table)

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "1 h n n"]:
        n = x.shape[-2]
        _fits(n, self.table.shape[-1])
        return self.table[None, :, :n, :n].expand(1, self.heads, n, n)


def uniform(c: Config) -> Fixed:
    """B = 0: every position receives the mean of the values."""
    return Fixed(c, torch.zeros(1, _max_len(c), _max_len(c)))


def identity(c: Config) -> Fixed:
    """Every position receives its own value: no mixing at all."""
    n = _max_len(c)
    return Fixed(c, FAR * (1 - torch.eye(n))[None])


class Mixture(nn.Module):
    """B = Σ α_i B_i with α = softmax of learned numbers, so that Σ α_i = 1; equal at the start."""

    def __init__(self, c: Config, parts: Sequence[Logits]):
        super().__init__()
        if not parts:
            raise ValueError("expected one or more parts of a mixture, got none")
        self.parts = nn.ModuleList(part(c) for part in parts)
        self.mix = nn.Parameter(torch.zeros(len(parts)))

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "_ h n n"]:
        alpha = self.mix.softmax(0)
        return sum((a * part(x) for a, part in zip(alpha, self.parts, strict=True)), torch.zeros((), device=x.device))


class Synthesizer(nn.Module):
    """Multi-head mixing softmax(B) X W_v, joined and projected back, with B = logits(x)."""

    def __init__(self, c: Config, logits: Logits):
        super().__init__()
        if c.d % c.heads:
            raise ValueError(f"expected d a multiple of heads, got d={c.d}, heads={c.heads}")
        self.heads, self.logits = c.heads, logits(c)
        self.value, self.output = nn.Linear(c.d, c.d), nn.Linear(c.d, c.d)

    @property
    def routing_parameters(self) -> int:
        """How many numbers make the logits, frozen ones included."""
        return sum(p.numel() for p in self.logits.parameters())

    @checked
    def weights(self, x: Float[Tensor, "b n d"], mask: Mask | None = None) -> Float[Tensor, "_ h n m"]:
        """softmax(B) along the keys; where the mask forbids, 0, and a query that may see nothing gets a row of 0."""
        B = self.logits(x)
        if mask is None:
            return B.softmax(-1)
        broadcastable("mask", mask, (len(x), *B.shape[1:]))
        alive = mask.any(-1, keepdim=True)
        return torch.where(mask, B.masked_fill(~mask & alive, -torch.inf).softmax(-1), 0.0)

    def forward(self, x: Float[Tensor, "b n d"], mask: Mask | None = None) -> Float[Tensor, "b n d"]:
        v = self.value(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return self.output((self.weights(x, mask) @ v).transpose(1, 2).flatten(-2))


def synthesizer(logits: Logits) -> Callable[[Config], Synthesizer]:
    """A mixer for `encoder(config, mixer=...)`; called by it once per layer."""
    return lambda c: Synthesizer(c, logits)
