"""Perturbations of a model's inputs and the penalties they amount to: noise, gradient penalty, FGM and VAT.

E D(f(x), f(x + e)) ≈ (s²/2) tr H for noise of variance s², and ≈ (ε²/2) λ₁ for the worst direction of length ε, where
H = ∇²D is, for the KL divergence, `lib.curvature.input_fisher`.
Post https://spaces.ac.cn/archives/7466, article noise-penalty-vat. Unlike the post's code, directions have length 1 for
each row, so ε does not depend on the batch; a whole table is one row, `table[None]`. Rows must not see each other, so
second derivatives are per row; only `vat_loss` and its power step also take batch normalisation.

Axes: b rows, d and ... the axes of one input, c classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lib.checks import at_least, checked, positive
from lib.losses import kl

Model = Callable[[Tensor], Tensor]
Divergence = Callable[[Tensor, Tensor], Tensor]


@checked
def unit(v: Float[Tensor, "b d ..."]) -> Float[Tensor, "b d ..."]:
    """Every row of v divided by its Euclidean norm over all its axes; a row of zeros stays zero."""
    flat = v.flatten(1)
    scale = flat.abs().amax(1, keepdim=True)
    flat = flat / scale.where(scale > 0, 1)  # squares of tiny gradients would underflow
    norm = flat.norm(dim=1, keepdim=True)
    return (flat / norm.where(norm > 0, 1)).view_as(v)


@checked
def random_directions(x: Float[Tensor, "b d ..."], *, generator: torch.Generator) -> Float[Tensor, "b d ..."]:
    """A uniformly random unit direction for every row of x."""
    return unit(torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device))


@contextmanager
def steady(model: Model) -> Iterator[None]:
    """Inside, `model` is a fixed function: dropout is off and batch normalisation records no statistics.

    Batch normalisation keeps its mode, so that a perturbed pass sees what the clean one saw. Flags are restored. What
    is not a module is left alone.
    """
    modules = [m for m in model.modules() if m.training] if isinstance(model, nn.Module) else []
    recording = [m for m in modules if getattr(m, "track_running_stats", False)]
    others = [m for m in modules if not hasattr(m, "track_running_stats")]
    try:
        for module in others:
            module.training = False
        for module in recording:  # in eval mode they keep their statistics anyway, and need them
            module.track_running_stats = False  # type: ignore[assignment]
        yield
    finally:
        for module in others:
            module.training = True
        for module in recording:
            module.track_running_stats = True  # type: ignore[assignment]


def _clean(model: Model, x: Tensor, logits: Tensor | None) -> Tensor:
    """The fixed target: the clean pass handed in, or one of our own; never differentiated."""
    if logits is not None:
        return logits.detach()
    with torch.no_grad(), steady(model):
        return model(x)


@checked
def noise_consistency(
    model: Model,
    x: Float[Tensor, "b d ..."],
    s: float,
    *,
    generator: torch.Generator,
    logits: Float[Tensor, "rows c"] | None = None,
    divergence: Divergence = kl,
) -> Float[Tensor, ""]:
    """Mean of D(f(x), f(x + e)) with independent Gaussian noise e of standard deviation s; f(x) is a fixed target.

    For small s it is (s²/2) tr H: half of s² times `gradient_penalty` of `hellinger` for KL. `logits` is the clean
    pass, if there is one.
    """
    positive(s=s)
    target = _clean(model, x, logits)
    noise = s * torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
    with steady(model):
        return divergence(target, model(x + noise)).mean()


@checked
def hellinger(logits: Float[Tensor, "*b c"]) -> Float[Tensor, "*b c"]:
    """2√p for p = softmax(logits): Σᵢ|∇2√pᵢ|² = Σᵢ pᵢ|∇log pᵢ|², so that the KL penalty is a plain one in 2√p."""
    return 2 * (logits.log_softmax(-1) / 2).exp()


@checked
def gradient_penalty(
    outputs: Float[Tensor, "b c"],
    x: Float[Tensor, "b d ..."],
    *,
    probes: int | None = None,
    generator: torch.Generator | None = None,
) -> Float[Tensor, " b"]:
    """Σᵢ |∇ₓ outputsᵢ|² of every row, differentiable; `outputs` were computed from x, which requires a gradient.

    Pass f(x) for the penalty of squared error and hellinger(logits) for that of KL. Exactly, one gradient per output;
    with `probes`, the unbiased estimate |∇ₓ Σᵢ ηᵢ outputsᵢ|² from random signs η, averaged over that many draws.
    """
    if not (x.requires_grad and outputs.requires_grad):
        got = f"x.requires_grad={x.requires_grad}, outputs.requires_grad={outputs.requires_grad}"
        raise ValueError(f"expected outputs computed from x after x.requires_grad_(), got {got}")
    if probes is None:
        weights = torch.eye(outputs.shape[1], dtype=x.dtype, device=x.device)[:, None]
    else:
        at_least(1, probes=probes)
        if generator is None:
            raise ValueError(f"expected a generator for random signs, got None with {probes=}")
        shape = (probes, *outputs.shape)
        weights = torch.randint(2, shape, generator=generator, device=x.device).to(x.dtype) * 2 - 1
    total = x.new_zeros(len(x))
    for weight in weights:
        g = torch.autograd.grad(outputs, x, weight.expand_as(outputs), create_graph=True, allow_unused=True)[0]
        if g is None:
            raise ValueError("expected outputs computed from x, got outputs of which no gradient reaches x")
        total = total + g.flatten(1).square().sum(1)
    return total / (probes or 1)


@checked
def fgm(loss: Model, x: Float[Tensor, "b d ..."], eps: float) -> Float[Tensor, "b d ..."]:
    """The perturbation ε ∇ₓloss/|∇ₓloss| of every row; `loss` maps inputs to one number, or one for each row.

    loss(x + fgm) ≈ loss(x) + ε|∇ₓloss|. The post's form divides by the norm of the whole batch; pass x[None] for it.
    """
    positive(eps=eps)
    leaf = x.detach().requires_grad_()
    with torch.enable_grad():
        return eps * unit(torch.autograd.grad(loss(leaf).sum(), leaf)[0])


@checked
def lds_direction(
    model: Model,
    x: Float[Tensor, "b d ..."],
    *,
    generator: torch.Generator,
    logits: Float[Tensor, "rows c"] | None = None,
    divergence: Divergence = kl,
    xi: float = 1e-2,
    iters: int = 1,
) -> Float[Tensor, "b d ..."]:
    """Unit directions in which D(f(x), f(x + r)) grows fastest: `iters` power steps u ← Hu/|Hu| from a random start.

    Hu is the finite difference ∇ᵣD(f(x), f(x + r))/ξ at r = ξu, for r alone and not for weights; iters=0 is plain
    noise. `logits` is the clean pass, in the mode of `steady`. A row whose gradient vanishes keeps its direction.
    """
    positive(xi=xi)
    at_least(0, iters=iters)
    target, u, x = _clean(model, x, logits), random_directions(x, generator=generator), x.detach()
    with steady(model), torch.enable_grad():
        for _ in range(iters):
            r = (xi * u).requires_grad_()
            step = unit(torch.autograd.grad(divergence(target, model(x + r)).sum(), r)[0])
            lost = (step == 0).flatten(1).all(1).view(-1, *[1] * (x.ndim - 1))
            u = u.where(lost, step)
    return u


@checked
def vat_loss(
    model: Model,
    x: Float[Tensor, "b d ..."],
    eps: float,
    *,
    generator: torch.Generator,
    logits: Float[Tensor, "rows c"] | None = None,
    divergence: Divergence = kl,
    xi: float = 1e-2,
    iters: int = 1,
) -> Float[Tensor, ""]:
    """Virtual adversarial loss: the mean of D(f(x), f(x + εu)) with u from `lds_direction`, f(x) a fixed target.

    No label is needed. With `logits`, the clean pass that the supervised loss needs anyway, a training step costs 8
    forward passes where a plain one costs 3 (backward counted as 2). iters=0 is noise of length ε.
    """
    positive(eps=eps)
    with steady(model):
        target = _clean(model, x, logits)
        u = lds_direction(model, x, generator=generator, logits=target, divergence=divergence, xi=xi, iters=iters)
        return divergence(target, model(x + eps * u)).mean()
