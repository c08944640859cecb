"""Many networks of one shape as one network: seeds and variants of a small model train side by side.

Axes: members first. One optimiser step moves all members; with a loss that is a sum over members, and clipping
member by member or not at all, none of them feels the others. Used wherever an article trains several seeds.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Num
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from lib import train
from lib.checks import checked


def _state(member: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name: a tied one under all its names, those of a shared module once."""
    parts = [(path + "." if path else "", module) for path, module in member.named_modules()]
    own = lambda m: chain(m.named_parameters(recurse=False), m.named_buffers(recurse=False))  # noqa: E731
    return {path + name: tensor for path, module in parts for name, tensor in own(module)}


class Ensemble(nn.Module):
    """Members with equal architecture and their own weights; parameters and buffers are stacked along a first axis.

    Frozen parameters stay frozen. What a member holds besides, such as functions and plain tensors, is taken from the
    first one for all of them.
    """

    def __init__(self, members: Sequence[nn.Module]):
        super().__init__()
        shapes = {tuple((name, t.shape, t.requires_grad) for name, t in _state(member).items()) for member in members}
        if len(shapes) != 1:
            raise ValueError(f"expected one or more members of one shape, got {len(members)} of {len(shapes)} shapes")
        parameters, buffers = torch.func.stack_module_state(list(members))
        order = {id(t): i for i, t in enumerate(chain(members[0].parameters(), members[0].buffers()))}
        self.places = {name: order[id(t)] for name, t in _state(members[0]).items()}
        self.stacked = nn.ParameterList(nn.Parameter(p, p.requires_grad) for p in parameters.values())
        for i, buffer in enumerate(buffers.values()):
            self.register_buffer(f"buffer{i}", buffer)
        self.train(members[0].training)
        # The skeleton only lends its forward; hidden from nn.Module so that its weights are nobody's parameters.
        self.__dict__["skeleton"] = copy.deepcopy(members[0])

    def _all(self) -> dict[str, Tensor]:
        tensors = [*self.stacked, *self.buffers()]
        return {name: tensors[i] for name, i in self.places.items()}

    @checked
    def forward(self, x: Num[Tensor, "members ..."]) -> Float[Tensor, "members ..."]:
        """Member k applied to x[k]."""
        if len(x) != len(self.stacked[0]):
            raise ValueError(f"expected one batch for each of {len(self.stacked[0])} members, got {len(x)}")
        if (skeleton := self.__dict__["skeleton"]).training != self.training:
            skeleton.train(self.training)
        call = partial(torch.func.functional_call, skeleton, tie_weights=False)
        with sdpa_kernel(SDPBackend.MATH):  # the fused kernels of attention know nothing of members
            return torch.vmap(lambda one, rows: call(one, (rows,)))(self._all(), x)

    @torch.no_grad()
    def members(self) -> list[nn.Module]:
        """Every member as a network of its own, with copies of its weights."""
        made = [copy.deepcopy(self.__dict__["skeleton"]).to(self.stacked[0].device) for _ in self.stacked[0]]
        for k, member in enumerate(made):
            own = _state(member)
            for name, stacked in self._all().items():
                own[name].copy_(stacked[k])
        return made


class Arm(NamedTuple):
    """One variant of a training run: its loss of (logits, labels), its networks, and a source of rows for each."""

    loss: Callable[[Tensor, Tensor], Tensor]
    members: Sequence[nn.Module]
    batches: Sequence[Callable[[int], Any]]


def _clipped(value: Tensor, parameters: Sequence[Tensor], clip: float) -> Tensor:
    """`value`, with a gradient that is scaled down to norm `clip` in every member by itself."""
    flat = lambda tensors: torch.cat([t.flatten(1) for t in tensors], 1)  # noqa: E731
    gradient = flat(torch.autograd.grad(value, parameters))
    scale = (clip / (gradient.norm(dim=1, keepdim=True) + 1e-6)).clamp(max=1.0)
    linear = (flat(parameters) * gradient * scale).sum()
    return value.detach() + linear - linear.detach()


def fit_arms(
    arms: Sequence[Arm],
    *,
    steps: int,
    lr: float,
    schedule: train.Schedule = train.constant,
    clip: float = math.inf,
    weight_decay: float = 0.0,
) -> Ensemble:
    """All members of all arms, in their order, trained side by side by AdamW; `clip` bounds each member's gradient.

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
        value = runs * torch.stack([arm.loss(f, y) for arm, f, y in parts]).sum()
        return value if clip == math.inf else _clipped(value, [p for p in net.parameters() if p.requires_grad], clip)

    train.fit(net, batch, loss, steps=steps, lr=lr, schedule=schedule, clip=math.inf, weight_decay=weight_decay)
    return net
