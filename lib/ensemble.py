"""Many networks of one shape as one network: seeds and variants of a small model train side by side.

Axes: members first. One optimiser step moves all members; with a loss that is a sum over members, and without clipping,
none of them feels the others. Used wherever an article trains several seeds.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lib import train
from lib.checks import checked


class Ensemble(nn.Module):
    """Members with equal architecture and their own weights; the parameters are stacked along a first axis."""

    def __init__(self, members: Sequence[nn.Module]):
        super().__init__()
        shapes = {tuple((name, p.shape) for name, p in member.named_parameters()) for member in members}
        if len(shapes) != 1:
            raise ValueError(f"expected one or more members of one shape, got {len(members)} of {len(shapes)} shapes")
        stacked, buffers = torch.func.stack_module_state(list(members))
        if buffers:
            raise ValueError(f"expected members without buffers, got {sorted(buffers)}")
        self.names = list(stacked)
        self.stacked = nn.ParameterList(stacked.values())
        # The skeleton only lends its forward; hidden from nn.Module so that its weights are nobody's parameters.
        self.__dict__["skeleton"] = copy.deepcopy(members[0]).to("meta")

    @checked
    def forward(self, x: Float[Tensor, "members *b d"]) -> Float[Tensor, "members *b c"]:
        """Member k applied to x[k]."""
        if len(x) != len(self.stacked[0]):
            raise ValueError(f"expected one batch for each of {len(self.stacked[0])} members, got {len(x)}")
        weights = dict(zip(self.names, self.stacked, strict=True))
        call = lambda one, rows: torch.func.functional_call(self.__dict__["skeleton"], one, (rows,))  # noqa: E731
        return torch.vmap(call)(weights, x)


class Arm(NamedTuple):
    """One variant of a training run: its loss of (logits, labels), its networks, and a source of rows for each."""

    loss: Callable[[Tensor, Tensor], Tensor]
    members: Sequence[nn.Module]
    batches: Sequence[Callable[[int], Any]]


def fit_arms(arms: Sequence[Arm], *, steps: int, lr: float, weight_decay: float = 0.0) -> Ensemble:
    """All members of all arms, in their order, trained side by side by AdamW at a constant rate without clipping.

    The loss of an arm is the mean over its members, so arms need equally many; `batch(step)` is a pair (inputs, labels)
    with the same number of rows everywhere.
    """
    counts = {len(part) for arm in arms for part in (arm.members, arm.batches)}
    if len(counts) != 1 or 0 in counts:
        raise ValueError(f"expected arms with equally many members and batches, got {sorted(counts)}")
    (runs,) = counts
    net = Ensemble([member for arm in arms for member in arm.members])

    def batch(step: int) -> tuple[Tensor, Tensor]:
        X, y = zip(*(source(step) for arm in arms for source in arm.batches), strict=True)
        return torch.stack(X), torch.stack(y)

    def loss(net: nn.Module, rows: tuple[Tensor, Tensor]) -> Tensor:
        parts = zip(arms, net(rows[0]).split(runs), rows[1].split(runs), strict=True)
        return runs * torch.stack([arm.loss(f, y) for arm, f, y in parts]).sum()

    train.fit(net, batch, loss, steps=steps, lr=lr, schedule=train.constant, clip=math.inf, weight_decay=weight_decay)
    return net
