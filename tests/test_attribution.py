"""lib.attribution: completeness and the axioms, captum as the independent reference, paths, refusals."""

import numpy as np
import pytest
import torch
from torch import nn

from lib import attribution as at
from lib import quadrature
from lib.networks import mlp


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


def pair(b=5, d=6, dtype=torch.float64):
    g = gen(1)
    return torch.randn(b, d, generator=g, dtype=dtype), torch.randn(b, d, generator=g, dtype=dtype)


def net(activation=nn.Tanh, classes=3, d=6, **kwargs):
    return mlp([d, 16, 16, classes], activation, dtype=torch.float64, seed=3, **kwargs)


@pytest.mark.parametrize("activation", [nn.Tanh, nn.GELU, nn.Softplus])
def test_the_attributions_sum_to_the_difference_of_the_outputs(activation):
    x, base = pair()
    out = at.integrated_gradients(net(activation), x, base, target=torch.tensor([0, 1, 2, 0, 1]), n=64)
    # Gauss with 64 points on an analytic function of scale 1: rounding only
    assert out.error.abs().max() < 1e-12
    torch.testing.assert_close(out.attribution.sum(1), out.end - out.start, rtol=0, atol=1e-12)
    assert out.attribution.shape == x.shape and out.steps.tolist() == [64] * 5


def test_a_feature_without_influence_gets_nothing_and_f_is_attributed_linearly():
    x, base = pair()
    f, g = (lambda z: (z[:, 0] * z[:, 1]).exp()), (lambda z: z[:, 2].sin())
    a, b = (at.integrated_gradients(h, x, base).attribution for h in (f, g))
    both = at.integrated_gradients(lambda z: 2 * f(z) - 3 * g(z), x, base).attribution
    torch.testing.assert_close(both, 2 * a - 3 * b, rtol=0, atol=1e-10)
    assert (a[:, 2:] == 0).all() and (b[:, :2] == 0).all()


def test_symmetric_features_with_equal_values_get_equal_shares():
    x = torch.tensor([[0.7, 0.7]], dtype=torch.float64)
    got = at.integrated_gradients(lambda z: (z[:, 0] * z[:, 1] + z.sum(1)).exp(), x, 0 * x).attribution
    assert abs(got[0, 0] - got[0, 1]) < 1e-15


def test_two_networks_that_compute_the_same_function_agree():
    x, base = pair()
    a = net(nn.ReLU, classes=1)
    b = net(nn.ReLU, classes=1)
    with torch.no_grad():
        b[0].weight *= 4
        b[0].bias *= 4
        b[2].weight /= 4
    one, two = (at.integrated_gradients(lambda z, m=m: m(z)[:, 0], x, base).attribution for m in (a, b))
    torch.testing.assert_close(one, two, rtol=0, atol=1e-12)


def test_another_speed_along_the_line_changes_nothing():
    x, base = pair()
    f = lambda z: net()(z)[:, 0]  # noqa: E731
    slow = at.integrated_gradients(f, x, base, path=lambda x, b, t: at.line(x, b, t**2), n=64)
    torch.testing.assert_close(
        slow.attribution, at.integrated_gradients(f, x, base, n=64).attribution, rtol=0, atol=1e-11
    )


def test_axis_paths_give_the_product_to_the_last_mover():
    x = torch.tensor([[2.0, 3.0]], dtype=torch.float64)
    f = lambda z: z[:, 0] * z[:, 1]  # noqa: E731
    rule = quadrature.on_pieces(quadrature.rule("gauss", 2), np.array([0, 0.5, 1]))
    first, last = (at.integrated_gradients(f, x, 0 * x, rule=rule, path=at.axis_path(o)) for o in ([0, 1], [1, 0]))
    torch.testing.assert_close(first.attribution, torch.tensor([[0.0, 6.0]], dtype=torch.float64))
    torch.testing.assert_close(last.attribution, torch.tensor([[6.0, 0.0]], dtype=torch.float64))
    torch.testing.assert_close(at.integrated_gradients(f, x, 0 * x).attribution, torch.tensor([[3.0, 3.0]]).double())


def test_the_blur_path_ends_at_the_image_keeps_its_mean_and_is_complete():
    x, base = pair(d=64)
    path = at.blur_path(8, time=9.0)
    ends = [path(x, base, torch.full((1, 1), a, dtype=x.dtype)) for a in (0.0, 1.0)]
    torch.testing.assert_close(ends[1], x, rtol=0, atol=1e-13)
    torch.testing.assert_close(ends[0].mean(1), x.mean(1), rtol=0, atol=1e-13)
    assert ends[0].std() < 0.2 * x.std()
    out = at.integrated_gradients(net(d=64), x, base, target=torch.zeros(5, dtype=torch.int64), path=path, n=64)
    assert out.error.abs().max() < 1e-10


@pytest.mark.parametrize("method", ["left", "right", "middle", "gauss"])
def test_captum_agrees(method):
    captum = pytest.importorskip("captum.attr")
    x, base = pair()
    target = torch.tensor([0, 1, 2, 0, 1])
    theirs = {"gauss": "gausslegendre"}.get(method, f"riemann_{method}")
    peer = captum.IntegratedGradients(net()).attribute(x, base, target=target, n_steps=20, method=theirs)
    rule = "midpoint" if method == "middle" else method
    ours = at.integrated_gradients(net(), x, base, target=target, rule=rule, n=20)
    # captum's nodes pass through float32
    torch.testing.assert_close(ours.attribution, peer, rtol=0, atol=1e-6)


def test_captum_scales_the_trapezoid_rule_down_by_one_interval():
    captum = pytest.importorskip("captum.attr")
    x, base = pair()
    target = torch.tensor([0, 1, 2, 0, 1])
    peer = captum.IntegratedGradients(net()).attribute(x, base, target=target, n_steps=20, method="riemann_trapezoid")
    ours = at.integrated_gradients(net(), x, base, target=target, rule="trapezoid", n=20)
    torch.testing.assert_close(ours.attribution * 19 / 20, peer, rtol=0, atol=1e-6)
    assert (ours.attribution - peer).abs().max() > 1e-3


@pytest.mark.parametrize("batch", [1, 2, 3, 7, 12, 10_000])
def test_batch_bounds_the_rows_of_a_call_and_changes_nothing(batch):
    x, base = pair()
    seen = []

    def f(z):
        seen.append(len(z))
        return net()(z)[:, 1]

    out = at.integrated_gradients(f, x, base, n=9, batch=batch)
    assert max(seen) <= batch
    whole = at.integrated_gradients(lambda z: net()(z)[:, 1], x, base, n=9)
    torch.testing.assert_close(out.attribution, whole.attribution, rtol=0, atol=1e-14)


def test_the_adaptive_rule_stops_row_by_row_and_reports_what_it_reached():
    x = torch.tensor([[0.1], [30.0]], dtype=torch.float64)
    out = at.integrated_gradients(lambda z: z.tanh().sum(1), x, 0 * x, n=4, tol=1e-10)
    assert (out.error.abs() < 1e-10).all()
    assert out.steps[0] == 4 and out.steps[1] > 4
    assert out.gradients[1] == 2 * out.steps[1] - 4
    capped = at.integrated_gradients(lambda z: z.tanh().sum(1), x, 0 * x, n=4, tol=1e-10, cap=8)
    assert capped.steps.tolist() == [4, 8] and capped.error[1].abs() > 1e-10


def test_exact_relu_is_complete_to_rounding_where_gauss_is_not():
    x, base = pair()
    target = torch.tensor([0, 1, 2, 0, 1])
    relu = net(nn.ReLU)
    exact = at.exact_relu(relu, x, base, target)
    gauss = at.integrated_gradients(relu, x, base, target=target, n=16)
    assert exact.error.abs().max() < 1e-13 < gauss.error.abs().max()
    fine = at.integrated_gradients(relu, x, base, target=target, rule="midpoint", n=20_000)
    # the midpoint rule misses each kink by 1/20000
    torch.testing.assert_close(exact.attribution, fine.attribution, rtol=0, atol=1e-3)


def test_gradient_times_input_is_exact_for_networks_without_bias():
    x, _ = pair()
    relu = net(nn.ReLU, bias=False)
    leaf = x.clone().requires_grad_()
    (grad,) = torch.autograd.grad(relu(leaf)[:, 0].sum(), leaf)
    out = at.integrated_gradients(relu, x, 0 * x, target=torch.zeros(5, dtype=torch.int64), n=1)
    torch.testing.assert_close(out.attribution, grad * x, rtol=0, atol=1e-13)


def test_log_odds_are_the_logit_of_the_probability():
    z = torch.randn(7, 4, generator=gen(), dtype=torch.float64)
    torch.testing.assert_close(at.log_odds(z), z.softmax(-1).logit(), rtol=0, atol=1e-12)
    assert at.log_odds(torch.tensor([[0.0, 2000.0]])).isfinite().all()


def test_deleting_everything_gives_the_whole_difference_and_deleting_nothing_zero():
    x, base = pair()
    f = lambda z: net()(z)[:, 0]  # noqa: E731
    drop = at.deletion_curve(f, x, torch.rand(5, 6, generator=gen()), base, [0, 0.5, 1])
    assert (drop[:, 0] == 0).all()
    torch.testing.assert_close(drop[:, 2], (f(x) - f(base)).detach())


def test_deletion_follows_the_scores_on_a_linear_function():
    x, base = torch.tensor([[1.0, 5.0, 3.0, 2.0]]), torch.zeros(1, 4)
    assert at.deletion_curve(lambda z: z.sum(1), x, x, base, [0.25, 0.5]).tolist() == [[5.0, 8.0]]


def test_the_integrand_is_the_derivative_along_the_line():
    x, base = pair()
    f = lambda z: net()(z)[:, 0]  # noqa: E731
    got, h = at.integrand(f, x, base, [0.3, 0.7]), 1e-6
    for k, a in enumerate((0.3, 0.7)):
        finite = (
            (
                f(at.line(x, base, torch.tensor(a + h, dtype=x.dtype)))
                - f(at.line(x, base, torch.tensor(a - h, dtype=x.dtype)))
            )
            / 2
            / h
        )
        # central differences in float64 with h = 1e-6: rounding of 1e-16 / 1e-6
        torch.testing.assert_close(got[:, k], finite.detach(), rtol=0, atol=1e-8)


def test_the_gradient_helper_agrees_with_autograd():
    x, _ = pair()
    got = at.gradient(net(), x, target=torch.tensor([0, 1, 2, 0, 1]))
    jacobian = torch.func.vmap(torch.func.jacrev(net()))(x)
    torch.testing.assert_close(got, jacobian[torch.arange(5), [0, 1, 2, 0, 1]], rtol=0, atol=1e-14)


def test_token_scores_keep_the_sum():
    a = torch.randn(2, 3, 4, generator=gen())
    torch.testing.assert_close(at.token_scores(a).sum(1), a.flatten(1).sum(1))
    assert (at.token_scores(a, norm=True) >= at.token_scores(a).abs() / 2 - 1e-6).all()


def test_inputs_are_left_alone_and_bfloat16_and_single_rows_work():
    x, base = pair(b=1)
    before = x.clone()
    at.integrated_gradients(lambda z: z.sin().sum(1), x, base[0])
    assert torch.equal(x, before) and not x.requires_grad
    low = at.integrated_gradients(lambda z: z.square().sum(1), x.bfloat16(), 0 * x.bfloat16())
    assert low.attribution.dtype == torch.bfloat16


def test_no_grad_and_inference_on_frozen_parameters_work():
    x, base = pair()
    frozen = net().requires_grad_(False)
    with torch.no_grad():
        assert (
            at.integrated_gradients(frozen, x, base, target=torch.zeros(5, dtype=torch.int64)).error.abs().max() < 1e-10
        )


@pytest.mark.parametrize(
    ("x", "base", "kwargs", "message"),
    [
        (torch.zeros(0, 3), torch.zeros(3), {}, "non-empty"),
        (torch.zeros(4), torch.zeros(4), {}, "two axes"),
        (torch.zeros(2, 3), torch.zeros(2, 2, 3), {}, "broadcast"),
        (torch.full((2, 3), torch.nan), torch.zeros(3), {}, "finite"),
        (torch.zeros(2, 3), torch.zeros(3), {"batch": 0}, "batch"),
        (torch.zeros(2, 3), torch.zeros(3), {"tol": -1.0}, "tol"),
        (torch.zeros(2, 3), torch.zeros(3), {"rule": "simpson"}, "rule"),
    ],
)
def test_bad_input_is_refused(x, base, kwargs, message):
    with pytest.raises(ValueError, match=message):
        at.integrated_gradients(lambda z: z.sum(1), x, base, **kwargs)


def test_class_scores_without_a_target_are_refused():
    with pytest.raises(ValueError, match="target"):
        at.integrated_gradients(lambda z: z, torch.ones(2, 3), torch.zeros(3))


def test_a_class_that_does_not_exist_and_a_rule_without_points_or_with_nan_are_refused():
    x = torch.ones(2, 3)
    with pytest.raises(ValueError, match=r"target must lie in \[0, 3\)"):
        at.integrated_gradients(lambda z: z, x, 0 * x, target=torch.tensor([0, 3]))
    with pytest.raises(ValueError, match="nodes"):
        at.integrated_gradients(lambda z: z.sum(1), x, 0 * x, rule=(np.array([]), np.array([])))
    with pytest.raises(ValueError, match="weights"):
        at.integrated_gradients(lambda z: z.sum(1), x, 0 * x, rule=(np.array([0.5]), np.array([0.5, 0.5])))
    with pytest.raises(ValueError, match="nodes"):
        at.integrand(lambda z: z.sum(1), x, 0 * x, [float("nan")])


def test_other_refusals():
    x = torch.ones(2, 3)
    with pytest.raises(ValueError, match="ReLU"):
        at.exact_relu(nn.Sequential(nn.Linear(3, 2), nn.Tanh()), x, 0 * x, torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ValueError, match="fractions"):
        at.deletion_curve(lambda z: z.sum(1), x, x, 0 * x, [2.0])
    with pytest.raises(ValueError, match="finite"):
        at.deletion_curve(lambda z: z.sum(1), x, x / 0, 0 * x, [0.5])
    with pytest.raises(ValueError, match="two classes"):
        at.log_odds(x[:, :1])
    with pytest.raises(ValueError, match="features"):
        at.integrated_gradients(lambda z: z.sum(1), x, 0 * x, path=at.axis_path([1, 0]))
