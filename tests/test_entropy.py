"""Entropy of attention rows: laws, parity with independent references, edges, refusals."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import gammaln, ive

from lib import dims, entropy


def test_the_entropy_of_a_row_is_its_log_sum_less_its_mean_score():
    s = 3 * torch.randn(2, 5, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    p = s.softmax(-1)
    torch.testing.assert_close(entropy.attention_entropy(p), s.logsumexp(-1) - (p * s).sum(-1))


def test_scaling_up_always_sharpens():
    s = torch.randn(64, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    h = [entropy.attention_entropy((beta * s).softmax(-1)).item() for beta in (0.0, 0.5, 1.0, 2.0, 8.0)]
    assert h[0] == pytest.approx(math.log(64))
    assert all(a > b for a, b in pairwise(h))


def test_entropy_agrees_with_torch_distributions():
    p = torch.rand(7, 11, generator=torch.Generator().manual_seed(2), dtype=torch.float64).softmax(-1)
    torch.testing.assert_close(entropy.attention_entropy(p), torch.distributions.Categorical(p).entropy())


def test_zeros_count_nothing_and_a_row_of_zeros_has_entropy_zero():
    p = torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    got = entropy.attention_entropy(p)
    assert got.tolist() == pytest.approx([math.log(2), 0.0, 0.0])
    assert got.dtype == torch.float64


def test_half_precision_rows_are_accepted():
    p = torch.randn(3, 100, generator=torch.Generator().manual_seed(3)).softmax(-1).bfloat16()
    assert entropy.attention_entropy(p).isfinite().all()


def test_rows_that_are_no_distribution_are_refused():
    with pytest.raises(ValueError, match=r"sum 1, got minimum 0\.3 and sums 0\.6"):
        entropy.attention_entropy(torch.full((1, 2), 0.3))
    with pytest.raises(ValueError, match="non-negative"):
        entropy.attention_entropy(torch.tensor([1.5, -0.5]))


@pytest.mark.parametrize(("lam", "d"), [(0.125, 64), (1.0, 64), (2.5, 3), (0.7, 2), (0.3, 101)])
def test_the_shift_agrees_with_adaptive_quadrature(lam, d):
    peak = math.acos(2 * lam / (1 + math.sqrt(1 + 4 * lam**2)))

    def f(t, k):
        return math.cos(t) ** k * math.exp(lam * d * (math.cos(t) - 1)) * math.sin(t) ** (d - 2)

    one, cos = (quad(f, 0, math.pi, args=(k,), points=[peak], epsabs=0, epsrel=1e-11)[0] for k in (0, 1))
    zero = quad(lambda t: math.sin(t) ** (d - 2), 0, math.pi)[0]
    expected = math.log(one / zero) + lam * d * (1 - cos / one)
    assert entropy.sphere_shift(lam, d) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize(("lam", "d"), [(0.125, 64), (1.0, 64), (0.5, 2), (1.0, 1000)])
def test_the_shift_agrees_with_bessel_functions(lam, d):
    nu, x = d / 2 - 1, lam * d
    log_mean = gammaln(d / 2) + nu * math.log(2 / x) + math.log(ive(nu, x)) + x
    expected = log_mean - x * ive(nu + 1, x) / ive(nu, x)
    assert entropy.sphere_shift(lam, d) == pytest.approx(expected, rel=1e-9)
    assert entropy.sphere_shift(lam, d) == pytest.approx(dims.entropy_correction(d, lam), rel=1e-9)


def test_the_shift_is_zero_at_zero_and_broadcasts():
    got = entropy.sphere_shift(np.array([[0.0, 0.1], [0.5, 1.0]]), 64)
    assert got.shape == (2, 2)
    assert got[0, 0] == pytest.approx(0, abs=1e-12)
    assert got[1, 1] == pytest.approx(entropy.sphere_shift(1.0, 64))
    assert entropy.sphere_shift_laplace(np.array([0.0, 1.0]), 64)[0] == 0


def test_laplace_has_the_constant_of_the_post_at_one_and_a_square_at_small_lambda():
    constant = entropy.sphere_shift_laplace(1, 1000) / 1000
    assert constant == pytest.approx(0.5 * math.log((math.sqrt(5) - 1) / 2), rel=1e-12)
    assert entropy.sphere_shift_laplace(1e-3, 100) == pytest.approx(-1e-6 * 50, rel=1e-5)
    # the terms left out are O(1) against a leading term of 240
    assert entropy.sphere_shift(1.0, 1000) == pytest.approx(1000 * constant, rel=0.002)


def test_a_shift_below_two_dimensions_or_of_negative_lambda_is_refused():
    for function in (entropy.sphere_shift, entropy.sphere_shift_laplace):
        with pytest.raises(ValueError, match="d >= 2, got d=1"):
            function(1.0, 1)
        with pytest.raises(ValueError, match="lam >= 0"):
            function(-0.5, 4)


def test_the_posterior_temperature_is_found_and_is_a_minimum():
    g = torch.Generator().manual_seed(4)
    keys = torch.nn.functional.normalize(torch.randn(64, 16, generator=g, dtype=torch.float64), dim=-1)
    target = torch.randint(64, (4000,), generator=g)
    scores = (keys[target] + 0.4 * torch.randn(4000, 16, generator=g, dtype=torch.float64)) @ keys.T
    beta = entropy.best_beta(scores, target)

    def loss(b):
        return torch.nn.functional.cross_entropy(b * scores, target).item()

    assert loss(beta) < min(loss(0.99 * beta), loss(1.01 * beta))
    # the posterior is softmax(q·k/σ²); 4000 rows of variance about 0.05 leave an error of 0.07 in β
    assert beta == pytest.approx(1 / 0.4**2, rel=0.06)


def test_the_temperature_of_two_scores_is_a_log_odds():
    # Three rows in four have their target at +1, one at −1: sigmoid(2β) = 3/4.
    scores = torch.tensor([[1.0, -1.0]]).repeat(4, 1)
    beta = entropy.best_beta(scores, torch.tensor([0, 0, 0, 1]))
    assert beta == pytest.approx(math.log(3) / 2, rel=1e-5)


def test_targets_without_a_finite_optimum_are_refused():
    scores = torch.tensor([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0]])
    with pytest.raises(ValueError, match="no optimum"):
        entropy.best_beta(scores, torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="no optimum"):
        entropy.best_beta(scores, torch.tensor([2, 0]))
    with pytest.raises(ValueError, match=r"must lie in \[0, 3\)"):
        entropy.best_beta(scores, torch.tensor([0, 3]))
    with pytest.raises(ValueError, match="tol < 1"):
        entropy.best_beta(scores, torch.tensor([0, 0]), tol=0.0)


def test_the_lead_of_targets_is_read_off_the_scores():
    scores = torch.tensor([[5.0, 1.0, -1.0, 0.0], [2.0, 0.0, 7.0, 1.0]])
    delta, sigma = entropy.lead(scores, torch.tensor([0, 2]))
    assert delta == pytest.approx(6 - 0.5)
    assert sigma == pytest.approx(1.0)  # both crowds have variance 1
    with pytest.raises(ValueError, match="m >= 3"):
        entropy.lead(scores[:, :2], torch.tensor([0, 1]))


def test_the_log_odds_agree_with_gaussian_crowds_on_both_sides_of_freezing():
    g = torch.Generator().manual_seed(5)
    n = 20_000
    crowd = torch.randn(100, n, generator=g, dtype=torch.float64)
    for factor in (0.5, 2.0, 8.0):
        found = (factor * 6.0 - (factor * crowd).logsumexp(1)).mean().item()
        # corrections are O(log log n) factor once frozen (edge 4.45): an eighth of the logits' spread
        assert entropy.log_odds(6.0, 1.0, n, factor) == pytest.approx(found, abs=0.02 if factor < 4 else 0.5 * factor)


def test_the_log_odds_are_continuous_where_the_crowd_freezes():
    edge = math.sqrt(2 * math.log(1000))
    below, above = (entropy.log_odds(3.0, edge * x, 1000) for x in (1 - 1e-9, 1 + 1e-9))
    assert below == pytest.approx(above, abs=1e-6)
    assert entropy.log_odds(3, 0, 2) == pytest.approx(3 - math.log(2))


def test_log_odds_of_no_crowd_or_of_negative_deviation_are_refused():
    with pytest.raises(ValueError, match="n >= 2"):
        entropy.log_odds(1.0, 1.0, 1)
    with pytest.raises(ValueError, match="sigma >= 0"):
        entropy.log_odds(1.0, -1.0, 8)
    with pytest.raises(ValueError, match="margin"):
        entropy.log_odds(math.inf, 1.0, 8)
