import pytest
import torch
from torch import nn

from lib.networks import GRULM, TextCNN, mlp


def test_mlp_has_activations_between_the_linear_layers_alone():
    kinds = [type(layer) for layer in mlp([3, 8, 4, 2], nn.Tanh)]
    assert kinds == [nn.Linear, nn.Tanh, nn.Linear, nn.Tanh, nn.Linear]
    assert [layer.out_features for layer in mlp([3, 8, 4, 2])[::2]] == [8, 4, 2]


def test_mlp_equals_the_product_of_its_matrices_when_the_activation_is_the_identity():
    model = mlp([3, 5, 2], nn.Identity, bias=False, dtype=torch.float64, seed=0)
    x = torch.randn(7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model(x), x @ model[0].weight.T @ model[2].weight.T)


def test_a_relu_network_without_biases_is_homogeneous():
    model = mlp([3, 16, 2], nn.ReLU, bias=False, dtype=torch.float64, seed=0)
    x = torch.randn(7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model(3 * x), 3 * model(x))


@pytest.mark.parametrize("make", [lambda seed: mlp([3, 4, 2], seed=seed), lambda seed: TextCNN(9, 2, seed=seed)])
def test_weights_depend_on_the_seed_alone(make):
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = make(5)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    same, other = make(5), make(6)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), same.parameters(), strict=True))
    assert not torch.equal(next(first.parameters()), next(other.parameters()))


def test_an_mlp_without_a_seed_follows_the_global_generator():
    torch.manual_seed(3)
    first = mlp([2, 2])
    torch.manual_seed(3)
    assert torch.equal(first[0].weight, mlp([2, 2])[0].weight)


def test_text_cnn_by_hand():
    model = TextCNN(vocab=9, classes=2, d=4, filters=6)
    ids = torch.tensor([[3, 5, 7, 1]])
    x = model.embed.weight[ids[0]]
    wide = torch.cat([torch.zeros(1, 4), x, torch.zeros(1, 4)])
    windows = torch.stack([wide[i : i + 3].T for i in range(4)])  # (n, d, width)
    responses = torch.einsum("ndw,fdw->nf", windows, model.conv.weight) + model.conv.bias
    expected = model.head(nn.functional.gelu(responses).amax(0))
    torch.testing.assert_close(model(ids)[0], expected)
    assert torch.equal(model.from_embeddings(model.embed(ids)), model(ids))


def test_more_padding_changes_no_logit_once_there_is_some():
    model = TextCNN(9, 2)
    ids = torch.tensor([[3, 5, 7, 0]])
    # id 0 embeds to zero and the convolution pads with zeros: all windows of pure padding look alike
    longer = [torch.nn.functional.pad(ids, (0, more)) for more in (2, 9)]
    torch.testing.assert_close(*(model(x) for x in longer))


def test_one_token_is_enough():
    assert TextCNN(9, 3)(torch.tensor([[4]])).shape == (1, 3)


@pytest.mark.parametrize("sizes", [[3], [3, 0], []])
def test_mlp_refuses_bad_sizes(sizes):
    with pytest.raises(ValueError, match="sizes must be at least two positive integers"):
        mlp(sizes)


@pytest.mark.parametrize("bad", [{"classes": 0}, {"width": 4}, {"d": 0}])
def test_text_cnn_refuses_bad_sizes(bad):
    with pytest.raises(ValueError, match="positive sizes and an odd width"):
        TextCNN(**{"vocab": 9, "classes": 2, **bad})


def test_the_recurrent_model_is_torchs_gru():
    model, reference = GRULM(7, 4, 5, seed=0), nn.GRU(4, 5, batch_first=True)
    with torch.no_grad():
        for kind, ours in (("ih", model.inputs), ("hh", model.state)):
            getattr(reference, f"weight_{kind}_l0").copy_(ours.weight)
            getattr(reference, f"bias_{kind}_l0").copy_(ours.bias)
    ids = torch.arange(12).view(2, 6) % 7
    torch.testing.assert_close(model(ids), model.head(reference(model.embed(ids))[0]))


def test_decoding_equals_running_the_model_again_for_every_token():
    model, row = GRULM(7, 4, 5, seed=1), torch.tensor([[1, 2], [3, 4]])
    tokens = model.decode(row, 3)
    for _ in range(3):
        row = torch.cat([row, model(row)[:, -1:].argmax(-1)], 1)
    assert torch.equal(tokens, row[:, 2:])
    assert model.decode(row[:, :1], 1).shape == (2, 1)


def test_the_recurrent_model_maps_over_stacked_parameters():
    model = GRULM(7, 4, 5, seed=2)
    noise = torch.Generator().manual_seed(0)
    stack = {k: v.detach() + torch.randn(3, *v.shape, generator=noise) for k, v in model.named_parameters()}
    ids = torch.arange(8).view(2, 4) % 7
    call = lambda p: torch.func.functional_call(model, p, (ids,))  # noqa: E731
    loop = torch.stack([call({k: v[i] for k, v in stack.items()}) for i in range(3)])
    torch.testing.assert_close(torch.func.vmap(call)(stack), loop)


@pytest.mark.parametrize("bad", [{"vocab": 0}, {"d": 0}, {"hidden": -1}])
def test_a_recurrent_model_without_size_is_refused(bad):
    with pytest.raises(ValueError, match="positive sizes"):
        GRULM(**{"vocab": 3, **bad})
