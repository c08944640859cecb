import itertools

import pytest
import torch

from lib import sequences


def brute(a, b):
    if not a or not b:
        return len(a) + len(b)
    return min(brute(a[1:], b) + 1, brute(a, b[1:]) + 1, brute(a[1:], b[1:]) + (a[0] != b[0]))


def test_the_edit_distance_equals_its_definition():
    words = ["", "a", "ab", "ba", "abc", "cab", "bbcb"]
    for a, b in itertools.product(words, repeat=2):
        assert sequences.edit_distance(a, b) == brute(a, b)
    assert sequences.edit_distance("kitten", "sitting") == 3


def test_a_sequence_stops_at_its_end():
    assert sequences.until([3, 0, 4, 0], 0) == [3, 0]
    assert sequences.until([3, 4], 0) == [3, 4]


@pytest.mark.filterwarnings("default")
def test_greedy_continuation_equals_decoding_without_a_cache():
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        vocab_size=20, n_positions=16, n_embd=8, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0
    )
    model = transformers.GPT2LMHeadModel(config).eval()
    params = {k: v.detach() for k, v in model.named_parameters()}
    ids = torch.tensor([[1, 2, 3], [4, 5, 6]])
    row = ids
    for _ in range(4):
        row = torch.cat([row, model(row).logits[:, -1:].argmax(-1)], 1)
    assert torch.equal(sequences.greedy(model, params, ids, 4), row[:, 3:])
    with pytest.raises(ValueError, match="length"):
        sequences.greedy(model, params, ids, 0)


def test_completions_are_scored_by_distance_and_by_their_end():
    said = torch.tensor([[1, 2, 0, 9], [1, 2, 3, 4]])
    target = torch.tensor([[1, 2, 0], [7, 8, 0]])
    assert sequences.completion_errors(said, target, 0) == (0.5, 0.5)


def test_functional_call_reaches_every_method():
    net = torch.nn.Linear(2, 2)
    wrapped = sequences.Methods(net)
    params = {k: 2 * v.detach() for k, v in wrapped.named_parameters()}
    x = torch.ones(1, 2)
    torch.testing.assert_close(torch.func.functional_call(wrapped, params, ("forward", x)), 2 * net(x))
