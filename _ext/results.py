"""The execution cache: what the test run stores and what the page build, the scoreboard and the sweep read.

One jupyter-cache per environment (lock file, Python, mode, seed); each record also carries the hash of the lib modules
that its article imports, so an edit in lib makes exactly the articles stale that rest on it.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import sys
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import nbformat
from IPython.core.displayhook import DisplayHook
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn, JupyterCacheAbstract
from myst_nb.core.read import myst_nb_reader_plugin
from sqlalchemy.exc import OperationalError

from lib import config
from lib.ledger import RECORD_KEY
from tools.articles import Article, articles, code_key

SETUP_TAG = "setup"


@dataclass(frozen=True)
class Executed:
    """One executed article: its notebook with outputs, ledger records, cost and provenance."""

    notebook: nbformat.NotebookNode
    records: list[dict[str, Any]]
    seconds: float  # CPU seconds of the kernel
    memory_mb: float
    date: str
    versions: dict[str, str]
    key: str


def environment_key(root: Path) -> str:
    """The hash of all that invalidates every article at once: lock file, Python version, mode, seed, ledger."""
    parts = [(root / "requirements.txt").read_bytes(), repr(sys.version_info[:2]).encode()]
    parts += [config.mode().encode(), str(config.seed()).encode(), os.environ.get("BOOK_LEDGER", "").encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def cache_path(root: Path) -> Path:
    """The folder of the cache that the current environment reads and fills."""
    return root / "_build" / "cache" / environment_key(root)


def _cache(root: Path) -> JupyterCacheAbstract:
    path = cache_path(root)
    path.mkdir(parents=True, exist_ok=True)
    return get_cache(path)


def _retry(action: Any, tries: int = 20) -> Any:
    """Two test workers write one sqlite file: wait while it is busy."""
    for left in reversed(range(tries)):
        try:
            return action()
        except (OperationalError, sqlite3.OperationalError, FileExistsError):
            if not left:
                raise
            time.sleep(0.2)
    raise AssertionError("unreachable")


def store(
    root: Path, article: Article, cells: list[nbformat.NotebookNode], *, seconds: float, memory_mb: float
) -> None:
    """Put the executed code cells of an article into the cache; the set-up cell of the notebook is left out.

    Raises ValueError when the cells are not those of the article's source.
    """
    notebook = myst_nb_reader_plugin(str(article.path))
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    run = [cell for cell in cells if SETUP_TAG not in cell.metadata.get("tags", [])]
    if [cell.source.strip() for cell in code] != [cell.source.strip() for cell in run]:
        raise ValueError(f"{article.notebook} is out of step with {article.path}: run `make notebooks`")
    for count, (cell, executed) in enumerate(zip(code, run, strict=True), start=1):
        # nbval runs cells without history, where IPython does not see the final semicolon that asks for silence.
        silent = DisplayHook.semicolon_at_end_of_expression(cell.source)
        cell.execution_count = count
        cell.outputs = [o for o in executed.outputs if not (silent and o.output_type == "execute_result")]
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = count
    data = {
        "execution_seconds": round(seconds, 2),
        "memory_mb": round(memory_mb),
        "date": datetime.now(timezone.utc).date().isoformat(),
        "versions": {k: str(v) for k, v in config.versions().items()},
        "key": code_key(article),
    }
    bundle = CacheBundleIn(notebook, str(article.path), data=data)
    _retry(lambda: _cache(root).cache_notebook_bundle(bundle, check_validity=False, overwrite=True))


def load(root: Path, path: Path) -> Executed | None:
    """The stored execution of the article at `path`, or None when there is none or it is stale."""
    article = next((a for a in articles(root) if a.path == path.resolve()), None)
    if article is None:
        return None
    cache = _cache(root)
    try:
        record: Any = cache.match_cache_notebook(myst_nb_reader_plugin(str(path)))
    except KeyError:
        return None
    data = record.data or {}
    if data.get("key") != code_key(article):
        return None
    notebook = cache.get_cache_bundle(record.pk).nb
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    records = [o.metadata[RECORD_KEY] for o in outputs if RECORD_KEY in o.get("metadata", {})]
    return Executed(
        notebook, [dict(r) for r in records], float(data["execution_seconds"]), float(data["memory_mb"]),
        data["date"], data["versions"], data["key"],
    )  # fmt: skip


def missing(root: Path) -> list[Article]:
    """The articles whose execution the cache lacks or holds for older code."""
    return [article for article in articles(root) if load(root, article.path) is None]


def prune(root: Path) -> None:
    """Drop what the page build must not find: records of older code, which jupyter-cache alone would accept."""
    cache: Any = _cache(root)
    keys = {str(article.path): code_key(article) for article in articles(root)}
    for record in cache.list_cache_records():
        if (record.data or {}).get("key") != keys.get(record.uri):
            cache.remove_cache(record.pk)
