"""lib.approx on problems whose best approximation is known in closed form, and against scipy."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import erf, expit, ndtr

from lib.approx import extrema, minimax, sup


def test_the_best_line_for_exp_is_the_textbook_one():
    fit = minimax(np.exp, lambda x, a, b: a + b * x, (1.0, 1.0), np.linspace(0, 1, 2001))
    slope = math.e - 1  # slope of the chord; the tangent of that slope touches at log(e - 1)
    intercept = (1 + slope * (1 - math.log(slope))) / 2
    assert fit.alternates
    assert fit.signs in ((1, -1, 1), (-1, 1, -1))
    np.testing.assert_allclose(fit.parameters, (intercept, slope), rtol=1e-9)
    assert fit.extrema[1] == pytest.approx(math.log(slope), abs=1e-6)
    assert fit.error == pytest.approx(1 - intercept, rel=1e-9)


def test_the_best_quadratic_for_a_cubic_leaves_a_chebyshev_polynomial():
    fit = minimax(lambda x: x**3, lambda x, a, b, c: a + b * x + c * x**2, (0.1, 0.2, 0.3), np.linspace(-1, 1, 4001))
    np.testing.assert_allclose(fit.parameters, (0, 0.75, 0), atol=1e-9)
    np.testing.assert_allclose(fit.extrema, (-1, -0.5, 0.5, 1), atol=1e-6)
    assert fit.error == pytest.approx(0.25, rel=1e-12)


@pytest.mark.parametrize("start", [0.9, 1.5, 2.5])
def test_a_nonlinear_fit_agrees_with_bounded_minimisation(start):
    grid = np.linspace(0, 12, 40_001)
    fit = minimax(ndtr, lambda x, rate: expit(rate * x), (start,), grid)
    peer = minimize_scalar(
        lambda rate: np.abs(ndtr(grid) - expit(rate * grid)).max(),
        bounds=(1, 3),
        method="bounded",
        options={"xatol": 1e-9},
    )
    assert fit.alternates
    assert fit.parameters[0] == pytest.approx(peer.x, abs=1e-6)  # the peer stops where its grid does
    assert fit.error <= peer.fun * (1 + 1e-7)


def test_squareplus_of_the_sequel_post_is_the_same_problem():
    grid = np.linspace(0, 40, 40_001)  # both sides are x/2 plus an even function, so the half axis is enough
    fit = minimax(lambda x: np.logaddexp(0, x), lambda x, b: (x + np.sqrt(x * x + b)) / 2, (1.0,), grid)
    gap = lambda b: np.abs(np.logaddexp(0, grid) - (grid + np.sqrt(grid * grid + b)) / 2).max()  # noqa: E731
    peer = minimize_scalar(gap, bounds=(0.5, 3), method="bounded", options={"xatol": 1e-10})
    assert fit.alternates
    assert fit.parameters[0] == pytest.approx(peer.x, abs=1e-6)
    assert fit.extrema[0] == 0  # one of the two extrema is the end of the interval


def test_moving_any_parameter_off_the_optimum_makes_the_error_larger():
    grid = np.linspace(0, 12, 20_001)
    family = lambda x, a, b: np.tanh(a * x + b * x**3)  # noqa: E731
    target = lambda x: erf(x / math.sqrt(2))  # noqa: E731
    fit = minimax(target, family, (0.8, 0.035), grid)
    assert fit.alternates
    for step in ((1e-4, 0), (-1e-4, 0), (0, 1e-4), (0, -1e-4), (1e-4, -1e-5)):
        a, b = np.add(fit.parameters, step)
        assert sup(lambda x, a=a, b=b: target(x) - family(x, a, b), grid)[1] > fit.error


def test_extrema_are_refined_between_grid_points_and_alternate():
    x, e = extrema(np.cos, np.linspace(0, 7, 200))
    np.testing.assert_allclose(x, (0, math.pi, 2 * math.pi), atol=1e-4)  # a parabola through steps of 0.035
    np.testing.assert_allclose(e, (1, -1, 1), atol=1e-8)
    assert sup(np.sin, np.linspace(0, 2, 100)) == pytest.approx((math.pi / 2, 1), abs=1e-5)


def test_an_exact_fit_has_no_error_and_certifies_nothing():
    grid = np.linspace(0, 1, 101)
    assert sup(np.zeros_like, grid) == (0.0, 0.0)
    fit = minimax(lambda x: 2 * x, lambda x, a: a * x, (1.9,), grid)
    assert fit.parameters[0] == pytest.approx(2, abs=1e-9)
    assert fit.error < 1e-9


def test_bounds_hold_and_a_fit_that_ends_on_one_does_not_claim_to_alternate():
    fit = minimax(ndtr, lambda x, rate: expit(rate * x), (1.5,), np.linspace(0, 12, 2001), bounds=[(1.0, 1.6)])
    assert fit.parameters[0] == pytest.approx(1.6, abs=1e-9)
    assert not fit.alternates


@pytest.mark.parametrize(
    ("start", "grid", "message"),
    [
        ((), np.linspace(0, 1, 100), "start values"),
        ((math.nan,), np.linspace(0, 1, 100), "start values"),
        ((1.0,), np.linspace(0, 1, 5), "16 points or more, got 5"),
        ((1.0,), np.linspace(1, 0, 100), "increasing"),
    ],
)
def test_senseless_problems_are_refused(start, grid, message):
    with pytest.raises(ValueError, match=message):
        minimax(np.exp, lambda x, *p: x, start, grid)


def test_a_start_outside_its_bounds_and_an_infinite_error_are_refused():
    grid = np.linspace(0, 1, 100)
    with pytest.raises(ValueError, match="within bounds"):
        minimax(np.exp, lambda x, a: a * x, (3.0,), grid, bounds=[(0.0, 2.0)])
    with pytest.raises(ValueError, match="finite"):
        sup(lambda x: x * np.nan, grid)
