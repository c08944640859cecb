"""Exactly uniform shuffling of line files larger than memory; post https://spaces.ac.cn/archives/8662.

`shuffle_files(inputs, output, memory="256M")` from Python, `python -m lib.shuffle IN... -o OUT --memory 256M` from a
shell, `lib.shuffle.cluster.shuffle_on_dask` beyond one machine. Derived in the article `global-shuffle`. Linux, macOS.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lib.shuffle.files import Stats, shuffle_files

__all__ = ["Stats", "shuffle_files"]


def __getattr__(name: str) -> Any:
    """Load numpy when it is needed: until then the command line has set up what happens on Ctrl-C."""
    if name in __all__:
        from lib.shuffle import files

        return getattr(files, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
