"""Execute exported notebooks as tests and store what passed: python -m tools.run_notebooks [--missing] [SLUG ...]."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from tools.articles import Article, articles

ROOT = Path(__file__).parents[1]
OPTIONS = ["-n", "2", "--dist", "loadfile", "--no-loadscope-reorder", "-q"]
NBVAL = ["--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout"]


def run(chosen: list[Article], *, root: Path = ROOT, timeout: int = 180) -> int:
    """Run the notebooks of the chosen articles under nbval; the exit code of pytest, 0 when there are none."""
    if not chosen:
        print("every article is in the execution cache")
        return 0
    command = [sys.executable, "-m", "pytest", *OPTIONS, *NBVAL, str(timeout), *(str(a.notebook) for a in chosen)]
    return subprocess.run(command, cwd=root).returncode


def choose(slugs: list[str], found: list[Article]) -> list[Article]:
    """The articles with these slugs; exits with a message for an unknown one."""
    by_slug = {article.slug: article for article in found}
    if unknown := [slug for slug in slugs if slug not in by_slug]:
        raise SystemExit(f"no article {', '.join(unknown)}; there are: {', '.join(sorted(by_slug))}")
    return [by_slug[slug] for slug in slugs]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("slugs", nargs="*", help="articles to run (default: all)")
    parser.add_argument("--missing", action="store_true", help="only those that the execution cache lacks")
    arguments = parser.parse_args()
    found = articles(ROOT)
    if arguments.missing:
        from _ext import results

        found = results.missing(ROOT)
    return run(choose(arguments.slugs, found) if arguments.slugs else found)


if __name__ == "__main__":
    raise SystemExit(main())
