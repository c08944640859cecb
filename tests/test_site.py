"""The checker of the built site finds what is planted, and the site's numbers are sums of the ledger's records."""

from __future__ import annotations

import json
import re
import struct
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest
from bs4 import BeautifulSoup

from _ext import catalog, outputs, render
from lib.ledger import VERDICTS, AtLeast, Ledger, Within, strip
from tools import check_site
from tools.articles import Article, Site

ROOT = Path(__file__).parents[1]
SITE = Site("https://github.com/someone/somewhere", "main", "https://someone.example/book")

ARTICLE = """<!doctype html><html><head><link rel="stylesheet" href="../book.css"></head><body>
<article class="bd-article"><h1 id="title">Title</h1>
<div class="article-header"><ul class="verdict-strip"><li><a href="#claim-c1">C1</a></li></ul>
<figure class="lead"><img src="../lead.png" alt="a line"></figure></div>
<div class="cell_output"><figure><img src="../lead.png" alt="a line"></figure></div>
<div class="cell_output"><table class="ledger"><tr id="claim-c1"><td>C1</td></tr></table></div>
<pre>:::{note} in code is fine</pre><a href="../index.html#top-part">home</a> <a href="https://spaces.ac.cn">post</a>
<!--HERE--></article></body></html>"""


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """A small site in which everything is right."""
    (tmp_path / "book").mkdir()
    (tmp_path / "index.html").write_text('<article class="bd-article"><h1 id="top-part">Home</h1></article>')
    (tmp_path / "book" / "a.html").write_text(ARTICLE)
    (tmp_path / "book.css").write_text("/* url(https://a.example/x) */ p { background: url('lead.png') url(data:x) }")
    (tmp_path / "lead.png").write_bytes(b"")
    return tmp_path


def test_a_sound_site_has_no_problems(built: Path):
    assert check_site.check(built) == []


@pytest.mark.parametrize(
    ("planted", "complaint"),
    [
        ('<script src="https://cdn.example/x.js"></script>', "<script> loads https://cdn.example/x.js"),
        ('<script src="//cdn.example/x.js"></script>', "<script> loads //cdn.example/x.js"),
        ('<img src="https://cdn.example/x.png" alt="x">', "<img> loads"),
        (
            '<img srcset="../lead.png 1x, https://cdn.example/2.png 2x" alt="x">',
            "<img> loads https://cdn.example/2.png",
        ),
        ('<iframe src="http://cdn.example"></iframe>', "<iframe> loads"),
        ('<link rel="stylesheet" href="https://cdn.example/k.css">', "<link> loads"),
        ('<link rel="shortcut icon" href="https://cdn.example/i.ico">', "<link> loads"),
        ('<link rel="preload" href="https://cdn.example/f.woff2">', "<link> loads"),
        ('<style>@import "https://cdn.example/a.css";</style>', "style sheet loads https://cdn.example/a.css"),
        ('<p style="background: url(https://cdn.example/b.png)">', "style sheet loads https://cdn.example/b.png"),
        ('<a href="nowhere.html">x</a>', "nowhere.html does not exist"),
        ('<a href="../index.html#nothing">x</a>', "#nothing has no such anchor"),
        ('<a href="#nothing">x</a>', "#nothing has no such anchor"),
        ('<a href="../../../../../../../etc/hosts">x</a>', "leads out of the site"),
        ('<img src="../missing.png" alt="x">', "missing.png does not exist"),
        ('<img src="../lead.png">', "has no alt text"),
        ('<img src="../lead.png" alt=" ">', "has no alt text"),
        ("<p>\n:::{note}\ntext</p>", "raw Markdown"),
        ("<p>```{code-cell} ipython3</p>", "raw Markdown"),
        ("<pre>Traceback (most recent call last):</pre>", "a traceback"),
        ('<p id="title">x</p>', "id title stands 2 times"),
    ],
)
def test_each_planted_violation_is_found(built: Path, planted: str, complaint: str):
    (built / "book" / "a.html").write_text(ARTICLE.replace("<!--HERE-->", planted))
    found = check_site.check(built)
    assert len(found) == 1
    assert complaint in found[0]


@pytest.mark.parametrize(
    ("part", "complaint"),
    [
        ('<ul class="verdict-strip"><li><a href="#claim-c1">C1</a></li></ul>', "verdict strip is missing"),
        ('<tr id="claim-c1">', "there is no ledger row"),
        ('<figure class="lead"><img src="../lead.png" alt="a line"></figure>', "lead figure is missing"),
        ('<div class="cell_output"><figure><img src="../lead.png" alt="a line"></figure></div>', "there is no figure"),
    ],
)
def test_an_article_without_its_parts_is_found(built: Path, part: str, complaint: str):
    (built / "book" / "a.html").write_text(ARTICLE.replace(part, ""))
    assert any(complaint in problem for problem in check_site.check(built))


def test_a_ledger_row_that_the_strip_does_not_name_is_found(built: Path):
    more = '<table class="ledger"><tr id="claim-c2"></tr></table>'
    (built / "book" / "a.html").write_text(ARTICLE.replace("<!--HERE-->", more))
    assert ["strip and ledger rows differ in claim-c2" in p for p in check_site.check(built)] == [True]


def test_style_sheets_may_load_nothing_from_elsewhere(built: Path):
    (built / "book.css").write_text(
        "@font-face { src: url(https://fonts.example/a.woff2) } p { background: url(no.png) }"
    )
    found = check_site.check(built)
    assert ["loads https://fonts.example" in found[0], "no.png does not exist" in found[1]] == [True, True]


def test_an_empty_folder_is_no_site(tmp_path: Path):
    assert "no pages" in check_site.check(tmp_path)[0]


def records(slug: str) -> list[dict]:
    """A ledger with each kind of verdict, and one claim that fails."""
    ledger = Ledger(slug)
    pair = {"tol": AtLeast(1.0), "control_is": "none", "source": "post"}
    ledger.claim("C1", "up", measured=2.0, control=0.0, verdict="reproduced", **pair)
    ledger.claim("C2", "up & <away>", measured=2.0, control=0.0, verdict="corrected", **pair)
    ledger.claim("C3", "down", measured=0.0, control=2.0, verdict="contradicted", **pair)
    ledger.claim("C4", "later", tol=Within(rel=0.1), source="post", verdict="full mode only")
    ledger.claim("C5", "more", measured=2.0, control=0.0, verdict="reproduced", **{**pair, "source": "ours"})
    return [*ledger.records, {**ledger.records[0], "id": "C6", "held": False}]


def entry(slug: str, part: str, sweep: dict | None = None) -> catalog.Entry:
    post = {"title": "题目", "url": "https://spaces.ac.cn/archives/1", "date": "2020-01-01"}
    meta = {
        "title": f"Title of {slug}",
        "original": post,
        "also": [post],
        "sentence": "It <holds> & more.",
        "lead": "fig",
    }
    meta |= {"seconds": 20, "memory_mb": 600, "title_zh": "题目", "abstract_zh": "摘要"}
    run = SimpleNamespace(records=records(slug), seconds=12.3, memory_mb=411.0, date="2026-11-01", versions={}, key="k")
    return catalog.Entry(Article(ROOT / "book" / part / f"{slug}.md", ROOT, meta), run, None, sweep)


ENTRIES = [entry("one", "training"), entry("two", "training"), entry("three", "beyond")]


def test_the_tally_counts_every_record_once_and_reads_as_the_ledgers_own_strip():
    mine = records("one")
    groups = catalog.tally(mine)
    assert sum(map(len, groups.values())) == len(mine)
    assert " · ".join(f"{len(group)} {name}" for name, group in groups.items()) == strip(mine)


def test_scoreboard_totals_claims_json_and_records_agree():
    everything = [r for e in ENTRIES for r in e.records]
    count = Counter(catalog.label(r) for r in everything)
    exported = outputs.claims(ENTRIES)
    assert exported["totals"] == dict(count)
    assert len(exported["claims"]) == len(everything)
    rows = BeautifulSoup(render.totals(ENTRIES), "html.parser").select("tbody tr")
    table = [{str(cell["data-label"]): cell.get_text() for cell in row.select("td")} for row in rows]
    assert [row["part"] for row in table] == ["training", "beyond", "all"]
    for name, number in count.items():
        assert int(table[-1][name]) == number == sum(int(row[name]) for row in table[:-1])
    assert int(table[-1]["claims"]) == len(everything)


def test_the_strip_links_to_each_row_and_escapes_statements():
    strip_html = BeautifulSoup(render.strip(ENTRIES[0]), "html.parser")
    assert [a["href"] for a in strip_html.select("a")] == [f"#claim-c{i}" for i in (1, 2, 3, 4, 6, 5)]
    assert "<away>" not in render.strip(ENTRIES[0])
    row = render.claim_row(ENTRIES[2], ENTRIES[2].records[3], "book/scoreboard")
    assert 'href="../book/beyond/three.html#claim-c4"' in row[0]


def test_the_held_column_tells_old_counts_from_current_ones():
    sweep = {"key": "k", "seeds": [0, 1, 2, 3], "claims": {"C1": 3}}
    assert entry("one", "training", sweep).held("C1") == "3/4 seeds"
    assert entry("one", "training", {**sweep, "key": "before"}).held("C1") == "3/4 seeds, older code"
    assert entry("one", "training", sweep).held("C9") == entry("one", "training").held("C1") == ""


def test_the_lead_figure_is_the_one_that_the_front_matter_names():
    def cell(name: str, **data: str) -> dict:
        meta = {"mystnb": {"figure": {"name": name, "caption": "c"}, "image": {"alt": "a"}}, "tags": ["keep-colors"]}
        return {"metadata": meta, "outputs": [{"output_type": "stream"}, {"data": data}]}

    cells = [{"metadata": {}}, cell("other", **{"image/png": "AAAA"}), cell("fig", **{"image/svg+xml": "<svg/>"})]
    assert catalog.lead_figure(cells, "fig") == catalog.Figure(b"<svg/>", "svg", "c", "a", True)
    assert catalog.lead_figure(cells, "other").data == b"\0\0\0"
    assert catalog.lead_figure(cells, "none") is None


def test_wide_figures_are_those_that_a_phone_would_shrink_too_far():
    head = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
    assert render.is_wide(head + struct.pack(">II", 1002, 364))
    assert not render.is_wide(head + struct.pack(">II", 716, 342)) and not render.is_wide(b"<svg/>")


def test_the_feed_is_xml_with_one_entry_an_article():
    tree = ElementTree.fromstring(outputs.feed(ENTRIES, SITE))
    links = [e.get("href") for e in tree.findall("{*}entry/{*}link")]
    assert links == [f"https://someone.example/book/{e.docname}.html" for e in ENTRIES]


def test_claims_json_is_json():
    assert json.loads(json.dumps(outputs.claims(ENTRIES)))["claims"][0]["page"] == "book/training/one.html#claim-c1"


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_every_badge_is_legible_in_both_themes():
    css = (ROOT / "_static" / "book.css").read_text(encoding="utf-8")
    pairs = re.findall(r"--es-([a-z]+)-ink: (#[0-9a-f]{6});\s*--es-\1: (#[0-9a-f]{6});", css)
    assert len(pairs) == 14
    page = {
        "#1c2430": "#ffffff",
        "#566173": "#ffffff",
        "#0b5a8a": "#ffffff",
        "#e4e8ee": "#121212",
        "#a4aebc": "#1a1e24",
    }
    for ink, ground in [*((ink, ground) for _, ink, ground in pairs), *page.items()]:
        high, low = sorted((luminance(ink), luminance(ground)), reverse=True)
        assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, ground)  # WCAG AA for small text


def test_every_verdict_has_its_colour():
    css = (ROOT / "_static" / "book.css").read_text(encoding="utf-8")
    for name in catalog.LABELS:
        assert f".verdict-{name.replace(' ', '-')}" in css
    for name in VERDICTS:
        assert f".claim-{name.replace(' ', '-')}" in css


def test_nothing_vendored_is_missing_and_its_licence_lies_beside_it():
    vendored = ROOT / "site" / "vendor" / "mathjax"
    assert {"tex-chtml.js", "LICENSE"} <= {path.name for path in vendored.iterdir()}
    assert len(list((vendored / "output" / "chtml" / "fonts" / "woff-v2").glob("*.woff"))) > 20


def test_addresses_of_the_book_stand_in_the_configuration_alone():
    settings = (ROOT / "_config.yml").read_text(encoding="utf-8")
    address = re.search(r"baseurl: https://(\S+?)/", settings)[1]
    for path in [*(ROOT / "_ext").glob("*.py"), *(ROOT / "_static").iterdir()]:
        assert address not in path.read_text(encoding="utf-8"), path.name
