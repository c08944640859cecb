"""Losses as functions of (logits, targets); label -100 means "no target here".

A loss without any label to judge, labels that are no class and logits that are not finite raise ValueError; inside
`train.fit`, which watches the loss itself, logits are not scanned. Axes: *b any batch axes, c classes.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from lib.checks import checked, is_opaque, positive

IGNORE = -100
Reduction = Literal["mean", "sum", "none"]


@checked
def check_labels(logits: Float[Tensor, "*b c"], labels: Int[Tensor, "*b"]) -> None:
    """Raise unless every label is a class or -100, and at least one of them is a class."""
    c = logits.shape[-1]
    if labels.numel() and is_opaque(labels):
        return
    if labels.numel() == 0 or bool((labels == IGNORE).all()):
        raise ValueError(f"expected at least one label other than {IGNORE}, got {labels.numel()} labels without any")
    if bool(((labels != IGNORE) & ((labels < 0) | (labels >= c))).any()):
        raise ValueError(
            f"labels must lie in [0, {c}) or be {IGNORE}, got {labels.min().item()}..{labels.max().item()}"
        )


@checked
def masked_ce(
    logits: Float[Tensor, "*b c"], labels: Int[Tensor, "*b"], reduction: Reduction = "mean"
) -> Float[Tensor, ""] | Float[Tensor, "*b"]:
    """Cross-entropy −log softmax(logits)[label] in nats over the positions whose label is not -100.

    `mean` divides by their number; `none` keeps the shape of the labels, with 0 where the label is -100. Half
    precision logits are summed in float32.
    """
    check_labels(logits, labels)
    wide = logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits
    flat = F.cross_entropy(wide.flatten(0, -2), labels.flatten().long(), ignore_index=IGNORE, reduction=reduction)
    return flat.unflatten(0, labels.shape) if reduction == "none" else flat


@checked
def kl(
    reference: Float[Tensor, "*b c"], logits: Float[Tensor, "*b c"], temperature: float = 1.0
) -> Float[Tensor, "*b"]:
    """KL(p‖q) in nats with p = softmax(reference / T), q = softmax(logits / T): one value per row.

    Differentiable in both arguments; detach `reference` where it is a fixed target. Distillation multiplies by T².
    """
    positive(temperature=temperature)
    p, q = (F.log_softmax(part / temperature, dim=-1) for part in (reference, logits))
    return (p.exp() * (p - q)).sum(-1)
