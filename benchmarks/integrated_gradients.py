"""Integrated gradients: ours against captum at equal n, against the bare gradients, and the adaptive rule.

Run `python benchmarks/integrated_gradients.py`. Results are compared before they are timed; contestants are
interleaved, one thread, CPU seconds, minimum of the rounds. Asserts half of each target.
"""

from __future__ import annotations

from importlib import metadata

import torch
from captum.attr import IntegratedGradients

from benchmarks._contest import fastest
from lib.attribution import integrated_gradients
from lib.data.digits import digits
from lib.losses import masked_ce
from lib.networks import mlp
from lib.train import fit, minibatches

ROUNDS, STEPS = 30, 50


def main() -> None:
    torch.set_num_threads(1)
    data, model = digits(), mlp([64, 256, 256, 10], seed=0)
    fit(model, minibatches(data.X, data.y, size=50, seed=0), lambda m, b: masked_ce(m(b[0]), b[1]), steps=240, lr=2e-3)
    peer = IntegratedGradients(model)
    print(
        " ".join(f"{name} {metadata.version(name)}" for name in ("torch", "captum")),
        "MLP 64-256-256-10 GELU float32, digits",
    )
    for rows in (64, 1):
        x = data.X_test[:rows]
        base, target = torch.zeros_like(x), data.y_test[:rows]
        repeated = x.repeat(STEPS, 1).requires_grad_()
        labels = target.repeat(STEPS)[:, None]

        def captum(x=x, base=base, target=target):
            return peer.attribute(x, base, target=target, n_steps=STEPS, method="gausslegendre")

        def ours(x=x, base=base, target=target):
            return integrated_gradients(model, x, base, target=target, n=STEPS)

        def adaptive(x=x, base=base, target=target):
            return integrated_gradients(model, x, base, target=target, n=5, tol=1e-5)

        def bare(repeated=repeated, labels=labels):
            return torch.autograd.grad(model(repeated).gather(1, labels).sum(), repeated)

        # float32 sums of 50 terms of size 1, and captum's nodes are float32
        torch.testing.assert_close(ours().attribution, captum().float(), rtol=0, atol=5e-6)
        worst = adaptive().error.abs().max().item()
        assert worst < 1e-5, f"the adaptive rule missed its tolerance: {worst}"
        spent = fastest({"captum": captum, "ours": ours, "adaptive": adaptive, "bare": bare}, ROUNDS)
        ms = {name: 1e3 * value for name, value in spent.items()}
        print(f"batch {rows:3d}, {STEPS} Gauss points: " + ", ".join(f"{k} {v:.2f} ms" for k, v in ms.items()))
        speedup, overhead, gain = (
            ms["captum"] / ms["ours"],
            ms["ours"] / ms["bare"],
            ms["captum"] / ms["adaptive"],
        )
        print(f"  captum / ours {speedup:.2f} (target 1.8), ours / bare {overhead:.2f} (target 1.15 at batch 64)")
        points = adaptive().steps.double().mean().item()
        print(f"  captum / adaptive at error <= 1e-5: {gain:.2f} (target 4), mean points {points:.1f}")
        assert speedup > 0.9, f"expected captum / ours above half of 1.8, got {speedup:.2f}"
        if rows == 64:
            assert overhead < 2.3, f"expected ours / bare below twice 1.15, got {overhead:.2f}"
            assert gain > 2, f"expected captum / adaptive above half of 4, got {gain:.2f}"


if __name__ == "__main__":
    main()
