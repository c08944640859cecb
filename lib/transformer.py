"""The one transformer: `Encoder(embed, blocks, final)` from token ids to hidden states.

Variation is passed in as functions: `attend(q, k, v, mask=, position=)` inside the attention, or a whole mixer
`mixer(x, mask) -> (b, n, d)` in its place, `norm`, `feed`, `position` (see `lib.blocks`). A causal encoder is a
language model; given a `Cache` it continues from what it has read. With cross attention in its blocks it is a decoder,
and `EncoderDecoder` is the pair. Heads and losses live elsewhere. Nothing here drops out: the models are too small to
need it. Input is checked where it enters an `Encoder`; the modules inside trust it.

Axes: b batch, n positions, m positions read, d channels, h heads, c classes (here: the vocabulary).
Used in every article that trains or converts a transformer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lib.attention import Attend, Position, softmax_attention
from lib.blocks import Attention, Block, FeedForward, Order
from lib.cache import Cache
from lib.checks import array, at_least, checked, indices
from lib.masks import Mask
from lib.masks import causal as causal_mask


@dataclass(frozen=True)
class Config:
    """Sizes of a transformer: `hidden` is 4d and `head_size` d / heads unless given; norms stand before or after.

    `max_len` rows of learned positions and `segments` kinds of segments are embedded if given. `std` is that of the
    embeddings: at widths of 64 the customary 0.02 learns more slowly than 0.1.
    """

    vocab: int
    d: int = 64
    heads: int = 4
    layers: int = 2
    hidden: int | None = None
    head_size: int | None = None
    max_len: int | None = None
    segments: int | None = None
    order: Order = "pre"
    causal: bool = False
    std: float = 0.1

    def __post_init__(self) -> None:
        names = ("vocab", "d", "heads", "layers", "hidden", "head_size", "max_len", "segments")
        sizes = {name: getattr(self, name) for name in names}
        if bad := {name: size for name, size in sizes.items() if size is not None and size < 1}:
            raise ValueError(f"expected positive sizes, got {bad}")
        at_least(0, std=self.std)

    @property
    def width(self) -> int:
        """Width of the feed-forward layers."""
        return self.hidden or 4 * self.d


class Embed(nn.Module):
    """Token embeddings, plus learned tables of positions and of segments if given, then `norm`."""

    def __init__(
        self,
        token: nn.Embedding,
        position: nn.Embedding | None = None,
        norm: nn.Module | None = None,
        segment: nn.Embedding | None = None,
    ):
        super().__init__()
        self.token, self.position, self.segment = token, position, segment
        self.norm = nn.Identity() if norm is None else norm

    def place(
        self, x: Float[Tensor, "b n d"], segments: Tensor | None = None, start: int = 0
    ) -> Float[Tensor, "b n d"]:
        """Give embedded tokens their segments (0 unless given) and the positions start, start + 1, ..."""
        if self.segment is not None:
            segments = x.new_zeros(x.shape[:2], dtype=torch.int64) if segments is None else segments
            indices("segments", segments, self.segment.num_embeddings)
            x = x + self.segment(segments)
        elif segments is not None:
            raise ValueError("expected no segments: this model has no table of segments (Config(segments=...))")
        if self.position is not None:
            end, most = start + x.shape[-2], self.position.num_embeddings
            if end > most:
                raise ValueError(f"expected at most {most} positions, got {end}")
            x = x + self.position.weight[start:end]
        return self.norm(x)

    def forward(
        self, ids: Int[Tensor, "b n"], segments: Tensor | None = None, start: int = 0
    ) -> Float[Tensor, "b n d"]:
        return self.place(self.token(ids), segments, start)


class Encoder(nn.Module):
    """Embed, run through the blocks, normalise at the end; `causal` hides later positions from every mixer."""

    def __init__(self, embed: Embed, blocks: Iterable[nn.Module], final: nn.Module | None = None, causal: bool = False):
        super().__init__()
        self.embed, self.blocks, self.causal = embed, nn.ModuleList(blocks), causal
        self.final = nn.Identity() if final is None else final

    @checked
    def run(
        self, x: Float[Tensor, "b n d"], mask: Mask | None = None, cache: Cache | None = None, **source: Tensor | None
    ) -> Float[Tensor, "b n d"]:
        """Hidden states from embeddings that already have their positions.

        With a `cache` x continues what the cache has read; the mask then covers old and new keys. `source` and
        `source_mask` are for blocks with cross attention.
        """
        n = x.shape[-2]
        if cache is not None and not self.causal:
            raise ValueError("a cache needs a causal model: what was read must not depend on what comes")
        if self.causal:
            past = causal_mask(n, n if cache is None else cache.length + n, device=x.device)
            mask = past if mask is None else mask & past
        options = source if cache is None else {"cache": cache, **source}
        for block in self.blocks:
            x = block(x, mask, **options)
        if cache is not None:
            cache.advance(n)
        return self.final(x)

    @checked
    def from_embeddings(
        self, x: Float[Tensor, "b n d"], mask: Mask | None = None, segments: Int[Tensor, "b n"] | None = None
    ) -> Float[Tensor, "b n d"]:
        """Hidden states from token embeddings; segments and positions are added here."""
        return self.run(self.embed.place(x, segments), mask)

    @checked
    def forward(
        self,
        ids: Int[Tensor, "b n"],
        mask: Mask | None = None,
        cache: Cache | None = None,
        segments: Int[Tensor, "b n"] | None = None,
        **source: Tensor | None,
    ) -> Float[Tensor, "b n d"]:
        indices("ids", ids, self.embed.token.num_embeddings)
        return self.run(self.embed(ids, segments, 0 if cache is None else cache.length), mask, cache, **source)


class EncoderDecoder(nn.Module):
    """An encoder and a causal decoder whose blocks read what the encoder has written."""

    def __init__(self, encoder: Encoder, decoder: Encoder):
        super().__init__()
        if not decoder.causal or any(getattr(block, "cross", None) is None for block in decoder.blocks):
            raise ValueError("expected a causal decoder with cross attention in every block, got one without")
        self.encoder, self.decoder = encoder, decoder

    def forward(
        self,
        ids: Int[Tensor, "b m"],
        out_ids: Int[Tensor, "b n"],
        mask: Mask | None = None,
        out_mask: Mask | None = None,
    ) -> Float[Tensor, "b n d"]:
        """Hidden states of the decoder. Step by step: `decoder(out_ids, cache=cache, source=encoder(ids), ...)`."""
        return self.decoder(out_ids, out_mask, source=self.encoder(ids, mask), source_mask=mask)


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
    cross: Callable[[Config], nn.Module] | None = None,
    feed: Callable[[Config], nn.Module] | None = None,
    norm: Callable[[int], nn.Module] = nn.LayerNorm,
    seed: int = 0,
) -> Encoder:
    """An encoder with fresh weights that depend on `seed` alone; torch's global generator stays as it was.

    `mixer`, `cross` and `feed` make the parts of a block from the configuration; `attend` and `position` go into the
    default mixer, an `Attention`. With `causal` in the configuration every mixer is handed the causal mask; linear
    attention in a form without masks wants `partial(linear_attention, causal=True)`. A `position` that is a module,
    such as `biases.T5Bias`, is shared by all layers.
    """
    c, d, after = config, config.d, config.order == "post"
    mix = mixer or (lambda c: Attention(c.d, c.heads, attend, position, c.head_size))
    forward = feed or (lambda c: FeedForward(c.d, c.width))
    norms = 2 if cross is None else 3
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed the accelerators too
        table, kinds = (nn.Embedding(size, d) if size else None for size in (c.max_len, c.segments))
        embed = Embed(nn.Embedding(c.vocab, d), table, norm(d) if after else None, kinds)
        blocks = []
        for _ in range(c.layers):
            mixed, read = mix(c), cross(c) if cross else None
            blocks.append(Block(mixed, forward(c), [norm(d) for _ in range(norms)], c.order, read))
        for part in (embed.token, table, kinds):
            if part is not None:
                nn.init.normal_(part.weight, std=c.std)
    return Encoder(embed, blocks, None if after else norm(d), c.causal)
