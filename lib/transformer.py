"""The one transformer: `Encoder(embed, blocks, final)` from token ids to hidden states.

Variation is passed in as functions: `attend(q, k, v, mask=, position=)` inside the attention, or a whole mixer
`mixer(x, mask) -> (b, n, d)` in its place, `norm`, `activation`, `position`. With a causal mask the encoder is a
language model; heads and losses live elsewhere. Nothing here drops out: the models are too small to need it.
Input is checked where it enters an `Encoder`; the modules inside trust it. Used in performer-to-linear-attention and
integrated-gradients.

Axes: b batch, n positions, d channels, h heads, c classes (here: the vocabulary).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from lib.attention import Position, softmax_attention
from lib.attention import causal as causal_mask
from lib.checks import array, at_least, checked, indices

Attend = Callable[..., Tensor]
Mask = Bool[Tensor, "..."]


@dataclass(frozen=True)
class Config:
    """Sizes of a transformer: `hidden` is 4d and `head_size` d / heads unless given; norms stand before or after."""

    vocab: int
    d: int = 64
    heads: int = 4
    layers: int = 2
    hidden: int | None = None
    head_size: int | None = None
    max_len: int = 512
    order: Literal["pre", "post"] = "pre"

    def __post_init__(self) -> None:
        names = ("vocab", "d", "heads", "layers", "hidden", "head_size", "max_len")
        sizes = {name: getattr(self, name) for name in names}
        if bad := {name: size for name, size in sizes.items() if size is not None and size < 1}:
            raise ValueError(f"expected positive sizes, got {bad}")


class Attention(nn.Module):
    """Multi-head self-attention: project to q, k, v, let `attend` combine them, project back."""

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

    def split(self, x: Float[Tensor, "b n d"]) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values (b, h, n, ·), before any position."""
        q, k, v = (f(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.query, self.key, self.value))
        return q, k, v

    def forward(self, x: Float[Tensor, "b n d"], mask: Mask | None = None) -> Float[Tensor, "b n d"]:
        out = self.attend(*self.split(x), mask=mask, position=self.position)
        return self.output(out.transpose(1, 2).flatten(-2))


class FeedForward(nn.Module):
    """Linear, activation, linear, on each position alone."""

    def __init__(self, d: int, hidden: int, activation: Callable[[], nn.Module] = nn.GELU, bias: bool = True):
        super().__init__()
        at_least(1, d=d, hidden=hidden)
        self.inner, self.activation = nn.Linear(d, hidden, bias=bias), activation()
        self.outer = nn.Linear(hidden, d, bias=bias)

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        return self.outer(self.activation(self.inner(x)))


class Block(nn.Module):
    """Two residual steps, mixer then feed: x + f(norm(x)) for order `pre`, norm(x + f(x)) for `post`."""

    def __init__(
        self, mixer: nn.Module, feed: nn.Module, norms: Iterable[nn.Module], order: Literal["pre", "post"] = "pre"
    ):
        super().__init__()
        self.mixer, self.feed, self.order = mixer, feed, order
        self.norms = nn.ModuleList(norms)
        if len(self.norms) != 2 or order not in ("pre", "post"):
            raise ValueError(f"expected two norms and order 'pre' or 'post', got {len(self.norms)} and {order!r}")

    def forward(self, x: Float[Tensor, "b n d"], mask: Mask | None = None) -> Float[Tensor, "b n d"]:
        first, second = self.norms
        if self.order == "pre":
            x = x + self.mixer(first(x), mask)
            return x + self.feed(second(x))
        x = first(x + self.mixer(x, mask))
        return second(x + self.feed(x))


class Embed(nn.Module):
    """Token embeddings, plus a learned table of absolute positions if given, then `norm`."""

    def __init__(self, token: nn.Embedding, position: nn.Embedding | None = None, norm: nn.Module | None = None):
        super().__init__()
        self.token, self.position = token, position
        self.norm = nn.Identity() if norm is None else norm

    def place(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Give embedded tokens their positions."""
        if self.position is not None:
            n, most = x.shape[-2], self.position.num_embeddings
            if n > most:
                raise ValueError(f"expected at most {most} positions, got {n}")
            x = x + self.position.weight[:n]
        return self.norm(x)

    def forward(self, ids: Int[Tensor, "b n"]) -> Float[Tensor, "b n d"]:
        return self.place(self.token(ids))


class Encoder(nn.Module):
    """Embed, run through the blocks, normalise at the end; `causal` hides later positions from every mixer."""

    def __init__(self, embed: Embed, blocks: Iterable[nn.Module], final: nn.Module | None = None, causal: bool = False):
        super().__init__()
        self.embed, self.blocks, self.causal = embed, nn.ModuleList(blocks), causal
        self.final = nn.Identity() if final is None else final

    @checked
    def run(self, x: Float[Tensor, "b n d"], mask: Mask | None = None) -> Float[Tensor, "b n d"]:
        """Hidden states from embeddings that already have their positions."""
        if self.causal:
            past = causal_mask(x.shape[-2], device=x.device)
            mask = past if mask is None else mask & past
        for block in self.blocks:
            x = block(x, mask)
        return self.final(x)

    @checked
    def from_embeddings(self, x: Float[Tensor, "b n d"], mask: Mask | None = None) -> Float[Tensor, "b n d"]:
        """Hidden states from token embeddings; positions are added here."""
        return self.run(self.embed.place(x), mask)

    @checked
    def forward(self, ids: Int[Tensor, "b n"], mask: Mask | None = None) -> Float[Tensor, "b n d"]:
        indices("ids", ids, self.embed.token.num_embeddings)
        return self.run(self.embed(ids), mask)


@checked
def token_logits(
    hidden: Float[Tensor, "*b d"], embedding: nn.Embedding, bias: Float[Tensor, " c"] | None = None
) -> Float[Tensor, "*b c"]:
    """Scores of every token: hidden · embeddingᵀ, the output layer tied to the input table."""
    array("hidden", hidden, f"*b {embedding.embedding_dim}", scan=False)
    return nn.functional.linear(hidden, embedding.weight, bias)


@checked
def encoder(
    config: Config,
    *,
    attend: Attend = softmax_attention,
    position: Position | None = None,
    mixer: Callable[[Config], nn.Module] | None = None,
    norm: Callable[[int], nn.Module] = nn.LayerNorm,
    activation: Callable[[], nn.Module] = nn.GELU,
    causal: bool = False,
    learned: bool = False,
    std: float = 0.1,
    seed: int = 0,
) -> Encoder:
    """An encoder with fresh weights that depend on `seed` alone; torch's global generator stays as it was.

    Positions come from `position` (a callable for the attention, such as `positions.rotary`) or, with `learned`, from a
    table of `config.max_len` rows. `mixer(config)` makes what stands in place of the attention. `causal` hands every
    mixer the causal mask; linear attention in a form without masks wants `partial(linear_attention, causal=True)`.
    `std` is that of the embeddings: at widths of 64 the customary 0.02 learns more slowly than 0.1.
    """
    at_least(0, std=std)
    d, after = config.d, config.order == "post"
    make = mixer or (lambda c: Attention(c.d, c.heads, attend, position, c.head_size))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed the accelerators too
        table = nn.Embedding(config.max_len, d) if learned else None
        embed = Embed(nn.Embedding(config.vocab, d), table, norm(d) if after else None)
        blocks = [
            Block(make(config), FeedForward(d, config.hidden or 4 * d, activation), (norm(d), norm(d)), config.order)
            for _ in range(config.layers)
        ]
        for part in (embed.token, table):
            if part is not None:
                nn.init.normal_(part.weight, std=std)
    return Encoder(embed, blocks, None if after else norm(d), causal)
