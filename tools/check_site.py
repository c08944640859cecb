"""Check a built site without a network: python -m tools.check_site _build/html.

No page or style sheet may load anything from another host, every internal link and anchor must resolve, every image
needs alt text, and every article must show its verdict strip, its ledger rows and a figure. Exits 1 with the list.
"""

from __future__ import annotations

import argparse
import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup, Tag

LOADING_RELS = {"stylesheet", "preload", "prefetch", "modulepreload", "preconnect", "dns-prefetch", "icon", "manifest"}
# Elements that fetch something by themselves, and the attribute that says what. Links to other hosts are fine.
LOADERS = {
    "script": "src", "img": "src", "iframe": "src", "source": "src", "audio": "src", "video": "src", "embed": "src",
    "track": "src", "object": "data", "link": "href",
}  # fmt: skip
CSS_URL = re.compile(r"url\(\s*['\"]?([^'\")]+)|@import\s+['\"]([^'\"]+)")
RAW = re.compile(r"(?m)^\s*:{3,}(?:\{|\s*$)|`{3,}\{")
TRACEBACK = "Traceback (most recent call last)"
PROSE = "article.bd-article"


@cache
def soup(path: Path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


@cache
def anchors(path: Path) -> frozenset[str]:
    """The ids and names that a fragment may point to."""
    found = soup(path).find_all(lambda tag: tag.has_attr("id") or (tag.name == "a" and tag.has_attr("name")))
    return frozenset(str(tag.get("id") or tag.get("name")) for tag in found)


def external(url: str) -> bool:
    """Whether loading `url` would ask another host."""
    parts = urlsplit(url.strip())
    return parts.scheme in ("http", "https", "ws", "wss", "ftp") or (bool(parts.netloc) and parts.scheme != "data")


def unresolved(url: str, page: Path, root: Path) -> str | None:
    """Why an internal address leads nowhere, or None."""
    parts = urlsplit(url.strip())
    if parts.scheme or parts.netloc:
        return None
    name = unquote(parts.path)
    target = page if not name else (root / name.lstrip("/") if name.startswith("/") else page.parent / name).resolve()
    if target.is_dir():
        target /= "index.html"
    if not target.exists():
        return f"{url} does not exist"
    if not target.is_relative_to(root):
        return f"{url} leads out of the site"
    fragment = unquote(parts.fragment)
    if fragment and fragment != "top" and target.suffix == ".html" and fragment not in anchors(target):
        return f"{url} has no such anchor"
    return None


def css_problems(text: str, page: Path, root: Path) -> list[str]:
    """Addresses in a style sheet that ask another host or lead nowhere."""
    found = []
    for match in CSS_URL.finditer(re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)):
        url = (match[1] or match[2]).strip()
        if url.startswith(("data:", "#")):
            continue
        if external(url):
            found.append(f"style sheet loads {url}")
        elif why := unresolved(urlsplit(url).path, page, root):
            found.append(f"style sheet: {why}")
    return found


def _loads(tag: Tag) -> list[str]:
    """What an element fetches by itself."""
    attribute = LOADERS.get(tag.name)
    urls = [str(tag[attribute])] if attribute and tag.get(attribute) else []
    if tag.name == "link" and not LOADING_RELS & {rel.lower() for rel in tag.get_attribute_list("rel") if rel}:
        return []
    sets = str(tag.get("srcset") or "")
    return urls + [piece.split()[0] for piece in sets.split(",") if piece.strip()]


def page_problems(page: Path, root: Path) -> list[str]:
    """Everything wrong with one page, articles' own duties apart."""
    tree, found = soup(page), []
    for tag in tree.find_all(True):
        for url in _loads(tag):
            if external(url):
                found.append(f"<{tag.name}> loads {url}")
            elif not url.startswith("data:") and (why := unresolved(url, page, root)):
                found.append(f"<{tag.name}>: {why}")
        if tag.name == "a" and tag.get("href") and (why := unresolved(str(tag["href"]), page, root)):
            found.append(f"link {why}")
        if tag.name == "img" and not str(tag.get("alt") or "").strip():
            found.append(f"image {str(tag.get('src'))[:60]} has no alt text")
        if tag.get("style"):
            found += css_problems(str(tag["style"]), page, root)
        if tag.name == "style":
            found += css_problems(tag.get_text(), page, root)
    ids = [str(tag["id"]) for tag in tree.find_all(id=True)]
    found += [f"id {name} stands {ids.count(name)} times" for name in sorted({i for i in ids if ids.count(i) > 1})]
    if body := tree.select_one(PROSE):
        if TRACEBACK in body.get_text() or body.select_one(".cell_output .traceback"):
            found.append("a traceback is on the page")
        for code in body.find_all(["pre", "code", "script", "style"]):
            code.decompose()
        if match := RAW.search(body.get_text()):
            found.append(f"raw Markdown: {match[0].strip()!r}")
    soup.cache_clear()
    return found


def article_problems(page: Path) -> list[str]:
    """What an article must show."""
    tree, found = soup(page), []
    strip = tree.select_one(".article-header .verdict-strip")
    if strip is None or not strip.select("a[href^='#claim-']"):
        found.append("the verdict strip is missing")
    rows = {str(row["id"]) for row in tree.select("table.ledger tr[id^='claim-']")}
    named = {str(a["href"])[1:] for a in strip.select("a")} if strip else set()
    if not rows:
        found.append("there is no ledger row")
    elif rows != named:
        found.append(f"strip and ledger rows differ in {', '.join(sorted(rows ^ named))}")
    if not tree.select(".cell_output figure img, figure .cell_output img"):
        found.append("there is no figure")
    if not tree.select_one("figure.lead img"):
        found.append("the lead figure is missing")
    return found


def check(root: Path) -> list[str]:
    """All problems of the site below `root`, each with its page."""
    root = root.resolve()
    soup.cache_clear()
    anchors.cache_clear()
    found = []
    for sheet in sorted(root.rglob("*.css")):
        text = sheet.read_text(encoding="utf-8", errors="replace")
        found += [f"{sheet.relative_to(root)}: {p}" for p in css_problems(text, sheet, root)]
    # _static holds templates of the theme, which are no pages.
    pages = [p for p in sorted(root.rglob("*.html")) if p.relative_to(root).parts[0] not in ("_static", "vendor")]
    if not pages:
        found.append(f"{root}: no pages")
    for page in pages:
        problems = article_problems(page) if is_article(page) else []
        found += [f"{page.relative_to(root)}: {p}" for p in problems + page_problems(page, root)]
    return found


def is_article(page: Path) -> bool:
    """Articles are the pages with a footer of provenance, or with an article header."""
    return bool(soup(page).select_one(".article-header, .article-footer"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    root = parser.parse_args().root
    found = check(root)
    for problem in found:
        print(problem)
    print(f"{root}: {len(found)} problem(s)")
    return bool(found)


if __name__ == "__main__":
    raise SystemExit(main())
