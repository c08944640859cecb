"""Synthesizer: counts, parity with torch, masks, edges, refusals."""

import math
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lib.masks import causal, padding
from lib.synthesizer import (
    Dense,
    DotProduct,
    FactorizedDense,
    FactorizedRandom,
    Fixed,
    Mixture,
    Random,
    Synthesizer,
    identity,
    synthesizer,
    tile_repeat,
    tile_tile,
    transposed,
    uniform,
)
from lib.transformer import Config, encoder

C = Config(vocab=9, d=64, heads=4, max_len=16)
FD = partial(FactorizedDense, a=4, b=4)
KINDS = {
    "vanilla": DotProduct,
    "dense": Dense,
    "random": Random,
    "frozen": partial(Random, trainable=False),
    "factorized random": FactorizedRandom,
    "tile-tile": partial(FD, tiling=tile_tile),
    "tile-repeat": FD,
    "transposed": partial(FD, tiling=transposed),
    "uniform": uniform,
    "identity": identity,
    "mixture": partial(Mixture, parts=[Random, DotProduct]),
}


def noise(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def made(kind, c=C):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return Synthesizer(c, KINDS[kind])


@pytest.mark.parametrize(
    ("kind", "count"),
    {
        "vanilla": 8320,
        "dense": 4432,
        "random": 1024,
        "frozen": 1024,
        "factorized random": 512,
        "tile-tile": 4296,
        "tile-repeat": 4296,
        "uniform": 0,
        "identity": 0,
        "mixture": 8320 + 1024 + 2,
    }.items(),
)
def test_routing_parameters_are_those_of_the_formulas(kind, count):
    assert made(kind).routing_parameters == count


def test_frozen_tables_do_not_train_but_count():
    assert not any(p.requires_grad for p in made("frozen").logits.parameters())
    assert all(p.requires_grad for p in made("random").logits.parameters())


@pytest.mark.parametrize("mask", [None, causal(16), padding(torch.tensor([16, 3]), 16)])
def test_vanilla_is_torch_s_attention(mask):
    layer, x = made("vanilla"), noise(2, 16, 64)
    split = lambda f: f(x).unflatten(-1, (4, -1)).transpose(1, 2)  # noqa: E731
    q, k, v = split(layer.logits.query), split(layer.logits.key), split(layer.value)
    peer = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    torch.testing.assert_close(layer(x, mask), layer.output(peer.transpose(1, 2).flatten(-2)))


def test_a_circulant_table_is_a_circular_convolution():
    line = noise(4, 16)
    j = torch.arange(16)
    layer = Synthesizer(C, partial(Fixed, table=line[:, (j[:, None] - j) % 16]))
    x = noise(2, 16, 64)
    # conv1d correlates: tap t multiplies x[i + t - 15], so that tap 15 - s carries the weight of distance s
    taps = line.softmax(-1).flip(-1).repeat_interleave(16, 0)[:, None]
    v = F.pad(layer.value(x).mT, (15, 0), mode="circular")
    torch.testing.assert_close(layer(x), layer.output(F.conv1d(v, taps, groups=64).mT), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("a", "b"), [(4, 4), (2, 8), (3, 6), (5, 4), (16, 1)])
def test_tile_tile_has_lcm_distinct_columns_and_tile_repeat_all(a, b):
    p, q = noise(16, a, dtype=torch.float64), noise(16, b, seed=1, dtype=torch.float64)
    assert len(tile_tile(p, q).T.unique(dim=0)) == min(16, math.lcm(a, b))
    assert len(tile_repeat(p, q).T.unique(dim=0)) == 16


def test_tilings_by_hand():
    p, q = torch.tensor([[2.0, 3.0]] * 4), torch.tensor([[5.0, 7.0]] * 4)
    assert tile_tile(p, q)[0].tolist() == [10, 21, 10, 21]
    assert tile_repeat(p, q)[0].tolist() == [10, 15, 14, 21]
    p, q = noise(4, 2), noise(4, 2, seed=1)
    B = transposed(p, q)
    assert all(B[i, j] == p[i, j % 2] * q[j, i % 2] for i in range(4) for j in range(4))


def test_vanilla_commutes_with_permutations_and_the_others_do_not():
    x, order = noise(2, 16, 64), torch.randperm(16, generator=torch.Generator().manual_seed(3))
    for kind in set(KINDS) - {"uniform", "identity"}:
        layer = made(kind)
        gap = (layer(x)[:, order] - layer(x[:, order])).abs().max().item()
        assert (gap < 1e-5) == (kind == "vanilla"), kind


def test_the_mixture_is_the_mean_of_its_parts_at_the_start_and_its_weights_sum_to_1():
    layer, x = made("mixture"), noise(2, 16, 64)
    first, second = layer.logits.parts
    torch.testing.assert_close(layer.logits(x), (first(x) + second(x)) / 2)
    with torch.no_grad():
        layer.logits.mix.copy_(torch.tensor([0.0, math.log(3)]))
    torch.testing.assert_close(layer.logits(x), first(x) / 4 + second(x) * 3 / 4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_causal_model_does_not_see_later_tokens(kind):
    model = encoder(Config(vocab=9, d=16, heads=4, max_len=16, causal=True), mixer=synthesizer(KINDS[kind]))
    ids = torch.arange(16)[None] % 9
    other = ids.clone()
    other[:, 9:] = 0
    assert torch.equal(model(ids)[:, :9], model(other)[:, :9])


@pytest.mark.parametrize("kind", KINDS)
def test_shorter_inputs_and_masks_keep_rows_that_sum_to_1(kind):
    layer, x = made(kind), noise(2, 7, 64)
    mask = padding(torch.tensor([7, 3]), 7)
    A = layer.weights(x, mask)
    torch.testing.assert_close(A.sum(-1), torch.ones(A.shape[:-1]))
    assert (A.expand(2, -1, -1, -1)[1, ..., 3:] == 0).all() or kind == "identity"
    none = layer.weights(x, torch.zeros(7, 7, dtype=torch.bool))
    assert (none == 0).all()


def test_identity_and_uniform_are_exact():
    x = noise(2, 16, 64)
    assert torch.equal(made("identity").weights(x)[0, 0], torch.eye(16))
    torch.testing.assert_close(made("uniform").weights(x), torch.full((1, 4, 16, 16), 1 / 16))


def test_weights_depend_on_the_seed_alone_and_training_moves_a_random_table():
    first, same = (encoder(C, mixer=synthesizer(Random), seed=5) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), same.parameters(), strict=True))
    first(torch.arange(9)[None]).sin().sum().backward()
    assert first.blocks[0].mixer.logits.table.grad.abs().sum() > 0


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"vanilla"}))
def test_longer_inputs_and_a_missing_max_len_are_refused(kind):
    with pytest.raises(ValueError, match="at most 16 positions, got 17"):
        made(kind)(noise(1, 17, 64))
    with pytest.raises(ValueError, match="max_len"):
        made(kind, Config(vocab=9))


def test_bad_sizes_masks_and_input_are_refused():
    with pytest.raises(ValueError, match=r"a \* b >= max_len"):
        FactorizedDense(C, 3, 5)
    with pytest.raises(ValueError, match=r"a \* b >= n"):
        tile_repeat(noise(16, 3), noise(16, 5))
    with pytest.raises(ValueError, match="multiple of heads"):
        Synthesizer(Config(vocab=9, d=10, heads=4, max_len=16), uniform)
    with pytest.raises(ValueError, match="table of shape"):
        Fixed(C, torch.zeros(2, 16, 16))
    with pytest.raises(ValueError, match="mask broadcastable"):
        made("dense")(noise(2, 16, 64), causal(15))
    with pytest.raises(ValueError, match="NaN"):
        made("random")(torch.full((1, 16, 64), torch.nan))


def test_the_layer_is_a_module_of_the_encoder():
    model = encoder(C, mixer=synthesizer(Dense))
    assert all(isinstance(block.mixer, Synthesizer) for block in model.blocks)
    assert isinstance(model.blocks[0].mixer.logits, nn.Module)
