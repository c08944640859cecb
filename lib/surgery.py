"""Replace activations or attention in a trained model; the model itself is left as it was.

Articles: gelu-approximations, performer-to-linear-attention.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

from torch import Tensor, nn

from lib.blocks import Attention


def swap_activation(
    model: nn.Module, factory: Callable[[], nn.Module], kinds: tuple[type[nn.Module], ...] = (nn.GELU,)
) -> nn.Module:
    """A copy of the model with every activation of the given kinds replaced by `factory()`.

    The activation classes of transformers (in BERT, GPT-2 and their kin) count as given. Activations that are called
    as functions inside a forward cannot be found; a model without any activation to replace raises.
    """
    found = lambda module: isinstance(module, kinds) or type(module).__module__ == "transformers.activations"  # noqa: E731
    if found(model):
        return factory().train(model.training)
    changed, count = copy.deepcopy(model), 0
    for module in list(changed.modules()):
        for name, child in module._modules.items():  # named_children would skip a second use of the same object
            if child is not None and found(child):
                setattr(module, name, factory().train(child.training))
                count += 1
    if not count:
        raise ValueError(
            f"expected at least one activation of {[k.__name__ for k in kinds]}, got none in {type(model).__name__}"
        )
    return changed


def swap_attention(model: nn.Module, attend: Callable[..., Tensor]) -> nn.Module:
    """A copy of the model in which every `Attention` combines its queries, keys and values by `attend`."""
    changed = copy.deepcopy(model)
    layers = [module for module in changed.modules() if isinstance(module, Attention)]
    if not layers:
        raise ValueError(f"expected at least one Attention, got none in {type(model).__name__}")
    for layer in layers:
        del layer.attend
        layer.attend = attend
    return changed
