"""Streams of words over a small alphabet: a corpus for language models whose exact optimum can be computed.

A dictionary of distinct random words of equal length; a sentence is a concatenation of words drawn uniformly, cut at
a random offset, with no separator. Ids: 0 padding, 1 mask, then the letters.

Axes: b sentences, n positions, w words, l letters of a word. Article: performer-to-linear-attention.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lib.checks import at_least, checked

PAD, MASK, FIRST = 0, 1, 2


class Corpus(NamedTuple):
    """Sentences, and what they were made from."""

    ids: Int[Tensor, "b n"]
    dictionary: Int[Tensor, "w l"]
    letters: range

    @property
    def vocab(self) -> int:
        """Number of ids: padding, mask and letters."""
        return self.letters.stop


def dictionary(words: int = 40, letters: int = 30, word_length: int = 3, *, seed: int) -> Int[Tensor, "w l"]:
    """Distinct random words as rows of letter ids."""
    if min(words, letters, word_length) < 1 or words > letters**word_length:
        raise ValueError(f"expected 1 <= words <= letters^word_length, got {words=}, {letters=}, {word_length=}")
    generator = torch.Generator().manual_seed(seed)
    found: dict[tuple[int, ...], None] = {}
    while len(found) < words:
        found[tuple((torch.randint(letters, (word_length,), generator=generator) + FIRST).tolist())] = None
    return torch.tensor(list(found))


@checked
def draw(words: Int[Tensor, "w l"], count: int, length: int, generator: torch.Generator) -> Int[Tensor, "b n"]:
    """`count` sentences of `length` letters from a dictionary."""
    at_least(1, count=count, length=length)
    size = words.shape[1]
    stream = words[torch.randint(len(words), (count, -(-length // size) + 1), generator=generator)].flatten(1)
    start = torch.randint(size, (count, 1), generator=generator)
    return stream.gather(1, start + torch.arange(length))


def sentences(
    count: int, length: int, *, words: int = 40, letters: int = 30, word_length: int = 3, seed: int
) -> Corpus:
    """A fresh dictionary and `count` sentences of `length` letters from it; split the rows for a test set.

    Once the word borders are known, a letter costs log(words) / word_length nats on average: 1.23 by default.
    """
    book = dictionary(words, letters, word_length, seed=seed)
    ids = draw(book, count, length, torch.Generator().manual_seed(seed + 1_000_003))
    return Corpus(ids, book, range(FIRST, FIRST + letters))


@checked
def optimum(
    corpus: Corpus, ids: Int[Tensor, "b n"], hidden: Bool[Tensor, "b n"] | None = None
) -> Float[Tensor, "b n vocab"]:
    """log p of every id at every position under the true distribution: what a perfect model would say.

    Without `hidden` each position is predicted from the earlier ones (language model); with it, from all positions
    that are not hidden, its own among them (masked language model: read it at the hidden ones). Forward-backward over
    the states (word, place in the word), in float64.
    """
    book, letters = corpus.dictionary, corpus.letters
    (words, size), (b, n) = book.shape, ids.shape
    valid = (ids >= letters.start) & (ids < letters.stop)
    if not bool((valid if hidden is None else valid | hidden).all()):
        raise ValueError(
            f"ids must lie in [{letters.start}, {letters.stop}) except where hidden, got {ids.tolist()[0]}..."
        )
    fits = (book == ids[:, :, None, None]).double()  # (b, n, words, size)
    if hidden is not None:
        fits[hidden] = 1.0
    ahead = torch.full((b, words, size), 1 / (words * size), dtype=torch.float64)
    before, after = [ahead], [torch.ones_like(ahead)]
    for i in range(n - 1):
        seen = before[-1] * fits[:, i]
        fresh = seen[:, :, -1:].sum(1, keepdim=True).expand(-1, words, 1) / words
        ahead = torch.cat([fresh, seen[:, :, :-1]], -1)
        before.append(ahead / ahead.sum((1, 2), keepdim=True))
        seen = after[-1] * fits[:, n - 1 - i]
        back = torch.cat([seen[:, :, 1:], seen[:, :, :1].mean(1, keepdim=True).expand(-1, words, 1)], -1)
        after.append(back / back.sum((1, 2), keepdim=True))
    belief = torch.stack(before, 1)
    if hidden is not None:
        belief = belief * torch.stack(after[::-1], 1) * fits
    table = torch.zeros(b, n, corpus.vocab, dtype=torch.float64)
    table.scatter_add_(-1, book.flatten().expand(b, n, -1), belief.flatten(2))
    return (table / table.sum(-1, keepdim=True)).log()
