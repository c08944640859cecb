import pytest
import torch

from lib.biases import Alibi, T5Bias, relative, t5_bucket


@pytest.mark.parametrize("both", [False, True])
def test_buckets_are_those_of_transformers(both):
    from transformers.models.t5.modeling_t5 import T5Attention

    away = torch.arange(-300, 301)
    for buckets, furthest in [(32, 128), (8, 20)]:
        peer = T5Attention._relative_position_bucket(away, both, buckets, furthest)
        assert torch.equal(t5_bucket(away, both=both, buckets=buckets, furthest=furthest), peer)


def test_slopes_are_those_of_the_paper():
    bias = Alibi(8)
    assert bias.slopes.tolist() == [2.0**-i for i in range(1, 9)]
    assert bias(1, 4)[0].tolist() == [[-1.5, -1.0, -0.5, 0.0]]


def test_a_row_of_the_bias_is_the_last_row_of_the_whole():
    for bias in (Alibi(4), T5Bias(4, both=False)):
        assert torch.equal(bias(2, 7), bias(7, 7)[:, 5:])
    assert relative(2, 3).tolist() == [[-1, 0, 1], [-2, -1, 0]]


def test_bad_sizes_are_refused():
    with pytest.raises(ValueError, match="power of 2"):
        Alibi(6)
    with pytest.raises(ValueError, match="at least 2 buckets"):
        t5_bucket(torch.arange(3), both=True, buckets=2)
    with pytest.raises(ValueError, match="n <= m"):
        relative(4, 3)
