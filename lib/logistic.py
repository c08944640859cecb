"""Logistic regression by iteration: what the closed form of `lib.lda` is compared with.

Maximum likelihood by Newton's method, many samples at once; any loss of linear logits by L-BFGS; gradient descent as
the post ran it; and an L2 penalty chosen by cross-validation. Post: https://spaces.ac.cn/archives/8578, article
logistic-closed-form; `fit_linear` serves the article logit-adjustment, where exact optima are compared.

Axes: r samples, n rows, d features, c classes, k = d + 1 weights and bias.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lib import train
from lib.checks import at_least, checked, indices, positive
from lib.losses import masked_ce
from lib.networks import mlp


@checked
def max_likelihood(
    X: Float[Tensor, "*r n d"],
    y: Int[Tensor, "*r n"],
    start: Float[Tensor, "*r k"] | None = None,
    *,
    ridge: float = 1e-6,
    steps: int = 50,
    tol: float = 1e-8,
) -> tuple[Float[Tensor, "*r k"], int]:
    """((weights, bias) of the two-class logistic regression by maximum likelihood, Newton steps taken), in float64.

    Every sample in *r is fitted at once. The mean log-loss gains ridge/2·|weights|², so that separable classes have an
    optimum too; a step that would raise a loss is halved. Ends when no gradient entry exceeds `tol`, or after `steps`.
    """
    positive(ridge=ridge, tol=tol, steps=steps)
    if y.min() < 0 or y.max() > 1:
        raise ValueError(f"expected labels 0 and 1, got {int(y.min())}..{int(y.max())}")
    Z = torch.cat([X.double(), torch.ones_like(X[..., :1]).double()], -1)
    n, k = Z.shape[-2:]
    if start is not None and start.shape != (*Z.shape[:-2], k):
        raise ValueError(f"expected a start of shape {(*Z.shape[:-2], k)}, got {tuple(start.shape)}")
    w = Z.new_zeros(*Z.shape[:-2], k) if start is None else start.double()
    penalty = Z.new_full((k,), ridge)
    penalty[-1] = 0.0

    def loss(w: Tensor) -> Tensor:
        logits = (Z @ w[..., None])[..., 0]
        fit = (torch.nn.functional.softplus(logits) - y * logits).mean(-1)
        return fit + (penalty * w.square()).sum(-1) / 2

    best = loss(w)
    for step in range(steps):
        p = torch.sigmoid((Z @ w[..., None])[..., 0])
        gradient = ((p - y)[..., None] * Z).mean(-2) + penalty * w
        if gradient.abs().max() <= tol:
            return w, step
        hessian = Z.mT @ ((p * (1 - p) / n)[..., None] * Z) + torch.diag(penalty + 1e-14)
        move = torch.linalg.solve(hessian, gradient)
        for _ in range(30):
            value = loss(w - move)
            if bool((worse := value > best + 1e-12).any()):
                move = torch.where(worse[..., None], move / 2, move)
            else:
                break
        w, best = w - move, value
    return w, steps


@checked
def fit_linear(
    X: Float[Tensor, "n d"],
    y: Int[Tensor, " n"],
    loss: Callable[[Tensor, Tensor], Tensor],
    *,
    classes: int,
    l2: float | int = 0.0,
    l2_bias: float | int = 0.0,
    start: Float[Tensor, " c"] | None = None,
    tol: float = 1e-11,
) -> tuple[Float[Tensor, "d c"], Float[Tensor, " c"]]:
    """(W, b) at the minimum of loss(X W + b, y) + l2 |W|² + l2_bias |b|² by L-BFGS; b is centred to sum 0.

    The search starts from W = 0 and b = `start` (zero unless given) and ends when no gradient entry exceeds `tol`.
    With a loss of softmax logits the rows of W sum to 0: every gradient does.
    """
    at_least(1, classes=classes)
    at_least(0, l2=l2, l2_bias=l2_bias, tol=tol)
    indices("y", y, classes)
    W = X.new_zeros(X.shape[1], classes).requires_grad_()
    b = X.new_zeros(classes) if start is None else start.to(X.dtype, copy=True)
    if len(b) != classes:
        raise ValueError(f"expected start of shape ({classes},), got {tuple(b.shape)}")
    b.requires_grad_()
    optimiser = torch.optim.LBFGS(
        [W, b], max_iter=1000, tolerance_grad=tol, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        value = loss(X @ W + b, y) + l2 * W.square().sum() + l2_bias * b.square().sum()
        value.backward()
        return value

    optimiser.step(closure)  # pyright: ignore[reportArgumentType]
    return W.detach(), b.detach() - b.detach().mean()


@checked
def gradient_descent(
    X: Float[Tensor, "n d"],
    y: Int[Tensor, " n"],
    classes: int,
    *,
    epochs: int,
    seed: int,
    lr: float = 1e-3,
    size: int = 32,
) -> tuple[Float[Tensor, "d c"], Float[Tensor, " c"]]:
    """(W, b) after Adam at a constant rate on the unregularised cross-entropy: the post's rival at `epochs=10`."""
    at_least(1, epochs=epochs, classes=classes)
    indices("y", y, classes)
    size = min(size, len(X))
    head = mlp([X.shape[1], classes], seed=seed).to(X.device)
    batch = train.minibatches(X.float(), y, size=size, seed=seed)
    loss = lambda model, rows: masked_ce(model(rows[0]), rows[1])  # noqa: E731
    steps = epochs * (len(X) // size)
    train.fit(head, batch, loss, steps=steps, lr=lr, schedule=train.constant, clip=math.inf)
    weight, bias = (p.detach().double() for p in head[0].parameters())
    return weight.mT, bias


@checked
def l2_by_cv(
    X: Float[Tensor, "n d"],
    y: Int[Tensor, " n"],
    classes: int,
    strengths: tuple[float, ...] = (1e-3, 1e-2, 1e-1, 1.0),
    folds: int = 3,
) -> tuple[Float[Tensor, "d c"], Float[Tensor, " c"]]:
    """(W, b) of scikit-learn's L2-regularised logistic regression, its C the most accurate of `strengths` over folds.

    Folds are stratified and not shuffled, so nothing is random. A class without rows gets w = 0 and b = −inf.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score

    at_least(2, folds=folds, classes=classes)
    indices("y", y, classes)
    if not strengths or min(strengths) <= 0:
        raise ValueError(f"expected strengths > 0, got {strengths}")
    rows = torch.bincount(y.long(), minlength=classes)
    if int((rows > 0).sum()) < 2 or int(rows[rows > 0].min()) < folds:
        raise ValueError(f"expected two classes of {folds} rows at least, got {rows.tolist()} rows")
    data = X.detach().double().cpu().numpy(), y.cpu().numpy()
    models = [LogisticRegression(C=c, max_iter=500, tol=1e-3) for c in strengths]
    model = max(models, key=lambda m: cross_val_score(m, *data, cv=folds).mean()).fit(*data)
    seen = torch.tensor(model.classes_)
    coef, intercept = torch.tensor(model.coef_), torch.tensor(model.intercept_)
    if len(coef) < len(seen):  # two classes: scikit-learn keeps one row, the log-odds of the second
        coef, intercept = torch.cat([0 * coef, coef]), torch.cat([0 * intercept, intercept])
    W = torch.zeros(X.shape[1], classes, dtype=torch.float64)
    b = torch.full((classes,), -math.inf, dtype=torch.float64)
    W[:, seen], b[seen] = coef.mT, intercept
    return W.to(X.device), b.to(X.device)
