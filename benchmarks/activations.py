"""GELU forms and fits against their peers: `python -m benchmarks.activations`.

Results are compared before anything is timed. Rivals run in turn, and each keeps the CPU time of its fastest round,
so a busy machine disturbs all of them alike. The floors are loose: they catch a mistake, not a slow day.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from scipy.special import erf
from torch.nn import functional as F

from benchmarks._contest import fastest
from lib.activations import gelu, gelu_grad
from lib.approx import minimax


def report(title: str, seconds: Mapping[str, float], base: str) -> None:
    print(f"{title} (base: {base}, {1e3 * seconds[base]:.2f} ms)")
    for name, value in seconds.items():
        print(f"  {name:28s} {value / seconds[base]:6.2f} x")


def forms() -> None:
    x = torch.randn(2**20, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(gelu(x), F.gelu(x), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(gelu(x, "tanh"), F.gelu(x, approximate="tanh"), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(gelu(x, "sigmoid", 1.0), F.silu(x), rtol=1e-4, atol=1e-6)
    seconds = fastest(
        {
            "torch erf": lambda: F.gelu(x),
            "torch tanh": lambda: F.gelu(x, approximate="tanh"),
            "torch silu": lambda: F.silu(x),
            "lib erf": lambda: gelu(x),
            "lib tanh": lambda: gelu(x, "tanh"),
            "lib sigmoid": lambda: gelu(x, "sigmoid"),
        },
        15,
    )
    report("GELU on 2^20 float32", seconds, "torch erf")
    # unfused: about ten passes over memory and an erfc that torch does not vectorise on every processor
    assert seconds["lib erf"] < 30 * seconds["torch erf"], "lib.activations.gelu is out of proportion"


def slopes() -> None:
    x = torch.randn(2**18, generator=torch.Generator().manual_seed(0))

    def by_autograd() -> torch.Tensor:
        z = x.clone().requires_grad_()
        return torch.autograd.grad(gelu(z, "tanh").sum(), z)[0]

    torch.testing.assert_close(by_autograd(), gelu_grad(x, "tanh"), rtol=1e-4, atol=1e-6)
    seconds = fastest({"autograd": by_autograd, "lib gelu_grad": lambda: gelu_grad(x, "tanh")}, 15)
    report("slope of the tanh form on 2^18 float32", seconds, "autograd")
    assert seconds["lib gelu_grad"] < 3 * seconds["autograd"], "the closed form is slower than differentiation"


def fits() -> None:
    grid, a = np.linspace(0, 12, 200_001), math.sqrt(2 / math.pi)
    target = erf(grid / math.sqrt(2))

    def scalar_search() -> float:
        error = lambda r: np.abs(target - np.tanh(a * (grid + r * grid**3))).max()  # noqa: E731
        return float(minimize_scalar(error, bounds=(0.03, 0.06), method="bounded", options={"xatol": 1e-12}).x)

    def certified() -> float:
        fit = minimax(lambda x: erf(x / math.sqrt(2)), lambda x, r: np.tanh(a * (x + r * x**3)), (0.04,), grid)
        assert fit.alternates
        return fit.parameters[0]

    assert abs(scalar_search() - certified()) < 1e-8
    seconds = fastest({"scipy bounded search": scalar_search, "lib minimax": certified}, 3)
    report("0.044715 on 200 001 points", seconds, "scipy bounded search")
    assert seconds["lib minimax"] < 20 * seconds["scipy bounded search"], "lib.approx.minimax is out of proportion"


if __name__ == "__main__":
    torch.set_num_threads(1)
    for benchmark in (forms, slopes, fits):
        benchmark()
