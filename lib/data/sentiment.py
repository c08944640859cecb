"""Chinese reviews from eight templates, as sequences of characters, in which the one sentiment word is known.

Made for the question of the post https://spaces.ac.cn/archives/7533 whether a classifier without neutral samples
merely detects the negative class; the article is integrated-gradients.

Axes: b sentences, n characters (0 is padding).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from lib.checks import checked, indices

TEMPLATES = (
    "这是一个很{w}的{o}", "我觉得这个{o}很{w}", "这家店的{o}真{w}", "昨天买的{o}非常{w}",
    "总的来说{o}相当{w}", "朋友说那个{o}特别{w}", "{o}看起来十分{w}", "一个{w}的{o}就在那里",
)  # fmt: skip
OBJECTS = (
    "电影", "小说", "手机", "餐厅", "音乐", "衣服", "酒店", "游戏",
    "相机", "电脑", "菜品", "画册", "书店", "公园", "房间", "玩具",
)  # fmt: skip
POSITIVE = (
    "好看", "精彩", "漂亮", "优秀", "动人", "完美", "可爱", "迷人",
    "出色", "舒适", "有趣", "美味",
)  # fmt: skip
NEGATIVE = (
    "难看", "糟糕", "无聊", "恶心", "低劣", "破旧", "混乱", "失望",
    "粗糙", "乏味", "丑陋", "差劲",
)  # fmt: skip
CONDITIONS = ("symmetric", "open", "open+neutral")

_USED = set("".join((*TEMPLATES, *OBJECTS, *POSITIVE, *NEGATIVE))) - set("{wo}")
# The first level of GB 2312 holds 3755 everyday characters; every sixth is enough for an open vocabulary.
_COMMON = [bytes([0xB0 + i // 94, 0xA1 + i % 94]).decode("gb2312") for i in range(0, 3755, 6)]
POOL = tuple(char for char in _COMMON if char not in _USED)
VOCAB = ("", *sorted(_USED), *POOL)
LENGTH = max(len(t.format(w="好看", o="电影")) for t in TEMPLATES)


class Reviews(NamedTuple):
    """Character ids, class (0 negative, 1 positive, 2 neutral) and the mask of the two characters of the slot."""

    ids: Int[Tensor, "b n"]
    y: Int[Tensor, " b"]
    word: Bool[Tensor, "b n"]


def encode(sentence: str) -> Int[Tensor, " n"]:
    """Character ids of one sentence, padded to LENGTH."""
    if not 0 < len(sentence) <= LENGTH or not set(sentence) <= set(VOCAB):
        raise ValueError(f"expected 1 to {LENGTH} characters of VOCAB, got {len(sentence)}: {sentence!r}")
    return torch.tensor([VOCAB.index(c) for c in sentence] + [0] * (LENGTH - len(sentence)))


@checked
def decode(ids: Int[Tensor, " n"]) -> list[str]:
    """The characters of one row, without the padding."""
    indices("ids", ids, len(VOCAB))
    return [VOCAB[i] for i in ids.tolist() if i]


def reviews(count: int, condition: str = "symmetric", *, seed: int = 0) -> Reviews:
    """`count` random reviews, classes in equal numbers and in random order.

    `symmetric`: the slot holds one of 12 negative or 12 positive words. `open`: in positive reviews it holds two
    random characters of POOL instead, so that nothing in them says "positive". `open+neutral`: negative and positive
    words as in `symmetric`, and a third class whose slot holds the random characters.
    """
    if condition not in CONDITIONS:
        raise ValueError(f"condition must be one of {', '.join(CONDITIONS)}, got {condition!r}")
    classes = 3 if condition == "open+neutral" else 2
    if count < classes:
        raise ValueError(f"expected at least {classes} sentences, got {count}")
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(count) % classes)
    ids, mask = torch.zeros(count, LENGTH, dtype=torch.int64), torch.zeros(count, LENGTH, dtype=torch.bool)
    index = {char: i for i, char in enumerate(VOCAB)}
    for row, label in enumerate(y):
        template, thing = TEMPLATES[rng.integers(len(TEMPLATES))], OBJECTS[rng.integers(len(OBJECTS))]
        if label == 2 or (label == 1 and condition == "open"):
            word = "".join(POOL[i] for i in rng.integers(len(POOL), size=2))
        else:
            word = (NEGATIVE, POSITIVE)[label][rng.integers(12)]
        text = template.format(w=word, o=thing)
        at = template.replace("{o}", thing).index("{w}")
        ids[row, : len(text)] = torch.tensor([index[char] for char in text])
        mask[row, at : at + 2] = True
    return Reviews(ids, torch.tensor(y), mask)
