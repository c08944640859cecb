"""Two published leaderboards, SuperGLUE and GLUE, cell by cell with the source of each, and tables read from files.

The figures behind the post https://spaces.ac.cn/archives/8783; the article is leaderboard-means. Scores are percent;
CoLA, AX and AX-b are 100 times a Matthews correlation, STS-B is 100 times a correlation.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent / "leaderboards.csv"
# A cell whose source is `memory` could not be compared with a copy; its column `verified` says no.
SOURCES = {
    "spot": "Table 5 of SPoT, arXiv 2110.07904, board of 2022-02-09",
    "deberta": "Table 5 of DeBERTa, arXiv 2006.03654, board of 2021-01-06",
    "superglue": "Table 3 of SuperGLUE, arXiv 1905.00537",
    "mtdnn": "Table 2 of MT-DNN, arXiv 1901.11504, board of 2019-02-25",
    "seaborn": "the data set glue of seaborn",
    "memory": "the public board as remembered, not verified",
}
DIAGNOSTIC = {"superglue": ("AX-b", "AX-g"), "glue": ("AX",)}
RAW = " Raw"  # how the Open LLM Leaderboard names scores before its own rescaling


def cells(board: str) -> Any:
    """A frame with one row per printed number: system, task, metric, score, source, verified."""
    import pandas as pd

    if board not in DIAGNOSTIC:
        raise ValueError(f"board must be one of {', '.join(DIAGNOSTIC)}, got {board!r}")
    table = pd.read_csv(FILE)
    return table[table["board"] == board].drop(columns="board").reset_index(drop=True)


def official(board: str) -> Any:
    """The total score that the board itself prints, by system."""
    table = cells(board)
    return table[table["task"] == "official"].set_index("system")["score"]


def leaderboard(board: str, *, diagnostic: bool = False, verified: bool = False) -> Any:
    """Systems by tasks; the metrics of one task are averaged first, as both boards do.

    With `diagnostic` the diagnostic sets join as further columns, and only systems that have them remain. With
    `verified` a score that was not verified counts as missing, and only complete rows remain.
    """
    table = cells(board)
    unwanted = {"official"} if diagnostic else {"official", *DIAGNOSTIC[board]}
    table = table[~table["task"].isin(unwanted)]
    if verified:
        bad = table.loc[table["verified"] == "no", ["system", "task"]].apply(tuple, axis=1)
        table = table[~table[["system", "task"]].apply(tuple, axis=1).isin(set(bad))]
    order = dict.fromkeys(cells(board)["system"]), dict.fromkeys(table["task"])
    wide = table.groupby(["system", "task"])["score"].mean().unstack()
    return wide.reindex(index=list(order[0]), columns=list(order[1])).dropna()


def from_parquet(path: Path, *, tasks: Sequence[str] = ()) -> Any:
    """The score columns of a leaderboard stored as parquet: those named, else those that end in `Raw`, else all."""
    import pandas as pd

    if not path.is_file():
        raise ValueError(f"expected a parquet file, got {path}")
    table = pd.read_parquet(path).select_dtypes("number").astype(float)
    if absent := [task for task in tasks if task not in table]:
        raise ValueError(f"expected columns among {', '.join(table)}, got {', '.join(absent)}")
    wanted = list(tasks) or [name for name in table if name.endswith(RAW)] or list(table)
    return table[wanted].dropna()
