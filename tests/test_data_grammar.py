import pytest
import torch

from lib.data import grammar

DATA = grammar.sentences(300, seed=0)


def heads(words):
    """The head of every phrase by the rule of the language: the noun that does not follow "of"."""
    found, verb = [], next(i for i, w in enumerate(words) if w >= grammar.FIRST_VERB)
    for phrase in (words[1:verb], words[verb + 1 :]):
        noun = [grammar.FIRST_NOUN <= w < grammar.FIRST_ADJECTIVE for w in phrase]
        before = [grammar.PAD, *phrase[:-1]]
        (head,) = [w for w, ok, last in zip(phrase, noun, before, strict=True) if ok and last != grammar.OF]
        found.append(head)
    return found


def test_the_label_follows_from_the_two_heads():
    for ids, y in zip(DATA.ids.tolist(), DATA.y.tolist(), strict=True):
        first, second = heads([w for w in ids if w])
        assert y == (first % 3 + 2 * (second % 3)) % 6


def test_sentences_start_alike_and_all_labels_occur():
    assert (DATA.ids[:, 0] == grammar.START).all() and DATA.ids.shape == (300, grammar.LENGTH)
    assert sorted(DATA.y.unique().tolist()) == list(range(grammar.CLASSES))
    assert int(DATA.ids.max()) < grammar.VOCAB


def test_the_seed_decides_alone():
    assert torch.equal(grammar.sentences(300, seed=0).ids, DATA.ids)
    assert not torch.equal(grammar.sentences(300, seed=1).ids, DATA.ids)


def test_the_classes_of_nouns_are_equally_large():
    kinds = [grammar.kind(w) for w in range(grammar.FIRST_NOUN, grammar.FIRST_ADJECTIVE)]
    assert [kinds.count(k) for k in range(3)] == [grammar.NOUNS // 3] * 3


@pytest.mark.parametrize(
    "call", [lambda: grammar.sentences(0, seed=0), lambda: grammar.kind(0), lambda: grammar.kind(10**6)]
)
def test_refusals(call):
    with pytest.raises(ValueError, match="expected"):
        call()
