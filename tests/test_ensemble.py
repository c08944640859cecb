import pytest
import torch
from torch import nn

from lib import networks, train
from lib.ensemble import Arm, Ensemble, fit_arms
from lib.losses import masked_ce


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


def test_no_members_other_shapes_buffers_and_missing_batches_are_refused():
    with pytest.raises(ValueError, match="got 0"):
        Ensemble([])
    with pytest.raises(ValueError, match="2 shapes"):
        Ensemble([nn.Linear(2, 2), nn.Linear(2, 3)])
    with pytest.raises(ValueError, match="running_mean"):
        Ensemble([nn.BatchNorm1d(2), nn.BatchNorm1d(2)])
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
