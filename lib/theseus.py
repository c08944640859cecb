"""Module replacing (BERT-of-Theseus): train small successors inside a frozen network, in the place of its parts.

Works on any torch network whose parts can be named. A *place* is the path of one module (`conv.2`) or of a run of
consecutive ones in a ModuleList or Sequential (`blocks.0:3`). A *share* says how much of a place's output comes from
its successor: 0 the predecessor, 1 the successor, between them a mixture, or one number per row of the batch. This is
the paper's convention (r = 1 picks the successor); in the post ε = 1 keeps the predecessor.

Post: https://spaces.ac.cn/archives/7575, derived and measured in the article bert-of-theseus.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from lib.checks import at_least, checked

Share = float | int | Tensor
Rate = Callable[[int], float]


@checked
def constant(p: float | int) -> Rate:
    """The replacement rate p at every step."""
    if not 0 <= p <= 1:
        raise ValueError(f"expected a rate p in [0, 1], got {p}")
    return lambda step: float(p)


@checked
def linear(k: float | int, b: float | int = 0.0) -> Rate:
    """The replacement rate min(1, k·step + b)."""
    at_least(0, k=k, b=b)
    return lambda step: min(1.0, k * step + b)


class Place(nn.Module):
    """One place of the network: the frozen predecessor and its successor, of which `share` decides.

    The output is (1 − share)·predecessor(x) + share·successor(x); at a share of exactly 0 or 1 only one of them runs.
    """

    def __init__(self, predecessor: nn.ModuleList, successor: nn.Module):
        super().__init__()
        self.predecessor, self.successor = predecessor, successor
        self.share: Share = 0.0

    def forward(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        share = self.share
        if not isinstance(share, Tensor) and share == 1:
            return self.successor(x, *args, **kwargs)
        old = x
        for module in self.predecessor:
            old = module(old, *args, **kwargs)
        if not isinstance(share, Tensor) and share == 0:
            return old
        new = self.successor(x, *args, **kwargs)
        if not (isinstance(old, Tensor) and isinstance(new, Tensor) and old.shape == new.shape):
            got = [tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__ for out in (old, new)]
            raise ValueError(f"mixing expects two tensors of one shape, got {got[0]} and {got[1]}")
        if isinstance(share, Tensor) and share.ndim:
            if len(share) != len(old):
                raise ValueError(f"expected one share for each of {len(old)} rows, got {len(share)}")
            share = share.to(old).reshape(-1, *[1] * (old.ndim - 1))
        return (1 - share) * old + share * new


class Theseus(nn.Module):
    """A frozen copy of `model` with a successor at each place; it is called as the model is.

    Everything but the successors is frozen and stays in eval mode. Gradients still flow through the frozen modules to
    earlier successors. `model` and the successors given are left as they were.
    """

    def __init__(self, model: nn.Module, successors: Mapping[str, nn.Module]):
        super().__init__()
        if not successors:
            raise ValueError("expected at least one place with its successor, got none")
        self.model = copy.deepcopy(model).requires_grad_(False)
        self.names = tuple(successors)
        self.places: list[Place] = []  # a plain list: the modules are registered inside the model
        runs = [_find(self.model, name) for name in self.names]
        for name, (container, key, start, stop) in zip(self.names, runs, strict=True):
            for other, run in zip(self.names, runs, strict=True):
                apart = run[0] is not container or run[1] != key or run[3] <= start or stop <= run[2]
                if other != name and not apart:
                    raise ValueError(f"expected places that do not overlap, got {name!r} and {other!r}")
        for name, (container, key, start, stop) in zip(self.names, runs, strict=True):
            successor = copy.deepcopy(successors[name]).requires_grad_(True)
            old = [container.get_submodule(i) for i in ([key] if key else map(str, range(start, stop)))]
            self.places.append(place := Place(nn.ModuleList(old), successor))
            _put(container, key, start, stop, place)
        for container in {id(run[0]): run[0] for run in runs if not run[1]}.values():
            _close_ranks(container)
        self.train(self.training)

    def train(self, mode: bool = True) -> Theseus:
        """Set the mode of the successors; the frozen rest stays in eval mode."""
        super().train(mode)
        self.model.eval()
        for place in self.places:
            place.successor.train(mode)
        return self

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.model(*args, **kwargs)

    @property
    def shares(self) -> tuple[Share, ...]:
        """The share of every place."""
        return tuple(place.share for place in self.places)

    def set(self, shares: Sequence[Share]) -> None:
        """Force a hybrid: one share in [0, 1] for each place."""
        if len(shares) != len(self.places):
            raise ValueError(f"expected {len(self.places)} shares, one for each place, got {len(shares)}")
        for share in shares:
            value = torch.as_tensor(share)
            if value.ndim > 1 or not value.numel() or not ((value >= 0) & (value <= 1)).all():
                raise ValueError(f"expected shares in [0, 1], or one for each row of the batch, got {share}")
        for place, share in zip(self.places, shares, strict=True):
            place.share = share

    def toss(self, p: float | int, generator: torch.Generator, rows: int | None = None, redraw: bool = True) -> None:
        """Replace every place with probability p, by one coin for the batch or, with `rows`, one for each row.

        A toss in which no successor comes up has nothing to train; it is drawn again unless `redraw` is off or p is 0.
        """
        constant(p)
        if rows is not None:
            at_least(1, rows=rows)
        coins = torch.zeros(())
        while True:
            coins = (torch.rand(len(self.places), rows or 1, generator=generator) < p).float()
            if not redraw or p == 0 or coins.any():
                break
        self.set([row if rows else row.item() for row in coins])

    def blend(self, generator: torch.Generator) -> None:
        """Draw every share uniformly from (0, 1): the continuous coefficient that the post asks about."""
        self.set(torch.rand(len(self.places), generator=generator).tolist())

    @contextmanager
    def hybrid(self, shares: Sequence[Share]) -> Iterator[Theseus]:
        """The network with these shares for the duration of a block; afterwards the former ones are back."""
        former = self.shares
        self.set(shares)
        try:
            yield self
        finally:
            self.set(former)

    def detach(self) -> nn.Module:
        """A copy of the model with the successors in their places and the predecessors gone, all of it trainable."""
        model = copy.deepcopy(self.model)
        for module in list(model.modules()):
            for name, child in module._modules.items():
                if isinstance(child, Place):
                    module._modules[name] = child.successor
        return model.requires_grad_(True).train(self.training)


def hybrids(theseus: Theseus, evaluate: Callable[[nn.Module], float]) -> dict[tuple[int, ...], float]:
    """`evaluate` of all 2ⁿ networks with every place old (0) or new (1)."""
    found = {}
    for coins in product((0, 1), repeat=len(theseus.places)):
        with theseus.hybrid(coins):
            found[coins] = evaluate(theseus)
    return found


def _find(model: nn.Module, name: str) -> tuple[nn.Module, str, int, int]:
    """(container, key, 0, 0) of a single module, or (container, "", start, stop) of a run."""
    path, _, last = name.rpartition(".")
    start, colon, stop = last.partition(":")
    try:
        container = model.get_submodule(path)
        if not colon:
            model.get_submodule(name)
            if not last:
                raise AttributeError
            if isinstance(container, nn.ModuleList | nn.Sequential):
                return container, "", int(last), int(last) + 1
            return container, last, 0, 1
    except AttributeError as error:
        raise ValueError(f"expected the path of a module of {type(model).__name__}, got {name!r}") from error
    if not isinstance(container, nn.ModuleList | nn.Sequential):
        raise ValueError(f"a run needs a ModuleList or Sequential, got {type(container).__name__} at {name!r}")
    if not (start.isdecimal() and stop.isdecimal() and int(start) < int(stop) <= len(container)):
        raise ValueError(f"expected a non-empty run within the {len(container)} modules of {path!r}, got {name!r}")
    return container, "", int(start), int(stop)


def _put(container: nn.Module, key: str, start: int, stop: int, place: Place) -> None:
    """Set `place` at the key, or at the first index of a run; the rest of the run becomes None."""
    names = [key] if key else list(container._modules)[start:stop]
    for name in names:
        container._modules[name] = None
    container._modules[names[0]] = place


def _close_ranks(container: nn.Module) -> None:
    """Drop the empty entries of a ModuleList or Sequential and number the rest anew."""
    kept = [module for module in container._modules.values() if module is not None]
    container._modules.clear()
    container._modules.update({str(i): module for i, module in enumerate(kept)})
