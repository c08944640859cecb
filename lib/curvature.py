"""Second derivatives in the input of a model: the Fisher information of its prediction, and the Laplacian.

They are what small noise and the worst small perturbation cost, to second order; exact and for small inputs, as a
reference for `lib.perturbation`. Post https://spaces.ac.cn/archives/7466, article noise-penalty-vat.

Axes: b rows, d and ... the axes of one input, c classes, p entries of an input flattened.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from lib.checks import array, checked
from lib.perturbation import Model, hellinger, steady


@checked
def input_fisher(model: Model, x: Float[Tensor, "b d ..."]) -> Float[Tensor, "b p p"]:
    """H = J_zᵀ(diag p − ppᵀ)J_z, the Hessian at r = 0 of KL(f(x)‖f(x + r)), of every row flattened.

    Its rank is at most c − 1. Computed as JᵀJ with J the Jacobian of `hellinger`: one gradient per class.
    """
    leaf = x.detach().requires_grad_()
    with steady(model), torch.enable_grad():
        logits = model(leaf)
        array("logits", logits, f"{len(x)} c")
        roots = hellinger(logits)
        rows = [torch.autograd.grad(root.sum(), leaf, retain_graph=True)[0].flatten(1) for root in roots.unbind(1)]
    J = torch.stack(rows, 1)
    return J.mT @ J


@checked
def laplacian(f: Model, x: Float[Tensor, "b d ..."]) -> Float[Tensor, " b"]:
    """Σⱼ ∂²f/∂xⱼ² of every row; f maps rows to one number each. One second gradient per entry of a row."""
    leaf = x.detach().requires_grad_()
    with torch.enable_grad():
        values = f(leaf)
        array("values of f", values, f"{len(x)}")
        slopes = torch.autograd.grad(values.sum(), leaf, create_graph=True)[0].flatten(1)
    total = x.new_zeros(len(x))
    if slopes.requires_grad:  # otherwise f is linear
        for j in range(slopes.shape[1]):
            second = torch.autograd.grad(slopes[:, j].sum(), leaf, retain_graph=True, materialize_grads=True)[0]
            total += second.flatten(1)[:, j]
    return total
