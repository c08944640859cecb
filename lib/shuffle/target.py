"""Where the result goes: complete under its names or not there at all, whatever happens meanwhile.

All is written into the hidden folder `.OUT.shuffle-unfinished` beside the output and renamed at the end. The folder is
locked as long as the process lives: a second run for the same output is refused, and what a killed run left is removed
by the next. Of several parts the last gets its name last, and where a set is replaced its last part goes first: whoever
finds a last part has a complete set of one run. Linux and macOS.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import signal
import stat
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

MOST_PARTS = 99_999


@contextmanager
def held() -> Iterator[None]:
    """Signals that come during the block wait for its end."""
    waiting: list[tuple[int, Any]] = []
    handlers: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if callable(handler := signal.getsignal(number)):
                handlers[number] = handler
                signal.signal(number, lambda *come: waiting.append(come))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number, frame in waiting[:1]:
            handlers[number](number, frame)


class Target:
    """A file, or with `split` numbered parts of it; leaving the `with` block without `give` removes all.

    An exception that leaves the block later has the names given in its attribute `outputs`.
    """

    def __init__(
        self,
        output: str | os.PathLike[str],
        *,
        inputs: Mapping[tuple[int, int], str],
        split: bool = False,
        force: bool = False,
    ) -> None:
        if os.fspath(output) == "-":
            raise ValueError("expected a file as output, got -: it appears when it is complete, as a pipe cannot")
        self.path = Path(os.path.realpath(output))  # an output that is a link is written where it points to
        self.folder, self.inputs, self.split, self.force = self.path.parent, inputs, split, force
        self.hidden = self.folder / f".{self.path.name}.shuffle-unfinished"
        self.outputs: tuple[Path, ...] = ()
        self._lock = -1
        if not self.folder.is_dir():
            raise FileNotFoundError(2, "the folder of the output does not exist", str(self.folder))
        if self.path.is_dir() or os.fspath(output).endswith("/"):
            raise ValueError(f"expected the name of a plain file as output, got {os.fspath(output)!r}")
        if not os.access(self.folder, os.W_OK | os.X_OK):
            raise PermissionError(13, "Permission denied", str(self.folder))
        self._refuse(self._old())

    def _old(self) -> list[Path]:
        """What the output replaces: the file, or all parts of earlier sets, whatever their number, the last first."""
        if not self.split:
            return [self.path] if os.path.lexists(self.path) else []
        stem, ending = _cut(self.path.name)
        part = re.compile(rf"{re.escape(stem)}-([0-9]{{5}})-of-[0-9]{{5}}{re.escape(ending)}")
        found = [(int(match[1]), path) for path in self.folder.iterdir() if (match := part.fullmatch(path.name))]
        return [path for _, path in sorted(found, reverse=True)]

    def _refuse(self, names: Sequence[Path]) -> None:
        """Raise where the output would overwrite an input, or, without `force`, anything at all."""
        for name in names:
            found = name.stat() if name.exists() else name.lstat()
            if not stat.S_ISREG(found.st_mode):
                raise ValueError(f"expected the name of a plain file as output, got {str(name)!r}")
            if twin := self.inputs.get((found.st_dev, found.st_ino)):
                raise ValueError(f"expected an output that is no input, got {twin} as both")
            if not self.force:
                raise FileExistsError(17, "the output exists (--force replaces it)", str(name))

    def names(self, count: int | None) -> list[Path]:
        """The name of the output, or of its `count` parts."""
        if count is None:
            return [self.path]
        if count > MOST_PARTS:
            raise ValueError(f"expected at most {MOST_PARTS} parts, got {count}")
        return [self.path.with_name(part_name(self.path.name, i + 1, count)) for i in range(count)]

    def claim(self) -> None:
        """Make the hidden folder, lock it, and remove what a killed run left in it."""
        lock = self.hidden / "lock"
        with held():
            while self._lock < 0:
                self.hidden.mkdir(exist_ok=True)
                try:
                    fd = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
                except FileNotFoundError:  # another run has just ended and removed the folder
                    continue
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    os.close(fd)
                    raise FileExistsError(17, "another run is writing this output", str(self.path)) from None
                except OSError:  # a file system without locks: a folder of its own, which no other run removes
                    self._lock = fd
                    self.hidden = self.hidden.with_name(f"{self.hidden.name}-{secrets.token_hex(6)}")
                    self.hidden.mkdir()
                    return
                if os.fstat(fd).st_nlink:
                    self._lock = fd
                else:  # the other run removed it in between
                    os.close(fd)
            for path in self.hidden.iterdir():
                if path != lock:
                    path.unlink()

    def give(self, files: Sequence[Path], names: Sequence[Path]) -> None:
        """Give complete files of the hidden folder their names."""
        with held():
            old, given = self._old(), list[Path]()
            self._refuse(old)  # something may have come in the meantime
            modes = {name: stat.S_IMODE(name.stat().st_mode) for name in old}
            try:
                for name in old if self.split else ():
                    name.unlink()
                for file, name in zip(files, names, strict=True):
                    if name in modes:
                        file.chmod(modes[name])
                    if name == names[-1]:
                        _sync(self.folder)
                    _appear(file, name, replace=not self.split and name in modes)
                    given.append(name)
                _sync(self.folder)
            except BaseException:
                for name in given if self.split else ():
                    name.unlink(missing_ok=True)
                raise
            self.outputs = tuple(names)

    def __enter__(self) -> Target:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if value is not None:
            vars(value).update(outputs=self.outputs)
        if self._lock >= 0:
            with held():
                shutil.rmtree(self.hidden, ignore_errors=True)
                os.close(self._lock)


def _cut(name: str) -> tuple[str, str]:
    """Stem and ending of a file name: ("out", ".txt")."""
    stem, dot, ending = name.rpartition(".")
    return (stem, dot + ending) if stem else (name, "")


def part_name(name: str, number: int, count: int) -> str:
    """`out-00002-of-00010.txt` for `out.txt`."""
    stem, ending = _cut(name)
    return f"{stem}-{number:05d}-of-{count:05d}{ending}"


def _appear(file: Path, name: Path, replace: bool) -> None:
    """Rename, without `replace` never over a file that appeared meanwhile, where the file system knows hard links."""
    try:
        if replace:
            file.replace(name)
        else:
            os.link(file, name)
    except FileExistsError:
        raise FileExistsError(17, "a file appeared under the name of the output", str(name)) from None
    except OSError:
        file.replace(name)


def _sync(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    fd = os.open(folder, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
