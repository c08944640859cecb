import pytest
import torch
from torch import nn

from lib import networks, rope2d, train
from lib.ensemble import Arm, Ensemble, fit_arms
from lib.losses import masked_ce
from lib.synthesizer import synthesizer, uniform
from lib.transformer import Config, encoder


def members(count=3):
    return [networks.mlp([4, 5, 2], nn.ReLU, dtype=torch.float64, seed=s) for s in range(count)]


def rows(count=3):
    return torch.randn(count, 7, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_each_member_sees_its_own_rows_alone():
    nets, x = members(), rows()
    got = Ensemble(nets)(x)
    want = torch.stack([net(part) for net, part in zip(nets, x, strict=True)])
    torch.testing.assert_close(got, want)


def test_members_train_as_they_would_alone():
    x = rows()
    options = {"steps": 5, "lr": 1e-2, "clip": float("inf"), "weight_decay": 0.1}
    together = Ensemble(members())
    train.fit(together, lambda _: x, lambda net, x: net(x).square().mean((1, 2)).sum(), **options)
    for k, net in enumerate(members()):
        train.fit(net, lambda _, k=k: x[k], lambda net, x: net(x).square().mean(), **options)
        # five steps of Adam on float64 rounding
        torch.testing.assert_close(together(x)[k], net(x[k]), rtol=0, atol=1e-10)


def test_the_members_given_are_left_alone_and_all_weights_are_parameters():
    nets = members()
    before = nets[0][0].weight.clone()
    ensemble = Ensemble(nets)
    assert sum(p.numel() for p in ensemble.parameters()) == 3 * sum(p.numel() for p in nets[0].parameters())
    with torch.no_grad():
        next(iter(ensemble.parameters())).zero_()
    torch.testing.assert_close(nets[0][0].weight, before)


def test_no_members_other_shapes_and_missing_batches_are_refused():
    with pytest.raises(ValueError, match="got 0"):
        Ensemble([])
    with pytest.raises(ValueError, match="2 shapes"):
        Ensemble([nn.Linear(2, 2), nn.Linear(2, 3)])
    with pytest.raises(ValueError, match="2 shapes"):
        Ensemble([nn.Linear(2, 2), nn.Linear(2, 2).requires_grad_(False)])
    with pytest.raises(ValueError, match="each of 3 members, got 2"):
        Ensemble(members())(rows(2))


def test_arms_train_as_each_member_would_alone():
    x, y = rows(2), torch.arange(14).reshape(2, 7) % 2
    batches = [lambda _, k=k: (x[k], y[k]) for k in range(2)]
    losses = (masked_ce, lambda f, y: 2 * masked_ce(f, y))
    net = fit_arms([Arm(loss, members(2), batches) for loss in losses], steps=4, lr=1e-2, weight_decay=0.1)
    for k, loss in enumerate(losses):
        for j, alone in enumerate(members(2)):
            train.fit(
                alone, batches[j], lambda net, b, loss=loss: loss(net(b[0]), b[1]), steps=4, lr=1e-2,
                schedule=train.constant, clip=float("inf"), weight_decay=0.1,
            )  # fmt: skip
            got = net(x.repeat(2, 1, 1))[2 * k + j]
            # four steps of Adam on float64 rounding
            torch.testing.assert_close(got, alone(x[j]), rtol=0, atol=1e-10)


def test_arms_of_different_size_are_refused():
    batches = [lambda _: (rows(1)[0], torch.zeros(7, dtype=torch.int64))]
    arms = [Arm(masked_ce, members(1), batches), Arm(masked_ce, members(2), batches * 2)]
    with pytest.raises(ValueError, match=r"equally many members and batches, got \[1, 2\]"):
        fit_arms(arms, steps=1, lr=0.1)
    with pytest.raises(ValueError, match="equally many"):
        fit_arms([], steps=1, lr=0.1)


def test_integer_input_frozen_weights_and_buffers():
    def member(seed):
        body = encoder(Config(vocab=7, d=8, heads=2, max_len=5), mixer=synthesizer(uniform), seed=seed)
        body.embed.position.requires_grad_(False)
        return nn.Sequential(body, networks.mlp([8, 3], seed=seed))

    ids = torch.arange(30).reshape(3, 2, 5) % 7
    nets = [member(s) for s in range(3)]
    together = Ensemble(nets)
    alone = torch.stack([net(part) for net, part in zip(nets, ids, strict=True)])
    torch.testing.assert_close(together(ids), alone)
    train.fit(together, lambda _: ids, lambda net, x: net(x).square().sum(), steps=2, lr=1e-2)
    for before, after in zip(nets, together.members(), strict=True):
        assert torch.equal(before[0].embed.position.weight, after[0].embed.position.weight)
        assert not torch.equal(before[0].embed.token.weight, after[0].embed.token.weight)
        assert torch.equal(after[0].blocks[0].mixer.logits.table, torch.zeros(1, 5, 5))
    assert sum(p.requires_grad for p in together.parameters()) == sum(p.requires_grad for p in nets[0].parameters())


def test_members_come_back_as_networks_of_their_own():
    together, x = Ensemble(members()), rows()
    apart = together.members()
    with torch.no_grad():
        torch.testing.assert_close(together(x), torch.stack([net(part) for net, part in zip(apart, x, strict=True)]))
        next(apart[0].parameters()).zero_()
    torch.testing.assert_close(together(x)[0], members()[0](x[0]))


def test_running_statistics_belong_to_each_member_and_eval_reaches_it():
    nets = [nn.BatchNorm1d(4, dtype=torch.float64) for _ in range(3)]
    together, x = Ensemble(nets), rows()
    for _ in range(2):
        alone = torch.stack([net(part) for net, part in zip(nets, x, strict=True)])
        torch.testing.assert_close(together(x), alone)
    together.eval()
    alone = torch.stack([net.eval()(part) for net, part in zip(nets, x, strict=True)])
    torch.testing.assert_close(together(x), alone)


def test_tied_weights_stay_tied():
    def tied(seed):
        net = networks.mlp([4, 4, 4], dtype=torch.float64, seed=seed)
        net[2].weight = net[0].weight
        return net

    nets, x = [tied(s) for s in range(3)], rows()
    together = Ensemble(nets)
    torch.testing.assert_close(together(x), torch.stack([net(part) for net, part in zip(nets, x, strict=True)]))
    assert all(net[0].weight is net[2].weight for net in together.members())


def test_the_schedule_is_followed_and_every_member_is_clipped_alone():
    x, y = rows(2) * torch.tensor([0.01, 10.0])[:, None, None], torch.arange(14).reshape(2, 7) % 2
    batches = [lambda _, k=k: (x[k], y[k]) for k in range(2)]
    options = {"steps": 4, "lr": 1e-2, "schedule": train.one_cycle, "clip": 0.3}
    got = fit_arms([Arm(masked_ce, members(2), batches)], **options)(x)
    free = fit_arms([Arm(masked_ce, members(2), batches)], **options | {"clip": float("inf")})(x)
    assert (got - free).abs().max() > 1e-4
    for k, net in enumerate(members(2)):
        train.fit(net, batches[k], lambda net, b: masked_ce(net(b[0]), b[1]), **options)
        # four steps of Adam on float64 rounding
        torch.testing.assert_close(got[k], net(x[k]), rtol=0, atol=1e-10)


def test_a_module_shared_by_layers_is_left_as_it_was():
    def shared(seed):
        net = networks.mlp([4, 4, 4], dtype=torch.float64, seed=seed)
        net[2] = net[0]
        return net

    nets, x = [shared(s) for s in range(3)], rows()
    together = Ensemble(nets)
    torch.testing.assert_close(together(x), torch.stack([net(part) for net, part in zip(nets, x, strict=True)]))
    assert all(net[0] is net[2] for net in together.members())


def test_attention_and_learned_positions_need_no_form_of_their_own():
    def member(seed):
        vectors = rope2d.scattered(4, base=100.0, generator=torch.Generator().manual_seed(seed))
        place = rope2d.Plane(rope2d.grid(2, 3), vectors, learned=True)
        return encoder(Config(vocab=7, d=8, heads=2), position=place, seed=seed)

    ids = torch.arange(36).reshape(3, 2, 6) % 7
    nets = [member(s) for s in range(3)]
    together = Ensemble(nets)
    alone = torch.stack([net(part) for net, part in zip(nets, ids, strict=True)])
    torch.testing.assert_close(together(ids), alone)
    assert torch.equal(together.members()[2].blocks[1].mixer.position.vectors, nets[2].blocks[0].mixer.position.vectors)
