import math

import numpy as np
import pytest
import torch
from scipy import special, stats

from lib import random_features as rf

G = torch.Generator


def qkv(n, d=16, scale=1.0, seed=0, dtype=torch.float64, shape=(2, 3)):
    g = G().manual_seed(seed)
    q, k, v = torch.randn(3, *shape, n, d, generator=g, dtype=dtype)
    return scale * q, scale * k, v


def naive(q, k, v, W, causal=False, mask=None):
    """Quadratic, from the defining formula, in float64."""
    x, y = (u.double() * u.shape[-1] ** -0.25 for u in (q, k))
    W = W.double()
    a, b = (u @ W.T - (u * u).sum(-1, keepdim=True) / 2 for u in (x, y))
    log = torch.logsumexp(a[..., :, None, :] + b[..., None, :, :], -1)
    if causal:
        log = log.masked_fill(~torch.ones(log.shape[-2:], dtype=torch.bool).tril(), -math.inf)
    if mask is not None:
        log = log.masked_fill(~mask, -math.inf)
    return torch.softmax(log, -1) @ v.double()


# laws


@pytest.mark.parametrize("kind", ["positive", "hyperbolic", "trig"])
def test_features_average_to_the_exponential_with_the_stated_variance(kind):
    d, m, draws, s, t = 8, 4, 20_000, 1.2, 1.8
    e = torch.eye(d, dtype=torch.float64)  # pairs with q+k = √s e_i and q−k = √t e_{i+1}: d samples from each draw
    q, k = (((s**0.5) * e + sign * (t**0.5) * e.roll(1, 1)) / 2 for sign in (1, -1))
    W = rf.gaussian(m, d, G().manual_seed(0), torch.float64, draws=draws)
    feature = getattr(rf, kind)
    ratio = (feature(q, W) * feature(k, W)).sum(-1) / (q * k).sum(-1).exp()
    theory = rf.relative_variance(kind, s, t, m)
    assert abs(ratio.mean() - 1) < 4 * ratio.mean(1).std() / draws**0.5
    assert ratio.var().item() == pytest.approx(theory, rel=0.05)


@pytest.mark.parametrize("norms", ["chi", "sqrt_d", "quantile", "midpoint"])
def test_rows_of_a_block_are_orthogonal(norms):
    W = rf.orthogonal(20, 8, G().manual_seed(1), norms, dtype=torch.float64)
    for block in W.split(8):
        gram = block @ block.T
        assert (gram - gram.diag().diag()).abs().max() < 1e-12


def test_haar_directions_have_mean_zero_and_the_raw_qr_does_not():
    d, draws = 6, 20_000
    fair = rf.orthogonal(d, d, G().manual_seed(2), "sqrt_d", True, torch.float64, draws=draws).mean(0)
    raw = rf.orthogonal(d, d, G().manual_seed(2), "sqrt_d", False, torch.float64, draws=draws).mean(0)
    assert fair.abs().max() < 5 / math.sqrt(draws)  # each coordinate has variance 1
    assert (raw.diagonal()[:-1] < -0.4).all()


def test_the_favor_form_of_two_softmaxes_equals_the_definition():
    W = rf.orthogonal(32, 16, G().manual_seed(3), dtype=torch.float64)
    q, k, v = qkv(33)
    torch.testing.assert_close(rf.favor_attention(q, k, v, W=W), naive(q, k, v, W), rtol=0, atol=1e-12)


@pytest.mark.parametrize("t", [1, 63, 64, 90, 199])
@pytest.mark.parametrize("factor", [0.1, 4.0])
def test_editing_the_future_moves_no_earlier_output_by_one_bit(t, factor):
    W = rf.orthogonal(64, 16, G().manual_seed(4))
    q, k, v = qkv(200, dtype=torch.float32)
    before = rf.favor_attention(q, k, v, W=W, causal=True)
    k, v = k.clone(), v.clone()
    k[..., t:, :] *= factor
    v[..., t:, :] += 100
    after = rf.favor_attention(q, k, v, W=W, causal=True)
    assert (before - after)[..., :t, :].abs().max() == 0.0
    assert (before - after)[..., t:, :].abs().max() > 0


def test_attention_stays_a_convex_combination_at_large_norms():
    # Scaled features that get an eps are all eps here, and every output is the mean of the values.
    W = rf.orthogonal(64, 64, G().manual_seed(5))
    q, k, v = qkv(128, 64, 4.0, dtype=torch.float32)
    for causal in (False, True):
        out = rf.favor_attention(q, k, v, W=W, causal=causal)
        assert torch.isfinite(out).all() and out.max() <= v.max() + 1e-4 and out.min() >= v.min() - 1e-4
    assert (rf.favor_attention(q, k, v, W=W) - v.mean(-2, keepdim=True)).abs().mean() > 0.3


# parity


def test_norms_follow_scipys_chi_law_and_quantiles():
    W = rf.orthogonal(4096, 16, G().manual_seed(6), dtype=torch.float64)
    assert stats.kstest(W.norm(dim=-1).numpy(), stats.chi(df=16).cdf).pvalue > 1e-3
    mid = rf.orthogonal(10, 16, G().manual_seed(6), "midpoint", dtype=torch.float64).norm(dim=-1).sort().values
    np.testing.assert_allclose(stats.chi(df=16).cdf(mid.numpy()), (np.arange(10) + 0.5) / 10, atol=1e-12)


def test_haar_matches_scipys_ortho_group_in_the_law_of_an_entry():
    ours = rf.orthogonal(4, 4, G().manual_seed(7), "sqrt_d", dtype=torch.float64, draws=2000)[:, 0, 0] / 2
    theirs = stats.ortho_group.rvs(4, size=2000, random_state=0)[:, 0, 0]
    assert stats.ks_2samp(ours.numpy(), theirs).pvalue > 1e-3


def test_sqrt_d_rows_estimate_the_bessel_kernel():
    d, s = 16, 2.0
    x = torch.full((1, d), math.sqrt(s / d) / 2, dtype=torch.float64)
    W = rf.orthogonal(d, d, G().manual_seed(8), "sqrt_d", dtype=torch.float64, draws=20_000)
    ratio = ((rf.positive(x, W) @ rf.positive(x, W).mT).mean() / (x @ x.T).exp()).item()
    assert ratio == pytest.approx(special.hyp0f1(d / 2, d * s / 4) * math.exp(-s / 2), rel=5e-3)


@pytest.mark.parametrize("n", [1, 7, 64, 65, 200])
@pytest.mark.parametrize("chunk", [16, 64, 512])
def test_causal_chunks_equal_the_quadratic_reference(n, chunk):
    W = rf.orthogonal(64, 16, G().manual_seed(9))
    q, k, v = qkv(n, dtype=torch.float32)
    out = rf.favor_attention(q, k, v, W=W, causal=True, chunk=chunk)
    # float32 exponents of size ~10 carry 1e-6
    torch.testing.assert_close(out.double(), naive(q, k, v, W, causal=True), rtol=0, atol=2e-5)
    exact = rf.favor_attention(*(x.double() for x in (q, k, v)), W=W, causal=True, chunk=chunk)
    torch.testing.assert_close(exact, naive(q, k, v, W, causal=True), rtol=0, atol=1e-12)


def test_causal_gradients_equal_those_of_the_quadratic_reference():
    W = rf.orthogonal(8, 4, G().manual_seed(10), dtype=torch.float64)
    tensors = [x.requires_grad_() for x in qkv(13, 4, shape=(1, 2))]
    ours = torch.autograd.grad(rf.favor_attention(*tensors, W=W, causal=True, chunk=5).square().sum(), tensors)
    theirs = torch.autograd.grad(naive(*tensors, W, causal=True).square().sum(), tensors)
    for x, y in zip(ours, theirs, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-9, atol=1e-10)


# edges


def test_a_padding_mask_equals_shorter_keys():
    W = rf.orthogonal(32, 16, G().manual_seed(11), dtype=torch.float64)
    q, k, v = qkv(20)
    mask = torch.arange(20) < 15
    for causal in (False, True):
        out = rf.favor_attention(q, k, v, W=W, mask=mask, causal=causal)
        torch.testing.assert_close(out, naive(q, k, v, W, causal, mask), rtol=0, atol=1e-12)


def test_a_query_without_keys_gets_zero():
    W = rf.orthogonal(32, 16, G().manual_seed(11), dtype=torch.float64)
    q, k, v = (x.requires_grad_() for x in qkv(20))
    mask = torch.ones(2, 1, 1, 20, dtype=torch.bool)
    mask[0] = False
    mask[1, ..., :7] = False
    both = rf.favor_attention(q, k, v, W=W, mask=mask)
    causal = rf.favor_attention(q, k, v, W=W, mask=mask, causal=True, chunk=5)
    assert (both[0] == 0).all() and (causal[0] == 0).all() and (causal[1, :, :7] == 0).all()
    assert (both[1] != 0).all() and (causal[1, :, 7:] != 0).all()
    assert all(torch.isfinite(g).all() for g in torch.autograd.grad(both.sum() + causal.sum(), [q, k, v]))


def test_bfloat16_stays_close_to_the_exact_result_and_keeps_its_dtype():
    W = rf.orthogonal(64, 16, G().manual_seed(12))
    q, k, v = (x.bfloat16() for x in qkv(70, dtype=torch.float32))
    for causal in (False, True):
        out = rf.favor_attention(q, k, v, W=W, causal=causal)
        assert out.dtype == torch.bfloat16
        torch.testing.assert_close(out.double(), naive(q, k, v, W, causal), rtol=0.01, atol=0.01)  # 8 bits


def test_positions_act_before_the_features():
    W = rf.orthogonal(32, 16, G().manual_seed(13), dtype=torch.float64)
    q, k, v = qkv(9)
    flip = lambda x: x.flip(-1)  # noqa: E731
    out = rf.favor_attention(q, k, v, W=W, position=flip)
    torch.testing.assert_close(out, rf.favor_attention(flip(q), flip(k), v, W=W), rtol=0, atol=0)


# refusals


def test_bad_input_is_refused_with_the_numbers():
    W = rf.gaussian(8, 16, dtype=torch.float64)
    q, k, v = qkv(5)
    with pytest.raises(ValueError, match="m=0"):
        rf.gaussian(0, 4)
    with pytest.raises(ValueError, match="'chi'"):
        rf.orthogonal(4, 4, norms="unit")
    with pytest.raises(ValueError, match=r"channels .* 8, got 16"):
        rf.positive(q, W[:, :8])
    with pytest.raises(ValueError, match="same keys for every query"):
        rf.favor_attention(q, k, v, W=W, mask=torch.ones(5, 5, dtype=torch.bool))
    with pytest.raises(ValueError, match="as many queries as keys"):
        rf.favor_attention(q[..., :3, :], k, v, W=W, causal=True)
    with pytest.raises(ValueError, match="non-empty"):
        rf.favor_attention(q[..., :0, :], k, v, W=W)
    with pytest.raises(ValueError, match="kind"):
        rf.relative_variance("cosine", 1.0, 1.0, 8)
    with pytest.raises(ValueError, match=r"t >= 0, got t=-1\.0"):
        rf.relative_variance("trig", 1.0, -1.0, 8)
