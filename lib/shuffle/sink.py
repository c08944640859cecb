"""The writing end: lines go to one file or, a given number of them each, to numbered parts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from lib.shuffle.steps import NEWLINE, write_all
from lib.shuffle.target import MOST_PARTS, Target


class Sink:
    """Writes files of the hidden folder of a target; `commit` gives them their names."""

    def __init__(self, target: Target, *, parts: int | None = None, split_lines: int | None = None) -> None:
        if parts is not None and parts > MOST_PARTS:
            raise ValueError(f"expected at most {MOST_PARTS} parts, got {parts}")
        self.target, self.parts, self.split_lines = target, parts, split_lines
        self.header = b""
        self._files: list[Path] = []
        self._names: list[Path] = []
        self._limits: list[int] = []
        self._fd, self._lines = -1, 0

    def begin(self, lines: int, header: bytes | None = None) -> None:
        """Say how many lines will come, and open the first file."""
        self.header = header or b""
        each = self.split_lines
        self._names = self.target.names(max(1, -(-lines // each)) if each else self.parts)
        count = len(self._names)
        edges = [min(i * each, lines) if each else i * lines // count for i in range(count)]
        self._limits = list(np.diff([*edges, lines]).tolist())
        self._open()

    def write(self, view: Any) -> None:
        """Append lines, or a piece of a line that is continued by the next call."""
        if not self.target.split:
            self._write(view)
            return
        text = np.frombuffer(view, np.uint8)
        ends = np.flatnonzero(text == NEWLINE) + 1
        while len(ends) > (left := self._limits[len(self._files) - 1] - self._lines) or (
            left == len(ends) and len(self._files) < len(self._names)
        ):
            cut = int(ends[left - 1]) if left else 0
            self._write(text[:cut])
            self._finish()
            text, ends = text[cut:], ends[left:] - cut
            self._open()
        self._write(text)
        self._lines += len(ends)

    def commit(self) -> None:
        """Give every file its name, once all of them are complete on the disk."""
        self._finish()
        while len(self._files) < len(self._names):  # parts without lines
            self._open()
            self._finish()
        self.target.give(self._files, self._names)

    def close(self) -> None:
        """Give the descriptor back, for the case that there is no commit."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def _write(self, view: Any) -> None:
        try:
            write_all(self._fd, view)
        except OSError as error:
            raise OSError(error.errno, f"{error.strerror} while writing the output", str(self.target.folder)) from error

    def _open(self) -> None:
        self._files.append(self.target.hidden / f"{len(self._files) + 1:05d}")
        self._fd = os.open(self._files[-1], os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        self._lines = 0
        self._write(self.header)

    def _finish(self) -> None:
        """Bring the file at hand safely to the disk."""
        os.fsync(self._fd)
        self.close()
