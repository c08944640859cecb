"""The Sphinx extension of the book: execution cache, directives, buttons, footers, search and generated files."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

from _ext import catalog, cjksearch, directives, outputs, render, results
from tools.articles import site


def configure(app: Sphinx, config: Any) -> None:
    """Point the build at the execution cache and read the catalogue, once, before any page."""
    root = Path(app.srcdir)
    drop_thebe(app)
    results.prune(root)
    config.nb_execution_cache_path = str(results.cache_path(root))
    config.book_site = where = site(root)
    config.myst_substitutions = {  # addresses for the prose of the pages
        "repository": f"[repository]({where.url})",
        "licence": f"[licence]({where.url}/blob/{where.branch}/LICENSE)",
        "citation": f"[CITATION.cff]({where.url}/blob/{where.branch}/CITATION.cff)",
    }
    config.ogp_site_url, config.ogp_site_name = f"{config.book_site.baseurl}/", config.html_title
    app.book_entries = catalog.load(root)  # type: ignore[attr-defined]


def number_within_articles(app: Sphinx) -> None:
    """Equations count within an article, as in its notebook, and figures go by their captions."""
    app.config.numfig = app.config.math_numfig = False


def drop_thebe(app: Sphinx) -> None:
    """jupyter-book loads sphinx-thebe unasked, whose scripts point to another host and declare a constant twice."""
    for name, listeners in app.events.listeners.items():
        app.events.listeners[name] = [one for one in listeners if not one.handler.__module__.startswith("sphinx_thebe")]
    app.registry.css_files = [one for one in app.registry.css_files if "thebe" not in one[0]]


def entry_of(app: Sphinx, docname: str) -> catalog.Entry | None:
    return next((e for e in app.book_entries if e.docname == docname), None)  # type: ignore[attr-defined]


def footer(app: Sphinx, entry: catalog.Entry) -> str:
    """Provenance of an article: run, modules, links, licence."""
    where = app.config.book_site
    source = f"{where.url}/blob/{where.branch}"
    modules = ", ".join(
        f'<a href="{source}/lib/{m.replace(".", "/")}.py"><code>lib.{m}</code></a>' for m in entry.meta.get("lib") or []
    )
    title = escape(entry.meta["title"], quote=True)
    if run := entry.run:
        versions = ", ".join(f"{escape(k)} {escape(str(v))}" for k, v in run.versions.items())
        verified = f"Last verified {escape(str(run.date))} in {run.seconds:.0f} CPU seconds: {versions}."
    else:
        verified = "Not executed yet."
    edit = f"{where.url}/edit/{where.branch}/{entry.docname}.md"
    issue = f"{where.url}/issues/new?title={entry.slug}"
    notebook, about = (render.relative(entry.docname, name) for name in (entry.notebook, "book/about.html"))
    return (
        f'<footer class="article-footer" aria-label="About this article: {title}">'
        f"<p>{verified}</p><p>Rests on {modules}.</p>"
        f'<p><a href="{notebook}" download>Notebook</a> · <a href="{edit}">Edit this page</a> · '
        f'<a href="{issue}">Report an error</a> · <a href="{about}">How claims are judged</a></p>'
        f"<p>{render.credit(entry)}. The ideas are the author's; text and code here are ours, "
        f'under the <a href="{source}/LICENSE">licence of the book</a>.</p></footer>'
    )


def finish_page(app: Sphinx, doctree: nodes.document) -> None:
    """Append the footer to articles, name its lead figure for link previews, and mark wide figures."""
    entry = entry_of(app, app.env.docname)
    if entry is None:
        return
    for figure in doctree.findall(nodes.image):
        if render.is_wide((Path(app.srcdir) / figure["uri"]).read_bytes()):
            figure["classes"].append("wide")
    doctree.append(nodes.raw("", footer(app, entry), format="html"))
    if entry.lead:
        lead = f"{app.config.book_site.baseurl}/{render.lead_file(entry)}"
        app.env.metadata[app.env.docname] |= {"og:image": lead, "og:image:alt": entry.lead.alt}


def describe(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """The sentence of an article as its description, before sphinxext.opengraph invents one from the text."""
    if entry := entry_of(app, page):
        sentence = entry.meta["sentence"].replace("$", "").replace("\\", "")
        context["meta"] = {**(context.get("meta") or {}), "og:description": sentence}
        tag = f'<meta name="description" content="{escape(sentence, quote=True)}">'
        context["metatags"] = context.get("metatags", "") + tag


def page_context(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """The feed on every page; buttons of articles."""
    context["metatags"] = context.get("metatags", "") + (
        f'<link rel="alternate" type="application/atom+xml" title="{escape(app.config.html_title)}" '
        f'href="{render.relative(page, "feed.xml")}">'
    )
    buttons = context.get("header_buttons", [])
    entry = entry_of(app, page)
    for group in buttons:
        if group.get("label") == "download-buttons":
            kept = [b for b in group["buttons"] if b["label"] != "download-notebook-button"]
            url = render.relative(page, entry.notebook) if entry else ""
            notebook = _button(url, ".ipynb", "Download notebook file", "fas fa-code", "download-notebook-button")
            group["buttons"] = [notebook, *kept] if entry else kept
    if entry:
        url = app.config.book_site.colab(entry.article)
        colab = {
            "type": "link",
            "url": url,
            "text": "Colab",
            "tooltip": "Open in Colab",
            "icon": "fas fa-play",
            "label": "colab",
        }
        buttons.insert(0, colab)


def _button(url: str, text: str, tip: str, icon: str, name: str) -> dict[str, str]:
    return {"type": "link", "url": url, "text": text, "tooltip": tip, "icon": icon, "label": name}


def finish(app: Sphinx, exception: Exception | None) -> None:
    if exception is None and app.builder.format == "html":
        outputs.leads(app.book_entries, Path(app.outdir))  # type: ignore[attr-defined]
        outputs.write(app.book_entries, app.config.book_site, Path(app.srcdir), Path(app.outdir))  # type: ignore[attr-defined]


def setup(app: Sphinx) -> dict[str, Any]:
    cjksearch.setup()
    app.add_config_value("book_site", None, "")
    app.connect("config-inited", configure)
    app.connect("builder-inited", number_within_articles, priority=999)  # jupyter-book turns it on before
    app.connect("doctree-read", finish_page)
    app.connect("html-page-context", describe, priority=400)  # before opengraph
    app.connect("html-page-context", page_context, priority=901)  # after the theme
    app.connect("build-finished", finish)
    app.add_directive("article-header", directives.ArticleHeader)
    app.add_directive("gallery", directives.Gallery)
    app.add_directive("scoreboard", directives.Scoreboard)
    app.add_directive("status", directives.Status)
    return {"version": "1", "parallel_read_safe": False, "parallel_write_safe": True}
