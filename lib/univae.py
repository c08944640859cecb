"""UniVAE: encoder, decoder and layered latents in one transformer, by its masks and one rewritten position.

The input stands twice, x | x. Segment 0 reads itself both ways, segment 1 backwards. In the last `latents` blocks
position 0 is overwritten by U_k z_k, where z_k is drawn around what position 0 held, and only there may segment 1 look
at it (`masks.uniae`). So the decoder is a function of z_1, ..., z_K and of its own prefix.

Axes: b batch, n positions of one copy, k latents, z channels of a latent, c the vocabulary, e noise.
Post: https://spaces.ac.cn/archives/8475; derived in the article univae.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lib import masks
from lib.cache import Cache
from lib.checks import array, at_least, checked, indices
from lib.losses import masked_ce
from lib.transformer import Encoder, token_logits
from lib.vmf import VonMisesFisher, kl_to_uniform


@runtime_checkable
class Posterior(Protocol):
    """The law of a latent around what an encoder computed, and its prior."""

    d: int  # channels of z
    width: int  # channels it is computed from

    def __call__(self, h: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        """z, and its KL from the prior for every row; the middle of the posterior where there is no noise."""
        ...

    def noise(self, *shape: int, generator: torch.Generator) -> Tensor:
        """Noise for latents of this shape."""
        ...

    def prior(self, *shape: int, generator: torch.Generator) -> Tensor:
        """Latents of the prior."""
        ...


class Sphere:
    """von Mises-Fisher around h/|h| with fixed κ, uniform prior: the KL is a constant."""

    def __init__(self, d: int, kappa: float):
        self.law, self.kl = VonMisesFisher(d, kappa), kl_to_uniform(d, kappa)
        self.d = self.width = d
        self.noise = self.law.noise

    def __call__(self, h: Float[Tensor, "*b w"], noise: Tensor | None) -> tuple[Tensor, Tensor]:
        mu = nn.functional.normalize(h, dim=-1)
        return mu if noise is None else self.law.sample(mu, noise), h.new_full(h.shape[:-1], self.kl)

    def prior(self, *shape: int, generator: torch.Generator) -> Float[Tensor, "*b d"]:
        draw = torch.randn(*shape, self.d, generator=generator, device=generator.device)
        return nn.functional.normalize(draw, dim=-1)


class Gaussian:
    """Normal with mean and log variance from h, standard normal prior: the textbook's choice."""

    def __init__(self, d: int):
        at_least(1, d=d)
        self.d, self.width = d, 2 * d

    def __call__(self, h: Float[Tensor, "*b w"], noise: Tensor | None) -> tuple[Tensor, Tensor]:
        mean, log_var = h.chunk(2, -1)
        z = mean if noise is None else mean + (log_var / 2).exp() * noise
        return z, (mean.square() + log_var.exp() - 1 - log_var).sum(-1) / 2

    def noise(self, *shape: int, generator: torch.Generator) -> Float[Tensor, "*b d"]:
        return torch.randn(*shape, self.d, generator=generator, device=generator.device)

    prior = noise


class UniVAE(nn.Module):
    """A trunk that is not causal by itself, has two segments, and carries latents in its last blocks.

    `bridge` makes the mask of these blocks from the segments; those before them are always separated.
    """

    def __init__(
        self,
        trunk: Encoder,
        posterior: Posterior,
        *,
        length: int,
        latents: int,
        bridge: Callable[[Tensor], Tensor] = masks.uniae,
        pad: int = 0,
        seed: int = 0,
    ):
        super().__init__()
        at_least(2, length=length)
        table, d = trunk.embed.segment, trunk.embed.token.embedding_dim
        if trunk.causal or table is None or table.num_embeddings < 2 or not 1 <= latents <= len(trunk.blocks):
            raise ValueError(
                f"expected a trunk with two segments, no mask of its own and at least {latents} >= 1 blocks, got "
                f"causal={trunk.causal}, {table} and {len(trunk.blocks)} blocks"
            )
        self.trunk, self.posterior, self.bridge = trunk, posterior, bridge
        self.length, self.latents, self.pad = length, latents, pad
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.down, self.up = (
                nn.ModuleList(nn.Linear(*sizes) for _ in range(latents))
                for sizes in ((d, posterior.width), (posterior.d, d))
            )

    def _masks(self, ids: Int[Tensor, "b n"]) -> tuple[Tensor, list[Tensor]]:
        """Segments of both copies, and the mask of every block."""
        segments = torch.cat([torch.zeros_like(ids), torch.ones_like(ids)], 1)
        at = torch.arange(2 * self.length, device=ids.device)
        hide = masks.padding((at == 0) | (at >= self.length) | (torch.cat([ids, ids], 1) != self.pad))
        apart, joined = masks.uniae(segments, 0) & hide, self.bridge(segments) & hide
        first = len(self.trunk.blocks) - self.latents
        return segments, [apart if i < first else joined for i in range(len(self.trunk.blocks))]

    def _run(
        self, x: Tensor, rows: list[Tensor], latent: Callable[[int, Tensor], Tensor] | None, cache: Cache | None = None
    ) -> Float[Tensor, "b m d"]:
        """Through the blocks; in latent ones position 0 becomes U_k latent(k, what stood there)."""
        for i, (block, mask) in enumerate(zip(self.trunk.blocks, rows, strict=True)):
            k = i - len(rows) + self.latents
            if latent is not None and k >= 0:
                x = torch.cat([self.up[k](latent(k, x[:, 0]))[:, None], x[:, 1:]], 1)
            x = block(x, mask, cache)
        if cache is not None:
            cache.advance(x.shape[1])
        return self.trunk.final(x)

    def _logits(self, ids: Tensor, out_ids: Tensor, latent: Callable[[int, Tensor], Tensor]) -> Tensor:
        indices("ids", torch.stack([ids, out_ids]), self.trunk.embed.token.num_embeddings)
        array("ids", ids, f"b {self.length}")
        segments, rows = self._masks(ids)
        hidden = self._run(self.trunk.embed(torch.cat([ids, out_ids], 1), segments), rows, latent)
        return token_logits(hidden[:, self.length :], self.trunk.embed.token)

    @checked
    def forward(
        self, ids: Int[Tensor, "b n"], noise: Float[Tensor, "b k e"] | None = None
    ) -> tuple[Float[Tensor, "b n c"], Float[Tensor, "b k z"], Float[Tensor, "b k"]]:
        """Logits of the token after each position, the latents, and their KL from the prior.

        z_k comes from what position 0 holds after z_1, ..., z_{k−1} were written there: the posterior is a chain.
        """
        drawn: list[tuple[Tensor, Tensor]] = []

        def latent(k: int, h: Tensor) -> Tensor:
            drawn.append(self.posterior(self.down[k](h), None if noise is None else noise[:, k]))
            return drawn[-1][0]

        logits = self._logits(ids, ids, latent)
        codes, kl = (torch.stack(parts, 1) for parts in zip(*drawn, strict=True))
        return logits, codes, kl

    @checked
    def decode_logits(
        self, codes: Float[Tensor, "b k z"], out_ids: Int[Tensor, "b n"], ids: Int[Tensor, "b n"] | None = None
    ) -> Float[Tensor, "b n c"]:
        """Logits given the latents. What stands in segment 0, `ids` or padding, makes no difference."""
        self._check(codes)
        return self._logits(self._blank(codes) if ids is None else ids, out_ids, lambda k, _: codes[:, k])

    def _check(self, codes: Tensor) -> None:
        array("codes", codes, f"b {self.latents} {self.posterior.d}")

    def _blank(self, codes: Tensor) -> Int[Tensor, "b n"]:
        return torch.full((len(codes), self.length), self.pad, device=codes.device)

    @checked
    @torch.no_grad()
    def generate(self, codes: Float[Tensor, "b k z"], start: int, end: int) -> Int[Tensor, "b n"]:
        """The most likely token at each step, from `start` until `end`, then padding; keys and values are kept.

        One pass puts the latents at position 0 of the cache; the copy of the input is padding.
        """
        self._check(codes)
        n, embed, cache = self.length, self.trunk.embed, Cache(2 * self.length)
        blank = self._blank(codes)
        indices("start", blank.new_tensor(start), embed.token.num_embeddings)
        segments, rows = self._masks(blank)
        step = lambda a, b: [row[:, :, a:b, :b] for row in rows]  # noqa: E731
        self._run(embed(blank, segments[:, :n]), step(0, n), lambda k, _: codes[:, k], cache)
        out = [torch.full_like(blank[:, 0], start)]
        for t in range(n - 1):
            x = embed(out[-1][:, None], segments[:, :1] + 1, n + t)
            best = token_logits(self._run(x, step(n + t, n + t + 1), None, cache)[:, 0], embed.token).argmax(-1)
            out.append(torch.where((out[-1] == end) | (out[-1] == self.pad), self.pad, best))
        return torch.stack(out, 1)


@checked
def reconstruction(logits: Float[Tensor, "b n c"], ids: Int[Tensor, "b n"], pad: int = 0) -> Float[Tensor, " b"]:
    """−log p(x | z) of each row, summed over its tokens after the first, padding left out."""
    labels = torch.where(ids[:, 1:] == pad, -100, ids[:, 1:])
    return masked_ce(logits[:, :-1], labels, "none").sum(-1)


def elbo_loss(
    weight: float = 1.0, free: float = 0.0, trace: list[tuple[float, float]] | None = None
) -> Callable[[UniVAE, tuple[Tensor, Tensor]], Tensor]:
    """A loss of (model, (ids, noise)): mean of −log p(x | z) + weight · Σ_k max(KL_k, free), KL_k averaged first.

    With weight = 1 and free = 0 it is minus the ELBO. `trace` gains the two means of every step, unweighted.
    """
    at_least(0, weight=weight, free=free)

    def loss(model: UniVAE, batch: tuple[Tensor, Tensor]) -> Tensor:
        logits, _, kl = model(*batch)
        said, rate = reconstruction(logits, batch[0], model.pad).mean(), kl.mean(0)
        if trace is not None:
            trace.append((said.item(), rate.sum().item()))
        return said + weight * rate.clamp(min=free).sum()

    return loss


def with_noise(
    batch: Callable[[int], tuple[Tensor, ...]], model: UniVAE, generator: torch.Generator
) -> Callable[[int], tuple[Tensor, Tensor]]:
    """`batch`, whose first tensor is ids, with noise for the latents of these rows."""
    draw = partial(model.posterior.noise, generator=generator)

    def noisy(step: int) -> tuple[Tensor, Tensor]:
        ids = batch(step)[0]
        return ids, draw(len(ids), model.latents)

    return noisy


@checked
def slerp(a: Float[Tensor, "*b d"], b: Float[Tensor, "*b d"], t: float) -> Float[Tensor, "*b d"]:
    """The point at the share t of the arc from a to b, unit vectors along the last axis."""
    angle = (a * b).sum(-1, keepdim=True).clamp(-1, 1).acos().clamp(min=1e-4)
    return nn.functional.normalize(((1 - t) * angle).sin() * a + (t * angle).sin() * b, dim=-1)
