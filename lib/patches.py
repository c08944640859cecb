"""A small vision transformer: an image is cut into square patches, and the patches are the tokens.

Positions are whatever `position` does to queries and keys (see `lib.rope2d`), so that one set of weights reads images
of any size; with `max_len` in the configuration there is a learned table instead, read in the order of flattening.

Axes: b batch, k colour channels, n patches, d channels, c classes.
Used in the article rope-2d (https://spaces.ac.cn/archives/8397).
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from lib.attention import Position
from lib.checks import at_least, checked
from lib.networks import mlp
from lib.train import accuracy
from lib.transformer import Config, encoder


@checked
def patches(images: Float[Tensor, "b k height width"], size: int) -> Float[Tensor, "b n pixels"]:
    """The size × size squares of an image, row by row: (b, n, k·size²)."""
    at_least(1, size=size)
    if images.shape[-2] % size or images.shape[-1] % size:
        raise ValueError(f"expected sides that are multiples of {size}, got {tuple(images.shape[-2:])}")
    cut = images.unflatten(-1, (-1, size)).unflatten(-3, (-1, size))  # (b, k, rows, size, columns, size)
    return cut.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


class PatchClassifier(nn.Module):
    """Class logits of images: patches, a linear map, the encoder's blocks, the mean over patches, a linear map."""

    def __init__(
        self,
        config: Config,
        classes: int,
        *,
        size: int,
        colours: int = 1,
        position: Position | None = None,
        seed: int = 0,
    ):
        super().__init__()
        at_least(1, classes=classes, size=size, colours=colours)
        self.size = size
        self.embed = mlp((colours * size**2, config.d), seed=seed)
        self.encoder = encoder(config, position=position, seed=seed)
        self.encoder.embed.token.requires_grad_(False)  # patches are no tokens
        self.head = mlp((config.d, classes), seed=seed + 1)

    @checked
    def forward(self, images: Float[Tensor, "b k height width"]) -> Float[Tensor, "b c"]:
        hidden = self.encoder.from_embeddings(self.embed(patches(images, self.size)))
        return self.head(hidden.mean(-2))


@checked
@torch.no_grad()
def resized_accuracy(
    model: PatchClassifier,
    images: Float[Tensor, "b k height width"],
    labels: Int[Tensor, " b"],
    side: int,
    *,
    batch: int = 256,
) -> float:
    """Accuracy on images brought to `side` × `side` pixels, bilinearly; the positions must fit that many patches."""
    at_least(1, side=side, batch=batch)
    enlarged = (F.interpolate(part, size=(side, side), mode="bilinear") for part in images.split(batch))
    return accuracy(torch.cat([model(part) for part in enlarged]), labels)
