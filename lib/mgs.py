"""Updates as averages over random moves: exact ball and damped-Newton steps, MLE-guided search, REINFORCE, evolution.

Su's post weighs a move D of the parameters by p(D) ∝ exp(−(ℓ(θ + D) − ℓ(θ))/α) and takes its mean. Where the post's
weights e^{−Δ/α}/q have no target, `kind="prior"` multiplies p by N(0, σ²); ℓ(θ) cancels and is never evaluated.
Parameters are dicts of tensors; candidates stand in a leading axis n, as `torch.func.vmap` reads them.

Post: https://spaces.ac.cn/archives/7521. Article: task-loss-by-sampling. Axes: n candidates, d parameters, b outputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from lib.checks import array, at_least, checked, positive

Params = dict[str, Tensor]
LossFn = Callable[[Params], Tensor]
Kind = Literal["literal", "prior", "unit", "proposal"]


class Step(NamedTuple):
    """New parameters, and the loss and the weight of every candidate that led to them."""

    params: Params
    losses: Float[Tensor, " n"]
    weights: Float[Tensor, " n"]


def bessel_ratio(nu: float | int, c: float | int) -> float:
    """I_{ν+1}(c) / I_ν(c) by its continued fraction, closed by Amos's bound; relative error below 1e-8, no overflow."""
    at_least(0, nu=nu, c=c)
    if c == 0:
        return 0.0
    last = nu + 1000
    ratio = c / (last + 0.5 + math.hypot(c, last + 1.5))
    for k in range(1000, 0, -1):
        ratio = 1 / (2 * (nu + k) / c + ratio)
    return ratio


@checked
def ball_step(g: Float[Tensor, " d"], eps: float, alpha: float) -> Float[Tensor, " d"]:
    """The mean of p for a linear loss g·D on the ball |D| ≤ ε: −ε I_{d/2+1}(c)/I_{d/2}(c) g/|g| with c = ε|g|/α."""
    positive(eps=eps, alpha=alpha)
    size = float(g.norm())
    return -eps * bessel_ratio(len(g) / 2, eps * size / alpha) * g / max(size, torch.finfo(g.dtype).tiny)


@checked
def damped_newton(g: Float[Tensor, " d"], H: Float[Tensor, "d d"], alpha: float, s: float) -> Float[Tensor, " d"]:
    """The mean of p·N(0, s²) for the loss g·D + D·H·D/2: −(H + (α/s²) 1)⁻¹ g, a Levenberg-Marquardt step.

    s²/α → 0 is gradient descent with rate s²/α, s²/α → ∞ is Newton's step. H must be symmetric, and the damped
    matrix positive definite: otherwise the integral does not exist.
    """
    positive(alpha=alpha, s=s)
    if not torch.allclose(H, H.mT):
        raise ValueError(f"expected a symmetric H, got an asymmetry of {float((H - H.mT).abs().max()):.3g}")
    damped = H + alpha / s**2 * torch.eye(len(g), dtype=H.dtype, device=H.device)
    factor, failed = torch.linalg.cholesky_ex(damped)
    if failed:
        lowest = float(torch.linalg.eigvalsh(H)[0])
        raise ValueError(f"expected H > −α/s² = {-alpha / s**2:.3g}, got the lowest eigenvalue {lowest:.3g}")
    return -torch.cholesky_solve(g[:, None], factor)[:, 0]


def _tensors(name: str, params: Params, like: Params | None = None) -> None:
    if not params:
        raise ValueError(f"expected one or more tensors in {name}, got none")
    for key, value in params.items():
        array(f"{name}[{key!r}]", value, "...")
    if like is not None and any(key not in params or params[key].shape != like[key].shape for key in like):
        raise ValueError(f"expected {name} with the shapes of params, got {[tuple(v.shape) for v in params.values()]}")


def _losses(loss_fn: LossFn, params: Params, n: int) -> Tensor:
    losses = loss_fn(params)
    array("losses", losses, f"{n}")
    return losses.detach().double()


def surrogate_move(params: Params, surrogate: LossFn, *, lr: float, clip: float = 1.0) -> Params:
    """−lr ∇ℓ̃ for a differentiable loss ℓ̃ of the parameters, the gradient scaled down to norm `clip`."""
    _tensors("params", params)
    positive(lr=lr, clip=clip)
    leaves = {key: p.detach().requires_grad_() for key, p in params.items()}
    loss = surrogate(leaves)
    array("surrogate loss", loss, "")
    grads = torch.autograd.grad(loss, list(leaves.values()))
    size = float(sum(g.double().square().sum() for g in grads)) ** 0.5
    return {key: -lr * min(1.0, clip / max(size, 1e-300)) * g for key, g in zip(params, grads, strict=True)}


def noise(params: Params, n: int, *, sigma: float, generator: torch.Generator) -> Params:
    """`n` draws from N(0, σ²) in the shapes of `params`, stacked."""
    _tensors("params", params)
    at_least(1, n=n)
    positive(sigma=sigma)
    draw = lambda p: torch.randn((n, *p.shape), generator=generator, dtype=p.dtype, device=p.device)  # noqa: E731
    return {key: sigma * draw(p) for key, p in params.items()}


def propose(mean: Params, n: int, *, sigma: float, lam: float, generator: torch.Generator) -> Params:
    """`n` moves from λ N(0, σ²) + (1−λ) N(mean, σ²), stacked; `mean` is the surrogate's own step, −η∇ℓ̃.

    The components are drawn by systematic sampling: of four candidates with λ = 1/2 exactly two are guided.
    """
    if not 0 <= lam <= 1:
        raise ValueError(f"lam must lie in [0, 1], got {lam}")
    moves = noise(mean, n, sigma=sigma, generator=generator)
    device = next(iter(mean.values())).device
    steps = lam * torch.arange(n + 1, device=device) + torch.rand(1, generator=generator, device=device)
    guided = steps.floor().diff() == 0
    return {key: moves[key] + guided.view(-1, *[1] * m.ndim).to(m.dtype) * m for key, m in mean.items()}


@checked
def log_weights(
    losses: Float[Tensor, " n"], moves: Params, mean: Params, *, sigma: float, alpha: float, lam: float, kind: Kind
) -> Float[Tensor, " n"]:
    """Logarithms of the importance weights of the moves, up to one constant; ρ_s(D) = λ + (1−λ) e^{(D·m − |m|²/2)/s²}.

    literal: e^{−ℓ/α} / q, the post's: −ℓ/α + |D|²/(2σ²) − log ρ_σ. prior: with N(0, σ²) in the target the middle term
    goes. unit: the density of variance 1 whatever σ is, as the paper's code has it: −ℓ/α + |D|²/2 − log ρ_1.
    proposal: with q itself in the target, −ℓ/α is all that is left.
    """
    positive(sigma=sigma, alpha=alpha)
    if kind not in get_args(Kind) or not 0 <= lam <= 1:
        raise ValueError(f"expected kind in {get_args(Kind)} and lam in [0, 1], got {kind=}, {lam=}")
    _tensors("mean", mean)
    _tensors("moves", moves)
    if any(key not in moves or moves[key].shape != (len(losses), *m.shape) for key, m in mean.items()):
        raise ValueError(
            f"expected {len(losses)} moves for each tensor, got {[tuple(v.shape) for v in moves.values()]}"
        )
    if kind == "proposal":
        return -losses.double() / alpha
    total = lambda x: x.reshape(len(x), -1).sum(1, dtype=torch.float64)  # noqa: E731
    square = sum(total(moves[key] ** 2) for key in mean)
    along = sum(total(moves[key] * m - m**2 / 2) for key, m in mean.items())
    s = 1.0 if kind == "unit" else sigma
    shift = torch.as_tensor(along) / s**2
    mixture = torch.logaddexp(torch.full_like(shift, _log(lam)), _log(1 - lam) + shift)
    return -losses.double() / alpha + (0 if kind == "prior" else 1) * square / (2 * s**2) - mixture


def _log(x: float) -> float:
    return math.log(x) if x > 0 else -math.inf


@checked
def ess(logw: Float[Tensor, " n"]) -> float:
    """Effective sample size (Σw)² / Σw², between 1 and n."""
    return float(1 / logw.double().softmax(0).square().sum())


def mgs_step(
    params: Params,
    mean: Params,
    loss_fn: LossFn,
    *,
    n: int = 4,
    sigma: float,
    alpha: float,
    lam: float = 0.5,
    kind: Kind = "prior",
    generator: torch.Generator,
) -> Step:
    """One step of guided search: propose n moves, weigh them by their losses, move by their weighted mean.

    `loss_fn` maps stacked parameters to n losses and needs no gradient; `mean` is the move that the surrogate would
    make.
    """
    _tensors("params", params)
    _tensors("mean", mean, params)
    moves = propose(mean, n, sigma=sigma, lam=lam, generator=generator)
    losses = _losses(loss_fn, {key: p.detach() + moves[key] for key, p in params.items()}, n)
    weights = log_weights(losses, moves, mean, sigma=sigma, alpha=alpha, lam=lam, kind=kind).softmax(0)
    average = lambda key: torch.tensordot(weights.to(moves[key].dtype), moves[key], 1)  # noqa: E731
    return Step({key: p.detach() + average(key) for key, p in params.items()}, losses, weights)


def es_step(params: Params, loss_fn: LossFn, *, n: int, sigma: float, lr: float, generator: torch.Generator) -> Step:
    """A step −lr Σᵢ (ℓ(θ + Dᵢ) − ℓ(θ − Dᵢ)) Dᵢ / (nσ²) along n/2 antithetic pairs: evolution strategies."""
    positive(lr=lr)
    at_least(2, n=n)
    if n % 2:
        raise ValueError(f"antithetic pairs need an even n, got {n}")
    half = noise(params, n // 2, sigma=sigma, generator=generator)
    moves = {key: torch.cat([d, -d]) for key, d in half.items()}
    losses = _losses(loss_fn, {key: p.detach() + moves[key] for key, p in params.items()}, n)
    weights = -lr * losses / (n * sigma**2)
    average = lambda key: torch.tensordot(weights.to(moves[key].dtype), moves[key], 1)  # noqa: E731
    return Step({key: p.detach() + average(key) for key, p in params.items()}, losses, weights)


@checked
def reinforce_step(params: Params, log_prob: LossFn, losses: Float[Tensor, " b"], *, lr: float) -> Params:
    """A step −lr·mean((lossᵢ − baselineᵢ) ∇ log p(yᵢ)) for outputs y drawn from the model.

    The baseline is the mean loss of the other outputs; `log_prob` maps parameters to the b log-probabilities of the
    drawn outputs, differentiably.
    """
    positive(lr=lr)
    _tensors("params", params)
    b = len(losses)
    at_least(2, b=b)
    leaves = {key: p.detach().requires_grad_() for key, p in params.items()}
    log_p = log_prob(leaves)
    array("log_prob", log_p, f"{b}")
    gain = (losses - losses.mean()) / (b - 1)  # (lossᵢ − mean of the others) / b
    grads = torch.autograd.grad((gain.to(log_p) * log_p).sum(), list(leaves.values()))
    return {key: p.detach() - lr * g for (key, p), g in zip(params.items(), grads, strict=True)}
