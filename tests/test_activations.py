"""lib.activations against torch, transformers and scipy; derivatives; edges; refusals."""

import math

import numpy as np
import pytest
import torch
from scipy import special
from torch.nn import functional as F

from lib.activations import FORMS, GELU_SIGMOID, GELU_TANH, Activation, gelu, gelu_grad


def grid(dtype=torch.float64):
    return torch.linspace(-9, 9, 1801, dtype=dtype)


def test_the_three_forms_equal_the_formulas_of_the_post():
    x = np.linspace(-6, 6, 1201)
    np.testing.assert_allclose(gelu(x), x / 2 * (1 + special.erf(x / math.sqrt(2))), rtol=0, atol=2e-15)
    inner = math.sqrt(2 / math.pi) * (x + GELU_TANH * x**3)
    np.testing.assert_allclose(gelu(x, "tanh"), x / 2 * (1 + np.tanh(inner)), rtol=0, atol=2e-15)
    np.testing.assert_allclose(gelu(x, "sigmoid"), x / (1 + np.exp(-GELU_SIGMOID * x)), rtol=0, atol=2e-15)


@pytest.mark.parametrize("form", FORMS)
def test_numpy_and_torch_agree(form):
    x = grid()
    for f in (gelu, gelu_grad):
        np.testing.assert_allclose(f(x, form).numpy(), f(x.numpy(), form), rtol=1e-13, atol=1e-16)


def test_x_splits_into_gelu_of_x_minus_gelu_of_minus_x_for_every_form():
    x = grid()
    for form in FORMS:  # F(x) + F(-x) = 1
        torch.testing.assert_close(gelu(x, form) - gelu(-x, form), x, rtol=1e-14, atol=1e-14)


def test_parity_with_torch():
    x = grid()
    torch.testing.assert_close(gelu(x), F.gelu(x), rtol=0, atol=1e-14)
    torch.testing.assert_close(gelu(x, "tanh"), F.gelu(x, approximate="tanh"), rtol=0, atol=1e-14)
    torch.testing.assert_close(gelu(x, "sigmoid", 1.0), F.silu(x), rtol=0, atol=1e-14)


def test_parity_with_scipy_keeps_relative_accuracy_on_the_far_negative_side():
    x = np.linspace(-35, 5, 4001)
    # x² / 2 reaches 600 there, so the exponent alone is off by 600 roundings
    np.testing.assert_allclose(gelu(x), x * special.ndtr(x), rtol=3e-13)


@pytest.mark.filterwarnings("default")  # transformers warns about its own future
def test_parity_with_the_activations_of_transformers():
    table = pytest.importorskip("transformers.activations").ACT2FN
    x = grid(torch.float32)
    forms = {"gelu": "erf", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh", "quick_gelu": "sigmoid"}
    for name, form in forms.items():
        # float32 values up to 9: a few units in the last place
        torch.testing.assert_close(gelu(x, form), table[name](x), rtol=0, atol=3e-6)


@pytest.mark.parametrize("form", FORMS)
def test_the_derivative_is_the_one_autograd_finds(form):
    x = torch.linspace(-5, 5, 101, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(gelu(x, form).sum(), x)
    torch.testing.assert_close(gelu_grad(x.detach(), form), slope, rtol=1e-12, atol=1e-14)
    assert torch.autograd.gradcheck(lambda x: gelu(x, form), x)
    assert torch.autograd.gradgradcheck(lambda x: gelu(x, form), x)


def test_slope_at_zero_is_one_half_and_the_minimum_stands_where_the_theory_says():
    assert gelu_grad(np.zeros(1))[0] == 0.5
    x = np.array([-0.751791525])  # the root of Φ + xφ; nine digits in x give 1e-9 in the slope
    assert abs(gelu_grad(x)[0]) < 1e-9
    assert gelu(x)[0] == pytest.approx(-0.169971207, abs=1e-9)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_dtype_and_shape_are_kept_and_half_precision_is_rounded_once(dtype):
    x = torch.linspace(-4, 4, 24, dtype=torch.float64).to(dtype).view(2, 3, 4)
    for form in FORMS:
        y = gelu(x, form)
        assert y.dtype == dtype
        assert y.shape == x.shape
        # float32 itself loses up to eight roundings in the exponent at |x| = 4
        slack = torch.finfo(dtype).eps * (16 if dtype == torch.float32 else 1)
        torch.testing.assert_close(y, gelu(x.double(), form).to(dtype), rtol=slack, atol=0)


def test_numpy_scalars_and_half_precision_keep_their_dtype():
    for dtype in (np.float16, np.float32, np.float64):
        assert gelu(np.ones((), dtype)).dtype == dtype
        assert gelu(np.ones(3, dtype), "sigmoid").dtype == dtype
    assert gelu(np.ones((0, 2))).shape == (0, 2)


def test_infinity_behaves_as_documented():
    x = torch.tensor([math.inf, -math.inf])
    for form in FORMS:
        y = gelu(x, form)
        assert y[0] == math.inf
        assert y[1].isnan()  # -∞ · 0


def test_the_module_is_the_function_with_its_coefficient():
    x = grid(torch.float32)
    layer = Activation("sigmoid", 1.5)
    assert torch.equal(layer(x), gelu(x, "sigmoid", 1.5))
    assert "sigmoid, 1.5" in repr(layer)
    assert torch.equal(Activation()(x), gelu(x))


@pytest.mark.parametrize(
    ("form", "coefficient", "message"),
    [("quick", None, "form must be one of"), ("erf", 1.0, "exact"), ("tanh", math.nan, "finite")],
)
def test_unknown_forms_and_senseless_coefficients_are_refused(form, coefficient, message):
    for make in (lambda: gelu(torch.zeros(2), form, coefficient), lambda: Activation(form, coefficient)):
        with pytest.raises(ValueError, match=message):
            make()


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_device_makes_no_difference():
    for form in FORMS:
        torch.testing.assert_close(gelu(grid().cuda(), form).cpu(), gelu(grid(), form), rtol=1e-12, atol=1e-15)
