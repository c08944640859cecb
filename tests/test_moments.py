from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lib.moments import Moments, merge, moments, stream, whitening


def data(n=60, d=5, classes=3, seed=0, dtype=torch.float64):
    g = torch.Generator().manual_seed(seed)
    X = torch.randn(n, d, generator=g, dtype=dtype) @ torch.randn(d, d, generator=g, dtype=dtype) + 3
    return X, torch.randint(classes, (n,), generator=g)


def assert_same(a: Moments, b: Moments, atol=1e-10):
    for x, y in zip(a, b, strict=True):
        torch.testing.assert_close(x, y, rtol=0, atol=atol)


def test_the_covariance_of_one_class_is_that_of_numpy():
    X, _ = data()
    for ddof in (0, 1):
        np.testing.assert_allclose(moments(X).covariance(ddof), np.cov(X.T, ddof=ddof), rtol=0, atol=1e-12)


def test_the_covariance_within_classes_is_the_mean_of_those_of_the_classes():
    X, y = data()
    naive = sum(float((y == k).double().mean()) * np.cov(X[y == k].T, bias=True) for k in range(3))
    np.testing.assert_allclose(moments(X, y, 3).covariance(), naive, rtol=0, atol=1e-12)


@given(cuts=st.sets(st.integers(1, 59), max_size=6))
def test_streaming_in_any_batches_gives_the_moments_of_all_rows(cuts):
    X, y = data()
    at = [0, *sorted(cuts), 60]
    batches = [(X[i:j], y[i:j]) for i, j in pairwise(at)]
    assert_same(stream(batches, 3), moments(X, y, 3))
    assert_same(stream([part for part, _ in batches]), moments(X))


def test_a_merge_does_not_depend_on_the_order():
    X, y = data()
    a, b = moments(X[:20], y[:20], 3), moments(X[20:], y[20:], 3)
    assert_same(merge(a, b), merge(b, a))


def test_the_law_of_total_covariance():
    X, y = data()
    assert_same(moments(X, y, 3).total(), moments(X))


def test_a_large_mean_costs_no_digits():
    X, _ = data()
    far = moments(X + 1e6).covariance()
    # one-pass sums of squares would be off by 1e12 * 1e-16 * n; centred rows lose 1e6 * 1e-16 each
    torch.testing.assert_close(far, moments(X).covariance(), rtol=0, atol=1e-7)


def test_a_stream_with_a_large_mean_and_batches_of_one_class_each_costs_no_digits():
    X, y = data()
    far = X + 1e6
    parts = [(far[y == k], y[y == k]) for k in (2, 0, 1)]
    # rows of size 1e6 are rounded to 1e-10; sums of 60 products of such errors with deviations of size 10
    assert_same(stream(parts, 3)._replace(mean=moments(X, y, 3).mean), moments(X, y, 3), atol=1e-6)


def test_float32_rows_are_summed_in_float64():
    X, y = data(dtype=torch.float32)
    got = moments(X, y, 3)
    assert got.scatter.dtype == torch.float64
    assert_same(got, moments(X.double(), y, 3))


def test_a_class_without_rows_has_mean_zero_and_can_be_filled_by_a_merge():
    X, y = data()
    some = y < 2
    part = moments(X[some], y[some], 3)
    assert part.count[2] == 0 and not part.mean[2].any()
    assert_same(merge(part, moments(X[~some], y[~some], 3)), moments(X, y, 3))


def test_one_row_has_no_covariance_but_moments():
    one = moments(torch.ones(1, 3))
    assert not one.scatter.any()
    with pytest.raises(ValueError, match=r"more rows than ddof >= 0, got 1 rows and ddof=1"):
        one.covariance(1)


def test_no_argument_is_changed():
    X, y = data()
    before = X.clone()
    moments(X, y, 3)
    assert torch.equal(X, before)


def test_whitened_rows_have_the_identity_as_covariance():
    X, _ = data()
    m = moments(X)
    white = moments((X - m.mean) @ whitening(m.covariance())).covariance()
    torch.testing.assert_close(white, torch.eye(5).double(), rtol=0, atol=1e-10)


def test_whitening_agrees_with_sklearn_up_to_signs():
    from sklearn.decomposition import PCA

    X, _ = data()
    m = moments(X)
    ours = ((X - m.mean) @ whitening(m.covariance(1))).numpy()
    peer = PCA(whiten=True).fit_transform(X.numpy())
    np.testing.assert_allclose(abs(ours), abs(peer), rtol=0, atol=1e-9)


def test_directions_without_variance_are_left_out():
    X, _ = data()
    wide = torch.cat([X, X[:, :2] + X[:, 2:4], torch.full((60, 1), 7.0).double()], 1)
    K = whitening(moments(wide).covariance())
    assert K.shape == (8, 5)
    assert whitening(moments(X[:3]).covariance()).shape == (5, 2)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_moments_on_the_gpu_agree():
    X, y = data()
    got = moments(X.cuda(), y.cuda(), 3)
    assert got.scatter.is_cuda
    assert_same(Moments(*(part.cpu() for part in got)), moments(X, y, 3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda X, y: moments(X[:0]), "non-empty X"),
        (lambda X, y: moments(X / 0), "NaN or infinite"),
        (lambda X, y: moments(X, y, 2), r"y must lie in \[0, 2\), got 0..2"),
        (lambda X, y: moments(X, y[1:], 3), r"y of shape \(n\)"),
        (lambda X, y: moments(X, classes=3), "labels for 3 classes, got none"),
        (lambda X, y: merge(moments(X), moments(X, y, 3)), "equal shape"),
        (lambda X, y: stream([]), "at least one batch, got none"),
        (lambda X, y: whitening(torch.zeros(3, 3)), "positive eigenvalue, got 0.0"),
        (lambda X, y: whitening(torch.tensor([[1.0, 0.5], [0.0, 1.0]])), "symmetric"),
        (lambda X, y: whitening(torch.eye(3), 1.0), r"rank_tol must lie in \(0, 1\), got 1.0"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(*data())
