"""The 8x8 handwritten digits that scikit-learn ships (1797 images, 10 classes), scaled and split.

Used wherever an article needs small images.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor


class Digits(NamedTuple):
    """Training and test images, pixels in [0, 1], flattened row by row."""

    X: Float[Tensor, "train 64"]
    y: Int[Tensor, " train"]
    X_test: Float[Tensor, "test 64"]
    y_test: Int[Tensor, " test"]


def digits(train: int = 1200, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> Digits:
    """A random split of the digits into `train` training images, 10 at least, and the rest, one at least."""
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    if not 10 <= train < len(X):
        raise ValueError(f"train must lie in [10, {len(X)}), got {train}")
    order = np.random.default_rng(seed).permutation(len(X))
    images, labels = torch.tensor(X[order] / 16, dtype=dtype), torch.tensor(y[order], dtype=torch.int64)
    return Digits(images[:train], labels[:train], images[train:], labels[train:])
