"""FAVOR+ attention against its peers and its limit: `python -m benchmarks.performer`.

One thread, CPU time of the process, contestants in turn, minimum of each; whatever computes the same function is
compared in value first. The error against softmax is printed for growing norms of q and k, since one number at one
scale says nothing about random features. The floors are about half of what an idle machine gives.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks._contest import fastest
from lib.random_features import favor_attention, orthogonal, positive

HEADS, D, M = 4, 64, 256
# length -> least ratio of each contestant's time to ours; `naive` exponentiates without any stabiliser
FLOORS = {512: {"naive": 0.35, "sdpa": 0.2}, 2048: {"naive": 0.35, "sdpa": 0.6}, 4096: {"naive": 0.35, "sdpa": 1.2}}
CAUSAL_FLOORS = {512: {"sdpa": 0.15}, 2048: {"sdpa": 0.3}, 4096: {"sdpa": 0.55}}


def naive(q: Tensor, k: Tensor, v: Tensor, W: Tensor) -> Tensor:
    """The defining formula: correct in range, 0/0 or overflow for long vectors, no causal form."""
    fq, fk = (positive(x * x.shape[-1] ** -0.25, W) for x in (q, k))
    return (fq @ (fk.mT @ v)) / (fq @ fk.sum(-2)[..., None])


def race(
    label: str, n: int, contestants: dict[str, Callable[[], Tensor]], floors: dict[str, float], flops: int
) -> None:
    with torch.no_grad():
        spent = fastest(contestants, 7 if n < 2048 else 4)
    ratios = {name: spent[name] / spent["ours"] for name in floors}
    rate = HEADS * n * flops / spent["ours"] / 1e9
    peers = ", ".join(f"{name} {1e3 * spent[name]:.1f} ms ({ratio:.2f}x)" for name, ratio in ratios.items())
    print(f"{label} n = {n:5}  ours {1e3 * spent['ours']:.1f} ms ({rate:.0f} GFLOP/s), {peers}")
    for name, floor in floors.items():
        assert ratios[name] >= floor, f"{label}: expected {floor}x against {name} at n = {n}, got {ratios[name]:.2f}x"


def main() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, Python {platform.python_version()}, one thread, {HEADS} heads, d = {D}, m = {M}")
    generator = torch.Generator().manual_seed(0)
    W = orthogonal(M, D, generator)
    try:
        for n in FLOORS:
            q, k, v = torch.randn(3, 1, HEADS, n, D, generator=generator)
            for causal in (False, True):
                ours = favor_attention(q, k, v, W=W, causal=causal)
                exact = favor_attention(q.double(), k.double(), v.double(), W=W, causal=causal)
                error = (ours - exact).abs().max().item()
                # exponents of size 10 in float32 carry 1e-6, and a few weights carry the sum
                assert error < 1e-4, f"off by {error:.1e} from float64 at n = {n}, causal={causal}"
                print(f"n = {n:5}, causal={causal!s:5}: {error:.1e} from float64")
            assert (favor_attention(q, k, v, W=W) - naive(q, k, v, W)).abs().max() < 1e-3
            contestants = {
                "ours": partial(favor_attention, q, k, v, W=W),
                "naive": partial(naive, q, k, v, W),
                "sdpa": partial(F.scaled_dot_product_attention, q, k, v),
            }
            race("bidirectional", n, contestants, FLOORS[n], 8 * D * M)
            contestants = {
                "ours": partial(favor_attention, q, k, v, W=W, causal=True),
                "sdpa": partial(F.scaled_dot_product_attention, q, k, v, is_causal=True),
            }
            # chunks of C = 64: 2C(r + e) inside, 4re for the state, 4dr for the projections
            race("causal       ", n, contestants, CAUSAL_FLOORS[n], 2 * 64 * (M + D) + 8 * D * M)
        q, k, v = torch.randn(3, 1, HEADS, 256, D, generator=generator)
        for scale in (0.25, 0.5, 1.0, 1.5, 2.0):
            exact = F.scaled_dot_product_attention(scale * q, scale * k, v)
            ours = favor_attention(scale * q, scale * k, v, W=W)
            mean = v.mean(-2, keepdim=True)
            relative = [((x - exact).norm() / exact.norm()).item() for x in (ours, mean.expand_as(v))]
            s = ((q + k) * scale).square().sum(-1).mean().item() / D**0.5
            print(
                f"mean |q+k|² = {s:5.1f}: error against softmax {relative[0]:.3f}, of the plain mean {relative[1]:.3f}"
            )
    finally:
        torch.set_num_threads(threads)


if __name__ == "__main__":
    main()
