"""Task losses of generated sequences: greedy continuation under given parameters, edit distance, missing ends.

Article: task-loss-by-sampling. Axes: b sequences, n positions, t steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.func import functional_call

from lib.checks import at_least, checked


class Methods(nn.Module):
    """A model whose methods `functional_call` can reach: `functional_call(Methods(m), params, ("decode", ...))`."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, method: str, *args: Any) -> Any:
        """What `model.method(*args)` returns."""
        return getattr(self.model, method)(*args)


@checked
@torch.no_grad()
def greedy(model: Any, params: dict[str, Tensor], ids: Int[Tensor, "b n"], length: int) -> Int[Tensor, "b t"]:
    """`length` tokens after `ids` by argmax, from a causal model of transformers run with the parameters `params`."""
    at_least(1, length=length)
    cache, tokens = None, []
    for _ in range(length):
        out = functional_call(model, params, (), {"input_ids": ids, "past_key_values": cache, "use_cache": True})
        cache, ids = out.past_key_values, out.logits[:, -1:].argmax(-1)
        tokens.append(ids)
    return torch.cat(tokens, 1)


def until(tokens: Sequence[int], end: int) -> list[int]:
    """The tokens up to the first `end`, it included; all of them where there is none."""
    tokens = list(tokens)
    return tokens[: tokens.index(end) + 1] if end in tokens else tokens


def edit_distance(a: Sequence[Any], b: Sequence[Any]) -> int:
    """The least number of insertions, deletions and replacements that turn `a` into `b`."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        last, row[0] = row[0], i
        for j, y in enumerate(b, start=1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (x != y))
    return row[-1]


@checked
def completion_errors(said: Int[Tensor, "b t"], target: Int[Tensor, "b n"], end: int) -> tuple[float, float]:
    """Mean edit distance to the target over its length, at most 1 each, and the share of rows without `end`."""
    pairs = list(zip((until(row, end) for row in said.tolist()), target.tolist(), strict=True))
    edits = [min(1.0, edit_distance(a, b) / len(b)) for a, b in pairs]
    return sum(edits) / len(pairs), sum(end not in a for a, _ in pairs) / len(pairs)
