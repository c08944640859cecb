"""Rotary positions (RoPE) in both layouts, and the sinusoidal table.

Channels (2k, 2k+1) form pair k and turn by the angle m·θ_k at position m, θ_k = base^(−2k/d). This is the layout of
the posts and of RoFormer; Llama and its heirs pair channel k with k + d/2 instead (`halves`).

Axes: n positions, d channels. Post: https://spaces.ac.cn/archives/8265; the plane is in `rope2d`.
"""

from __future__ import annotations

import torch
from jaxtyping import Complex, Float, Float64, Num
from torch import Tensor

from lib.checks import at_least, checked, positive


@checked
def frequencies(d: int, *, base: float = 10_000.0) -> Float64[Tensor, " pairs"]:
    """θ_k = base^(−2k/d) for the d/2 pairs of channels, in float64."""
    if d < 2 or d % 2:
        raise ValueError(f"rotary positions pair the channels, so d must be even and positive, got d={d}")
    positive(base=base)
    return base ** (-torch.arange(0, d, 2, dtype=torch.float64) / d)


@checked
def phases(
    positions: Num[Tensor, " n"], d: int, *, base: float = 10_000.0, theta: Float[Tensor, " pairs"] | None = None
) -> Complex[Tensor, "n {d}//2"]:
    """Unit complex numbers e^{i m θ_k} in complex128; positions may be fractional, `theta` replaces the frequencies."""
    theta = frequencies(d, base=base) if theta is None else theta
    if 2 * len(theta) != d:
        raise ValueError(f"expected {d // 2} frequencies for {d=}, got {len(theta)}")
    # float64: a float32 angle is already off by 1e-2 rad at position 1e6.
    angle = positions.double()[:, None] * theta.to(positions.device, torch.float64)
    return torch.polar(torch.ones_like(angle), angle)


@checked
def rotate(x: Float[Tensor, "*b n d"], phase: Complex[Tensor, "n pairs"]) -> Float[Tensor, "*b n d"]:
    """Turn channel pair k of position m by the argument of phase[m, k]; half precision is turned in float32."""
    if x.shape[-1] != 2 * phase.shape[-1]:
        raise ValueError(f"expected {2 * phase.shape[-1]} channels for {phase.shape[-1]} phases, got {x.shape[-1]}")
    wide = x if x.dtype == torch.float64 else x.float()
    if wide.stride(-1) != 1 or any(step % 2 for step in (*wide.stride()[:-1], wide.storage_offset())):
        wide = wide.clone(memory_format=torch.contiguous_format)  # pairs must lie side by side at even addresses
    pairs = torch.view_as_complex(wide.unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * phase.to(pairs.dtype)).flatten(-2).to(x.dtype)


@checked
def rotate_halves(x: Float[Tensor, "*b n d"], phase: Complex[Tensor, "n pairs"]) -> Float[Tensor, "*b n d"]:
    """`rotate` for the layout that pairs channel k with k + d/2: `to_interleaved`, turned, and back."""
    if x.shape[-1] != 2 * phase.shape[-1]:
        raise ValueError(f"expected {2 * phase.shape[-1]} channels for {phase.shape[-1]} phases, got {x.shape[-1]}")
    wide = x if x.dtype == torch.float64 else x.float()
    (a, b), (cos, sin) = wide.chunk(2, -1), (part.to(wide.dtype).contiguous() for part in (phase.real, phase.imag))
    turned = wide * cos.repeat(1, 2)  # completed in place: one new array instead of seven
    turned[..., : a.shape[-1]].addcmul_(b, sin, value=-1)
    turned[..., a.shape[-1] :].addcmul_(a, sin)
    return turned.to(x.dtype)


@checked
def to_halves(x: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
    """Channels from the interleaved layout (0, 1 | 2, 3 | ...) to that of halves: even channels, then odd ones.

    On the rows of a projection, `to_halves(weight.mT).mT`, it carries a trained model from one layout to the other.
    """
    _even(x)
    return torch.cat([x[..., ::2], x[..., 1::2]], -1)


@checked
def to_interleaved(x: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
    """The inverse of `to_halves`."""
    _even(x)
    return torch.stack(x.chunk(2, -1), -1).flatten(-2)


def _even(x: Tensor) -> None:
    if x.shape[-1] % 2:
        raise ValueError(f"rotary positions pair the channels, so their number must be even, got {x.shape[-1]}")


def _places(n: int | Num[Tensor, " n"], device: torch.device | str | None = None) -> Num[Tensor, " places"]:
    """The positions 0 ... n−1, or those given."""
    if not isinstance(n, int):
        return n.to(device=device)
    at_least(1, positions=n)
    return torch.arange(n, device=device)


class Rotary:
    """The callable that `rotary` returns: rotates (..., n, d) by position."""

    def __init__(self, phase: Complex[Tensor, "n pairs"], *, prefix: bool, partial: bool, halves: bool):
        self.phase, self.narrow = phase, phase.to(torch.complex64)
        self.prefix, self.partial, self.turn = prefix, partial, rotate_halves if halves else rotate

    @checked
    def __call__(self, x: Float[Tensor, "*b n d"], start: int = 0) -> Float[Tensor, "*b n d"]:
        (n, d), (size, turned) = x.shape[-2:], (len(self.phase), 2 * self.phase.shape[-1])
        at_least(0, start=start)
        if start + n > size or (start + n < size and not self.prefix):
            raise ValueError(f"expected {'at most ' if self.prefix else ''}{size} positions, got {start + n}")
        if d < turned or (d > turned and not self.partial):
            raise ValueError(f"expected {'at least ' if self.partial else ''}{turned} channels, got {d}")
        phase = (self.phase if x.dtype == torch.float64 else self.narrow)[start : start + n].to(x.device)
        if d == turned:
            return self.turn(x, phase)
        return torch.cat([self.turn(x[..., :turned], phase), x[..., turned:]], -1)


@checked
def rotary(
    n: int | Num[Tensor, " n"],
    d: int,
    base: float = 10_000.0,
    *,
    theta: Float[Tensor, " pairs"] | None = None,
    partial: bool = False,
    halves: bool = False,
    device: torch.device | str | None = None,
) -> Rotary:
    """A callable that rotates (..., n, d): R_m x_m for positions m.

    With an integer n the positions are 0 ... n−1 and shorter inputs use the first of them; with a tensor they are its
    entries, one for each row. Called with `start`, it takes its rows for positions start, start + 1, ... `halves` pairs
    channels as Llama does. `partial` lets inputs have more than d channels; the rest is not turned. The table lies
    on `device`; for an input elsewhere it is copied at every call.
    """
    return Rotary(
        phases(_places(n, device), d, base=base, theta=theta), prefix=isinstance(n, int), partial=partial, halves=halves
    )


@checked
def sinusoidal(n: int | Num[Tensor, " n"], d: int, base: float = 10_000.0) -> Float[Tensor, "positions d"]:
    """The fixed table with sin(m θ_k) in channel 2k and cos(m θ_k) in channel 2k+1, float32."""
    turn = phases(_places(n), d, base=base)
    return torch.stack([turn.imag, turn.real], -1).flatten(-2).float()
