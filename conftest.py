"""The bridge from nbval to the book: one execution of a notebook is its test and the source of its page.

When the last cell of an exported notebook has passed, its outputs go into the execution cache that the page build
reads. After a failed cell the rest of the notebook is skipped and nothing is stored.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent
# Kernels inherit these: one thread per notebook (two run side by side), lib importable from the source tree.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
SECONDS_LIMIT = 90  # CPU seconds of any article in the default mode


def _article(item: pytest.Item) -> Any:
    """The article whose exported notebook a cell belongs to, or None."""
    from tools.articles import articles

    return next((a for a in articles(ROOT) if a.notebook == Path(item.path).resolve()), None)


def _is_cell(item: pytest.Item | None) -> bool:
    return type(item).__name__ == "IPyNbCell"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Notebooks first, the longest before the shorter ones, so that two workers finish together."""
    expected: dict[Path, float] = {}

    def rank(item: pytest.Item) -> float:
        if not _is_cell(item):
            return 0.0
        if item.path not in expected:
            article = _article(item)
            expected[item.path] = float(article.meta["seconds"]) if article else 0.0
        return -1.0 - expected[item.path]

    items.sort(key=rank)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if not _is_cell(item):
        return
    if failed := getattr(item.parent, "failed_cell", None):
        pytest.skip(f"{failed} failed")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Any:
    outcome = yield
    report = outcome.get_result()
    if _is_cell(item):
        if report.failed and not hasattr(item.parent, "failed_cell"):
            item.parent.failed_cell = item.name
        if report.when == "call" and report.passed:
            item.parent.passed = getattr(item.parent, "passed", 0) + 1
            item.cell.outputs = item.test_outputs


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """After the last cell of a notebook: measure its kernel and store its outputs."""
    if not _is_cell(item) or (_is_cell(nextitem) and nextitem.parent is item.parent):
        return
    code = [cell for cell in item.parent.nb.cells if cell.cell_type == "code"]
    article = _article(item)
    if article is None or getattr(item.parent, "passed", 0) < len(code):
        return
    import psutil

    from _ext import results

    process = psutil.Process(item.parent.kernel.km.provisioner.pid)
    times = process.cpu_times()
    status = Path(f"/proc/{process.pid}/status")
    peak = process.memory_info().rss / 2**20
    if status.exists():  # Linux: the high-water mark rather than the present size
        peak = float(status.read_text().split("VmHWM:")[1].split()[0]) / 1024
    seconds = times.user + times.system
    results.store(ROOT, article, code, seconds=seconds, memory_mb=peak)
    from lib import config

    if seconds > SECONDS_LIMIT and config.mode() == "small":
        raise AssertionError(f"{article.slug} took {seconds:.0f} CPU seconds; the limit is {SECONDS_LIMIT}")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The time table of the executed articles."""
    passed = terminalreporter.stats.get("passed", [])
    if not any(type(r).__name__ == "TestReport" and ".ipynb" in r.nodeid for r in passed):
        return
    from _ext import results
    from tools.articles import articles

    terminalreporter.section("articles: CPU seconds, peak memory, ledger")
    for article in articles(ROOT):
        if run := results.load(ROOT, article.path):
            from lib.ledger import strip

            line = f"{article.slug:34s}{run.seconds:7.1f} s{run.memory_mb:8.0f} MB   {strip(run.records)}"
            terminalreporter.write_line(line)
