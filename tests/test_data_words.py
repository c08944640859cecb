import itertools
import math

import pytest
import torch

from lib.data import words


def tiny(count=3, length=5, seed=0):
    return words.sentences(count, length, words=3, letters=3, word_length=2, seed=seed)


def enumerate_sentences(corpus, length):
    """Every sentence of the given length with its probability, by listing offsets and words."""
    book = corpus.dictionary.tolist()
    size = len(book[0])
    chance: dict[tuple[int, ...], float] = {}
    needed = -(-length // size) + 1
    for start in range(size):
        for choice in itertools.product(book, repeat=needed):
            text = tuple(itertools.chain(*choice))[start : start + length]
            chance[text] = chance.get(text, 0.0) + 1 / (size * len(book) ** needed)
    return chance


def test_sentences_are_words_cut_at_some_offset():
    corpus = words.sentences(50, 32, seed=1)
    known = {tuple(w) for w in corpus.dictionary.tolist()}
    offsets = []
    for row in corpus.ids.tolist():
        fits = [s for s in range(3) if all(tuple(row[i : i + 3]) in known for i in range(s, 30, 3))]
        offsets.append(fits)
    assert all(offsets)
    assert {fits[0] for fits in offsets} == {0, 1, 2}


def test_the_shapes_and_ids_are_as_documented():
    corpus = words.sentences(20, 7, words=11, letters=5, word_length=4, seed=0)
    assert corpus.ids.shape == (20, 7) and corpus.dictionary.shape == (11, 4)
    assert len({tuple(w) for w in corpus.dictionary.tolist()}) == 11
    assert corpus.letters == range(2, 7) and corpus.vocab == 7
    assert corpus.ids.min() >= 2 and corpus.ids.max() < 7
    assert words.PAD == 0 and words.MASK == 1


def test_the_corpus_depends_on_the_seed_alone():
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first, same, other = tiny(seed=4), tiny(seed=4), tiny(seed=5)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.ids, same.ids) and torch.equal(first.dictionary, same.dictionary)
    assert not torch.equal(first.ids, other.ids)


def test_fresh_sentences_share_the_dictionary():
    corpus = tiny()
    fresh = words.draw(corpus.dictionary, 4, 9, torch.Generator().manual_seed(7))
    assert fresh.shape == (4, 9)
    assert words.optimum(corpus, fresh).gather(-1, fresh[..., None]).isfinite().all()


def test_the_optimum_of_a_language_model_equals_enumeration():
    corpus = tiny(count=6)
    chance = enumerate_sentences(corpus, 5)
    assert sum(chance.values()) == pytest.approx(1)
    log_p = words.optimum(corpus, corpus.ids).gather(-1, corpus.ids[..., None]).sum((1, 2))
    for row, value in zip(corpus.ids.tolist(), log_p.tolist(), strict=True):
        assert value == pytest.approx(math.log(chance[tuple(row)]))


def test_the_optimum_of_a_masked_model_equals_enumeration():
    corpus = tiny(count=6)
    chance = enumerate_sentences(corpus, 5)
    hidden = torch.rand(6, 5, generator=torch.Generator().manual_seed(0)) < 0.4
    p = words.optimum(corpus, corpus.ids.where(~hidden, words.MASK), hidden).exp()
    for row, gaps, predicted in zip(corpus.ids.tolist(), hidden.tolist(), p, strict=True):
        fitting = {t: c for t, c in chance.items() if all(g or a == b for a, b, g in zip(t, row, gaps, strict=True))}
        for i in range(5):
            for letter in corpus.letters:
                share = sum(c for t, c in fitting.items() if t[i] == letter) / sum(fitting.values())
                assert predicted[i, letter].item() == pytest.approx(share)


def test_a_visible_letter_is_certain():
    corpus = tiny()
    p = words.optimum(corpus, corpus.ids, torch.zeros(3, 5, dtype=torch.bool)).exp()
    torch.testing.assert_close(p.gather(-1, corpus.ids[..., None]), torch.ones(3, 5, 1, dtype=torch.float64))


def test_late_letters_cost_the_entropy_of_a_word_spread_over_its_letters():
    corpus = words.sentences(400, 32, seed=0)
    late = -words.optimum(corpus, corpus.ids).gather(-1, corpus.ids[..., None])[:, 8:]
    # 9600 letters; the standard error of the mean is about 0.01
    assert late.mean().item() == pytest.approx(math.log(40) / 3, abs=0.05)


def test_one_letter_and_words_of_one_letter():
    assert words.sentences(1, 1, seed=0).ids.shape == (1, 1)
    corpus = words.sentences(2, 3, words=4, letters=4, word_length=1, seed=0)
    p = words.optimum(corpus, corpus.ids).exp()
    torch.testing.assert_close(p[..., 2:], torch.full((2, 3, 4), 0.25, dtype=torch.float64))


@pytest.mark.parametrize("bad", [{"words": 10}, {"letters": 0}, {"word_length": 0}, {"count": 0}, {"length": 0}])
def test_impossible_sizes_are_refused(bad):
    with pytest.raises(ValueError, match="expected"):
        words.sentences(**{"count": 2, "length": 4, "words": 3, "letters": 3, "word_length": 2, "seed": 0, **bad})


def test_the_optimum_refuses_ids_that_are_no_letters():
    corpus = tiny()
    with pytest.raises(ValueError, match=r"ids must lie in \[2, 5\)"):
        words.optimum(corpus, corpus.ids.clone().fill_(words.MASK))
