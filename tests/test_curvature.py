"""lib.curvature: torch.func's Hessian as the independent reference, the law of the rank, edges and refusals."""

import pytest
import torch
from torch import nn
from torch.func import hessian, jacrev, vmap

from lib.curvature import input_fisher, laplacian
from lib.losses import kl
from lib.networks import mlp


def net(sizes=(5, 16, 3)):
    return mlp(sizes, nn.Tanh, dtype=torch.float64, seed=3)


def rows(b=4, d=5):
    return torch.randn(b, d, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_the_input_fisher_matrix_is_the_hessian_of_the_divergence_and_the_closed_form():
    model, x = net(), rows()
    H = input_fisher(model, x)
    own = vmap(lambda row: hessian(lambda r: kl(model(row).detach(), model(row + r)))(torch.zeros_like(row)))(x)
    torch.testing.assert_close(H, own, rtol=0, atol=1e-12)  # float64 derivatives, no differences
    p, J = model(x).softmax(-1), vmap(jacrev(model))(x)
    torch.testing.assert_close(H, J.mT @ (torch.diag_embed(p) - p[:, :, None] * p[:, None]) @ J, rtol=0, atol=1e-12)


def test_the_laplacian_is_the_trace_of_the_hessian():
    model, x = net((5, 16, 1)), rows()
    trace = vmap(lambda row: hessian(lambda r: model(r)[0])(row).diagonal().sum())(x)
    torch.testing.assert_close(laplacian(lambda z: model(z)[:, 0], x), trace, rtol=0, atol=1e-12)


def test_the_laplacian_of_a_linear_function_is_zero_and_of_the_squared_norm_twice_the_dimension():
    x = rows()
    assert laplacian(lambda z: z @ torch.ones(5).double(), x).tolist() == [0] * 4
    assert laplacian(lambda z: z.square().sum(1), x).tolist() == [10] * 4


@pytest.mark.parametrize("classes", [2, 3, 6])
def test_the_fisher_matrix_has_rank_classes_minus_one(classes):
    H = input_fisher(net((9, 16, classes)), rows(d=9))
    assert torch.linalg.matrix_rank(H, rtol=1e-10).tolist() == [classes - 1] * 4


def test_for_two_classes_the_fisher_matrix_is_an_outer_product_and_one_product_finds_its_eigenvector():
    model, x = net((5, 16, 2)), rows()
    p = model(x).softmax(1)
    w = vmap(jacrev(lambda row: model(row)[1] - model(row)[0]))(x)
    outer = (p[:, 0] * p[:, 1])[:, None, None] * w[:, :, None] * w[:, None]
    torch.testing.assert_close(input_fisher(model, x), outer, rtol=0, atol=1e-12)


def test_a_linear_or_constant_model_and_inputs_with_several_axes():
    x = rows(3, 6).view(3, 2, 3)
    linear = mlp([6, 4], dtype=torch.float64, seed=0)
    assert input_fisher(lambda z: linear(z.flatten(1)), x).shape == (3, 6, 6)
    assert (input_fisher(lambda z: 0 * z.flatten(1), x) == 0).all()
    assert laplacian(lambda z: z.square().sum((1, 2)), x).tolist() == [12] * 3


def test_wrong_shapes_of_what_a_model_returns_are_refused():
    model, x = net(), rows()
    with pytest.raises(ValueError, match=r"values of f of shape \(4\), got shape \(4, 3\)"):
        laplacian(model, x)
    with pytest.raises(ValueError, match=r"logits of shape \(4, c\), got shape \(4,\)"):
        input_fisher(lambda z: model(z)[:, 0], x)
