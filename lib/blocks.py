"""What a transformer is made of: attention, feed-forward, and the block that joins them by residual steps.

Everything that varies is a function or a module passed in. The modules trust their caller; `transformer.Encoder` checks
what enters. Axes: b batch, n positions, m positions read, d channels, h heads, e channels of a head.
Used wherever a transformer stands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from lib.attention import Attend, Position, softmax_attention
from lib.cache import Cache
from lib.checks import at_least
from lib.masks import Mask

Order = Literal["pre", "post"]


class Attention(nn.Module):
    """Multi-head attention: project to q, k, v, let `attend` combine them, project back.

    Keys and values come from `source` where one is given (cross attention, which has no positions), else from x.
    """

    def __init__(
        self,
        d: int,
        heads: int,
        attend: Attend = softmax_attention,
        position: Position | None = None,
        head_size: int | None = None,
        bias: bool = True,
    ):
        super().__init__()
        if min(d, heads) < 1 or (d % heads if head_size is None else head_size < 1):
            raise ValueError(f"expected positive sizes, d a multiple of heads, got {d=}, {heads=}, {head_size=}")
        inner = heads * (head_size or d // heads)
        self.heads, self.attend, self.position = heads, attend, position
        self.query, self.key, self.value = (nn.Linear(d, inner, bias=bias) for _ in range(3))
        self.output = nn.Linear(inner, d, bias=bias)

    def _project(self, f: nn.Linear, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b h n e"]:
        return f(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def split(self, x: Float[Tensor, "b n d"]) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values (b, h, n, ·), before any position."""
        q, k, v = (self._project(f, x) for f in (self.query, self.key, self.value))
        return q, k, v

    def forward(
        self,
        x: Float[Tensor, "b n d"],
        mask: Mask | None = None,
        cache: Cache | None = None,
        source: Tensor | None = None,
    ) -> Float[Tensor, "b n d"]:
        if source is None:
            q, k, v = self.split(x)
            k, v = (k, v) if cache is None else cache.extend(self, k, v)
        else:
            project = lambda: (self._project(self.key, source), self._project(self.value, source))  # noqa: E731
            q, (k, v) = self._project(self.query, x), project() if cache is None else cache.once(self, project)
        out = self.attend(q, k, v, mask=mask, position=self.position)
        return self.output(out.transpose(1, 2).flatten(-2))


class FeedForward(nn.Module):
    """Linear, activation, linear, on each position alone; `gated` multiplies the activation by a second linear map."""

    def __init__(
        self,
        d: int,
        hidden: int,
        activation: Callable[[], nn.Module] = nn.GELU,
        bias: bool = True,
        gated: bool = False,
    ):
        super().__init__()
        at_least(1, d=d, hidden=hidden)
        self.inner, self.activation = nn.Linear(d, hidden, bias=bias), activation()
        self.outer = nn.Linear(hidden, d, bias=bias)
        self.gate = nn.Linear(d, hidden, bias=bias) if gated else None

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        inner = self.activation(self.inner(x))
        return self.outer(inner if self.gate is None else inner * self.gate(x))


class Block(nn.Module):
    """Residual steps by mixer, cross attention if any, and feed: x + f(norm(x)) if `pre`, norm(x + f(x)) if `post`."""

    def __init__(
        self,
        mixer: nn.Module,
        feed: nn.Module,
        norms: Iterable[nn.Module],
        order: Order = "pre",
        cross: nn.Module | None = None,
    ):
        super().__init__()
        self.mixer, self.feed, self.cross, self.order = mixer, feed, cross, order
        self.norms = nn.ModuleList(norms)
        steps = 2 if cross is None else 3
        if len(self.norms) != steps or order not in ("pre", "post"):
            raise ValueError(f"expected {steps} norms and order 'pre' or 'post', got {len(self.norms)} and {order!r}")

    def step(self, x: Tensor, norm: nn.Module, f: Callable[[Tensor], Tensor]) -> Float[Tensor, "b n d"]:
        """One residual step."""
        return x + f(norm(x)) if self.order == "pre" else norm(x + f(x))

    def forward(
        self,
        x: Float[Tensor, "b n d"],
        mask: Mask | None = None,
        cache: Cache | None = None,
        source: Float[Tensor, "b m d"] | None = None,
        source_mask: Mask | None = None,
    ) -> Float[Tensor, "b n d"]:
        given = (mask,) if cache is None else (mask, cache)
        x = self.step(x, self.norms[0], lambda y: self.mixer(y, *given))
        if (cross := self.cross) is not None:
            x = self.step(x, self.norms[1], lambda y: cross(y, source_mask, cache, source))
        return self.step(x, self.norms[-1], self.feed)
