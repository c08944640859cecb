import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

from lib import linear
from lib.data.clusters import clusters


def test_the_maximum_of_the_likelihood_is_sklearns():
    X, y = clusters(500, share=0.4, seed=0)
    reference = LogisticRegression(C=1e8, tol=1e-10).fit(X.numpy(), y.numpy())
    found = linear.fitted(X, y)
    w = torch.tensor(reference.coef_[0]).double()
    torch.testing.assert_close(found["w"].double(), w / w.norm(), rtol=0, atol=1e-3)
    assert float(found["b"]) == pytest.approx(float(reference.intercept_[0] / w.norm()), abs=1e-3)


def test_f1_is_sklearns_row_by_row():
    said = torch.rand(4, 50, generator=torch.Generator().manual_seed(0)) < 0.4
    y = said[0].roll(3)
    expected = [f1_score(y.numpy(), row.numpy()) for row in said]
    assert linear.f1(said, y).tolist() == pytest.approx(expected)
    assert float(linear.f1(torch.zeros(3).bool(), torch.zeros(3).bool())) == 0
    assert float(linear.accuracy(y, y)) == 1


def test_the_best_threshold_separates_what_can_be_separated():
    scores, y = torch.tensor([0.1, 0.4, 0.6, 0.9]), torch.tensor([False, False, True, True])
    cut = linear.best_threshold(scores, y, linear.f1)
    assert torch.equal(scores > cut, y)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="dtype bool"):
        linear.f1(torch.ones(3), torch.ones(3).bool())
    with pytest.raises(ValueError, match="levels"):
        linear.best_threshold(torch.ones(3), torch.ones(3).bool(), linear.f1, 1)


@pytest.mark.parametrize("method", ["proposal", "ES", "REINFORCE"])
def test_direct_optimisation_gains_half_of_what_the_best_threshold_gains(method):
    X, y = clusters(2000, seed=0)
    before, after = linear.fitted(X, y), linear.maximise_f1(X, y, method, updates=60, size=500, seed=0)
    rate = lambda p, cut=0.0: float(linear.f1(linear.score(p, X) > cut, y))  # noqa: E731
    threshold = rate(before, linear.best_threshold(linear.score(before, X), y, linear.f1))
    assert rate(after) - rate(before) > (threshold - rate(before)) / 2 > 0
    likelihood = linear.maximise_f1(X, y, "likelihood", updates=60, size=500, seed=0)
    assert rate(likelihood) < rate(before)  # the surrogate alone does not do it


def test_an_unknown_method_is_refused():
    with pytest.raises(ValueError, match="got 'luck'"):
        linear.maximise_f1(*clusters(20, seed=0), "luck", size=10, seed=0)
