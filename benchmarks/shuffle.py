"""Shuffle a generated line file with lib.shuffle, GNU shuf and the post's scheme: `python -m benchmarks.shuffle`.

Every contestant runs in a process of its own, in the same run, on the same file. The result is checked before its
figures are shown: the lines, as a multiset, must be those of the input. CPU seconds are user + system of the process,
memory is its peak resident set. This driver loads nothing heavy: on Linux a child's peak starts from its parent's.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

GENERATE = """
import sys
import numpy as np
size, path = int(sys.argv[1]), sys.argv[2]
rng, done = np.random.default_rng(0), 0
with open(path, "wb") as file:
    while done < size:
        ends = np.cumsum(rng.integers(20, 181, 20_000))
        text = rng.integers(97, 123, ends[-1], dtype=np.uint8)
        text[ends - 1] = 10
        done += file.write(text.tobytes())
"""
DIGEST = """
import sys
from itertools import islice
with open(sys.argv[1], "rb") as file:
    total = sum(map(hash, file))  # siphash with a fixed key, see PYTHONHASHSEED: 64 bits a line
    size = file.seek(0, 2)
    file.seek(0)
    print(size, total, hash(tuple(islice(file, 1000))))
"""
POST = """
import sys
from lib.shuffle.author import columns_then_rows
columns_then_rows(sys.argv[1], sys.argv[2], lines_per_file=int(sys.argv[3]))
"""


def python(script: str, *arguments: object) -> list[str]:
    """A command that runs a script."""
    return [sys.executable, "-c", script, *map(str, arguments)]


def digest(path: Path) -> tuple[tuple[str, ...], str]:
    """Size and sum of line hashes, which the order does not change, and a hash of the first lines, which it does."""
    done = subprocess.run(
        python(DIGEST, path), env={**os.environ, "PYTHONHASHSEED": "0"}, capture_output=True, text=True, check=True
    )
    *multiset, order = done.stdout.split()
    return tuple(multiset), order


def measure(command: list[str]) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds and peak resident MB (10⁶ bytes) of a command."""
    started = time.perf_counter()
    child = subprocess.Popen(command)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{' '.join(command[:4])} ended with status {child.returncode}")
    unit = 1 if sys.platform == "darwin" else 1024
    return time.perf_counter() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit / 1e6


def main() -> None:
    """Generate, run in turn, check, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=float, default=1000, help="megabytes (default 1000)")
    parser.add_argument("--memory", default="256M", help="budget of lib.shuffle (default 256M)")
    parser.add_argument("--tmpdir", help="where the files go; three times the size is needed")
    parser.add_argument("--rounds", type=int, default=2, help="rounds in turn, the least CPU time counts (default 2)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.tmpdir) as name:
        source, out = Path(name) / "in.txt", Path(name) / "out.txt"
        subprocess.run(python(GENERATE, int(given.size * 1e6), source), check=True)
        size = source.stat().st_size
        want, unshuffled = digest(source)
        ours = [sys.executable, "-m", "lib.shuffle", source, "-o", out, "--memory", given.memory, "-q"]
        contestants = {
            "lib.shuffle, scatter": [*map(str, ours)],
            "lib.shuffle, merge": [*map(str, ours), "--method", "merge"],
            "the post's scheme, 100 000 lines a file": python(POST, source, out, 100_000),
        }
        if shutil.which("shuf"):
            contestants["GNU shuf (in memory)"] = ["shuf", str(source), "-o", str(out)]
        best: dict[str, tuple[float, float, float]] = {}
        for i in range(given.rounds):
            for label, command in contestants.items():
                out.unlink(missing_ok=True)
                found = measure(command)
                if i == 0:
                    got, order = digest(out)
                    if got != want or order == unshuffled:
                        raise SystemExit(f"{label}: the output is no shuffled copy of the input")
                best[label] = min(best.get(label, found), found, key=lambda times: times[1])
        print(f"{size / 1e6:.0f} MB in lines of 20-180 bytes, budget {given.memory}; ", end="")
        print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
        print("| | CPU s | wall s | MB/s | peak RSS, MB | exactly uniform |\n|---|---|---|---|---|---|")
        for label, (wall, cpu, peak) in sorted(best.items(), key=lambda item: item[1][1]):
            exact = "no" if "post" in label else "yes"
            print(f"| {label} | {cpu:.1f} | {wall:.1f} | {size / 1e6 / wall:.0f} | {peak:.0f} | {exact} |")


if __name__ == "__main__":
    main()
