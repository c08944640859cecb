"""Class priors in the loss and at prediction: logit adjustment, its rivals, and how to measure a long tail.

The adjusted network fits f_y(x) = log p(x|y) + c(x), the pointwise mutual information up to a function of x. The post
writes the loss and the two decision rules; subtracting log Σ p(i) e^{f_i}, which turns f into the mutual information
itself, is ours. Priors are ordered by class id, never by frequency, and belong to the distribution that the batches are
drawn from: after resampling they are uniform. Axes: *b any batch axes, c classes. Post: https://spaces.ac.cn/archives/7615
Derived in the article logit-adjustment.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lib.checks import array, at_least, checked, positive
from lib.losses import IGNORE, check_labels, masked_ce


@checked
def class_counts(labels: Int[Tensor, "*b"], classes: int) -> Int[Tensor, " c"]:
    """How often each class id 0 ... classes − 1 occurs; -100 is not counted."""
    at_least(1, classes=classes)
    known = labels[labels != IGNORE]
    if known.numel() == 0 or int(known.min()) < 0 or int(known.max()) >= classes:
        raise ValueError(f"labels must lie in [0, {classes}) or be {IGNORE}, got {labels.unique().tolist()[:9]}")
    return torch.bincount(known.flatten().long(), minlength=classes)


@checked
def log_prior(counts: Int[Tensor, " c"] | Float[Tensor, " c"], *, smoothing: float | int = 0.0) -> Float[Tensor, " c"]:
    """log p(y) with p(y) = (n_y + s) / Σ (n_i + s), in float64 unless the counts are of another float type.

    A class without examples would get log-prior −∞ and an infinite post-hoc logit: it is refused; s > 0 admits it.
    """
    at_least(0, smoothing=smoothing, counts=counts)
    wide = counts if counts.is_floating_point() else counts.double()
    smooth = wide + smoothing
    if (empty := (smooth <= 0).nonzero().flatten().tolist()) or not smooth.sum().isfinite():
        raise ValueError(f"expected a count > 0 for every class, or smoothing > 0, got none for classes {empty[:9]}")
    return smooth.log() - smooth.sum().log()


@checked
def logit_adjusted_ce(
    logits: Float[Tensor, "*b c"], labels: Int[Tensor, "*b"], log_prior: Float[Tensor, " c"], tau: float | int = 1.0
) -> Float[Tensor, ""]:
    """Cross-entropy of softmax(f + τ log p): the mean of log[1 + Σ_{i≠y} (p(i)/p(y))^τ e^{f_i − f_y}]."""
    return masked_ce(logits + (tau * log_prior).to(logits.dtype), labels)


@checked
def posthoc(
    logits: Float[Tensor, "*b c"], log_prior: Float[Tensor, " c"], tau: float | int = 1.0
) -> Float[Tensor, "*b c"]:
    """f − τ log p, for logits trained by plain cross-entropy; with τ < 0 it puts the prior back."""
    return logits - (tau * log_prior).to(logits.dtype)


@checked
def pmi(logits: Float[Tensor, "*b c"], log_prior: Float[Tensor, " c"]) -> Float[Tensor, "*b c"]:
    """log p(x,y)/(p(x)p(y)) from adjusted logits: f_y − log Σ_i p(i) e^{f_i}.

    The softmax of the adjusted loss leaves c(x) free in f; this fixes it, being log softmax(f + log p) − log p.
    """
    prior = log_prior.to(logits.dtype)
    return (logits + prior).log_softmax(-1) - prior


@checked
def vs_loss(
    logits: Float[Tensor, "*b c"],
    labels: Int[Tensor, "*b"],
    delta: Float[Tensor, " c"],
    iota: Float[Tensor, " c"],
    weight: Float[Tensor, " c"] | None = None,
) -> Float[Tensor, ""]:
    """The vector-scaling loss of Kini et al. (arXiv:2103.01550): w_y · cross-entropy of softmax(Δ ⊙ f + ι), averaged.

    Δ = 1, ι = τ log p is logit adjustment; Δ = 1, ι = 0, w = 1/(c p) the weighted loss. The average is over rows, not
    over weights as in `torch.nn.CrossEntropyLoss(weight)`, so that a batch's loss estimates that of the whole data.
    """
    positive(**{f"delta[{i}]": d for i, d in enumerate(delta.tolist())})
    scaled = logits * delta.to(logits.dtype) + iota.to(logits.dtype)
    if weight is None:
        return masked_ce(scaled, labels)
    at_least(0, weight=weight)
    each = masked_ce(scaled, labels, reduction="none") * weight.to(logits.dtype)[labels.clamp(min=0).long()]
    return each.sum() / (labels != IGNORE).sum()


@checked
def long_tail_indices(
    labels: Int[Tensor, " n"], ratio: float | int, largest: int, *, seed: int
) -> tuple[Int[Tensor, " kept"], Int[Tensor, " c"]]:
    """Rows of a subset with exponentially falling class counts, and the class ids from the most to the least frequent.

    The class of rank k keeps round(largest · ratio^(−k/(c−1))) rows, one at least; the ranking is drawn at random.
    `ratio=1` draws a balanced subset.
    """
    at_least(1, ratio=ratio, largest=largest)
    generator = torch.Generator().manual_seed(seed)
    c = int(labels.max()) + 1
    order = torch.randperm(c, generator=generator)
    rows = []
    for rank, label in enumerate(order.tolist()):
        own = (labels == label).nonzero().flatten()
        keep = max(1, round(largest * ratio ** (-rank / max(c - 1, 1))))
        if len(own) < keep:
            raise ValueError(f"class {label} has {len(own)} rows, got a request for {keep}")
        rows.append(own[torch.randperm(len(own), generator=generator)[:keep]])
    return torch.cat(rows), order


@checked
def recalls(predicted: Int[Tensor, "*b"], labels: Int[Tensor, "*b"], classes: int) -> Float[Tensor, " c"]:
    """The share of right predictions within each class, in float64; NaN for a class without labels."""
    counts = class_counts(labels, classes)
    hits = torch.bincount(labels[(labels != IGNORE) & (predicted == labels)].flatten().long(), minlength=classes)
    return hits.double() / counts


@checked
def balanced_accuracy(logits: Float[Tensor, "*b c"], labels: Int[Tensor, "*b"]) -> float:
    """The mean recall of the classes that occur among the labels: accuracy if all classes were equally frequent."""
    check_labels(logits, labels)
    return recalls(logits.argmax(-1), labels, logits.shape[-1]).nanmean().item()


@checked
def prior_accuracy(logits: Float[Tensor, "*b c"], labels: Int[Tensor, "*b"], log_prior: Float[Tensor, " c"]) -> float:
    """Σ_y p(y) · recall of y: overall accuracy under the prior p, estimated on a test set with any class counts."""
    check_labels(logits, labels)
    each = recalls(logits.argmax(-1), labels, logits.shape[-1])
    array("recalls, one for each class of the prior,", each, "c")
    return float((log_prior.double().exp() * each).sum())
