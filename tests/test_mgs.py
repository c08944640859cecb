import pytest
import torch
from scipy.special import ive
from scipy.stats import multivariate_normal
from torch.func import functional_call, vmap

from lib import mgs


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


def plane(seed=0):
    z = torch.randn(2, 3, generator=gen(seed), dtype=torch.float64)
    return {"a": z[0, :2], "b": z[1].reshape(3, 1)}


@pytest.mark.parametrize("nu", [0.5, 1, 2.5, 10, 40])
@pytest.mark.parametrize("c", [1e-3, 0.3, 7.0, 90.0, 5e3])
def test_the_bessel_ratio_is_scipys_where_scipy_has_one(nu, c):
    if ive(nu, c) > 1e-250:
        assert mgs.bessel_ratio(nu, c) == pytest.approx(ive(nu + 1, c) / ive(nu, c), rel=1e-8)


def test_the_bessel_ratio_survives_where_the_bessel_functions_underflow():
    assert ive(5000, 3.0) == 0
    assert mgs.bessel_ratio(5000, 3.0) == pytest.approx(3 / 10002, rel=1e-6)
    assert mgs.bessel_ratio(1, 1e9) == pytest.approx(1, rel=1e-8)
    assert mgs.bessel_ratio(1, 0) == 0


def test_the_ball_step_turns_from_gradient_descent_into_the_normalised_gradient():
    g = torch.tensor([3.0, 0.0, -4.0], dtype=torch.float64)
    torch.testing.assert_close(mgs.ball_step(g, 0.1, 1e4), -(0.01 / (1e4 * 5)) * g)
    torch.testing.assert_close(mgs.ball_step(g, 0.1, 1e-9), -0.1 * g / 5)
    assert not mgs.ball_step(0 * g, 0.1, 1.0).any()


def test_the_ball_step_is_the_mean_over_the_ball():
    z = torch.randn(200_000, 3, generator=gen(), dtype=torch.float64)
    u = z / z.norm(dim=1, keepdim=True) * torch.rand(len(z), 1, generator=gen(1), dtype=torch.float64) ** (1 / 3)
    g = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    # 2e5 draws, effective some 1e5: three standard errors are below 0.01
    torch.testing.assert_close((-u @ g).softmax(0) @ u, mgs.ball_step(g, 1.0, 1.0), rtol=0, atol=0.01)


def test_the_damped_step_reaches_gradient_descent_and_newton():
    H = torch.tensor([[2.0, 0.5], [0.5, 1.0]], dtype=torch.float64)
    g = torch.tensor([1.0, -1.0], dtype=torch.float64)
    torch.testing.assert_close(mgs.damped_newton(g, H, 1e9, 1.0), -1e-9 * g, rtol=1e-6, atol=0)
    torch.testing.assert_close(mgs.damped_newton(g, H, 1e-12, 1.0), -torch.linalg.solve(H, g))
    torch.testing.assert_close(mgs.damped_newton(g, -H, 6.0, 1.0), -g @ torch.linalg.inv(6 * torch.eye(2) - H))


def test_the_damped_step_refuses_what_has_no_integral():
    H = -torch.eye(2)
    with pytest.raises(ValueError, match="lowest eigenvalue -1"):
        mgs.damped_newton(torch.ones(2), H, 0.5, 1.0)
    with pytest.raises(ValueError, match="symmetric"):
        mgs.damped_newton(torch.ones(2), torch.tensor([[1.0, 1.0], [0.0, 1.0]]), 0.5, 1.0)


@pytest.mark.parametrize("kind", ["literal", "prior", "unit"])
def test_the_weights_are_those_of_scipys_densities(kind):
    mean = plane()
    moves = mgs.propose(mean, 5, sigma=0.7, lam=0.3, generator=gen(1))
    losses = torch.linspace(0, 1, 5, dtype=torch.float64)
    D = torch.cat([moves["a"], moves["b"].flatten(1)], 1).numpy()
    m = torch.cat([mean["a"], mean["b"].flatten()]).numpy()
    variance = 1.0 if kind == "unit" else 0.49
    q = 0.3 * multivariate_normal.pdf(D, 0 * m, variance) + 0.7 * multivariate_normal.pdf(D, m, variance)
    target = torch.exp(-losses / 0.4).numpy() * (multivariate_normal.pdf(D, 0 * m, 0.49) if kind == "prior" else 1)
    logw = mgs.log_weights(losses, moves, mean, sigma=0.7, alpha=0.4, lam=0.3, kind=kind)
    torch.testing.assert_close(logw.softmax(0), torch.tensor(target / q / (target / q).sum()))


def test_with_the_proposal_as_prior_only_the_losses_count():
    moves = mgs.propose(plane(), 3, sigma=0.7, lam=0.3, generator=gen(1))
    losses = torch.tensor([0.0, 1.0, 2.0])
    logw = mgs.log_weights(losses, moves, plane(), sigma=0.7, alpha=2.0, lam=0.3, kind="proposal")
    torch.testing.assert_close(logw, -losses.double() / 2)


@pytest.mark.parametrize("lam", [0.0, 1.0])
def test_a_single_component_is_allowed(lam):
    moves = mgs.propose(plane(), 4, sigma=0.1, lam=lam, generator=gen())
    logw = mgs.log_weights(torch.zeros(4), moves, plane(), sigma=0.1, alpha=1.0, lam=lam, kind="prior")
    assert logw.isfinite().all()
    near = (moves["a"] - (1 - lam) * plane()["a"]).abs().max()
    assert near < 0.5  # five standard deviations


def test_of_four_candidates_two_are_guided_and_on_average_a_share_of_one_minus_lam():
    far = {"a": torch.full((1,), 100.0)}
    for seed in range(20):
        moves = mgs.propose(far, 4, sigma=1.0, lam=0.5, generator=gen(seed))
        assert int((moves["a"] > 50).sum()) == 2
    counts = [int((mgs.propose(far, 3, sigma=1.0, lam=0.7, generator=gen(s))["a"] > 50).sum()) for s in range(400)]
    assert sum(counts) / 1200 == pytest.approx(0.3, abs=0.04)  # three standard errors


def test_the_effective_sample_size_counts():
    assert mgs.ess(torch.zeros(7)) == pytest.approx(7)
    assert mgs.ess(torch.tensor([0.0, -1e4])) == pytest.approx(1)
    assert mgs.ess(torch.tensor([3e4, 3e4, -3e4])) == pytest.approx(2)


def test_a_step_is_the_weighted_mean_of_its_candidates():
    net = torch.nn.Linear(3, 1)
    x = torch.randn(5, 3, generator=gen())
    params = {k: v.detach() for k, v in net.named_parameters()}
    mean = mgs.surrogate_move(params, lambda p: functional_call(net, p, x).square().mean(), lr=0.3, clip=100.0)
    seen = {}

    def loss_fn(stack):
        seen.update(stack)
        return vmap(lambda p: (functional_call(net, p, x) > 0).double().mean())(stack)

    step = mgs.mgs_step(params, mean, loss_fn, sigma=0.5, alpha=0.2, generator=gen(3))
    loop = [(functional_call(net, {k: v[i] for k, v in seen.items()}, x) > 0).double().mean() for i in range(4)]
    torch.testing.assert_close(step.losses, torch.stack(loop))
    for key, value in seen.items():
        torch.testing.assert_close(step.params[key], torch.tensordot(step.weights.float(), value, 1))
    assert step.weights.sum() == pytest.approx(1)


def test_the_surrogate_moves_against_its_gradient_up_to_the_clip():
    params = {"a": torch.tensor([3.0, 4.0])}
    half = lambda p: p["a"].square().sum() / 2  # noqa: E731
    free = mgs.surrogate_move(params, half, lr=0.5, clip=100.0)
    torch.testing.assert_close(free["a"], torch.tensor([-1.5, -2.0]))
    torch.testing.assert_close(mgs.surrogate_move(params, half, lr=0.5)["a"], torch.tensor([-0.3, -0.4]))


def test_unguided_search_with_a_prior_tends_to_evolution_strategies():
    params = {"a": torch.tensor([1.0, -2.0], dtype=torch.float64)}
    loss_fn = lambda p: (p["a"] ** 2).sum(1) + p["a"][:, 0]  # noqa: E731
    zero = {"a": torch.zeros(2, dtype=torch.float64)}
    step = mgs.mgs_step(params, zero, loss_fn, n=400_000, sigma=0.1, alpha=10.0, lam=1.0, generator=gen())
    es = mgs.es_step(params, loss_fn, n=400_000, sigma=0.1, lr=0.001, generator=gen(1))
    exact = -0.001 * torch.tensor([3.0, -4.0], dtype=torch.float64)
    # the mean of 4e5 moves of size 0.1 has a standard error of 1.6e-4; antithetic pairs do not have it
    torch.testing.assert_close(step.params["a"] - params["a"], exact, rtol=0, atol=6e-4)
    torch.testing.assert_close(es.params["a"] - params["a"], exact, rtol=0, atol=5e-5)


def test_reinforce_follows_the_gradient_of_the_expected_loss():
    theta = {"t": torch.tensor(0.3, dtype=torch.float64)}
    chance = theta["t"].sigmoid()
    y = torch.rand(200_000, generator=gen(), dtype=torch.float64) < chance
    losses = torch.where(y, 2.0, 5.0).double()
    log_prob = lambda p: torch.nn.functional.logsigmoid(torch.where(y, 1, -1) * p["t"])  # noqa: E731
    new = mgs.reinforce_step(theta, log_prob, losses, lr=1.0)
    assert float(new["t"] - theta["t"]) == pytest.approx(float(3 * chance * (1 - chance)), rel=0.02)


def test_arguments_are_left_alone_and_only_the_generator_decides():
    params = {"a": torch.ones(3)}
    torch.manual_seed(0)
    state = torch.get_rng_state()
    loss_fn = lambda p: p["a"].sum(1)  # noqa: E731
    first, same = (mgs.mgs_step(params, params, loss_fn, sigma=1.0, alpha=1.0, generator=gen(4)) for _ in range(2))
    assert torch.equal(first.params["a"], same.params["a"]) and torch.equal(params["a"], torch.ones(3))
    assert torch.equal(torch.get_rng_state(), state)


def test_bad_input_is_refused():
    params = {"a": torch.ones(3)}
    step = {"sigma": 1.0, "alpha": 1.0, "generator": gen()}
    with pytest.raises(ValueError, match="losses of shape"):
        mgs.mgs_step(params, params, lambda p: p["a"], **step)
    with pytest.raises(ValueError, match="losses"):
        mgs.mgs_step(params, params, lambda p: p["a"].sum(1) / 0, **step)
    with pytest.raises(ValueError, match="shapes of params"):
        mgs.mgs_step(params, {"a": torch.ones(2)}, lambda p: p["a"].sum(1), **step)
    with pytest.raises(ValueError, match="got none"):
        mgs.propose({}, 2, sigma=1.0, lam=0.5, generator=gen())
    with pytest.raises(ValueError, match="even n"):
        mgs.es_step(params, lambda p: p["a"].sum(1), n=3, sigma=1.0, lr=1.0, generator=gen())
    with pytest.raises(ValueError, match="moves for each"):
        mgs.log_weights(torch.zeros(2), {"a": torch.ones(3, 3)}, params, sigma=1.0, alpha=1.0, lam=0.5, kind="prior")
