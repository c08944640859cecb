"""Rotation by position against the rotate_half idiom and a copy: `python -m benchmarks.rotary`.

One thread, CPU time of the process, contestants in turn, minimum of each; what is timed is compared in value first.
Aimed at: at most 1.6 copies for the complex form without its check of the input ("bare"; the check reads the input once
more, and is off inside models), and 4 times less than the idiom; half of that is asserted.
"""

from __future__ import annotations

import inspect
import platform

import torch
from torch import Tensor

from benchmarks._contest import fastest
from lib import rope2d
from lib.positions import phases, rotary, rotate, to_halves, to_interleaved

ROUNDS = 30
N, HEADS, D = 2048, 8, 64
COPIES, IDIOM = 1.6, 4.0
FAR = 10**6


def rotate_half(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """What the models of transformers compute: x cos + rotate_half(x) sin, for the layout of halves."""
    a, b = x.chunk(2, -1)
    return x * cos + torch.cat([-b, a], -1) * sin


def table_error(first: int, count: int) -> float:
    """Largest error of a rotated unit vector at positions first, first + 1, ..., against 60 digits."""
    import mpmath

    x = torch.zeros(count, D)
    x[:, ::2] = 1
    ours = rotary(torch.arange(first, first + count), D)(x).double().unflatten(-1, (-1, 2))
    worst = 0.0
    with mpmath.workdps(60):
        theta = [mpmath.mpf(10_000) ** (-mpmath.mpf(2 * k) / D) for k in range(D // 2)]
        for i, row in enumerate(ours.tolist()):
            for angle, (cos, sin) in zip(theta, row, strict=True):
                turn = (first + i) * angle
                worst = max(worst, abs(float(mpmath.cos(turn) - cos)), abs(float(mpmath.sin(turn) - sin)))
    return worst


def main() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, Python {platform.python_version()}, one thread, {HEADS} heads, d = {D}, float32")
    try:
        x = torch.randn(1, HEADS, N, D, generator=torch.Generator().manual_seed(0))
        halved, turn = to_halves(x).contiguous(), phases(torch.arange(N), D)
        cos, sin = (part.float().repeat(1, 2) for part in (turn.real, turn.imag))
        complex_form, halves = rotary(N, D), rotary(N, D, halves=True)
        narrow, bare, height = turn.to(torch.complex64), inspect.unwrap(rotate), 32
        plane = rope2d.Plane(rope2d.grid(height, N // height), rope2d.axial(D))
        contestants = {
            "copy": lambda: x.clone(),
            "bare": lambda: bare(x, narrow),
            "complex": lambda: complex_form(x),
            "halves": lambda: halves(halved),
            "plane": lambda: plane(x),
            "idiom": lambda: rotate_half(halved, cos, sin),
        }
        exact = rotary(N, D)(x.double())
        for name in ("bare", "complex", "halves", "idiom"):
            result = contestants[name]() if name in ("bare", "complex") else to_interleaved(contestants[name]())
            error = (result - exact).abs().max().item()
            # phases and products of size up to 5 rounded to float32
            assert error < 2e-6, f"{name} is off by {error:.1e}"
            print(f"{name:8} differs from float64 by {error:.1e}")
        error = (plane(x) - plane(x.double())).abs().max().item()
        assert error < 2e-6, f"the plane is off by {error:.1e}"
        print(f"plane    differs from float64 by {error:.1e}")
        with torch.no_grad():
            spent = fastest(contestants, ROUNDS)
        for name, seconds in spent.items():
            print(f"{name:8} {1e3 * seconds:.2f} ms, {seconds / spent['copy']:.1f} copies")
        copies, ratio = spent["bare"] / spent["copy"], spent["idiom"] / spent["bare"]
        assert copies <= 2 * COPIES, f"expected at most {2 * COPIES} copies, got {copies:.2f}"
        assert ratio >= IDIOM / 2, f"expected {IDIOM / 2}x faster than the idiom, got {ratio:.2f}x"
        error, rounding = table_error(FAR, 64), torch.finfo(torch.bfloat16).eps / 2
        print(f"table at position {FAR}: error {error:.1e}, rounding of bfloat16 {rounding:.1e}")
        assert error < rounding, f"expected less than {rounding:.1e} at position {FAR}, got {error:.1e}"
    finally:
        torch.set_num_threads(threads)


if __name__ == "__main__":
    main()
