import math

import numpy as np
import pytest
import torch
from scipy.linalg import expm

from lib import rope2d
from lib.attention import softmax_attention
from lib.positions import frequencies, phases, rotary, to_halves
from lib.rope2d import Plane, grid, relativity_defect, rms_chord, rotation_matrix
from lib.transformer import Config, encoder


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, dtype=torch.float64):
    return torch.randn(*shape, generator=generator(), dtype=torch.float64).to(dtype)


FAMILIES = {
    "axial": rope2d.axial(16),
    "diagonal": rope2d.diagonal(16),
    "scattered": rope2d.scattered(16, generator=generator()),
    "along": rope2d.along(16, (1, math.sqrt(2))),
    "flattened": rope2d.along(16, (7, 1)),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_relative_and_orthogonal_at_any_points(family):
    vectors = FAMILIES[family]
    a, b = 20 * normal(2, 300, 2)
    # float64 angles up to 500 carry 1e-13
    assert relativity_defect(lambda p: rotation_matrix(p, vectors), a, b).max() < 1e-12
    R = rotation_matrix(a, vectors)
    torch.testing.assert_close(R.mT @ R, torch.eye(16, dtype=torch.float64).expand_as(R))


def test_logits_ignore_a_common_shift_and_a_network_on_a_shifted_grid_is_the_same():
    points, x = grid(3, 5), torch.randint(5, (2, 15), generator=generator())
    plane = Plane(points, rope2d.axial(8))
    model = encoder(Config(5, d=16, heads=2), position=plane)
    before = model(x)
    plane.move_(points + torch.tensor([100, -40]))
    # float32 sums; the phases are rounded to complex64
    torch.testing.assert_close(model(x), before, rtol=0, atol=1e-5)


def test_one_axis_is_the_rotation_of_a_line_and_flattening_is_one_direction():
    x = normal(2, 12, 8)
    torch.testing.assert_close(Plane(grid(12), rope2d.axial(8, 1))(x), rotary(12, 8)(x))
    flat = Plane(grid(3, 4), rope2d.along(8, (4, 1)))
    torch.testing.assert_close(flat(x), rotary(12, 8)(x))
    flat = Plane(grid(3, 4), rope2d.along(8, (4, 1)), halves=True)
    torch.testing.assert_close(flat(to_halves(x)), to_halves(rotary(12, 8)(x)))


def test_the_axial_matrix_is_the_exponential_of_its_generators():
    J = np.array([[0, -1], [1, 0]])
    for vectors in FAMILIES.values():
        B1, B2 = (np.kron(np.diag(vectors[:, j].numpy()), J) for j in (0, 1))
        ours = rotation_matrix(torch.tensor([[3, -2.5]]), vectors)[0]
        np.testing.assert_allclose(ours, expm(3 * B1 - 2.5 * B2), rtol=0, atol=1e-12)


def test_parity_with_complex_multiplication():
    x, points = normal(2, 3, 6, 8), normal(6, 2)
    theta = frequencies(4)
    angle = torch.cat([points[:, :1] * theta, points[:, 1:] * theta], -1)
    turned = torch.view_as_complex(x.unflatten(-1, (-1, 2))) * torch.exp(1j * angle)
    ours = Plane(points, rope2d.axial(8))(x)
    torch.testing.assert_close(ours, torch.view_as_real(turned).flatten(-2), rtol=0, atol=1e-13)


@pytest.mark.slow  # the import of transformers
def test_parity_with_the_functions_of_transformers_on_each_axis():
    from transformers.models.llama.modeling_llama import apply_rotary_pos_emb
    from transformers.models.roformer.modeling_roformer import RoFormerSelfAttention

    x, points = normal(2, 3, 20, 16, dtype=torch.float32), grid(4, 5)
    ours = Plane(points, rope2d.axial(16))(x)
    for axis, half in enumerate(x.chunk(2, -1)):
        turn = phases(points[:, axis], 8)
        table = torch.cat([turn.imag, turn.real], -1).float()[None, None]
        theirs, _ = RoFormerSelfAttention.apply_rotary_position_embeddings(table, half, half)
        torch.testing.assert_close(ours.chunk(2, -1)[axis], theirs, rtol=0, atol=1e-6)
        cos, sin = (part.float().repeat(1, 2)[None] for part in (turn.real, turn.imag))
        theirs, _ = apply_rotary_pos_emb(to_halves(half), to_halves(half), cos, sin)
        torch.testing.assert_close(to_halves(ours.chunk(2, -1)[axis]), theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 3), (2, 3, 5)])
def test_grids_need_not_be_square_or_even_and_are_read_row_by_row(shape):
    points = grid(*shape)
    assert points.tolist() == [list(place) for place in np.ndindex(*shape)]
    x = normal(len(points), 12)
    assert Plane(points, rope2d.axial(12, len(shape)))(x).shape == x.shape


def test_a_plane_serves_attention_with_the_last_queries_alone():
    q, k, v = normal(3, 1, 2, 6, 8)
    plane = Plane(grid(2, 3), rope2d.axial(8))
    whole = softmax_attention(q, k, v, position=plane)
    torch.testing.assert_close(softmax_attention(q[:, :, 4:], k, v, position=plane), whole[:, :, 4:])


def test_bfloat16_is_turned_in_float32_and_large_coordinates_survive():
    x = normal(6, 8, dtype=torch.bfloat16)
    points = grid(2, 3) + 10**6
    turned = Plane(points, rope2d.axial(8))(x)
    assert torch.equal(turned, Plane(points, rope2d.axial(8))(x.float()).to(torch.bfloat16))


def test_learned_vectors_get_gradients_and_fixed_ones_are_no_state():
    x = normal(6, 8, dtype=torch.float32)
    plane = Plane(grid(2, 3), rope2d.axial(8), learned=True)
    torch.testing.assert_close(plane(x), Plane(grid(2, 3), rope2d.axial(8))(x), rtol=0, atol=1e-6)
    (plane(x) * normal(6, 8, dtype=torch.float32)).sum().backward()
    assert plane.vectors.grad.abs().min() > 0
    assert not list(Plane(grid(2, 3), rope2d.axial(8)).state_dict())
    assert torch.autograd.gradcheck(lambda a: rope2d.plane_phases(grid(2, 3), a), rope2d.axial(8).requires_grad_())


def test_moving_keeps_the_vectors_and_changes_the_points():
    plane, x = Plane(grid(2, 3), rope2d.axial(8)), normal(20, 8)
    assert plane.move_(grid(4, 5)) is plane
    torch.testing.assert_close(plane(x), Plane(grid(4, 5), rope2d.axial(8))(x))


def test_quaternions_multiply_as_hamilton_wrote():
    one, i, j, k = torch.eye(4, dtype=torch.float64)
    for a, b, c in ((i, j, k), (j, k, i), (k, i, j)):
        assert torch.equal(rope2d.left(a) @ b, c)
        assert torch.equal(rope2d.right(b) @ a, c)
        assert torch.equal(rope2d.left(a) @ a, -one)


def test_left_commutes_with_right_and_not_with_left():
    p, q = normal(2, 50, 4)
    L, R = rope2d.left(p), rope2d.right(q)
    torch.testing.assert_close(L @ R, R @ L)
    assert rms_chord(L @ rope2d.left(q), rope2d.left(q) @ L).min() > 1e-3


def test_the_exponential_of_a_quaternion_is_that_of_its_matrix():
    v = normal(5, 3)
    for side in (rope2d.left, rope2d.right):
        generators = side(torch.cat([torch.zeros(5, 1, dtype=torch.float64), v], -1))
        torch.testing.assert_close(side(rope2d.quaternion_exp(v)), torch.matrix_exp(generators))
    assert torch.equal(rope2d.quaternion_exp(torch.zeros(3)), torch.eye(4)[0])


def test_margins_are_the_least_distance_between_matrices():
    vectors, points = FAMILIES["scattered"], grid(4, 4)
    R = rotation_matrix(points, vectors)
    pairs = [rms_chord(R[s], R[t]).item() for s in range(16) for t in range(s)]
    assert rope2d.margin(vectors, 4) == pytest.approx(min(pairs), abs=1e-12)
    assert rope2d.margin(rope2d.along(2, (1, 1)), 4) == 0
    # |1 − e^{6i}| / √2: one of two blocks turns by almost a full circle
    assert rope2d.margin(rope2d.axial(4), 8) == pytest.approx(math.sqrt(2) * math.sin(3), abs=1e-12)


@pytest.mark.parametrize("d", [6, 2, 0])
def test_widths_that_do_not_divide_are_refused(d):
    for make in (rope2d.axial, rope2d.diagonal, lambda d: rope2d.scattered(d, generator=generator())):
        with pytest.raises(ValueError, match=f"got d={d}"):
            make(d)


def test_points_and_inputs_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="positive side lengths, got"):
        grid(3, 0)
    with pytest.raises(ValueError, match="p = 1"):
        Plane(grid(6), rope2d.axial(8))
    plane = Plane(grid(2, 3), rope2d.axial(8))
    with pytest.raises(ValueError, match="2 coordinates, got 1"):
        plane.move_(grid(6))
    with pytest.raises(ValueError, match="expected 6 positions, got 5"):
        plane(torch.zeros(5, 8))
    with pytest.raises(ValueError, match="8 channels, got 6"):
        plane(torch.zeros(6, 6))
    with pytest.raises(ValueError, match="direction"):
        rope2d.along(8, (1, math.inf))
    with pytest.raises(ValueError, match="finite"):
        plane.move_(torch.full((6, 2), math.nan))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("learned", [False, True])
def test_a_plane_follows_its_input_to_the_device(learned):
    x = normal(6, 8, dtype=torch.float32)
    plane = Plane(grid(2, 3), rope2d.axial(8), learned=learned)
    torch.testing.assert_close(plane.cuda()(x.cuda()).cpu(), plane.cpu()(x), rtol=0, atol=1e-5)
