"""Toy sequence tasks: laws, edges, refusals."""

import pytest
import torch

from lib.data.toy import partner_lookup, reverse


def test_reverse_reads_backwards():
    ids, labels = reverse(0, seed=0, batch=3, n=5, vocab=7)
    assert [row[::-1] for row in ids.tolist()] == labels.tolist()
    assert ids.shape == (3, 5) and ids.min() >= 0 and ids.max() < 7


def test_every_key_stands_once_and_the_label_is_the_value_of_its_partner():
    ids, labels = partner_lookup(3, seed=1, batch=20, keys=6, values=5)
    for row, answers in zip(ids.tolist(), labels.tolist(), strict=True):
        value = {token // 5: token % 5 for token in row}
        assert sorted(value) == list(range(6))
        assert answers == [value[token // 5 ^ 1] for token in row]


@pytest.mark.parametrize("task", [reverse, partner_lookup])
def test_a_batch_is_a_function_of_seed_and_step(task):
    first, same, later, other = (task(s, seed=k)[0] for s, k in ((4, 2), (4, 2), (5, 2), (4, 3)))
    assert torch.equal(first, same)
    assert not torch.equal(first, later) and not torch.equal(first, other)


def test_values_and_places_are_uniform():
    ids, labels = partner_lookup(0, seed=0, batch=4000, keys=4, values=4)
    for drawn, size in ((labels, 4), (ids[:, 0], 16)):
        share = torch.bincount(drawn.flatten(), minlength=size) / drawn.numel()
        # standard error at most 0.0039: five of them
        torch.testing.assert_close(share, torch.full((size,), 1 / size), rtol=0, atol=0.02)


def test_the_smallest_tasks():
    assert [part.tolist() for part in reverse(0, seed=0, batch=1, n=1, vocab=1)] == [[[0]], [[0]]]
    ids, labels = partner_lookup(0, seed=0, batch=1, keys=2, values=1)
    assert sorted(ids[0].tolist()) == [0, 1] and labels.tolist() == [[0, 0]]


def test_odd_numbers_of_keys_and_negative_steps_are_refused():
    with pytest.raises(ValueError, match="even number of keys, 2 at least, got 5"):
        partner_lookup(0, seed=0, keys=5)
    for task in (reverse, partner_lookup):
        with pytest.raises(ValueError, match="step"):
            task(-1, seed=0)
        with pytest.raises(ValueError, match="batch"):
            task(0, seed=0, batch=0)
