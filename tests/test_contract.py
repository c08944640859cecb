"""The contract of the articles (tools.contract), on every article of the book and on planted violations."""

import re
from pathlib import Path

import pytest
import standins

from lib import ledger
from tools import articles as book
from tools import contract
from tools.contract import violations
from tools.export_notebooks import export
from tools.new_article import new_article

ROOT = Path(__file__).parents[1]
ARTICLES = {a.slug: a for a in book.articles(ROOT)}
REVISION = "0123456789abcdef0123456789abcdef01234567"
CONFIG = 'repository: {url: "https://github.com/owner/name", branch: main}\nhtml: {baseurl: "https://owner.github.io/name"}\n'
BIB = "@misc{su-blog, author = {Su, Jianlin}, title = {Blog}, year = {2026}, url = {https://spaces.ac.cn}}\n"
FIGURE = """
```{code-cell} ipython3
---
mystnb:
  figure: {name: fig-%s, caption: "A finding."}
  image: {alt: "What it shows."}
tags: [hide-input]
---
fig, ax = figures.panel();
```
"""
CELL = "\n```{code-cell} ipython3\nvalue_%d = cfg.points\n```\n"
WORDS = "A plain sentence of seven short words. " * 170


@pytest.mark.parametrize("slug", ARTICLES)
def test_the_article_keeps_the_contract(slug):
    broken = violations(ARTICLES[slug])
    assert not broken, f"{slug}: {len(broken)} violation(s)\n" + "\n".join(f"- {line}" for line in broken)


def test_every_page_in_the_parts_is_an_article():
    pages = {path.resolve() for part in book.PARTS for path in (ROOT / "book" / part).glob("*.md")}
    assert pages == {a.path for a in ARTICLES.values()}


# ---- a planted article that keeps every rule


@pytest.fixture
def root(tmp_path):
    """A book with one article: the scaffold, filled up to the size of an article."""
    (tmp_path / "_config.yml").write_text(CONFIG)
    (tmp_path / "_toc.yml").write_text("parts:\n  - caption: The book\n    chapters:\n      - file: book/about\n")
    (tmp_path / "references.bib").write_text(BIB)
    (tmp_path / "lib").symlink_to(ROOT / "lib")
    path = new_article("a-slug", "training", tmp_path)
    fill = WORDS + "".join(FIGURE % name for name in "abc") + "".join(CELL % n for n in range(3))
    path.write_text(path.read_text().replace("What the post leaves open.\n", fill))
    return tmp_path


def plant(root, *replacements):
    """The article after textual replacements; each must change something."""
    path = root / "book/training/a-slug.md"
    text = path.read_text()
    for old, new in replacements:
        assert old in text, old
        text = text.replace(old, new)
    path.write_text(text)
    return book.article("a-slug", root)


def test_the_planted_article_keeps_the_contract(root):
    article = book.article("a-slug", root)
    assert export(root) == [] and violations(article) == []


def test_the_bare_scaffold_lacks_nothing_but_its_content(tmp_path):
    (tmp_path / "_config.yml").write_text(CONFIG)
    (tmp_path / "_toc.yml").write_text("parts:\n  - caption: The book\n    chapters:\n      - file: book/about\n")
    (tmp_path / "references.bib").write_text(BIB)
    (tmp_path / "lib").symlink_to(ROOT / "lib")
    new_article("a-slug", "training", tmp_path)
    export(tmp_path)
    kinds = [re.sub(r"\d+", "N", line) for line in violations(book.article("a-slug", tmp_path))]
    assert kinds == [
        "N words; expected N to N", "N code cells outside the exercises; expected N to N", "N figures; expected N to N",
    ]  # fmt: skip


TITLE, SEED = '  title: "A slug"', "import numpy as np\n"
HUB = "hub: []"
PLANTED = [
    # front matter
    ((TITLE, "  name: x"), "front matter: title is missing"),
    ((TITLE, "  title: 3"), "front matter: title must be non-empty text"),
    ((TITLE, TITLE + "\n  colour: red"), "front matter: colour is not a known key"),
    (("slug: a-slug", "slug: other"), "slug is 'other' but the file is book/training/a-slug.md"),
    (("part: training", "part: beyond"), "part is 'beyond' but the file is"),
    (('"2020-01-01"', "2020-01-01"), "original.date must be a quoted date"),
    (('"2020-01-01"', '"1.1.2020"'), "original.date must read YYYY-MM-DD"),
    (("https://spaces.ac.cn/archives/0", "https://kexue.fm/archives/0"), "original.url must be https://spaces.ac.cn"),
    (("also: []", "also: [{title: 题目, url: x, date: y}]"), "also entry 0: url must be"),
    (("also: []", "also: none"), "also must be a list"),
    (("at most 110 characters", "x" * 110), "sentence has"),
    (("两三句中文摘要：问题是什么，怎么验证，结论如何。", "太短。"), "abstract_zh needs at least 12 Chinese"),
    (('title_zh: "原文的题目"', "title_zh: English"), "title_zh needs at least 2 Chinese characters"),
    (("seconds: 10", "seconds: 0"), "seconds must be a positive number"),
    (("seconds: 10", "seconds: 91"), "seconds must be at most 90"),
    (("memory_mb: 500", "memory_mb: much"), "memory_mb must be a positive number, got 'much'"),
    ((HUB, f"hub: [{{id: gpt, revision: {REVISION}, kind: causal-lm}}]"), "entry 0: id must read OWNER/NAME"),
    ((HUB, "hub: [{id: a/b, revision: main, kind: causal-lm}]"), "entry 0: revision must be the 40 hex digits"),
    ((HUB, f"hub: [{{id: a/b, revision: '{REVISION}', kind: oracle}}]"), "entry 0: kind must be one of causal-lm"),
    ((HUB, f"hub: [{{id: a/b, revision: '{REVISION}', kind: texts}}]"), "entry 0: file is missing"),
    (("full: {hardware", "full: {machine"), "full.hardware is missing"),
    (('full: {hardware: "one GPU, 16 GB", minutes: 10, hub: []}', "full: []"), "full must be a mapping with the keys"),
    (("lib: [ledger]", "lib: [magic]"), "lib lists 'magic', but lib has no such module"),
    (("lib: [ledger]", "lib: [networks]"), "lib lists 'networks', but no code cell imports it"),
    (("from lib import config, figures", "from lib import config, figures, train"), "lib does not list 'train'"),
    (("keywords: [keyword]", "keywords: []"), "keywords must be a non-empty list"),
    (("lead: fig-a-slug-slope", "lead: fig-other"), "lead names 'fig-other', but the figures are fig-a, "),
    (("claims: 1", "claims: 2"), "claims says 2, but the code makes 1 claim calls"),
    (("claims: 1", "claims: some"), "claims must be a positive integer"),
    # text
    (("# A slug\n", "# Another\n"), "the first heading is 'Another', the title is 'A slug'"),
    (("```{article-header}\n```\n", ""), "the page must start with its title"),
    (("## Sources", "# Sources"), "more than one first-level heading"),
    (("## What the post says", "## History"), "section 'what the post says' is missing"),
    (("## Sources", "## Notes"), "section 'sources' is missing"),
    (("## Derivation", "### Derivation"), "no heading ## for the derivation"),
    (("## Experiments", "### Experiments"), "no heading ## for the experiments, between"),
    (('source="ours"', 'source="post"'), "no claim beyond the post"),
    ((WORDS, "Too short. "), "words; expected 1200 to 3200"),
    ((WORDS, WORDS * 4), "words; expected 1200 to 3200"),
    (("### Exercise 2", "### Question"), "1 exercises (### Exercise N); expected at least 2"),
    ((":::{dropdown} Solution", ":::{dropdown} Hint"), "Exercise 1: no :::{dropdown} Solution"),
    ((":tags: [hide-cell]", ":tags: [hide-input]"), "Exercise 2: no code cell tagged hide-cell"),
    # cells
    (("3**2 - 2**2", "3**2 - "), "is not plain Python"),
    (("3**2 - 2**2", "%timeit 3"), "is not plain Python"),
    ((":tags: [config, hide-input]", ":tags: [config, hide-input]\n---\na: b\n---"), "use one :tags: line or one ---"),
    (("value_2 = cfg.points", "value_2 = 1\n" * 31), "has 31 lines; the limit is 30"),
    (("value_2 = cfg.points", ""), "is empty"),
    (("value_2 = cfg.points", "value_2 = " + "1 + " * 21 + "1"), "line 1: up to 95 characters; the limit is 90"),
    (("value_2 = cfg.points\n```", "value_2 = 1\n```" + "".join(CELL % n for n in range(11))), "expected 12 to 22"),
    ((CELL % 2, ""), "11 code cells outside the exercises; expected 12 to 22"),
    (("[config, hide-input]", "[hide-input]"), "the first code cell, and no other, must be tagged config"),
    (("config.small_or_full(SMALL, FULL)", "SMALL"), "no configuration: expected cfg = "),
    ((FIGURE % "a", CELL % 7), "3 figures; expected 4 to 7"),
    (("name: fig-b,", "name: fig-a,"), "the figure name fig-a is used twice"),
    (("name: fig-b,", "name: b,"), "a figure needs a name fig-..., got 'b'"),
    (('name: fig-b, caption: "A finding."', "name: fig-b"), "figure fig-b has no caption"),
    (('{alt: "What it shows."}', "{width: 3}"), "figure fig-a has no alt text"),
    (("tags: [hide-input]\n---\nfig, ax = figures.panel();", "---\nfig = 1"), "not tagged hide-input"),
    (("fig, ax = figures.panel();", "figures.panel()"), "ends in an expression without ';'"),
    (("3**2 - 2**2", "1 if config.mode() == 'full' else 0"), "branches on the mode: config.mode"),
    (("3**2 - 2**2", "if cfg.hub:\n    pass"), "branches on the mode: cfg.hub"),
    (("3**2 - 2**2", "[1 for _ in range(3) if cfg == FULL]"), "branches on the mode: FULL"),
    (("3**2 - 2**2", "match config.mode():\n    case _:\n        pass"), "branches on the mode: config.mode"),
    (("3**2 - 2**2", "import os\nos.environ['BOOK_MODE']"), "reads BOOK_MODE"),
    ((SEED, SEED + "np.random.seed(0)\n"), "np.random.seed uses numpy's global state"),
    ((SEED, SEED + "np.random.rand(3)\n"), "np.random.rand uses numpy's global state"),
    ((SEED, SEED + "np.random.default_rng(0)\n"), "np.random.default_rng(0) is a bare seed"),
    ((SEED, SEED + "np.random.default_rng()\n"), "np.random.default_rng() is a bare seed"),
    ((SEED, SEED + "import torch\ntorch.manual_seed(config.seed())\n"), "torch.manual_seed sets the global state"),
    ((SEED, SEED + "import torch\ntorch.Generator().manual_seed(1)\n"), "manual_seed(1) is a bare number"),
    ((SEED, SEED + "import torch\ntorch.randn(3)\n"), "torch.randn without generator= uses torch's global state"),
    ((SEED, SEED + "import random\nrandom.shuffle([1])\n"), "random.shuffle uses Python's global state"),
    ((SEED, SEED + "make(seed=3)\n"), "seed=3 is a bare number"),
    ((SEED, SEED + "make(random_state=0)\n"), "random_state=0 is a bare number"),
    ((SEED, SEED + "'龘'\n"), "龘 is not in the font subset"),
    ((HUB, f"hub: [{{id: a/b, revision: '{REVISION}', kind: causal-lm}}]"), "no cell is tagged full-scale"),
    ((HUB, f"hub: [{{id: a/b, revision: '{REVISION}', kind: causal-lm}}]"), "full.hub names the id 'a/b', but"),
    # ledger
    (('"C1", "the error', 'name, "the error'), "the id must be written out"),
    (("control=(steps, error_third), ", ""), "claim C1: control is missing"),
    ((', control_is="a third-order error"', ""), "claim C1: control_is is missing"),
    (("measured=(steps, error_forward), ", ""), "claim C1: measured is missing"),
    (("control=(steps, error_third)", "control=-3.0"), "control=-3.0 is typed, not measured"),
    (("measured=(steps, error_forward)", "measured=[1, 2 * 3]"), "is typed, not measured"),
    (('verdict="reproduced"', 'verdict="true"'), "the verdict must be written out"),
    (('verdict="reproduced"', "verdict=found"), "the verdict must be written out"),
    (('verdict="reproduced"', '**more, verdict="reproduced"'), "** hides what is claimed"),
    (("\nledger\n```", "\nprint(ledger)\n```"), "expected one cell `ledger` that shows the table, got 0"),
    # export
    (("With pencil and paper", "With {ref}`x`"), "unknown role {ref}"),
    (("With pencil and paper", "> :::{note}\n> With"), "a directive inside a list or quote"),
    (("{cite:t}`su-blog`", "{cite:t}`nobody`"), "'nobody', which is not in references.bib"),
    (("With pencil and paper", "With [this](gone.md)"), "there is no book/training/gone.md"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), PLANTED, ids=[re.sub(r"\W+", "-", m)[:60] for _, m in PLANTED])
def test_a_planted_violation_is_caught(root, change, message):
    broken = violations(plant(root, change), exported=False)
    assert any(message in line for line in broken), broken


def test_sections_out_of_order_are_caught(root):
    article = plant(
        root,
        ("## The question", "## X"),
        ("## What the post says", "## The question"),
        ("## X", "## What the post says"),
    )
    assert any("stands too early" in line for line in violations(article, exported=False))


def test_the_same_claim_twice_is_caught(root):
    text = (root / "book/training/a-slug.md").read_text()
    call = re.search(r"^ledger\.claim\(.*?^\)\n", text, re.DOTALL | re.MULTILINE)[0]
    article = plant(root, (call, call + call), ("claims: 1", "claims: 2"))
    assert violations(article, exported=False) == ["code cell 4, claim C1: the id is used twice"]


def test_a_notebook_out_of_step_is_caught(root):
    article = book.article("a-slug", root)
    assert violations(article) == ["notebooks/training/a-slug.ipynb is missing: run `make notebooks`"]
    export(root)
    article = plant(root, ("With pencil and paper", "With chalk"))
    assert violations(article) == [
        "notebooks/training/a-slug.ipynb is out of step with its source: run `make notebooks`"
    ]


@pytest.mark.parametrize(
    "change",
    [
        (
            'control=(steps, error_third), control_is="a third-order error",\n    verdict="reproduced"',
            'verdict="full mode only"',
        ),
        (SEED, SEED + "np.random.default_rng(config.seed(1))\nmake(seed=config.seed(2))\n"),
        (SEED, SEED + "import torch\ntorch.randn(3, generator=config.generator(0))\nconfig.rng(3)\n"),
        ("3**2 - 2**2", "for name in cfg.hub:\n    name"),
        ("3**2 - 2**2", "config.mode()"),
        ("3**2 - 2**2", "'注意力'"),
        ("With pencil and paper", "With `{ref}` and `` {ref}`x` `` and [itself](a-slug.md)"),
        ("## Experiments", "## When the error falls"),
    ],
)  # fmt: skip
def test_what_is_allowed_is_not_reported(root, change):
    assert violations(plant(root, change), exported=False) == []


def test_a_full_mode_article_with_pinned_ids_keeps_the_contract(root):
    cell = "\n```{code-cell} ipython3\n:tags: [full-scale]\nfor name, revision in cfg.hub:\n    name\n```\n"
    article = plant(
        root,
        (HUB, f"hub: [{{id: a/b, revision: '{REVISION}', kind: causal-lm}}]"),
        ("FULL = Setting(points=200)", f'FULL = Setting(\n    points=200, hub=(("a/b", "{REVISION}"),)\n)'),
        (CELL % 2, cell),
    )
    assert violations(article, exported=False) == []


def test_an_empty_block_is_reported_and_not_a_crash(root):
    path = root / "book/training/a-slug.md"
    path.write_text("---\narticle:\n---\n\n# X\n")
    assert book.articles(root) == []
    path.write_text("---\narticle: text\n---\n\n# X\n")
    assert "front matter: title is missing" in violations(book.article("a-slug", root))


def test_the_contract_knows_the_verdicts_and_the_kinds_that_exist():
    assert contract.VERDICTS == ledger.VERDICTS and contract.PENDING == ledger.PENDING
    assert set(book.HUB_KINDS) == set(standins.MAKERS)


def test_addresses_stand_in_the_configuration_alone():
    where = book.site(ROOT)
    tracked = [*ROOT.glob("*.md"), *ROOT.glob("book/**/*.md"), *ROOT.glob("lib/**/*.py"), *ROOT.glob("tools/*.py")]
    tracked += [*ROOT.glob("_ext/*.py"), ROOT / "pyproject.toml", ROOT / "CITATION.cff"]
    found = [p.name for p in tracked if where.url in p.read_text("utf8") or where.baseurl in p.read_text("utf8")]
    assert found == []


def test_labels_of_equations_and_figures_are_unique_in_the_book():
    labels = [
        label
        for article in ARTICLES.values()
        for cell in article.cells
        for label in re.findall(r"^\s*.*\$\$ \(([\w-]+)\)$", cell.source, re.MULTILINE)
        + ([book.figure_of(cell)["name"]] if book.figure_of(cell) else [])
    ]
    assert len(labels) > 10 * len(ARTICLES)
    assert sorted({label for label in labels if labels.count(label) > 1}) == []
