"""The full-mode cells of every article run on tiny local models: same code, small numbers, no network."""

from __future__ import annotations

import ast
import math
import re
import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import standins

BOOK = Path(__file__).parent.parent / "book"
ARTICLES = {path.stem: path for path in sorted(BOOK.glob("*/*.md"))}


def front_matter(path: Path) -> dict[str, Any]:
    yaml = pytest.importorskip("yaml")
    found = re.match(r"---\n(.*?)\n---\n", path.read_text(encoding="utf-8"), re.DOTALL)
    return (yaml.safe_load(found[1]) or {}).get("article", {}) if found else {}


def cells(path: Path, tag: str) -> list[str]:
    """The sources of the code cells with this tag, in order."""
    jupytext = pytest.importorskip("jupytext")
    notebook = jupytext.reads(path.read_text(encoding="utf-8"), fmt="md:myst")
    return [c.source for c in notebook.cells if c.cell_type == "code" and tag in c.metadata.get("tags", [])]


def run(source: str, namespace: dict[str, Any]) -> Any:
    """Execute a cell; the value of its last line is what a notebook would show."""
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "<cell>", "exec"), namespace)
    return eval(compile(ast.Expression(last.value), "<cell>", "eval"), namespace) if last else None


def leaves(shown: Any) -> Iterator[Any]:
    """The entries of a shown table: a frame, a mapping, a list, or nested ones."""
    if hasattr(shown, "to_numpy"):
        shown = shown.to_numpy()
    if hasattr(shown, "tolist"):
        shown = shown.tolist()
    if isinstance(shown, Mapping):
        shown = list(shown.values())
    if isinstance(shown, Sequence) and not isinstance(shown, str):
        for item in shown:
            yield from leaves(item)
    else:
        yield shown


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # the libraries of the full mode warn about their own future
@pytest.mark.parametrize("slug", ARTICLES)
def test_the_full_scale_cells_of_an_article_run_on_stand_ins(slug, tmp_path, monkeypatch):
    scale = cells(ARTICLES[slug], "full-scale")
    entries = (front_matter(ARTICLES[slug]).get("full") or {}).get("hub") or []
    assert scale or not entries, f"{slug} names hub ids but has no cell tagged full-scale"
    if not scale:
        pytest.skip("nothing of this article needs a hub")
    pytest.importorskip("transformers")

    import huggingface_hub
    import matplotlib

    matplotlib.use("Agg")
    standins.make(tmp_path, entries)
    for name, value in (("BOOK_MODE", "dry"), ("BOOK_HUB", str(tmp_path)), ("BOOK_LEDGER", "record")):
        monkeypatch.setenv(name, value)

    def refuse(id: str, **_: Any) -> None:
        raise AssertionError(f"{slug} asks the network for {id}: give it an entry in full.hub")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    module = types.ModuleType(f"full_mode_{slug.replace('-', '_')}")
    monkeypatch.setitem(sys.modules, module.__name__, module)  # dataclasses look their module up
    for source in cells(ARTICLES[slug], "config"):
        run(source, module.__dict__)
    shown = [leaf for source in scale for leaf in leaves(run(source, module.__dict__)) if leaf is not None]
    numbers = [leaf for leaf in shown if isinstance(leaf, int | float)]
    assert numbers, f"the full-scale cells of {slug} show no numbers, but {shown}"
    assert all(map(math.isfinite, numbers)), f"{slug} shows {shown}"


def test_an_unknown_kind_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match="no stand-in for kind 'oracle'"):
        standins.make(tmp_path, [{"id": "a/b", "kind": "oracle"}])
