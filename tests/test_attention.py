from functools import partial

import pytest
import torch
from torch.nn import functional as F

from lib import attention as A
from lib import masks
from lib.biases import Alibi
from lib.positions import rotary


def qkv(n=9, m=None, b=2, h=3, d=4, e=5, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    make = partial(torch.randn, generator=generator, dtype=torch.float64)
    m = m or n
    return tuple(x.to(dtype) for x in (make(b, h, n, d), make(b, h, m, d), make(b, h, m, e)))


def naive(q, k, v, sim, seen):
    """Weighted means by loops; 0/0, which relu features can give, counts as 0."""
    out = torch.zeros(*q.shape[:3], v.shape[-1], dtype=v.dtype)
    for i in range(q.shape[2]):
        weights = torch.stack([sim(q[:, :, i], k[:, :, j]) * seen[i, j] for j in range(k.shape[2])], -1)
        out[:, :, i] = (weights[..., None] * v).sum(2) / weights.sum(-1, keepdim=True)
    return out.nan_to_num()


def dot(a, b):
    return (a * b).sum(-1)


@pytest.mark.parametrize("n", [1, 7])
def test_softmax_attention_is_the_weighted_mean_of_the_values(n):
    q, k, v = qkv(n)
    expected = naive(q, k, v, lambda a, b: (dot(a, b) / 2).exp(), masks.causal(n).double())
    torch.testing.assert_close(A.softmax_attention(q, k, v, mask=masks.causal(n)), expected)


@pytest.mark.parametrize("mask", [None, masks.causal(9) & masks.padding(torch.tensor([0, 6]), 9)])
@pytest.mark.parametrize("scale", [None, 0.3])
@pytest.mark.parametrize("position", [None, rotary(9, 4)])
def test_softmax_attention_applies_its_weights(mask, scale, position):
    q, k, v = qkv()
    weights = A.attention_weights(q, k, mask=mask, scale=scale, position=position)
    out = A.softmax_attention(q, k, v, mask=mask, scale=scale, position=position)
    torch.testing.assert_close(out, weights @ v)
    total = torch.ones(2, 3, 9) if mask is None else mask.any(-1).expand(2, 3, 9)
    torch.testing.assert_close(weights.sum(-1), total.double())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_query_without_keys_gets_zero_and_no_nan_anywhere(dtype):
    q, k, v = (x.requires_grad_() for x in qkv(dtype=dtype))
    mask = masks.padding(torch.tensor([0, 5]), 9)
    out = A.softmax_attention(q, k, v, mask=mask)
    out.sum().backward()
    assert (out[0] == 0).all() and (out[1] != 0).any()
    assert all(x.grad.isfinite().all() for x in (q, k, v))
    assert (A.attention_weights(q, k, mask=mask)[0] == 0).all()


def test_softmax_attention_crosses_lengths():
    q, k, v = qkv(3, 8)
    torch.testing.assert_close(A.softmax_attention(q, k, v), F.scaled_dot_product_attention(q, k, v))


@pytest.mark.parametrize("position", [rotary(9, 4), Alibi(1)])
def test_queries_are_the_last_of_the_keys(position):
    q, k, v = qkv(h=1)
    whole = A.softmax_attention(q, k, v, mask=masks.causal(9), position=position)
    last = A.softmax_attention(q[:, :, 6:], k, v, mask=masks.causal(3, 9), position=position)
    torch.testing.assert_close(last, whole[:, :, 6:])


def test_a_bias_is_added_to_the_logits():
    q, k, v = qkv(h=2)
    bias = Alibi(2).double()
    expected = ((q @ k.mT) / 2 + bias(9, 9)).masked_fill(~masks.causal(9), -torch.inf).softmax(-1)
    for mask in (masks.causal(9), masks.causal(9)[None, None].expand(2, 1, 9, 9)):
        torch.testing.assert_close(A.attention_weights(q, k, mask=mask, position=bias), expected)
        torch.testing.assert_close(A.softmax_attention(q, k, v, mask=mask, position=bias), expected @ v)


def test_the_scale_grows_with_the_logarithm_of_the_keys_that_a_query_may_see():
    q, k, v = qkv(n=4)
    assert A.length_scale(q, 512).flatten().tolist() == pytest.approx([1] * 4)
    mask = masks.causal(4) & masks.padding(torch.tensor([4, 2]), 4)
    got = A.length_scale(q, 4, mask, base=2.0)[:, 0, :, 0]
    want = torch.tensor([[1, 2, 3, 4], [1, 2, 2, 2]]).double().log2()
    torch.testing.assert_close(got, want, rtol=1e-6, atol=0)  # counted in float32
    assert (A.length_scale(q, 4, mask, base=2.0, least=1.0)[:, 0, :2] == 1).all()
    scaled = A.length_scaled(A.softmax_attention, base=2.0)(q, k, v, mask=mask)
    torch.testing.assert_close(scaled, A.softmax_attention(q * A.length_scale(q, 4, mask, base=2.0), k, v, mask=mask))


def test_bad_input_is_refused():
    q, k, v = qkv()
    with pytest.raises(ValueError, match=r"broadcastable to \(2, 3, 9, 9\), got torch.bool \(8, 8\)"):
        A.softmax_attention(q, k, v, mask=masks.causal(8))
    with pytest.raises(ValueError, match="non-empty"):
        A.softmax_attention(q, k[:, :, :0], v[:, :, :0])
    with pytest.raises(ValueError, match="n=9, m=3"):
        A.softmax_attention(q, k[:, :, :3], v[:, :, :3], position=rotary(9, 4))
    with pytest.raises(ValueError, match="base > 1"):
        A.length_scale(q, 9, base=1.0)
