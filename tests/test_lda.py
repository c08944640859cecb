import math

import numpy as np
import pytest
import torch

from lib.lda import GRID, efron_are, fit_gaussian_linear, from_moments, ledoit_wolf, loo_log_loss, relative_logits
from lib.moments import moments, stream


def data(name="wine"):
    from sklearn import datasets
    from sklearn.preprocessing import scale

    X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    return torch.tensor(scale(X)), torch.tensor(y), int(y.max()) + 1


def slopes(model):
    return torch.tensor(model.coef_ if len(model.coef_) == 1 else model.coef_[1:] - model.coef_[:1]).mT


def logits(X, y, classes, *args, **kwargs):
    W, b = fit_gaussian_linear(X, y, classes, *args, **kwargs)
    return relative_logits(X @ W + b)


@pytest.mark.parametrize("name", ["wine", "breast_cancer", "iris"])
@pytest.mark.parametrize("solver", ["lsqr", "eigen", "svd"])
def test_weights_and_probabilities_are_those_of_sklearn(name, solver):
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    X, y, classes = data(name)
    peer = LinearDiscriminantAnalysis(solver=solver, tol=1e-12).fit(X, y)
    W, b = fit_gaussian_linear(X, y, classes)
    torch.testing.assert_close(relative_logits(W)[:, 1:], slopes(peer), rtol=0, atol=1e-8)
    np.testing.assert_allclose((X @ W + b).softmax(-1), peer.predict_proba(X), rtol=0, atol=1e-9)


def test_a_shrunk_fit_is_that_of_sklearn_with_the_same_covariance():
    from sklearn.covariance import ShrunkCovariance
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    X, y, classes = data()
    within = moments(X, y, classes)
    Z = (X - within.mean[y]).numpy()
    # sklearn shrinks each class by itself; pooled residuals give it our covariance
    S = ShrunkCovariance(shrinkage=0.2, assume_centered=True).fit(Z).covariance_
    W, _ = fit_gaussian_linear(X, y, classes, 0.2)
    naive = np.linalg.solve(S, (within.mean - within.mean[:1]).mT.numpy())
    np.testing.assert_allclose(relative_logits(W), naive, rtol=0, atol=1e-10)
    assert LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.2).fit(X, y).score(X, y) > 0.97


def test_for_two_classes_the_weights_are_a_multiple_of_least_squares():
    from sklearn.linear_model import LinearRegression

    X, y, _ = data("breast_cancer")
    W, _ = fit_gaussian_linear(X, y, 2)
    squares = LinearRegression().fit(X, y)
    p = float(y.double().mean())
    expected = squares.coef_ / (p * (1 - p) * (1 - squares.score(X, y)))
    np.testing.assert_allclose(W[:, 1] - W[:, 0], expected, rtol=0, atol=1e-8)


def test_an_invertible_affine_map_changes_no_relative_logit():
    X, y, classes = data()
    A = torch.randn(13, 13, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 3 * torch.eye(13)
    torch.testing.assert_close(logits(X @ A + 5, y, classes), logits(X, y, classes), rtol=0, atol=1e-8)


def test_a_shift_and_the_scale_of_float32_features_are_harmless():
    X, y, classes = data()
    narrow = fit_gaussian_linear(X.float(), y, classes)[0]
    assert narrow.dtype == torch.float64
    torch.testing.assert_close(
        relative_logits(narrow), relative_logits(fit_gaussian_linear(X, y, classes)[0]), rtol=0, atol=1e-4
    )
    units = torch.logspace(-8, 8, 13, dtype=torch.float64)
    torch.testing.assert_close(logits(X * units, y, classes), logits(X, y, classes), rtol=0, atol=1e-6)


def test_moments_of_a_stream_give_the_same_fit():
    X, y, classes = data()
    m = stream(((X[i : i + 40], y[i : i + 40]) for i in range(0, len(X), 40)), classes)
    for a, b in zip(from_moments(m, 0.1), fit_gaussian_linear(X, y, classes, 0.1), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


def test_ledoit_wolf_is_that_of_sklearn():
    from sklearn.covariance import ledoit_wolf_shrinkage

    X, y, classes = data()
    Z = X - moments(X, y, classes).mean[y]
    assert ledoit_wolf(Z) == pytest.approx(ledoit_wolf_shrinkage(Z.numpy(), assume_centered=True), rel=1e-10)
    a, b = logits(X, y, classes, "lw"), logits(X, y, classes, ledoit_wolf(Z))
    torch.testing.assert_close(a, b, rtol=0, atol=0)
    assert ledoit_wolf(torch.ones(4, 1)) == 0.0  # one dimension: S is its own target


def test_leave_one_out_agrees_with_leaving_each_row_out():
    X, y, classes = data()
    a, n, d = 0.03, *X.shape
    m = moments(X, y, classes)
    target = a * m.covariance().trace() / d * torch.eye(d).double()
    for i, got in zip(range(n), loo_log_loss(X, y, classes, (a,), per_row=True)[0], strict=True):
        rest = torch.arange(n) != i
        without = moments(X[rest], y[rest], classes)
        apart = X[i] - without.mean
        A = (1 - a) * without.scatter / n + target
        distance = (apart * torch.linalg.solve(A, apart.mT).mT).sum(1)
        assert float(got) == pytest.approx(-float(((m.count / n).log() - distance / 2).log_softmax(0)[y[i]]), abs=1e-9)


def test_a_far_origin_costs_the_leave_one_out_losses_no_digits():
    X, y, classes = data()
    # rounding of X itself at 1e6 is 1e-10 a feature, times weights of size 10 and distances of size 10
    torch.testing.assert_close(loo_log_loss(X + 1e6, y, classes), loo_log_loss(X, y, classes), rtol=0, atol=1e-6)


def test_the_leave_one_out_fit_takes_the_best_of_the_grid():
    X, y, classes = data()
    best = GRID[int(loo_log_loss(X, y, classes).argmin())]
    torch.testing.assert_close(logits(X, y, classes, "loo"), logits(X, y, classes, best), rtol=0, atol=0)


def test_rows_that_cannot_be_left_out_are_not_scored():
    X, y, classes = data()
    X, y = torch.cat([X, X[:1]]), torch.cat([y, torch.tensor([classes])])
    assert loo_log_loss(X, y, classes + 1, (0.1,), per_row=True).shape == (1, len(X) - 1)


def test_a_singular_covariance_gives_the_least_weights_that_sklearn_gives_too():
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    X, y, classes = data()
    wide = torch.cat([X, X[:, :3] @ torch.ones(3, 4).double()], 1)
    peer = LinearDiscriminantAnalysis(solver="lsqr").fit(wide, y)
    W, _ = fit_gaussian_linear(wide, y, classes)
    torch.testing.assert_close(relative_logits(W)[:, 1:], slopes(peer), rtol=0, atol=1e-7)
    # fewer rows than features: finite, and the training set need not be fitted
    few = torch.arange(0, len(X), 20)
    W, b = fit_gaussian_linear(X[few], y[few], classes)
    assert W.isfinite().all() and b.isfinite().all()


def test_a_constant_feature_gets_no_weight_whatever_its_value():
    X, y, classes = data()
    W, _ = fit_gaussian_linear(torch.cat([X, torch.full((len(X), 1), -0.1).double()], 1), y, classes)
    assert not W[-1].any()
    torch.testing.assert_close(W[:-1], fit_gaussian_linear(X, y, classes)[0], rtol=0, atol=1e-9)
    with pytest.raises(ValueError, match="covariance is zero"):
        fit_gaussian_linear(0 * X + 0.1, y, classes)


def test_a_class_without_rows_is_never_predicted():
    X, y, classes = data()
    W, b = fit_gaussian_linear(X, y, classes + 1)
    assert b[-1] == -math.inf and not W[:, -1].any()
    p = (X @ W + b).softmax(-1)
    assert not p[:, -1].any()
    np.testing.assert_allclose(p[:, :-1], logits(X, y, classes).softmax(-1), rtol=0, atol=1e-12)


def test_a_prior_moves_only_the_bias_by_its_logarithm():
    X, y, classes = data()
    prior = torch.tensor([0.2, 0.3, 0.5])
    (W, b), (V, c) = fit_gaussian_linear(X, y, classes), fit_gaussian_linear(X, y, classes, prior=prior)
    frequency = torch.bincount(y).double() / len(y)
    torch.testing.assert_close(V, W, rtol=0, atol=0)
    torch.testing.assert_close(c - b, (prior.double() / frequency).log(), rtol=0, atol=1e-7)


def test_efrons_table():
    # Efron 1975, table 1, q = 1/2
    got = [efron_are(delta) for delta in (0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4)]
    np.testing.assert_allclose(got, [1.000, 0.995, 0.968, 0.899, 0.786, 0.641, 0.486, 0.343], rtol=0, atol=6e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_gpu_agrees():
    X, y, classes = data()
    for shrinkage in (None, 0.1, "lw", "loo"):
        W, _ = fit_gaussian_linear(X.cuda(), y.cuda(), classes, shrinkage)
        expected = fit_gaussian_linear(X, y, classes, shrinkage)[0]
        torch.testing.assert_close(W.cpu(), expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda X, y: fit_gaussian_linear(X, y, 2), r"y must lie in \[0, 2\), got 0..2"),
        (lambda X, y: fit_gaussian_linear(X, 0 * y, 3), "two classes at least, got rows of 1"),
        (lambda X, y: fit_gaussian_linear(0 * X, y, 3), "covariance is zero"),
        (lambda X, y: fit_gaussian_linear(X, y, 3, 1.5), r"shrinkage must lie in \[0, 1\], got 1.5"),
        (lambda X, y: fit_gaussian_linear(X, y, 3, prior=torch.tensor([1.0, 0.0, 1.0])), "3 finite priors > 0"),
        (lambda X, y: fit_gaussian_linear(X, y, 3, prior=torch.ones(2)), "3 finite priors > 0"),
        (lambda X, y: loo_log_loss(X, y, 3, (0.0,)), r"shrinkages in \(0, 1\], got \(0.0,\)"),
        (lambda X, y: loo_log_loss(X[[0, 60, 150]], y[[0, 60, 150]], 3), "a class of two rows at least"),
        (lambda X, y: efron_are(0.0), "delta > 0"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(*data()[:2])
