import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lib.norms import ConditionalLayerNorm, conditioned


def norm(seed=0):
    made = ConditionalLayerNorm(6, 3).double()
    generator = torch.Generator().manual_seed(seed)
    for p in made.parameters():
        p.data = torch.randn(p.shape, generator=generator, dtype=torch.float64)
    return made


X = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
C = torch.randn(2, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def test_each_example_gets_the_layer_norm_of_its_condition():
    made = norm()
    with conditioned(nn.Sequential(made), C) as model:
        out = model(X)
    for i in range(2):
        weight, bias = made.weight + made.gain.weight @ C[i], made.bias + made.shift.weight @ C[i]
        torch.testing.assert_close(out[i], F.layer_norm(X[i], (6,), weight, bias))


def test_a_fresh_one_is_the_plain_norm():
    made = ConditionalLayerNorm(6, 3).double()
    with conditioned(made, C):
        torch.testing.assert_close(made(X), F.layer_norm(X, (6,)))


def test_the_condition_lasts_as_long_as_its_block():
    made = norm()
    with conditioned(made, C), conditioned(made, C + 1):
        inner = made(X)
    with conditioned(made, C + 1):
        assert torch.equal(made(X), inner)
    with pytest.raises(ValueError, match="inside `with conditioned"):
        made(X)


def test_bad_conditions_are_refused():
    made = norm()
    with pytest.raises(ValueError, match="at least one ConditionalLayerNorm"), conditioned(nn.Linear(2, 2), C):
        pass
    with pytest.raises(ValueError, match="3 numbers per condition"), conditioned(made, C[:, :2]):
        pass
    with pytest.raises(ValueError, match="one condition per example"), conditioned(made, C[:1]):
        made(X)
