"""Sentences "noun phrase, verb, noun phrase" whose label needs the two head nouns, among nouns that are no heads.

A phrase is `[adjective] HEAD [of noun]`, the brackets at random: the head is the noun that does not follow "of". Every
noun belongs to one of 3 classes, and the label is (class of the first head + 2 · class of the second) mod 6.
Made for the article bert-of-theseus, where a large network shall know more than the few labels a small one gets.

Axes: b sentences, n words (0 is padding, 1 stands first in every sentence).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from lib.checks import at_least

PAD, START, OF = range(3)
KINDS, NOUNS, ADJECTIVES, VERBS, CLASSES = 3, 30, 20, 10, 6
FIRST_NOUN = 3
FIRST_ADJECTIVE = FIRST_NOUN + NOUNS
FIRST_VERB = FIRST_ADJECTIVE + ADJECTIVES
VOCAB = FIRST_VERB + VERBS
LENGTH = 10  # start, verb, and twice at most: adjective, head, of, noun


class Sentences(NamedTuple):
    """Word ids and labels."""

    ids: Int[Tensor, "b n"]
    y: Int[Tensor, " b"]


def kind(noun: int) -> int:
    """The class 0, 1 or 2 of a noun."""
    if not FIRST_NOUN <= noun < FIRST_ADJECTIVE:
        raise ValueError(f"expected a noun id in [{FIRST_NOUN}, {FIRST_ADJECTIVE}), got {noun}")
    return noun % KINDS


def _phrase(rng: np.random.Generator) -> tuple[list[int], int]:
    """The words of a random noun phrase, and its head."""
    head, part = (int(word) for word in rng.integers(FIRST_NOUN, FIRST_ADJECTIVE, 2))
    described, parted = rng.random(2) < 0.5
    adjective = [int(rng.integers(FIRST_ADJECTIVE, FIRST_VERB))] * bool(described)
    return adjective + [head] + [OF, part] * bool(parted), head


def sentences(count: int, *, seed: int) -> Sentences:
    """`count` random sentences with their labels, padded to LENGTH."""
    at_least(1, count=count)
    rng = np.random.default_rng(seed)
    ids, y = torch.zeros(count, LENGTH, dtype=torch.long), torch.zeros(count, dtype=torch.long)
    for row in range(count):
        (subject, first), (complement, second) = _phrase(rng), _phrase(rng)
        words = [START, *subject, int(rng.integers(FIRST_VERB, VOCAB)), *complement]
        ids[row, : len(words)] = torch.tensor(words)
        y[row] = (kind(first) + 2 * kind(second)) % CLASSES
    return Sentences(ids, y)
