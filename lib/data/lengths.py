"""Sentences whose best possible length error is known: the toy on which greedy decoding of a perfect model loses.

A prompt (selector, first symbol) fixes k. L symbols follow, L uniform on k..k+4, then the end. The symbols go along a
cycle, with leaps, and do not hint at the length. A perfect model gives the end probability 1/2 for the first time after
k+3 symbols; the length error is least at the median k+2 (1.2 against 1.4).

Ids: 0 end, then selectors, then symbols. Axes: b sentences, n positions, t steps. Article: task-loss-by-sampling.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lib.checks import at_least, checked
from lib.losses import IGNORE

END, SPREAD = 0, 4
SHORTEST = (3, 5, 7)
SYMBOLS = 6
VOCAB = 1 + len(SHORTEST) + SYMBOLS
LONGEST = max(SHORTEST) + SPREAD + 1  # with the end


class Sentences(NamedTuple):
    """Ids from the selector on, what follows each of them (-100: nothing to predict), and the lengths L."""

    ids: Int[Tensor, "b n"]
    labels: Int[Tensor, "b n"]
    length: Int[Tensor, " b"]


def prompts() -> tuple[Int[Tensor, "b 2"], Int[Tensor, " b"]]:
    """Every prompt (selector, first symbol), and the shortest length k of each."""
    pairs = torch.cartesian_prod(torch.arange(len(SHORTEST)), torch.arange(SYMBOLS))
    return pairs + torch.tensor([1, 1 + len(SHORTEST)]), torch.tensor(SHORTEST)[pairs[:, 0]]


@checked
def sentences(count: int, *, stay: float = 0.7, seed: int) -> Sentences:
    """`count` random sentences; the successor of a symbol is the next one on the cycle with probability `stay`."""
    at_least(1, count=count)
    if not 0.5 < stay <= 1:
        raise ValueError(f"stay must lie in (0.5, 1], or greedy decoding ends earlier, got {stay}")
    generator = torch.Generator().manual_seed(seed)
    draw = lambda high, *shape: torch.randint(high, (count, *shape), generator=generator)  # noqa: E731
    selector, length = draw(len(SHORTEST)), draw(SPREAD + 1)
    length = length + torch.tensor(SHORTEST)[selector]
    leap = torch.rand(count, LONGEST, generator=generator) >= stay
    steps = torch.where(leap, 2 + draw(SYMBOLS - 1, LONGEST), 1)  # a leap is any other symbol
    walk = (draw(SYMBOLS, 1) + torch.cat([torch.zeros_like(steps[:, :1]), steps.cumsum(1)], 1)) % SYMBOLS
    walk = (walk + 1 + len(SHORTEST)).where(torch.arange(LONGEST + 1) <= length[:, None], END)
    ids = torch.cat([1 + selector[:, None], walk[:, :-1]], 1)
    labels = torch.cat([torch.full_like(ids[:, :1], IGNORE), walk[:, 1:]], 1)
    return Sentences(ids, labels.where(torch.arange(LONGEST + 1) <= length[:, None] + 1, IGNORE), length)


@checked
def decoded_length(tokens: Int[Tensor, "b t"]) -> Int[Tensor, " b"]:
    """The number of tokens before the first end; t where there is none."""
    return (tokens != END).long().cumprod(1).sum(1)


@checked
def exact_error(length: Int[Tensor, " b"], shortest: Int[Tensor, " b"]) -> Float[Tensor, ""]:
    """The expected |length − L| over the law of L, averaged over the prompts: 1.2 at its least, with length = k+2."""
    law = shortest[:, None] + torch.arange(SPREAD + 1, device=shortest.device)
    return (length[:, None] - law).abs().double().mean()
