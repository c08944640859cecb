"""What the build writes beside the pages: lead figures, notebooks, claims.json and the feed."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from _ext.catalog import Entry, label, tally
from _ext.render import lead_file
from tools.articles import Site

TITLE = "Executable Spaces"


def leads(entries: Sequence[Entry], out: Path) -> None:
    """The lead figures, for header and gallery."""
    for entry in entries:
        if entry.lead:
            (out / "_images").mkdir(parents=True, exist_ok=True)
            (out / lead_file(entry)).write_bytes(entry.lead.data)


def claims(entries: Sequence[Entry]) -> dict[str, Any]:
    """All records with what the scoreboard adds to them."""
    rows = []
    for e in entries:
        for r in e.records:
            anchor = f"{e.docname}.html#claim-{r['id'].lower()}"
            rows.append(
                {**r, "part": e.part, "counts_as": label(r), "seeds_held": e.held(r["id"]) or None, "page": anchor}
            )
    articles = {}
    for e in entries:
        about = {"part": e.part, "title": e.meta["title"], "posts": e.posts}
        articles[e.slug] = {**about, "verified": e.run.date if e.run else None}
    totals = {name: len(group) for name, group in tally(rows).items()}
    return {"totals": totals, "articles": articles, "claims": rows}


def feed(entries: Sequence[Entry], site: Site) -> str:
    """An Atom feed, the article verified last first."""
    home, items = f"{site.baseurl}/", []
    done = sorted((e for e in entries if e.run), key=lambda e: str(e.run.date), reverse=True)
    for e in done:
        url = quoteattr(f"{home}{e.docname}.html")
        items.append(
            f"<entry><title>{escape(e.meta['title'])}</title><id>{home}{e.docname}.html</id><link href={url}/>"
            f"<updated>{stamp(e.run.date)}</updated><summary>{escape(e.meta['sentence'])}</summary></entry>"
        )
    updated = stamp(done[0].run.date) if done else "1970-01-01T00:00:00Z"
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<feed xmlns="http://www.w3.org/2005/Atom">'
        f"<title>{TITLE}</title><id>{home}</id><link href={quoteattr(home)}/>"
        f'<link rel="self" href={quoteattr(home + "feed.xml")}/><updated>{updated}</updated>'
        f"<author><name>{TITLE}</name></author>{''.join(items)}</feed>\n"
    )


def stamp(date: Any) -> str:
    """A date as Atom wants it."""
    return f"{str(date)[:10]}T00:00:00Z"


def commit(root: Path) -> str | None:
    """The commit of the working tree, or None outside a repository."""
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def notebooks(root: Path, out: Path) -> None:
    """The exported notebooks; their set-up cell installs the library from the commit of this build."""
    from tools.export_notebooks import export

    export(root, out / "notebooks", ref=commit(root))


def write(entries: Sequence[Entry], site: Site, root: Path, out: Path) -> None:
    """Everything that does not depend on Sphinx, at the end of a build."""
    text = json.dumps(claims(entries), ensure_ascii=False, indent=1, default=str)
    (out / "claims.json").write_text(text + "\n", encoding="utf-8")
    (out / "feed.xml").write_text(feed(entries, site), encoding="utf-8")
    notebooks(root, out)
