"""The same two stages on an engine that spans machines: Dask moves the lines, every partition is then permuted.

Each line draws a random 62-bit key; the engine sends it to the partition that a hash of the key names, and there the
lines, first put back into the order of the input, are permuted. Exactly uniform, even if the hash fills partitions
unevenly: the partitions of the lines are independent and follow one law, whatever it is, so relabelling the lines
changes nothing, and neither does it inside a partition. Putting the lines back into order first makes the result depend
on the seed, the block size and the number of partitions alone, not on which worker was faster.

Post: https://spaces.ac.cn/archives/8662, derived in the article `global-shuffle`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from lib.shuffle.files import Stats, check_space
from lib.shuffle.sources import Sources
from lib.shuffle.target import Target

_SCATTER, _PERMUTE = 1, 2


def _frame(seed: int, number: int, text: bytes, skip: int = 0) -> Any:
    """The lines of one block, `skip` bytes of header left out, with their place in the input and a random key."""
    import pandas as pd
    import pyarrow as pa  # type: ignore[import-not-found]

    lines = text[skip:].split(b"\n")
    if not lines[-1]:
        lines.pop()
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_SCATTER, number)))
    return pd.DataFrame(
        {
            "line": pd.Series(pd.array(lines, dtype=pd.ArrowDtype(pa.large_binary()))),
            "place": (np.int64(number) << 40) + np.arange(len(lines), dtype=np.int64),
            "key": rng.integers(0, 1 << 62, len(lines), dtype=np.int64),
        }
    )


def _write(table: Any, seed: int, number: int, header: bytes, target: str) -> tuple[int, int]:
    """Write one partition in random order into the hidden folder; the number of lines and bytes."""
    table = table.sort_values("place")
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_PERMUTE, number)))
    lines = table["line"].array.take(rng.permutation(len(table))).tolist()
    text = b"".join(line + b"\n" for line in lines)
    scratch = Path(f"{target}.{os.getpid()}")  # a repeated task must not meet the file of its first run
    with scratch.open("wb") as file:
        file.write(header + text)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(target)
    return len(lines), len(text)


def _read_header(sources: Sources) -> bytes:
    """The header that all inputs share."""
    for path in sources.paths:
        with Path(path).open("rb") as file:
            sources.skip_header(path, file)
    return sources.header or b""


def shuffle_on_dask(
    inputs: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    seed: int = 0,
    header: int = 0,
    parts: int | None = None,
    block: int = 64 << 20,
    scheduler: str | None = None,
    force: bool = False,
    space_check: bool = True,
) -> Stats:
    """Write the lines of all `inputs` in uniformly random order to `out-00001-of-00008.txt` and so on, by Dask.

    `scheduler` is the address of a running cluster, whose workers must all see the inputs and the folder of the
    output; without one, a cluster of processes on this machine is started. `parts` defaults to one per `block` bytes; a
    worker must be able to hold a few blocks, and one part with all its lines as Python objects. Read the parts in the
    order of their numbers: together they are one order. They are of unequal length, and all get their names at the
    end, the last part last. Where the workers keep lines that are on their way is a setting of Dask.
    """
    try:
        dd, read_bytes = import_module("dask.dataframe"), import_module("dask.bytes").read_bytes
        dask, distributed = import_module("dask"), import_module("distributed")
    except ImportError:
        need = 'pip install "dask[dataframe]" distributed pyarrow (the extra `cluster`)'
        raise ImportError(f"this engine needs Dask: {need}") from None
    for name, value, low in (("seed", seed, 0), ("header", header, 0), ("parts", parts, 1), ("block", block, 1)):
        if value is not None and value < low:
            raise ValueError(f"expected {name} >= {low}, got {value}")
    if isinstance(inputs, str | os.PathLike) or not inputs:
        raise ValueError(f"expected a non-empty sequence of input files, got {inputs!r}")
    if "-" in map(str, inputs):
        raise ValueError("expected files that all workers can read, got the standard input")
    started = time.perf_counter()
    sources = Sources([str(Path(path).resolve()) for path in inputs], header=header)
    if not sources.bounded:
        raise ValueError("expected plain files, which can be read from anywhere, got a pipe or device")
    count = parts or max(1, -(-sources.size // block))
    with ExitStack() as stack:
        target = stack.enter_context(Target(output, inputs=sources.files, split=True, force=force))
        names, top = target.names(count), _read_header(sources)
        if len(top) > block:
            raise ValueError(f"expected blocks that hold the header of {len(top)} bytes, got block={block}")
        if space_check:
            check_space(sources.size, target.folder, target.folder)
        target.claim()
        files = [target.hidden / f"{i:05d}" for i in range(count)]
        if scheduler is None:
            cluster = stack.enter_context(distributed.LocalCluster(threads_per_worker=1, dashboard_address=None))
            client = stack.enter_context(distributed.Client(cluster))
        else:
            client = stack.enter_context(distributed.Client(scheduler))
        stack.enter_context(dask.config.set({"dataframe.convert-string": False}))
        texts = read_bytes(sources.paths, delimiter=b"\n", blocksize=block, sample=False)[1]
        blocks = [(text, len(top) if first == 0 else 0) for file in texts for first, text in enumerate(file)]
        frames = [dask.delayed(_frame)(seed, i, text, skip) for i, (text, skip) in enumerate(blocks or [(b"", 0)])]
        table = dd.from_delayed(frames, meta=_frame(seed, 0, b"x\n").iloc[:0], verify_meta=False)
        moved = table.shuffle(on="key", npartitions=count).to_delayed()
        tasks = [dask.delayed(_write)(part, seed, i, top, str(files[i])) for i, part in enumerate(moved)]
        done = client.gather(client.compute(tasks))
        target.give(files, names)
    return Stats(
        method="dask",
        outputs=target.outputs,
        lines=sum(lines for lines, _ in done),
        bytes=sum(written for _, written in done),
        buckets=count,
        newlines_added=0,
        seconds=time.perf_counter() - started,
        cpu_seconds=0.0,
        peak_rss=0,
    )
