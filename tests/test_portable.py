"""tools.portable: MyST becomes plain Markdown, and what has no plain form is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.portable import Context, Converter, PortableError, bibliography, convert, raw_left, relative_link

BIB = r"""
@misc{su2020a, author = {Su, Jianlin}, title = {First {GELU} post}, year = {2020}, howpublished = {\url{https://a.b/1}}}
@misc{su2020b, author = {Su, Jianlin}, title = {Second post}, year = {2020}, url = {https://a.b/2}}
@article{two, author = {Johnson, William and Lindenstrauss, Joram}, title = {Maps},
  journal = {Contemp. Math.}, year = 1984}
@article{many, author = {Vaswani, A. and Shazeer, N. and Parmar, N.}, title = {Attention}, year = 2017,
  eprint = {1706.03762}, archiveprefix = {arXiv}}
@book{accent, author = {M{\"u}ller, J{\"o}rg}, title = {On $x$}, publisher = {P}, year = 1999}
"""


@pytest.fixture
def context(tmp_path):
    (tmp_path / "references.bib").write_text(BIB, encoding="utf-8")
    (tmp_path / "book" / "training").mkdir(parents=True)
    for name in ("a.md", "b.md"):
        (tmp_path / "book" / "training" / name).write_text("# A\n")
    link = relative_link(
        tmp_path / "book/training/a.md", tmp_path, lambda doc, anchor: f"https://site/{doc}.html#{anchor}"
    )
    return Context("HEADER", link, bibliography(tmp_path / "references.bib"))


def one(source, context=None):
    """The conversion of a single cell; whatever comes out must read as plain Markdown."""
    text = convert([source], context)[0]
    assert raw_left(text) == []
    return text


def test_plain_markdown_passes_through():
    source = "# T\n\nText *with* `code` and $x_1$.\n\n| a | b |\n|---|---|\n| 1 | $2$ |\n\n1. one\n2. two"
    source += (
        "\n\n> quote\n\n```python\nx = 1\n```\n\n<details>\n<summary>S</summary>\n\nbody\n\n</details>\n\n---\n\nend"
    )
    assert one(source) == source


# ---- formulas


def test_labelled_formulas_are_numbered_through_the_whole_article():
    first, second = convert(["$$\na\n$$ (eq-a)\n\n$$\nfree\n$$\n\nSee {eq}`eq-b`.", "$$ b $$ (eq-b)\n\nand {eq}`eq-a`"])
    assert first == "$$\na\n\\tag{1}\n$$\n\n$$\nfree\n$$\n\nSee (2)."
    assert second == "$$\nb\n\\tag{2}\n$$\n\nand (1)"


def test_formulas_inside_directives_are_numbered_in_reading_order():
    text = one(":::{note}\n$$ a $$ (eq-a)\n:::\n\n$$ b $$ (eq-b)\n\n{eq}`eq-a` {eq}`eq-b`")
    assert text.endswith("(1) (2)") and "> \\tag{1}" in text


def test_bare_line_breaks_get_the_environment_that_the_site_adds():
    assert one("$$\na \\\\ b\n$$") == "$$\n\\begin{aligned}\na \\\\ b\n\\end{aligned}\n$$"
    inner = "$$\n\\begin{aligned}\na &= b \\\\ &= c\n\\end{aligned}\n$$"
    assert one(inner) == inner


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("\\begin{align}\na\n\\end{align}", "bare environment"),
        ("$$ a $$ (x)\n\n$$ b $$ (x)", r"label \(x\) is used twice"),
        ("$$ a \\tag{7} $$ (x)", r"neither \\tag nor \\label"),
        ("$$\n\\begin{align}\na\n\\end{align}\n$$ (x)", "use aligned"),
        ("See {eq}`nowhere`.", "names the formula 'nowhere', which is not there"),
        ("In a line $$x$$ here", "inside a line"),
        ("- a\n\n  $$ x $$\n", "displayed formula inside a list"),
        ("- a\n  - nested $x$\n", "formula in a nested list"),
    ],
)
def test_formulas_that_colab_cannot_show_are_refused(source, message):
    with pytest.raises(PortableError, match=message):
        convert([source])


def test_a_formula_in_a_flat_list_is_allowed():
    assert one("- a $x$\n- b") == "- a $x$\n- b"


# ---- roles, code, links


@pytest.mark.parametrize(
    "source",
    [
        "`` {eq}`x` ``", "``` {cite}`x` ```", "`{note}`", "$a_{b}`$ and `c`", "a {b} `c`", "`[^1]`", "`[a](b.md)`",
        "```text\n{eq}`x` [^1] :::{note}\n```", "    {eq}`x` in indented code", "- item\n  ```\n  {eq}`x`\n  ```",
        "$[^1]$", "\\$5 and $6", "five \\`ticks",
    ],
)  # fmt: skip
def test_code_and_formulas_are_left_alone(source):
    assert convert([source])[0] == source


def test_roles_work_inside_lists_tables_quotes_emphasis_and_link_texts(context):
    source = "$$ a $$ (q)\n\n- *{eq}`q`*\n\n> {eq}`q`\n\n| {eq}`q` |\n|---|\n| {cite:t}`two` |\n\n[see {eq}`q`](b.md)"
    text = one(source, context)
    assert "- *(1)*" in text and "> (1)" in text and "| (1) |" in text
    assert "Johnson and Lindenstrauss (1984)" in text and "[see (1)](https://site/book/training/b.html#)" in text


@pytest.mark.parametrize("role", ["ref", "numref", "glue", "doc", "math", "cite:year", "term", "py:func"])
def test_unknown_roles_are_refused_by_name(role):
    with pytest.raises(PortableError, match=rf"unknown role {{{role}}}`x`; known are eq, cite"):
        convert([f"Text {{{role}}}`x`."])


@pytest.mark.parametrize("source", ["Text[^1].", "[^1]: note", "- item [^a]"])
def test_footnotes_are_refused(source):
    with pytest.raises(PortableError, match="footnote"):
        convert([source])


def test_links_become_full_addresses(context):
    assert one("[b](b.md)", context) == "[b](https://site/book/training/b.html#)"
    assert one("[b](../training/b.md#part)", context) == "[b](https://site/book/training/b.html#part)"
    assert one("[here](#part)", context) == "[here](https://site/book/training/a.html#part)"
    plain = '[x](https://a.b/c "title") <https://a.b> ![alt](https://a.b/c.png)'
    assert one(plain, context) == plain


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("[x](c.md)", r"there is no book/training/c\.md"),
        ("[x](../../../../etc.md)", "there is no"),
        ("![x](plot.png)", r"relative file plot\.png"),
        ("[x](data.csv)", "relative file"),
        ("[](#fig-a)", "without text"),
        ("[x][name]\n\n[name]: https://a.b", "link definitions"),
    ],
)
def test_links_that_lead_nowhere_on_colab_are_refused(context, source, message):
    with pytest.raises(PortableError, match=message):
        convert([source], context)


def test_without_a_place_relative_links_are_refused():
    with pytest.raises(PortableError, match=r"relative link b\.md"):
        convert(["[b](b.md)"])


# ---- directives


def test_admonitions_become_quotes():
    assert one(":::{note}\nSome *text*.\n\nMore.\n:::") == "> **Note.** Some *text*.\n>\n> More."
    assert one("```{warning}\nText.\n```") == "> **Warning.** Text."
    assert (
        one(":::{tip} On the first line\n:class: dropdown\nand more\n:::") == "> **Tip.** On the first line\n> and more"
    )
    assert one(":::{important}\n- a\n- b\n:::") == "> **Important**\n>\n> - a\n> - b"
    assert one(":::{admonition} A $x$ title\nText\n:::") == "> **A $x$ title**\n>\n> Text"


def test_dropdowns_become_details_and_may_hold_code():
    source = ":::{dropdown} Solution & proof\n:open:\nBecause:\n\n```python\nx = 1\n```\n:::"
    expected = "<details>\n<summary>Solution &amp; proof</summary>\n\nBecause:\n\n```python\nx = 1\n```\n\n</details>"
    assert one(source) == expected


def test_directives_nest():
    text = one("::::{dropdown} Solution\n:::{note}\nInner {eq}`q`.\n:::\n::::\n\n$$ a $$ (q)")
    assert "> **Note.** Inner (1)." in text and text.startswith("<details>")


def test_the_article_header_is_replaced(context):
    assert one("# T\n\n```{article-header}\n```\n\nText", context) == "# T\n\nHEADER\n\nText"


def test_targets_and_comments_are_dropped():
    assert one("(label)=\n## H\n\n% a comment\n\nText") == "## H\n\nText"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (":::{theorem}\nx\n:::", r"unknown directive \{theorem\}; known are note"),
        ("```{figure} a.png\n```", r"unknown directive \{figure\}"),
        ("```{code-block} python\nx\n```", r"unknown directive \{code-block\}"),
        ("```{math}\nx\n```", r"unknown directive \{math\}"),
        (":::{dropdown} S\n```{code-cell}\nx\n```\n:::", "inside another directive"),
        (":::{note}\n:::{theorem}\nx\n:::\n:::", "theorem"),
        (":::{note}\n:icon: x\ntext\n:::", "unknown option icon"),
        (":::{dropdown}\ntext\n:::", "needs a title of plain words"),
        (":::{dropdown} With $x$\ntext\n:::", "needs a title of plain words"),
        (":::{admonition}\ntext\n:::", "needs a title"),
        (":::\ntext\n:::", "must name a directive"),
        ("- item\n\n  :::{note}\n  x\n  :::", "directive inside a list"),
        ("> ```{note}\n> x\n> ```", "directive inside a list or quote"),
        ("---\ntitle: x\n---\n\nText", "front matter inside a cell"),
    ],
)
def test_other_directives_are_refused_by_name(source, message):
    with pytest.raises(PortableError, match=message):
        convert([source])


# ---- citations


def test_citations_name_author_and_year_and_are_listed_at_the_end(context):
    text, references = convert(["{cite:t}`two` and {cite:p}`many,two` and {cite}`accent`."], context)
    two, many = "Johnson and Lindenstrauss", "Vaswani et al."
    assert text == f"{two} (1984) and ({many} 2017; {two} 1984) and (Müller 1999)."
    assert references.splitlines() == [
        "**References**",
        "",
        "- A. Vaswani, N. Shazeer, N. Parmar (2017). *Attention*. <https://arxiv.org/abs/1706.03762>.",
        "- Jörg Müller (1999). *On $x$*. P.",
        "- William Johnson, Joram Lindenstrauss (1984). *Maps*. Contemp. Math.",
    ]


def test_works_of_one_author_and_year_get_letters(context):
    text, references = convert(["{cite:t}`su2020b`, {cite:t}`su2020a`"], context)
    assert text == "Su (2020a), Su (2020b)"
    assert "(2020a). *Second post*. <https://a.b/2>" in references
    assert "(2020b). *First GELU post*. <https://a.b/1>" in references


def test_citations_inside_directives_and_captions_are_listed(context):
    caption = "As in {cite:t}`many`"
    converter = Converter([":::{note}\n{cite:t}`two`\n:::", caption], context)
    assert converter.inline(caption) == "As in Vaswani et al. (2017)"
    assert set(converter.cited) == {"two", "many"}


def test_a_missing_key_is_named(context):
    with pytest.raises(PortableError, match=r"'nobody', which is not in references\.bib"):
        convert(["{cite:t}`nobody`"], context)


def test_an_article_without_citations_gets_no_list(context):
    assert convert(["a", "b"], context) == ["a", "b"]


# ---- the second reading


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (":::{note}\nx\n:::", "a raw directive"),
        ("> :::{note}", "a raw directive"),
        ("```{note}\nx\n```", "a raw directive"),
        ("- a\n\n  ```{note}\n  x\n  ```", "a raw directive"),
        ("see {eq}`x`", "a raw role"),
        ("(label)=\n# H", "a raw target"),
        ("$$ a $$ (label)", "a raw formula label"),
        ("---\na: b\n---", "raw front matter"),
        ("a[^1]", "a footnote"),
        ("% comment", "a raw comment"),
        ("\\begin{align}\na\n\\end{align}", "a bare environment"),
        ("[a](b.md)", r"a relative link (b.md)"),
    ],
)
def test_what_is_left_of_myst_is_noticed(text, what):
    assert any(found.startswith(what) for found in raw_left(text))


@given(st.text(alphabet="ab {}`$:*_[]()^#>|-\n%~!.+=\\", max_size=60))
def test_any_text_is_either_refused_or_becomes_plain(text):
    try:
        converted = convert([text])[0]
    except PortableError:
        return
    left = [what for what in raw_left(converted) if not what.startswith("a relative link")]
    assert left == [], (text, converted)
