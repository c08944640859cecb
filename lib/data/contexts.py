"""Streams on which a long context is worth reading, each batch a function of seed and step.

In `private_dictionary` every row has words of its own, which can only be learned by reading the row. In
`words_and_repeats` half of the rows are words of one dictionary, known from training, and half repeat a random
pattern; near context is enough for both.

Axes: b rows, n positions, w words, l letters of a word. Post: https://spaces.ac.cn/archives/9708; article:
leaky-rerope.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from lib.checks import at_least
from lib.data.toy import batch_generator


class Stream(NamedTuple):
    """Letters, the letter after each of them, and which of these labels a reader with a long memory can predict."""

    ids: Int[Tensor, "b n"]
    labels: Int[Tensor, "b n"]
    predictable: Bool[Tensor, "b n"]


def _spell(
    books: Int[Tensor, "b w l"], n: int, generator: torch.Generator
) -> tuple[Int[Tensor, "b n"], Int[Tensor, "b n"]]:
    """n letters of words drawn uniformly from each row's book, cut at a random letter, and their places in words."""
    b, w, size = books.shape
    word = torch.randint(w, (b, -(-n // size) + 1), generator=generator)
    at = torch.randint(size, (b, 1), generator=generator) + torch.arange(n)
    text = books.gather(1, word[:, :, None].expand(-1, -1, size)).flatten(1)
    return text.gather(1, at), at % size


def private_dictionary(
    step: int, *, seed: int, batch: int = 32, n: int = 36, words: int = 8, letters: int = 24, word_length: int = 3
) -> Stream:
    """Each row draws its own random words and is a concatenation of them, uniformly and without separators.

    The words of a row differ in their first letters, so once a word was read, its first letter tells the rest.
    Marked as predictable are all letters but the first of a word, also where the word is new and nobody can know them:
    a reader who remembers k whole words knows the next one with probability 1 − (1 − 1/words)^k.
    """
    at_least(1, batch=batch, n=n, words=words, word_length=word_length)
    if letters < words:
        raise ValueError(
            f"words differ in their first letters, so letters >= words is expected, got {letters=}, {words=}"
        )
    generator = batch_generator(seed, step)
    books = torch.randint(letters, (batch, words, word_length), generator=generator)
    books[:, :, 0] = torch.rand(batch, letters, generator=generator).argsort(-1)[:, :words]
    text, place = _spell(books, n + 1, generator)
    return Stream(text[:, :-1], text[:, 1:], place[:, 1:] > 0)


def words_and_repeats(
    step: int,
    *,
    seed: int,
    batch: int = 32,
    n: int = 32,
    words: int = 40,
    letters: int = 24,
    word_length: int = 3,
    periods: tuple[int, int] = (6, 12),
) -> Stream:
    """The first half of the rows: words of a dictionary fixed by the seed. The others: a random pattern, repeated.

    Predictable are, in words, the letters after the first, which the dictionary narrows down or determines, and in
    patterns all letters after the first period, whose length is uniform on `periods`, but the first of them, which
    gives away that the pattern begins again.
    """
    at_least(2, batch=batch)
    at_least(1, n=n, words=words, letters=letters, word_length=word_length)
    if batch % 2 or not 1 <= periods[0] <= periods[1]:
        raise ValueError(f"expected an even batch and periods 1 <= low <= high, got {batch=}, {periods=}")
    book = torch.randint(letters, (1, words, word_length), generator=torch.Generator().manual_seed(seed))
    generator, half = batch_generator(seed, step), batch // 2
    text, place = _spell(book.expand(half, -1, -1), n + 1, generator)
    pattern = torch.randint(letters, (half, periods[1]), generator=generator)
    period = torch.randint(periods[0], periods[1] + 1, (half, 1), generator=generator)
    at = torch.arange(n + 1)
    ids = torch.cat([text, pattern.gather(1, at % period)])
    return Stream(ids[:, :-1], ids[:, 1:], torch.cat([place > 0, at > period])[:, 1:])
