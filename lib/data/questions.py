"""Chinese questions from a grammar with four known factors: pattern, topic, noun and verb, four values of each.

All words have their own characters, so that a factor can be read off a sentence that the grammar does not contain.
A row of ids reads [CLS] characters [SEP] and then [PAD], `LENGTH` in all. Used in the article univae.
"""

from __future__ import annotations

from itertools import product

import torch
from jaxtyping import Int
from torch import Tensor

from lib.checks import at_least, checked, indices

FACTORS = ("pattern", "topic", "noun", "verb")
PATTERNS = ("如何{v}{t}的{n}", "{t}{n}怎么{v}", "{t}{n}可以{v}吗", "能否{v}{t}的{n}")
MARKERS = ("如何", "怎么", "可以", "能否")
TOPICS = ("手机", "汽车", "空调", "冰箱")
NOUNS = ("屏幕", "电池", "外壳", "线路")
VERBS = ("修理", "更换", "清洁", "保养")
WORDS = (MARKERS, TOPICS, NOUNS, VERBS)
PAD, CLS, SEP = 0, 1, 2

GRAMMAR = {
    PATTERNS[p].format(t=TOPICS[t], n=NOUNS[n], v=VERBS[v]): (p, t, n, v) for p, t, n, v in product(range(4), repeat=4)
}
CHARACTERS = sorted(set("".join(GRAMMAR)))
VOCAB = 3 + len(CHARACTERS)
LENGTH = 2 + max(map(len, GRAMMAR))
_IDS = {c: i for i, c in enumerate(CHARACTERS, start=3)}


def encode(text: str) -> Int[Tensor, " n"]:
    """A sentence as a row of ids."""
    if unknown := sorted(set(text) - set(_IDS)):
        raise ValueError(f"expected characters of the grammar, got {''.join(unknown)!r}")
    if not 0 < len(text) <= LENGTH - 2:
        raise ValueError(f"expected 1 to {LENGTH - 2} characters, got {len(text)}")
    row = [CLS, *(_IDS[c] for c in text), SEP]
    return torch.tensor(row + [PAD] * (LENGTH - len(row)))


@checked
def decode(ids: Int[Tensor, " n"]) -> str:
    """The characters of a row up to its first [SEP]."""
    indices("ids", ids, VOCAB)
    row = ids.tolist()
    row = row[: row.index(SEP)] if SEP in row else row
    return "".join(CHARACTERS[i - 3] for i in row if i >= 3)


def factors(text: str) -> tuple[int, int, int, int]:
    """The values of pattern, topic, noun and verb whose word stands in the text; −1 where none or several do."""
    found = [[i for i, word in enumerate(words) if word in text] for words in WORDS]
    p, t, n, v = (one[0] if len(one) == 1 else -1 for one in found)
    return p, t, n, v


def split(test: int, *, seed: int) -> tuple[Int[Tensor, "train n"], Int[Tensor, "test n"]]:
    """The 256 sentences in random order: the rest to train on, `test` held out."""
    at_least(1, test=test)
    if test >= len(GRAMMAR):
        raise ValueError(f"expected fewer than {len(GRAMMAR)} held-out sentences, got {test}")
    rows = torch.stack([encode(text) for text in GRAMMAR])
    rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))]
    return rows[test:], rows[:test]
