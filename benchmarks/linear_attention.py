"""Causal linear attention against its peers: `python -m benchmarks.linear_attention`.

One thread, CPU time of the process, contestants in turn, minimum of each. What computes the same function is compared
in value before it is timed. The floors asserted are half of the ratios aimed at, so that a busy machine stays green.
"""

from __future__ import annotations

import platform

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks._contest import fastest
from lib.features import elu1
from lib.linear_attention import linear_attention

ROUNDS = 7
HEADS, D = 4, 64
# length -> least ratio of each peer's time to ours
FLOORS = {
    512: {"sdpa": 0.7, "cumsum": 3.0, "quadratic": 0.7},
    2048: {"sdpa": 2.0, "cumsum": 7.5, "quadratic": 3.0},
    4096: {"sdpa": 4.0, "cumsum": 7.5},  # the quadratic form would need gigabytes here
}


def cumulative(q: Tensor, k: Tensor, v: Tensor, pieces: int = 128) -> Tensor:
    """Outer products φ(k)vᵀ of every position, summed along the positions, in 128 pieces one after the other.

    The scheme of the common Performer code without its CUDA kernel: the number 128 fixes how many pieces there are,
    not how long they are, so that memory is n/128 · d · e numbers a head and grows with n.
    """
    fq, fk = elu1(q, k)
    S, z, out = 0.0, 0.0, []
    for a, b, w in zip(*(x.chunk(pieces, -2) for x in (fq, fk, v)), strict=True):
        states, totals = S + (b[..., None] * w[..., None, :]).cumsum(-3), z + b.cumsum(-2)
        out.append((a[..., None, :] @ states).squeeze(-2) / (a * totals).sum(-1, keepdim=True))
        S, z = states[:, :, -1:], totals[:, :, -1:]
    return torch.cat(out, -2)


def main() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, Python {platform.python_version()}, one thread, {HEADS} heads, d = {D}, float32")
    generator = torch.Generator().manual_seed(0)
    try:
        for n, floors in FLOORS.items():
            q, k, v = torch.randn(3, 1, HEADS, n, D, generator=generator)
            contestants = {
                "ours": lambda q=q, k=k, v=v: linear_attention(q, k, v, causal=True),
                "sdpa": lambda q=q, k=k, v=v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
                "cumsum": lambda q=q, k=k, v=v: cumulative(q, k, v),
                "quadratic": lambda q=q, k=k, v=v: linear_attention(q, k, v, causal=True, impl="quadratic"),
            }
            contestants = {name: run for name, run in contestants.items() if name in ("ours", *floors)}
            exact = linear_attention(q.double(), k.double(), v.double(), causal=True, impl="recurrent")
            for name in [name for name in contestants if name != "sdpa"]:
                error = (contestants[name]() - exact).abs().max().item()
                # sums of up to 4096 products of size 1 in float32, over a total of that size
                assert error < 2e-5, f"{name} is off by {error:.1e} at n = {n}"
                print(f"n = {n:5}  {name:9} differs from float64 by {error:.1e}")
            with torch.no_grad():
                spent = fastest(contestants, ROUNDS if n < 2048 else 4)
            ratios = {name: spent[name] / spent["ours"] for name in floors}
            # a key and query of 64 features: 2C(r+e) + 4re operations a token and head, C = 64
            rate = HEADS * n * (2 * 64 * (D + D + 1) + 4 * D * (D + 1)) / spent["ours"] / 1e9
            print(
                f"n = {n:5}  ours {1e3 * spent['ours']:.2f} ms ({rate:.0f} GFLOP/s), "
                + ", ".join(f"{name} {1e3 * spent[name]:.1f} ms ({ratio:.1f}x)" for name, ratio in ratios.items())
            )
            for name, floor in floors.items():
                assert ratios[name] >= floor, f"expected {floor}x against {name} at n = {n}, got {ratios[name]:.2f}x"
    finally:
        torch.set_num_threads(threads)


if __name__ == "__main__":
    main()
