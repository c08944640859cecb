import copy

import pytest
import torch
from torch import nn

from lib.networks import mlp
from lib.theseus import Place, Theseus, constant, hybrids, linear
from lib.transformer import Config, encoder

WIDE = torch.float64


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


def frozen_mlp():
    return mlp([5, 6, 6, 6, 3], nn.Tanh, dtype=WIDE, seed=0)


def two_places(model=None):
    """An mlp with one place of three modules and one of a single linear layer."""
    successors = {"0:3": mlp([5, 6], dtype=WIDE, seed=1), "4": mlp([6, 6], dtype=WIDE, seed=2)}
    return Theseus(frozen_mlp() if model is None else model, successors)


def conv_net():
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return nn.ModuleDict({"body": nn.Sequential(*(nn.Conv2d(2, 2, 3, padding=1) for _ in range(4)))})["body"]


def x_of(*shape):
    return torch.randn(*shape, generator=gen(), dtype=WIDE)


# ---- law -------------------------------------------------------------------------------------------------------------


def test_coins_0_are_the_predecessor_and_coins_1_the_detached_successor_bit_for_bit():
    model, x = frozen_mlp(), x_of(4, 5)
    theseus = two_places(model)
    theseus.set((0, 0))
    assert torch.equal(theseus(x), model(x))
    theseus.set((1, 1))
    plain = theseus.detach()
    assert torch.equal(theseus(x), plain(x))
    assert not any(isinstance(m, Place) for m in plain.modules())
    assert len(plain) == 5 and all(p.requires_grad for p in plain.parameters())


@pytest.mark.parametrize("p", [0.25, 0.5, 1.0])
def test_the_expected_gradient_of_one_place_is_p_times_that_with_the_place_replaced(p):
    theseus, x = two_places(), x_of(4, 5)
    weight = theseus.places[0].successor[0].weight

    def gradient(coins):
        with theseus.hybrid(coins):
            return torch.autograd.grad(theseus(x).square().sum(), weight)[0]

    on = (1 - p) * gradient((1, 0)) + p * gradient((1, 1))
    seen = torch.zeros_like(weight)
    draws = 400
    for k in range(draws):
        theseus.toss(p, gen(k), redraw=False)
        if theseus.shares[0]:
            seen += torch.autograd.grad(theseus(x).square().sum(), weight)[0] / draws
    # the share of heads among 400 coins is off by 0.025 (one sigma): 4 sigma and the same again for the other coin
    assert (seen - p * on).norm() <= 0.2 * on.norm()


def test_a_toss_replaces_with_probability_p_by_batch_and_by_row():
    theseus, g = two_places(), gen()
    seen = []
    for _ in range(1000):
        theseus.toss(0.3, g, redraw=False)
        seen.append(theseus.shares)
    assert torch.tensor(seen).mean(0).sub(0.3).abs().max() < 0.06  # 4 sigma = 4·sqrt(.21/1000)
    theseus.toss(0.3, g, rows=4000)
    assert [share.shape for share in theseus.shares] == [(4000,)] * 2
    assert all(abs(share.mean() - 0.3) < 0.03 for share in theseus.shares)


def test_a_redrawn_toss_is_uniform_over_the_tosses_with_something_new():
    theseus, g, draws = two_places(), gen(), 1500
    seen = {(0.0, 1.0): 0, (1.0, 0.0): 0, (1.0, 1.0): 0}
    for _ in range(draws):
        theseus.toss(0.5, g)
        seen[theseus.shares] += 1
    assert all(abs(count / draws - 1 / 3) < 0.05 for count in seen.values())  # 4 sigma = 4·sqrt(2/9/1500)


def test_only_successors_are_trained_and_the_predecessor_stays_in_eval_mode():
    model = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5), nn.Linear(3, 3))
    theseus = Theseus(model, {"2": nn.Sequential(nn.Dropout(0.5), nn.Linear(3, 3))}).train()
    assert [name for name, p in theseus.named_parameters() if p.requires_grad] == [
        "model.2.successor.1.weight",
        "model.2.successor.1.bias",
    ]
    assert theseus.places[0].successor.training and not theseus.model[1].training
    assert not theseus.eval().places[0].successor.training


def test_gradients_flow_through_a_frozen_module_to_an_earlier_successor():
    theseus = two_places()
    theseus.set((1, 0))
    theseus(x_of(4, 5)).sum().backward()
    assert theseus.places[0].successor[0].weight.grad.abs().sum() > 0
    assert theseus.places[1].successor[0].weight.grad is None


def test_schedules():
    assert [constant(0.5)(t) for t in (0, 9)] == [0.5, 0.5]
    assert [linear(0.25, 0.3)(t) for t in range(5)] == pytest.approx([0.3, 0.55, 0.8, 1.0, 1.0])


# ---- parity ----------------------------------------------------------------------------------------------------------


def test_parity_with_the_formula_of_the_post_that_runs_both_branches():
    model, x = frozen_mlp(), x_of(4, 5)
    theseus = two_places(model)
    s1, s2 = (place.successor for place in theseus.places)
    for e1 in (0.0, 0.25, 1.0):
        for e2 in (torch.tensor([0.0, 1.0, 1.0, 0.0], dtype=WIDE), torch.tensor([0.5] * 4, dtype=WIDE)):
            h = e1 * model[:3](x) + (1 - e1) * s1(x)  # post: e = 1 keeps the predecessor
            h = model[3](h)
            h = e2[:, None] * model[4](h) + (1 - e2[:, None]) * s2(h)
            theseus.set((1 - e1, 1 - e2))
            torch.testing.assert_close(theseus(x), model[5:](h), rtol=0, atol=1e-14)


def test_a_share_per_row_is_each_row_in_its_own_hybrid():
    theseus, x = two_places(), x_of(4, 5)
    theseus.toss(0.5, gen(), rows=4)
    mixed, coins = theseus(x), torch.stack(theseus.shares).T
    for row, own in enumerate(coins.tolist()):
        with theseus.hybrid(own):
            torch.testing.assert_close(mixed[row], theseus(x)[row], rtol=0, atol=1e-14)


# ---- edge ------------------------------------------------------------------------------------------------------------


def test_the_unused_branch_is_not_run():
    calls = []
    theseus = two_places()
    for place in theseus.places:
        place.predecessor[-1].register_forward_hook(lambda *_: calls.append("old"))
        place.successor.register_forward_hook(lambda *_: calls.append("new"))
    for coins, run in (((0, 0), ["old", "old"]), ((1, 0), ["new", "old"]), ((1, 0.5), ["new", "old", "new"])):
        calls.clear()
        theseus.set(coins)
        theseus(x_of(1, 5))
        assert calls == run


def test_a_conv_net_and_its_hybrids():
    model = conv_net().to(WIDE)
    before = copy.deepcopy(model.state_dict())
    theseus = Theseus(model, {"0:2": nn.Conv2d(2, 2, 3, padding=1).to(WIDE), "2:4": model[3]})
    x = x_of(3, 2, 5, 5)
    found = hybrids(theseus, lambda m: m(x).sum().item())
    assert list(found) == [(0, 0), (0, 1), (1, 0), (1, 1)] and theseus.shares == (0.0, 0.0)
    assert found[0, 0] == model(x).sum().item() and len(set(found.values())) == 4
    theseus.toss(0.5, gen(), rows=3)
    assert theseus(x).shape == x.shape
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_blocks_of_a_transformer_pass_their_mask_on():
    model = encoder(Config(vocab=9, d=8, heads=2, layers=4, causal=True), seed=0)
    spare = encoder(Config(vocab=9, d=8, heads=2, layers=2), seed=1)
    theseus = Theseus(model, {"blocks.0:2": spare.blocks[0], "blocks.2:4": spare.blocks[1]})
    theseus.set((1, 1))
    ids = torch.arange(5)[None]
    assert torch.equal(theseus(ids)[:, :3], theseus(ids[:, :3])) or torch.allclose(
        theseus(ids)[:, :3], theseus(ids[:, :3]), atol=1e-5
    )
    assert len(theseus.detach().blocks) == 2


def test_a_module_that_is_an_attribute_or_stands_twice_in_a_run():
    shared = nn.Linear(3, 3)
    model = nn.Sequential(shared, shared, nn.Tanh())
    theseus = Theseus(model, {"0:2": nn.Linear(3, 3)})
    x = torch.ones(1, 3)
    assert torch.equal(theseus(x), model(x)) and len(theseus.places[0].predecessor) == 2
    block = encoder(Config(vocab=9, d=8, heads=2, layers=1), seed=0)
    theseus = Theseus(block, {"blocks.0.feed": nn.Identity()})
    assert not torch.equal(theseus(x.long()), [theseus.set((1,)), theseus(x.long())][1])


def test_a_toss_without_any_successor_is_drawn_again():
    theseus = two_places()
    for k in range(50):
        theseus.toss(0.05, gen(k))
        assert any(theseus.shares)
    theseus.toss(0.0, gen())
    assert theseus.shares == (0.0, 0.0)


def test_blend_draws_shares_between_0_and_1():
    theseus = two_places()
    theseus.blend(gen())
    assert all(0 < share < 1 for share in theseus.shares) and len(set(theseus.shares)) == 2


def test_the_former_shares_are_back_after_an_error():
    theseus = two_places()
    with pytest.raises(RuntimeError), theseus.hybrid((1, 1)):
        raise RuntimeError
    assert theseus.shares == (0.0, 0.0)


# ---- refusal ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "7", "nothing", "0:9", "2:2", "3:1", "-1:2", "a:b", "0.weight", "0.0:1"])
def test_a_place_that_does_not_exist_is_refused(name):
    with pytest.raises(ValueError, match=r"expected|needs"):
        Theseus(frozen_mlp(), {name: nn.Identity()})


@pytest.mark.parametrize("pair", [("0:3", "2:4"), ("0:3", "1"), ("1", "0:3")])
def test_overlapping_places_are_refused(pair):
    with pytest.raises(ValueError, match="do not overlap"):
        Theseus(frozen_mlp(), dict.fromkeys(pair, nn.Identity()))


def test_no_place_is_refused():
    with pytest.raises(ValueError, match="at least one place"):
        Theseus(frozen_mlp(), {})


@pytest.mark.parametrize(
    "shares", [(1,), (1, 2), (1, -0.1), (0, float("nan")), (0, torch.tensor([])), (0, torch.ones(2, 2))]
)
def test_shares_outside_the_unit_interval_or_of_the_wrong_number_are_refused(shares):
    with pytest.raises(ValueError, match="expected"):
        two_places().set(shares)


def test_mixing_refuses_other_shapes_and_other_numbers_of_rows():
    theseus = Theseus(frozen_mlp(), {"6": mlp([6, 2], dtype=WIDE, seed=0)})
    theseus.set((0.5,))
    with pytest.raises(ValueError, match="two tensors of one shape"):
        theseus(x_of(4, 5))
    theseus = two_places()
    theseus.set((torch.ones(3), 0))
    with pytest.raises(ValueError, match="one share for each of 4 rows"):
        theseus(x_of(4, 5))


@pytest.mark.parametrize(
    "call", [lambda: constant(1.5), lambda: constant(-0.1), lambda: linear(-1.0), lambda: linear(1, -1)]
)
def test_rates_outside_their_range_are_refused(call):
    with pytest.raises(ValueError, match="expected"):
        call()


def test_a_toss_refuses_a_bad_rate_and_no_rows():
    with pytest.raises(ValueError, match="rate"):
        two_places().toss(2.0, gen())
    with pytest.raises(ValueError, match="rows"):
        two_places().toss(0.5, gen(), rows=0)
