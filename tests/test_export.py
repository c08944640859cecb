"""tools.articles, tools.export_notebooks and tools.new_article on a planted book."""

import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml

from tools import articles as book
from tools import new_article
from tools.export_notebooks import export, main, notebook
from tools.portable import PortableError, raw_left

ROOT = Path(__file__).parents[1]
CONFIG = """\
repository: {url: "https://github.com/owner/name", branch: main}
html: {baseurl: "https://owner.github.io/name/"}
"""
TOC = """\
format: jb-book
root: index
parts:
  - caption: Training
    chapters:
      - file: book/training/old

  - caption: The book
    chapters:
      - file: book/about
"""
BIB = "@misc{su-blog, author = {Su, Jianlin}, title = {Blog}, year = {2026}, url = {https://spaces.ac.cn}}\n"


@pytest.fixture
def root(tmp_path):
    """A book with one scaffolded article and a small lib."""
    (tmp_path / "_config.yml").write_text(CONFIG)
    (tmp_path / "_toc.yml").write_text(TOC)
    (tmp_path / "references.bib").write_text(BIB)
    (tmp_path / "requirements.txt").write_text("torch==1\n")
    files = {
        "__init__": "", "config": "", "ledger": "from lib import config", "figures": "", "lonely": "",
        "deep": "def f():\n    from lib.data.words import g", "data/__init__": "", "data/words": "import lib.config",
    }  # fmt: skip
    for name, text in files.items():
        path = tmp_path / "lib" / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    for name in ("assets/font.otf", "data/words.csv"):
        (tmp_path / "lib" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "lib" / name).write_text("x")
    new_article.new_article("a-slug", "training", tmp_path)
    return tmp_path


def planted(root, **changes):
    """The article after replacing text in its source."""
    path = root / "book/training/a-slug.md"
    text = path.read_text()
    for old, new in changes.get("replace", ()):
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    return book.article("a-slug", root)


def sources(article, **options):
    return ["".join(c["source"]) for c in notebook(article, book.site(article.root), **options)["cells"]]


# ---- discovery, addresses, keys


def test_articles_are_the_pages_with_an_article_block(root):
    (root / "book/about.md").write_text("# About\n")
    (root / "book/training/note.md").write_text("---\ntitle: x\n---\n# Note\n")
    (found,) = book.articles(root)
    assert (found.slug, found.part, found.docname) == ("a-slug", "training", "book/training/a-slug")
    assert found.notebook == root / "notebooks/training/a-slug.ipynb" and found.meta["slug"] == "a-slug"
    assert len(found.cells) == len(found.code) + len(found.markdown)


def test_articles_come_in_the_order_of_the_parts(root):
    for slug, part in (("z", "attention"), ("b", "training"), ("a", "beyond")):
        new_article.new_article(slug, part, root)
    assert [a.slug for a in book.articles(root)] == ["z", "a-slug", "b", "a"]


def test_an_unknown_article_is_refused_with_the_known_ones(root):
    with pytest.raises(ValueError, match="no article 'x'; there are: a-slug"):
        book.article("x", root)


def test_unreadable_front_matter_names_the_file(root):
    (root / "book/training/bad.md").write_text("---\na: [\n---\n")
    with pytest.raises(ValueError, match=r"bad\.md: the front matter is not valid YAML"):
        book.articles(root)


def test_addresses_come_from_the_settings(root):
    site, article = book.site(root), book.article("a-slug", root)
    assert site.page("book/x", "y") == "https://owner.github.io/name/book/x.html#y"
    notebook_path = "github/owner/name/blob/main/notebooks/training/a-slug.ipynb"
    assert site.colab(article) == f"https://colab.research.google.com/{notebook_path}"
    assert site.requirement("abc") == "executable-spaces @ git+https://github.com/owner/name@abc"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"repository\.url, repository\.branch, html\.baseurl must be"),
        ("repository: {url: 'https://github.com/a/b'}\nhtml: {baseurl: x}", r"repository\.branch must be"),
        ("repository: {url: 'https://gitlab.com/a/b', branch: m}\nhtml: {baseurl: x}", r"must be https://github\.com"),
    ],
)
def test_incomplete_settings_are_refused(root, text, message):
    (root / "_config.yml").write_text(text)
    with pytest.raises(ValueError, match=message):
        book.site(root)


def test_missing_settings_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"_config\.yml is missing"):
        book.site(tmp_path)


def test_the_book_itself_has_addresses():
    assert book.site(ROOT).url.startswith("https://github.com/")


def names(files):
    return {path.name for path in files if path.name != "__init__.py"}


def test_the_closure_follows_imports_into_functions_and_packages(root):
    assert names(book.lib_closure("from lib.ledger import x", root)) == {"ledger.py", "config.py"}
    assert names(book.lib_closure("def f():\n    import lib.deep as d", root)) == {"deep.py", "words.py", "config.py"}
    assert names(book.lib_closure(["lib.figures"], root)) == {"figures.py"}
    assert book.lib_closure("import math, library", root) == set()


def test_data_files_belong_to_the_modules_that_read_them(root):
    def found(code):
        return [path.name for path in book.assets(book.lib_closure(code, root), root)]

    assert found("from lib import figures") == ["font.otf"]
    assert found("import lib.deep") == ["words.csv"]
    assert found("import lib.config") == []


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("lib/ledger.py", True), ("lib/config.py", True), ("lib/figures.py", True), ("lib/__init__.py", True),
        ("lib/assets/font.otf", True), ("requirements.txt", True),
        ("lib/lonely.py", False), ("lib/deep.py", False), ("lib/data/words.csv", False),
        ("book/training/a-slug.md", False),
    ],
)  # fmt: skip
def test_the_key_changes_with_what_the_article_rests_on_and_with_nothing_else(root, file, changes):
    before = book.code_key(book.article("a-slug", root))
    (root / file).write_text((root / file).read_text() + "\n# edited\n")
    assert (book.code_key(book.article("a-slug", root)) != before) == changes


# ---- export


def test_the_export_is_a_valid_notebook_without_outputs(root):
    assert export(root) == []
    path = root / "notebooks/training/a-slug.ipynb"
    nb = nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)
    nbformat.validate(nb)
    assert (nb.nbformat, nb.nbformat_minor, nb.metadata.kernelspec.name) == (4, 5, "python3")
    code = [c for c in nb.cells if c.cell_type == "code"]
    assert all(c.outputs == [] and c.execution_count is None for c in code)
    assert len({c.id for c in nb.cells}) == len(nb.cells) and all(re.fullmatch("[0-9a-f]{12}", c.id) for c in nb.cells)


def test_the_export_is_deterministic_to_the_byte(root):
    export(root)
    export(root, root / "again")
    texts = [(root / place / "training/a-slug.ipynb").read_bytes() for place in ("notebooks", "again")]
    assert texts[0] == texts[1] and texts[0].endswith(b"}\n") and b"\r" not in texts[0]
    assert list(json.loads(texts[0])) == sorted(json.loads(texts[0]))


def test_links_stand_first_then_the_set_up_cell_then_the_article(root):
    cells = notebook(book.article("a-slug", root), book.site(root))["cells"]
    assert "colab-badge.svg" in cells[0]["source"][0] and "https://spaces.ac.cn/archives/0" in cells[0]["source"][0]
    assert cells[1]["metadata"] == {"tags": ["setup", "remove-cell"]}
    first = "".join(cells[2]["source"])
    for part in (
        "# A slug",
        "原文的题目",
        "摘要：",
        "Su Jianlin",
        "https://owner.github.io/name/book/training/a-slug.html",
    ):
        assert part in first
    assert "{article-header}" not in first


def test_code_cells_are_those_of_the_source_with_their_tags(root):
    article = book.article("a-slug", root)
    cells = [c for c in notebook(article, book.site(root))["cells"] if c["cell_type"] == "code"][1:]
    assert ["".join(c["source"]) for c in cells] == [c.source for c in article.code]
    assert [c["metadata"] for c in cells] == [c.metadata for c in article.code]


def test_a_caption_follows_its_figure_as_an_italic_line(root):
    texts = sources(book.article("a-slug", root))
    place = next(i for i, text in enumerate(texts) if "loglog" in text)
    assert texts[place + 1] == "*Figure 1. The error falls in proportion to the step (C1).*"


def test_captions_are_converted_too(root):
    text = "The error, see {eq}`eq-a-slug-step` and {cite:t}`su-blog`."
    article = planted(root, replace=[("The error falls in proportion to the step (C1).", text)])
    assert "*Figure 1. The error, see (1) and Su (2026).*" in sources(article)


def test_the_references_come_last(root):
    assert sources(book.article("a-slug", root))[-1].startswith("**References**\n\n- Jianlin Su (2026).")


def test_no_myst_is_left(root):
    cells = notebook(book.article("a-slug", root), book.site(root))["cells"]
    assert [raw_left("".join(c["source"])) for c in cells if c["cell_type"] == "markdown"] == [[]] * sum(
        c["cell_type"] == "markdown" for c in cells
    )


def test_ref_stamps_the_set_up_cell_and_the_badge(root):
    texts = sources(book.article("a-slug", root), ref="0123abc")
    assert "git+https://github.com/owner/name@0123abc" in texts[1] and "/blob/0123abc/notebooks/" in texts[0]


def test_the_set_up_cell_installs_only_when_lib_is_absent(root, tmp_path):
    setup = sources(book.article("a-slug", root))[1]
    assert "%pip" not in setup
    fake = "import subprocess; subprocess.check_call = lambda command: print(command[-1])\n"
    for place, expected in (
        (ROOT, ""),
        (tmp_path / "empty", "executable-spaces @ git+https://github.com/owner/name@main\n"),
    ):
        place.mkdir(exist_ok=True)
        command = [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(place)!r})\n" + fake + setup]
        done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=True)
        assert done.stdout == expected


def test_check_writes_nothing_and_names_what_is_out_of_step(root, capsys):
    assert main(["--check", "--root", str(root)]) == 1
    assert "a-slug.ipynb is missing for its source" in capsys.readouterr().out
    assert not (root / "notebooks").exists()
    assert main(["--root", str(root)]) == 0 and main(["--check", "--root", str(root)]) == 0
    planted(root, replace=[("With pencil and paper", "With chalk")])
    assert main(["--check", "--root", str(root)]) == 1
    assert "training/a-slug.ipynb has drifted from its source" in capsys.readouterr().out


def test_notebooks_without_an_article_are_listed(root, capsys):
    main(["--root", str(root)])
    (root / "notebooks/training/ghost.ipynb").write_text("{}")
    assert main(["--check", "--root", str(root)]) == 1
    assert "training/ghost.ipynb has no article: delete it" in capsys.readouterr().out
    assert (root / "notebooks/training/ghost.ipynb").exists()


def test_an_article_that_cannot_be_exported_does_not_stop_the_others(root):
    new_article.new_article("second", "beyond", root)
    planted(root, replace=[("With pencil and paper", "With {ref}`x`")])
    (trouble,) = export(root)
    assert trouble.startswith("book/training/a-slug.md: unknown role {ref}")
    assert (root / "notebooks/beyond/second.ipynb").exists() and not (root / "notebooks/training/a-slug.ipynb").exists()


def test_raw_cells_and_incomplete_front_matter_are_refused(root):
    with pytest.raises(PortableError, match="a raw cell"):
        sources(planted(root, replace=[("## Sources", "```{raw-cell}\nx\n```\n\n## Sources")]))
    with pytest.raises(PortableError, match="the front matter lacks 'sentence'"):
        sources(planted(root, replace=[("  sentence:", "  phrase:")]))


# ---- scaffold


def test_the_scaffold_is_listed_in_its_part_and_the_rest_stays(root):
    assert (root / "_toc.yml").read_text() == TOC.replace("old\n", "old\n      - file: book/training/a-slug\n")


def test_a_new_part_takes_its_place_in_the_order_of_the_book(root):
    for slug, part in (("x", "attention"), ("y", "beyond"), ("z", "beyond")):
        new_article.new_article(slug, part, root)
    toc = yaml.safe_load((root / "_toc.yml").read_text())
    assert [p["caption"] for p in toc["parts"]] == ["Attention", "Training", "Beyond", "The book"]
    assert [c["file"] for c in toc["parts"][2]["chapters"]] == ["book/beyond/y", "book/beyond/z"]


def test_a_part_can_be_added_to_a_list_without_pages_of_the_book():
    text = (
        "format: jb-book\nroot: index\nparts:\n  - caption: Attention\n    chapters:\n      - file: book/attention/a\n"
    )
    assert yaml.safe_load(new_article.add_to_toc(text, "b", "beyond"))["parts"][1]["caption"] == "Beyond"


def test_the_set_up_cell_installs_what_the_front_matter_asks_for_beside_lib(root):
    article = book.article("a-slug", root)
    article.meta["colab"] = ["captum>=0.9"]
    assert book.problems(article) == []
    setup = "".join(notebook(article, book.site(root))["cells"][1]["source"])
    assert '["captum>=0.9", "executable-spaces @ git+' in setup
    article.meta["colab"] = ["captum==0.9"]
    assert any("colab must be a list" in problem for problem in book.problems(article))


@pytest.mark.parametrize("slug", ["A", "a_b", "a--b", "-a", "a b", "../a", "", "文"])
def test_invalid_slugs_are_refused(root, slug):
    with pytest.raises(ValueError, match="SLUG must be lower-case words"):
        new_article.new_article(slug, "training", root)


def test_unknown_parts_are_refused(root):
    with pytest.raises(ValueError, match="PART must be one of attention"):
        new_article.new_article("x", "cooking", root)


def test_nothing_is_overwritten(root):
    before = (root / "book/training/a-slug.md").read_text(), (root / "_toc.yml").read_text()
    for part in ("training", "beyond"):  # a slug is taken in every part
        with pytest.raises(FileExistsError, match=r"book/training/a-slug\.md exists"):
            new_article.new_article("a-slug", part, root)
    with pytest.raises(FileExistsError, match=r"_toc\.yml lists book/training/old already"):
        new_article.new_article("old", "training", root)
    assert not (root / "book/training/old.md").exists()
    assert ((root / "book/training/a-slug.md").read_text(), (root / "_toc.yml").read_text()) == before


def test_a_table_of_contents_in_another_form_is_left_alone(root):
    (root / "_toc.yml").write_text("format: jb-article\nroot: index\n")
    with pytest.raises(ValueError, match="cannot extend"):
        new_article.new_article("x", "training", root)
    assert not (root / "book/training/x.md").exists()


def test_the_command_reports_errors_without_a_traceback(root, capsys):
    with pytest.raises(SystemExit) as stop:
        new_article.main(["a-slug", "training", "--root", str(root)])
    assert stop.value.code == 1 and "exists; choose another slug" in capsys.readouterr().err
    assert new_article.main(["fresh", "training", "--root", str(root)]) == 0


@pytest.mark.slow
def test_the_scaffold_runs_as_it_is(root):
    texts = [c.source for c in book.article("a-slug", root).code]
    script = "import matplotlib\nmatplotlib.use('agg')\n" + "\n".join(texts)
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "C1 [reproduced]" in done.stdout
