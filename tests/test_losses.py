import pytest
import torch
from torch.nn import functional as F

from lib.losses import IGNORE, kl, masked_ce


def example(*shape, c=7):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(*shape, c, generator=generator, dtype=torch.float64)
    labels = torch.randint(c, shape, generator=generator)
    labels[..., 0] = IGNORE
    return logits, labels


def test_masked_ce_is_the_mean_surprise_of_the_labelled_positions():
    logits, labels = example(3, 5)
    p = logits.softmax(-1)
    by_hand = [-p[i, j, labels[i, j]].log() for i in range(3) for j in range(5) if labels[i, j] != IGNORE]
    torch.testing.assert_close(masked_ce(logits, labels), torch.stack(by_hand).mean())


def test_none_keeps_the_shape_and_sums_to_sum():
    logits, labels = example(2, 3, 4)
    each = masked_ce(logits, labels, reduction="none")
    assert each.shape == labels.shape
    assert (each[labels == IGNORE] == 0).all()
    torch.testing.assert_close(each.sum(), masked_ce(logits, labels, reduction="sum"))


def test_masked_ce_equals_torch_on_flat_input():
    logits, labels = example(9)
    torch.testing.assert_close(masked_ce(logits, labels), F.cross_entropy(logits, labels))


def test_logits_at_ignored_positions_get_no_gradient():
    logits, labels = example(2, 4)
    logits.requires_grad_()
    masked_ce(logits, labels).backward()
    assert (logits.grad[labels == IGNORE] == 0).all()
    # softmax minus one-hot sums to zero over the classes; 1e-15 is float64 rounding of seven terms
    torch.testing.assert_close(logits.grad.sum(-1), torch.zeros(2, 4, dtype=torch.float64), rtol=0, atol=1e-15)


def test_bfloat16_logits_are_summed_in_float32():
    logits, labels = example(64)
    half = logits.to(torch.bfloat16)
    assert masked_ce(half, labels).dtype == torch.float32
    torch.testing.assert_close(masked_ce(half, labels), masked_ce(half.float(), labels))


def test_labels_may_be_int32():
    logits, labels = example(5)
    torch.testing.assert_close(masked_ce(logits, labels.int()), masked_ce(logits, labels))


def test_a_batch_without_labels_is_refused():
    with pytest.raises(ValueError, match="at least one label"):
        masked_ce(torch.zeros(2, 3), torch.full((2,), IGNORE))


@pytest.mark.parametrize("wrong", [-1, 3])
def test_a_label_that_is_no_class_is_refused(wrong):
    with pytest.raises(ValueError, match=r"labels must lie in \[0, 3\)"):
        masked_ce(torch.zeros(2, 3), torch.tensor([0, wrong]))


def test_kl_is_that_of_torch_and_its_hessian_is_the_covariance_of_a_one_hot_draw():
    logits, other = example(3, 5)[0], example(3, 5)[0].roll(1, 0)
    got = kl(logits, other, 2.0)
    want = F.kl_div((other / 2).log_softmax(-1), (logits / 2).log_softmax(-1), reduction="none", log_target=True)
    torch.testing.assert_close(got, want.sum(-1))
    p = logits[0, 0].softmax(-1)
    hessian = torch.func.hessian(lambda z: kl(logits[0, 0], z))(logits[0, 0])
    torch.testing.assert_close(hessian, torch.diag(p) - torch.outer(p, p))


def test_kl_is_zero_on_equal_logits_and_refuses_a_temperature_of_zero():
    logits = example(2, 3)[0]
    assert kl(logits, logits + 4).abs().max() < 1e-14  # a constant is no difference
    with pytest.raises(ValueError, match="temperature"):
        kl(logits, logits, temperature=0.0)
