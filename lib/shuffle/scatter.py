"""Scatter shuffle: every line goes to an independent uniform bucket, every bucket is permuted in memory.

Exactly uniform: relabelling the lines changes neither the law of the bucket numbers (independent and alike) nor that
of the inner orders, so all N! results have the same probability (Rao 1961, Sandelius 1962). A bucket that does not fit
is scattered again: whether it fits is known from the set of its lines, and given the set their order is still to be
drawn, so each order of it gets the same probability either way. Only with a fixed number of buckets too large a bucket
is refused; repeating that with other seeds until none is would condition on the sets, and be exact no longer. All this
is said of ideal random bits: a seed has fewer values than there are orders, from 35 lines on even with 128 bits.
Derived in the article `global-shuffle`; post: https://spaces.ac.cn/archives/8662.
"""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from lib.shuffle.sink import Sink
from lib.shuffle.sources import Sources
from lib.shuffle.steps import LINE_COST, NEWLINE, SLICE, Room, Spill, permute_spill, permuted, show_size, stream

TARGET = 8 << 20  # bytes of a bucket when memory allows more: small enough for the processor's cache
FAN_OUT = 1024  # files open at a time, fewer where the system allows fewer
UNKNOWN = 64  # buckets for an input of unknown size


def fan_out(depth: int = 0) -> int:
    """How many buckets may be opened in the first round, or the `depth`-th after: half of the files that are left."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return FAN_OUT if soft < 0 else max(2, min(FAN_OUT, max(soft - 64, 0) >> (depth + 1)))


def bucket_count(size: int, room: int, spread: float = 512.0, depth: int = 0) -> int:
    """Buckets for `size` bytes so that mean + 6 standard deviations of a bucket fit into `room` bytes.

    Var(bucket) = size/K · E[len²]/E[len]; `spread` stands for the last ratio, of lines of about 300 bytes.
    """
    mean = (np.sqrt(9 * spread + room) - 3 * np.sqrt(spread)) ** 2  # mean + 6 √(mean · spread) = room
    needed = int(np.ceil(size / max(mean, 1.0)))
    return max(1, min(fan_out(depth), max(needed, min(-(-size // TARGET), 256))))


def split(
    blocks: Iterable[np.ndarray], spills: list[Spill], rng: np.random.Generator, advance: Callable[[int], None]
) -> None:
    """Send every line of a stream of blocks to a random spill; a line may be longer than a block, or than memory."""
    count = len(spills)
    small = np.dtype(np.uint8 if count <= 256 else np.uint16)
    at = -1  # the bucket of a line that goes on in the next block
    for block in blocks:
        advance(block.size)
        waiting = [block]
        while waiting:
            text = waiting.pop()
            mask = text == NEWLINE
            if text.size > 1 and np.count_nonzero(mask) > max(64, block.size // 16):  # bounds the memory of the index
                waiting += [text[text.size // 2 :], text[: text.size // 2]]
                continue
            ends = np.flatnonzero(mask)
            del mask
            closed = ends.size
            pieces = closed + (not closed or int(ends[-1]) != text.size - 1)
            offsets = np.empty(pieces + 1, np.int32)
            offsets[0], offsets[-1] = 0, text.size
            offsets[1 : closed + 1] = ends
            offsets[1 : closed + 1] += 1
            # 32 random bits for each line, however the text is cut into blocks: the order must not depend on that.
            ids = np.empty(pieces, small)
            going_on = int(at >= 0)
            ids[:going_on] = max(at, 0)
            ids[going_on:] = rng.integers(0, count, pieces - going_on, dtype=np.uint32)
            at = int(ids[-1]) if pieces > closed else -1
            sizes = np.bincount(ids, weights=np.diff(offsets), minlength=count).astype(np.int64).tolist()
            for spill, size, lines in zip(
                spills, sizes, np.bincount(ids[:closed], minlength=count).tolist(), strict=True
            ):
                spill.bytes += size
                spill.lines += lines
            # Stable: the piece that continues a line stays the first of its bucket, the one to be continued the last.
            order = np.argsort(ids, kind="stable").astype(np.int32)
            _deal(permuted(text, offsets, order, SLICE), spills, sizes)


def _deal(chunks: Iterable[memoryview], spills: list[Spill], sizes: list[int]) -> None:
    """Write consecutive chunks, in which the text of the first spill comes first, to their spills."""
    k, left = 0, sizes[0]
    for chunk in chunks:
        while chunk:
            while not left:
                k += 1
                left = sizes[k]
            part, chunk = chunk[:left], chunk[left:]
            spills[k].write(part)
            left -= len(part)


def scatter(
    sources: Sources,
    sink: Sink,
    seed: int,
    room: Room,
    folder: Path,
    buckets: int | None,
    advance: Callable[[int], None],
) -> tuple[int, int]:
    """Shuffle all lines of `sources` into `sink`; the number of lines and of buckets, later rounds included."""
    done = used = 0

    def step(size: int) -> None:
        nonlocal done
        done += size
        advance(done)

    def scattered(blocks: Iterable[np.ndarray], count: int, path: tuple[int, ...]) -> list[Spill]:
        nonlocal used
        used += count
        spills: list[Spill] = []
        try:
            spills.extend(Spill(folder) for _ in range(count))
            split(blocks, spills, stream(seed, *path, 0), step)
        except BaseException:
            for spill in spills:
                spill.close()
            raise
        return spills

    def emit(spills: list[Spill], path: tuple[int, ...]) -> None:
        try:
            for k, spill in enumerate(spills):
                if spill.cost > room.bucket and spill.lines > 1:
                    count = max(2, bucket_count(2 * spill.cost, room.bucket, depth=len(path) + 1))
                    again = scattered(spill.blocks(np.empty(room.block, np.uint8)), count, (*path, k + 1))
                    spill.close()
                    emit(again, (*path, k + 1))
                elif spill.lines > 1:
                    permute_spill(spill, buffer[: spill.bytes], stream(seed, *path, k + 1, 0), sink.write)
                    step(spill.bytes)
                else:
                    for block in spill.blocks(np.empty(SLICE, np.uint8)):
                        sink.write(block)
                        step(block.size)
                spill.close()
        finally:
            for spill in spills:
                spill.close()

    if buckets is None:
        # An index entry a line comes on top of the text; 64 bytes a line is a guess that a second round corrects.
        guess = sources.size + sources.size // 64 * LINE_COST
        buckets_now = bucket_count(guess, room.bucket) if sources.bounded else min(UNKNOWN, fan_out())
    else:
        if buckets > fan_out():
            raise ValueError(f"expected at most {fan_out()} buckets on this system, got {buckets}")
        buckets_now = buckets
    spills = scattered(sources.blocks(np.empty(room.block, np.uint8)), buckets_now, ())
    lines = sum(spill.lines for spill in spills)
    try:
        largest = max((spill.cost for spill in spills if spill.lines > 1), default=0)
        if buckets is not None and largest > room.bucket:  # another round would make the order depend on the budget
            raise ValueError(
                f"expected buckets that fit into the {show_size(room.bucket)} that the budget leaves, got one that"
                f" needs {show_size(largest)}: give more buckets, more memory, or no number of buckets"
            )
        sink.begin(lines, sources.header)
        buffer = np.empty(min(room.bucket, sources.done), np.uint8)  # one for all rounds; what is not touched is free
        emit(spills, ())
    finally:
        for spill in spills:
            spill.close()
    return lines, used
