"""The press itself: the commands of the README, run on a mini book, must fail when they should."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
COPIED = ["lib", "tools", "_ext", "_static", "site", "_config.yml", "conftest.py", "pyproject.toml", "requirements.txt",
          "references.bib", "Makefile"]  # fmt: skip

ARTICLE = """---
jupytext:
  text_representation: {{extension: .md, format_name: myst}}
kernelspec: {{display_name: Python 3, language: python, name: python3}}
article:
  title: "A mini article"
  title_zh: "小文章"
  slug: mini
  part: training
  original: {{title: "小文章", url: "https://spaces.ac.cn/archives/7309", date: "2020-03-26"}}
  also: []
  sentence: "It measures one number."
  abstract_zh: "这是一篇用于测试流水线的小文章，只测量一个数。"
  seconds: 5
  memory_mb: 200
  full: {{hardware: "any", minutes: 1, hub: []}}
  lib: [quadrature]
  keywords: [test]
  lead: fig-mini
  claims: 1
---

# A mini article

```{{article-header}}
```

{prose}

```{{code-cell}} ipython3
from lib import figures
from lib.ledger import AtLeast, Ledger
from lib.quadrature import rule

figures.style()
ledger = Ledger("mini")
nodes, weights = rule("left", 4)
{extra}
```

```{{code-cell}} ipython3
---
mystnb:
  figure: {{name: fig-mini, caption: "The nodes."}}
  image: {{alt: "Four dots at equal distance on a line from 0 to 0.75."}}
tags: [hide-input]
---
fig, ax = figures.panel()
ax.plot(nodes, weights, "o");
```

```{{code-cell}} ipython3
ledger.claim(
    "C1", "the weights sum to at least one half", source="ours", measured=float(weights.sum()),
    tol=AtLeast({bound}), control=0.0, control_is="no weights", verdict="reproduced",
)
```
"""


class Book:
    """A copy of the press with one small article, driven through make."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, root / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, root / name)
        (root / "tests").mkdir()
        (root / "tests" / "test_lib.py").write_text("def test_lib_imports():\n    import lib\n")
        (root / ".venv").symlink_to(sys.prefix)
        (root / "index.md").write_text("# Mini book\n")
        (root / "_toc.yml").write_text(
            "format: jb-book\nroot: index\nchapters:\n- file: book/training/mini\n- file: book/about\n"
        )
        self.article = root / "book" / "training" / "mini.md"
        self.article.parent.mkdir(parents=True)
        (root / "book" / "about.md").write_text("# About\n")
        self.write()

    def write(self, prose: str = "Some prose.", extra: str = "", bound: str = "0.5") -> None:
        self.article.write_text(ARTICLE.format(prose=prose, extra=extra, bound=bound))

    def make(self, *targets: str) -> subprocess.CompletedProcess[str]:
        """`make TARGET` as the README gives it, without reinstalling the requirements."""
        env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "BOOK_", "MAKE"))}
        command = ["make", "-o", ".venv/installed", *targets]
        return subprocess.run(command, cwd=self.root, env=env, capture_output=True, text=True, check=False)

    def claims(self) -> list[dict]:
        return json.loads((self.root / "_build/html/claims.json").read_text())["claims"]


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Book:
    """A mini book that went once through `make notebooks`, `make test` and `make book`, all green."""
    made = Book(tmp_path_factory.mktemp("press") / "book")
    for target in ("notebooks", "test", "book"):
        done = made.make(target)
        assert done.returncode == 0, f"make {target}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        if target == "book":
            assert "every article is in the execution cache" in done.stdout  # one execution served both
    return made


@pytest.fixture(autouse=True)
def restored(request: pytest.FixtureRequest) -> None:
    """Each test starts from the sound article, exported."""
    made = request.getfixturevalue("book")
    made.write()
    made.make("notebooks")


@pytest.mark.slow
def test_the_green_book_has_its_claim_and_page(book: Book) -> None:
    assert [c["id"] for c in book.claims()] == ["C1"]
    page = (book.root / "_build/html/book/training/mini.html").read_text()
    assert "claim-c1" in page
    assert "1 beyond the post" in page


@pytest.mark.slow
def test_an_edit_in_an_imported_module_reaches_the_page_and_another_does_not_execute(book: Book) -> None:
    module = book.root / "lib" / "quadrature.py"
    sound = module.read_text()
    unrelated = book.root / "lib" / "linalg.py"
    unrelated.write_text(unrelated.read_text() + "\n# an edit that the article does not import\n")
    done = book.make("book")
    assert done.returncode == 0
    assert "every article is in the execution cache" in done.stdout
    try:
        module.write_text(
            sound + "\n_exact = rule\n\n\ndef rule(name, n):\n    x, w = _exact(name, n)\n    return x, 0.75 * w\n"
        )
        done = book.make("book")
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        assert "every article is in the execution cache" not in done.stdout
        assert book.claims()[0]["measured"] == pytest.approx(0.75)
    finally:
        module.write_text(sound)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [({"extra": "1 / 0"}, "ZeroDivisionError"), ({"bound": "2.0"}, "ClaimFailed")],
    ids=["failing cell", "failing claim"],
)
def test_a_failure_fails_both_commands_and_names_its_cause(book: Book, change: dict[str, str], message: str) -> None:
    book.write(**change)
    assert book.make("notebooks").returncode == 0
    for target in ("test", "book"):
        done = book.make(target)
        assert done.returncode != 0, f"make {target} passed"
        assert message in done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "prose",
    ["```{mermaid}\ngraph\n```", "See {abbr}`x`.", ":::{card} A\nb\n:::"],
    ids=["directive", "role", "colon fence"],
)
def test_a_construct_that_colab_cannot_show_is_refused(book: Book, prose: str) -> None:
    book.write(prose=prose)
    done = book.make("notebooks")
    assert done.returncode != 0
    assert "mini.md" in done.stdout + done.stderr


@pytest.mark.slow
def test_drift_between_source_and_export_fails_the_book(book: Book) -> None:
    book.write(prose="Edited after the export.")
    done = book.make("book")
    assert done.returncode != 0
    assert "mini" in done.stdout + done.stderr


@pytest.mark.slow
def test_a_sweep_counts_a_failing_claim_instead_of_stopping_at_it(book: Book) -> None:
    book.write(bound="2.0")
    book.make("notebooks")
    done = book.make("sweep", "SEEDS=2")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    table = json.loads((book.root / "results" / "sweep.json").read_text())["mini"]
    assert table["seeds"] == [0, 1]
    assert table["claims"] == {"C1": 0}
