"""The articles of the book: where they are, what their front matter says, which lib code they rest on.

`articles(root)` finds them, `problems(article)` judges their front matter, `code_key(article)` hashes the lib code
behind them, `site(root)` reads the addresses from `_config.yml`. Everything else about an article is in tools.contract.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
PARTS = ("attention", "positions", "training", "embeddings", "generation", "understanding", "beyond")
GROUND = ("config", "ledger", "figures")
SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
CHINESE = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
SENTENCE_LIMIT, ABSTRACT_MINIMUM, SECONDS_LIMIT = 110, 12, 90
# What loads a hub entry, and what else the entry must say; the tests make a stand-in for each kind.
HUB_KINDS: dict[str, tuple[str, ...]] = {
    "causal-lm": (),
    "masked-lm": (),
    "classifier": (),
    "texts": ("file", "column"),
    "vectors": ("file",),
    "images": ("file",),
}
_FRONT = re.compile(r"\A---[ \t]*\n(.*?)^---[ \t]*$\n?", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Article:
    """One source file `book/<part>/<slug>.md` with the `article:` block of its front matter."""

    path: Path
    root: Path
    meta: dict[str, Any] = field(compare=False)

    @property
    def slug(self) -> str:
        return self.path.stem

    @property
    def part(self) -> str:
        return self.path.parent.name

    @property
    def docname(self) -> str:
        """The name of the page in the build: `book/<part>/<slug>`."""
        return f"book/{self.part}/{self.slug}"

    @property
    def notebook(self) -> Path:
        """Where the exported notebook lies."""
        return self.root / "notebooks" / self.part / f"{self.slug}.ipynb"

    @cached_property
    def cells(self) -> list[Any]:
        """The cells of the source, as nbformat nodes."""
        import jupytext

        return list(jupytext.reads(self.path.read_text(encoding="utf-8"), fmt="md:myst").cells)

    @property
    def code(self) -> list[Any]:
        """The code cells of the source."""
        return [cell for cell in self.cells if cell.cell_type == "code"]

    @property
    def markdown(self) -> list[Any]:
        """The Markdown cells of the source."""
        return [cell for cell in self.cells if cell.cell_type == "markdown"]


def front_matter(path: Path) -> dict[str, Any]:
    """The whole YAML front matter of a Markdown file; empty when it has none."""
    found = _FRONT.match(path.read_text(encoding="utf-8"))
    if not found:
        return {}
    try:
        front = yaml.safe_load(found[1])
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: the front matter is not valid YAML: {error}") from error
    return front if isinstance(front, dict) else {}


def articles(root: Path = ROOT) -> list[Article]:
    """Every article below `root/book`, in the order of the parts, then by slug."""
    root = Path(root).resolve()
    found = []
    for path in sorted((root / "book").glob("*/*.md")):
        meta = front_matter(path).get("article")
        if meta is not None:
            found.append(Article(path, root, meta if isinstance(meta, dict) else {}))
    order = {part: i for i, part in enumerate(PARTS)}
    return sorted(found, key=lambda a: (order.get(a.part, len(order)), a.slug))


def article(slug: str, root: Path = ROOT) -> Article:
    """The article with this slug; ValueError names those that exist."""
    by_slug = {a.slug: a for a in articles(root)}
    if slug not in by_slug:
        raise ValueError(f"no article {slug!r}; there are: {', '.join(sorted(by_slug)) or 'none yet'}")
    return by_slug[slug]


# ---- addresses -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Site:
    """The addresses that stand in `_config.yml` and nowhere else; none ends in a slash."""

    url: str  # of the repository
    branch: str
    baseurl: str  # of the published pages

    def page(self, docname: str, anchor: str = "") -> str:
        return f"{self.baseurl}/{docname}.html" + (f"#{anchor}" if anchor else "")

    def source(self, article: Article) -> str:
        return f"{self.url}/blob/{self.branch}/{article.docname}.md"

    def colab(self, article: Article, ref: str | None = None) -> str:
        repository = self.url.removeprefix("https://github.com/")
        place = f"notebooks/{article.part}/{article.slug}.ipynb"
        return f"https://colab.research.google.com/github/{repository}/blob/{ref or self.branch}/{place}"

    def requirement(self, ref: str | None = None) -> str:
        return f"executable-spaces @ git+{self.url}@{ref or self.branch}"


def site(root: Path = ROOT) -> Site:
    """Repository, branch and site address from `_config.yml` (keys `repository` and `html.baseurl`)."""
    path = Path(root) / "_config.yml"
    if not path.exists():
        raise ValueError(f"{path} is missing; it holds repository.url, repository.branch and html.baseurl")
    config = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    values = {
        "repository.url": (config.get("repository") or {}).get("url"),
        "repository.branch": (config.get("repository") or {}).get("branch"),
        "html.baseurl": (config.get("html") or {}).get("baseurl"),
    }
    if absent := [key for key, value in values.items() if not isinstance(value, str) or not value]:
        raise ValueError(f"{path}: {', '.join(absent)} must be non-empty text")
    url, branch, baseurl = (str(value).rstrip("/") for value in values.values())
    if not re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+", url):
        raise ValueError(
            f"{path}: repository.url must be https://github.com/OWNER/NAME (Colab opens no other), got {url}"
        )
    return Site(url.removesuffix(".git"), branch, baseurl)


# ---- the schema of the front matter ----------------------------------------------------------------------------------


def _text(value: Any) -> str | None:
    return None if isinstance(value, str) and value.strip() else "must be non-empty text"


def _date(value: Any) -> str | None:
    if not isinstance(value, str):
        return f'must be a quoted date such as "2020-03-26", got {value!r} ({type(value).__name__})'
    return None if re.fullmatch(r"\d{4}-[01]\d-[0-3]\d", value) else f"must read YYYY-MM-DD, got {value!r}"


def _positive(value: Any) -> str | None:
    good = isinstance(value, int | float) and not isinstance(value, bool) and value > 0
    return None if good else f"must be a positive number, got {value!r}"


def _seconds(value: Any) -> str | None:
    return _positive(value) or (f"must be at most {SECONDS_LIMIT}, got {value}" if value > SECONDS_LIMIT else None)


def _count(value: Any) -> str | None:
    return None if type(value) is int and value > 0 else f"must be a positive integer, got {value!r}"


def _url(value: Any) -> str | None:
    start = "https://spaces.ac.cn/archives/"
    good = isinstance(value, str) and re.fullmatch(re.escape(start) + r"\d+", value)
    return None if good else f"must be {start}NUMBER, got {value!r}"


def _sentence(value: Any) -> str | None:
    if problem := _text(value):
        return problem
    return f"has {len(value)} characters; the limit is {SENTENCE_LIMIT}" if len(value) > SENTENCE_LIMIT else None


def _chinese(minimum: int) -> Any:
    def check(value: Any) -> str | None:
        count = len(CHINESE.findall(value)) if isinstance(value, str) else 0
        return None if count >= minimum else f"needs at least {minimum} Chinese characters, got {count}"

    return check


def _texts(value: Any) -> str | None:
    good = isinstance(value, list) and value and all(isinstance(v, str) and v.strip() for v in value)
    return None if good else f"must be a non-empty list of texts, got {value!r}"


def _posts(value: Any) -> str | None:
    if not isinstance(value, list):
        return f"must be a list (empty when the article covers one post), got {value!r}"
    return "; ".join(f"entry {i}: {p}" for i, post in enumerate(value) for p in _walk(post, _POST)) or None


def _hub(value: Any) -> str | None:
    if not isinstance(value, list):
        return f"must be a list (empty when the full mode needs no hub), got {value!r}"
    found = []
    for i, entry in enumerate(value):
        kind = entry.get("kind") if isinstance(entry, dict) else None
        more = HUB_KINDS.get(kind, ()) if isinstance(kind, str) else ()
        found += [f"entry {i}: {p}" for p in _walk(entry, {**_HUB, **dict.fromkeys(more, _text)})]
    return "; ".join(found) or None


def _revision(value: Any) -> str | None:
    good = isinstance(value, str) and re.fullmatch(r"[0-9a-f]{40}", value)
    return None if good else f"must be the 40 hex digits of a commit, quoted, got {value!r}"


def _kind(value: Any) -> str | None:
    return (
        None
        if isinstance(value, str) and value in HUB_KINDS
        else f"must be one of {', '.join(HUB_KINDS)}, got {value!r}"
    )


def _hub_id(value: Any) -> str | None:
    good = isinstance(value, str) and re.fullmatch(r"[\w.-]+/[\w.-]+", value)
    return None if good else f"must read OWNER/NAME, got {value!r}"


def _requirements(value: Any) -> str | None:
    """What Colab lacks beside lib: names with lower bounds, since nothing that is there may be reinstalled."""
    good = isinstance(value, list) and value
    good = good and all(isinstance(v, str) and re.fullmatch(r"[\w.-]+>=[\d.]+", v) for v in value)
    return None if good else f"must be a list of requirements such as captum>=0.9, got {value!r}"


_POST = {"title": _chinese(1), "url": _url, "date": _date}
_HUB = {"id": _hub_id, "revision": _revision, "kind": _kind}
SCHEMA: dict[str, Any] = {
    "title": _text,
    "title_zh": _chinese(2),
    "slug": _text,
    "part": _text,
    "original": _POST,
    "also": _posts,
    "sentence": _sentence,
    "abstract_zh": _chinese(ABSTRACT_MINIMUM),
    "seconds": _seconds,
    "memory_mb": _positive,
    "full": {"hardware": _text, "minutes": _positive, "hub": _hub},
    "lib": _texts,
    "keywords": _texts,
    "lead": _text,
    "claims": _count,
}
OPTIONAL: dict[str, Any] = {"colab": _requirements}


def _walk(value: Any, schema: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Each way in which a mapping misses its schema: missing keys, unknown keys, wrong values."""
    if not isinstance(value, dict):
        yield f"{prefix.rstrip('.') or 'entry'} must be a mapping with the keys {', '.join(schema)}, got {value!r}"
        return
    for key, check in schema.items():
        if key not in value:
            yield f"{prefix}{key} is missing"
        elif isinstance(check, dict):
            yield from _walk(value[key], check, f"{prefix}{key}.")
        elif problem := check(value[key]):
            yield f"{prefix}{key} {problem}"
    yield from (f"{prefix}{key} is not a known key" for key in value if key not in schema)


def problems(article: Article) -> list[str]:
    """Everything that is wrong with the front matter of an article; empty when it is valid."""
    meta = article.meta
    found = list(_walk(meta, SCHEMA | {key: check for key, check in OPTIONAL.items() if key in meta}))
    for key, place in (("slug", article.slug), ("part", article.part)):
        if key in meta and meta[key] != place:
            found.append(f"{key} is {meta[key]!r} but the file is {article.docname}.md")
    if not SLUG.fullmatch(article.slug):
        found.append(f"slug must be lower-case words joined by hyphens, got {article.slug!r}")
    if article.part not in PARTS:
        found.append(f"part must be one of {', '.join(PARTS)}, got {article.part!r}")
    names = {figure_of(cell).get("name") for cell in article.code}
    if "lead" in meta and meta["lead"] not in names:
        found.append(
            f"lead names {meta['lead']!r}, but the figures are {', '.join(sorted(filter(None, names))) or 'none'}"
        )
    calls = sum(len(claim_calls(cell.source)) for cell in article.code)
    if "claims" in meta and meta["claims"] != calls:
        found.append(f"claims says {meta['claims']}, but the code makes {calls} claim calls")
    return found + _lib_problems(article)


def _lib_problems(article: Article) -> list[str]:
    """Declared modules must exist and be used; modules imported directly must be declared."""
    declared = article.meta.get("lib")
    if not isinstance(declared, list):
        return []
    known = modules(article.root)
    found = [f"lib lists {name!r}, but lib has no such module" for name in declared if f"lib.{name}" not in known]
    direct = set().union(*(lib_imports(cell.source, known) for cell in article.code))
    used = closure(direct, article.root)
    for name in declared:
        if f"lib.{name}" in known and f"lib.{name}" not in used:
            found.append(f"lib lists {name!r}, but no code cell imports it")
    for name in sorted(direct):
        short = name.removeprefix("lib.")
        if name not in ("lib", "lib.data") and short not in GROUND and short not in declared:
            found.append(f"lib does not list {short!r}, which a code cell imports")
    return found


def figure_of(cell: Any) -> dict[str, Any]:
    """The `mystnb.figure` block of a code cell; empty when it is no figure."""
    block = cell.metadata.get("mystnb") or {}
    figure = block.get("figure") if isinstance(block, dict) else None
    return figure if isinstance(figure, dict) else {}


def parse(source: str) -> ast.Module:
    """The syntax tree of a code cell; an empty one when it does not parse (the contract reports that by itself)."""
    try:
        return ast.parse(source)
    except SyntaxError:
        return ast.parse("")


def claim_calls(source: str) -> list[ast.Call]:
    """The `.claim(` calls of a code cell."""
    return [
        node
        for node in ast.walk(parse(source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "claim"
    ]


# ---- the lib code behind an article ----------------------------------------------------------------------------------


def modules(root: Path = ROOT) -> dict[str, Path]:
    """The modules and packages of lib by dotted name."""
    found = {}
    for path in sorted((Path(root) / "lib").rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def lib_imports(source: str, known: Iterable[str]) -> set[str]:
    """The modules of lib that a piece of Python imports directly, wherever in it the import stands."""
    known, found = set(known), set()
    for node in ast.walk(parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found & known


def closure(names: Iterable[str], root: Path = ROOT) -> set[str]:
    """`names` and every module of lib that they import, directly or not, with the packages they lie in."""
    known = modules(root)
    todo, found = list(names), set()
    while todo:
        name = todo.pop()
        if name in found or name not in known:
            continue
        found.add(name)
        todo += lib_imports(_source(known[name], known[name].stat().st_mtime_ns), known)
        if "." in name:
            todo.append(name.rpartition(".")[0])
    return found


@lru_cache(maxsize=256)
def _source(path: Path, mtime: int) -> str:
    return path.read_text(encoding="utf-8")


def lib_closure(code: str | Iterable[str], root: Path = ROOT) -> set[Path]:
    """The files of lib behind a piece of Python (text), or behind dotted module names: transitive imports included."""
    known = modules(root)
    names = lib_imports(code, known) if isinstance(code, str) else code
    return {known[name] for name in closure(names, root)}


def assets(files: Iterable[Path], root: Path = ROOT) -> list[Path]:
    """The data files that these modules read: lib/assets belongs to figures, lib/data/NAME.* to lib/data/NAME.py."""
    lib, files = Path(root) / "lib", set(files)
    found = list((lib / "assets").rglob("*")) if lib / "figures.py" in files else []
    for module in files:
        if module.parent == lib / "data":
            found += [path for path in module.parent.glob(f"{module.stem}.*") if path.suffix not in (".py", ".pyc")]
    return sorted(path for path in found if path.is_file())


def code_key(article: Article) -> str:
    """The hash of the lib modules that the article imports, transitively, of their data files and of the lock file.

    It does not cover the article's own cells: the execution cache compares those itself.
    """
    root = article.root
    files = lib_closure("\n".join(_importing(cell.source) for cell in article.code), root)
    lock = root / "requirements.txt"
    digest = hashlib.sha256()
    for path in [*sorted(files), *assets(files, root), *([lock] if lock.exists() else [])]:
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _importing(source: str) -> str:
    """The import statements of a cell as Python text; a cell that does not parse contributes nothing."""
    nodes = [node for node in ast.walk(parse(source)) if isinstance(node, ast.Import | ast.ImportFrom)]
    return "\n".join(ast.unparse(node) for node in nodes)
