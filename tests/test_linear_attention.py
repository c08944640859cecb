from functools import partial

import pytest
import torch
from torch.nn import functional as F

from lib import features, masks
from lib import linear_attention as L
from lib.attention import softmax_attention
from lib.positions import rotary
from tests.test_attention import dot, naive, qkv

IMPLS = ["chunked", "recurrent", "quadratic"]
CAUSAL = [features.elu1, features.relu, features.exp_causal, features.one_plus_cos, features.taylor2]
MAPS = [*CAUSAL, features.exp, features.double_softmax]


# feature maps


@pytest.mark.parametrize("feature_map", MAPS)
def test_feature_maps_are_not_negative_in_product(feature_map):
    q, k, _ = qkv(32)
    fq, fk = feature_map(q, k)
    # cosines may round to −1 − 1e-16
    assert (fq @ fk.mT >= -1e-12).all()


def test_feature_maps_by_their_formulas():
    q, k, _ = qkv()
    torch.testing.assert_close(features.elu1(q, k)[1], F.elu(k) + 1)
    torch.testing.assert_close(features.relu(q, k)[0], q.clamp(min=0))
    fq, fk = features.one_plus_cos(q, k)
    torch.testing.assert_close(fq @ fk.mT, 1 + F.cosine_similarity(q[..., :, None, :], k[..., None, :, :], dim=-1))
    assert features.identity(q, k)[0] is q


def test_taylor2_is_the_polynomial_and_stays_above_one_half():
    q, k, _ = qkv(32)
    fq, fk = features.taylor2(q, k)
    s = q @ k.mT / 2  # d = 4
    torch.testing.assert_close(fq @ fk.mT, 1 + s + s.square() / 2)
    assert (fq @ fk.mT).min() >= 0.5 and fq.shape[-1] == 1 + 4 + 16


@pytest.mark.parametrize("n", [1, 5, 9])
def test_the_double_softmax_needs_no_normaliser(n):
    q, k, v = qkv(n)
    fq, fk = features.double_softmax(q, k)
    torch.testing.assert_close((fq @ fk.mT).sum(-1), torch.ones(2, 3, n, dtype=torch.float64), rtol=0, atol=1e-12)
    out = L.linear_attention(q, k, v, feature_map=features.double_softmax)
    torch.testing.assert_close(out, fq @ (fk.mT @ v))


def test_the_double_softmax_leaks_through_a_causal_mask():
    q, k, v = qkv(64)
    attend = partial(L.linear_attention, feature_map=features.double_softmax, causal=True)
    later = k.clone()
    later[:, :, -1] += 3
    moved = (attend(q, later, v) - attend(q, k, v)).abs().amax((0, 1, 3))
    # the first row has one key, whose weight is 1 whatever its features are
    assert (moved[1:-1] > 1e-6).all() and moved[0] < 1e-12


@pytest.mark.parametrize("feature_map, moves", [(features.double_softmax, True), (features.exp_causal, False)])
def test_a_masked_key_keeps_its_share_in_the_double_softmax(feature_map, moves):
    q, k, v = qkv(9)
    padded = torch.arange(9).expand(2, 1, 1, 9) < 6
    other = k.clone()
    other[:, :, 6:] += torch.tensor([3.0, 0, -1, 0], dtype=k.dtype)
    one, two = (L.linear_attention(q, x, v, feature_map=feature_map, mask=padded) for x in (k, other))
    assert ((one - two).abs().max() > 1e-3) == moves


@pytest.mark.parametrize("d, n", [(1, 4), (3, 9), (5, 5)])
def test_taylor2_reaches_d_and_not_more_than_d_and_one(d, n):
    g = torch.Generator().manual_seed(n)
    k = torch.randn(n, d, generator=g, dtype=torch.float64)
    x, e = torch.cat([k.new_ones(n, 1), k / d**0.5], 1), torch.eye(d + 1, dtype=torch.float64)[0]
    B = x[:, :, None] * x[:, None] + e.outer(e)
    top = torch.linalg.eigvals(torch.linalg.solve(B.sum(0), B)).real.amax(-1)
    assert d - 1e-9 <= top.sum() <= d + 1
    long = torch.randn(1, 1, 4000, d, generator=g, dtype=torch.float64) * torch.logspace(-1, 3, 4000)[:, None]
    tried = L.linear_weights(long, k[None, None], feature_map=features.taylor2).amax(-2)[0, 0]
    assert (tried <= top + 1e-9).all()


@pytest.mark.parametrize("feature_map", [features.elu1, features.relu, features.exp, features.double_softmax])
def test_nonnegative_features_reach_at_most_their_number(feature_map):
    g = torch.Generator().manual_seed(3)
    q, k = 8 * torch.randn(2, 1, 1, 100, 4, generator=g, dtype=torch.float64)
    weights = L.linear_weights(q, k, feature_map=feature_map)
    assert 1 <= weights.amax(-2).sum() <= 4


@pytest.mark.parametrize("n, d, lean", [(2, 1, 0.0), (4, 2, 0.0), (7, 3, 1.0), (300, 5, 0.4)])
def test_the_reach_of_one_plus_cos_is_two(n, d, lean):
    g = torch.Generator().manual_seed(n)
    k = F.normalize(torch.randn(1, 1, n, d, generator=g, dtype=torch.float64) + lean, dim=-1)
    k = torch.tensor([[[[1.0], [-1.0]]]], dtype=torch.float64) if d == 1 else k
    m = k.mean(-2, keepdim=True)
    gain = 2 * (1 - (k * m).sum(-1, keepdim=True)) / (1 - m.square().sum(-1, keepdim=True))
    best = L.linear_weights((k - gain * m) / (gain - 1), k, feature_map=features.one_plus_cos)
    assert best.diagonal(dim1=-2, dim2=-1).sum().item() == pytest.approx(2, abs=1e-10)
    other = torch.randn(1, 1, 2000, d, generator=g, dtype=torch.float64)
    tried = L.linear_weights(other, k, feature_map=features.one_plus_cos).amax(-2)
    assert (tried <= best.diagonal(dim1=-2, dim2=-1) + 1e-10).all()


def test_the_stabilisers_of_exp_cancel():
    q, k, v = qkv()
    plain = L.linear_attention(q, k, v, feature_map=lambda q, k: (q.exp(), k.exp()))
    torch.testing.assert_close(L.linear_attention(q, k, v, feature_map=features.exp), plain)
    torch.testing.assert_close(L.linear_attention(q, k, v, feature_map=features.exp_causal), plain)
    far = L.linear_attention((q + 300).float(), (k + 300).float(), v.float(), feature_map=features.exp)
    # float32 near 300 holds 3e-5, which the exponential turns into relative error of the weights
    torch.testing.assert_close(far, plain.float(), rtol=0, atol=1e-3)


# linear attention


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("feature_map", MAPS)
@pytest.mark.parametrize("causal", [False, True])
def test_linear_attention_is_the_weighted_mean_of_the_values(impl, feature_map, causal):
    q, k, v = qkv(7)
    seen = masks.causal(7) if causal else torch.ones(7, 7)
    fq, fk = feature_map(q, k)
    expected = naive(fq, fk, v, dot, seen.double())
    out = L.linear_attention(q, k, v, feature_map=feature_map, causal=causal, impl=impl, chunk=3)
    torch.testing.assert_close(out, expected)


@pytest.mark.parametrize("n", [1, 2, 63, 64, 65, 130])
@pytest.mark.parametrize("position", [None, "rotary"])
def test_the_three_forms_agree_at_every_length_in_values_and_gradients(n, position):
    position = position and rotary(n, 4)
    results = []
    for impl in IMPLS:
        x = [part.requires_grad_() for part in qkv(n, b=1, h=2)]
        out = L.linear_attention(*x, causal=True, impl=impl, position=position)
        results.append((out, *torch.autograd.grad(out.sin().sum(), x)))
    for other in results[1:]:
        # float64; rotated numerators can cancel, hence an absolute bound
        torch.testing.assert_close(results[0], other, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("chunk", [1, 2, 5, 64, 1000])
def test_the_chunk_changes_nothing(chunk):
    q, k, v = qkv(11)
    one = L.linear_attention(q, k, v, causal=True, chunk=chunk)
    torch.testing.assert_close(one, L.linear_attention(q, k, v, causal=True, impl="quadratic"))


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("feature_map", CAUSAL)
@pytest.mark.parametrize("position", [None, rotary(200, 4, partial=True)])
def test_the_causal_forms_cannot_see_the_future(impl, feature_map, position):
    q, k, v = qkv(200, dtype=torch.float32)
    attend = partial(L.linear_attention, feature_map=feature_map, causal=True, impl=impl, position=position, chunk=16)
    before = attend(q, k, v)
    for t in (1, 100, 199):
        later_k, later_v = k.clone(), v.clone()
        later_k[:, :, t:] *= 4
        later_v[:, :, t:] -= 7
        moved = (attend(q, later_k, later_v) - before).abs()
        assert moved[:, :, :t].max() == 0.0
        # one value of 200 moves by 7, at a weight near 1/200
        assert moved[:, :, t:].max() > 0.01


def test_the_stabilised_exp_does_see_the_future_which_is_why_exp_causal_exists():
    q, k, v = qkv(64, dtype=torch.float32)
    attend = partial(L.linear_attention, feature_map=features.exp, causal=True, chunk=16)
    later = k.clone()
    later[:, :, 40:] += 30
    assert (attend(q, later, v) - attend(q, k, v))[:, :, :40].abs().max() > 0


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("causal", [False, True])
def test_padding_works_in_every_form(impl, causal):
    q, k, v = qkv()
    mask = masks.padding(torch.tensor([4, 9]), 9)
    out = L.linear_attention(q, k, v, mask=mask, causal=causal, impl=impl)
    short = L.linear_attention(q[:1, :, :4], k[:1, :, :4], v[:1, :, :4], causal=causal)
    torch.testing.assert_close(out[:1, :, :4], short)
    torch.testing.assert_close(out[1:], L.linear_attention(q[1:], k[1:], v[1:], causal=causal))


@pytest.mark.parametrize("impl", IMPLS)
def test_a_total_of_zero_gives_zero(impl):
    q, k, v = (x.requires_grad_() for x in qkv())
    out = L.linear_attention(q, k, v, mask=masks.padding(torch.tensor([0, 9]), 9), impl=impl)
    out.sum().backward()
    assert (out[0] == 0).all()
    assert all(x.grad.isfinite().all() for x in (q, k, v))


def test_any_mask_goes_with_the_quadratic_form_and_rows_sum_to_one():
    q, k, v = qkv()
    weights = L.linear_weights(q, k, mask=masks.band(9, 2))
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3, 9, dtype=torch.float64))
    assert (weights[..., ~masks.band(9, 2)] == 0).all()
    out = L.linear_attention(q, k, v, mask=masks.band(9, 2), impl="quadratic")
    torch.testing.assert_close(out, weights @ v)


def test_positions_turn_the_numerator_alone():
    q, k, v = qkv()
    turn = rotary(9, 4)
    fq, fk = features.elu1(q, k)
    expected = (turn(fq) @ turn(fk).mT) @ v / (fq @ fk.mT).sum(-1, keepdim=True)
    torch.testing.assert_close(L.linear_attention(q, k, v, position=turn), expected)
    torch.testing.assert_close(L.linear_weights(q, k, position=turn) @ v, expected)


def test_rotated_one_plus_cos_keeps_its_weights_positive():
    q, k, _ = qkv(50)
    weights = L.linear_weights(q, k, feature_map=features.one_plus_cos, position=rotary(50, 4, partial=True))
    assert (weights > 0).all()
    assert (L.linear_weights(q, k, position=rotary(50, 4)) < 0).any()


def test_linear_attention_crosses_lengths():
    q, k, v = qkv(3, 8)
    torch.testing.assert_close(L.linear_attention(q, k, v), L.linear_attention(q, k, v, impl="quadratic"))


@pytest.mark.parametrize("position", [None, rotary(6, 4)])
def test_the_state_decodes_what_the_causal_form_computes(position):
    q, k, v = qkv(6)
    fq, fk = features.elu1(q, k)
    rq, rk = (fq, fk) if position is None else (position(fq), position(fk))
    state = L.LinearState.empty(2, 3, 4, 5, dtype=torch.float64)
    out = []
    for i in range(6):
        state = state.step(fk[:, :, i], v[:, :, i], rk[:, :, i])
        out.append(state.read(fq[:, :, i], rq[:, :, i]))
    torch.testing.assert_close(torch.stack(out, 2), L.linear_attention(q, k, v, causal=True, position=position))


def test_an_empty_state_reads_zero_and_a_step_leaves_the_old_state():
    state = L.LinearState.empty(1, 1, 4, 5)
    assert (state.read(torch.ones(1, 1, 4)) == 0).all()
    after = state.step(torch.ones(1, 1, 4), torch.ones(1, 1, 5))
    assert (state.S == 0).all() and (after.S == 1).all()


@pytest.mark.parametrize("impl", IMPLS)
def test_bfloat16_is_summed_in_float32(impl):
    q, k, v = qkv(300, dtype=torch.bfloat16)
    out = L.linear_attention(q, k, v, causal=True, impl=impl)
    assert out.dtype == torch.bfloat16
    wide = L.linear_attention(q.double(), k.double(), v.double(), causal=True)
    # 8 bits of mantissa in the features and in the output, averaged over the keys
    torch.testing.assert_close(out.double(), wide, rtol=0, atol=0.03)


def test_bad_input_is_refused():
    q, k, v = qkv()
    with pytest.raises(ValueError, match="n=3, m=9"):
        L.linear_attention(q[:, :, :3], k, v, causal=True)
    with pytest.raises(ValueError, match="chunk >= 1"):
        L.linear_attention(q, k, v, chunk=0)
    with pytest.raises(ValueError, match="needs impl='quadratic'"):
        L.linear_attention(q, k, v, mask=masks.causal(9))
    for attend in (softmax_attention, L.linear_attention):
        with pytest.raises(ValueError, match=r"broadcastable to \(2, 3, 9, 9\), got torch.bool \(8, 8\)"):
            attend(q, k, v, mask=masks.causal(8))
        with pytest.raises(ValueError, match="non-empty"):
            attend(q, k[:, :, :0], v[:, :, :0])


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("impl", IMPLS)
def test_cuda_agrees_with_the_cpu(impl):
    q, k, v = qkv(70)
    out = L.linear_attention(q.cuda(), k.cuda(), v.cuda(), causal=True, impl=impl)
    torch.testing.assert_close(out.cpu(), L.linear_attention(q, k, v, causal=True, impl=impl))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("feature_map", MAPS)
def test_features_on_cuda_agree_with_the_cpu(feature_map):
    q, k, _ = qkv(70)
    for here, there in zip(feature_map(q, k), feature_map(q.cuda(), k.cuda()), strict=True):
        torch.testing.assert_close(there.cpu(), here)
