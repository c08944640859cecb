"""CPU time and peak memory of a command that runs in a process of its own.

Used in the article global-shuffle (post https://spaces.ac.cn/archives/8662). Not on Windows, which has no `resource`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

# The system starts the peak of a child from the memory of the process that starts it, so a small one stands between.
_WATCH = """import json, resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
unit = 2**20 if sys.platform == "darwin" else 2**10
print(json.dumps([done.returncode, used.ru_utime + used.ru_stime, used.ru_maxrss / unit]))"""


class Usage(NamedTuple):
    """CPU seconds, user and system, and the peak of resident memory in MiB, both with all child processes."""

    seconds: float
    peak: float


def usage(*command: str | os.PathLike[str], env: dict[str, str] | None = None) -> Usage:
    """What a command used; its output is dropped, `env` is added to the environment, and `lib` can be imported.

    Raises RuntimeError with the last line of its errors if the command fails.
    """
    if not command:
        raise ValueError("expected a command and its arguments, got none")
    paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    home = {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    words = [os.fspath(word) for word in command]
    done = subprocess.run(
        [sys.executable, "-S", "-c", _WATCH, *words],
        env=os.environ | home | (env or {}),
        capture_output=True,
        text=True,
        check=False,
    )
    code, seconds, peak = json.loads(done.stdout) if done.returncode == 0 else (done.returncode, 0.0, 0.0)
    if code:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise RuntimeError(f"{words[0]} ended with exit status {code}: {last}")
    return Usage(seconds, peak)
