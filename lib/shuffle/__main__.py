"""Shuffle lines of files larger than memory, exactly uniformly: `python -m lib.shuffle IN... -o OUT --memory 256M`.

Exit status: 0 done, 1 nothing written (one line on stderr says why), 2 wrong usage, 128 + n ended by signal n.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType
from typing import Any

EPILOGUE = """The order is drawn from the seed. It also depends on the number of buckets, which follows from the sizes
of the inputs and, where memory is short, from --memory and the limit of open files; with --buckets it depends on --seed
and the number of lines alone, so that two files of equally many lines (source and target) are shuffled alike. Lines end
with a newline byte; all other bytes pass through as they are, so UTF-16 must be recoded and .gz unpacked beforehand. A
last line without newline gets one."""
DASK = ("split_lines", "buckets", "memory", "tmpdir")  # options that only the local engine has


class Ended(BaseException):
    """A signal asked the process to end: the stack unwinds, and temporary files go with it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Bar:
    """One line on a terminal that says how far the work is and how long it may still take."""

    def __init__(self, stream: Any) -> None:
        self.stream, self.started, self.shown, self.width = stream, time.monotonic(), 0.0, 0

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self.shown < 0.1:
            return
        self.shown = now
        text = f"{done / 2e6:.1f} MB"
        if total:
            part = min(done / total, 1.0)
            left = (now - self.started) * (1 - part) / max(part, 1e-9)
            text = f"[{'=' * int(30 * part):<30}] {part:4.0%}  {text}  {left:.0f} s left"
        with suppress(OSError):  # the terminal may have gone
            self.stream.write("\r" + text.ljust(self.width))
            self.stream.flush()
        self.width = len(text)

    def clear(self) -> None:
        """Leave the line empty."""
        with suppress(OSError):
            self.stream.write("\r" + " " * self.width + "\r" if self.width else "")
            self.stream.flush()


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(prog="python -m lib.shuffle", description=__doc__, epilog=EPILOGUE)
    add = found.add_argument
    add("inputs", nargs="+", metavar="IN", help="input files; - is the standard input")
    add("-o", "--output", required=True, metavar="OUT", help="appears when it is complete")
    add("-m", "--memory", help="bound of the resident memory of the process (default 256M)")
    add("-s", "--seed", type=int, default=0, help="default 0")
    add("--method", choices=("scatter", "merge"), default="scatter", help="both are exactly uniform (default scatter)")
    add("--buckets", type=int, metavar="K", help="fixed number of buckets: the order no longer depends on --memory")
    add("--header", type=int, default=0, metavar="N", help="keep N lines on top; all inputs must share them")
    add("--parts", type=int, metavar="P", help="P files of equal length: OUT-00001-of-0000P; the last appears last")
    add("--split-lines", type=int, metavar="L", help="files of L lines each")
    add("--tmpdir", metavar="DIR", help="temporary files, as large as the inputs (default: where OUT is)")
    add("--no-space-check", action="store_true", help="begin even if the disk looks too full")
    add("-f", "--force", action="store_true", help="replace an existing OUT, or all its parts")
    add("-q", "--quiet", action="store_true", help="neither progress nor summary")
    add("--json", action="store_true", help="print what was measured as JSON")
    add("--engine", choices=("local", "dask"), default="local", help="dask: spread over a cluster, writes parts")
    add("--scheduler", metavar="ADDRESS", help="of a running Dask cluster; default: one on this machine")
    return found


def _end(number: int, frame: FrameType | None) -> None:
    raise Ended(number)


def _say(text: str, stream: Any) -> None:
    """Print one line, if anybody listens."""
    if stream is None:
        return
    try:
        print(text, file=stream, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # or Python complains once more when it ends


def _reason(error: BaseException) -> str:
    """An error in one line."""
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.strerror}: {error.filename}" if error.filename is not None else error.strerror
        return text.replace("\n", "\\n")
    if isinstance(error, MemoryError):
        return "out of memory: the system gave less than --memory allows"
    return " ".join(str(error).split()) or type(error).__name__


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status."""
    known = parser()
    given = known.parse_args(argv)
    if given.engine == "dask" and (given.method == "merge" or any(getattr(given, name) is not None for name in DASK)):
        known.error("--engine dask takes --parts, --seed, --header, --scheduler, --no-space-check and --force")
    if given.scheduler and given.engine != "dask":
        known.error("--scheduler belongs to --engine dask")
    while (fd := os.open(os.devnull, os.O_RDWR)) < 3:
        pass  # no file of ours may get the number of a standard stream that is closed
    os.close(fd)
    terminal = sys.stderr is not None and sys.stderr.isatty()
    bar = Bar(sys.stderr) if terminal and not given.quiet else None
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        for number, handler in handlers.items():
            if handler != signal.SIG_IGN:  # nohup means it
                signal.signal(number, _end)
        stats = _run(given, bar)
    except Ended as ended:
        done = "is complete" if getattr(ended, "outputs", ()) else "was not written"
        _say(f"shuffle: interrupted, {given.output} {done}", sys.stderr)
        return 128 + ended.number
    except (OSError, ValueError, MemoryError, ImportError) as error:
        _say(f"shuffle: {_reason(error)}", sys.stderr)
        return 1
    finally:
        if bar is not None:
            bar.clear()
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if stats.newlines_added and not given.quiet:
        _say(f"shuffle: {stats.newlines_added} input(s) ended without a newline; added", sys.stderr)
    if not given.quiet:
        memory = f", peak memory {stats.peak_rss / 2**20:.1f} MiB" if stats.peak_rss else ""
        took = f"{stats.seconds:.1f} s ({stats.cpu_seconds:.1f} s CPU)"
        size = f"{stats.bytes / 1e6:.1f} MB"
        _say(f"shuffle: {stats.lines} lines, {size}, {stats.buckets} buckets, {took}{memory}", sys.stderr)
    if given.json:
        record = {**dataclasses.asdict(stats), "outputs": [str(path) for path in stats.outputs]}
        _say(json.dumps(record), sys.stdout)
    return 0


def _run(given: argparse.Namespace, bar: Bar | None) -> Any:
    """The work itself, by the engine asked for."""
    common = {name: getattr(given, name) for name in ("seed", "header", "parts", "force")}
    common["space_check"] = not given.no_space_check
    if given.engine == "dask":
        from lib.shuffle.cluster import shuffle_on_dask

        return shuffle_on_dask(given.inputs, given.output, scheduler=given.scheduler, **common)
    from lib.shuffle.files import shuffle_files

    return shuffle_files(
        given.inputs,
        given.output,
        memory=given.memory if given.memory is not None else "256M",
        method=given.method,
        buckets=given.buckets,
        split_lines=given.split_lines,
        tmpdir=given.tmpdir,
        progress=bar,
        **common,
    )


if __name__ == "__main__":
    sys.exit(main())
