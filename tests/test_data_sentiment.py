"""lib.data.sentiment: classes, marked words, conditions."""

import pytest
import torch

from lib.data import sentiment as s


@pytest.mark.parametrize(("condition", "classes"), [("symmetric", 2), ("open", 2), ("open+neutral", 3)])
def test_classes_are_balanced_and_every_sentence_marks_one_word_of_two_characters(condition, classes):
    data = s.reviews(300, condition, seed=4)
    assert torch.bincount(data.y).tolist() == [300 // classes] * classes
    assert (data.word.sum(1) == 2).all()
    assert data.ids.shape == (300, s.LENGTH) and (data.ids[data.word] > 0).all()


@pytest.mark.parametrize("condition", s.CONDITIONS)
def test_the_marked_word_belongs_to_the_class(condition):
    data = s.reviews(90, condition)
    for ids, label, mask in zip(data.ids, data.y.tolist(), data.word, strict=True):
        word = "".join(s.decode(ids[mask]))
        if label == 2 or (label == 1 and condition == "open"):
            assert set(word) <= set(s.POOL)
        else:
            assert word in (s.NEGATIVE, s.POSITIVE)[label]


def test_the_open_pool_shares_no_character_with_templates_objects_or_words():
    assert len(s.POOL) > 500
    assert not set(s.POOL) & set("".join((*s.TEMPLATES, *s.OBJECTS, *s.POSITIVE, *s.NEGATIVE)))
    assert len(set(s.VOCAB)) == len(s.VOCAB)


def test_sentences_survive_encoding():
    assert "".join(s.decode(s.encode("这是一个很好看的电影"))) == "这是一个很好看的电影"
    assert s.encode("电影").shape == (s.LENGTH,)


def test_a_seed_fixes_the_reviews_and_another_changes_them():
    a, b, c = (s.reviews(50, "open", seed=k) for k in (1, 1, 2))
    assert torch.equal(a.ids, b.ids) and not torch.equal(a.ids, c.ids)


def test_the_global_generator_is_left_alone():
    before = torch.random.get_rng_state()
    s.reviews(10)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(("count", "condition"), [(10, "closed"), (1, "symmetric"), (2, "open+neutral")])
def test_unknown_conditions_and_too_few_sentences_are_refused(count, condition):
    with pytest.raises(ValueError, match=r"expected|must be"):
        s.reviews(count, condition)


@pytest.mark.parametrize("text", ["", "abc", "这" * 40])
def test_text_outside_the_vocabulary_is_refused(text):
    with pytest.raises(ValueError, match="VOCAB"):
        s.encode(text)
