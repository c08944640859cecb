"""The inputs, read once, one open at a time: headers set aside, last newlines supplied, changes noticed."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import IO, Any

import numpy as np

HEADER_LIMIT = 1 << 20


def _state(path: str, found: os.stat_result) -> tuple[int, int, int] | None:
    """What must stay the same while a file is read: identity, size, time of the last change; None for a pipe."""
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(21, "expected a file, got a folder", path)
    return (found.st_ino, found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None


class Sources:
    """Input files in their order, `-` for the standard input; every file is looked at before the first is read."""

    def __init__(self, inputs: Sequence[str | os.PathLike[str]], header: int = 0) -> None:
        self.paths = [os.fspath(path) for path in inputs]
        if self.paths.count("-") > 1:
            raise ValueError(f"expected the standard input at most once, got it {self.paths.count('-')} times")
        self.header_lines = header
        self.header: bytes | None = None
        self.newlines_added = self.done = 0
        self.states: list[tuple[int, int, int] | None] = []
        self.files: dict[tuple[int, int], str] = {}  # by device and inode, so that the output can keep off them
        for path in self.paths:
            if path == "-" and sys.stdin is None:
                raise ValueError("expected a standard input for -, got a closed one")
            found = os.fstat(sys.stdin.fileno()) if path == "-" else Path(path).stat()
            self.files[found.st_dev, found.st_ino] = path
            self.states.append(None if path == "-" else _state(path, found))
            if path != "-" and not os.access(path, os.R_OK):
                raise PermissionError(13, "Permission denied", path)

    @property
    def size(self) -> int:
        """Bytes of all inputs, as far as they are known beforehand."""
        return sum(state[1] for state in self.states if state)

    @property
    def bounded(self) -> bool:
        """Whether the sizes of all inputs are known beforehand."""
        return None not in self.states

    def blocks(self, buffer: np.ndarray) -> Iterator[np.ndarray]:
        """The text of all inputs without headers, as pieces of `buffer`; every input ends with a newline."""
        for path, state in zip(self.paths, self.states, strict=True):
            opened: Any = nullcontext(sys.stdin.buffer) if path == "-" else Path(path).open("rb")  # noqa: SIM115
            with opened as file:
                if state is not None and _state(path, os.fstat(file.fileno())) != state:
                    raise OSError(f"{path} changed after the shuffle began")
                read = self.skip_header(path, file)
                last, view = 10, buffer.data
                while got := file.readinto1(view):  # one read at a time, so that a signal is heard between two
                    read += got
                    self.done += got
                    last = int(buffer[got - 1])
                    yield buffer[:got]
                if state is not None and (read != state[1] or _state(path, os.fstat(file.fileno())) != state):
                    raise OSError(f"{path} changed while it was read: {read} bytes came of {state[1]}")
                if last != 10:
                    self.newlines_added += 1
                    self.done += 1
                    yield np.array([10], np.uint8)

    def skip_header(self, path: str, file: IO[bytes]) -> int:
        """Read the header lines of one input, compare them with those of the first; how many bytes that were."""
        if not self.header_lines:
            return 0
        lines, read = [], 0
        for number in range(1, self.header_lines + 1):
            line = file.readline(HEADER_LIMIT - read + 1)
            if read + len(line) > HEADER_LIMIT:
                raise ValueError(f"expected a header of at most {HEADER_LIMIT} bytes, {path} got a longer one")
            if not line:
                if number == 1 and self.header is not None:
                    return 0  # an empty input among others
                raise ValueError(f"expected {self.header_lines} header lines, got {number - 1} in {path}")
            read += len(line)
            lines.append(line if line.endswith(b"\n") else line + b"\n")
        found = b"".join(lines)
        if self.header is None:
            self.header = found
        elif found != self.header:
            raise ValueError(f"expected the header of {self.paths[0]} in every input, got another one in {path}")
        return read
