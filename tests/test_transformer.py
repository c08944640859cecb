from functools import partial

import pytest
import torch
from torch import nn

from lib.attention import linear_attention, padding
from lib.positions import rotary
from lib.transformer import Attention, Block, Config, Encoder, FeedForward, encoder, token_logits

IDS = torch.randint(3, 50, (2, 9), generator=torch.Generator().manual_seed(0))
SMALL = Config(vocab=50, d=32, heads=4, layers=2, max_len=16)


def copy_(ours: nn.Module, theirs: nn.Module) -> None:
    """Copy linear, embedding or norm weights from a peer."""
    ours.load_state_dict({name: value for name, value in theirs.state_dict().items() if name in ("weight", "bias")})


def test_parity_with_bert():
    from transformers import BertConfig, BertModel

    sizes = {"vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    torch.manual_seed(0)
    peer = BertModel(
        BertConfig(**sizes, intermediate_size=48, max_position_embeddings=16), add_pooling_layer=False
    ).eval()
    for p in peer.parameters():  # biases and norms start at 0 and 1, which would hide a mix-up
        nn.init.normal_(p, std=0.3)
    config = Config(vocab=50, d=32, heads=4, layers=2, hidden=48, max_len=16, order="post")
    ours = encoder(config, norm=partial(nn.LayerNorm, eps=1e-12), learned=True)
    copy_(ours.embed.token, peer.embeddings.word_embeddings)
    copy_(ours.embed.norm, peer.embeddings.LayerNorm)
    with torch.no_grad():  # token types are all 0: their vector moves into the positions
        types = peer.embeddings.token_type_embeddings.weight[0]
        ours.embed.position.weight.copy_(peer.embeddings.position_embeddings.weight + types)
    for block, layer in zip(ours.blocks, peer.encoder.layer, strict=True):
        for name in ("query", "key", "value"):
            copy_(getattr(block.mixer, name), getattr(layer.attention.self, name))
        copy_(block.mixer.output, layer.attention.output.dense)
        copy_(block.norms[0], layer.attention.output.LayerNorm)
        copy_(block.feed.inner, layer.intermediate.dense)
        copy_(block.feed.outer, layer.output.dense)
        copy_(block.norms[1], layer.output.LayerNorm)
    keep = torch.ones(2, 9, dtype=torch.bool)
    keep[1, 6:] = False
    theirs = peer(IDS, attention_mask=keep.long()).last_hidden_state
    torch.testing.assert_close(ours(IDS, padding(keep))[keep], theirs[keep], rtol=0, atol=1e-5)


def test_parity_with_gpt2():
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    peer = GPT2LMHeadModel(GPT2Config(vocab_size=50, n_embd=32, n_layer=2, n_head=4, n_positions=16)).eval()
    for p in peer.parameters():
        nn.init.normal_(p, std=0.3)
    ours = encoder(SMALL, activation=partial(nn.GELU, approximate="tanh"), causal=True, learned=True)
    body = peer.transformer
    copy_(ours.embed.token, body.wte)
    copy_(ours.embed.position, body.wpe)
    copy_(ours.final, body.ln_f)

    def transposed_(linear, weight, bias):  # GPT-2 stores its linear maps as (in, out)
        with torch.no_grad():
            linear.weight.copy_(weight.T), linear.bias.copy_(bias)

    for block, layer in zip(ours.blocks, body.h, strict=True):
        parts = zip(layer.attn.c_attn.weight.chunk(3, 1), layer.attn.c_attn.bias.chunk(3), strict=True)
        for linear, (weight, bias) in zip((block.mixer.query, block.mixer.key, block.mixer.value), parts, strict=True):
            transposed_(linear, weight, bias)
        pairs = [(block.mixer.output, layer.attn.c_proj), (block.feed.inner, layer.mlp.c_fc)]
        for linear, conv in [*pairs, (block.feed.outer, layer.mlp.c_proj)]:
            transposed_(linear, conv.weight, conv.bias)
        copy_(block.norms[0], layer.ln_1)
        copy_(block.norms[1], layer.ln_2)
    logits = token_logits(ours(IDS), ours.embed.token)
    # logits reach 20 in size: 1e-5 relative
    torch.testing.assert_close(logits, peer(IDS).logits, rtol=1e-5, atol=1e-5)


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


@pytest.mark.parametrize("learned", [False, True])
def test_a_causal_encoder_cannot_see_the_future(learned):
    model = encoder(SMALL, causal=True, learned=learned, position=rotary(16, 8))
    later = IDS.clone()
    later[:, 5:] = 7
    assert torch.equal(model(IDS)[:, :5], model(later)[:, :5])
    assert not torch.equal(model(IDS)[:, 5:], model(later)[:, 5:])


def test_a_causal_linear_attention_needs_no_mask():
    chunked = encoder(SMALL, attend=partial(linear_attention, causal=True, chunk=4), position=rotary(16, 8))
    quadratic = encoder(SMALL, attend=partial(linear_attention, impl="quadratic"), position=rotary(16, 8), causal=True)
    # float32 through two layers
    torch.testing.assert_close(chunked(IDS), quadratic(IDS), rtol=0, atol=1e-5)


def test_without_positions_the_encoder_is_equivariant_and_with_them_it_is_not():
    order = torch.randperm(9, generator=torch.Generator().manual_seed(2))
    plain = encoder(SMALL)
    # float32 sums in another order
    torch.testing.assert_close(plain(IDS[:, order]), plain(IDS)[:, order], rtol=0, atol=1e-5)
    for model in (encoder(SMALL, learned=True), encoder(SMALL, position=rotary(16, 8))):
        assert (model(IDS[:, order]) - model(IDS)[:, order]).abs().max() > 0.01


def test_padding_does_not_reach_the_other_tokens():
    model = encoder(SMALL, position=rotary(16, 8))
    out = model(IDS, padding(torch.tensor([6, 9]), 9))
    torch.testing.assert_close(out[:1, :6], model(IDS[:1, :6]), rtol=0, atol=1e-5)
    assert out.isfinite().all()


def test_from_embeddings_is_the_rest_of_forward():
    for order in ("pre", "post"):
        model = encoder(Config(vocab=50, d=32, max_len=16, order=order), learned=True, causal=True)
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
    config = Config(vocab=50, d=32, heads=4, layers=3, hidden=40, head_size=16, max_len=16)
    model = encoder(config, learned=True, std=0.5)
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
    model = encoder(SMALL, position=rotary(16, 8), causal=True).bfloat16()
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
    with pytest.raises(ValueError, match="two norms"):
        Block(Attention(32, 4), FeedForward(32, 48), [nn.LayerNorm(32)])
    with pytest.raises(ValueError, match="at most 16 positions, got 17"):
        encoder(SMALL, learned=True)(torch.zeros(1, 17, dtype=torch.int64))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_agrees_with_the_cpu():
    model = encoder(SMALL, position=rotary(16, 8), causal=True)
    expected = model(IDS)
    torch.testing.assert_close(model.cuda()(IDS.cuda()).cpu(), expected, rtol=0, atol=1e-4)
