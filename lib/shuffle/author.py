"""The post's own scheme, for comparison only: it reaches a vanishing part of all orders.

Post: https://spaces.ac.cn/archives/8662 (step 2 of its argument), analysed in the article `global-shuffle`.
"""

from __future__ import annotations

import os
import random
import tempfile
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

from lib.checks import at_least


def columns_then_rows(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    lines_per_file: int,
    seed: int = 0,
    tmpdir: str | os.PathLike[str] | None = None,
) -> int:
    """Cut `source` into files of `lines_per_file` lines, shuffle each, then write one line of each file per round.

    The number of files. In bytes, with the standard library's `random.shuffle`, as the post does it in text.
    """
    at_least(1, lines_per_file=lines_per_file)
    at_least(0, seed=seed)
    rng, where = random.Random(seed), tmpdir or Path(output).parent
    with ExitStack() as stack:
        files = []
        with Path(source).open("rb") as text:
            while lines := list(islice(text, lines_per_file)):
                rng.shuffle(lines)
                part = stack.enter_context(tempfile.TemporaryFile(dir=where))
                part.writelines(lines)
                part.seek(0)
                files.append(part)
        with Path(output).open("wb") as shuffled:
            left = list(files)
            while left:
                lines = [part.readline() for part in left]
                if not all(lines):
                    left = [part for part, line in zip(left, lines, strict=True) if line]
                rng.shuffle(lines)
                shuffled.writelines(lines)
    return len(files)
