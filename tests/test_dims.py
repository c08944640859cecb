import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from lib import dims

PHI = (1 + math.sqrt(5)) / 2


def quadrature(n, kappa):
    """h_n from its definition, with the largest exponent taken out."""
    top = kappa * n

    def moment(power):
        def weight(a):
            return math.sin(a) ** (n - 2) * (top * math.cos(a)) ** power * math.exp(top * (math.cos(a) - 1))

        return quad(weight, 0, math.pi, epsabs=0, epsrel=1e-12, limit=400)[0]

    size = quad(lambda a: math.sin(a) ** (n - 2), 0, math.pi, epsabs=0, epsrel=1e-12)[0]
    return math.log(moment(0) / size) + top - moment(1) / moment(0)


@pytest.mark.parametrize(("n", "kappa"), [(2, 1.0), (3, 1.0), (32, 1.0), (33, 0.3), (128, 1.0), (200, 2.5)])
def test_the_correction_is_the_integral_over_the_angle(n, kappa):
    # quad is asked for 1e-12; the logarithm and the tilted mean (up to 500) keep 1e-9
    assert dims.entropy_correction(n, kappa) == pytest.approx(quadrature(n, kappa), abs=1e-8)


def test_the_first_dimension_is_a_coin():
    # n = 1: s is +1 or -1 with equal chance
    assert dims.entropy_correction(1) == pytest.approx(math.log(math.cosh(1)) - math.tanh(1), abs=1e-14)


def test_three_dimensions_are_elementary():
    # n = 3: cos is uniform, so E[e^s] = sinh(3)/3 and the tilted mean is 3 coth 3 - 1
    assert dims.entropy_correction(3) == pytest.approx(math.log(math.sinh(3) / 3) - 3 / math.tanh(3) + 1, abs=1e-13)


@pytest.mark.parametrize("kappa", [1 / 16, 0.5, 1.0, 4.0])
def test_the_asymptote_errs_by_less_than_one_over_n(kappa):
    n = np.array([64, 256, 1024, 4096, 20_000])
    gap = dims.entropy_correction(n, kappa) - dims.entropy_asymptote(n, kappa)
    assert (np.abs(gap) * n < 0.1).all()


@pytest.mark.parametrize(("n", "x"), [(302, 1.0), (802, 0.8), (1202, 5.0), (6002, 6000.0)])
def test_where_the_scaled_bessel_function_underflows_the_expansion_takes_over(n, x):
    mpmath = pytest.importorskip("mpmath")
    nu = n / 2 - 1
    low, high = (mpmath.besseli(nu + j, x) for j in (0, 1))
    log_mean = mpmath.loggamma(n / 2) + nu * mpmath.log(2 / mpmath.mpf(x)) + mpmath.log(low)
    # both terms are of size x² / n, from logarithms of size up to 5e4: 1e-8 is about ten times their rounding
    assert dims.entropy_correction(n, x / n) == pytest.approx(float(log_mean - x * high / low), abs=1e-8)


def test_arrays_and_numbers_give_the_same_values():
    n = np.array([[8, 16], [32, 64]])
    table = dims.entropy_correction(n)
    assert table.shape == (2, 2)
    assert table[1, 0] == dims.entropy_correction(32)
    assert isinstance(dims.entropy_correction(32.0), float)


def test_the_freezing_constant_at_unit_norm_is_the_golden_one():
    assert dims.freezing_constant() == pytest.approx(4 / math.log(PHI), rel=1e-14)
    assert dims.freezing_constant(rows=True) == pytest.approx(2 / math.log(PHI), rel=1e-14)


@pytest.mark.parametrize("kappa", [0.25, 1.0, 3.0])
@pytest.mark.parametrize("rows", [False, True])
def test_the_critical_dimension_is_the_first_with_negative_entropy(kappa, rows):
    n = dims.critical_dimension(5000, kappa, rows=rows)
    assert dims.annealed_entropy(5000, n, kappa, rows=rows) < 0 <= dims.annealed_entropy(5000, n - 1, kappa, rows=rows)


def test_the_critical_dimension_of_the_post():
    assert [dims.critical_dimension(N) for N in (1e5, 5e6, 512)] == [96, 128, 52]


def test_standard_attention_never_freezes():
    # kappa = 1/sqrt(n): h_n tends to -1/2, so the entropy of a row of length 64 stays near its maximum
    for n in (16, 256, 4096):
        assert dims.annealed_entropy(64, n, n**-0.5, rows=True) > math.log(64) - 0.51


def test_entropies_agree_with_torch():
    U, V = dims.random_vectors(40, 12, 1.3, seed=3)
    got = dims.softmax_entropies(U, V)
    S = torch.tensor(U @ V.T)
    rows = torch.distributions.Categorical(logits=S)
    pairs = torch.distributions.Categorical(logits=S.flatten())
    expected = (pairs.entropy(), rows.entropy().mean(), pairs.probs.max(), rows.probs.amax(-1).mean())
    np.testing.assert_allclose(got, [float(x) for x in expected], rtol=1e-12)


def test_blocks_do_not_change_the_result(monkeypatch):
    whole = dims.sample_entropy(50, 9, seed=1)
    monkeypatch.setattr(dims, "BLOCK", 7 * 50)
    np.testing.assert_allclose(dims.sample_entropy(50, 9, seed=1), whole, rtol=1e-12)


def test_a_warm_sample_has_the_annealed_entropy():
    # n = 8 is 1.2 log 800, far below freezing; the fluctuation of the mean over 800² pairs is about 0.01
    assert dims.sample_entropy(800, 8).joint == pytest.approx(dims.annealed_entropy(800, 8), abs=0.05)


def test_large_logits_stay_finite():
    got = dims.sample_entropy(10, 2000)
    assert np.isfinite(got).all() and got.joint >= 0 and got.p_max <= 1


def test_random_vectors_have_the_stated_norm_and_depend_on_the_seed():
    U, V = dims.random_vectors(20, 5, 0.7, seed=2)
    np.testing.assert_allclose((U**2).sum(1), 0.7 * 5)
    assert not np.allclose(U, V) and not np.allclose(U, dims.random_vectors(20, 5, 0.7, seed=4)[0])


@pytest.mark.parametrize(
    "call",
    [
        lambda: dims.entropy_correction(0),
        lambda: dims.entropy_correction(math.inf),
        lambda: dims.entropy_correction(np.array([])),
        lambda: dims.entropy_correction(8, -1.0),
        lambda: dims.freezing_constant(0.0),
        lambda: dims.annealed_entropy(1, 8),
        lambda: dims.critical_dimension(math.nan),
        lambda: dims.critical_dimension(1e5, 1e-5),
        lambda: dims.sample_entropy(1, 8),
        lambda: dims.softmax_entropies(np.zeros((0, 3)), np.ones((2, 3))),
        lambda: dims.softmax_entropies(np.full((2, 3), np.nan), np.ones((2, 3))),
    ],
)
def test_bad_input_is_refused(call):
    with pytest.raises(ValueError, match=r"(expected|must be|no zero)"):
        call()
