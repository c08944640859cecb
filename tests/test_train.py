import math

import pytest
import torch
from torch import nn

from lib import train
from lib.losses import IGNORE


def regression(seed=0):
    generator = torch.Generator().manual_seed(seed)
    X = torch.randn(64, 3, generator=generator)
    return X, X @ torch.tensor([[1.0], [-2.0], [0.5]])


def squared(model, batch):
    return (model(batch[0]) - batch[1]).square().mean()


def line():
    model = nn.Linear(3, 1)
    nn.init.zeros_(model.weight), nn.init.zeros_(model.bias)
    return model


def test_fit_finds_the_weights_of_a_linear_law():
    model = line()
    history = train.fit(model, train.minibatches(*regression(), size=16, seed=0), squared, steps=300, lr=0.1)
    assert len(history.loss) == 300 and history.seconds > 0
    # a noiseless law and a rate that ends near zero: what remains is far below the 1e-3 asked for
    torch.testing.assert_close(model.weight[0], torch.tensor([1.0, -2.0, 0.5]), rtol=0, atol=1e-3)


def test_fit_equals_a_hand_written_adam_loop():
    ours, theirs = line(), line()
    batch = train.minibatches(*regression(), size=16, seed=0)
    train.fit(ours, batch, squared, steps=20, lr=0.05, schedule=train.constant, clip=math.inf)
    optimizer = torch.optim.Adam(theirs.parameters(), lr=0.05)
    for step in range(20):
        optimizer.zero_grad()
        squared(theirs, batch(step)).backward()
        optimizer.step()
    torch.testing.assert_close(ours.weight, theirs.weight)


def test_fit_twice_gives_the_same_weights_and_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    runs = []
    for _ in range(2):
        model = line()
        state = torch.get_rng_state()
        train.fit(model, train.minibatches(*regression(), size=16, seed=3), squared, steps=10, lr=0.1)
        assert torch.equal(torch.get_rng_state(), state)
        runs.append(model.weight.detach())
    assert torch.equal(*runs)


def test_every_flag_is_as_it_was_and_dropout_is_on_inside():
    model = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 1)).eval()
    model[1].train()
    inside = []

    def loss(model, batch):
        inside.append(all(m.training for m in model.modules()))
        return squared(model, batch)

    batch = train.minibatches(*regression(), size=16, seed=0)
    with torch.random.fork_rng():
        train.fit(model, batch, loss, steps=2, lr=0.1)
    assert inside == [True, True]
    assert [m.training for m in model.modules()] == [False, False, True, False]


def test_flags_are_restored_when_the_loss_explodes():
    model = line().eval()
    with pytest.raises(FloatingPointError, match="loss became nan at step 1 of 3"):
        train.fit(model, lambda step: step, lambda m, s: m.bias.sum() * (math.nan if s else 1), steps=3, lr=0.1)
    assert not model.training


def test_an_infinite_gradient_raises_before_it_reaches_the_weights():
    model = line()
    with pytest.raises(FloatingPointError, match="gradient"):
        train.fit(model, lambda step: None, lambda m, _: m.bias.abs().sqrt().sum() + m.bias.sum(), steps=1, lr=0.1)
    assert (model.bias == 0).all()


def test_frozen_parameters_do_not_move():
    model = nn.Sequential(line(), nn.Linear(1, 1))
    with torch.no_grad():
        model[1].weight.fill_(1.0), model[1].bias.fill_(0.5)
    model[1].requires_grad_(False)
    train.fit(model, train.minibatches(*regression(), size=16, seed=0), squared, steps=5, lr=0.1)
    assert model[1].bias.item() == 0.5
    assert model[0].weight.abs().sum() > 0


def test_clipping_bounds_the_gradient_that_adam_sees():
    norms = []

    class Spy(nn.Linear):
        pass

    model = Spy(3, 1)
    X, y = regression()
    train.fit(
        model, lambda _: (X, 1000 * y), squared, steps=3, lr=1e-3, clip=0.5,
        callback=lambda step, loss: norms.append(math.sqrt(sum(p.grad.square().sum() for p in model.parameters()))),
    )  # fmt: skip
    # float32 rounding of the division
    assert norms == pytest.approx([0.5] * 3, rel=1e-5)


def test_callback_sees_each_step_and_its_loss():
    seen = []
    history = train.fit(
        line(), lambda _: regression(), squared, steps=4, lr=0.1, callback=lambda *args: seen.append(args)
    )
    assert seen == list(enumerate(history.loss))


@pytest.mark.parametrize("steps", [10, 100, 333])
def test_one_cycle_is_the_curve_of_torch(steps):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.0, steps, cycle_momentum=False)
    for step in range(steps):
        assert train.one_cycle(step, steps) == pytest.approx(scheduler.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        if step < steps - 1:
            scheduler.step()


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_one_cycle_of_a_few_steps_stays_in_range(steps):
    assert all(0 < train.one_cycle(step, steps) <= 1 for step in range(steps))


def test_every_epoch_shows_every_row_once_in_a_new_order():
    rows = torch.arange(12)
    batch = train.minibatches(rows, 10 * rows, size=4, seed=0)
    epochs = [torch.cat([batch(3 * e + i)[0] for i in range(3)]) for e in range(2)]
    assert all(torch.equal(epoch.sort().values, rows) for epoch in epochs)
    assert not torch.equal(*epochs)
    first, second = batch(1)
    assert torch.equal(10 * first, second)


def test_a_batch_depends_on_seed_and_step_alone():
    rows = torch.arange(10)
    forwards, backwards = train.minibatches(rows, size=3, seed=5), train.minibatches(rows, size=3, seed=5)
    ahead = [forwards(step)[0].tolist() for step in range(9)]
    assert ahead == [backwards(step)[0].tolist() for step in reversed(range(9))][::-1]
    assert ahead != [train.minibatches(rows, size=3, seed=6)(step)[0].tolist() for step in range(9)]


def masked(rate=0.3, **kwargs):
    ids = torch.randint(2, 32, (200, 100), generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    return ids, *train.mask_tokens(ids, rate=rate, mask_id=1, vocab=range(2, 32), generator=generator, **kwargs)


def test_masking_keeps_to_bert_80_10_10():
    ids, inputs, labels = masked()
    chosen = labels != IGNORE
    assert torch.equal(labels[chosen], ids[chosen])
    assert torch.equal(inputs[~chosen], ids[~chosen])
    # 20 000 positions, 6 000 of them chosen: 0.02 is more than four standard errors of each share
    assert chosen.double().mean().item() == pytest.approx(0.3, abs=0.02)
    assert (inputs[chosen] == 1).double().mean().item() == pytest.approx(0.8, abs=0.02)
    changed = (inputs != ids)[chosen] & (inputs != 1)[chosen]
    assert changed.double().mean().item() == pytest.approx(0.1 * 29 / 30, abs=0.02)
    assert inputs.min() == 1 and inputs.max() < 32


def test_plain_masking_masks_every_chosen_token():
    _, inputs, labels = masked(random=0.0, keep=0.0)
    assert torch.equal(inputs == 1, labels != IGNORE)


def test_special_tokens_are_never_chosen():
    _, inputs, labels = masked(rate=1.0, random=0.0, keep=0.0, special=(5, 6))
    assert torch.equal(inputs != 1, (inputs == 5) | (inputs == 6))
    assert set(labels.unique().tolist()) == {IGNORE, *range(2, 32)} - {5, 6}


def test_masking_does_not_touch_its_input():
    ids, _, _ = masked()
    again, _, _ = masked()
    assert torch.equal(ids, again)


def test_accuracy_counts_labelled_positions_alone():
    logits = torch.eye(3)[torch.tensor([[0, 1], [2, 2]])]
    assert train.accuracy(logits, torch.tensor([[0, IGNORE], [2, 1]])) == pytest.approx(2 / 3)


@pytest.mark.parametrize("bad", [{"steps": 0}, {"lr": 0.0}, {"clip": 0.0}, {"weight_decay": -1.0}])
def test_fit_refuses_bad_numbers(bad):
    with pytest.raises(ValueError, match="expected steps >= 1"):
        train.fit(line(), lambda _: regression(), squared, **{"steps": 1, "lr": 0.1, **bad})


def test_fit_refuses_a_model_without_parameters_and_a_loss_that_is_no_scalar():
    with pytest.raises(ValueError, match="at least one parameter"):
        train.fit(nn.ReLU(), lambda _: None, squared, steps=1, lr=0.1)
    with pytest.raises(ValueError, match="scalar"):
        train.fit(line(), lambda _: regression(), lambda m, b: m(b[0]), steps=1, lr=0.1)


def test_minibatches_refuse_unequal_rows_and_sizes_out_of_range():
    with pytest.raises(ValueError, match="equally many rows"):
        train.minibatches(torch.zeros(3), torch.zeros(4), size=1, seed=0)
    with pytest.raises(ValueError, match="equally many rows"):
        train.minibatches(size=1, seed=0)
    with pytest.raises(ValueError, match=r"size must lie in \[1, 3\]"):
        train.minibatches(torch.zeros(3), size=4, seed=0)


@pytest.mark.parametrize("bad", [{"rate": 0.0}, {"rate": 1.5}, {"random": 0.6, "keep": 0.6}, {"vocab": 0}])
def test_masking_refuses_bad_shares(bad):
    with pytest.raises(ValueError):
        good = {"rate": 0.5, "vocab": 5}
        train.mask_tokens(torch.zeros(3, dtype=torch.int64), mask_id=1, generator=torch.Generator(), **{**good, **bad})


def test_accuracy_refuses_a_batch_without_labels():
    with pytest.raises(ValueError, match="at least one label"):
        train.accuracy(torch.zeros(2, 3), torch.full((2,), IGNORE))
