"""The one way to time: CPU seconds of this process, contestants in turn, the minimum of each."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any


def fastest(contestants: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Least CPU seconds of each contestant over interleaved rounds, after one warm-up each."""
    best = dict.fromkeys(contestants, float("inf"))
    for run in contestants.values():
        run()
    for _ in range(rounds):
        for name, run in contestants.items():
            start = time.process_time()
            run()
            best[name] = min(best[name], time.process_time() - start)
    return best
