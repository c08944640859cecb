"""lib.checks: what is refused, what passes, and when the entries of an array are looked at."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lib.checks import array, at_least, checked, indices, positive


@checked
def product(a: Float[Tensor, "*b n k"], b: Float[Tensor, "*b k m"], scale: float | int = 1.0) -> Tensor:
    """The docstring."""
    return scale * a @ b


@checked
def either(x: Float[np.ndarray, "n 2"] | Int[Tensor, " n"] | float | None = None) -> bool:
    return x is not None


@checked
def caller(then: object, a: Float[Tensor, " n"]) -> object:
    return then(a)


# law


@pytest.mark.parametrize("b", [(), (2,), (2, 3)])
def test_shapes_that_fit_the_signature_pass(b):
    assert product(torch.ones(*b, 3, 4), torch.ones(*b, 4, 5)).shape == (*b, 3, 5)


@pytest.mark.parametrize(
    ("a", "b", "got"),
    [
        ((3, 4), (5, 6), r"got shape \(5, 6\) where \*b = \(\), n = 3, k = 4"),
        ((2, 3, 4), (4, 5), r"got shape \(4, 5\)"),
        ((4,), (4, 5), r"expected finite, non-empty a of shape \(\*b, n, k\), got shape \(4,\)"),
        ((), (4, 5), r"got shape \(\)"),
        ((0, 4), (4, 5), r"non-empty a .* got shape \(0, 4\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(a, b, got):
    with pytest.raises(ValueError, match=got):
        product(torch.ones(a), torch.ones(b))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_entries_that_are_not_finite_are_counted(bad):
    a = torch.ones(3, 4)
    a[0, 0] = bad
    with pytest.raises(ValueError, match=r"finite, non-empty a .* got shape \(3, 4\) with 1 NaN or infinite"):
        product(a, torch.ones(4, 5))
    with pytest.raises(ValueError, match="with 1 NaN or infinite"):
        array("M", a.numpy(), "rows columns")


def test_infinities_of_both_signs_do_not_cancel():
    with pytest.raises(ValueError, match="with 2 NaN or infinite"):
        array("x", torch.tensor([math.inf, -math.inf]), "n")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64])
def test_large_finite_entries_whose_sum_overflows_pass(dtype):
    array("x", torch.full((8,), torch.finfo(dtype).max, dtype=dtype), "n")


def test_integers_and_booleans_are_always_finite():
    array("x", torch.ones(3, dtype=torch.bool), "n")
    array("x", np.arange(3), "n")
    array("x", torch.arange(3), "3")


def test_one_of_several_annotations_is_enough():
    assert either(np.ones((4, 2))) and either(torch.ones(3, dtype=torch.int64)) and either(2.0) and not either()
    with pytest.raises(ValueError, match=r"of shape \(n, 2\) or \(n\), got shape \(4, 3\)"):
        either(np.ones((4, 3)))


def test_what_is_no_array_is_named():
    with pytest.raises(ValueError, match=r"a of shape \(\*b, n, k\), got list"):
        product([[1.0]], torch.ones(1, 1))


def test_numbers_that_are_nan_are_refused_and_infinite_ones_left_to_the_function():
    with pytest.raises(ValueError, match="expected a number for scale, got nan"):
        product(torch.ones(1, 1), torch.ones(1, 1), scale=math.nan)
    assert product(torch.ones(1, 1), torch.ones(1, 1), scale=math.inf).isinf().all()


def test_bounds_on_numbers():
    at_least(1, m=1, d=np.array([1, 2]))
    positive(kappa=1e-9)
    indices("ids", torch.tensor([0, 2]), 3)
    for call, message in (
        (lambda: at_least(1, m=1, d=0), "expected finite d >= 1, got d=0"),
        (lambda: at_least(0, x=math.inf), "got x=inf"),
        (lambda: at_least(0, x=np.array([1.0, math.nan])), "got x="),
        (lambda: positive(kappa=0.0), "expected finite kappa > 0, got kappa=0.0"),
        (lambda: positive(kappa=math.nan), "got kappa=nan"),
        (lambda: indices("ids", torch.tensor([0, 3]), 3), r"ids must lie in \[0, 3\), got 0..3"),
        (lambda: indices("ids", torch.tensor([-1]), 3), "got -1..-1"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


# edge


def test_entries_are_looked_at_once_and_shapes_at_every_depth():
    bad = torch.full((2, 2), math.nan)
    inside = lambda a: product(bad, bad)  # noqa: E731
    assert caller(inside, torch.ones(1)).isnan().all()
    with pytest.raises(ValueError, match="got shape"):
        caller(lambda a: product(bad, bad[:1]), torch.ones(1))
    with pytest.raises(ValueError, match="NaN"):
        inside(None)  # the failure before left nothing switched off


def test_the_function_keeps_its_name_and_signature():
    assert product.__name__ == "product" and product.__doc__ == "The docstring."
    with pytest.raises(TypeError):
        product(torch.ones(1, 1))


def test_tensors_without_values_pass():
    assert product(torch.ones(3, 4, device="meta"), torch.ones(4, 5, device="meta")).shape == (3, 5)
    b = torch.ones(4, 5)
    assert torch.func.vmap(lambda row: product(row, b))(torch.full((2, 3, 4), math.nan)).isnan().all()
    assert torch.func.grad(lambda x: product(x, b).sum())(torch.ones(3, 4)).shape == (3, 4)


def test_a_gradient_flows_through_and_the_arguments_stay_as_they_were():
    a = torch.ones(3, 4, requires_grad=True)
    product(a, torch.ones(4, 5)).sum().backward()
    assert (a.grad == 5).all()


def test_integers_in_the_place_of_real_numbers_are_refused_by_dtype():
    from lib.attribution import integrated_gradients

    with pytest.raises(ValueError, match=r"expected x of dtype bfloat16, float16, float32, float64, got int64"):
        integrated_gradients(lambda x: x.sum(1), torch.ones(2, 3, dtype=torch.int64), torch.zeros(3))
