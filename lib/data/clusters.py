"""Two classes that no line separates: a rare class in two clusters, one of them behind the other class.

Logistic regression is misspecified here, and at threshold 1/2 it hardly ever says "rare". Axes: b points.
Article: task-loss-by-sampling.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lib.checks import at_least


class Clusters(NamedTuple):
    """Points in the plane and whether they belong to the rare class."""

    X: Float[Tensor, "b 2"]
    y: Bool[Tensor, " b"]


def clusters(count: int, *, share: float = 0.12, seed: int) -> Clusters:
    """Common: N(0, 0.9²). Rare, with probability `share`: N((1.6, 0.4), 0.6²) thrice as often as N((−3, 3), 0.6²)."""
    at_least(1, count=count)
    if not 0 < share < 1:
        raise ValueError(f"share must lie in (0, 1), got {share}")
    generator = torch.Generator().manual_seed(seed)
    y, far = (torch.rand(count, generator=generator) < p for p in (share, 0.25))
    z = torch.randn(count, 2, generator=generator)
    centre = torch.where(far[:, None], torch.tensor([-3.0, 3.0]), torch.tensor([1.6, 0.4]))
    return Clusters(torch.where(y[:, None], centre + 0.6 * z, 0.9 * z), y)
