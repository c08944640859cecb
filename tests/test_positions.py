import pytest
import torch

from lib.positions import phases, rotary, rotate, rotate_halves, sinusoidal, to_halves, to_interleaved


def at(x, position, **kwargs):
    return rotate(x, phases(torch.tensor([position]), x.shape[-1], **kwargs))


def normal(*shape, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)).to(dtype)


def test_scores_depend_on_the_distance_alone():
    q, k = normal(2, 1, 64, dtype=torch.float64)
    # float64 angles up to 1e6 carry 1e-10; the scores sum 64 products of size 1
    torch.testing.assert_close(at(q, 3) @ at(k, 10).mT, at(q, 10**6 + 3) @ at(k, 10**6 + 10).mT, rtol=0, atol=1e-8)


def test_a_rotation_keeps_lengths_and_position_zero_changes_nothing():
    x = normal(2, 3, 7, 16)
    turned = rotary(7, 16)(x)
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))
    assert torch.equal(turned[..., 0, :], x[..., 0, :])


def test_the_rotation_is_the_matrix_of_the_post():
    x, m = normal(1, 6, dtype=torch.float64), 5
    blocks = []
    for k in range(3):
        angle = torch.tensor(m * 10_000.0 ** (-2 * k / 6), dtype=torch.float64)
        blocks.append(torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()]).view(2, 2))
    torch.testing.assert_close(at(x, m)[0], torch.block_diag(*blocks) @ x[0])


@pytest.mark.slow  # the import of transformers
def test_parity_with_the_roformer_of_transformers():
    from transformers.models.roformer import modeling_roformer as peer

    n, d = 9, 8
    q = normal(2, 3, n, d)
    table = peer.RoFormerSinusoidalPositionalEmbedding(n, d)
    table.weight = torch.nn.Parameter(table.create_weight(), requires_grad=False)
    theirs, _ = peer.RoFormerSelfAttention.apply_rotary_position_embeddings(table(torch.Size([2, n]))[None, None], q, q)
    # float32 tables on both sides
    torch.testing.assert_close(rotary(n, d)(q), theirs, rtol=0, atol=1e-6)


@pytest.mark.slow  # the import of transformers
def test_parity_with_the_llama_of_transformers():
    from transformers import LlamaConfig
    from transformers.models.llama import modeling_llama as peer

    n, d = 9, 8
    q = normal(2, 3, n, d)
    table = peer.LlamaRotaryEmbedding(LlamaConfig(hidden_size=3 * d, num_attention_heads=3))
    cos, sin = table(q, torch.arange(n)[None])
    theirs, _ = peer.apply_rotary_pos_emb(q, q, cos, sin)
    # float32 angles there
    torch.testing.assert_close(rotary(n, d, halves=True)(q), theirs, rtol=0, atol=1e-6)


def test_the_layouts_turn_the_same_pairs():
    x = normal(2, 3, 7, 16, dtype=torch.float64)
    phase = phases(torch.arange(7), 16)
    torch.testing.assert_close(to_interleaved(rotate_halves(to_halves(x), phase)), rotate(x, phase))
    assert torch.equal(to_interleaved(to_halves(x)), x)
    with pytest.raises(ValueError, match="even, got 15"):
        to_halves(x[..., :15])


def test_a_start_takes_later_rows():
    x, turn = normal(2, 3, 7, 16), rotary(9, 16)
    assert torch.equal(turn(x[..., 4:, :], 4), turn(x)[..., 4:, :])
    with pytest.raises(ValueError, match="at most 9 positions, got 10"):
        turn(x, 3)


def test_angles_survive_a_million_positions():
    exact = phases(torch.tensor([10**6]), 64)
    x = torch.ones(1, 64)
    ours = torch.view_as_complex(rotary(torch.tensor([10**6]), 64)(x).double().unflatten(-1, (-1, 2)))
    # one rounding of cosine and sine to float32, where a float32 angle would be off by 1e-2
    torch.testing.assert_close(ours, exact * (1 + 1j), rtol=0, atol=3e-7)


def test_bfloat16_input_is_turned_at_full_precision():
    x = normal(1, 1, 2048, 64, dtype=torch.bfloat16)
    turned = rotary(2048, 64)(x)
    assert turned.dtype == torch.bfloat16
    torch.testing.assert_close(turned, rotary(2048, 64)(x.float()).to(torch.bfloat16), rtol=0, atol=0)


def test_shorter_inputs_use_the_first_positions_and_explicit_positions_their_own():
    x = normal(1, 5, 8)
    assert torch.equal(rotary(50, 8)(x), rotary(5, 8)(x))
    torch.testing.assert_close(
        rotary(torch.arange(5) + 2, 8)(x[:, :5]), rotary(7, 8)(torch.cat([x[:, :2], x], 1))[:, 2:]
    )


def test_fractional_positions_interpolate_the_angle():
    x = normal(1, 8)
    torch.testing.assert_close(at(at(x, 0.5), 0.5), at(x, 1.0))


def test_partial_rotation_leaves_the_other_channels():
    x = normal(2, 5, 9)
    turned = rotary(5, 8, partial=True)(x)
    assert torch.equal(turned[..., 8:], x[..., 8:])
    torch.testing.assert_close(turned[..., :8], rotary(5, 8)(x[..., :8]))


def test_transposed_and_offset_inputs_give_the_same_numbers():
    x = normal(2, 5, 3, 8)
    torch.testing.assert_close(rotary(5, 8)(x.transpose(1, 2)), rotary(5, 8)(x.transpose(1, 2).contiguous()))
    wide = normal(5, 10)
    torch.testing.assert_close(rotary(5, 8)(wide[:, 1:9]), rotary(5, 8)(wide[:, 1:9].clone()))


def test_gradients_are_turned_back():
    x = normal(1, 4, 6, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(rotary(4, 6), x)


def test_the_sinusoidal_table_holds_sines_and_cosines():
    table = sinusoidal(12, 6, base=100.0)
    angle = torch.arange(12) * 100.0 ** (-2 / 6)
    torch.testing.assert_close(table[:, 2], angle.sin())
    torch.testing.assert_close(table[:, 3], angle.cos())
    # the inner product of two rows depends on their distance alone; float32 sums of six terms
    torch.testing.assert_close(table[3] @ table[5], table[8] @ table[10], rtol=0, atol=1e-6)


@pytest.mark.parametrize("make", [rotary, sinusoidal])
def test_odd_widths_and_empty_tables_are_refused(make):
    with pytest.raises(ValueError, match="d must be even and positive, got d=7"):
        make(4, 7)
    with pytest.raises(ValueError, match="positions"):
        make(0, 8)
    with pytest.raises(ValueError, match="base > 0"):
        make(4, 8, base=0.0)
    with pytest.raises(ValueError, match="finite"):
        make(torch.tensor([float("nan")]), 8)


def test_inputs_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="at most 4 positions, got 5"):
        rotary(4, 8)(torch.zeros(5, 8))
    with pytest.raises(ValueError, match="expected 4 positions, got 3"):
        rotary(torch.arange(4), 8)(torch.zeros(3, 8))
    with pytest.raises(ValueError, match="expected 8 channels, got 9"):
        rotary(4, 8)(torch.zeros(4, 9))
    with pytest.raises(ValueError, match="expected at least 8 channels, got 6"):
        rotary(4, 8, partial=True)(torch.zeros(4, 6))
    with pytest.raises(ValueError, match="expected 8 channels for 4 phases, got 6"):
        rotate(torch.zeros(4, 6), phases(torch.arange(4), 8))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_table_follows_the_input_to_the_device():
    x = normal(2, 5, 8)
    for turn in (rotary(5, 8), rotary(5, 8, device="cuda"), rotary(torch.arange(5, device="cuda"), 8)):
        torch.testing.assert_close(turn(x.cuda()).cpu(), rotary(5, 8)(x))
