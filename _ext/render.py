"""Pieces of HTML that several pages share. Every text that comes from a source or a run is escaped here."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from _ext.catalog import LABELS, Entry, label, tally
from lib.ledger import cells
from tools.articles import PARTS

POST_AUTHOR = '<span lang="zh">苏剑林</span> (Su Jianlin)'


def relative(docname: str, target: str) -> str:
    """The address of `target`, a path below the site's root, as seen from the page `docname`."""
    return "../" * docname.count("/") + target


def badge(name: str, text: str, extra: str = "") -> str:
    """A coloured pill; the colour repeats what the text says."""
    return f'<span class="verdict verdict-{name.replace(" ", "-")}">{escape(text)}</span>{extra}'


def strip(entry: Entry, page: str = "") -> str:
    """The verdict strip: counts by verdict, each with links to its rows; `page` precedes the anchors."""
    if not entry.records:
        return '<p class="verdict-strip"><span class="verdict">not executed yet</span></p>'
    items = []
    for name, group in tally(entry.records).items():
        links = " ".join(
            f'<a href="{page}#claim-{r["id"].lower()}" title="{escape(r["statement"], quote=True)}">{r["id"]}</a>'
            for r in sorted(group, key=lambda r: int(r["id"][1:]))
        )
        items.append(f"<li>{badge(name, f'{len(group)} {name}')} <span class='claim-ids'>{links}</span></li>")
    return f'<ul class="verdict-strip" aria-label="Verdicts of the claims">{"".join(items)}</ul>'


def counts(records: Sequence[Mapping[str, Any]]) -> str:
    """The verdict strip without links, for cards and for the landing page."""
    if not records:
        return ""
    badges = "".join(f"<li>{badge(name, f'{len(group)} {name}')}</li>" for name, group in tally(records).items())
    return f'<ul class="verdict-strip" aria-label="Verdicts of the claims">{badges}</ul>'


def credit(entry: Entry) -> str:
    """Author and original posts, with links."""
    posts = "; ".join(
        f'<a href="{escape(p["url"], quote=True)}" lang="zh">{escape(p["title"])}</a> ({escape(str(p["date"]))})'
        for p in entry.posts
    )
    return f"After {POST_AUTHOR}: {posts}"


def cost(entry: Entry) -> str:
    """Measured time and memory beside the expected ones."""
    seconds, memory = entry.meta["seconds"], entry.meta["memory_mb"]
    if entry.run is None:
        return f"Expected: {seconds} s, {memory} MB."
    measured = f"{entry.run.seconds:.0f} s, {entry.run.memory_mb:.0f} MB"
    return f"Measured: {measured} on one CPU core.<br>Expected: {seconds} s, {memory} MB."


def is_wide(image: bytes) -> bool:
    """Whether an image is a PNG too wide for the column of a phone, where such figures scroll instead of shrinking."""
    width, height = struct.unpack(">II", image[16:24]) if image.startswith(b"\x89PNG") else (0, 1)
    return width > 2.4 * height


def image(entry: Entry, page: str) -> str:
    """The lead figure as an image element, or nothing when there is none."""
    if entry.lead is None:
        return ""
    classes = "lead-image" + " keep-colors" * entry.lead.keep_colours + " wide" * is_wide(entry.lead.data)
    alt = escape(entry.lead.alt or entry.meta["title"], quote=True)
    return f'<img class="{classes}" src="{relative(page, lead_file(entry))}" alt="{alt}">'


def lead_file(entry: Entry) -> str:
    return f"_images/lead-{entry.slug}.{entry.lead.suffix}" if entry.lead else ""


def table(head: Sequence[str], rows: Sequence[Sequence[str]], kind: str, attributes: Sequence[str] = ()) -> str:
    """A table of ready HTML cells; each cell names its column for the phone layout."""
    body = []
    for i, row in enumerate(rows):
        cells = "".join(f'<td data-label="{h}">{cell}</td>' for h, cell in zip(head, row, strict=True))
        body.append(f"<tr{attributes[i] if attributes else ''}>{cells}</tr>")
    top = "".join(f'<th scope="col">{h}</th>' for h in head)
    inner = f"<thead><tr>{top}</tr></thead><tbody>{''.join(body)}</tbody>"
    return f'<div class="table-scroll"><table class="{kind}">{inner}</table></div>'


def totals(entries: Sequence[Entry]) -> str:
    """Claims by part and verdict, with the sums."""
    by_part = {part: [e for e in entries if e.part == part] for part in PARTS}
    all_records = [r for e in entries for r in e.records]
    used = [name for name in LABELS if name in tally(all_records)]
    rows = []
    for part, group in [*by_part.items(), ("all", list(entries))]:
        if group:
            count = Counter(label(r) for e in group for r in e.records)
            numbers = [str(count[name]) if count[name] else '<span class="none">·</span>' for name in used]
            rows.append([part, str(len(group)), *numbers, str(count.total())])
    marks = [""] * (len(rows) - 1) + [' class="sum"']
    return table(["part", "articles", *used, "claims"], rows, "totals", marks) if rows else ""


def claim_row(entry: Entry, record: Mapping[str, Any], page: str) -> list[str]:
    """One line of the scoreboard."""
    href = relative(page, f"{entry.docname}.html")
    text = {column: escape(shown) for column, shown in cells(record).items()}
    name = "failed" if record["held"] is False else record["verdict"]
    verdict = badge(name, name)
    if record["ours"]:
        verdict += ' <span class="ours">ours</span>'
    return [
        f'<a href="{href}#claim-{record["id"].lower()}">{record["id"]}</a>',
        f'{text["statement"]} <a class="from" href="{href}">{escape(entry.meta["title"])}</a>',
        text["measured"], text["expected"], text["rule"], text["control"], verdict,
        entry.held(record["id"]) or '<span class="none">–</span>',
    ]  # fmt: skip
