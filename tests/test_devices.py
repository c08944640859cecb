"""Every model and kernel of attention and positions runs where its input lies.

On the meta device nothing is computed, but operations still refuse tensors of two devices (matrix products excepted),
so a forgotten `device=` shows on any machine. On a CUDA device the outputs are compared with those of the CPU.
"""

from dataclasses import replace
from functools import partial

import pytest
import torch

from lib import associative, biases, features, masks, rope2d, synthesizer
from lib.attention import attention_weights, length_scaled, softmax_attention
from lib.blocks import Attention
from lib.cache import Cache
from lib.linear_attention import linear_attention, linear_weights
from lib.norms import ConditionalLayerNorm, conditioned
from lib.positions import rotary, sinusoidal
from lib.random_features import favor_attention, gaussian
from lib.rerope import PositionMap, mapped_attention, mapped_logits, oracle_logits
from lib.transformer import Config, EncoderDecoder, encoder, token_logits
from lib.univae import Gaussian, Sphere, UniVAE, elbo_loss

GENERATOR = torch.Generator().manual_seed(0)
Q, K, V = (torch.randn(2, 4, 9, 8, generator=GENERATOR) for _ in range(3))
IDS = torch.randint(50, (2, 9), generator=GENERATOR)
KEEP = torch.arange(9) < torch.tensor([[6], [9]])
SMALL = Config(50, d=32, heads=4, layers=2)
CAUSAL = replace(SMALL, causal=True)
REROPE, LEAKY = PositionMap.rerope(3), PositionMap.leaky(3, 2)
LEARNED = replace(SMALL, max_len=9)
VMF = Sphere(4, 9.0)


def qkv(device):
    return Q.to(device), K.to(device), V.to(device)


def model(device, config=SMALL, **parts):
    return encoder(config, **parts).to(device)(IDS.to(device))


def decoded(device, attend=softmax_attention, position=None):
    """Hidden states of a causal model that reads one token at a time."""
    net, cache, ids = encoder(CAUSAL, attend=attend, position=position).to(device), Cache(9), IDS.to(device)
    return torch.cat([net(ids[:, i : i + 1], cache=cache) for i in range(9)], 1)


def pair(device):
    crossed = encoder(CAUSAL, cross=lambda c: Attention(c.d, c.heads))
    both = EncoderDecoder(encoder(SMALL), crossed).to(device)
    return both(IDS.to(device), IDS[:, :5].to(device), masks.padding(KEEP.to(device)))


def prefixed(device):
    segments = torch.tensor([[0, 0, 0, 0, 1, 1, 1, 1, 1]] * 2).to(device)
    net = encoder(replace(SMALL, segments=2)).to(device)
    return net(IDS.to(device), masks.prefix(segments), segments=segments)


def conditional(device):
    net = encoder(SMALL, norm=lambda d: ConditionalLayerNorm(d, 3)).to(device)
    with conditioned(net, torch.ones(2, 3, device=device)):
        return net(IDS.to(device))


def favor(device):
    W = gaussian(16, 8, torch.Generator().manual_seed(1)).to(device)
    return favor_attention(*qkv(device), W=W, causal=True)


def trained(device):
    """The gradient of every weight, one after the other."""
    net = encoder(CAUSAL, position=rotary(16, 8, device=device)).to(device)
    token_logits(net(IDS.to(device)), net.embed.token).logsumexp(-1).sum().backward()
    return torch.cat([p.grad.flatten() for p in net.parameters()])


def autoencoder(device, call, posterior=VMF):
    """`call` of a UniVAE, of ids, of noise for its latents, and of latents."""
    trunk = encoder(replace(SMALL, segments=2), position=rotary(18, 8))
    net = UniVAE(trunk, posterior, length=9, latents=1).to(device)
    draws = [draw(2, 1, generator=torch.Generator().manual_seed(1)) for draw in (posterior.noise, posterior.prior)]
    return call(net, IDS.to(device), *(part.to(device) for part in draws))


def spherical(device):
    mu, noise = torch.eye(4)[:2].to(device), torch.linspace(0.1, 0.9, 8).view(2, 4).to(device)
    return VMF.law.sample(mu, torch.cat([VMF.law.cosine(noise[:, :1]), noise], 1))


def bent(device, map, keep=None):
    mask = None if keep is None else masks.padding(keep.to(device))
    return mapped_attention(map, block=4)(*qkv(device), mask=mask)


def mapped(feature_map, **options):
    return lambda device: linear_attention(*qkv(device), feature_map=feature_map, **options)


CASES = {
    "softmax": lambda device: softmax_attention(*qkv(device)),
    "softmax, padded": lambda device: softmax_attention(*qkv(device), mask=masks.padding(KEEP.to(device))),
    "weights, band": lambda device: attention_weights(*qkv(device)[:2], mask=masks.band(9, 2, device=device)),
    "log n": lambda device: length_scaled(softmax_attention)(*qkv(device), mask=masks.causal(9, device=device)),
    "linear weights": lambda device: linear_weights(*qkv(device)[:2], causal=True),
    **{
        f"linear, {impl}": mapped(features.elu1, causal=True, impl=impl, chunk=4)
        for impl in ("chunked", "recurrent", "quadratic")
    },
    **{
        f"linear, {f.__name__}": mapped(f)
        for f in (
            features.relu,
            features.exp,
            features.exp_causal,
            features.one_plus_cos,
            features.double_softmax,
            features.taylor2,
        )
    },
    "linear, rotary": lambda device: linear_attention(*qkv(device), causal=True, position=rotary(9, 8, device=device)),
    "FAVOR+": favor,
    "delta rule": lambda device: associative.delta(K.to(device), V.to(device)),
    "ReRoPE, oracle": lambda device: oracle_logits(*qkv(device)[:2], REROPE).float(),
    "ReRoPE, two matrices": lambda device: mapped_logits(*qkv(device)[:2], REROPE),
    **{
        f"ReRoPE, blocks, {name}": partial(bent, map=map)
        for name, map in (("clipped", REROPE), ("leaky", LEAKY), ("floored", PositionMap.self_extend(3, 2)))
    },
    "ReRoPE, padded": partial(bent, map=LEAKY, keep=KEEP),
    "encoder": model,
    "post-norm": partial(model, config=replace(LEARNED, order="post")),
    "rotary": partial(model, position=rotary(16, 8)),
    "rotary, halves": partial(model, position=rotary(16, 8, halves=True)),
    "T5 bias": partial(model, position=biases.T5Bias(4, both=True)),
    "ALiBi": partial(model, position=biases.Alibi(4)),
    "rotary in the plane": partial(model, position=rope2d.Plane(rope2d.grid(3, 3), rope2d.axial(8))),
    "learned rotary": partial(model, position=rope2d.Plane(rope2d.grid(3, 3), rope2d.axial(8), learned=True)),
    "sinusoidal": lambda device: sinusoidal(torch.arange(9, device=device), 8),
    "token by token": decoded,
    "token by token, rotary": partial(decoded, position=rotary(16, 8)),
    "token by token, ReRoPE": partial(decoded, attend=mapped_attention(REROPE)),
    "encoder and decoder": pair,
    "prefix mask": prefixed,
    "conditional norm": conditional,
    "UniVAE, logits": partial(autoencoder, call=lambda net, ids, noise, codes: net(ids, noise)[0]),
    "UniVAE, decoded": partial(autoencoder, call=lambda net, ids, noise, codes: net.decode_logits(codes, ids)),
    "UniVAE, generated": partial(autoencoder, call=lambda net, ids, noise, codes: net.generate(codes, 1, 2)),
    **{
        f"UniVAE, loss, {p.__class__.__name__}": partial(
            autoencoder, call=lambda net, ids, noise, codes: elbo_loss()(net, (ids, noise)), posterior=p
        )
        for p in (VMF, Gaussian(4))
    },
    "von Mises-Fisher": spherical,
    "gradients": trained,
    **{
        f"synthesizer, {logits.__name__}": partial(model, config=LEARNED, mixer=synthesizer.synthesizer(logits))
        for logits in (synthesizer.DotProduct, synthesizer.Dense, synthesizer.Random)
    },
    "synthesizer, factorized": partial(
        model, config=LEARNED, mixer=synthesizer.synthesizer(partial(synthesizer.FactorizedRandom, rank=2))
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_left_on_another_device(name):
    assert CASES[name]("meta").is_meta


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", CASES)
def test_cuda_agrees_with_the_cpu(name):
    torch.testing.assert_close(CASES[name]("cuda").cpu(), CASES[name]("cpu"), rtol=1e-4, atol=1e-4)


def test_a_tensor_on_another_device_is_noticed():
    with pytest.raises(RuntimeError, match="device"):
        softmax_attention(*qkv("meta"), mask=masks.causal(9))
