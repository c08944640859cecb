"""Small feed-forward and convolutional networks that articles train in seconds.

Used in the articles gelu-approximations and integrated-gradients. Axes: b batch, n positions, d channels, c classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lib.checks import checked, indices


def mlp(
    sizes: Sequence[int],
    activation: Callable[[], nn.Module] = nn.GELU,
    *,
    bias: bool = True,
    dtype: torch.dtype = torch.float32,
    seed: int | None = None,
) -> nn.Sequential:
    """A multilayer perceptron `sizes[0] -> ... -> sizes[-1]` with the activation between the linear layers.

    With `seed` the initial weights do not depend on torch's global generator, which is left as it was.
    """
    if len(sizes) < 2 or min(sizes) < 1:
        raise ValueError(f"sizes must be at least two positive integers, got {list(sizes)}")
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.default_generator.manual_seed(seed)
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise(sizes):
            layers += [nn.Linear(fan_in, fan_out, bias=bias, dtype=dtype), activation()]
    return nn.Sequential(*layers[:-1])


class TextCNN(nn.Module):
    """Class logits from token embeddings: one convolution, GELU, maximum over positions, one linear layer."""

    def __init__(self, vocab: int, classes: int, d: int = 32, filters: int = 64, width: int = 3, *, seed: int = 0):
        super().__init__()
        if min(vocab, classes, d, filters, width) < 1 or width % 2 == 0:
            got = f"{vocab=}, {classes=}, {d=}, {filters=}, {width=}"
            raise ValueError(f"expected positive sizes and an odd width, got {got}")
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.embed = nn.Embedding(vocab, d, padding_idx=0)
            self.conv = nn.Conv1d(d, filters, width, padding=width // 2)
            self.head = nn.Linear(filters, classes)

    @checked
    def from_embeddings(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b c"]:
        """Logits from embedded tokens: the part of the network that attribution differentiates."""
        return self.head(nn.functional.gelu(self.conv(x.mT)).amax(-1))

    @checked
    def forward(self, ids: Int[Tensor, "b n"]) -> Float[Tensor, "b c"]:
        """Logits from token ids; id 0 is padding and embeds to zero."""
        indices("ids", ids, self.embed.num_embeddings)
        return self.from_embeddings(self.embed(ids))
