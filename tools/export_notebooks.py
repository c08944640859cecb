"""Export the articles to plain notebooks: python -m tools.export_notebooks [--check] [--ref REF] [--out DIR].

Writes notebooks/<part>/<slug>.ipynb for every article: what Colab opens and what the tests execute. The export is one
way and deterministic. `--check` writes nothing and lists what is out of step; `--ref` stamps a commit into the set-up
cell and the badge (default: the branch of _config.yml).
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.articles import ROOT, Article, Site, articles, figure_of, site
from tools.portable import Context, Converter, PortableError, bibliography, raw_left, relative_link

BADGE = "https://colab.research.google.com/assets/colab-badge.svg"
KERNEL = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
SETUP_TAGS = ["setup", "remove-cell"]
SETUP = """\
try:
    import lib.config
except ImportError:
    import importlib, subprocess, sys

    packages = {packages}
    subprocess.check_call([sys.executable, "-m", "pip", "install", "-q", *packages])
    importlib.invalidate_caches()
"""


def header(article: Article, address: str) -> str:
    """The Markdown that stands for `{article-header}`: titles, credit, the sentence, the abstract, the page."""
    meta = article.meta
    posts = [meta["original"], *meta["also"]]
    originals = " · ".join(f"[{post['title']}]({post['url']}) ({post['date']})" for post in posts)
    return "\n\n".join(
        [
            f"**{meta['title_zh']}**",
            f"After {originals} by Su Jianlin (苏剑林), 科学空间.",
            f"**{meta['sentence']}**",
            f"摘要：{meta['abstract_zh']}",
            f"[This page with figures, verdicts and links]({address})",
        ]
    )


def notebook(article: Article, where: Site, ref: str | None = None) -> dict[str, Any]:
    """The exported notebook of one article; PortableError names the article and what has no plain form."""
    try:
        return {"cells": list(_cells(article, where, ref)), "metadata": KERNEL, "nbformat": 4, "nbformat_minor": 5}
    except PortableError as error:
        raise PortableError(f"{article.docname}.md: {error}") from error
    except KeyError as error:
        raise PortableError(f"{article.docname}.md: the front matter lacks {error}") from error
    except TypeError as error:
        raise PortableError(f"{article.docname}.md: the front matter is malformed ({error})") from error


def _cells(article: Article, where: Site, ref: str | None) -> Iterator[dict[str, Any]]:
    context = Context(
        header=header(article, where.page(article.docname)),
        link=relative_link(article.path, article.root, where.page),
        entries=bibliography(article.root / "references.bib"),
    )
    captions = [str(figure_of(cell).get("caption", "")) for cell in article.code]
    converter = Converter([*(cell.source for cell in article.markdown), *captions], context)

    count = 0

    def make(kind: str, source: str, metadata: dict[str, Any] | None = None) -> dict[str, Any]:
        nonlocal count
        name = hashlib.sha256(f"{article.slug}/{count}".encode()).hexdigest()[:12]
        count += 1
        cell: dict[str, Any] = {"cell_type": kind, "id": name, "metadata": metadata or {}}
        cell["source"] = source.strip("\n").splitlines(keepends=True)
        if kind == "code":
            cell |= {"execution_count": None, "outputs": []}
        return cell

    page, original = where.page(article.docname), article.meta["original"]["url"]
    links = f"[page]({page}) · [source]({where.source(article)}) · [original post]({original})"
    yield make("markdown", f"[![Open in Colab]({BADGE})]({where.colab(article, ref)}) · {links}")
    packages = json.dumps([*article.meta.get("colab", []), where.requirement(ref)])
    yield make("code", SETUP.format(packages=packages), {"tags": SETUP_TAGS})
    figures = 0
    for cell in article.cells:
        metadata = json.loads(json.dumps(cell.metadata))
        if cell.cell_type == "markdown":
            text = converter.cell(cell.source)
            if left := raw_left(text):
                raise PortableError(f"the export still holds {', '.join(left)}: {' '.join(text.split())[:80]}")
            if text.strip():
                yield make("markdown", text, metadata)
        elif cell.cell_type == "code":
            yield make("code", cell.source, metadata)
            if caption := figure_of(cell).get("caption"):
                figures += 1
                text = f"Figure {figures}. {converter.inline(str(caption))}"
                yield make("markdown", text if "*" in text else f"*{text}*")
        else:
            raise PortableError(f"a {cell.cell_type} cell; only Markdown and code cells are exported")
    if converter.cited:
        yield make("markdown", converter.references())


def as_text(nb: dict[str, Any]) -> str:
    """A notebook as the bytes that are committed: sorted keys, one newline at the end."""
    return json.dumps(nb, sort_keys=True, indent=1, ensure_ascii=False) + "\n"


def export(root: Path = ROOT, out: Path | None = None, *, ref: str | None = None, check: bool = False) -> list[str]:
    """Write every notebook below `out` (default `root/notebooks`); returns what went wrong or is out of step."""
    root = Path(root).resolve()
    out = Path(out).resolve() if out else root / "notebooks"
    where, trouble, wanted = site(root), [], set()
    for article in articles(root):
        path = out / article.part / f"{article.slug}.ipynb"
        wanted.add(path)
        try:
            text = as_text(notebook(article, where, ref))
        except (PortableError, ValueError) as error:
            trouble.append(str(error))
            continue
        if path.exists() and path.read_bytes() == text.encode():
            continue
        if check:
            trouble.append(
                f"{path.relative_to(out)} {'has drifted from' if path.exists() else 'is missing for'} its source"
            )
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
    for path in sorted(out.glob("*/*.ipynb")):
        if path not in wanted:
            trouble.append(f"{path.relative_to(out)} has no article: delete it")
    return trouble


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a notebook is out of step")
    parser.add_argument("--ref", help="commit, tag or branch that the notebooks install lib from")
    parser.add_argument("--out", type=Path, help="folder to write to (default: notebooks)")
    parser.add_argument("--root", type=Path, default=ROOT, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    trouble = export(chosen.root, chosen.out, ref=chosen.ref, check=chosen.check)
    for line in trouble:
        print(line)
    if chosen.check and trouble:
        print("run `make notebooks`")
    return bool(trouble)


if __name__ == "__main__":
    raise SystemExit(main())
