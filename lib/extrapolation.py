"""Rotary frequencies for contexts s times as long as those of training: interpolation, the NTK family, YaRN.

Each gives θ for `positions.rotary(theta=)` or `rerope.mapped_attention(theta=)`, one entry for each of the d/2 pairs of
channels, in float64. Pair j turns by θ_j = base^(−2j/d) a position, j = 0, 1, ..., and is slowed by s_j: all by s in
`interpolated`, the first not and the last by s in `ntk`, s^(2(j+1)/d) in `ntk_fixed`, and between the two in
`ntk_mixed`. `yarn` keeps pairs that turn often within the trained length and interpolates those that hardly turn.

Posts: https://spaces.ac.cn/archives/9675 and https://spaces.ac.cn/archives/9706; used in the article leaky-rerope.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float64
from torch import Tensor

from lib.checks import at_least, checked, positive
from lib.positions import frequencies

Frequencies = Float64[Tensor, " pairs"]


@checked
def interpolated(d: int, s: float | int, *, base: float = 10_000.0) -> Frequencies:
    """θ_j / s: position interpolation (arXiv 2306.15595)."""
    at_least(1, s=s)
    return frequencies(d, base=base) / s


@checked
def ntk(d: int, s: float | int, *, base: float = 10_000.0) -> Frequencies:
    """θ_j / s^(2j/(d−2)), that is the base times s^(d/(d−2)): the "NTK-aware" form, the post's NTK-RoPE-old.

    The "dynamic" form for n positions of a model trained on L is this one with s·n/L − (s − 1) in the place of s.
    """
    at_least(1, s=s)
    at_least(4, d=d)
    return frequencies(d, base=base * s ** (d / (d - 2)))


@checked
def ntk_mixed(d: int, s: float | int, *, b: float = 0.625, base: float = 10_000.0) -> Frequencies:
    """θ_j exp(−a (j+1)^b) with a (d/2)^b = log s: b = 0 is interpolation, b = 1 is `ntk_fixed`."""
    at_least(1, s=s)
    at_least(0, b=b)
    theta = frequencies(d, base=base)
    rank = torch.arange(1, len(theta) + 1, dtype=torch.float64) / len(theta)
    return theta * (-math.log(s) * rank**b).exp()


@checked
def ntk_fixed(d: int, s: float | int, *, base: float = 10_000.0) -> Frequencies:
    """θ_j / s^(2(j+1)/d)."""
    return ntk_mixed(d, s, b=1.0, base=base)


@checked
def yarn(
    d: int,
    s: float | int,
    trained: int,
    *,
    fast: float = 32.0,
    slow: float = 1.0,
    base: float = 10_000.0,
) -> Frequencies:
    """θ_j (1 − γ_j + γ_j / s), where γ rises from 0 to 1 between pairs of `fast` and of `slow` turns in training.

    γ is linear in j between the pairs with so many turns within the trained length, rounded outwards. It belongs
    together with `yarn_factor` (arXiv 2309.00071).
    """
    at_least(1, s=s, trained=trained)
    positive(fast=fast, slow=slow)
    theta = frequencies(d, base=base)
    if fast <= slow or base <= 1:
        raise ValueError(f"expected fast > slow and base > 1, got {fast=}, {slow=}, {base=}")
    first, last = (d * math.log(trained / (2 * math.pi * turns)) / (2 * math.log(base)) for turns in (fast, slow))
    low, high = max(math.floor(first), 0), min(math.ceil(last), d - 1)
    j = torch.arange(len(theta), dtype=torch.float64)
    ramp = ((j - low) / max(high - low, 1e-3)).clamp(0, 1)
    return theta * (1 - ramp + ramp / s)


@checked
def yarn_factor(s: float | int) -> float:
    """0.1 log s + 1, by which `yarn` multiplies queries and keys, so logits by its square: colder attention."""
    at_least(1, s=s)
    return 0.1 * math.log(s) + 1
