"""lib.data.questions: the grammar, its factors, and rows of ids."""

import pytest
import torch

from lib.data import questions as q


def test_every_sentence_is_made_once_and_its_factors_can_be_read_off():
    assert len(q.GRAMMAR) == 256
    assert all(q.factors(text) == values for text, values in q.GRAMMAR.items())
    assert max(map(len, q.GRAMMAR)) == q.LENGTH - 2


def test_words_have_their_own_characters():
    words = [word for kind in q.WORDS for word in kind]
    for i, one in enumerate(words):
        assert not any(set(one) & set(other) for other in words[i + 1 :])


def test_factors_of_what_is_no_sentence():
    assert q.factors("手机手机汽车") == (-1, -1, -1, -1)
    assert q.factors("如何屏幕") == (0, -1, 0, -1)


def test_sentences_survive_encoding():
    for text in q.GRAMMAR:
        row = q.encode(text)
        assert row.shape == (q.LENGTH,) and row[0] == q.CLS and (row == q.SEP).sum() == 1
        assert q.decode(row) == text
    assert int(torch.stack([q.encode(text) for text in q.GRAMMAR]).max()) == q.VOCAB - 1


def test_what_follows_the_end_is_no_text():
    assert q.decode(torch.tensor([q.CLS, 5, q.SEP, 6])) == q.CHARACTERS[2]
    assert q.decode(torch.tensor([q.CLS, 5, 6])) == q.CHARACTERS[2] + q.CHARACTERS[3]


def test_a_split_is_a_partition_fixed_by_its_seed():
    (train, test), again, other = (q.split(32, seed=k) for k in (1, 1, 2))
    assert train.shape == (224, q.LENGTH) and test.shape == (32, q.LENGTH)
    assert {q.decode(row) for row in (*train, *test)} == set(q.GRAMMAR)
    assert torch.equal(train, again[0]) and not torch.equal(train, other[0])


def test_bad_input_is_refused():
    for call, words in (
        (lambda: q.encode("abc"), "characters of the grammar"),
        (lambda: q.encode(""), "1 to"),
        (lambda: q.encode("手机" * 9), "1 to"),
        (lambda: q.decode(torch.tensor([q.VOCAB])), "must lie in"),
        (lambda: q.split(256, seed=0), "fewer than 256"),
        (lambda: q.split(0, seed=0), "test >= 1"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
