"""The training loop, shuffled minibatches, and token masking for masked language models.

Used in every article that trains. Axes: b batch, n positions, c classes. Nothing here touches torch's global generator.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from lib.checks import at_least, checked
from lib.losses import IGNORE, check_labels

Schedule = Callable[[int, int], float]


@dataclass(frozen=True)
class History:
    """What a training run leaves behind: the loss of every step and the CPU seconds spent."""

    loss: list[float] = field(default_factory=list)
    seconds: float = 0.0


@checked
def one_cycle(step: int, steps: int, *, warm: float = 0.3, start: float = 25.0, end: float = 1e4) -> float:
    """Learning rate factor: cosine from 1/start up to 1 over the first `warm` of the run, then down to 1/(start·end).

    The curve of `torch.optim.lr_scheduler.OneCycleLR`, without its change of momentum.
    """
    at_least(1, steps=steps)
    at_least(0, step=step)
    peak, last = warm * steps - 1, steps - 1
    if step <= peak:
        low, high, part = 1 / start, 1.0, step / max(peak, 1e-12)
    else:
        low, high, part = 1.0, 1 / (start * end), (step - peak) / max(last - peak, 1e-12)
    return high + (low - high) * (1 + math.cos(math.pi * min(part, 1.0))) / 2


@checked
def constant(step: int, steps: int) -> float:
    """Learning rate factor 1 throughout."""
    return 1.0


@checked
def fit(
    model: nn.Module,
    batch: Callable[[int], Any],
    loss: Callable[[Any, Any], Tensor],
    *,
    steps: int,
    lr: float,
    schedule: Schedule = one_cycle,
    clip: float = 1.0,
    weight_decay: float = 0.0,
    callback: Callable[[int, float], None] | None = None,
) -> History:
    """Train `model` in place by Adam on `loss(model, batch(step))`, a scalar, for step = 0 ... steps−1.

    The rate of a step is `lr · schedule(step, steps)`; gradients are scaled down to norm `clip` (`math.inf`: never);
    `weight_decay` is decoupled (AdamW). Only parameters that require a gradient move. Every module's train/eval flag
    is as it was afterwards. A loss or gradient that is not finite raises `FloatingPointError` before the update.
    `callback(step, loss)` runs after each update.
    """
    if steps < 1 or not lr > 0 or not clip > 0 or weight_decay < 0:
        raise ValueError(
            f"expected steps >= 1, lr > 0, clip > 0, weight_decay >= 0, got {steps=}, {lr=}, {clip=}, {weight_decay=}"
        )
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise ValueError("expected a model with at least one parameter that requires a gradient, got none")
    optimizer = torch.optim.AdamW(parameters, lr=lr, weight_decay=weight_decay, fused=True)
    flags = {module: module.training for module in model.modules()}
    model.train()
    losses: list[float] = []
    begin = time.process_time()
    try:
        for step in range(steps):
            optimizer.param_groups[0]["lr"] = lr * schedule(step, steps)
            value = loss(model, batch(step))
            if value.numel() != 1:
                raise ValueError(f"the loss must be a scalar, got shape {tuple(value.shape)}")
            losses.append(value.item())
            if not math.isfinite(losses[-1]):
                raise FloatingPointError(f"the loss became {losses[-1]} at step {step} of {steps} (lr {lr})")
            optimizer.zero_grad()
            value.backward()
            if not torch.nn.utils.clip_grad_norm_(parameters, clip).isfinite():
                raise FloatingPointError(f"the gradient is not finite at step {step} of {steps} (lr {lr})")
            optimizer.step()
            if callback is not None:
                callback(step, losses[-1])
    finally:
        for module, flag in flags.items():
            module.training = flag
        optimizer.zero_grad()
    return History(losses, time.process_time() - begin)


@checked
def minibatches(*data: Tensor, size: int, seed: int) -> Callable[[int], tuple[Tensor, ...]]:
    """`batch(step)`: rows of every tensor in `data`, the same rows in each, in shuffled epochs.

    A pure function of (seed, step). Each epoch is a new permutation; its incomplete last batch is left out.
    """
    lengths = [len(part) for part in data]
    if not data or len(set(lengths)) > 1:
        raise ValueError(f"expected one or more tensors with equally many rows, got rows {lengths}")
    if not 1 <= size <= lengths[0]:
        raise ValueError(f"size must lie in [1, {lengths[0]}], the number of rows, got {size}")
    per_epoch = lengths[0] // size

    @lru_cache(maxsize=1)
    def order(epoch: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
        return torch.randperm(lengths[0], generator=generator)

    def batch(step: int) -> tuple[Tensor, ...]:
        epoch, at = divmod(step, per_epoch)
        rows = order(epoch)[at * size : (at + 1) * size]
        return tuple(part[rows.to(part.device)] for part in data)

    return batch


@checked
def mask_tokens(
    ids: Int[Tensor, "*b"],
    *,
    rate: float,
    mask_id: int,
    vocab: int | range,
    generator: torch.Generator,
    random: float = 0.1,
    keep: float = 0.1,
    special: Sequence[int] = (),
) -> tuple[Int[Tensor, "*b"], Int[Tensor, "*b"]]:
    """(inputs, labels) for masked language modelling: labels are the ids at the chosen positions, -100 elsewhere.

    Every position whose id is not in `special` is chosen with probability `rate`. Of the chosen, a share `keep` stays,
    a share `random` becomes an id drawn from `vocab` (a count or a range), the rest becomes `mask_id`: BERT's
    80/10/10. Plain masking is `random=0, keep=0`. `generator` lives on the device of `ids`.
    """
    if not 0 < rate <= 1 or random < 0 or keep < 0 or random + keep > 1:
        raise ValueError(f"expected 0 < rate <= 1 and shares with random + keep <= 1, got {rate=}, {random=}, {keep=}")
    symbols = range(vocab) if isinstance(vocab, int) else vocab
    if len(symbols) == 0 or symbols.step != 1:
        raise ValueError(f"vocab must be a positive count or a range of step 1, got {vocab!r}")
    draw = lambda: torch.rand(ids.shape, generator=generator, device=ids.device)  # noqa: E731
    chosen = draw() < rate
    for token in special:
        chosen &= ids != token
    action = draw()
    other = torch.randint(
        symbols.start, symbols.stop, ids.shape, generator=generator, device=ids.device, dtype=ids.dtype
    )
    inputs = torch.where(chosen & (action >= keep), mask_id, ids)
    inputs = torch.where(chosen & (action >= keep) & (action < keep + random), other, inputs)
    return inputs, torch.where(chosen, ids, IGNORE)


@checked
def accuracy(logits: Float[Tensor, "*b c"], labels: Int[Tensor, "*b"]) -> float:
    """Share of positions with the right argmax among those whose label is not -100."""
    check_labels(logits, labels)
    known: Bool[Tensor, "*b"] = labels != IGNORE
    return (logits.argmax(-1) == labels)[known].double().mean().item()
