"""Positions that are added to the logits of attention: the learned buckets of T5 and the slopes of ALiBi.

Axes: h heads, n queries, m keys; the queries are the last n of the m positions.
Papers: T5 (arXiv 1910.10683), ALiBi (arXiv 2108.12409).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lib.attention import Bias
from lib.checks import at_least, checked


@checked
def relative(n: int, m: int, device: torch.device | str | None = None) -> Int[Tensor, "{n} {m}"]:
    """Key position minus query position."""
    if not 1 <= n <= m:
        raise ValueError(f"expected 1 <= n <= m, got {n=}, {m=}")
    at = torch.arange(m, device=device)
    return at - at[m - n :, None]


@checked
def t5_bucket(distance: Int[Tensor, "*b"], *, both: bool, buckets: int = 32, furthest: int = 128) -> Int[Tensor, "*b"]:
    """The bucket of a relative position (key minus query): exact when near, logarithmic up to `furthest`, then one.

    With `both` directions each gets half of the buckets; else keys to come all fall into bucket 0.
    """
    half = buckets // 2 if both else buckets
    if half < 2 or furthest <= half // 2:
        raise ValueError(
            f"expected at least 2 buckets a direction, furthest > {half // 2}, got {buckets=}, {furthest=}"
        )
    away = distance.abs() if both else (-distance).clamp(min=0)
    exact = half // 2
    ratio = (away.clamp(min=1).float() / exact).log() / math.log(furthest / exact)
    far = (exact + (ratio * (half - exact)).long()).clamp(max=half - 1)
    return torch.where(away < exact, away, far) + (half * (distance > 0) if both else 0)


class T5Bias(Bias):
    """A learned number per head and bucket; one such module is shared by all layers of a T5 stack."""

    def __init__(self, heads: int, *, both: bool, buckets: int = 32, furthest: int = 128):
        super().__init__()
        at_least(1, heads=heads)
        self.table = nn.Embedding(buckets, heads)
        self.both, self.buckets, self.furthest = both, buckets, furthest

    def forward(self, n: int, m: int) -> Float[Tensor, "h n m"]:
        away = relative(n, m, self.table.weight.device)
        bucket = t5_bucket(away, both=self.both, buckets=self.buckets, furthest=self.furthest)
        return self.table(bucket).permute(2, 0, 1)


class Alibi(Bias):
    """−slope · |distance| with slopes 2^(−8/h), 2^(−16/h), ...; nothing is learned. The heads must be a power of 2."""

    slopes: Tensor

    def __init__(self, heads: int):
        super().__init__()
        if heads < 1 or heads & (heads - 1):
            raise ValueError(f"expected a power of 2 as the number of heads, got {heads}")
        self.register_buffer("slopes", 2.0 ** (-8 / heads * torch.arange(1, heads + 1)), persistent=False)

    def forward(self, n: int, m: int) -> Float[Tensor, "h n m"]:
        return -self.slopes[:, None, None] * relative(n, m, self.slopes.device).abs()
