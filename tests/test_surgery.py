import copy

import pytest
import torch
from torch import nn

from lib.attention import softmax_attention
from lib.blocks import Attention
from lib.linear_attention import linear_attention
from lib.networks import mlp
from lib.surgery import swap_activation, swap_attention
from lib.transformer import Config, encoder

IDS = torch.arange(10).view(2, 5)


def frozen_copy(model):
    return copy.deepcopy(model.state_dict())


def test_every_activation_is_replaced_in_a_copy():
    model = encoder(Config(vocab=10, d=16))
    weights, before = frozen_copy(model), model(IDS)
    swapped = swap_activation(model, nn.ReLU)
    assert [type(b.feed.activation) for b in swapped.blocks] == [nn.ReLU] * 2
    assert not torch.equal(swapped(IDS), before)
    assert torch.equal(model(IDS), before)
    assert all(torch.equal(value, weights[name]) for name, value in swapped.state_dict().items())
    assert not {p.data_ptr() for p in swapped.parameters()} & {p.data_ptr() for p in model.parameters()}


def test_swapping_in_the_same_activation_changes_nothing():
    model = mlp([3, 8, 8, 2], seed=0)
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(swap_activation(model, nn.GELU)(x), model(x))


def test_the_kinds_decide_what_is_replaced():
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2), nn.GELU())
    swapped = swap_activation(model, nn.Tanh, kinds=(nn.ReLU,))
    assert [type(m) for m in swapped] == [nn.Linear, nn.Tanh, nn.Linear, nn.GELU]


def test_one_activation_used_twice_is_replaced_in_both_places():
    shared = nn.GELU()
    swapped = swap_activation(nn.Sequential(shared, nn.Linear(2, 2), shared), nn.ReLU)
    assert [type(m) for m in swapped] == [nn.ReLU, nn.Linear, nn.ReLU]


def test_the_new_activation_takes_over_the_mode():
    swapped = swap_activation(nn.Sequential(nn.GELU(), nn.Linear(2, 2)).eval(), nn.ReLU)
    assert not any(m.training for m in swapped.modules())
    assert not swap_activation(nn.GELU().eval(), nn.ReLU).training


def test_activations_of_transformers_are_found():
    from transformers import BertConfig, BertModel, GPT2Config, GPT2Model

    torch.manual_seed(0)
    sizes = {"vocab_size": 20, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    bert = BertModel(BertConfig(**sizes, intermediate_size=32)).eval()
    gpt2 = GPT2Model(GPT2Config(vocab_size=20, n_embd=16, n_layer=2, n_head=2, n_positions=8)).eval()
    for model, where in ((bert, "encoder.layer.1.intermediate.intermediate_act_fn"), (gpt2, "h.1.mlp.act")):
        before = model(IDS).last_hidden_state
        swapped = swap_activation(model, nn.ReLU)
        assert isinstance(swapped.get_submodule(where), nn.ReLU)
        assert not torch.equal(swapped(IDS).last_hidden_state, before)
        assert torch.equal(model(IDS).last_hidden_state, before)
    exact = swap_activation(bert, nn.GELU)
    torch.testing.assert_close(exact(IDS).last_hidden_state, bert(IDS).last_hidden_state)


def test_every_attention_is_replaced_in_a_copy():
    model = encoder(Config(vocab=10, d=16))
    before = model(IDS)
    swapped = swap_attention(model, linear_attention)
    assert [b.mixer.attend for b in swapped.blocks] == [linear_attention] * 2
    assert not torch.equal(swapped(IDS), before)
    assert torch.equal(model(IDS), before)
    assert torch.equal(swap_attention(swapped, softmax_attention)(IDS), before)


def test_an_attention_that_is_a_module_can_come_and_go():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.log_scale = nn.Parameter(torch.zeros(()))

        def forward(self, q, k, v, *, mask=None, position=None):
            return softmax_attention(q * self.log_scale.exp(), k, v, mask=mask, position=position)

    model = encoder(Config(vocab=10, d=16))
    with_module = swap_attention(model, Scaled())
    assert "blocks.0.mixer.attend.log_scale" in with_module.state_dict()
    assert torch.equal(swap_attention(with_module, softmax_attention)(IDS), model(IDS))


def test_a_single_attention_is_a_model_too():
    assert swap_attention(Attention(8, 2), linear_attention).attend is linear_attention


def test_a_model_with_nothing_to_replace_is_refused():
    with pytest.raises(ValueError, match=r"activation of \['GELU'\], got none in Linear"):
        swap_activation(nn.Linear(2, 2), nn.ReLU)
    with pytest.raises(ValueError, match="at least one Attention, got none in Linear"):
        swap_attention(nn.Linear(2, 2), softmax_attention)
