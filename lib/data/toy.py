"""Synthetic sequence tasks where one knows what must be routed where: each batch is a function of seed and step.

In `reverse` the position alone says where the answer stands; in `partner_lookup` the content alone does. Every position
has a label, so that one batch teaches n times.

Axes: b sequences, n positions. Post: https://spaces.ac.cn/archives/7430; article: synthesizer.
"""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

from lib.checks import at_least


def batch_generator(seed: int, step: int) -> torch.Generator:
    """A generator for the batch of this step, independent of all others."""
    at_least(0, seed=seed, step=step)
    return torch.Generator().manual_seed(seed * 1_000_003 + step)


def reverse(
    step: int, *, seed: int, batch: int = 64, n: int = 16, vocab: int = 16
) -> tuple[Int[Tensor, "b n"], Int[Tensor, "b n"]]:
    """(ids, labels): uniform random tokens, and the same read backwards: label i is token n − 1 − i."""
    at_least(1, batch=batch, n=n, vocab=vocab)
    ids = torch.randint(vocab, (batch, n), generator=batch_generator(seed, step))
    return ids, ids.flip(-1)


def partner_lookup(
    step: int, *, seed: int, batch: int = 64, keys: int = 16, values: int = 4
) -> tuple[Int[Tensor, "b n"], Int[Tensor, "b n"]]:
    """(ids, labels): every key once, in random order, each with a random value; the label is the partner's value.

    A token is key · values + value, so there are keys · values ids and n = keys positions. The partner of a key is
    the key with its last bit flipped, which needs an even number of keys.
    """
    at_least(1, batch=batch, values=values)
    if keys < 2 or keys % 2:
        raise ValueError(f"expected an even number of keys, 2 at least, got {keys}")
    generator = batch_generator(seed, step)
    key = torch.rand(batch, keys, generator=generator).argsort(-1)
    value = torch.randint(values, (batch, keys), generator=generator)
    return values * key + value, value.gather(1, key.argsort(-1).gather(1, key ^ 1))
