"""lib.vmf: the law of w, its moments and divergence, and draws that carry gradients."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from lib.vmf import VonMisesFisher, kl_to_uniform, mean_resultant

CASES = [(2, 5.0), (3, 5.0), (16, 32.0), (16, 64.0), (8, 32.0), (64, 32.0)]


def area(g):
    return integrate.quad(g, 0, np.pi, epsabs=0, epsrel=1e-10)[0]


def angle_law(d, kappa):
    """Unnormalised density of the angle, its integral, and that of the uniform law."""

    def f(t):
        return np.exp(kappa * (np.cos(t) - 1)) * np.sin(t) ** (d - 2)

    return f, area(f), area(lambda t: np.sin(t) ** (d - 2))


def distribution(d, kappa):
    """P(w <= x) of the cosine, from a fine grid of angles."""
    t = np.linspace(0, np.pi, 200_001)
    with np.errstate(divide="ignore"):
        power = (d - 2) * np.log(np.sin(t)) if d > 2 else 0
    log = kappa * np.cos(t) + power
    mass = integrate.cumulative_trapezoid(np.exp(log - log.max()), t, initial=0)
    return lambda x: 1 - np.interp(np.arccos(np.clip(x, -1, 1)), t, mass / mass[-1])


@pytest.mark.parametrize(("d", "kappa"), CASES)
def test_mean_and_divergence_agree_with_quadrature(d, kappa):
    f, F, G = angle_law(d, kappa)
    assert mean_resultant(d, kappa) == pytest.approx(area(lambda t: f(t) * np.cos(t)) / F, rel=1e-8)
    kl = area(lambda t: f(t) / F * (kappa * (np.cos(t) - 1) - np.log(F / G)))
    assert kl_to_uniform(d, kappa) == pytest.approx(kl, rel=1e-8)


def test_the_divergence_is_entropy_lost_by_scipys_law():
    for d, kappa in CASES:
        log_area = math.log(2) + d / 2 * math.log(math.pi) - math.lgamma(d / 2)
        peer = stats.vonmises_fisher(np.eye(d)[0], kappa)
        assert kl_to_uniform(d, kappa) == pytest.approx(log_area - peer.entropy(), rel=1e-8)


def test_known_values_and_limits():
    assert mean_resultant(3, 2.0) == pytest.approx(1 / math.tanh(2) - 1 / 2)  # Langevin's function
    assert kl_to_uniform(5, 0.0) == mean_resultant(5, 0.0) == 0.0
    assert kl_to_uniform(16, 1e-2) == pytest.approx(1e-4 / 32, rel=1e-2)
    # a Gaussian of variance 1/κ in d − 1 dimensions; I itself overflows here
    assert kl_to_uniform(16, 8e4) - kl_to_uniform(16, 4e4) == pytest.approx(7.5 * math.log(2), rel=1e-3)
    assert 1 - mean_resultant(16, 1e9) == pytest.approx(7.5e-9, rel=1e-3)
    assert kl_to_uniform(16, 1e9) - kl_to_uniform(16, 5e8) == pytest.approx(7.5 * math.log(2), rel=1e-3)
    assert kl_to_uniform(16, 1e-7) >= 0  # below the rounding of its terms


@pytest.mark.parametrize(("d", "kappa"), [*CASES, (8, 0.0), (64, 2000.0)])
def test_cosines_follow_their_law(d, kappa):
    u = torch.linspace(0.0005, 0.9995, 1000, dtype=torch.float64)
    law = VonMisesFisher(d, kappa)
    # grids of 2e4 and 2e5 angles
    np.testing.assert_allclose(distribution(d, kappa)(law.cosine(u).numpy()), (1 - u).numpy(), atol=1e-5)
    ends = law.cosine(torch.tensor([0.0, 1.0]))
    assert ends[0] > ends[1] and ends.abs().max() <= 1
    assert law.cosine(u.float()).dtype == torch.float32


def test_draws_agree_with_scipy_and_lie_on_the_sphere():
    mu = torch.nn.functional.normalize(torch.arange(1.0, 9.0), dim=0)
    law = VonMisesFisher(8, 20.0)
    z = law.sample(mu.expand(20_000, 8), law.noise(20_000, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(z.norm(dim=-1), torch.ones(20_000))
    peer = stats.vonmises_fisher(mu.double().numpy() / np.linalg.norm(mu.double().numpy()), 20.0, seed=0).rvs(20_000)
    for axis in range(8):
        assert stats.ks_2samp(z[:, axis].numpy(), peer[:, axis]).pvalue > 1e-4
    # 1/√20000 times a spread of 0.2
    torch.testing.assert_close(z.mean(0), mean_resultant(8, 20.0) * mu, rtol=0, atol=6e-3)


@pytest.mark.parametrize("d", [2, 3])
def test_draws_lie_on_the_sphere_where_the_noise_is_nearly_parallel_to_the_mean(d):
    law = VonMisesFisher(d, 5.0)
    noise = law.noise(100_000, generator=torch.Generator().manual_seed(0))
    mu = torch.nn.functional.normalize(torch.ones(d), dim=0)
    z = law.sample(mu.expand(100_000, d), noise)
    # float32
    torch.testing.assert_close(z.norm(dim=-1), torch.ones(100_000), rtol=0, atol=1e-5)
    torch.testing.assert_close(z @ mu, noise[:, 0], rtol=0, atol=1e-5)
    peer = stats.vonmises_fisher(mu.double().numpy() / np.linalg.norm(mu.double().numpy()), 5.0, seed=0).rvs(100_000)
    assert stats.ks_2samp(z[:, 0].numpy(), peer[:, 0]).pvalue > 1e-4


def test_draws_are_differentiable_in_the_mean_direction():
    law = VonMisesFisher(5, 9.0)
    noise = law.noise(3, generator=torch.Generator().manual_seed(0)).double()
    free = torch.linspace(-1, 1, 15, dtype=torch.float64).view(3, 5).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: law.sample(torch.nn.functional.normalize(x, dim=-1), noise), free)


def test_a_seed_fixes_the_noise():
    law = VonMisesFisher(4, 3.0)
    one, two, other = (law.noise(2, 3, generator=torch.Generator().manual_seed(k)) for k in (1, 1, 2))
    assert one.shape == (2, 3, 5) and torch.equal(one, two) and not torch.equal(one, other)


def test_bad_input_is_refused():
    law = VonMisesFisher(4, 3.0)
    for call, words in (
        (lambda: VonMisesFisher(1, 3.0), "d >= 2"),
        (lambda: kl_to_uniform(4, -1.0), "kappa >= 0"),
        (lambda: mean_resultant(4, math.inf), "finite kappa"),
        (lambda: mean_resultant(4000, 1.0), "underflow"),
        (lambda: VonMisesFisher(4, 3.0, table=3), "table >= 100"),
        (lambda: VonMisesFisher(4, 1e9), "angles resolve"),
        (lambda: law.cosine(torch.tensor([1.5])), r"\[0, 1\]"),
        (lambda: law.sample(torch.ones(2, 3), torch.ones(2, 5)), "4 channels"),
        (lambda: law.sample(torch.ones(2, 4), torch.ones(2, 4)), "one more"),
    ):
        with pytest.raises(ValueError, match=words):
            call()


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_agrees_with_the_cpu():
    law = VonMisesFisher(4, 3.0)
    u = torch.linspace(0.1, 0.9, 9)
    torch.testing.assert_close(law.cosine(u.cuda()).cpu(), law.cosine(u))
    noise = law.noise(6, generator=torch.Generator("cuda").manual_seed(0))
    mu = torch.nn.functional.normalize(torch.ones(6, 4), dim=-1)
    torch.testing.assert_close(law.sample(mu.cuda(), noise).cpu(), law.sample(mu, noise.cpu()))
