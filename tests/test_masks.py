import pytest
import torch

from lib import masks


def test_masks_by_brute_force():
    for n, m in [(1, 1), (4, 4), (3, 5)]:
        assert masks.causal(n, m).tolist() == [[j <= i + m - n for j in range(m)] for i in range(n)]
    assert masks.band(5, 1).tolist() == [[abs(i - j) <= 1 for j in range(5)] for i in range(5)]
    assert masks.band(3, 0).tolist() == torch.eye(3, dtype=torch.bool).tolist()
    keep = masks.padding(torch.tensor([2, 0, 3]), 3)
    assert keep.shape == (3, 1, 1, 3)
    assert keep[:, 0, 0].tolist() == [[True, True, False], [False] * 3, [True] * 3]
    assert torch.equal(masks.padding(keep[:, 0, 0]), keep)


def test_masks_combine():
    both = masks.causal(4) & masks.band(4, 1) & masks.padding(torch.tensor([3]), 4)
    assert both.shape == (1, 1, 4, 4)
    assert both.sum() == 6


def test_bad_masks_are_refused():
    for call in (
        lambda: masks.causal(0),
        lambda: masks.causal(3, 2),
        lambda: masks.band(3, -1),
        lambda: masks.padding(torch.tensor([2])),
        lambda: masks.padding(torch.tensor([4]), 3),
    ):
        with pytest.raises(ValueError, match=r"expected|lengths must"):
            call()


def test_a_prefix_is_read_both_ways_and_the_rest_backwards():
    segments = torch.tensor([[0, 0, 1, 1], [0, 0, 0, 0], [1, 1, 1, 1]])
    got = masks.prefix(segments)
    assert got.shape == (3, 1, 4, 4)
    for row, s in zip(got[:, 0].tolist(), segments.tolist(), strict=True):
        assert row == [[s[j] == 0 or (s[i] == 1 and j <= i) for j in range(4)] for i in range(4)]
    assert torch.equal(got[2, 0], masks.causal(4))


def test_a_prefix_behind_its_continuation_is_refused():
    for bad in ([[1, 0]], [[0, 2]]):
        with pytest.raises(ValueError, match="zeros followed by ones"):
            masks.prefix(torch.tensor(bad))


def test_the_second_copy_reads_its_past_and_what_is_shared():
    segments = torch.tensor([[0, 0, 0, 1, 1], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]])
    for shared in (0, 1, 2):
        got = masks.uniae(segments, shared)
        assert got.shape == (3, 1, 5, 5)
        for row, s in zip(got[:, 0].tolist(), segments.tolist(), strict=True):
            allowed = [[j < shared or (s[i] == s[j] and (s[i] == 0 or j <= i)) for j in range(5)] for i in range(5)]
            assert row == allowed
    everything = masks.uniae(segments[:1], 3)
    assert torch.equal(everything, masks.prefix(segments[:1]))
    assert torch.equal(masks.uniae(segments[2:], 0)[0, 0], masks.causal(5))


def test_copies_out_of_order_are_refused():
    for bad, shared in (([[1, 0]], 1), ([[0, 2]], 1), ([[0, 1]], 3), ([[0, 1]], -1)):
        with pytest.raises(ValueError, match=r"zeros followed by ones|shared"):
            masks.uniae(torch.tensor(bad), shared)
