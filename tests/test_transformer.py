from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn

from lib.biases import T5Bias
from lib.blocks import Attention, Block, FeedForward
from lib.cache import Cache
from lib.linear_attention import linear_attention
from lib.masks import padding, prefix
from lib.norms import ConditionalLayerNorm, conditioned
from lib.positions import rotary
from lib.transformer import Config, Encoder, EncoderDecoder, encoder, token_logits

IDS = torch.randint(3, 50, (2, 9), generator=torch.Generator().manual_seed(0))
SMALL = Config(vocab=50, d=32, heads=4, layers=2)
LEARNED = replace(SMALL, max_len=16)


def copy_(ours: nn.Module, theirs: nn.Module) -> None:
    """Copy linear, embedding or norm weights from a peer."""
    ours.load_state_dict({name: value for name, value in theirs.state_dict().items() if name in ("weight", "bias")})


@pytest.mark.parametrize("order", ["pre", "post"])
def test_parity_with_the_encoder_layer_of_torch(order):
    torch.manual_seed(0)
    peer = nn.TransformerEncoderLayer(32, 4, 48, 0.0, "gelu", batch_first=True, norm_first=order == "pre")
    for p in peer.parameters():
        nn.init.normal_(p, std=0.3)
    ours = Block(Attention(32, 4), FeedForward(32, 48), (nn.LayerNorm(32), nn.LayerNorm(32)), order)
    with torch.no_grad():
        weights, biases = peer.self_attn.in_proj_weight.chunk(3), peer.self_attn.in_proj_bias.chunk(3)
        for linear, w, b in zip((ours.mixer.query, ours.mixer.key, ours.mixer.value), weights, biases, strict=True):
            linear.weight.copy_(w), linear.bias.copy_(b)
    copy_(ours.mixer.output, peer.self_attn.out_proj)
    copy_(ours.feed.inner, peer.linear1), copy_(ours.feed.outer, peer.linear2)
    copy_(ours.norms[0], peer.norm1), copy_(ours.norms[1], peer.norm2)
    x = torch.randn(2, 9, 32, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(ours(x), peer(x), rtol=1e-5, atol=1e-5)


CAUSAL = replace(SMALL, causal=True)


@pytest.mark.parametrize("config", [SMALL, LEARNED])
def test_a_causal_encoder_cannot_see_the_future(config):
    model = encoder(replace(config, causal=True), position=rotary(16, 8))
    later = IDS.clone()
    later[:, 5:] = 7
    assert torch.equal(model(IDS)[:, :5], model(later)[:, :5])
    assert not torch.equal(model(IDS)[:, 5:], model(later)[:, 5:])


def test_a_causal_linear_attention_needs_no_mask():
    chunked = encoder(SMALL, attend=partial(linear_attention, causal=True, chunk=4), position=rotary(16, 8))
    quadratic = encoder(CAUSAL, attend=partial(linear_attention, impl="quadratic"), position=rotary(16, 8))
    # float32 through two layers
    torch.testing.assert_close(chunked(IDS), quadratic(IDS), rtol=0, atol=1e-5)


def test_without_positions_the_encoder_is_equivariant_and_with_them_it_is_not():
    order = torch.randperm(9, generator=torch.Generator().manual_seed(2))
    plain = encoder(SMALL)
    # float32 sums in another order
    torch.testing.assert_close(plain(IDS[:, order]), plain(IDS)[:, order], rtol=0, atol=1e-5)
    for model in (encoder(LEARNED), encoder(SMALL, position=rotary(16, 8))):
        assert (model(IDS[:, order]) - model(IDS)[:, order]).abs().max() > 0.01


def test_padding_does_not_reach_the_other_tokens():
    model = encoder(SMALL, position=rotary(16, 8))
    out = model(IDS, padding(torch.tensor([6, 9]), 9))
    torch.testing.assert_close(out[:1, :6], model(IDS[:1, :6]), rtol=0, atol=1e-5)
    assert out.isfinite().all()


def test_from_embeddings_is_the_rest_of_forward():
    for order in ("pre", "post"):
        model = encoder(Config(vocab=50, d=32, max_len=16, order=order, causal=True))
        assert torch.equal(model.from_embeddings(model.embed.token(IDS)), model(IDS))


def test_weights_depend_on_the_seed_alone():
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = encoder(SMALL, seed=3).state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    second, other = encoder(SMALL, seed=3).state_dict(), encoder(SMALL, seed=4).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["embed.token.weight"], other["embed.token.weight"])


def test_sizes_are_what_the_config_says():
    config = Config(vocab=50, d=32, heads=4, layers=3, hidden=40, head_size=16, max_len=16, std=0.5)
    model = encoder(config)
    attention, feed, norms = 4 * 32 * 64 + 3 * 64 + 32, 2 * 32 * 40 + 72, 2 * 2 * 32
    expected = (50 + 16) * 32 + 3 * (attention + feed + norms) + 2 * 32
    assert sum(p.numel() for p in model.parameters()) == expected
    # 1600 normal numbers: 10 % is more than five standard errors
    assert model.embed.token.weight.std().item() == pytest.approx(0.5, rel=0.1)


def test_any_mixer_can_stand_in_the_block():
    class Mean(nn.Module):
        def forward(self, x, mask):
            return x.mean(1, keepdim=True).expand_as(x)

    seen = []
    model = encoder(SMALL, mixer=lambda config: seen.append(config) or Mean())
    assert model(IDS).shape == (2, 9, 32)
    assert seen == [SMALL] * 2


def test_one_token_and_bfloat16():
    model = encoder(CAUSAL, position=rotary(16, 8)).bfloat16()
    assert model(IDS[:1, :1]).dtype == torch.bfloat16
    assert model(IDS[:1, :1]).isfinite().all()


def test_the_parts_can_be_put_together_by_hand():
    model = encoder(SMALL)
    half = Encoder(model.embed, list(model.blocks)[:1], model.final)
    expected = model.final(model.blocks[0](model.embed(IDS)))
    assert torch.equal(half(IDS), expected)


def test_tied_logits_take_a_bias():
    model, bias = encoder(SMALL), torch.arange(50.0)
    hidden = model(IDS)
    plain = hidden @ model.embed.token.weight.T
    torch.testing.assert_close(token_logits(hidden, model.embed.token, bias), plain + bias)


@pytest.mark.parametrize("bad", [{"max_len": 0}, {"layers": 0}, {"vocab": 0}, {"hidden": 0}, {"head_size": -1}])
def test_bad_sizes_are_refused(bad):
    with pytest.raises(ValueError, match="positive sizes"):
        Config(**{"vocab": 50, "d": 32, "heads": 4, **bad})


def test_bad_parts_are_refused():
    with pytest.raises(ValueError, match="d=30, heads=4"):
        Attention(30, 4)
    with pytest.raises(ValueError, match="d=30, heads=4"):
        encoder(Config(vocab=50, d=30))
    with pytest.raises(ValueError, match="2 norms"):
        Block(Attention(32, 4), FeedForward(32, 48), [nn.LayerNorm(32)])
    with pytest.raises(ValueError, match="at most 16 positions, got 17"):
        encoder(LEARNED)(torch.zeros(1, 17, dtype=torch.int64))


@pytest.mark.parametrize("position", [None, rotary(16, 8), T5Bias(4, both=False)])
@pytest.mark.parametrize("config", [CAUSAL, replace(LEARNED, causal=True, order="post")])
def test_a_cache_continues_where_it_stopped(config, position):
    model = encoder(config, position=position)
    cache = Cache(9)
    parts = [model(part, cache=cache) for part in IDS.split([4, 1, 1, 3], 1)]
    # float32 sums in another order
    torch.testing.assert_close(torch.cat(parts, 1), model(IDS), rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="at most 9 positions in the cache, got 10"):
        model(IDS[:, :1], cache=cache)


def test_a_cache_keeps_the_rows_it_is_told_to():
    model, cache = encoder(CAUSAL, position=rotary(16, 8)), Cache(10)
    model(IDS[:, :8], cache=cache)
    rows = torch.tensor([1, 1, 0])
    cache.select(rows)
    torch.testing.assert_close(model(IDS[rows, 8:], cache=cache), model(IDS[rows])[:, 8:], rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="batch of 3, got 2"):
        model(IDS[:, :1], cache=cache)
    with pytest.raises(ValueError, match="rows"):
        cache.select(torch.tensor([3]))


def test_a_cache_needs_a_causal_model():
    with pytest.raises(ValueError, match="a cache needs a causal model"):
        encoder(SMALL)(IDS, cache=Cache(9))


def test_a_decoder_reads_its_source_and_not_its_future():
    read = lambda c: Attention(c.d, c.heads)  # noqa: E731
    model = EncoderDecoder(encoder(SMALL), encoder(CAUSAL, cross=read, seed=1))
    out = torch.randint(0, 50, (2, 5), generator=torch.Generator().manual_seed(1))
    mask = padding(torch.tensor([9, 4]), 9)
    hidden = model(IDS, out, mask)
    other, later = IDS.clone(), out.clone()
    other[1, 4:], later[:, 3:] = 5, 7
    torch.testing.assert_close(model(other, out, mask), hidden, rtol=0, atol=1e-6)  # padding is not read
    assert torch.equal(model(IDS, later, mask)[:, :3], hidden[:, :3])
    assert (model(IDS.flip(0), out, mask) - hidden).abs().max() > 0.01
    cache, source = Cache(5), model.encoder(IDS, mask)
    steps = [model.decoder(part, cache=cache, source=source, source_mask=mask) for part in out.split(1, 1)]
    torch.testing.assert_close(torch.cat(steps, 1), hidden, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="cross attention in every block"):
        EncoderDecoder(encoder(SMALL), encoder(CAUSAL))


def test_a_prefix_is_read_both_ways():
    model, segments = encoder(SMALL), torch.tensor([[0] * 4 + [1] * 5] * 2)
    later, sooner = IDS.clone(), IDS.clone()
    later[:, 6:], sooner[:, 3] = 7, 7
    mask = prefix(segments)
    assert torch.equal(model(later, mask)[:, :6], model(IDS, mask)[:, :6])
    assert (model(sooner, mask)[:, 0] - model(IDS, mask)[:, 0]).abs().max() > 1e-3


def test_segments_are_embedded_or_refused():
    model, segments = encoder(replace(SMALL, segments=2)), torch.tensor([[0] * 4 + [1] * 5] * 2)
    torch.testing.assert_close(model(IDS), model(IDS, segments=torch.zeros_like(IDS)))
    assert (model(IDS, segments=segments) - model(IDS)).abs().max() > 1e-3
    with pytest.raises(ValueError, match="segments"):
        model(IDS, segments=segments + 1)
    with pytest.raises(ValueError, match="no segments"):
        encoder(SMALL)(IDS, segments=segments)


def test_any_norm_can_stand_in_the_block():
    model = encoder(SMALL, norm=lambda d: ConditionalLayerNorm(d, 3))
    plain = encoder(SMALL)
    model.load_state_dict(plain.state_dict(), strict=False)  # all but the maps of the condition, which start at 0
    with conditioned(model, torch.ones(2, 3)):
        torch.testing.assert_close(model(IDS), plain(IDS))
    assert encoder(SMALL, norm=nn.RMSNorm)(IDS).isfinite().all()


def test_a_gated_feed_forward_multiplies_two_linear_maps():
    feed = FeedForward(6, 10, nn.SiLU, gated=True)
    x = torch.randn(2, 3, 6, generator=torch.Generator().manual_seed(0))
    expected = feed.outer(nn.functional.silu(feed.inner(x)) * feed.gate(x))
    torch.testing.assert_close(feed(x), expected)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_agrees_with_the_cpu():
    model = encoder(CAUSAL, position=rotary(16, 8))
    expected = model(IDS)
    torch.testing.assert_close(model.cuda()(IDS.cuda()).cpu(), expected, rtol=0, atol=1e-4)
