"""What FGM, gradient penalty and VAT cost, in plain training steps: `python -m benchmarks.perturbation`.

Results are compared before anything is timed, passes are counted by hooks and arithmetic by torch's counter of
floating point operations. Rivals run in turn, and each keeps the CPU time of its fastest round. The floors are the
targets plus a quarter: they catch a mistake, not a slow day.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import jacrev, vmap
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from benchmarks._contest import fastest
from lib import perturbation as pt
from lib.losses import kl
from lib.networks import mlp

SIZES, BATCH, ROUNDS = (64, 512, 512, 10), 256, 40
TARGETS = {"FGM": 2.2, "gradient penalty": 2.1, "VAT": 2.8}


def passes(model: nn.Module, step: Callable[[], object]) -> tuple[int, int]:
    """How often the model ran, and how often a gradient entered it at its output."""
    seen = [0, 0]

    def forward(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        seen[0] += 1
        if output.requires_grad:
            output.register_hook(lambda _: seen.__setitem__(1, seen[1] + 1))

    handle = model.register_forward_hook(forward)
    step()
    handle.remove()
    return seen[0], seen[1]


def main() -> None:
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    model = mlp(SIZES, nn.ReLU, seed=0)
    x, y = torch.rand(BATCH, 64, generator=generator), torch.randint(10, (BATCH,), generator=generator)
    weights = list(model.parameters())

    def gradients(loss: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(loss, weights)

    def plain() -> tuple[Tensor, ...]:
        return gradients(F.cross_entropy(model(x), y))

    def fgm() -> tuple[Tensor, ...]:
        """Loss on clean and perturbed inputs; the backward pass of the first also gives the perturbation."""
        r = torch.zeros_like(x, requires_grad=True)
        *first, slope = torch.autograd.grad(F.cross_entropy(model(x + r), y), [*weights, r])
        second = gradients(F.cross_entropy(model(x + pt.unit(slope)), y))
        return tuple(a + b for a, b in zip(first, second, strict=True))

    def penalty() -> tuple[Tensor, ...]:
        r = torch.zeros_like(x, requires_grad=True)
        logits = model(x + r)
        values = pt.gradient_penalty(pt.hellinger(logits), r, probes=1, generator=generator)
        return gradients(F.cross_entropy(logits, y) + 0.1 * values.mean())

    def vat() -> tuple[Tensor, ...]:
        logits = model(x)
        return gradients(F.cross_entropy(logits, y) + pt.vat_loss(model, x, 1.0, generator=generator, logits=logits))

    def copied_vat() -> tuple[Tensor, ...]:
        """As in circulating code: a clean pass of its own, and a power step whose backward pass reaches the weights."""
        supervised = F.cross_entropy(model(x), y)
        with torch.no_grad():
            target = model(x)
        r = (1e-2 * pt.random_directions(x, generator=generator)).requires_grad_()
        slope = torch.autograd.grad(kl(target, model(x + r)).mean(), [r, *weights])[0]
        return gradients(supervised + kl(target, model(x + pt.unit(slope))).mean())

    # Results first: both forms of VAT from one seed, FGM against the library, a penalty against torch.func.
    both = []
    for step in (vat, copied_vat):
        generator.manual_seed(1)
        both.append(step())
    torch.testing.assert_close(*both, rtol=1e-3, atol=1e-5)  # float32, gradients of size 0.1
    leaf = x.clone().requires_grad_()
    slope = torch.autograd.grad(F.cross_entropy(model(leaf), y), leaf)[0]
    torch.testing.assert_close(pt.unit(slope), pt.fgm(lambda z: F.cross_entropy(model(z), y), x, 1.0))
    few = x[:8].clone().requires_grad_()
    exact = pt.gradient_penalty(model(few), few)
    torch.testing.assert_close(exact, vmap(jacrev(model))(x[:8]).square().sum((1, 2)), rtol=1e-4, atol=1e-7)

    steps = {"plain": plain, "FGM": fgm, "gradient penalty": penalty, "VAT": vat, "VAT, copied form": copied_vat}
    with FlopCounterMode(display=False) as forward:
        model(x)
    seconds = fastest(steps, ROUNDS)
    print(f"torch {torch.__version__}, MLP {'-'.join(map(str, SIZES))} ReLU float32, batch {BATCH}, one thread")
    print(f"plain step {1e3 * seconds['plain']:.2f} ms of CPU time")
    print(f"{'':18s} passes  gradients  forwards' worth of arithmetic  time / plain  target")
    for name, step in steps.items():
        runs, entered = passes(model, step)
        with FlopCounterMode(display=False) as counted:
            step()
        worth, ratio = counted.get_total_flops() / forward.get_total_flops(), seconds[name] / seconds["plain"]
        target = TARGETS.get(name)
        print(f"{name:18s} {runs:6d} {entered:10d} {worth:30.2f} {ratio:13.2f}  {target or ''}")
        if target is not None:
            assert ratio < 1.25 * target, f"{name} costs {ratio:.2f} plain steps, the target is {target}"


if __name__ == "__main__":
    main()
