import pytest
import torch

from lib.data import lengths
from lib.losses import IGNORE


def test_sentences_end_where_their_length_says():
    data = lengths.sentences(500, seed=0)
    rows = torch.cat([data.ids[:, 1:], torch.full((500, 1), lengths.END)], 1)
    assert torch.equal(lengths.decoded_length(rows[:, 1:]), data.length)
    shortest = torch.tensor(lengths.SHORTEST)[data.ids[:, 0] - 1]
    assert set((data.length - shortest).tolist()) == set(range(lengths.SPREAD + 1))
    assert data.ids.max() < lengths.VOCAB and data.ids[:, 1].min() > len(lengths.SHORTEST)


def test_labels_are_the_next_ids_up_to_the_end():
    data = lengths.sentences(50, seed=1)
    for ids, labels, length in zip(data.ids.tolist(), data.labels.tolist(), data.length.tolist(), strict=True):
        assert labels[0] == IGNORE and labels[length + 1] == lengths.END
        assert labels[1 : length + 1] == ids[2 : length + 2] and set(labels[length + 2 :]) <= {IGNORE}


def test_the_successor_follows_as_often_as_it_should():
    data = lengths.sentences(5000, stay=0.8, seed=2)
    a, b = data.ids[:, 1:-1], data.ids[:, 2:]
    both = b != lengths.END
    first = 1 + len(lengths.SHORTEST)
    hop = ((b - a)[both] % lengths.SYMBOLS).float()
    assert first == 4 and float((hop == 1).float().mean()) == pytest.approx(0.8, abs=0.01)
    assert not (hop == 0).logical_and(hop == 1).any()


def test_the_median_has_the_floor_and_the_greedy_length_does_not():
    _, shortest = lengths.prompts()
    errors = [float(lengths.exact_error(shortest + j, shortest)) for j in range(5)]
    assert errors == pytest.approx([2, 1.4, 1.2, 1.4, 2])


def test_there_is_one_prompt_for_every_selector_and_symbol():
    pairs, shortest = lengths.prompts()
    assert len({tuple(p) for p in pairs.tolist()}) == len(pairs) == 18
    assert shortest.tolist() == [3] * 6 + [5] * 6 + [7] * 6


def test_a_sequence_without_end_has_its_full_length():
    assert lengths.decoded_length(torch.tensor([[4, 5], [0, 4], [4, 0]])).tolist() == [2, 0, 1]


@pytest.mark.parametrize("bad", [{"count": 0}, {"stay": 0.5}, {"stay": 1.1}])
def test_impossible_sentences_are_refused(bad):
    with pytest.raises(ValueError, match="got"):
        lengths.sentences(**{"count": 2, "seed": 0, **bad})
