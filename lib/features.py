"""Feature maps of linear attention: (q, k) to (φ(q), φ(k)), whose inner products stand in for e^{q·k}.

Queries and keys go in together because two of the maps take off what cancels in the quotient of one attention.
Axes: n queries, m keys, d channels. Post https://spaces.ac.cn/archives/7546; derived in the article linear-attention,
used in performer-to-linear-attention. Inputs that are empty, not finite or of different d raise ValueError.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from lib.checks import checked

Queries = Float[Tensor, "*b n d"]
Keys = Float[Tensor, "*b m d"]
FeatureMap = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@checked
def elu1(q: Queries, k: Keys) -> tuple[Tensor, Tensor]:
    """elu(x) + 1: x + 1 above zero, eˣ below."""
    return F.elu(q).add_(1), F.elu(k).add_(1)


@checked
def relu(q: Queries, k: Keys) -> tuple[Tensor, Tensor]:
    """max(x, 0)."""
    return F.relu(q), F.relu(k)


@checked
def exp(q: Queries, k: Keys) -> tuple[Tensor, Tensor]:
    """eˣ, less the maximum of each query row and of all keys of a head, both of which cancel in the quotient.

    The maximum over keys lets later keys change the rounding of earlier outputs: for causal use take `exp_causal`.
    """
    return (q - q.detach().amax(-1, keepdim=True)).exp(), (k - k.detach().amax((-2, -1), keepdim=True)).exp()


@checked
def exp_causal(q: Queries, k: Keys) -> tuple[Tensor, Tensor]:
    """eˣ with the maximum of each query row taken off; keys stay as they are and must stay below 88 in float32."""
    return (q - q.detach().amax(-1, keepdim=True)).exp(), k.exp()


@checked
def one_plus_cos(q: Queries, k: Keys) -> tuple[Tensor, Tensor]:
    """1 + cos(q, k): unit vectors, then a 1 as last feature, which `rotary(..., partial=True)` does not turn."""
    unit = lambda x: F.pad(F.normalize(x, dim=-1), (0, 1), value=1.0)  # noqa: E731
    return unit(q), unit(k)


@checked
def double_softmax(q: Queries, k: Keys) -> tuple[Tensor, Tensor]:
    """Softmax of a query over its features, of keys over their positions: weights that sum to 1 by themselves.

    Every key enters the features of every other, so there is no causal form, and a mask hides the key but not its
    share in those sums. With eᵏ in place of the softmax over positions it is `exp_causal`.
    """
    return q.softmax(-1), k.softmax(-2)


@checked
def taylor2(q: Queries, k: Keys) -> tuple[Tensor, Tensor]:
    """1 + s + s²/2 with s = q·k/√d, the Taylor polynomial of eˢ: at least 1/2; 1 + d + d² features."""

    def phi(x: Tensor) -> Tensor:
        x = x * x.shape[-1] ** -0.25
        squares = (x[..., :, None] * x[..., None, :]).flatten(-2) / 2**0.5
        return torch.cat([torch.ones_like(x[..., :1]), x, squares], -1)

    return phi(q), phi(k)


@checked
def identity(q: Queries, k: Keys) -> tuple[Tensor, Tensor]:
    """q · k itself: not a mean, since weights may be negative."""
    return q, k
