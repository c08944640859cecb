"""Bags of (key, value) pairs: laws, an independent count, edges, refusals."""

import pytest
import torch

from lib.data import retrieval


def draw(count, n, seed=0, **sizes):
    return retrieval.bags(count, n, generator=torch.Generator().manual_seed(seed), **sizes)


def test_no_key_repeats_in_a_bag_and_the_answer_belongs_to_the_query():
    bag = draw(50, 30, keys=40, values=5)
    assert all(len(set(row)) == 30 for row in bag.keys.tolist())
    for row in range(50):
        place = bag.keys[row].tolist().index(bag.query[row].item())
        assert place == bag.place[row]
        assert bag.values[row, place] == bag.answer[row]


def test_keys_values_and_places_are_uniform():
    bag = draw(20_000, 4, keys=8, values=2)
    for drawn, size in ((bag.query, 8), (bag.answer, 2), (bag.place, 4)):
        share = torch.bincount(drawn, minlength=size) / len(drawn)
        # standard error at most 0.0036: five of them
        torch.testing.assert_close(share, torch.full((size,), 1 / size), rtol=0, atol=0.018)


def test_a_bag_may_hold_one_pair_or_all_keys():
    assert (draw(3, 1, keys=1).query == 0).all()
    assert draw(2, 8, keys=8).keys.sort(-1).values.tolist() == [list(range(8))] * 2


def test_the_same_generator_gives_the_same_bags():
    assert all(torch.equal(a, b) for a, b in zip(draw(4, 5), draw(4, 5), strict=True))
    assert not torch.equal(draw(4, 5).keys, draw(4, 5, seed=1).keys)


def test_more_pairs_than_keys_and_empty_bags_are_refused():
    with pytest.raises(ValueError, match="got n=9, keys=8"):
        draw(2, 9, keys=8)
    with pytest.raises(ValueError, match="count >= 1"):
        draw(0, 3)
