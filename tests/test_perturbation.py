"""lib.perturbation: the laws of the expansions, torch.func as the independent reference, modes, costs, refusals."""

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import nn
from torch.func import jacrev, jvp, vmap
from torch.utils.flop_counter import FlopCounterMode

from lib import curvature
from lib import perturbation as pt
from lib.losses import kl
from lib.networks import TextCNN, mlp


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


def net(sizes=(5, 16, 3), activation=nn.Tanh, dtype=torch.float64):
    return mlp(sizes, activation, dtype=dtype, seed=3)


def rows(b=4, d=5, dtype=torch.float64):
    return torch.randn(b, d, generator=gen(1), dtype=dtype)


def squared(reference, outputs):
    return (reference - outputs).square().sum(-1)


# ---- parity with torch.func and scipy --------------------------------------------------------------------------------


def test_the_exact_penalty_is_the_squared_norm_of_the_jacobian_and_for_hellinger_the_trace_of_the_fisher_matrix():
    model, x = net(), rows().requires_grad_()
    plain = pt.gradient_penalty(model(x), x)
    torch.testing.assert_close(plain, vmap(jacrev(model))(x).square().sum((1, 2)), rtol=0, atol=1e-12)
    fisher = pt.gradient_penalty(pt.hellinger(model(x)), x)
    trace = curvature.input_fisher(model, x).diagonal(dim1=1, dim2=2).sum(1)
    torch.testing.assert_close(fisher, trace, rtol=0, atol=1e-12)


def test_a_probe_is_the_squared_norm_of_a_vector_jacobian_product_and_probes_average_to_the_exact_penalty():
    model, x = net(), rows(1).requires_grad_()
    one = pt.gradient_penalty(model(x), x, probes=1, generator=gen())
    signs = torch.randint(2, (1, 1, 3), generator=gen()).double()[0, 0] * 2 - 1
    along = [jvp(lambda r: model(r) @ signs, (x[0],), (e,))[1] for e in torch.eye(5).double()]
    torch.testing.assert_close(one[0], torch.stack(along).square().sum(), rtol=0, atol=1e-12)
    many = pt.gradient_penalty(model(x), x, probes=2000, generator=gen())
    # one draw deviates by less than the mean itself, so 2000 stay within 10 %
    torch.testing.assert_close(many, pt.gradient_penalty(model(x), x), rtol=0.1, atol=0)


def test_the_gradient_of_the_penalty_agrees_with_finite_differences():
    model, x = net(), rows().requires_grad_()
    value = pt.gradient_penalty(model(x), x).sum()
    slope = torch.autograd.grad(value, model[0].bias)[0]
    with torch.no_grad():
        model[0].bias[2] += 1e-6
    raised = pt.gradient_penalty(model(x), x).sum()
    assert abs((raised - value) / 1e-6 - slope[2]) < 1e-4  # first order in the step, second derivatives of size 1


def test_power_steps_converge_to_the_top_eigenvector_that_scipy_finds_from_products_alone():
    model, x = net((5, 16, 2)), rows(1)
    u = pt.lds_direction(model, x, generator=gen(), xi=1e-4)[0]

    def product(v):
        r = torch.tensor(v).view(5).requires_grad_()
        g = torch.autograd.grad(kl(model(x).detach(), model(x + r * 1e-5)).sum(), r)[0]
        return g.numpy() / 1e-10

    _, top = eigsh(LinearOperator((5, 5), product, dtype=np.float64), k=1, v0=np.ones(5))
    assert abs(float(u.numpy() @ top[:, 0])) > 1 - 1e-6  # two classes: rank 1, so one step is enough


# ---- laws ------------------------------------------------------------------------------------------------------------


def test_noise_costs_half_its_variance_times_the_penalty():
    model, x, s = net(), rows(1).repeat(200_000, 1), 0.02
    got = pt.noise_consistency(model, x, s, generator=gen())
    few = x[:1].clone().requires_grad_()
    predicted = s**2 / 2 * pt.gradient_penalty(pt.hellinger(model(few)), few)[0]
    torch.testing.assert_close(got, predicted, rtol=0.02, atol=0)  # Monte Carlo error 0.3 %, next order s² = 0.04 %


def test_the_virtual_adversarial_loss_is_half_eps_squared_times_the_top_eigenvalue():
    model, x = net(), rows()
    top = torch.linalg.eigvalsh(curvature.input_fisher(model, x))[:, -1].mean()
    got = pt.vat_loss(model, x, 1e-3, generator=gen(), iters=60)
    torch.testing.assert_close(got, 0.5e-6 * top, rtol=0.01, atol=0)  # third order in ε: relative 1e-3


def test_fgm_raises_the_loss_by_eps_times_the_norm_of_the_gradient():
    model, x = net(), rows()
    loss = lambda z: model(z).square().sum(1)  # noqa: E731
    r = pt.fgm(loss, x, 1e-6)
    size = torch.autograd.grad(loss(leaf := x.clone().requires_grad_()).sum(), leaf)[0].norm(dim=1)
    torch.testing.assert_close((loss(x + r) - loss(x)) / 1e-6, size, rtol=1e-4, atol=0)
    torch.testing.assert_close(r.norm(dim=1), torch.full((4,), 1e-6, dtype=torch.float64), rtol=1e-12, atol=0)


def test_unit_survives_tiny_rows_and_keeps_zero_rows():
    v = torch.tensor([[3e-30, 4e-30], [0, 0]])
    torch.testing.assert_close(pt.unit(v), torch.tensor([[0.6, 0.8], [0, 0]]))


def test_a_divergence_of_ones_own_takes_the_place_of_kl():
    model, x = net(), rows()
    J = vmap(jacrev(model))(x)
    top = torch.linalg.svd(J).Vh[:, 0]
    u = pt.lds_direction(model, x, generator=gen(), divergence=squared, iters=80, xi=1e-5)
    assert (u * top).sum(1).abs().min() > 0.999


# ---- modes, gradients and costs --------------------------------------------------------------------------------------


def test_zero_iterations_is_plain_noise_and_the_same_generator_gives_the_same_direction():
    model, x = net(), rows()
    a, b = (pt.lds_direction(model, x, generator=gen(5), iters=0) for _ in range(2))
    assert torch.equal(a, b) and torch.equal(a, pt.random_directions(x, generator=gen(5)))


def test_batch_statistics_parameters_and_their_gradients_are_left_alone_by_the_power_step():
    model = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3)).double()
    x = rows(8)
    model(x).sum().backward()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    slopes = [p.grad.clone() for p in model.parameters()]
    pt.vat_loss(model, x, 0.1, generator=gen())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), slopes, strict=True))
    assert model.training and model[1].track_running_stats and model[2].training
    assert all(p.requires_grad for p in model.parameters())


def test_dropout_is_off_in_every_pass_so_that_the_divergence_vanishes_with_eps():
    model = nn.Sequential(nn.Linear(5, 8), nn.Dropout(0.5), nn.Linear(8, 3)).double()
    assert pt.vat_loss(model, rows(), 1e-6, generator=gen()) < 1e-9


def test_a_row_whose_gradient_vanishes_keeps_its_direction():
    model = nn.Sequential(nn.Linear(5, 3, dtype=torch.float64))
    nn.init.zeros_(model[0].weight)
    u = pt.lds_direction(model, rows(), generator=gen())
    assert torch.equal(u, pt.random_directions(rows(), generator=gen()))


def test_the_loss_reaches_the_weights_but_not_through_the_target():
    model, x = net(), rows()
    u = pt.lds_direction(model, x, generator=gen())
    got = torch.autograd.grad(pt.vat_loss(model, x, 0.1, generator=gen()), list(model.parameters()))
    own = torch.autograd.grad(kl(model(x).detach(), model(x + 0.1 * u)).mean(), list(model.parameters()))
    for a, b in zip(got, own, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-14)


def test_embeddings_and_a_whole_table_are_inputs_like_any_other():
    model, ids = TextCNN(20, 2, seed=0), torch.randint(20, (3, 6), generator=gen())
    x = model.embed(ids).detach()
    u = pt.lds_direction(model.from_embeddings, x, generator=gen())
    torch.testing.assert_close(u.flatten(1).norm(dim=1), torch.ones(3))
    table = model.embed.weight.detach()[None]
    whole = pt.lds_direction(lambda t: model.from_embeddings(t[0][ids]), table, generator=gen())
    assert whole.shape == table.shape and abs(whole.norm() - 1) < 1e-6
    assert (whole[0][[i for i in range(20) if i not in ids]] == 0).all()  # words that do not occur do not move


def count_passes(model, run):
    """(forward passes, gradients that left the model's output) of a run."""
    seen = {"forward": 0, "backward": 0}

    def forward(module, inputs, output):
        seen["forward"] += 1
        if output.requires_grad:
            output.register_hook(lambda g: seen.__setitem__("backward", seen["backward"] + 1))

    handle = model.register_forward_hook(forward)
    run()
    handle.remove()
    return seen["forward"], seen["backward"]


def vat_step(model, x, y):
    logits = model(x)
    loss = nn.functional.cross_entropy(logits, y) + pt.vat_loss(model, x, 1.0, generator=gen(), logits=logits)
    loss.backward()


def test_a_step_with_a_shared_clean_pass_takes_three_forward_passes_and_three_gradients():
    model, x, y = net((64, 32, 10), dtype=torch.float32), rows(8, 64, torch.float32), torch.arange(8)
    assert count_passes(model, lambda: vat_step(model, x, y)) == (3, 3)
    assert count_passes(model, lambda: pt.vat_loss(model, x, 1.0, generator=gen()).backward()) == (3, 2)


def test_the_power_step_computes_no_gradient_of_a_weight():
    model, x = net((64, 64, 64, 64), dtype=torch.float32), rows(8, 64, torch.float32)
    logits = model(x)
    with FlopCounterMode(display=False) as one:
        model(x)
    with FlopCounterMode(display=False) as step:
        pt.lds_direction(model, x, generator=gen(), logits=logits)
    assert step.get_total_flops() == 2 * one.get_total_flops()  # forward and input gradient, one each


# ---- refusals --------------------------------------------------------------------------------------------------------


def test_bad_sizes_and_disconnected_outputs_are_refused_by_name():
    model, x = net(), rows()
    with pytest.raises(ValueError, match="finite eps > 0, got eps=-1"):
        pt.vat_loss(model, x, -1.0, generator=gen())
    with pytest.raises(ValueError, match="xi > 0, got xi=0"):
        pt.lds_direction(model, x, generator=gen(), xi=0.0)
    with pytest.raises(ValueError, match=r"requires_grad_\(\), got x.requires_grad=False"):
        pt.gradient_penalty(model(x), x)
    with pytest.raises(ValueError, match="no gradient reaches x"):
        pt.gradient_penalty(model(x), x.clone().requires_grad_())
    with pytest.raises(ValueError, match="a generator for random signs, got None with probes=2"):
        pt.gradient_penalty(model(x.requires_grad_()), x, probes=2)
