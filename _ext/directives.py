"""The four directives of the book: `{article-header}`, `{gallery}`, `{scoreboard}`, `{status}`."""

from __future__ import annotations

from html import escape
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from _ext import render
from _ext.catalog import LABELS, Entry, label
from tools.articles import PARTS

LOG = logging.getLogger(__name__)


def raw(html: str) -> nodes.raw:
    return nodes.raw("", html, format="html")


class Directive(SphinxDirective):
    """Shared by all: the catalogue, and Markdown inside HTML."""

    @property
    def entries(self) -> list[Entry]:
        self.env.note_reread()  # the source of a page does not show that a run is newer
        return self.env.app.book_entries  # type: ignore[attr-defined]

    def markdown(self, text: str) -> list[nodes.Node]:
        """Parse a paragraph of front matter, with its mathematics."""
        holder = nodes.Element()
        self.state.nested_parse(StringList(text.strip().splitlines(), self.env.docname), 0, holder)
        return holder.children

    def wrap(self, opening: str, text: str, closing: str) -> list[nodes.Node]:
        return [raw(opening), *self.markdown(text), raw(closing)]


class ArticleHeader(Directive):
    """The first screen of an article, from its front matter and its run."""

    def run(self) -> list[nodes.Node]:
        page = self.env.docname
        entry = next((e for e in self.entries if e.docname == page), None)
        if entry is None:
            raise self.error("article-header needs a page of the table of contents with an `article` block")
        if entry.run is None:
            LOG.warning("no execution of this article in the cache: run `make book`", location=page)
        elif entry.lead is None:
            LOG.warning("lead figure %s is not among the outputs", entry.meta["lead"], location=page)
        meta, colab = entry.meta, self.config.book_site.colab(entry.article)
        out = [raw(
            f'<div class="article-header"><p class="title-zh" lang="zh">{escape(meta["title_zh"])}</p>'
            f'<p class="credit">{render.credit(entry)}</p>'
        )]  # fmt: skip
        out += self.wrap('<div class="sentence">', meta["sentence"], "</div>")
        out += [raw(render.strip(entry) + '<div class="first-screen">')]
        if entry.lead:
            opening = f'<figure class="lead">{render.image(entry, page)}<figcaption>'
            out += self.wrap(opening, entry.lead.caption, "</figcaption></figure>")
        out.append(raw('<div class="aside">'))
        out += self.wrap(
            '<div class="abstract" lang="zh"><p class="abstract-label">摘要</p>', meta["abstract_zh"], "</div>"
        )
        full = meta.get("full")
        at_scale = f"<br>Full mode: {escape(str(full['hardware']))}, about {full['minutes']} min." if full else ""
        out += [raw(
            f'<p class="cost">{render.cost(entry)}{at_scale}</p><p class="actions"><a href="{colab}">Open in Colab</a>'
            f'<a href="{render.relative(page, entry.notebook)}" download>Notebook</a></p></div></div></div>'
        )]  # fmt: skip
        return out


class Gallery(Directive):
    """A card for each article, in the order of the parts."""

    def run(self) -> list[nodes.Node]:
        page = self.env.docname
        out: list[nodes.Node] = [raw('<div class="gallery">')]
        for entry in sorted(self.entries, key=lambda e: PARTS.index(e.part)):
            href = render.relative(page, f"{entry.docname}.html")
            out.append(raw(
                f'<article class="card-article"><div class="card-image">{render.image(entry, page)}</div>'
                f'<p class="card-part">{entry.part}</p>'
                f'<p class="card-name"><a href="{href}">{escape(entry.meta["title"])}</a></p>'
                f'<p class="title-zh" lang="zh">{escape(entry.meta["title_zh"])}</p>'
            ))  # fmt: skip
            out += self.wrap('<div class="card-sentence">', entry.meta["sentence"], "</div>")
            out.append(raw(render.counts(entry.records) + "</article>"))
        return [*out, raw("</div>")]


class Scoreboard(Directive):
    """Totals, then every claim; the options `totals` and `strip` give the totals alone, as a table or as badges."""

    option_spec = {"totals": lambda _: True, "strip": lambda _: True}  # noqa: RUF012

    def run(self) -> list[nodes.Node]:
        if "strip" in self.options:
            return [raw(render.counts([r for e in self.entries for r in e.records]))]
        out: list[nodes.Node] = [raw(render.totals(self.entries))]
        if "totals" in self.options:
            return out
        page = self.env.docname
        rows: list[list[str]] = []
        marks: list[str] = []
        present: dict[str, Any] = {"part": [], "verdict": []}
        for entry in sorted(self.entries, key=lambda e: PARTS.index(e.part)):
            for record in entry.records:
                rows.append(render.claim_row(entry, record, page))
                marks.append(f' data-part="{entry.part}" data-verdict="{label(record)}"')
                present["part"].append(entry.part)
                present["verdict"].append(label(record))
        choices = {"part": PARTS, "verdict": LABELS}
        boxes = ""
        for name, order in choices.items():
            options = "".join(f"<option>{value}</option>" for value in order if value in present[name])
            boxes += (
                f'<label>{name} <select data-filter="{name}"><option value="">all</option>{options}</select></label>'
            )
        form = f'<form class="filters" hidden>{boxes}<label>text <input type="search" data-filter="text"></label>'
        head = ["claim", "statement", "measured", "expected", "rule", "control", "verdict", "held"]
        board = render.table(head, rows, "scoreboard", marks)
        return [*out, raw(f'{form}<output class="shown" aria-live="polite"></output></form>{board}')]


class Status(Directive):
    """Time, memory, date and versions of each article's last run."""

    def run(self) -> list[nodes.Node]:
        rows = []
        for entry in self.entries:
            href = render.relative(self.env.docname, f"{entry.docname}.html")
            row = [f'<a href="{href}">{escape(entry.meta["title"])}</a>', "not executed", "–", "–", "–"]
            if run := entry.run:
                versions = ", ".join(f"{k} {v}" for k, v in run.versions.items() if k not in ("mode", "seed"))
                time = f"{run.seconds:.1f} of {entry.meta['seconds']} s"
                row[1:] = [time, f"{run.memory_mb:.0f} of {entry.meta['memory_mb']} MB", run.date, escape(versions)]
            rows.append(row)
        head = ["article", "time, of expected", "memory, of expected", "verified", "versions"]
        return [raw(render.table(head, rows, "status"))]
