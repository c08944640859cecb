"""lib.quadrature: weights that sum to one, textbook orders, and captum's trapezoid rule beside ours."""

import numpy as np
import pytest

from lib import quadrature


def integrate(g, name, n):
    nodes, weights = quadrature.rule(name, n)
    return float(weights @ g(nodes))


@pytest.mark.parametrize("name", quadrature.NAMES)
@pytest.mark.parametrize("n", [2, 3, 7, 64])
def test_weights_sum_to_one_and_nodes_stay_inside(name, n):
    nodes, weights = quadrature.rule(name, n)
    assert nodes.shape == weights.shape == (n,)
    # 64 additions of numbers below 1 in float64
    assert abs(weights.sum() - 1) < 1e-14
    assert nodes.min() >= 0 and nodes.max() <= 1


@pytest.mark.parametrize(("name", "order"), [("left", -1), ("right", -1), ("midpoint", -2), ("trapezoid", -2)])
def test_the_error_of_a_smooth_integrand_has_the_textbook_order(name, order):
    n = [8, 16, 32, 64]
    errors = [abs(integrate(np.exp, name, k) - (np.e - 1)) for k in n]
    # the trapezoid rule has n - 1 intervals, which bends its slope by 1/n
    assert abs(np.polyfit(np.log(n), np.log(errors), 1)[0] - order) < 0.15


def test_the_leading_error_terms_in_the_docstring_have_the_right_sign_and_size():
    n, rise = 1000, np.e - 1
    predicted = {"right": rise / 2 / n, "left": -rise / 2 / n, "midpoint": -rise / 24 / n**2}
    predicted["trapezoid"] = rise / 12 / (n - 1) ** 2
    for name, term in predicted.items():
        # the next term is smaller by 1/n
        assert integrate(np.exp, name, n) - rise == pytest.approx(term, rel=1e-2)


def test_gauss_is_exact_to_degree_2n_minus_1_and_no_further():
    assert abs(integrate(lambda a: a**9, "gauss", 5) - 1 / 10) < 1e-15
    assert abs(integrate(lambda a: a**10, "gauss", 5) - 1 / 11) > 1e-7


def test_trapezoid_agrees_with_numpy():
    nodes, _ = quadrature.rule("trapezoid", 9)
    assert integrate(np.exp, "trapezoid", 9) == pytest.approx(np.trapezoid(np.exp(nodes), nodes), rel=1e-15)


@pytest.mark.parametrize("name", quadrature.NAMES)
@pytest.mark.parametrize("n", [2, 5, 16])
def test_no_rule_beats_one_over_n_on_a_step_at_a_random_place_and_midpoints_attain_it(name, n):
    nodes, weights = quadrature.rule(name, n)
    place = (np.arange(40_000) + 0.5) / 40_000
    error = weights @ (nodes[:, None] > place) - (1 - place)
    # the mean over 40000 places misses the integral over all of them by about 1/40000
    assert np.sqrt((error**2).mean()) > (1 - 1e-4) / np.sqrt(12) / (n + 1)
    if name == "midpoint":
        assert np.sqrt((error**2).mean()) == pytest.approx(1 / np.sqrt(12) / n, rel=1e-4)


@pytest.mark.parametrize(("ours", "theirs"), [("left", "left"), ("right", "right"), ("midpoint", "middle")])
def test_captum_has_the_same_rectangles(ours, theirs):
    methods = pytest.importorskip("captum.attr._utils.approximation_methods")
    steps, alphas = methods.approximation_parameters(f"riemann_{theirs}")
    nodes, weights = quadrature.rule(ours, 10)
    # captum's nodes pass through float32
    np.testing.assert_allclose(alphas(10), nodes, atol=1e-7)
    np.testing.assert_allclose(steps(10), weights, atol=1e-15)


def test_captum_divides_the_trapezoid_rule_by_one_interval_too_many():
    methods = pytest.importorskip("captum.attr._utils.approximation_methods")
    steps, alphas = methods.approximation_parameters("riemann_trapezoid")
    nodes, weights = quadrature.rule("trapezoid", 10)
    np.testing.assert_allclose(alphas(10), nodes, atol=1e-7)
    np.testing.assert_allclose(steps(10), weights * 9 / 10, atol=1e-15)


def test_pieces_make_gauss_exact_for_a_broken_line():
    nodes, weights = quadrature.on_pieces(quadrature.rule("gauss", 2), np.array([0, 0.3, 1]))
    assert abs(weights @ np.abs(nodes - 0.3) - (0.3**2 + 0.7**2) / 2) < 1e-15


def test_one_point_rules_exist_where_they_make_sense():
    assert quadrature.rule("gauss", 1)[0].tolist() == [0.5]
    assert quadrature.rule("right", 1)[0].tolist() == [1.0]


def test_rules_are_read_only_because_they_are_cached():
    with pytest.raises(ValueError, match="read-only"):
        quadrature.rule("left", 4)[1][0] = 5


@pytest.mark.parametrize(("name", "n"), [("simpson", 4), ("gauss", 0), ("trapezoid", 1)])
def test_unknown_rules_and_too_few_points_are_refused(name, n):
    with pytest.raises(ValueError, match="rule"):
        quadrature.rule(name, n)


@pytest.mark.parametrize("breaks", [[0.0, 0.7, 0.2, 1.0], [0.0], [0.1, 1.0]])
def test_breaks_that_do_not_run_from_zero_to_one_are_refused(breaks):
    with pytest.raises(ValueError, match="breaks"):
        quadrature.on_pieces(quadrature.rule("gauss", 2), np.array(breaks))
