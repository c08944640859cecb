"""Attention masks: boolean, True = may attend, broadcastable to (b, h, n, m); they combine by `&` and `|`.

Axes: b batch, h heads, n queries, m keys. Used wherever a transformer stands; `prefix` is the UniLM mask of
https://spaces.ac.cn/archives/6933.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from lib.checks import checked, is_opaque

Mask = Bool[Tensor, "..."]
Device = torch.device | str | None


def causal(n: int, m: int | None = None, *, device: Device = None) -> Bool[Tensor, "n m"]:
    """Query i sees keys j <= i + m − n: the last query sees everything, as when decoding with stored keys."""
    m = n if m is None else m
    if n < 1 or m < n:
        raise ValueError(f"expected 1 <= n <= m, got n={n}, m={m}")
    return torch.ones(n, m, dtype=torch.bool, device=device).tril(m - n)


def band(n: int, width: int, *, device: Device = None) -> Bool[Tensor, "n n"]:
    """Query i sees keys with |i − j| <= width."""
    if n < 1 or width < 0:
        raise ValueError(f"expected n >= 1 and width >= 0, got n={n}, width={width}")
    at = torch.arange(n, device=device)
    return (at[:, None] - at).abs() <= width


@checked
def padding(keep: Bool[Tensor, "b m"] | Int[Tensor, " b"], m: int | None = None) -> Bool[Tensor, "b 1 1 m"]:
    """Hide the padding keys, given which keys to keep or the length of each row (then `m` is needed)."""
    if keep.dtype != torch.bool:
        if m is None or keep.ndim != 1 or not bool(((keep >= 0) & (keep <= m)).all()):
            raise ValueError(f"lengths must lie in [0, m] with m given, got m={m}, lengths {keep.tolist()}")
        keep = torch.arange(m, device=keep.device) < keep[:, None]
    return keep[:, None, None, :]


def _two_parts(segments: Tensor) -> None:
    if is_opaque(segments):
        return
    if not bool(((segments == 0) | (segments == 1)).all()) or bool((segments.diff() < 0).any()):
        raise ValueError("expected segments of zeros followed by ones in every row, got something else")


@checked
def prefix(segments: Int[Tensor, "b n"]) -> Bool[Tensor, "b 1 n n"]:
    """UniLM: segment 0 is read both ways, every later token sees what stands before it.

    `segments` are 0 on the prefix and 1 after it; a 0 behind a 1 is refused.
    """
    _two_parts(segments)
    past = causal(segments.shape[-1], device=segments.device)
    return (past | (segments == 0)[:, None, :])[:, None]


@checked
def uniae(segments: Int[Tensor, "b n"], shared: int = 1) -> Bool[Tensor, "b 1 n n"]:
    """Autoencoder: segment 0 reads itself both ways, segment 1 itself backwards and the first `shared` columns.

    With c the running sum of the segments s, i may see j if s_i = s_j and c_j <= c_i. Nothing is `shared` in the
    separated mask. Post: https://spaces.ac.cn/archives/8475; derived in the article univae.
    """
    _two_parts(segments)
    if not 0 <= shared <= segments.shape[-1]:
        raise ValueError(f"expected 0 <= shared <= {segments.shape[-1]} columns, got {shared}")
    count = segments.cumsum(-1)
    same, past = (segments[:, :, None] == segments[:, None]), (count[:, None] <= count[:, :, None])
    opened = torch.arange(segments.shape[-1], device=segments.device) < shared
    return ((same & past) | opened)[:, None]
