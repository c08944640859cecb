"""House style of the figures: one palette with fixed meanings, standard sizes, labels on the lines.

Meaning of colours across the book: OURS blue solid, PEER orange dashed, THEORY grey thin, POST green marker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.rcsetup
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lib import checks

OURS, PEER, POST, EXTRA, THEORY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#7f7f7f"
PALETTE = (OURS, PEER, POST, EXTRA)
LINESTYLES = ("-", "--", "-.", (0, (1, 1)))
MARKERS = ("o", "s", "^", "D")
CJK_FONT = Path(__file__).parent / "assets" / "NotoSansSC-Book.otf"

_STYLE = {
    "figure.figsize": (6.4, 3.6), "figure.dpi": 110, "savefig.dpi": 110, "figure.constrained_layout.use": True,
    "figure.facecolor": "white", "savefig.facecolor": "white", "font.size": 10, "axes.labelsize": 10,
    "axes.titlesize": 10, "axes.titlelocation": "left", "xtick.labelsize": 9, "ytick.labelsize": 9,
    "legend.fontsize": 9, "legend.frameon": False, "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "axes.grid.axis": "y", "grid.color": "#e2e2e2", "grid.linewidth": 0.7, "axes.axisbelow": True,
    "lines.linewidth": 1.8, "lines.markersize": 5, "image.cmap": "viridis", "mathtext.fontset": "dejavusans",
    "axes.unicode_minus": True, "svg.hashsalt": "executable-spaces", "svg.fonttype": "path",
}  # fmt: skip


def style() -> None:
    """Apply the house style to matplotlib, with a Chinese fallback font; call once, in the first cell."""
    matplotlib.rcParams.update(_STYLE)  # pyright: ignore[reportCallIssue, reportArgumentType]
    matplotlib.rcParams["axes.prop_cycle"] = matplotlib.rcsetup.cycler(color=PALETTE, linestyle=LINESTYLES)
    font_manager.fontManager.addfont(str(CJK_FONT))
    family = font_manager.FontProperties(fname=str(CJK_FONT)).get_name()
    matplotlib.rcParams["font.family"] = ["DejaVu Sans", family]


def panel(columns: int = 1, rows: int = 1, *, height: float | int | None = None, **kwargs: Any) -> tuple[Figure, Any]:
    """Figure and axes at the standard sizes: 6.4 in wide for one column, 9 in for two or three."""
    from matplotlib import pyplot as plt

    if not (1 <= columns <= 4 and 1 <= rows <= 8):
        raise ValueError(f"a panel has 1-4 columns and 1-8 rows, got {columns} and {rows}")
    width, tall = (6.4, 3.6) if columns == 1 else (9.0, 3.2)
    return plt.subplots(rows, columns, figsize=(width, height or tall * rows), **kwargs)


def label_line(ax: Axes, x: Any, y: Any, text: str, colour: str, *, dx: Any = 4, dy: Any = 0, **kwargs: Any) -> None:
    """Write `text` at the data point (x, y), shifted by (dx, dy) points, in the colour of its line."""
    ax.annotate(text, (x, y), (dx, dy), textcoords="offset points", color=colour, fontsize=9, va="center", **kwargs)


def band(ax: Axes, x: Any, runs: Any, colour: str, *, label: str | None = None, linestyle: Any = "-") -> None:
    """Mean over seeds (rows of `runs`) as a line, minimum to maximum as a band."""
    runs = np.asarray(runs, dtype=float)
    checks.array("runs", runs, f"seeds {len(x)}")
    ax.plot(x, runs.mean(0), color=colour, linestyle=linestyle, label=label)
    ax.fill_between(x, runs.min(0), runs.max(0), color=colour, alpha=0.18, linewidth=0)


def bars_with_seeds(ax: Axes, values: Mapping[str, Any], colours: Sequence[str] | str = OURS) -> None:
    """One horizontal bar per name at the mean of its seeds, each seed as a dot; the mean is written at the bar."""
    names = list(values)
    if not names or any(not len(values[name]) or not np.isfinite(values[name]).all() for name in names):
        raise ValueError(f"expected one or more finite seeds for each name, got {dict(values)!r}")
    means = [float(np.mean(values[name])) for name in names]
    ax.barh(names, means, color=colours, alpha=0.75, height=0.6)
    for i, name in enumerate(names):
        ax.plot(values[name], [i] * len(values[name]), "o", color="black", markersize=3)
        label_line(ax, max(*values[name], means[i]), i, f"{means[i]:.3g}", "#333333", dx=6)
    ax.invert_yaxis()
    ax.grid(visible=False, axis="y")
    ax.grid(visible=True, axis="x")
    ax.margins(x=0.12)


def matrix(
    ax: Axes, M: Any, *, signed: bool = False, label: str = "", xlabel: str = "key", ylabel: str = "query"
) -> None:
    """A matrix with the query axis down and a colour bar; signed data are centred at 0."""
    M = np.asarray(M, dtype=float)
    checks.array("matrix", M, "rows columns")
    limit = float(np.abs(M).max()) or 1.0
    limits = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit} if signed else {}
    image = ax.imshow(M, origin="upper", interpolation="nearest", **limits)
    ax.grid(visible=False)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.figure.colorbar(image, ax=ax, label=label, shrink=0.85)


def heat_tokens(ax: Axes, tokens: Sequence[str], scores: Any, *, limit: float | int | None = None) -> None:
    """Tokens in a row of cells coloured by signed score (red positive, blue negative), the score below each."""
    values = np.asarray(scores, dtype=float)
    checks.array("scores", values, f"{len(tokens)}")
    limit = limit or float(np.abs(values).max()) or 1.0
    ax.imshow(values[None], cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
    for i, (token, value) in enumerate(zip(tokens, values, strict=True)):
        ink = "white" if abs(value) > 0.6 * limit else "black"
        ax.text(i, -0.08, token, ha="center", va="center", color=ink, fontsize=12)
        ax.text(i, 0.33, f"{value:+.2f}", ha="center", va="center", color=ink, fontsize=7)
    ax.set_axis_off()
