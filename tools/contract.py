"""What an article owes its reader, as rules: `violations(article)` lists every one that it breaks.

Each rule is a function from an article to messages; tests plant a violation of each and ask that it is caught.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from tools.articles import CHINESE, Article, claim_calls, figure_of, parse, problems, site
from tools.export_notebooks import as_text, notebook
from tools.portable import PortableError, raw_left, unfenced

CODE_CELLS, FIGURES, WORDS = (12, 22), (4, 7), (1200, 3200)
CELL_LINES, COLUMNS, EXERCISES = 30, 90, 2
PENDING = "full mode only"
VERDICTS = ("reproduced", "corrected", "contradicted", "not at this scale", PENDING)
FONT = Path("lib") / "assets" / "NotoSansSC-Book.otf"
# Headings of level 2 that every article has, in this order. Derivation and experiments are named by their content:
# at least one heading stands between each pair of SPANS, one on what we add (OWN) not counted.
SECTIONS = {
    "the question": r"^the question",
    "what the post says": r"\bposts?\b.*\b(say|argue|claim|propose|do)",
    "the smallest example by hand": r"by hand|smallest example",
    "the ledger": r"^the ledger",
    "what fails, errata, later work": r"fail|errat|later work|came later",
    "exercises": r"^exercises",
    "sources": r"^sources",
}
SPANS = (
    ("derivation", "what the post says", "the smallest example by hand"),
    ("experiments", "the smallest example by hand", "the ledger"),
)
OWN = r"beyond the post|we add"
TORCH_RANDOM = {"rand", "randn", "randint", "randperm", "normal", "bernoulli", "multinomial"}
PYTHON_RANDOM = {"seed", "random", "randint", "randrange", "choice", "choices", "sample", "shuffle", "gauss", "uniform"}
NUMPY_RANDOM = {"Generator", "SeedSequence", "PCG64", "default_rng"}


def violations(article: Article, *, exported: bool = True) -> list[str]:
    """Every rule that the article breaks, as messages; with `exported=False` the committed notebook is not compared."""
    rules = [rule for rule in RULES if exported or rule is not export_in_step]
    return [message for rule in rules for message in rule(article)]


# ---- text ------------------------------------------------------------------------------------------------------------


def front_matter_valid(article: Article) -> Iterator[str]:
    yield from (f"front matter: {problem}" for problem in problems(article))


def page_starts_with_the_header(article: Article) -> Iterator[str]:
    text = "\n".join(cell.source for cell in article.markdown)
    start = re.match(r"\s*# (.+?)\s*\n\s*```\{article-header\}\n```", text)
    if not start:
        yield "the page must start with its title (# ...) and the {article-header} directive"
    elif start[1] != article.meta.get("title"):
        yield f"the first heading is {start[1]!r}, the title is {article.meta.get('title')!r}"
    if text.count("{article-header}") > 1:
        yield "{article-header} stands more than once"
    if extra := re.findall(r"^# .+", "\n".join(_prose(article)), re.MULTILINE)[1:]:
        yield f"more than one first-level heading: {extra[0]}"


def headings(article: Article) -> list[tuple[int, str]]:
    """(level, text) of the headings, in order."""
    return [(len(m[1]), m[2]) for m in re.finditer(r"^(#{1,6}) +(.+?)\s*$", "\n".join(_prose(article)), re.MULTILINE)]


def sections_in_order(article: Article) -> Iterator[str]:
    texts = [text.lower() for level, text in headings(article) if level == 2]
    places: dict[str, int] = {}
    for name, pattern in SECTIONS.items():
        found = [i for i, text in enumerate(texts) if re.search(pattern, text)]
        start = max(places.values(), default=-1)
        if not found:
            yield f"section {name!r} is missing (no heading ## matches {pattern!r})"
        elif after := [i for i in found if i > start]:
            places[name] = after[0]
        else:
            yield f"section {name!r} stands too early"
    for name, left, right in SPANS:
        if left not in places or right not in places:
            continue
        between = texts[places[left] + 1 : places[right]]
        if not [text for text in between if not re.search(OWN, text)]:
            yield f"no heading ## for the {name}, between {left!r} and {right!r}"


def something_of_our_own(article: Article) -> Iterator[str]:
    """What we add beyond the post is at least one claim of our own."""
    calls = [call for cell in article.code for call in claim_calls(cell.source)]
    sources = [k.value for call in calls for k in call.keywords if k.arg == "source"]
    if not any(isinstance(value, ast.Constant) and value.value == "ours" for value in sources):
        yield 'no claim beyond the post: none has source="ours"'


def word_count(article: Article) -> int:
    """English words of the prose: no code, formulas, addresses or directive names."""
    text = "\n".join(_prose(article))
    for pattern in (r"\$\$.+?\$\$", r"\$[^$]+\$", r"`[^`]*`", r"\]\([^)]*\)", r"https?://\S+", r"\{[\w:-]+\}"):
        text = re.sub(pattern, " ", text, flags=re.DOTALL)
    return len(re.findall(r"[A-Za-z][A-Za-z'’-]*", text))


def words_within_limits(article: Article) -> Iterator[str]:
    if not WORDS[0] <= (count := word_count(article)) <= WORDS[1]:
        yield f"{count} words; expected {WORDS[0]} to {WORDS[1]}"


def exercises_with_solutions(article: Article) -> Iterator[str]:
    blocks = _exercises(article)
    if len(blocks) < EXERCISES:
        yield f"{len(blocks)} exercises (### Exercise N); expected at least {EXERCISES}"
    for name, text, code in blocks:
        if not re.search(r"^(:{3,}|`{3,})\{dropdown\} +Solution", text, re.MULTILINE):
            yield f"{name}: no :::{{dropdown}} Solution"
        if not any("hide-cell" in _tags(cell) for cell in code):
            yield f"{name}: no code cell tagged hide-cell"


# ---- cells -----------------------------------------------------------------------------------------------------------


def code_parses(article: Article) -> Iterator[str]:
    for n, cell in enumerate(article.code, start=1):
        if re.match(r"\s*(---\n|:\w+:)", cell.source):
            yield f"code cell {n}: options inside the code; use one :tags: line or one --- block, not both"
            continue
        try:
            ast.parse(cell.source)
        except SyntaxError as error:
            yield f"code cell {n} is not plain Python ({error.msg}, line {error.lineno})"


def cells_within_limits(article: Article) -> Iterator[str]:
    main = main_cells(article)
    if not CODE_CELLS[0] <= len(main) <= CODE_CELLS[1]:
        yield f"{len(main)} code cells outside the exercises; expected {CODE_CELLS[0]} to {CODE_CELLS[1]}"
    for n, cell in enumerate(article.code, start=1):
        lines = cell.source.splitlines()
        if len(lines) > CELL_LINES and any(cell is other for other in main):
            yield f"code cell {n} has {len(lines)} lines; the limit is {CELL_LINES}"
        if not cell.source.strip():
            yield f"code cell {n} is empty"
        if wide := [k for k, line in enumerate(lines, start=1) if len(line) > COLUMNS]:
            where = "line " + ", ".join(map(str, wide))
            yield f"code cell {n}, {where}: up to {max(map(len, lines))} characters; the limit is {COLUMNS}"


def config_cell_first(article: Article) -> Iterator[str]:
    tagged = [n for n, cell in enumerate(article.code) if "config" in _tags(cell)]
    if tagged != [0]:
        yield "the first code cell, and no other, must be tagged config"
    made = {
        (_dotted(n.targets[0]), _dotted(n.value.func))
        for n in ast.walk(_code(article))
        if isinstance(n, ast.Assign) and isinstance(n.value, ast.Call)
    }
    if ("cfg", "config.small_or_full") not in made:
        yield "no configuration: expected cfg = config.small_or_full(SMALL, FULL)"


def figures_complete(article: Article) -> Iterator[str]:
    cells = [(n, cell) for n, cell in enumerate(article.code, start=1) if (cell.metadata.get("mystnb") or {})]
    if not FIGURES[0] <= len(cells) <= FIGURES[1]:
        yield f"{len(cells)} figures; expected {FIGURES[0]} to {FIGURES[1]}"
    names: set[str] = set()
    for n, cell in cells:
        figure, image = figure_of(cell), cell.metadata["mystnb"].get("image") or {}
        name = str(figure.get("name", ""))
        if not re.fullmatch(r"fig-[a-z0-9-]+", name):
            yield f"code cell {n}: a figure needs a name fig-..., got {name!r}"
        elif name in names:
            yield f"code cell {n}: the figure name {name} is used twice"
        names.add(name)
        if not str(figure.get("caption") or "").strip():
            yield f"code cell {n}: figure {name} has no caption"
        if not str(image.get("alt") or "").strip():
            yield f"code cell {n}: figure {name} has no alt text"
        if "hide-input" not in _tags(cell):
            yield f"code cell {n}: figure {name} is not tagged hide-input"
        body = parse(cell.source).body
        if body and isinstance(body[-1], ast.Expr) and not cell.source.rstrip().endswith(";"):
            yield f"code cell {n}: figure {name} ends in an expression without ';', so its repr is printed"


def no_branch_on_the_mode(article: Article) -> Iterator[str]:
    for n, cell in enumerate(article.code, start=1):
        if "BOOK_MODE" in cell.source:
            yield f"code cell {n} reads BOOK_MODE; the configuration alone knows the mode"
        tests = [test for node in ast.walk(parse(cell.source)) for test in _tests(node)]
        parts = [part for test in tests for part in ast.walk(test)]
        for name in sorted({_dotted(part) for part in parts} & {"config.mode", "cfg.hub", "SMALL", "FULL"}):
            yield f"code cell {n} branches on the mode: {name} stands in a condition"


def no_bare_seeds(article: Article) -> Iterator[str]:
    for n, cell in enumerate(article.code, start=1):
        for node in ast.walk(parse(cell.source)):
            if isinstance(node, ast.Call) and (problem := _bare_seed(node)):
                yield f"code cell {n}: {problem}; use config.seed, config.rng or config.generator"


def full_scale_cells(article: Article) -> Iterator[str]:
    full = article.meta.get("full")
    hub = full.get("hub") or [] if isinstance(full, dict) else []
    tagged = [cell for cell in article.code if "full-scale" in _tags(cell)]
    if hub and not tagged:
        yield "the front matter names hub ids, but no cell is tagged full-scale"
    strings = {n.value for n in ast.walk(_code(article)) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    for entry in hub:
        for key in ("id", "revision"):
            if isinstance(entry, dict) and entry.get(key) not in strings:
                yield f"full.hub names the {key} {entry.get(key)!r}, but the configuration does not"


def chinese_in_the_font(article: Article) -> Iterator[str]:
    known = glyphs((article.root / FONT).resolve())
    for n, cell in enumerate(article.code, start=1):
        if absent := sorted({c for c in CHINESE.findall(cell.source) if ord(c) not in known}):
            yield f"code cell {n}: {''.join(absent)} is not in the font subset (tools/build_font.py)"


# ---- ledger ----------------------------------------------------------------------------------------------------------


def claims_complete(article: Article) -> Iterator[str]:
    seen: set[str] = set()
    for n, cell in enumerate(article.code, start=1):
        for call in claim_calls(cell.source):
            given = {k.arg: k.value for k in call.keywords if k.arg}
            first = call.args[0] if call.args else given.get("id")
            name = first.value if isinstance(first, ast.Constant) else None
            where = f"code cell {n}, claim {name or ast.unparse(call)[:40]}"
            if not isinstance(name, str):
                yield f"{where}: the id must be written out"
            elif name in seen:
                yield f"{where}: the id is used twice"
            seen.add(str(name))
            if any(k.arg is None for k in call.keywords):
                yield f"{where}: ** hides what is claimed"
            verdict = given.get("verdict")
            literal = verdict.value if isinstance(verdict, ast.Constant) else None
            if literal not in VERDICTS:
                yield f"{where}: the verdict must be written out, one of {', '.join(VERDICTS)}"
            if literal != PENDING:
                for key in ("measured", "control", "control_is"):
                    if key not in given:
                        yield f"{where}: {key} is missing"
            for key in ("measured", "control"):
                if key in given and _typed(given[key]) and literal != PENDING:
                    yield f"{where}: {key}={ast.unparse(given[key])} is typed, not measured"
    shown = [cell for cell in article.code if cell.source.strip() == "ledger"]
    if len(shown) != 1:
        yield f"expected one cell `ledger` that shows the table, got {len(shown)}"


# ---- export ----------------------------------------------------------------------------------------------------------


def portable(article: Article) -> Iterator[str]:
    try:
        cells = notebook(article, site(article.root))["cells"]
    except PortableError as error:
        yield str(error)
        return
    texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
    yield from (f"exported notebook: {left}" for text in texts for left in raw_left(text))
    posts = [article.meta.get("original") or {}, *(article.meta.get("also") or [])]
    for url in (post.get("url") for post in posts if isinstance(post, dict)):
        if not any(f"({url})" in text for text in texts):
            yield f"exported notebook: no link to {url}"


def export_in_step(article: Article) -> Iterator[str]:
    place = article.notebook.relative_to(article.root)
    try:
        text = as_text(notebook(article, site(article.root)))
    except PortableError:
        return  # reported by `portable`
    if not article.notebook.exists():
        yield f"{place} is missing: run `make notebooks`"
    elif article.notebook.read_bytes() != text.encode():
        yield f"{place} is out of step with its source: run `make notebooks`"


RULES: tuple[Callable[[Article], Iterator[str]], ...] = (
    front_matter_valid,
    page_starts_with_the_header,
    sections_in_order,
    something_of_our_own,
    words_within_limits,
    exercises_with_solutions,
    code_parses,
    cells_within_limits,
    config_cell_first,
    figures_complete,
    no_branch_on_the_mode,
    no_bare_seeds,
    full_scale_cells,
    chinese_in_the_font,
    claims_complete,
    portable,
    export_in_step,
)


# ---- helpers ---------------------------------------------------------------------------------------------------------


def _tags(cell: Any) -> list[str]:
    return list(cell.metadata.get("tags") or [])


def _code(article: Article) -> ast.Module:
    """The code cells as one tree; cells that do not parse are left out."""
    return ast.Module([node for cell in article.code for node in parse(cell.source).body], [])


def _prose(article: Article) -> list[str]:
    """The Markdown cells without fenced code; directive bodies stay."""
    return [unfenced(cell.source, directives=True) for cell in article.markdown]


def _exercises(article: Article) -> list[tuple[str, str, list[Any]]]:
    """(heading, Markdown, code cells) of each `### Exercise N`, up to the next heading of level 2 or 3."""
    found: list[tuple[str, str, list[Any]]] = []
    inside = False
    for cell in article.cells:
        if cell.cell_type == "code":
            if inside:
                found[-1][2].append(cell)
            continue
        for piece in re.split(r"^(?=#{1,3} )", cell.source, flags=re.MULTILINE):
            if heading := re.match(r"#{1,3} +(.+)", piece):
                inside = bool(re.match(r"### +Exercise \d", piece))
                if inside:
                    found.append((heading[1].strip(), piece, []))
            elif inside:
                name, text, code = found[-1]
                found[-1] = (name, text + "\n" + piece, code)
    return found


def main_cells(article: Article) -> list[Any]:
    """The code cells that count: all but the hidden ones of the exercises."""
    hidden = [cell for _, _, code in _exercises(article) for cell in code if "hide-cell" in _tags(cell)]
    return [cell for cell in article.code if not any(cell is other for other in hidden)]


def _dotted(node: ast.AST) -> str:
    """`a.b.c` of an attribute chain; empty for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (left := _dotted(node.value)):
        return f"{left}.{node.attr}"
    return ""


def _tests(node: ast.AST) -> list[ast.expr]:
    """The conditions that a node decides by."""
    match node:
        case ast.If() | ast.IfExp() | ast.While():
            return [node.test]
        case ast.comprehension():
            return node.ifs
        case ast.Match():
            return [node.subject]
        case ast.BoolOp() | ast.Compare():
            return [node]
    return []


def _typed(node: ast.expr) -> bool:
    """Whether a value is written out rather than computed."""
    match node:
        case ast.Constant():
            return True
        case ast.UnaryOp():
            return _typed(node.operand)
        case ast.BinOp():
            return _typed(node.left) and _typed(node.right)
        case ast.List() | ast.Tuple() | ast.Set():
            return all(_typed(item) for item in node.elts)
        case ast.Dict():
            return all(_typed(item) for item in node.values)
    return False


def _number(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) is int


def _bare_seed(call: ast.Call) -> str | None:
    """What is wrong with the randomness of a call, or None."""
    name = _dotted(call.func)
    last = name.rpartition(".")[2] or (call.func.attr if isinstance(call.func, ast.Attribute) else "")
    given = {k.arg: k.value for k in call.keywords}
    first = call.args[0] if call.args else None
    if name.startswith("torch.") and last in ("manual_seed", "manual_seed_all", "seed"):
        return f"{name} sets the global state"
    if last == "manual_seed" and _number(first):
        return f"manual_seed({ast.unparse(call.args[0])}) is a bare number"
    if re.fullmatch(r"(np|numpy)\.random\.\w+", name) and last not in NUMPY_RANDOM:
        return f"{name} uses numpy's global state"
    if last == "default_rng" and (first is None or _number(first)) and not given:
        return f"{ast.unparse(call)} is a bare seed"
    if name.startswith("random.") and name.count(".") == 1 and last in PYTHON_RANDOM:
        return f"{name} uses Python's global state"
    if name.startswith("torch.") and name.count(".") == 1 and last in TORCH_RANDOM and "generator" not in given:
        return f"{name} without generator= uses torch's global state"
    for key in ("seed", "random_state", "generator"):
        if _number(given.get(key)):
            return f"{key}={ast.unparse(given[key])} is a bare number"
    return None


@lru_cache(maxsize=2)
def glyphs(font: Path) -> frozenset[int]:
    """The code points that a font file covers."""
    from fontTools.ttLib import TTFont

    with TTFont(font, lazy=True) as found:
        return frozenset(found.getBestCmap() or ())
