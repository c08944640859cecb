import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lib import longtail
from lib.losses import IGNORE

COUNTS = torch.tensor([70, 20, 9, 1])


def example(*shape, c=4):
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(*shape, c, generator=generator, dtype=torch.float64)
    return logits, torch.randint(c, shape, generator=generator)


def test_the_adjusted_loss_is_the_posts_log_of_one_plus_a_sum():
    f, y = example(50)
    p = longtail.log_prior(COUNTS).exp()
    for tau in (0.5, 1, 2):
        each = [
            math.log(1 + sum(float((p[i] / p[k]) ** tau * (row[i] - row[k]).exp()) for i in range(4) if i != k))
            for row, k in zip(f, y.tolist(), strict=True)
        ]
        # float64 rounding of four terms
        assert abs(longtail.logit_adjusted_ce(f, y, p.log(), tau).item() - np.mean(each)) < 1e-13


def test_the_adjusted_loss_is_torch_with_a_bias_and_half_the_others_are_its_special_cases():
    f, y = example(9)
    log_p = longtail.log_prior(COUNTS)
    want = F.cross_entropy(f + 1.5 * log_p, y)
    torch.testing.assert_close(longtail.logit_adjusted_ce(f, y, log_p, 1.5), want)
    one = torch.ones(4, dtype=torch.float64)
    torch.testing.assert_close(longtail.vs_loss(f, y, one, 1.5 * log_p), want)
    weight = (-log_p).exp() / 4
    torch_mean = F.cross_entropy(f, y, weight=weight) * weight[y].mean()
    torch.testing.assert_close(longtail.vs_loss(f, y, one, 0 * one, weight), torch_mean)


def test_batch_axes_and_ignored_positions_do_not_matter():
    f, y = example(2, 3)
    log_p = longtail.log_prior(COUNTS)
    flat = longtail.logit_adjusted_ce(f.flatten(0, 1), y.flatten(), log_p)
    torch.testing.assert_close(longtail.logit_adjusted_ce(f, y, log_p), flat)
    weight = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    some = y.clone()
    some[0, 0] = IGNORE
    rest = (f.flatten(0, 1)[1:], y.flatten()[1:])
    got, want = (longtail.vs_loss(*case, weight, log_p, weight) for case in ((f, some), rest))
    torch.testing.assert_close(got, want)


def test_logits_keep_their_dtype():
    f, y = example(5)
    log_p = longtail.log_prior(COUNTS)
    assert log_p.dtype == torch.float64
    assert longtail.logit_adjusted_ce(f.float(), y, log_p).dtype == torch.float32
    assert longtail.posthoc(f.half(), log_p).dtype == torch.float16


def test_posthoc_undoes_the_shift_of_training():
    f, _ = example(5)
    log_p = longtail.log_prior(COUNTS)
    torch.testing.assert_close(longtail.posthoc(f + 0.7 * log_p, log_p, 0.7), f)


def test_pmi_integrates_to_one_and_forgets_what_the_softmax_forgets():
    f, _ = example(6)
    log_p = longtail.log_prior(COUNTS)
    value = longtail.pmi(f, log_p)
    # Σ_y p(y) e^{pmi} = 1: p(x|y)/p(x) averaged over y
    torch.testing.assert_close((value + log_p).exp().sum(-1), torch.ones(6, dtype=torch.float64))
    torch.testing.assert_close(longtail.pmi(f + torch.arange(6.0)[:, None], log_p), value)
    by_hand = f - (log_p.exp() * f.exp()).sum(-1, keepdim=True).log()
    torch.testing.assert_close(value, by_hand)


def test_counts_are_ordered_by_class_id():
    labels = torch.tensor([10, 2, 2, IGNORE, 0])
    counts = longtail.class_counts(labels, 12)
    assert counts.tolist() == [1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0]


def test_smoothing_admits_an_empty_class_and_no_smoothing_names_it():
    counts = torch.tensor([3, 0, 1])
    torch.testing.assert_close(longtail.log_prior(counts, smoothing=1).exp() * 7, torch.tensor([4.0, 1, 2]).double())
    with pytest.raises(ValueError, match=r"for classes \[1\]"):
        longtail.log_prior(counts)
    # the post's 1e-8 inside the log
    assert abs(longtail.log_prior(torch.tensor([1.0, 0.0]).double(), smoothing=1e-8)[1] + 18.42) < 0.01


def test_a_long_tail_has_the_counts_of_the_formula_and_no_row_twice():
    labels = torch.arange(1000) % 5
    rows, order = longtail.long_tail_indices(labels, 50, 100, seed=3)
    counts = longtail.class_counts(labels[rows], 5)[order]
    assert counts.tolist() == [round(100 * 50 ** (-k / 4)) for k in range(5)]
    assert len(rows.unique()) == len(rows)
    assert sorted(order.tolist()) == list(range(5))
    again, _ = longtail.long_tail_indices(labels, 50, 100, seed=3)
    other, _ = longtail.long_tail_indices(labels, 50, 100, seed=4)
    assert torch.equal(rows, again) and not torch.equal(rows, other)


def test_one_class_and_ratio_one_are_allowed():
    rows, order = longtail.long_tail_indices(torch.zeros(4, dtype=torch.int64), 1, 4, seed=0)
    assert rows.sort().values.tolist() == [0, 1, 2, 3] and order.tolist() == [0]


def test_more_rows_than_a_class_has_are_refused():
    with pytest.raises(ValueError, match="has 2 rows"):
        longtail.long_tail_indices(torch.tensor([0, 0, 1, 1]), 1, 3, seed=0)


def test_balanced_accuracy_is_that_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    f, y = example(40)
    for labels in (y, y.clamp(max=2)):  # the second leaves class 3 empty: the mean is over classes that occur
        want = metrics.recall_score(labels, f.argmax(-1), average="macro", labels=labels.unique())
        assert abs(longtail.balanced_accuracy(f, labels) - want) < 1e-12
    assert abs(longtail.balanced_accuracy(f, y) - metrics.balanced_accuracy_score(y, f.argmax(-1))) < 1e-12


def test_prior_accuracy_with_the_test_sets_own_prior_is_accuracy():
    f, y = example(400)
    log_p = longtail.log_prior(longtail.class_counts(y, 4))
    assert abs(longtail.prior_accuracy(f, y, log_p) - (f.argmax(-1) == y).double().mean().item()) < 1e-12
    with pytest.raises(ValueError, match="recalls"):
        longtail.prior_accuracy(f, y.clamp(max=2), log_p)


def test_weighted_loss_has_the_solution_of_scikit_learns_class_weight():
    linear = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(0)
    y = torch.tensor((rng.random(300) < 0.1).astype(np.int64))
    X = torch.tensor(rng.standard_normal((300, 2))) + y[:, None]
    log_p = longtail.log_prior(longtail.class_counts(y, 2))
    weight = (-log_p).exp() / 2
    W = torch.zeros(3, 2, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([W], max_iter=300, tolerance_grad=1e-10, line_search_fn="strong_wolfe")
    one = torch.ones(2, dtype=torch.float64)

    def closure():
        optimiser.zero_grad()
        loss = longtail.vs_loss(X @ W[:2] + W[2], y, one, 0 * one, weight)
        loss.backward()
        return loss

    optimiser.step(closure)
    model = linear.LogisticRegression(C=np.inf, class_weight="balanced", tol=1e-10).fit(X.numpy(), y.numpy())
    got = (W[:, 1] - W[:, 0]).detach().numpy()
    np.testing.assert_allclose(got, [*model.coef_[0], model.intercept_[0]], atol=1e-4)  # two optimisers' stops


def test_labels_that_are_no_class_are_refused():
    with pytest.raises(ValueError, match=r"\[0, 3\)"):
        longtail.class_counts(torch.tensor([0, 3]), 3)
    with pytest.raises(ValueError, match=r"\[0, 3\)"):
        longtail.class_counts(torch.tensor([IGNORE]), 3)


def test_a_prior_of_another_length_is_refused():
    f, y = example(5)
    with pytest.raises(ValueError, match="log_prior"):
        longtail.logit_adjusted_ce(f, y, torch.zeros(3, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"delta\[1\]"):
        longtail.vs_loss(f, y, torch.tensor([1.0, 0.0, 1.0, 1.0]), torch.zeros(4))
