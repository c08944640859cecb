"""Integrated gradients along any path, with the completeness error of every attribution; deletion curves.

A_i = ∫₀¹ ∂_i F(γ(α)) γ_i′(α) dα, so that Σ_i A_i = F(γ(1)) − F(γ(0)); on the straight line from x̄ to x this is
(x − x̄)_i times the average gradient. Post https://spaces.ac.cn/archives/7533, article integrated-gradients.
Signs: the post explains F(x̄) − F(x) and takes absolute values; we keep the sign and explain F(x) − F(x̄).

Axes: b batch, k nodes of the quadrature, n tokens, d channels, c classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lib import quadrature
from lib.checks import array, at_least, broadcastable, checked, indices
from lib.paths import Path, axis_path, blur_path, line

__all__ = [
    "Attribution", "axis_path", "blur_path", "deletion_curve", "exact_relu", "gradient", "integrand",
    "integrated_gradients", "kinks", "line", "log_odds", "token_scores",
]  # fmt: skip

Nodes = tuple[np.ndarray, np.ndarray]


class Attribution(NamedTuple):
    """An attribution of F(x) − F(x̄) and what it takes to judge it."""

    attribution: Float[Tensor, "b ..."]
    error: Float[Tensor, " b"]  # Σ attribution − (end − start): zero for the exact integral
    start: Float[Tensor, " b"]  # F at the reference
    end: Float[Tensor, " b"]  # F at the input
    steps: Int[Tensor, " b"]  # points of the rule that was kept
    gradients: Int[Tensor, " b"]  # gradients computed in all, earlier rounds of `tol` included


@checked
def log_odds(logits: Float[Tensor, "b c"]) -> Float[Tensor, "b c"]:
    """The margin of every class, log p/(1 − p) = z_c − log Σ_{j≠c} e^{z_j}: unlike p it does not saturate."""
    if logits.shape[-1] < 2:
        raise ValueError(f"log-odds need at least two classes, got {logits.shape[-1]}")
    own = torch.eye(logits.shape[-1], dtype=torch.bool, device=logits.device)
    return logits - logits[:, None, :].masked_fill(own, -torch.inf).logsumexp(-1)


def _call(f: Callable[[Tensor], Tensor], points: Tensor, target: Tensor | None) -> Tensor:
    """F at `points`, one number per row; `target` picks a class where f returns several."""
    out = f(points)
    if target is not None and out.ndim == 2:
        indices("target", target, out.shape[1])
        out = out.gather(1, target[:, None])[:, 0]
    if out.shape != points.shape[:1]:
        raise ValueError(f"f must give one number per row ({len(points)},), got shape {tuple(out.shape)}; pass target=")
    return out


@checked
def gradient(
    f: Callable[[Tensor], Tensor], x: Float[Tensor, "b ..."], *, target: Int[Tensor, " b"] | None = None
) -> Float[Tensor, "b ..."]:
    """∇F at every row of x."""
    leaf = x.detach().requires_grad_()
    with torch.enable_grad():
        return torch.autograd.grad(_call(f, leaf, target).sum(), leaf)[0]


def _integrate(
    f: Callable, x: Tensor, base: Tensor, target: Tensor | None, rule: Nodes, batch: int | None, path: Path
) -> Tensor:
    """Σ_k w_k ∇F(γ(α_k)) γ′(α_k), at most `batch` rows at a time."""
    nodes, weights = (torch.tensor(v, dtype=x.dtype, device=x.device) for v in rule)
    batch = batch or len(x) * len(nodes)
    total = torch.zeros_like(x)
    for rows in torch.arange(len(x)).split(batch):
        i = slice(int(rows[0]), int(rows[-1]) + 1)
        per_call = max(1, batch // len(rows))
        for a, w in zip(nodes.split(per_call), weights.split(per_call), strict=True):
            alpha = a.view(-1, *[1] * x.ndim)
            points: Any
            velocity = None
            if path is line:
                points = line(x[i], base[i], alpha)
            else:
                points, velocity = torch.autograd.functional.jvp(
                    lambda t, i=i: path(x[i], base[i], t), (alpha,), (torch.ones_like(alpha),)
                )
            label = None if target is None else target[i].repeat(len(a))
            grad = gradient(f, points.flatten(0, 1), target=label).view_as(points)
            grad = grad if velocity is None else grad * velocity
            total[i] += torch.tensordot(w, grad, dims=1)
    return total * (x - base) if path is line else total


@checked
def integrated_gradients(
    f: Callable[[Tensor], Tensor],
    x: Float[Tensor, "b ..."],
    baseline: Float[Tensor, " ..."],
    *,
    target: Int[Tensor, " b"] | None = None,
    rule: str | Nodes = "gauss",
    n: int = 32,
    batch: int | None = None,
    tol: float | None = None,
    cap: int = 1024,
    path: Path | None = None,
) -> Attribution:
    """Attribution of F(x) − F(x̄) to the entries of x, with the error of its sum.

    `f` maps rows to one number each, or to class scores of which `target` picks one per row. `batch` bounds the rows
    of one call of f. With `tol` the n points are doubled for the rows whose error still exceeds it, up to `cap`;
    a row that never gets there keeps its error. `rule` may be (nodes, weights). `path(x, baseline, alpha)` broadcasts
    alpha (k, 1, ..., 1) against the rows; autograd finds its velocity, and its own ends are reference and input.
    """
    if x.ndim < 2:
        raise ValueError(f"expected a batch (b, ...) with at least two axes, got shape {tuple(x.shape)}")
    broadcastable("baseline", baseline, x.shape)
    at_least(1, cap=cap)
    if (batch is not None and batch < 1) or (tol is not None and not (tol > 0 and isinstance(rule, str))):
        raise ValueError(f"expected batch >= 1 and tol > 0 with a named rule, got {batch=}, {tol=}, {rule=!r}")
    if not isinstance(rule, str):
        sizes: dict[str, Any] = {}
        for name, part in zip(("nodes", "weights"), rule, strict=True):
            array(name, part, "k", sizes=sizes)
    x, base, path = x.detach(), torch.broadcast_to(baseline.detach().to(x), x.shape), path or line
    edges = [path(x, base, torch.full([1] * x.ndim, a, dtype=x.dtype, device=x.device)) for a in (0.0, 1.0)]
    with torch.no_grad():
        size = batch or len(x)
        labels = [None] * len(x) if target is None else target.split(size)
        start, end = (torch.cat([_call(f, p, t) for p, t in zip(e.split(size), labels, strict=False)]) for e in edges)

    attribution, todo = torch.empty_like(x), torch.arange(len(x), device=x.device)
    error = torch.full_like(start, torch.inf)
    steps, gradients = (torch.zeros(len(x), dtype=torch.int64, device=x.device) for _ in range(2))
    while len(todo):
        points = quadrature.rule(rule, n) if isinstance(rule, str) else rule
        part = _integrate(f, x[todo], base[todo], None if target is None else target[todo], points, batch, path)
        gap = part.flatten(1).sum(1) - (end - start)[todo]
        attribution[todo], error[todo], steps[todo] = part, gap, len(points[0])
        gradients[todo] += len(points[0])
        if tol is None or 2 * n > cap:
            break
        todo, n = todo[~(gap.abs() < tol)], 2 * n
    return Attribution(attribution, error, start, end, steps, gradients)


@checked
def integrand(
    f: Callable[[Tensor], Tensor],
    x: Float[Tensor, "b ..."],
    baseline: Float[Tensor, " ..."],
    alphas: Sequence[float | int] | Float[np.ndarray, " k"],
    *,
    target: Int[Tensor, " b"] | None = None,
) -> Float[Tensor, "b k"]:
    """dF/dα at the given α on the straight line: what the quadrature has to integrate, worth a look before it does."""
    at_least(1, alphas=len(alphas))
    points = ((np.array([a], dtype=float), np.ones(1)) for a in alphas)
    rows = [integrated_gradients(f, x, baseline, target=target, rule=point).attribution for point in points]
    return torch.stack([row.flatten(1).sum(1) for row in rows], dim=1)


@checked
def kinks(network: nn.Sequential, x: Float[Tensor, " d"], baseline: Float[Tensor, " d"]) -> Float[Tensor, " k"]:
    """The parameters α, from 0 to 1, at which some ReLU of a Linear/ReLU network switches on the line from x̄ to x.

    Between known kinks every preactivation is linear, so each new one is found by linear interpolation.
    """
    if bad := [type(m).__name__ for m in network if not isinstance(m, nn.Linear | nn.ReLU)]:
        raise ValueError(f"exact integration needs Linear and ReLU layers only, got {bad[0]}")
    alpha = torch.tensor([0.0, 1.0], dtype=x.dtype, device=x.device)
    with torch.no_grad():
        for depth, layer in enumerate(network):
            if isinstance(layer, nn.ReLU):
                v = network[:depth](line(x, baseline, alpha[:, None]))
                k, unit = torch.nonzero((v[:-1] * v[1:]) < 0, as_tuple=True)
                share = v[k, unit] / (v[k, unit] - v[k + 1, unit])
                alpha = torch.cat([alpha, alpha[k] + share * (alpha[k + 1] - alpha[k])]).sort().values
    return alpha


@checked
def exact_relu(
    network: nn.Sequential, x: Float[Tensor, "b d"], baseline: Float[Tensor, "b d"], target: Int[Tensor, " b"]
) -> Attribution:
    """Integrated gradients of class scores of a Linear/ReLU network, without quadrature error.

    F is linear between kinks, so one gradient per piece, weighted by the piece's length, is the integral.
    """
    rows = []
    for i in range(len(x)):
        pieces = quadrature.on_pieces(
            quadrature.rule("midpoint", 1), kinks(network, x[i], baseline[i]).double().cpu().numpy()
        )
        rows.append(
            integrated_gradients(network, x[i : i + 1], baseline[i : i + 1], target=target[i : i + 1], rule=pieces)
        )
    return Attribution(*(torch.cat(column) for column in zip(*rows, strict=True)))


@checked
def token_scores(attribution: Float[Tensor, "b n d"], *, norm: bool = False) -> Float[Tensor, "b n"]:
    """One score per token: the sum over channels, which keeps sign and completeness, or with `norm` the length."""
    return attribution.norm(dim=-1) if norm else attribution.sum(-1)


@checked
def deletion_curve(
    f: Callable[[Tensor], Tensor],
    x: Float[Tensor, "b d"],
    scores: Float[Tensor, "b d"],
    baseline: Float[Tensor, "b d"],
    fractions: Sequence[float | int],
    *,
    target: Int[Tensor, " b"] | None = None,
) -> Float[Tensor, "b fractions"]:
    """F(x) − F(x with its highest-scored share of features set to the baseline), for each of `fractions`."""
    if not len(fractions) or not all(0 <= share <= 1 for share in fractions):
        raise ValueError(f"expected one or more fractions in [0, 1], got {list(fractions)}")
    rank = scores.argsort(dim=1, descending=True).argsort(dim=1)
    with torch.no_grad():
        whole = _call(f, x, target)
        cut = [torch.where(rank < round(share * x.shape[1]), baseline, x) for share in fractions]
        return torch.stack([whole - _call(f, each, target) for each in cut], dim=1)
