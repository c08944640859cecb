import math

import pytest
import torch

from lib.extrapolation import interpolated, ntk, ntk_fixed, ntk_mixed, yarn, yarn_factor
from lib.positions import frequencies, rotary

D = 64
EVERY = [interpolated, ntk, ntk_fixed, ntk_mixed, lambda d, s, **kw: yarn(d, s, 512, **kw)]


@pytest.mark.parametrize("make", EVERY)
def test_a_factor_of_one_changes_nothing_and_a_larger_one_slows_every_pair(make):
    plain = frequencies(D, base=500.0)
    torch.testing.assert_close(make(D, 1, base=500.0), plain, rtol=1e-14, atol=0)
    slowed = plain / make(D, 8, base=500.0)
    # from not at all to by s, the low frequencies more; 1e-12 is float64
    assert (slowed >= 1 - 1e-12).all() and (slowed <= 8 + 1e-12).all()
    assert (slowed.diff() >= -1e-12).all()
    torch.testing.assert_close(slowed[-1].item(), 8.0, rtol=1e-12, atol=0)


def test_the_ntk_family_by_its_formulas():
    theta, j, s = frequencies(D), torch.arange(D // 2), 8.0
    torch.testing.assert_close(ntk(D, s), theta / s ** (2 * j.double() / (D - 2)))
    torch.testing.assert_close(ntk_fixed(D, s), theta / s ** (2 * (j.double() + 1) / D))
    torch.testing.assert_close(ntk_mixed(D, s, b=0.0), interpolated(D, s))
    a = math.log(s) / (D / 2) ** 0.625
    torch.testing.assert_close(ntk_mixed(D, s), theta * (-a * (j.double() + 1) ** 0.625).exp())


def test_ntk_aware_keeps_the_fastest_pair_and_interpolates_the_slowest():
    theta = frequencies(D)
    assert ntk(D, 8)[0] == theta[0]
    torch.testing.assert_close(ntk(D, 8)[-1], theta[-1] / 8)


def test_yarn_keeps_pairs_with_many_turns_and_interpolates_those_without_one():
    theta, trained = frequencies(D), 4096
    turns = trained * theta / (2 * math.pi)
    ours = yarn(D, 8, trained)
    kept, stretched = turns > 32 * 10 ** (8 / D), turns < 10 ** (-8 / D)  # the ends are rounded outwards by a pair
    assert kept.any() and stretched.any()
    assert torch.equal(ours[kept], theta[kept])
    torch.testing.assert_close(ours[stretched], theta[stretched] / 8)
    assert yarn_factor(1) == 1.0 and yarn_factor(math.e) == pytest.approx(1.1)


def test_the_frequencies_serve_rotary():
    x = torch.randn(2, 5, D, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(rotary(5, D, theta=interpolated(D, 4))(x), rotary(torch.arange(5) / 4, D)(x))


@pytest.mark.slow  # the import of transformers
@pytest.mark.parametrize("kind", ["linear", "dynamic", "yarn"])
@pytest.mark.parametrize("s", [2.0, 8.0])
@pytest.mark.parametrize("d", [16, 128])
def test_parity_with_the_rope_utilities_of_transformers(kind, s, d):
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    trained, base = 512, 10_000.0
    scaling = {"rope_type": kind, "factor": s, "rope_theta": base}
    if kind == "yarn":
        scaling["original_max_position_embeddings"] = trained
    longest = round(s * trained) if kind == "yarn" else trained
    config = LlamaConfig(
        hidden_size=4 * d, num_attention_heads=4, max_position_embeddings=longest, rope_parameters=scaling
    )
    n = 3000
    theirs, factor = ROPE_INIT_FUNCTIONS[kind](config, torch.device("cpu"), seq_len=n)
    ours = {
        "linear": lambda: interpolated(d, s),
        "dynamic": lambda: ntk(d, s * n / trained - (s - 1)),
        "yarn": lambda: yarn(d, s, trained),
    }[kind]()
    # they compute in float32; relative to each frequency
    torch.testing.assert_close(ours, theirs.double(), rtol=1e-6, atol=0)
    assert factor == pytest.approx(yarn_factor(s) if kind == "yarn" else 1.0)


@pytest.mark.parametrize("make", EVERY)
def test_bad_numbers_are_refused(make):
    with pytest.raises(ValueError, match=r"got s=0\.5"):
        make(D, 0.5)
    with pytest.raises(ValueError, match="got d=7"):
        make(7, 2)
    with pytest.raises(ValueError, match="base > 0"):
        make(D, 2, base=0.0)


def test_what_belongs_to_one_form_alone_is_refused_there():
    with pytest.raises(ValueError, match="d >= 4, got d=2"):
        ntk(2, 2)
    with pytest.raises(ValueError, match="fast > slow"):
        yarn(D, 2, 512, fast=1.0, slow=1.0)
    with pytest.raises(ValueError, match="trained >= 1"):
        yarn(D, 2, 0)
    with pytest.raises(ValueError, match="b >= 0"):
        ntk_mixed(D, 2, b=-1.0)
