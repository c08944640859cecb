"""The Colab situation: an exported notebook, away from the repository, lib installed from a package, no network.

By default the article with the smallest time budget runs; `BOOK_COLAB=all` runs every one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from tools.articles import articles

ROOT = Path(__file__).parents[1]
FOUND = sorted(articles(ROOT), key=lambda a: a.meta["seconds"])
CHOSEN = FOUND if os.environ.get("BOOK_COLAB") == "all" else FOUND[:1]

# Put first on the kernel's path: refuses every connection that leaves this machine.
NO_NETWORK = """
import socket
_connect = socket.socket.connect
HERE = ("127.0.0.1", "::1", "localhost")

def connect(self, address):
    if self.family in (socket.AF_INET, socket.AF_INET6) and str(address[0]) not in HERE:
        raise OSError(f"no network in this test: {address}")
    return _connect(self, address)

socket.socket.connect = connect
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with lib as pip installs it from a copy of the source tree."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    shutil.copytree(ROOT / "lib", source / "lib", ignore=shutil.ignore_patterns("__pycache__"))
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--target", str(target)]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, "."], cwd=source, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (target / "sitecustomize.py").write_text(NO_NETWORK)
    return target


def test_the_package_holds_all_of_lib(installed: Path) -> None:
    def files(root: Path) -> set[str]:
        found = (p.relative_to(root).as_posix() for p in (root / "lib").rglob("*") if p.is_file())
        return {name for name in found if "__pycache__" not in name}

    assert files(installed) == files(ROOT)


@pytest.mark.slow
@pytest.mark.parametrize("article", CHOSEN, ids=lambda a: a.slug)
def test_the_exported_notebook_runs_away_from_the_repository(article, installed, tmp_path, monkeypatch) -> None:
    from nbclient import NotebookClient

    notebook = nbformat.read(article.notebook, as_version=4)
    monkeypatch.setenv("PYTHONPATH", str(installed))
    monkeypatch.delenv("BOOK_SEED", raising=False)
    where = nbformat.v4.new_code_cell("import lib.config; lib.config.__file__")
    notebook.cells.append(where)
    NotebookClient(notebook, timeout=180, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = notebook.cells[-1].outputs[0].data["text/plain"]
    assert str(installed) in shown, f"the notebook ran with {shown}, not with the installed package"
