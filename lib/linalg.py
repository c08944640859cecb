"""Effective rank and other measures of how many directions a matrix really uses.

Used by `performer-to-linear-attention` (https://spaces.ac.cn/archives/8338) to compare attention matrices.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def spectrum(A: Float[Tensor, "*b n m"]) -> Float[Tensor, "*b k"]:
    """Singular values in descending order, divided by their sum; computed in float64."""
    if 0 in A.shape[-2:]:
        raise ValueError(f"expected a non-empty matrix, got shape {tuple(A.shape)}")
    if not torch.isfinite(A).all():
        raise ValueError("expected finite entries, got NaN or infinity")
    values = torch.linalg.svdvals(A.double())
    total = values.sum(-1, keepdim=True)
    if (total == 0).any():
        raise ValueError("expected a matrix that is not zero: its singular values have no distribution")
    return values / total


def effective_rank(A: Float[Tensor, "*b n m"]) -> Float[Tensor, "*b"]:
    """exp(−Σ p_i log p_i) with p the singular values divided by their sum (Roy and Vetterli 2007).

    Between 1 and the rank; equal to the rank exactly when all non-zero singular values agree. Unlike the rank it moves
    continuously and does not depend on a threshold.
    """
    return torch.special.entr(spectrum(A)).sum(-1).exp()


def numerical_rank(A: Float[Tensor, "*b n m"], rel: float = 1e-12) -> Tensor:
    """The number of singular values above `rel` times the largest."""
    if not 0 < rel < 1:
        raise ValueError(f"rel must lie in (0, 1), got {rel}")
    p = spectrum(A)
    return (p > rel * p[..., :1]).sum(-1)
