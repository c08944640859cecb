"""ReRoPE in blocks against two whole matrices, and against attention without it: `python -m benchmarks.rerope`.

One thread, CPU time of the process, contestants in turn, minimum of each; what computes the same function is compared
in value before it is timed. Aimed at: at most 1.5 times the kernel of torch for plain causal attention, and 4 times
less than two matrices and a choice; half of that is asserted. How much less depends on the allocator: with fresh pages
for every large array two matrices take 5 times the kernel at n = 1024 and 11 times at n = 2048, where pages are kept
(glibc: MALLOC_TRIM_THRESHOLD_ and MALLOC_MMAP_THRESHOLD_ set high) about 4 and 4.5 times.
"""

from __future__ import annotations

import platform

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks._contest import fastest
from lib import masks
from lib.attention import softmax_attention
from lib.positions import phases, rotary, rotate
from lib.rerope import PositionMap, mapped_attention, oracle_logits

ROUNDS = 12
HEADS, D = 4, 64
KERNEL = 1.5  # at most so many times the kernel's time
MATRICES = 4.0  # at least so many times less than two matrices
WHOLE = ((1024, 128), (2048, 256))  # lengths and windows
DECODING = {(1024, 128): 200, (4096, 512): 100}  # -> rounds
TRAINING = (1024, 128)


def two_matrices(q: Tensor, k: Tensor, v: Tensor, turn: Tensor, w: int) -> Tensor:
    """The scheme of the post's code: both n × n matrices in full, then a choice, a mask and a softmax."""
    n, d = q.shape[-2:]
    r = torch.arange(n)[:, None] - torch.arange(n)
    near = rotate(q, turn) @ rotate(k, turn).mT / d**0.5
    far = rotate(q, turn[w : w + 1].expand(n, -1)) @ k.mT / d**0.5
    return torch.where(r < w, near, far).masked_fill(r < 0, -torch.inf).softmax(-1) @ v


def with_gradients(run, *x: Tensor):
    """The same with gradients of the sum of the output."""

    def both() -> tuple[Tensor, ...]:
        fresh = [part.detach().requires_grad_() for part in x]
        return torch.autograd.grad(run(*fresh).sum(), fresh)

    return both


def report(what: str, spent: dict[str, float]) -> None:
    """Milliseconds of each contestant and how many times ours it is."""
    ratios = ", ".join(
        f"{name} {1e3 * seconds:.2f} ms ({seconds / spent['ours']:.2f}x)"
        for name, seconds in spent.items()
        if name != "ours"
    )
    print(f"{what}: ours {1e3 * spent['ours']:.2f} ms, {ratios}")


def contest(n: int, w: int, generator: torch.Generator) -> None:
    """A whole sequence without gradients, and with them at one length."""
    q, k, v = torch.randn(3, 1, HEADS, n, D, generator=generator)
    turn, past, rope = phases(torch.arange(n), D).to(torch.complex64), masks.causal(n), rotary(n, D)
    runs = {
        "ours": mapped_attention(PositionMap.rerope(w)),
        "ours, leaky": mapped_attention(PositionMap.leaky(w, 16)),
        "two matrices": lambda q, k, v: two_matrices(q, k, v, turn, w),
        "kernel": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
        "rotary and kernel": lambda q, k, v: F.scaled_dot_product_attention(rope(q), rope(k), v, is_causal=True),
    }
    contestants = {name: lambda run=run: run(q, k, v) for name, run in runs.items()}
    contestants["ours, given the mask"] = lambda: runs["ours"](q, k, v, mask=past)
    contestants["rotary and softmax_attention, given the mask"] = lambda: softmax_attention(
        q, k, v, mask=past, position=rope
    )
    for name, map in (("ours", PositionMap.rerope(w)), ("ours, leaky", PositionMap.leaky(w, 16))):
        logits = oracle_logits(q[:, :1, -8:], k[:, :1], map) * D**-0.5  # the last queries of one head, pair by pair
        exact = logits.masked_fill(~past[-8:], -torch.inf).softmax(-1) @ v[:, :1].double()
        error = (contestants[name]()[:, :1, -8:] - exact).abs().max().item()
        # products of size up to 30 in float32 under an exponential
        assert error < 2e-6, f"{name} is off by {error:.1e} at n = {n}"
        print(f"n = {n}, w = {w}: {name} differs from the sum pair by pair in float64 by {error:.1e}")
    peer = contestants["two matrices"]()
    for name in ("ours", "ours, given the mask"):
        error = (contestants[name]() - peer).abs().max().item()
        assert error < 2e-6, f"{name} differs from two matrices by {error:.1e} at n = {n}"
    with torch.no_grad():
        spent = fastest(contestants, ROUNDS if n < 2048 else 6)
    report(f"n = {n}, w = {w}", spent)
    ratio, cost = spent["two matrices"] / spent["ours"], spent["ours"] / spent["kernel"]
    print(f"n = {n}, w = {w}: {ratio:.1f}x faster than two matrices, {cost:.2f} times the kernel without ReRoPE")
    assert ratio >= MATRICES / 2, f"expected {MATRICES / 2}x against two matrices, got {ratio:.2f}x"
    assert cost <= 2 * KERNEL, f"expected at most {2 * KERNEL} times the kernel, got {cost:.2f}"
    if (n, w) == TRAINING:
        names = ("ours", "two matrices", "kernel")
        for one, other in zip(*(with_gradients(runs[name], q, k, v)() for name in names[:2]), strict=True):
            error = (one - other).abs().max().item()
            assert error < 2e-5, f"gradients differ by {error:.1e}"
        spent = fastest({name: with_gradients(runs[name], q, k, v) for name in names}, 5)
        report(f"n = {n}, w = {w}, with gradients", spent)


def decoding(m: int, w: int, rounds: int, generator: torch.Generator) -> None:
    """One query against m stored keys."""
    q, k, v = (torch.randn(1, HEADS, n, D, generator=generator) for n in (1, m, m))
    attend, rope, past = mapped_attention(PositionMap.rerope(w)), rotary(m, D), masks.causal(1, m)
    back = phases(-torch.arange(m - 1, -1, -1).clamp(max=w), D).to(torch.complex64)
    contestants = {
        "ours": lambda: attend(q, k, v),
        "ours, given the mask": lambda: attend(q, k, v, mask=past),
        "every key turned from a table": lambda: F.scaled_dot_product_attention(q, rotate(k, back), v),
        "kernel": lambda: F.scaled_dot_product_attention(q, k, v),
        "rotary and softmax_attention, given the mask": lambda: softmax_attention(q, k, v, mask=past, position=rope),
    }
    for name in ("ours", "ours, given the mask"):
        error = (contestants[name]() - contestants["every key turned from a table"]()).abs().max().item()
        assert error < 2e-6, f"{name} is off by {error:.1e} at m = {m}"
    with torch.no_grad():
        spent = fastest(contestants, rounds)
    report(f"one query, m = {m}, w = {w}", spent)
    cost = spent["ours, given the mask"] / spent["rotary and softmax_attention, given the mask"]
    assert cost <= 2, f"expected at most twice the time of rotary positions for a token, got {cost:.2f}"


def main() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, Python {platform.python_version()}, one thread, {HEADS} heads, d = {D}, float32")
    generator = torch.Generator().manual_seed(0)
    try:
        for n, w in WHOLE:
            contest(n, w, generator)
        for (m, w), rounds in DECODING.items():
            decoding(m, w, rounds, generator)
    finally:
        torch.set_num_threads(threads)


if __name__ == "__main__":
    main()
