"""Streams that reward a long context: laws, a naive reading as reference, edges, refusals."""

import pytest
import torch

from lib.data.contexts import private_dictionary, words_and_repeats

TASKS = (private_dictionary, words_and_repeats)


@pytest.mark.parametrize("task", TASKS)
def test_a_label_is_the_next_letter_and_ids_are_letters(task):
    ids, labels, predictable = task(0, seed=0, batch=6, n=20)
    assert ids.shape == labels.shape == predictable.shape == (6, 20)
    assert torch.equal(ids[:, 1:], labels[:, :-1])
    assert ids.min() >= 0 and ids.max() < 24


@pytest.mark.parametrize("task", TASKS)
def test_a_batch_is_a_function_of_seed_and_step(task):
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first, same, later, other = (task(s, seed=k)[0] for s, k in ((4, 2), (4, 2), (5, 2), (4, 3)))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, same)
    assert not torch.equal(first, later) and not torch.equal(first, other)


def words_of(ids, labels, predictable):
    """The whole words of one row as tuples of three: an unpredictable label begins a word."""
    text, first = [*ids.tolist(), labels[-1].item()], predictable.tolist().index(False) + 1
    assert [i % 3 == first % 3 for i in range(1, len(text))] == (~predictable).tolist()
    return [tuple(text[i : i + 3]) for i in range(first, len(text) - 2, 3)]


def test_a_row_is_made_of_its_own_words_and_their_first_letters_differ():
    books = []
    for row in zip(*private_dictionary(1, seed=3, batch=60, n=200), strict=True):
        books.append(frozenset(words_of(*row)))
        assert len({word[0] for word in books[-1]}) == len(books[-1]) <= 8
    assert len(set(books)) == 60


def test_a_reader_of_k_words_knows_the_next_with_the_promised_probability():
    rows = [words_of(*row) for row in zip(*private_dictionary(0, seed=0, batch=2000, n=60), strict=True)]
    for k in (1, 5, 12):
        known = sum(row[k] in row[:k] for row in rows) / len(rows)
        # standard error 0.011 at most: three and a half of them
        assert known == pytest.approx(1 - (7 / 8) ** k, abs=0.04)


def test_patterns_repeat_and_are_marked_once_the_repetition_shows():
    ids, labels, predictable = words_and_repeats(2, seed=1, batch=80, n=40)
    for row, nexts, known in zip(ids[40:].tolist(), labels[40:].tolist(), predictable[40:].tolist(), strict=True):
        period = known.index(True)  # labels are one ahead, and the first repeated letter is not marked
        assert 6 <= period <= 12 and all(known[period:])
        text = [*row, nexts[-1]]
        assert all(text[i] == text[i - period] for i in range(period, len(text)))


def test_words_share_one_dictionary_over_steps():
    found = set()
    for step in range(3):
        stream = words_and_repeats(step, seed=5, batch=20, n=31)
        found |= {word for row in zip(*(part[:10] for part in stream), strict=True) for word in words_of(*row)}
    assert 30 < len(found) <= 40


def test_the_smallest_streams():
    ids, labels, predictable = private_dictionary(0, seed=0, batch=1, n=4, words=1, letters=1, word_length=1)
    assert ids.tolist() == labels.tolist() == [[0, 0, 0, 0]] and not predictable.any()
    assert words_and_repeats(0, seed=0, batch=2, n=1, words=1, periods=(1, 1)).ids.shape == (2, 1)


def test_impossible_sizes_are_refused():
    with pytest.raises(ValueError, match="letters >= words"):
        private_dictionary(0, seed=0, words=5, letters=4)
    with pytest.raises(ValueError, match="even batch"):
        words_and_repeats(0, seed=0, batch=3)
    with pytest.raises(ValueError, match="periods"):
        words_and_repeats(0, seed=0, periods=(4, 3))
    for task in TASKS:
        with pytest.raises(ValueError, match="step"):
            task(-1, seed=0)
        with pytest.raises(ValueError, match="n="):
            task(0, seed=0, n=0)
