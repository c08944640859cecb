"""What the site says of each article: its front matter, joined with the run, the seeds and the table of contents."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lib.ledger import VERDICTS
from tools.articles import Article, articles

BEYOND = "beyond the post"
LABELS = (*VERDICTS, "failed", BEYOND)
FORMATS = (("image/svg+xml", "svg"), ("image/png", "png"), ("image/jpeg", "jpg"))


@dataclass(frozen=True)
class Figure:
    """The lead figure as the run drew it, with the caption and alt text of its cell."""

    data: bytes
    suffix: str
    caption: str
    alt: str
    keep_colours: bool


@dataclass(frozen=True)
class Entry:
    """One article with what `results.load` gave of it (`run` is None: not executed)."""

    article: Article
    run: Any
    lead: Figure | None
    sweep: Mapping[str, Any] | None

    @property
    def meta(self) -> dict[str, Any]:
        return self.article.meta

    @property
    def docname(self) -> str:
        return self.article.docname

    @property
    def slug(self) -> str:
        return self.article.slug

    @property
    def part(self) -> str:
        return self.article.part

    @property
    def records(self) -> list[dict[str, Any]]:
        return self.run.records if self.run else []

    @property
    def posts(self) -> list[dict[str, str]]:
        return [self.meta["original"], *(self.meta.get("also") or [])]

    @property
    def notebook(self) -> str:
        return f"notebooks/{self.part}/{self.slug}.ipynb"

    def held(self, claim: str) -> str:
        """How often the verdict of a claim held in the last sweep: `4/4 seeds`, or nothing."""
        if not self.sweep or claim not in self.sweep["claims"]:
            return ""
        stale = "" if self.run and self.sweep["key"] == self.run.key else ", older code"
        return f"{self.sweep['claims'][claim]}/{len(self.sweep['seeds'])} seeds{stale}"


def label(record: Mapping[str, Any]) -> str:
    """The heading under which a record counts: its verdict; a failure and a claim of our own are counted apart."""
    if record["ours"]:
        return BEYOND
    return "failed" if record["held"] is False else record["verdict"]


def tally(records: Iterable[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """The records under their labels, in the fixed order, without empty ones. Strip and scoreboard both use it."""
    groups: dict[str, list[Mapping[str, Any]]] = {name: [] for name in LABELS}
    for record in records:
        groups[label(record)].append(record)
    return {name: group for name, group in groups.items() if group}


def lead_figure(cells: Iterable[Mapping[str, Any]], name: str) -> Figure | None:
    """The figure called `name` among executed cells."""
    for cell in cells:
        meta = cell["metadata"].get("mystnb", {})
        if meta.get("figure", {}).get("name") != name:
            continue
        for output in cell.get("outputs", []):
            for mime, suffix in FORMATS:
                if payload := output.get("data", {}).get(mime):
                    data = payload.encode() if suffix == "svg" else base64.b64decode(payload)
                    keep = "keep-colors" in cell["metadata"].get("tags", [])
                    alt, caption = meta.get("image", {}).get("alt", ""), meta["figure"].get("caption", "")
                    return Figure(data, suffix, caption, alt, keep)
    return None


def files_in_toc(node: Any) -> list[str]:
    """Every `file` or `root` of the table of contents, in order."""
    if isinstance(node, list):
        return [name for item in node for name in files_in_toc(item)]
    if not isinstance(node, dict):
        return []
    own = [node[k] for k in ("root", "file") if k in node]
    return own + [name for value in node.values() for name in files_in_toc(value)]


def load(root: Path) -> list[Entry]:
    """The articles of the table of contents, in its order."""
    from _ext import results

    sweep_file = root / "results" / "sweep.json"
    sweep = json.loads(sweep_file.read_text(encoding="utf-8")) if sweep_file.exists() else {}
    known = {article.docname: article for article in articles(root)}
    entries = []
    for name in files_in_toc(yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))):
        if article := known.get(name.removesuffix(".md")):
            run = results.load(root, article.path)
            lead = lead_figure(run.notebook.cells, article.meta["lead"]) if run else None
            entries.append(Entry(article, run, lead, sweep.get(article.slug)))
    return entries
