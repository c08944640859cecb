import pytest
import torch

from lib import associative as A
from lib.features import identity
from lib.linear_attention import LinearState


def pairs(n=7, d=5, e=3, b=4, seed=0):
    g = torch.Generator().manual_seed(seed)
    k = A.unit_keys(b, n, d, generator=g)
    return k, torch.randn(b, n, e, generator=g, dtype=torch.float64)


def by_loops(k, v, beta):
    """Both rules entry by entry; β = None is Hebb's."""
    n, d = k.shape
    S = [[0.0] * v.shape[1] for _ in range(d)]
    for i in range(n):
        old = [sum(k[i, c].item() * S[c][j] for c in range(d)) for j in range(v.shape[1])]
        for j in range(v.shape[1]):
            gain = v[i, j].item() if beta is None else beta * (v[i, j].item() - old[j])
            for c in range(d):
                S[c][j] += k[i, c].item() * gain
    return torch.tensor(S, dtype=torch.float64)


@pytest.mark.parametrize("beta", [None, 1.0, 0.3])
def test_both_rules_are_the_loops_of_their_formulas(beta):
    k, v = pairs()
    S = A.hebbian(k, v) if beta is None else A.delta(k, v, beta=beta)
    torch.testing.assert_close(S, torch.stack([by_loops(*one, beta) for one in zip(k, v, strict=True)]))


def test_the_hebbian_state_is_that_of_linear_attention():
    k, v = pairs()
    state = LinearState.empty(4, 1, 5, 3, dtype=torch.float64)
    for i in range(7):
        state = state.step(identity(k, k)[1][:, None, i], v[:, None, i])
    torch.testing.assert_close(A.hebbian(k, v), state.S[:, 0])


def test_orthogonal_keys_are_recalled_exactly_by_both_rules():
    k = torch.eye(5, dtype=torch.float64).expand(2, 5, 5)
    v = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for rule in (A.hebbian, A.delta):
        assert A.recall_error(rule(k, v), k, v).max() < 1e-28


def test_the_delta_rule_recalls_the_last_pair_and_overwrites_a_repeated_key():
    k, v = pairs()
    last = k[:, -1:]
    torch.testing.assert_close(last @ A.delta(k, v), v[:, -1:])
    twice, values = torch.cat([k, k[:, :1]], 1), torch.cat([v, v[:, :1] + 1], 1)
    torch.testing.assert_close(k[:, :1] @ A.delta(twice, values), v[:, :1] + 1)


@pytest.mark.parametrize("rule, law", [(A.hebbian, A.hebbian_law), (A.delta, A.delta_law)])
@pytest.mark.parametrize("n, d", [(2, 3), (6, 5), (25, 4), (9, 1)])
def test_the_laws_are_the_means(rule, law, n, d):
    g = torch.Generator().manual_seed(n)
    k, v = (A.unit_keys(4000, n, size, generator=g) for size in (d, 6))
    error = A.recall_error(rule(k, v), k, v)
    # a mean of 4000 memories: five standard errors
    assert abs(error.mean().item() - law(n, d)) <= 5 * error.std().item() / 4000**0.5 + 1e-12


def test_laws_of_single_pairs_and_of_long_lists():
    assert A.hebbian_law(1, 8) == A.delta_law(1, 8) == 0
    assert A.delta_law(4000, 8) == pytest.approx(2, abs=0.01)
    assert all(A.delta_law(n, 64) < A.hebbian_law(n, 64) for n in (2, 30, 500))


def test_an_empty_memory_has_error_one():
    k, v = pairs()
    torch.testing.assert_close(A.recall_error(torch.zeros(4, 5, 3).double(), k, v), torch.ones(4).double())


def test_memories_are_differentiable_and_need_no_batch():
    k, v = pairs()
    k, v = k[0].requires_grad_(), v[0].requires_grad_()
    A.recall_error(A.delta(k, v), k, v).backward()
    assert k.grad.isfinite().all() and v.grad.abs().sum() > 0


def test_bad_input_is_refused():
    k, v = pairs()
    with pytest.raises(ValueError, match=r"beta in \(0, 2\].*got 2.5"):
        A.delta(k, v, beta=2.5)
    with pytest.raises(ValueError, match="not all 0"):
        A.recall_error(A.hebbian(k, v), k, 0 * v)
    with pytest.raises(ValueError, match=r"\(\.\.\., n, d\), got \(3,\)"):
        A.unit_keys(3, generator=torch.Generator())
    with pytest.raises(ValueError, match=r"\(4, 3, 3\) where .*n = 7"):
        A.hebbian(k, v[:, :3])


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_agrees_with_the_cpu():
    k, v = pairs()
    for rule in (A.hebbian, A.delta):
        torch.testing.assert_close(rule(k.cuda(), v.cuda()).cpu(), rule(k, v))
