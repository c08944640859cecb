import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lib import sgd

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(12, 5)), np.arange(12) % 3
ORDERS = RNG.permuted(np.tile(np.arange(12), (4, 1)), axis=1)


def test_each_run_is_that_of_autograd():
    W, b = sgd.softmax_epoch(X, Y, ORDERS, batch=5, rate=0.3)
    losses = sgd.softmax_loss(X, Y, W, b)
    for run, order in enumerate(ORDERS):
        model = torch.nn.Linear(5, 3, dtype=torch.float64)
        torch.nn.init.zeros_(model.weight)
        torch.nn.init.zeros_(model.bias)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
        for rows in (order[:5], order[5:10]):  # the last two lines make no batch
            optimizer.zero_grad()
            F.cross_entropy(model(torch.tensor(X[rows])), torch.tensor(Y[rows])).backward()
            optimizer.step()
        # float64 in both: rounding only
        np.testing.assert_allclose(W[run], model.weight.detach().numpy().T, atol=1e-12)
        np.testing.assert_allclose(b[run, 0], model.bias.detach().numpy(), atol=1e-12)
        loss = F.cross_entropy(model(torch.tensor(X)), torch.tensor(Y)).item()
        assert losses[run] == pytest.approx(loss, abs=1e-12)


def test_the_order_within_a_batch_does_not_matter():
    swapped = ORDERS[:, [1, 0, 2, 3, 4, 5, 7, 6, 8, 9, 10, 11]]
    for one, other in zip(
        sgd.softmax_epoch(X, Y, ORDERS, batch=3, rate=0.3),
        sgd.softmax_epoch(X, Y, swapped, batch=3, rate=0.3),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, atol=1e-12)


def test_single_precision_stays_single_and_large_scores_do_not_overflow():
    W, b = sgd.softmax_epoch(X.astype(np.float32) * 1e3, Y, ORDERS, batch=4, rate=1.0)
    assert W.dtype == b.dtype == np.float32
    assert np.isfinite(sgd.softmax_loss(X.astype(np.float32) * 1e3, Y, W, b)).all()


@pytest.mark.parametrize(
    "change", [{"batch": 13}, {"orders": ORDERS + 1}, {"orders": ORDERS - 1}, {"y": Y - 1}, {"rate": 0.0}]
)
def test_refusals_name_what_was_expected_and_what_came(change):
    with pytest.raises(ValueError, match=r"expected .* got"):
        sgd.softmax_epoch(**{"X": X, "y": Y, "orders": ORDERS, "batch": 4, "rate": 0.1} | change)


def test_a_class_that_the_model_lacks_is_refused():
    W, b = sgd.softmax_epoch(X, Y, ORDERS, batch=4, rate=0.1)
    with pytest.raises(ValueError, match=r"\[0, 3\), got 1..3"):
        sgd.softmax_loss(X, Y + 1, W, b)
