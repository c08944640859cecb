import numpy as np
import pytest
import torch

from lib.linalg import effective_rank, numerical_rank, spectrum


def test_equal_singular_values_give_the_rank_itself():
    assert effective_rank(torch.eye(7)).item() == pytest.approx(7)
    projector = torch.diag(torch.tensor([1.0, 1.0, 1.0, 0.0]))
    assert effective_rank(projector).item() == pytest.approx(3)
    assert effective_rank(torch.ones(5, 9)).item() == pytest.approx(1)


def test_it_ignores_scale_and_rotation_and_never_exceeds_the_rank():
    g = torch.Generator().manual_seed(0)
    A = torch.randn(6, 12, generator=g, dtype=torch.float64) @ torch.randn(12, 9, generator=g, dtype=torch.float64)
    Q = torch.linalg.qr(torch.randn(6, 6, generator=g, dtype=torch.float64))[0]
    torch.testing.assert_close(effective_rank(A), effective_rank(-3 * Q @ A), rtol=1e-10, atol=0)
    assert 1 <= effective_rank(A) <= numerical_rank(A) == 6


def test_it_agrees_with_numpy():
    A = np.random.default_rng(1).normal(size=(3, 8, 5))
    p = np.linalg.svd(A, compute_uv=False)
    p /= p.sum(-1, keepdims=True)
    expected = np.exp(-(p * np.log(p)).sum(-1))
    np.testing.assert_allclose(effective_rank(torch.from_numpy(A)).numpy(), expected, rtol=1e-12)
    low = torch.from_numpy(A[0][:, :2] @ A[1][:2])
    assert numerical_rank(low).item() == np.linalg.matrix_rank(low.numpy()) == 2


def test_a_single_entry_has_rank_one_and_half_precision_is_accepted():
    assert effective_rank(torch.tensor([[2.0]])).item() == 1
    assert effective_rank(torch.eye(4, dtype=torch.bfloat16)).item() == pytest.approx(4)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="non-empty"):
        spectrum(torch.empty(0, 3))
    with pytest.raises(ValueError, match="finite"):
        effective_rank(torch.full((2, 2), torch.nan))
    with pytest.raises(ValueError, match="not zero"):
        effective_rank(torch.zeros(2, 2))
    with pytest.raises(ValueError, match="rel"):
        numerical_rank(torch.eye(2), rel=2.0)
