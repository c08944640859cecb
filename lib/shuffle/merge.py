"""Merge shuffle: consecutive runs are permuted in memory, then merged in an order of run numbers drawn uniformly.

The post's algorithm with one line changed. It takes one line of each run in every round; here the number of lines that
the next block takes from each run is multivariate hypergeometric, as if the run numbers of all lines lay in an urn and
were drawn without replacement. Every order is equally likely: the runs are in uniform order, and so is the arrangement
of their numbers. That holds for ideal random bits and hypergeometric numbers; numpy draws the latter by rejection in
double precision. Derived in the article `global-shuffle`; post: https://spaces.ac.cn/archives/8662.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lib.shuffle.sink import Sink
from lib.shuffle.sources import Sources
from lib.shuffle.steps import NEWLINE, SLICE, Room, Spill, permuted, show_size, stream

MOST_LINES = 10**9 - 1  # what numpy's hypergeometric draws can take
_INDEX = 24  # bytes of index a line of a run: offset, order, length, and the search for its end


class _Run:
    """Text that is gathered until memory is full, with the ends of its lines."""

    def __init__(self, room: int) -> None:
        self.text = np.empty(room * 3 // 4, np.uint8)
        self.offsets = np.zeros(max(2, room // 4 // _INDEX), np.int32)
        self.used = self.lines = 0

    def add(self, block: np.ndarray) -> int:
        """Take as much of a block as there is room for; how many bytes that were."""
        part = block[: min(self.text.size - self.used, SLICE)]
        ends = np.flatnonzero(part == NEWLINE)
        if (free := len(self.offsets) - 1 - self.lines) < ends.size:
            part, ends = part[: int(ends[free])], ends[:free]
        self.text[self.used : self.used + part.size] = part
        self.offsets[self.lines + 1 : self.lines + 1 + ends.size] = ends + (self.used + 1)
        self.used += part.size
        self.lines += ends.size
        return part.size

    def flush(self, texts: Spill, lengths: Spill, rng: np.random.Generator) -> tuple[int, int]:
        """Append the complete lines in random order, and their lengths; how many lines and bytes. Keeps the rest."""
        offsets = self.offsets[: self.lines + 1]
        order = np.arange(self.lines, dtype=np.int32)
        rng.shuffle(order)
        for chunk in permuted(self.text, offsets, order):
            texts.write(chunk)
        lengths.write(np.diff(offsets)[order])
        lines, done = self.lines, int(offsets[-1])
        self.text[: self.used - done] = self.text[done : self.used].copy()
        self.used, self.lines = self.used - done, 0
        return lines, done


def merge(
    sources: Sources,
    sink: Sink,
    seed: int,
    room: Room,
    folder: Path,
    buckets: int | None,
    advance: Callable[[int], None],
) -> tuple[int, int]:
    """Shuffle all lines of `sources` into `sink`; the number of lines and of runs."""
    texts, lengths = Spill(folder), Spill(folder)
    counts: list[int] = []
    sizes: list[int] = []
    try:
        run = _Run(room.bucket - 4 * SLICE)

        def flush(run: _Run) -> None:
            if not run.lines:
                limit = show_size(run.text.size)
                raise ValueError(
                    f"expected lines of at most {limit} in the merge method, got a longer one: use scatter"
                )
            lines, size = run.flush(texts, lengths, stream(seed, len(counts) + 1))
            counts.append(lines)
            sizes.append(size)
            advance(sum(sizes))

        for block in sources.blocks(np.empty(room.block, np.uint8)):
            while block.size:
                block = block[run.add(block) :]
                if block.size and (run.used == run.text.size or run.lines == len(run.offsets) - 1):
                    flush(run)
        if run.lines:
            flush(run)
        del run
        total = sum(counts)
        if total > MOST_LINES:
            raise ValueError(f"expected at most {MOST_LINES} lines in the merge method, got {total}: use scatter")
        sink.begin(total, sources.header)
        _Merger(texts, lengths, counts, sizes, stream(seed, 0), sink).run(advance)
    finally:
        texts.close()
        lengths.close()
    return total, len(counts)


class _Merger:
    """Reads the runs, which lie one after the other in one file, and their lengths in step."""

    def __init__(
        self, texts: Spill, lengths: Spill, counts: list[int], sizes: list[int], rng: np.random.Generator, sink: Sink
    ) -> None:
        self.text_fd, self.length_fd = texts.file.fileno(), lengths.file.fileno()
        self.left = np.array(counts, np.int64)
        self.line_at = np.cumsum([0, *counts])[:-1]
        self.text_at = np.cumsum([0, *sizes])[:-1]
        self.step = max(1, min(1 << 16, sum(counts) * SLICE // max(1, sum(sizes))))
        self.size, self.rng, self.sink = sum(sizes), rng, sink

    def run(self, advance: Callable[[int], None]) -> None:
        """Draw and write blocks until no lines are left."""
        done = self.size
        while lines := int(self.left.sum()):
            done += self.emit(self.rng.multivariate_hypergeometric(self.left, min(self.step, lines)))
            advance(done)

    def emit(self, counts: np.ndarray) -> int:
        """Write the next `counts` lines of the runs in random order; a block too large is drawn in halves."""
        runs = np.flatnonzero(counts)
        each = [self._read(self.length_fd, 4 * int(self.line_at[r]), 4 * int(counts[r])).view(np.int32) for r in runs]
        ends = np.cumsum(np.concatenate(each), dtype=np.int64)
        size, lines = int(ends[-1]), len(ends)
        if size > 4 * SLICE and lines > 1:
            first = self.rng.multivariate_hypergeometric(counts, lines // 2)
            return self.emit(first) + self.emit(counts - first)
        if size > 4 * SLICE:
            return self._copy(int(runs[0]), size)
        text = np.empty(size, np.uint8)
        at = 0
        for r, lengths in zip(runs, each, strict=True):
            part = int(lengths.sum(dtype=np.int64))
            text[at : at + part] = self._read(self.text_fd, int(self.text_at[r]), part)
            at += part
            self.text_at[r] += part
            self.line_at[r] += counts[r]
        self.left -= counts
        order = np.arange(lines, dtype=np.int32)
        self.rng.shuffle(order)
        for chunk in permuted(text, np.concatenate([[0], ends]).astype(np.int32), order):
            self.sink.write(chunk)
        return size

    def _copy(self, r: int, size: int) -> int:
        """Write one long line in pieces."""
        for at in range(0, size, SLICE):
            self.sink.write(self._read(self.text_fd, int(self.text_at[r]) + at, min(SLICE, size - at)))
        self.text_at[r] += size
        self.line_at[r] += 1
        self.left[r] -= 1
        return size

    def _read(self, fd: int, at: int, size: int) -> np.ndarray:
        """`size` bytes of a file from position `at`."""
        parts, got = [], 0
        while got < size and (piece := os.pread(fd, size - got, at + got)):
            parts.append(piece)
            got += len(piece)
        if got < size:
            raise OSError(f"a temporary file lost {size - got} of {size} bytes")
        return np.frombuffer(parts[0] if len(parts) == 1 else b"".join(parts), np.uint8)
