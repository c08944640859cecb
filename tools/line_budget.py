"""Print the modules of lib with their lines and flag those above the budget: python -m tools.line_budget."""

from __future__ import annotations

from pathlib import Path

from tools.articles import ROOT, modules

BUDGET = 250


def lines(root: Path = ROOT) -> dict[str, int]:
    """The number of lines of each module of lib; packages with nothing but a docstring included."""
    return {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in modules(root).items()}


def main(root: Path = ROOT) -> int:
    counts = lines(root)
    for name, count in counts.items():
        print(f"{name:24s}{count:5d}" + (f"  over the budget of {BUDGET}: split it, or say why not" * (count > BUDGET)))
    print(f"{len(counts)} modules, {sum(counts.values())} lines")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
