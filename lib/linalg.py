"""Effective rank and other measures of how many directions a matrix really uses.

Used by `performer-to-linear-attention` (https://spaces.ac.cn/archives/8338) to compare attention matrices. A matrix
that is empty, not finite or zero raises ValueError.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from lib.checks import checked


@checked
def spectrum(A: Float[Tensor, "*b n m"]) -> Float[Tensor, "*b k"]:
    """Singular values in descending order, divided by their sum; computed in float64."""
    values = torch.linalg.svdvals(A.double())
    total = values.sum(-1, keepdim=True)
    if (total == 0).any():
        raise ValueError("expected matrices that are not zero, got one whose singular values have no distribution")
    return values / total


@checked
def effective_rank(A: Float[Tensor, "*b n m"]) -> Float[Tensor, "*b"]:
    """exp(−Σ p_i log p_i) with p the singular values divided by their sum (Roy and Vetterli 2007).

    Between 1 and the rank; equal to the rank exactly when all non-zero singular values agree. Unlike the rank it moves
    continuously and does not depend on a threshold.
    """
    return torch.special.entr(spectrum(A)).sum(-1).exp()


@checked
def numerical_rank(A: Float[Tensor, "*b n m"], rel: float = 1e-12) -> Tensor:
    """The number of singular values above `rel` times the largest."""
    if not 0 < rel < 1:
        raise ValueError(f"rel must lie in (0, 1), got {rel}")
    p = spectrum(A)
    return (p > rel * p[..., :1]).sum(-1)
