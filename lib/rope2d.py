"""Rotary positions in two and more dimensions: pair k turns by the inner product ⟨a_k, point⟩.

Everything is said by the frequency vectors a_k, one row for each pair of channels, because every relative, orthogonal
and continuous encoding has this form in some basis. `axial` lets half of the pairs follow each axis (the post),
`diagonal` x+y and x−y, `along` one direction only, `scattered` starts a learned set. Points may be any integers or
floats, so grids need not be square. Channels are interleaved as in `lib.positions`, unless `halves`.

Axes: n points, p coordinates of a point, d channels, q the four parts of a quaternion.
Post: https://spaces.ac.cn/archives/8397; derived in the article rope-2d.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Complex, Float, Float64, Int, Num
from torch import Tensor, nn

from lib.checks import at_least, checked
from lib.positions import Rotary, frequencies, phases, rotate

Vectors = Float64[Tensor, "pairs p"]


@checked
def grid(*shape: int, device: torch.device | str | None = None) -> Int[Tensor, "n p"]:
    """The points of a grid in the order of flattening: the last coordinate runs fastest."""
    if not shape or min(shape) < 1:
        raise ValueError(f"expected one or more positive side lengths, got {shape}")
    sides = [torch.arange(side, device=device) for side in shape]
    return torch.stack(torch.meshgrid(*sides, indexing="ij"), -1).flatten(0, -2)


@checked
def axial(d: int, p: int = 2, *, base: float = 10_000.0) -> Float64[Tensor, "{d}//2 {p}"]:
    """Each axis gets d/p channels with the frequencies of `positions.frequencies`; p = 1 is the encoding of a line."""
    at_least(1, p=p)
    if d < 2 or d % (2 * p):
        raise ValueError(f"each of {p} axes needs pairs of channels: expected d divisible by {2 * p}, got d={d}")
    return torch.block_diag(*[frequencies(d // p, base=base)[:, None]] * p)


@checked
def diagonal(d: int, *, base: float = 10_000.0) -> Float64[Tensor, "{d}//2 2"]:
    """Half of the pairs follow x + y, half x − y: what quaternions give when multiplied from both sides."""
    return axial(d, base=base) @ torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)


@checked
def along(d: int, direction: Sequence[float | int], *, base: float = 10_000.0) -> Vectors:
    """All pairs follow one linear form: (1, 1) is x + y, (1, √2) tells grid points apart, (w, 1) flattens width w."""
    if not len(direction) or not all(map(math.isfinite, direction)):
        raise ValueError(f"expected a direction of one or more finite numbers, got {direction}")
    return frequencies(d, base=base)[:, None] * torch.tensor([*direction], dtype=torch.float64)


@checked
def scattered(d: int, *, base: float = 10_000.0, generator: torch.Generator) -> Float64[Tensor, "{d}//2 2"]:
    """Directions drawn at random, lengths as on an axis: where learned vectors may start."""
    if d < 4 or d % 4:
        raise ValueError(f"expected d divisible by 4, got d={d}")
    turn = torch.rand(d // 2, generator=generator, dtype=torch.float64) * 2 * math.pi
    return frequencies(d // 2, base=base).repeat(2)[:, None] * torch.stack([turn.cos(), turn.sin()], -1)


@checked
def plane_phases(points: Num[Tensor, "n p"], vectors: Float[Tensor, "pairs p"]) -> Complex[Tensor, "n pairs"]:
    """e^{i⟨a_k, point⟩} in complex128: the product over axes of `positions.phases`."""
    turns = [phases(x, 2 * len(vectors), theta=a) for x, a in zip(points.unbind(-1), vectors.unbind(-1), strict=True)]
    return math.prod(turns[1:], start=turns[0])


class Plane(nn.Module):
    """A `position` for attention over n points; with `learned` the frequency vectors are a parameter ("mixed" RoPE).

    The n rows of its input belong to the n points, in their order; `move_` takes the same vectors to other points.
    Fixed vectors are no part of the state, and their table is made once for each set of points.
    """

    @checked
    def __init__(
        self,
        points: Num[Tensor, "n p"],
        vectors: Float[Tensor, "pairs p"],
        *,
        learned: bool = False,
        halves: bool = False,
    ):
        super().__init__()
        self.vectors = nn.Parameter(vectors.float()) if learned else vectors
        self.halves = halves
        self.move_(points)

    @checked
    def move_(self, points: Num[Tensor, "n p"]) -> Plane:
        """Stand at other points from now on."""
        if points.shape[-1] != self.vectors.shape[-1]:
            raise ValueError(f"expected points with {self.vectors.shape[-1]} coordinates, got {points.shape[-1]}")
        self.points = points
        self.table = None if isinstance(self.vectors, nn.Parameter) else self._rotary()
        return self

    def _rotary(self) -> Rotary:
        phase = plane_phases(self.points.to(self.vectors.device), self.vectors)
        return Rotary(phase, prefix=False, partial=False, halves=self.halves)

    def forward(self, x: Float[Tensor, "*b n d"], start: int = 0) -> Float[Tensor, "*b n d"]:
        return (self.table or self._rotary())(x, start)


@checked
def rotation_matrix(points: Num[Tensor, "n p"], vectors: Float[Tensor, "pairs p"]) -> Float64[Tensor, "n d d"]:
    """R of every point as a matrix in float64: what `rotate` does to the columns of the identity."""
    d = 2 * len(vectors)
    eye = torch.eye(d, dtype=torch.float64, device=vectors.device)[:, None].expand(d, len(points), d)
    return rotate(eye, plane_phases(points, vectors)).permute(1, 2, 0)


@checked
def rms_chord(A: Float[Tensor, "*b d d"], B: Float[Tensor, "*b d d"]) -> Float[Tensor, "*b"]:
    """‖A − B‖_F / √d: for rotations the root of the mean squared chord between the two, at most 2."""
    return (A - B).square().sum((-2, -1)).div(A.shape[-1]).sqrt()


@checked
def relativity_defect(
    matrices: Callable[[Tensor], Tensor], a: Num[Tensor, "n p"], b: Num[Tensor, "n p"]
) -> Float[Tensor, " n"]:
    """`rms_chord` between R(a)ᵀR(b) and R(b − a) for n pairs of points; `matrices` maps points to R, (n, d, d)."""
    return rms_chord(matrices(a).mT @ matrices(b), matrices(b - a))


@checked
def margin(vectors: Float[Tensor, "pairs p"], size: int) -> float:
    """The least `rms_chord` between R at two different points whose coordinates differ by less than `size`.

    Noise below half of it cannot turn one point into another. Zero: some points share their matrix.
    """
    at_least(2, size=size)
    p = vectors.shape[-1]
    offsets = torch.tensor(list(itertools.product(range(1 - size, size), repeat=p)))
    turns = plane_phases(offsets[len(offsets) // 2 + 1 :], vectors.cpu())  # the other half are their negatives
    return (turns - 1).abs().square().mean(-1).min().sqrt().item()


@checked
def left(quaternion: Float[Tensor, "*b 4"]) -> Float[Tensor, "*b 4 4"]:
    """The matrix of x ↦ qx on the parts (1, i, j, k)."""
    a, b, c, d = quaternion.unbind(-1)
    rows = [a, -b, -c, -d, b, a, -d, c, c, d, a, -b, d, -c, b, a]
    return torch.stack(rows, -1).unflatten(-1, (4, 4))


@checked
def right(quaternion: Float[Tensor, "*b 4"]) -> Float[Tensor, "*b 4 4"]:
    """The matrix of x ↦ xq; it commutes with every `left`."""
    a, b, c, d = quaternion.unbind(-1)
    rows = [a, -b, -c, -d, b, a, d, -c, c, -d, a, b, d, c, -b, a]
    return torch.stack(rows, -1).unflatten(-1, (4, 4))


@checked
def quaternion_exp(v: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 4"]:
    """e^{v₁i + v₂j + v₃k} = cos|v| + sin|v| v/|v|."""
    size = v.norm(dim=-1, keepdim=True)
    return torch.cat([size.cos(), torch.sinc(size / math.pi) * v], -1)
