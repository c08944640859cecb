import math
import warnings

import numpy as np
import pytest

from lib import projections as pj


def low_rank(rows=120, columns=200, rank=5, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((rows, rank)) @ rng.standard_normal((rank, columns))


def test_a_projection_keeps_squared_lengths_in_expectation():
    lengths = [float(((np.eye(1, 30) @ pj.gaussian_projection(30, 20, seed=s)) ** 2).sum()) for s in range(400)]
    # a chi-square with 20 degrees over 20 has deviation 0.32, its mean over 400 draws 0.016: five of these
    assert np.mean(lengths) == pytest.approx(1, abs=0.08)


def test_distortion_agrees_with_two_loops():
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((7, 4)), rng.standard_normal((7, 3))

    def square(Z, i, j):
        return float(((Z[i] - Z[j]) ** 2).sum())

    naive = [abs(square(Y, i, j) / square(X, i, j) - 1) for i in range(7) for j in range(i + 1, 7)]
    np.testing.assert_allclose(pj.distortion(X, Y), naive, rtol=1e-12)


def test_a_rotation_has_no_distortion_and_coinciding_points_are_left_out():
    X = np.random.default_rng(1).standard_normal((6, 5))
    X[5] = X[0]
    Q = np.linalg.qr(np.random.default_rng(2).standard_normal((5, 5)))[0]
    got = pj.distortion(X, X @ Q)
    assert got.shape == (14,)
    np.testing.assert_allclose(got, 0, atol=1e-12)


def test_success_agrees_with_the_distortion_of_each_prefix():
    X, dims = np.random.default_rng(3).standard_normal((25, 40)), [10, 60, 200, 800]
    A = pj.gaussian_projection(40, 800, seed=5) * math.sqrt(800)
    naive = [pj.distortion(X, X @ A[:, :n] / math.sqrt(n)).max() <= 0.5 for n in dims]
    got = pj.jl_success(X, 0.5, dims, seed=5)
    assert got.tolist() == naive
    assert not got[0] and got[-1]


@pytest.mark.parametrize(("N", "eps"), [(200, 0.3), (1000, 0.5), (10_000, 0.1)])
def test_the_bound_is_that_of_sklearn(N, eps):
    from sklearn.random_projection import johnson_lindenstrauss_min_dim

    assert pj.jl_dimension(N, eps) == johnson_lindenstrauss_min_dim(N, eps=eps)


def test_the_bounds_of_the_post():
    assert pj.jl_dimension(1000, 0.3, constant=24) == math.ceil(24 * math.log(1000) / 0.09)
    assert pj.jl_dimension(200, 0.5, constant=16) == 340


@pytest.mark.parametrize("c", [-0.9, 0.0, 0.4, 0.77, 1.0])
def test_signs_keep_the_arcsine_of_the_cosine(c):
    pairs = np.array([[1.0, 0.0], [c, math.sqrt(1 - c**2)]]) @ pj.gaussian_projection(2, 40_000, seed=1)
    a, b = np.sign(pairs)
    # the mean of 40000 signs has deviation at most 0.005: five of these
    assert (a * b).mean() == pytest.approx(pj.simhash_cosine(c), abs=0.025)


def test_the_range_finder_is_exact_on_a_low_rank_matrix():
    M = low_rank()
    Q = pj.range_finder(M, 8)
    np.testing.assert_allclose(Q.T @ Q, np.eye(8), atol=1e-12)
    assert np.linalg.norm(M - Q @ (Q.T @ M)) < 1e-10 * np.linalg.norm(M)


def test_the_randomised_svd_agrees_with_sklearn_and_numpy():
    from sklearn.utils.extmath import randomized_svd

    M = low_rank()
    U, s, Vt = pj.randomized_svd(M, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, s_sklearn, _ = randomized_svd(M, 5, random_state=0)
    np.testing.assert_allclose(s[:5], s_sklearn, rtol=1e-9)
    np.testing.assert_allclose(s[:5], np.linalg.svd(M, compute_uv=False)[:5], rtol=1e-9)
    np.testing.assert_allclose(U * s @ Vt, M, atol=1e-10 * np.abs(M).max())


def test_one_column_and_full_rank_are_allowed():
    M = np.random.default_rng(0).standard_normal((4, 6))
    assert pj.range_finder(M, 1).shape == (4, 1)
    np.testing.assert_allclose(pj.randomized_svd(M, 4)[1], np.linalg.svd(M, compute_uv=False), rtol=1e-10)


@pytest.mark.parametrize(
    "call",
    [
        lambda: pj.gaussian_projection(0, 3),
        lambda: pj.distortion(np.ones((1, 3)), np.ones((1, 3))),
        lambda: pj.distortion(np.ones((4, 3)), np.ones((4, 3))),
        lambda: pj.distortion(np.full((4, 3), np.inf), np.ones((4, 3))),
        lambda: pj.jl_dimension(1, 0.3),
        lambda: pj.jl_dimension(100, 1.5),
        lambda: pj.jl_dimension(100, 0.5, constant=-1.0),
        lambda: pj.jl_success(np.eye(4), 0.5, []),
        lambda: pj.jl_success(np.eye(4), 0.5, [8, 4]),
        lambda: pj.jl_success(np.ones((4, 2)), 0.5, [4]),
        lambda: pj.simhash_cosine(1.2),
        lambda: pj.range_finder(np.eye(4), 5),
        lambda: pj.range_finder(np.full((4, 4), np.nan), 2),
    ],
)
def test_bad_input_is_refused(call):
    with pytest.raises(ValueError, match=r"(expected|must|coincide|twice|lies in)"):
        call()
