"""Normalisation that depends on a condition: one network that is modulated by a vector per example.

RMSNorm and LayerNorm are torch's own. Axes: b batch, n positions, d channels, c condition.
Post: https://spaces.ac.cn/archives/7124.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from jaxtyping import Float
from torch import Tensor, nn

from lib.checks import at_least, checked


class ConditionalLayerNorm(nn.LayerNorm):
    """LayerNorm whose gain and shift are moved by linear maps of a condition: (γ + A c) x̂ + (β + B c).

    A and B start at 0, so that a trained LayerNorm put in its place changes nothing before training. The condition is
    given for the time of a `with conditioned(model, c):`, which works for any model that holds such norms.
    """

    def __init__(self, d: int, condition: int, eps: float = 1e-5):
        at_least(1, d=d, condition=condition)
        super().__init__(d, eps)
        self.gain, self.shift = (nn.Linear(condition, d, bias=False) for _ in range(2))
        for linear in (self.gain, self.shift):
            nn.init.zeros_(linear.weight)
        self.condition: Tensor | None = None

    def forward(self, x: Float[Tensor, "b *n d"]) -> Float[Tensor, "b *n d"]:
        if self.condition is None:
            raise ValueError("expected a condition: call the model inside `with conditioned(model, c):`, got none")
        if len(self.condition) != len(x):
            raise ValueError(f"expected one condition per example, got {len(self.condition)} for {len(x)} examples")
        gain, shift = (f(self.condition)[(slice(None), *(None,) * (x.ndim - 2))] for f in (self.gain, self.shift))
        plain = nn.functional.layer_norm(x, self.normalized_shape, eps=self.eps)
        return plain * (self.weight + gain) + self.bias + shift


@contextmanager
@checked
def conditioned(model: nn.Module, condition: Float[Tensor, "b c"]) -> Iterator[nn.Module]:
    """Give every `ConditionalLayerNorm` of the model this condition, one row per example, inside the block."""
    norms = [module for module in model.modules() if isinstance(module, ConditionalLayerNorm)]
    if not norms:
        raise ValueError(f"expected at least one ConditionalLayerNorm, got none in {type(model).__name__}")
    if {norm.gain.in_features for norm in norms} != {condition.shape[-1]}:
        raise ValueError(f"expected {norms[0].gain.in_features} numbers per condition, got {condition.shape[-1]}")
    before = [norm.condition for norm in norms]
    for norm in norms:
        norm.condition = condition
    try:
        yield model
    finally:
        for norm, old in zip(norms, before, strict=True):
            norm.condition = old
