"""What both methods are made of: sizes and shares of memory, random streams, permuting lines, spill files."""

from __future__ import annotations

import os
import re
import resource
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

NEWLINE = 10
SLICE = 1 << 20  # bytes searched for line ends, or copied, at a time
LINE_COST = 8  # bytes of memory that a line of a bucket needs beside its text: an offset and its place in the order
_LEAST, _SLACK, _STEP = 24 << 20, 12 << 20, 64 << 20
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)(?:([KMGT])(I?B)?|B)?", re.IGNORECASE)


def parse_size(size: int | str) -> int:
    """Bytes of a size such as `268435456`, `256M`, `256MiB` (powers of 1024) or `256MB` (powers of 1000)."""
    match = _SIZE.fullmatch(str(size).strip())
    if isinstance(size, bool) or match is None:
        raise ValueError(f"expected a size such as 256M or 1.5G, got {size!r}")
    unit = (match[2] or "").upper() + ("B" if (match[3] or "").upper() == "B" else "")
    found = float(match[1]) * _UNITS[unit]
    if not 1 <= found < 2**63:
        raise ValueError(f"expected a size from 1 byte to 8 EiB, got {str(size)[:40]!r}")
    return int(found)


def show_size(size: int | float) -> str:
    """A size for people: `734 B`, `1.4 MiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def resident(peak: bool = False) -> int:
    """Bytes of memory that this process has resident now, or had at its `peak`.

    On Linux from /proc: the `ru_maxrss` of a child process there starts from that of its parent, so it overstates.
    """
    status = Path("/proc/self/status")
    if status.exists():
        text = status.read_text()
        found = re.search(r"^VmHWM:\s+(\d+) kB" if peak else r"^VmRSS:\s+(\d+) kB", text, re.MULTILINE)
        if found:
            return int(found[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


@dataclass(frozen=True)
class Room:
    """How a budget is divided: bytes of a block that is scattered, and of a bucket that is permuted with its index."""

    block: int
    bucket: int

    @staticmethod
    def within(budget: int, taken: int) -> Room:
        """The shares of what `taken` bytes leave of a budget; one that leaves too little is refused.

        `taken` is rounded up to 64 MiB: it varies a little, and what is drawn with one seed must not vary with it.
        """
        free = budget - -(-taken // _STEP) * _STEP
        if free < _LEAST:
            need = show_size(budget - free + _LEAST)
            held = f" ({show_size(taken)} are in use already)" if taken else ""
            raise ValueError(f"expected a memory budget of at least {need}{held}, got {show_size(budget)}")
        # A block costs about five times its size while it is scattered: text, mask, index, the lines in new order.
        block = max(1 << 16, min(4 << 20, (free - _SLACK) // 16)) & ~4095
        return Room(block=block, bucket=min(free - _SLACK - 4 * block, 2**31 - 1))


def stream(seed: int, *path: int) -> np.random.Generator:
    """The random stream of one step: streams of different paths are independent."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=path))


def write_all(fd: int, view: Any) -> None:
    """Write all of a buffer; the operating system may take less at a time."""
    view = memoryview(view).cast("B")
    while view:
        view = view[os.write(fd, view) :]


def offsets_of(text: np.ndarray, lines: int) -> np.ndarray:
    """Where each line begins, and the end of the last, as int32 (lines + 1); searched in slices to save memory."""
    offsets = np.empty(lines + 1, np.int32)
    offsets[0] = found = 0
    for start in range(0, text.size, SLICE):
        ends = np.flatnonzero(text[start : start + SLICE] == NEWLINE)
        offsets[found + 1 : found + 1 + ends.size] = ends
        offsets[found + 1 : found + 1 + ends.size] += start + 1
        found += ends.size
    assert found == lines, (found, lines)
    return offsets


def permuted(text: np.ndarray, offsets: np.ndarray, order: np.ndarray, chunk: int = SLICE) -> Iterator[memoryview]:
    """The lines of `text` in this order, about `chunk` bytes at a time; a longer line comes alone."""
    try:
        import pyarrow as pa  # type: ignore[import-not-found]
        import pyarrow.compute as pc  # type: ignore[import-not-found]
    except ImportError:
        raise ImportError("the shuffle needs pyarrow: pip install pyarrow (the extra `shuffle`)") from None

    # malloc gives memory back where Arrow's own pool would keep it.
    options, pool = pc.TakeOptions(boundscheck=False), pa.system_memory_pool()
    size = int(offsets[-1])
    array = pa.Array.from_buffers(
        pa.binary(), len(offsets) - 1, [None, pa.py_buffer(offsets), pa.py_buffer(text.data[:size])]
    )

    def taken(part: np.ndarray) -> memoryview:
        # not pa.array, which imports pandas: 36 MiB and a third of a second
        rows = pa.Array.from_buffers(pa.from_numpy_dtype(part.dtype), len(part), [None, pa.py_buffer(part)])
        found = pc.call_function("take", [array, rows], options, pool)
        return memoryview(found.buffers()[2])

    step = max(1, min(len(order), len(order) * chunk // max(size, 1), chunk // 16))
    for start in range(0, len(order), step):
        part = order[start : start + step]
        ends = np.cumsum(offsets[part + 1] - offsets[part], dtype=np.int64)
        if ends[-1] <= 2 * chunk:
            yield taken(part)
            continue
        at = 0  # lines of very different lengths: cut where a chunk is full
        while at < len(part):
            stop = int(np.searchsorted(ends, (ends[at - 1] if at else 0) + chunk, side="right"))
            if stop <= at:
                yield text.data[offsets[part[at]] : offsets[part[at] + 1]]
            else:
                yield taken(part[at:stop])
            at = max(stop, at + 1)


@dataclass
class Spill:
    """Lines on disk in a file without a name: it is gone when it is closed or the process dies, however it dies."""

    folder: Path
    bytes: int = 0
    lines: int = 0
    file: IO[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.file = tempfile.TemporaryFile(prefix=".shuffle-", dir=self.folder, buffering=0)  # noqa: SIM115

    @property
    def cost(self) -> int:
        """Bytes of memory that its lines need when they are permuted."""
        return self.bytes + LINE_COST * (self.lines + 1)

    def write(self, view: Any) -> None:
        """Append; where that fails, say that it was the temporary files."""
        try:
            write_all(self.file.fileno(), view)
        except OSError as error:
            raise OSError(error.errno, f"{error.strerror} while writing temporary files", str(self.folder)) from error

    def blocks(self, buffer: np.ndarray) -> Iterator[np.ndarray]:
        """Its text from the beginning, as pieces of `buffer`."""
        self.file.seek(0)
        while got := self.file.readinto(buffer.data):  # type: ignore[attr-defined]
            yield buffer[:got]

    def load(self, buffer: np.ndarray) -> np.ndarray:
        """All its text, in `buffer`."""
        self.file.seek(0)
        at = 0
        while at < self.bytes and (got := self.file.readinto(buffer.data[at : self.bytes])):  # type: ignore[attr-defined]
            at += got
        if at < self.bytes:
            raise OSError(f"a temporary file in {self.folder} lost {self.bytes - at} of {self.bytes} bytes")
        return buffer[:at]

    def close(self) -> None:
        """Give its place on the disk back."""
        self.file.close()


def permute_spill(spill: Spill, buffer: np.ndarray, rng: np.random.Generator, write: Callable[[Any], None]) -> None:
    """Write the lines of a spill in uniformly random order; `buffer` holds its text."""
    text = spill.load(buffer)
    order = np.arange(spill.lines, dtype=np.int32)
    offsets = offsets_of(text, spill.lines)
    rng.shuffle(order)
    for chunk in permuted(text, offsets, order):
        write(chunk)
