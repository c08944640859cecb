import math

import numpy as np
import pytest
from scipy import stats

from lib import means

ORDERS = (-math.inf, -30.0, -3.0, -1, -0.5, 0, 1e-9, 0.5, 1, 2, 7.5, 40.0, math.inf)


def scores(*shape, seed=0, low=20.0, high=100.0):
    return np.random.default_rng(seed).uniform(low, high, shape)


def pairs(count, tasks, seed=0):
    return zip(scores(count, tasks, seed=seed), scores(count, tasks, seed=seed + 1), strict=True)


# ---- laws ------------------------------------------------------------------------------------------------------------


def test_power_means_increase_with_p_and_meet_only_on_equal_scores():
    X = scores(50, 6)
    by_order = np.stack([means.power_mean(X, p) for p in ORDERS])
    assert (np.diff(by_order, axis=0) > 0).all()
    equal = np.full((1, 6), 73.0)
    assert np.allclose([means.power_mean(equal, p) for p in ORDERS], 73.0, rtol=1e-13)


@pytest.mark.parametrize("p", ORDERS)
def test_power_means_are_homogeneous_and_symmetric(p):
    X = scores(20, 5)
    np.testing.assert_allclose(means.power_mean(3.7 * X, p), 3.7 * means.power_mean(X, p), rtol=1e-12)
    np.testing.assert_allclose(means.power_mean(X[:, ::-1].copy(), p), means.power_mean(X, p), rtol=1e-12)


def test_only_the_geometric_ranking_survives_new_units_per_task():
    X, units = scores(40, 5), np.array([1.0, 0.01, 30.0, 7.0, 0.5])
    ranks = {p: [tuple(means.rank(means.power_mean(Z, p))) for Z in (X, X * units)] for p in (-1, 0, 1)}
    assert ranks[0][0] == ranks[0][1]
    assert ranks[1][0] != ranks[1][1] and ranks[-1][0] != ranks[-1][1]


def test_dominance_of_the_first_order_holds_for_every_p():
    for x, y in pairs(30, 4):
        better = np.sort(y) + np.abs(x - y) + 0.1
        assert means.dominates(better, y, order=1) and not means.dominates(y, better, order=1)
        assert all(means.power_mean(better, p) > means.power_mean(y, p) for p in ORDERS)


def test_dominance_of_the_second_order_holds_for_every_p_up_to_one():
    found = 0
    for x, y in pairs(400, 4):
        if means.dominates(x, y):
            found += 1
            assert all(means.power_mean(x, p) >= means.power_mean(y, p) * (1 - 1e-12) for p in ORDERS if p <= 1)
    assert found > 40


def test_a_spread_about_the_same_mean_is_dominated_in_the_second_order_only():
    x, y = np.array([60.0, 60.0]), np.array([50.0, 70.0])
    assert means.dominates(x, y) and not means.dominates(x, y, order=1) and not means.dominates(y, x)
    assert means.power_mean(y, 3) > means.power_mean(x, 3)


@pytest.mark.parametrize("tasks", [2, 3, 4, 6])
def test_there_are_never_more_crossings_than_the_bound(tasks):
    for x, y in pairs(150, tasks, seed=tasks):
        bound = means.crossing_bound(x, y)
        assert len(means.crossings(x, y)) <= bound <= 2 * tasks - 2


def test_the_bound_is_reached_by_two_and_three_crossings():
    x, y = np.array([40.0, 80, 80, 80]), np.array([60.0, 60, 60, 96])
    found = means.crossings(x, y)
    assert len(found) == means.crossing_bound(x, y) == 2
    assert 0 < found[0] < 1 and 4 < found[1] < 8
    x, y = np.array([78.0, 41, 70, 35]), np.array([45.0, 34, 80, 65])
    y *= x.mean() / y.mean()
    assert len(means.crossings(x, y, points=6000)) == means.crossing_bound(x, y) == 3


def test_the_second_order_is_exact_as_the_spread_vanishes():
    delta = np.array([3.0, -1.0, -2.0, 0.5, -0.5])
    errors = [abs(means.second_order(80 + t * delta, 0) - means.power_mean(80 + t * delta, 0)) for t in (1.0, 0.5)]
    # the first neglected term is of the third order
    assert errors[0] / errors[1] == pytest.approx(8, rel=0.1)


def test_the_flip_condition_agrees_with_the_means_away_from_its_boundary():
    X, Y = scores(4000, 8, seed=3, low=80), scores(4000, 8, seed=4, low=80)
    for p in (0, -1):
        flips = (means.power_mean(X, p) - means.power_mean(Y, p)) * (X.mean(1) - Y.mean(1)) < 0
        assert flips.any() and (flips == means.flip_condition(X, Y, p)).mean() > 0.99


# ---- parity ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [-3, -1, -0.5, 0, 0.5, 2, 5])
def test_power_means_equal_scipy(p):
    X, w = scores(9, 6), np.array([1.0, 2.0, 0.5, 3.0, 1.0, 0.0])
    np.testing.assert_allclose(means.power_mean(X, p), stats.pmean(X, p, axis=1), rtol=1e-12)
    np.testing.assert_allclose(means.power_mean(X, p, w), stats.pmean(X, p, axis=1, weights=w), rtol=1e-12)


def test_the_three_classical_means_equal_numpy_and_scipy():
    X = scores(9, 6)
    np.testing.assert_allclose(means.power_mean(X, 1), X.mean(1), rtol=1e-13)
    np.testing.assert_allclose(means.power_mean(X, 0), stats.gmean(X, axis=1), rtol=1e-13)
    np.testing.assert_allclose(means.power_mean(X, -1), stats.hmean(X, axis=1), rtol=1e-13)


def test_the_curve_equals_the_means_point_by_point():
    x = scores(7)
    p = np.array([-20.0, -1.0, -1e-4, 0.0, 1e-12, 5e-4, 1.0, 2.5, 30.0])
    # inside |p| < 1e-3 the curve is a chord: its error is of order p² times the spread
    np.testing.assert_allclose(means.power_curve(x, p), [means.power_mean(x, float(q)) for q in p], rtol=1e-8)


def test_ranks_equal_scipy():
    values = np.array([3.0, 9.0, 9.0, 1.0, 3.0, 12.0])
    assert means.rank(values).tolist() == stats.rankdata(-values, method="min").astype(int).tolist()


def test_kendall_equals_scipy_without_ties():
    table = scores(5, 12)
    expected = [[stats.kendalltau(a, b).statistic for b in table] for a in table]
    np.testing.assert_allclose(means.kendall_tau_matrix(table), expected, atol=1e-12)


# ---- edges -----------------------------------------------------------------------------------------------------------


def test_one_task_one_system_and_a_plain_vector():
    assert means.power_mean(np.array([42.0]), -2) == pytest.approx(42)
    assert isinstance(means.power_mean(np.array([1.0, 4.0]), 0), float)
    assert means.power_mean(np.array([1.0, 4.0]), 0) == pytest.approx(2)
    assert means.rank(np.array([5.0])).tolist() == [1]
    assert means.crossing_bound(np.array([5.0]), np.array([6.0])) == 0
    assert means.crossings(np.array([5.0, 6.0]), np.array([6.0, 5.0])) == []


def test_extreme_orders_stay_finite():
    x = np.array([1e-3, 50.0, 99.0])
    assert means.power_mean(x, -500.0) == pytest.approx(1e-3, rel=0.01)
    assert means.power_mean(x, 500.0) == pytest.approx(99, rel=0.01)


def test_a_pair_tied_in_either_ranking_counts_for_neither_side():
    table = np.array([[1.0, 2.0, 3.0], [1.0, 1.0, 2.0], [5.0, 5.0, 5.0]])
    np.testing.assert_allclose(means.kendall_tau_matrix(table), [[1, 2 / 3, 0], [2 / 3, 2 / 3, 0], [0, 0, 0]])


def test_the_arithmetic_mean_takes_zeros_and_negative_scores():
    assert means.power_mean(np.array([-10.0, 0.0, 40.0]), 1) == pytest.approx(10)


def test_arguments_are_left_alone():
    x, w = scores(4), np.array([1.0, 2.0, 3.0, 4.0])
    kept = x.copy(), w.copy()
    means.power_mean(x, -1, w), means.crossings(x, x[::-1].copy()), means.dominates(x, x)
    assert (x == kept[0]).all() and (w == kept[1]).all()


# ---- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [0.0, -3.0])
@pytest.mark.parametrize("p", [0, -1, 0.5, 2])
def test_scores_that_are_not_positive_are_refused_unless_the_mean_is_arithmetic(bad, p):
    with pytest.raises(ValueError, match=f"expected scores > 0, got {bad:g}"):
        means.power_mean(np.array([[50.0, bad]]), p)


def test_bad_weights_orders_and_ranges_are_refused():
    x = scores(3)
    with pytest.raises(ValueError, match="w >= 0, got"):
        means.power_mean(x, 1, np.array([1.0, -1.0, 1.0]))
    with pytest.raises(ValueError, match="positive sum"):
        means.power_mean(x, 1, np.zeros(3))
    with pytest.raises(ValueError, match="order must be 1 or 2, got 3"):
        means.dominates(x, x, order=3)
    with pytest.raises(ValueError, match="low < high"):
        means.crossings(x, x, 2.0, 1.0)
    with pytest.raises(ValueError, match="two systems"):
        means.kendall_tau_matrix(scores(3, 1))
