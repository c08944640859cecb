"""Shuffle line files on disk within a memory budget: arguments, the order of the steps, and what was measured.

Post: https://spaces.ac.cn/archives/8662, derived in the article `global-shuffle`. The post's own scheme reaches only a
vanishing part of all orders; both methods here give every order the same probability.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path

import numpy as np

from lib.shuffle.merge import merge
from lib.shuffle.scatter import scatter
from lib.shuffle.sink import Sink
from lib.shuffle.sources import Sources
from lib.shuffle.steps import Room, parse_size, permuted, resident, show_size
from lib.shuffle.target import Target

METHODS = {"scatter": scatter, "merge": merge}
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Stats:
    """What a shuffle did and what it took; `bytes` and `lines` are those shuffled, headers left out."""

    method: str
    outputs: tuple[Path, ...]
    lines: int
    bytes: int
    buckets: int
    newlines_added: int
    seconds: float
    cpu_seconds: float
    peak_rss: int

    @property
    def mb_per_second(self) -> float:
        """Input bytes in units of 10⁶ over the wall clock."""
        return self.bytes / 1e6 / max(self.seconds, 1e-9)


def shuffle_files(
    inputs: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    memory: int | str = "256M",
    seed: int = 0,
    method: str = "scatter",
    buckets: int | None = None,
    header: int = 0,
    parts: int | None = None,
    split_lines: int | None = None,
    tmpdir: str | os.PathLike[str] | None = None,
    force: bool = False,
    whole_process: bool = True,
    space_check: bool = True,
    progress: Progress | None = None,
) -> Stats:
    """Write the lines of all `inputs`, in an order drawn uniformly from all orders, to `output`.

    `method`: "scatter" sends every line to an independent uniform bucket on disk and permutes each bucket in memory;
    "merge" permutes consecutive runs in memory and merges them, drawing without replacement how many lines come from
    which run. Both are exactly uniform; scatter has no limit on the length of a line and needs less memory.

    `memory` bounds the resident memory of the whole process, with what it held before the call; with
    `whole_process=False` what the call adds to it. The order depends on `seed`, on the inputs and, through the number
    of buckets, on `memory`; with `buckets` given it depends on the seed and on the number of lines alone, so that two
    files with the same number of lines are shuffled alike, and a budget that is too small for this raises.

    `header` lines at the top of the first input stay on top; the other inputs must begin with the same lines, which
    are dropped. `parts` or `split_lines` write `out-00001-of-00004.txt` and so on, each with the header. Temporary
    files lie nameless in `tmpdir` (default: where the output goes) and need the size of the inputs once. The output
    appears under its name when it is complete and not before; one that exists is replaced only with `force`, a set of
    parts by a set of any number. `space_check` raises at once where the disk has less room than the inputs will need.
    `progress` is called with bytes done and in all, 0 while that is unknown; a byte counts when it is read and when it
    is written.
    """
    started, cpu = time.perf_counter(), time.process_time()
    budget = parse_size(memory)
    whole = {"seed": (seed, 0), "header": (header, 0), "buckets": (buckets, 1), "parts": (parts, 1)}
    for name, (value, low) in {**whole, "split_lines": (split_lines, 1)}.items():
        if value is not None and (not isinstance(value, Integral) or value < low):
            raise ValueError(f"expected an integer {name} >= {low}, got {value!r}")
    if method not in METHODS:
        raise ValueError(f"expected a method among {', '.join(METHODS)}, got {method!r}")
    if method == "merge" and buckets is not None:
        raise ValueError(f"buckets belong to the scatter method; merge got buckets={buckets}")
    if parts is not None and split_lines is not None:
        raise ValueError(f"expected parts or split_lines, got both: {parts} and {split_lines}")
    if isinstance(inputs, str | os.PathLike) or not inputs:
        raise ValueError(f"expected a non-empty sequence of input files, got {inputs!r}")
    sources = Sources(inputs, header=header)
    split = parts is not None or split_lines is not None
    with Target(output, inputs=sources.files, split=split, force=force) as target:
        where = Path(tmpdir) if tmpdir is not None else target.folder
        if not where.is_dir():
            raise ValueError(f"expected a folder for temporary files, got {str(where)!r}")
        if space_check:
            check_space(sources.size, where, target.folder, twice=method == "merge")
        _warm_up()
        room = Room.within(budget, resident() if whole_process else 0)
        sink = Sink(target, parts=parts, split_lines=split_lines)
        target.claim()

        def advance(done: int) -> None:
            if progress is not None:
                progress(done, max(2 * sources.size, done) if sources.bounded else 0)

        try:
            lines, used = METHODS[method](sources, sink, seed, room, where, buckets, advance)
            sink.commit()
        finally:
            sink.close()
    return Stats(
        method=method,
        outputs=target.outputs,
        lines=lines,
        bytes=sources.done,
        buckets=used,
        newlines_added=sources.newlines_added,
        seconds=time.perf_counter() - started,
        cpu_seconds=time.process_time() - cpu,
        peak_rss=resident(peak=True),
    )


def check_space(size: int, where: Path, folder: Path, twice: bool = False) -> None:
    """Raise where inputs of this size will not fit; `twice` if temporary files are not given back as output is written.

    On one disk scatter needs them once, since it closes every bucket that it has written, merge twice.
    """
    same = where.stat().st_dev == folder.stat().st_dev
    bucket = min(size, max(8 << 20, size // 256))  # about the largest: it goes when it has been written
    for place, need in ((where, size + (size if twice else bucket) * same), (folder, size)):
        if (free := shutil.disk_usage(place).free) < need:
            text = f"expected {show_size(need)} of free disk space, got {show_size(free)}"
            raise OSError(28, f"{text} (--no-space-check tries it all the same)", str(place))


def _warm_up() -> None:
    """Load what the shuffle needs, so that its memory is counted before the budget is divided."""
    list(permuted(np.frombuffer(b"a\nb\n", np.uint8), np.array([0, 2, 4], np.int32), np.array([1, 0], np.int32), 4))
