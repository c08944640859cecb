import math

import numpy as np
import pytest
import torch

from lib.lda import fit_gaussian_linear, relative_logits
from lib.logistic import fit_linear, gradient_descent, l2_by_cv, max_likelihood
from lib.losses import masked_ce


def data(classes=2, n=200, d=4, seed=0):
    g = torch.Generator().manual_seed(seed)
    y = torch.randint(classes, (n,), generator=g)
    return torch.randn(n, d, generator=g, dtype=torch.float64) + torch.eye(classes, d).double()[y], y


def test_newton_finds_the_optimum_of_sklearn():
    from sklearn.linear_model import LogisticRegression

    X, y = data()
    ridge = 1e-2
    w, steps = max_likelihood(X, y, ridge=ridge)
    peer = LogisticRegression(C=1 / (ridge * len(X)), tol=1e-12, max_iter=1000).fit(X, y)
    np.testing.assert_allclose(w, [*peer.coef_[0], *peer.intercept_], rtol=0, atol=1e-6)
    assert steps < 12


def test_the_gradient_vanishes_at_the_optimum():
    X, y = data()
    w, _ = max_likelihood(X, y, tol=1e-12)
    Z = torch.cat([X, torch.ones(len(X), 1)], 1)
    assert (Z.mT @ ((Z @ w).sigmoid() - y) / len(X)).abs().max() < 1e-5  # the ridge of 1e-6 times weights of size 1


def test_samples_are_fitted_together_as_one_by_one():
    parts = [data(seed=s) for s in range(3)]
    X, y = (torch.stack(part) for part in zip(*parts, strict=True))
    together, _ = max_likelihood(X, y)
    for w, (Xi, yi) in zip(together, parts, strict=True):
        torch.testing.assert_close(w, max_likelihood(Xi, yi)[0], rtol=0, atol=1e-7)


def test_separable_classes_have_an_optimum_because_of_the_ridge():
    X = torch.tensor([[-1.0], [1.0]]).double()
    w, steps = max_likelihood(X, torch.tensor([0, 1]), ridge=1e-3)
    assert w.isfinite().all() and w[0] > 3 and steps < 50


def test_a_start_at_the_optimum_takes_no_step():
    X, y = data()
    w, _ = max_likelihood(X, y)
    assert max_likelihood(X, y, w)[1] == 0


def test_any_loss_of_linear_logits_is_fitted_until_its_gradient_vanishes():
    X, y = data(3, d=2)
    W, b = (part.requires_grad_() for part in fit_linear(X, y, masked_ce, classes=3))
    masked_ce(X @ W + b, y).backward()
    assert max(W.grad.abs().max(), b.grad.abs().max()) < 1e-9  # tol, times the rounding of 200 rows
    assert W.sum(1).abs().max() < 1e-9


def test_the_linear_fit_is_that_of_sklearn_and_of_newton():
    from sklearn.linear_model import LogisticRegression

    X, y = data(3, d=2)
    W, b = fit_linear(X, y, masked_ce, classes=3, l2=0.5 / len(y))
    peer = LogisticRegression(C=1.0, tol=1e-10, max_iter=1000).fit(X.numpy(), y.numpy())
    np.testing.assert_allclose(W.T, peer.coef_, atol=1e-5)  # scikit-learn stops at its own tolerance
    np.testing.assert_allclose(b, peer.intercept_ - peer.intercept_.mean(), atol=1e-5)
    X, y = data(2)
    W, b = fit_linear(X, y, masked_ce, classes=2, l2=5e-3)  # l2 (|w/2|² + |−w/2|²) is ridge/2 · |w|² at ridge = l2
    w, _ = max_likelihood(X, y, ridge=5e-3)
    np.testing.assert_allclose([*(W[:, 1] - W[:, 0]), b[1] - b[0]], w, rtol=0, atol=1e-6)


def test_the_start_of_a_linear_fit_does_not_matter_and_is_left_alone():
    X, y = data(3, d=2)
    start = torch.tensor([3.0, 0.0, -3.0], dtype=torch.float64)
    before = start.clone()
    for got, want in zip(
        fit_linear(X, y, masked_ce, classes=3, start=start), fit_linear(X, y, masked_ce, classes=3), strict=True
    ):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-7)
    assert torch.equal(start, before)


def test_one_row_with_a_penalty_has_an_optimum():
    W, b = fit_linear(torch.ones(1, 1).double(), torch.tensor([0]), masked_ce, classes=2, l2=1.0, l2_bias=1.0)
    assert W[0, 0] > 0 > W[0, 1] and b[0] > 0


def test_a_start_of_another_length_and_labels_that_are_no_class_are_refused():
    X, y = data(3, d=2)
    with pytest.raises(ValueError, match=r"start of shape \(3,\)"):
        fit_linear(X, y, masked_ce, classes=3, start=torch.zeros(2))
    with pytest.raises(ValueError, match=r"y must lie in \[0, 2\)"):
        fit_linear(X, y, masked_ce, classes=2)


def test_long_gradient_descent_approaches_the_maximum_of_the_likelihood():
    X, y = data()
    W, b = gradient_descent(X, y, 2, epochs=200, seed=0, lr=1e-2)
    w, _ = max_likelihood(X, y)
    reached, best = masked_ce(X @ W + b, y), masked_ce(torch.stack([0 * y, X @ w[:-1] + w[-1]], 1), y)
    assert best <= reached < best + 5e-3


def test_gradient_descent_repeats_itself_and_takes_few_rows():
    X, y = data(n=5)
    first, second = (gradient_descent(X, y, 2, epochs=2, seed=1) for _ in range(2))
    assert torch.equal(first[0], second[0])


@pytest.mark.parametrize("classes", [2, 3])
def test_the_chosen_penalty_gives_the_fit_of_sklearn(classes):
    from sklearn.linear_model import LogisticRegression

    X, y = data(classes)
    W, b = l2_by_cv(X, y, classes, (0.1,))
    peer = LogisticRegression(C=0.1, max_iter=500, tol=1e-3).fit(X, y)
    np.testing.assert_allclose((X @ W + b).softmax(-1), peer.predict_proba(X), rtol=0, atol=1e-12)


def test_a_class_without_rows_is_never_predicted():
    X, y = data()
    W, b = l2_by_cv(X, y, 3)
    assert b[2] == -math.inf and not W[:, 2].any()


def test_a_ridge_brings_likelihood_and_formula_no_closer_than_their_data_allow():
    X, y = data(n=20_000)
    W, b = fit_gaussian_linear(X, y, 2)
    w, _ = max_likelihood(X, y)
    # on Gaussian classes both estimate the same weights; 20000 rows give each a deviation of about 0.02
    torch.testing.assert_close(relative_logits(W)[:, 1], w[:-1], rtol=0, atol=0.1)
    assert float(b[1] - b[0] - w[-1]) == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda X, y: max_likelihood(X, y + 1), "labels 0 and 1, got 1..2"),
        (lambda X, y: max_likelihood(X, y, torch.zeros(4)), r"start of shape \(5,\), got \(4,\)"),
        (lambda X, y: max_likelihood(X, y, ridge=0.0), "ridge > 0"),
        (lambda X, y: gradient_descent(X, y, 1, epochs=1, seed=0), r"y must lie in \[0, 1\)"),
        (lambda X, y: gradient_descent(X, y, 2, epochs=0, seed=0), "epochs >= 1"),
        (lambda X, y: l2_by_cv(X, 0 * y, 2), "two classes of 3 rows at least"),
        (lambda X, y: l2_by_cv(X, y, 2, ()), r"strengths > 0, got \(\)"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(*data())
