"""Keys and values of the tokens a model has read, so that the next one costs one row of attention.

Keys are kept as they are before any position: whatever turns or bends positions, ReRoPE among them, can be applied to
the whole row. Axes: b batch, h heads, n new positions, m positions so far, d channels.
"""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Float, Int
from torch import Tensor, nn

from lib.checks import array, at_least, indices


class Cache:
    """Room for `capacity` positions; `length` of them are filled. One cache serves one model and one batch."""

    def __init__(self, capacity: int):
        at_least(1, capacity=capacity)
        self.capacity, self.length = capacity, 0
        self._kept: dict[nn.Module, tuple[Tensor, Tensor]] = {}
        self._fixed: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def extend(
        self, owner: nn.Module, k: Float[Tensor, "b h n d"], v: Float[Tensor, "b h n e"]
    ) -> tuple[Float[Tensor, "b h m d"], Float[Tensor, "b h m e"]]:
        """Append the keys and values of `owner`; all that it has so far. `advance` moves on when every layer has."""
        end = self.length + k.shape[-2]
        if end > self.capacity:
            raise ValueError(f"expected at most {self.capacity} positions in the cache, got {end}")
        if owner not in self._kept:
            room = lambda x: x.new_empty(*x.shape[:2], self.capacity, x.shape[-1])  # noqa: E731
            self._kept[owner] = room(k), room(v)
        kept = self._kept[owner]
        if kept[0].shape[0] != k.shape[0]:
            raise ValueError(f"the cache was begun with a batch of {kept[0].shape[0]}, got {k.shape[0]}")
        for store, new in zip(kept, (k, v), strict=True):
            store[:, :, self.length : end] = new
        return kept[0][:, :, :end], kept[1][:, :, :end]

    def once(self, owner: nn.Module, make: Callable[[], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """Keys and values that do not grow, those of cross attention: made at the first call."""
        if owner not in self._fixed:
            self._fixed[owner] = make()
        return self._fixed[owner]

    def advance(self, n: int) -> None:
        """All layers have appended n positions."""
        self.length += n

    def select(self, rows: Int[Tensor, " b"]) -> None:
        """Keep these rows of the batch, in this order, with repetitions: what a beam search needs."""
        array("rows", rows, "b")
        for store in (self._kept, self._fixed):
            for owner, (k, v) in store.items():
                indices("rows", rows, len(k))
                store[owner] = k[rows], v[rows]
