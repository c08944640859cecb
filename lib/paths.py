"""Paths from a reference x̄ to an input x, along which `lib.attribution` integrates gradients.

A path maps (x, x̄, α) to points, with α from 0 to 1 broadcast against the rows; its ends are its own affair. Post
https://spaces.ac.cn/archives/7533, article integrated-gradients.

Axes: b batch, d features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from lib.checks import array, at_least, checked

Points = Float[Tensor, "..."]
Path = Callable[[Tensor, Tensor, Tensor], Tensor]


@checked
def line(x: Points, baseline: Points, alpha: Points) -> Points:
    """The straight line x̄ + α(x − x̄)."""
    return baseline + alpha * (x - baseline)


@checked
def axis_path(order: Sequence[int]) -> Path:
    """Features of (b, d) inputs move from x̄ to x one after the other, in the given order (kinks at k/d)."""
    if not len(order) or sorted(order) != list(range(len(order))):
        raise ValueError(f"expected an order of the features 0, 1, ..., got {list(order)}")
    rank = torch.argsort(torch.as_tensor(order))

    def path(x: Tensor, baseline: Tensor, alpha: Tensor) -> Tensor:
        if x.shape[-1] != len(rank):
            raise ValueError(f"the order names {len(rank)} features, the input has {x.shape[-1]}")
        return line(x, baseline, (alpha * len(rank) - rank.to(x.device)).clamp(0, 1))

    return path


@checked
def blur_path(side: int, time: float = 8.0) -> Path:
    """Square images (b, side²) sharpen from their heat-diffused form, at `time` in pixels², to themselves.

    The reference is ignored: a blur path starts at the blurred input.
    """
    at_least(1, side=side)
    at_least(0, time=time)
    j, grid = torch.arange(side, dtype=torch.float64), (torch.arange(side, dtype=torch.float64) + 0.5) / side
    basis = torch.cos(torch.pi * j[:, None] * grid) * ((2 - (j == 0).double()) / side).sqrt()[:, None]
    decay = (torch.pi * j / side) ** 2 / 2  # heat kernel of variance `time` on the cosine modes

    def path(x: Tensor, baseline: Tensor, alpha: Tensor) -> Tensor:
        array("x", x, f"*b {side * side}", scan=False)
        C, lam = basis.to(x), (decay[:, None] + decay).to(x)
        image = x.unflatten(-1, (side, side))
        modes = C @ image @ C.mT * torch.exp(-lam * time * (1 - alpha[..., None]))
        return (C.mT @ modes @ C).flatten(-2)

    return path
