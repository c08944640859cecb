"""Bags of (key, value) pairs and one query each: associative recall, the task that attention solves by one lookup.

A bag holds n distinct keys, each with a value; the query repeats one key and the answer is its value. The keys of a bag
are drawn without replacement: a repeated key would make the answer ambiguous. The order means nothing, so a model
without positions can be tested at lengths it was not trained on.

Axes: b bags, n pairs. Article: entropy-invariant-attention.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from lib.checks import at_least


class Bags(NamedTuple):
    """Keys and values of the pairs, the key that is asked for, the place where it stands, and its value."""

    keys: Int[Tensor, "b n"]
    values: Int[Tensor, "b n"]
    query: Int[Tensor, " b"]
    place: Int[Tensor, " b"]
    answer: Int[Tensor, " b"]


def bags(count: int, n: int, *, keys: int = 1024, values: int = 4, generator: torch.Generator) -> Bags:
    """`count` bags of n pairs over `keys` keys and `values` values, all uniform; n ≤ keys."""
    at_least(1, count=count, n=n, keys=keys, values=values)
    if n > keys:
        raise ValueError(f"expected n <= keys, since keys do not repeat in a bag, got {n=}, {keys=}")
    chosen = torch.rand(count, keys, generator=generator).topk(n, sorted=False).indices
    drawn = torch.randint(values, (count, n), generator=generator)
    place = torch.randint(n, (count,), generator=generator)
    pick = lambda table: table.gather(1, place[:, None])[:, 0]  # noqa: E731
    return Bags(chosen, drawn, pick(chosen), place, pick(drawn))
