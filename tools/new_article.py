"""Scaffold an article: python -m tools.new_article SLUG PART.

Writes book/<part>/<slug>.md from tools/article_template.md and adds it to _toc.yml; overwrites nothing.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import yaml

from tools.articles import PARTS, ROOT, SLUG

TEMPLATE = Path(__file__).with_name("article_template.md")


def new_article(slug: str, part: str, root: Path = ROOT) -> Path:
    """Write the scaffold and list it in `_toc.yml`; ValueError for a bad name, FileExistsError for a taken one."""
    root = Path(root)
    if not SLUG.fullmatch(slug):
        raise ValueError(f"SLUG must be lower-case words joined by hyphens, such as 'rope-2d', got {slug!r}")
    if part not in PARTS:
        raise ValueError(f"PART must be one of {', '.join(PARTS)}, got {part!r}")
    taken = [*sorted((root / "book").glob(f"*/{slug}.md")), *sorted((root / "notebooks").glob(f"*/{slug}.ipynb"))]
    if taken:
        raise FileExistsError(f"{taken[0].relative_to(root)} exists; choose another slug")
    toc = root / "_toc.yml"
    listed = add_to_toc(toc.read_text(encoding="utf-8"), slug, part)  # fails before anything is written
    title = slug.replace("-", " ").capitalize()
    text = TEMPLATE.read_text(encoding="utf-8")
    for mark, value in (("@SLUG@", slug), ("@PART@", part), ("@TITLE@", title)):
        text = text.replace(mark, value)
    path = root / "book" / part / f"{slug}.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("x", encoding="utf-8") as file:
        file.write(text)
    toc.write_text(listed, encoding="utf-8")
    return path


def add_to_toc(text: str, slug: str, part: str) -> str:
    """The table of contents with the article at the end of its part; the part is added in the book's order."""
    entry, caption = f"book/{part}/{slug}", part.capitalize()
    if entry in _files(text):
        raise FileExistsError(f"_toc.yml lists {entry} already")
    lines = text.rstrip("\n").split("\n")
    captions = [
        (i, m[1].strip("\"'")) for i, line in enumerate(lines) if (m := re.match(r" *- caption: *(.+?) *$", line))
    ]
    starts = [i for i, _ in captions] + [len(lines)]
    new = f"      - file: {entry}"
    for k, (_, name) in enumerate(captions):
        if name == caption:
            end = starts[k + 1]
            while not lines[end - 1].strip():
                end -= 1
            lines.insert(end, new)
            break
    else:
        order = {name.capitalize(): i for i, name in enumerate(PARTS)}
        later = [i for i, name in captions if order.get(name, len(PARTS)) > order[caption]]
        at = later[0] if later else len(lines)
        lines[at:at] = [f"  - caption: {caption}", "    chapters:", new]
    result = "\n".join(lines) + "\n"
    try:
        good = sorted(_files(result)) == sorted([*_files(text), entry])
    except yaml.YAMLError:
        good = False
    if not good:
        raise ValueError("_toc.yml has a form that this tool cannot extend; add the article by hand")
    return result


def _files(text: str) -> list[str]:
    """The files of the chapters that a table of contents lists."""
    toc = yaml.safe_load(text) or {}
    return [chapter.get("file", "") for part in toc.get("parts") or [] for chapter in part.get("chapters") or []]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slug")
    parser.add_argument("part")
    parser.add_argument("--root", type=Path, default=ROOT, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    try:
        path = new_article(chosen.slug, chosen.part, chosen.root)
    except (ValueError, FileExistsError, FileNotFoundError) as error:
        parser.exit(1, f"{error}\n")
    print(f"{path}: write, then make notebooks, make article SLUG={chosen.slug}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
