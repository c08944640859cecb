"""MyST to the plain Markdown that Colab and GitHub show; anything outside the fixed subset raises PortableError.

Blocks are found with markdown-it (line maps), inline constructs with one scanning expression that steps over code
and formulas. What is converted: labelled formulas, `eq`, `cite` roles, admonitions, dropdowns, the article header and
relative links. What is dropped: `(label)=` targets and `%` comments. Everything else of MyST is refused.
"""

from __future__ import annotations

import html
import posixpath
import re
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from mdit_py_plugins.amsmath import amsmath_plugin
from mdit_py_plugins.colon_fence import colon_fence_plugin
from mdit_py_plugins.dollarmath import dollarmath_plugin
from mdit_py_plugins.myst_blocks import myst_block_plugin

ADMONITIONS = ("note", "tip", "warning", "important")
ROLES = ("eq", "cite", "cite:t", "cite:p")
OPTIONS = ("class", "name", "open")  # of directives, without meaning in plain Markdown

_CODE = r"(?P<code>(?<!`)(?P<tick>`+)(?!`).+?(?<!`)(?P=tick)(?!`))"
_MATH = r"(?P<math>(?<!\\)\$\$.+?\$\$|(?<![\\$])\$(?!\s)(?:[^$\\]|\\.)+?(?<!\s)\$(?!\d))"
_ROLE = r"\{(?P<role>[A-Za-z][\w:.+-]*)\}(?P<quote>`+)(?P<content>.+?)(?P=quote)"
_LINK = r"(?P<bang>!?)(?P<open>\[(?P<text>(?:[^\[\]\\]|\\.|\[[^\[\]]*\])*)\]\(\s*)(?P<target>[^\s)]+)(?P<close>[^)]*\))"
_SCAN = re.compile(rf"{_ROLE}|{_CODE}|{_MATH}|(?P<foot>\[\^[^\]\s]+\])|{_LINK}", re.DOTALL)
_DEFINITION = re.compile(r"^ {0,3}\[(\^?)[^\]]+\]:\s", re.MULTILINE)
_TOP_ENVIRONMENT = re.compile(r"\\begin\{(align|alignat|gather|multline|equation|eqnarray|flalign)\*?\}")


class PortableError(ValueError):
    """The source uses something that has no plain Markdown form here."""


@dataclass(frozen=True)
class Context:
    """What the conversion of one article needs to know of the book.

    `header` is the Markdown that stands for `{article-header}`, `link` turns a relative target into a full address,
    `entries` holds the bibliography by key.
    """

    header: str = ""
    link: Callable[[str], str] | None = None
    entries: dict[str, Any] = field(default_factory=dict)


def convert(cells: Sequence[str], context: Context | None = None) -> list[str]:
    """The Markdown cells of one article as plain Markdown; when it cites, a list of references is added as a cell."""
    converter = Converter(cells, context or Context())
    converted = [converter.cell(source) for source in cells]
    return [*converted, converter.references()] if converter.cited else converted


def parser() -> MarkdownIt:
    """The block parser with the extensions that the site enables."""
    md = MarkdownIt("commonmark").enable("table").disable("inline", True)
    md.use(dollarmath_plugin, allow_labels=True).use(amsmath_plugin)
    return md.use(colon_fence_plugin).use(myst_block_plugin)


class Converter:
    """Converts the cells of one article; `texts` are all that may hold labels or citations, captions included."""

    def __init__(self, texts: Sequence[str], context: Context) -> None:
        self.context = context
        self.md = parser()
        self.labels: dict[str, int] = {}
        self.cited: dict[str, str] = {}
        self.collect(texts)

    # -- first pass: numbers of formulas, letters of citations --

    def collect(self, cells: Sequence[str]) -> None:
        keys: list[str] = []
        for source in cells:
            self._collect_labels(source)
            keys += [key for role, content in roles(source) if role in ROLES[1:] for key in _keys(content)]
        self.cited = _years(dict.fromkeys(keys), self.context.entries)

    def _collect_labels(self, source: str) -> None:
        for token in self.md.parse(source):
            if token.type == "math_block_label":
                if token.info in self.labels:
                    raise PortableError(f"the formula label ({token.info}) is used twice")
                self.labels[token.info] = len(self.labels) + 1
            elif token.type in ("fence", "colon_fence") and token.info.strip().startswith("{"):
                self._collect_labels(_body(token.content)[1])

    # -- second pass: blocks --

    def cell(self, source: str) -> str:
        if re.match(r"\s*---\n(.*\n)?---", source, re.DOTALL):
            raise PortableError("front matter inside a cell")
        return self.blocks(source)

    def blocks(self, source: str) -> str:
        lines = source.splitlines()
        out: list[str] = []
        start, depth = 0, 0
        tokens = self.md.parse(source)
        for position, token in enumerate(tokens):
            depth += token.nesting if token.nesting < 0 else 0
            if depth == 0 and token.map and token.nesting >= 0 and token.map[0] >= start:
                out += lines[start : token.map[0]]  # blank lines, and definitions, which are refused below
                start = token.map[1]
                inner = _inside(tokens, position) if token.nesting else []
                out.append(self.block(token, "\n".join(lines[token.map[0] : start]), inner, token.map[0]))
            depth += token.nesting if token.nesting > 0 else 0
        text = "\n".join([*out, *lines[start:]])
        if found := _DEFINITION.search(unfenced(text)):
            if found[1]:
                raise PortableError(f"footnote {_start(found[0])}: footnotes show raw on Colab; use a sentence")
            raise PortableError("link definitions ([name]: address) do not reach other cells; write the link out")
        return re.sub(r"\n{3,}", "\n\n", text).strip("\n") if out else text

    def block(self, token: Any, text: str, inner: list[Any], line: int) -> str:
        match token.type:
            case "fence" | "colon_fence" if token.info.strip().startswith("{") or token.type == "colon_fence":
                return self.directive(token)
            case "math_block" | "math_block_label":
                return self.math(token.content, token.info if token.type == "math_block_label" else "")
            case "amsmath":
                raise PortableError(
                    f"a bare environment shows raw on Colab; put it as aligned inside $$: {_start(text)}"
                )
            case "myst_target" | "myst_line_comment":
                return ""
            case "fence" | "code_block" | "html_block" | "hr":
                return text
        self.check_container(token, inner, text)
        kept = {n - line for t in inner if t.type in ("fence", "code_block") and t.map for n in range(*t.map)}
        return self._inline_except(text, kept)

    def check_container(self, token: Any, inner: list[Any], text: str) -> None:
        """Lists, quotes and tables may hold prose and plain code only; nested lists no formulas."""
        lists = 0
        for part in [token, *inner]:
            lists += part.nesting * part.type.startswith(("bullet_list", "ordered_list"))
            if part.type == "colon_fence" or (part.type == "fence" and part.info.strip().startswith("{")):
                raise PortableError(f"a directive inside a list or quote: {_start(part.info)}")
            if part.type in ("math_block", "math_block_label", "amsmath"):
                raise PortableError(f"a displayed formula inside a list or quote: {_start(part.content)}")
            if part.type == "inline" and lists > 1 and _has_math(part.content):
                raise PortableError(f"a formula in a nested list, which Colab garbles: {_start(part.content)}")
            if part.type in ("myst_target", "myst_line_comment"):
                raise PortableError(f"a target or comment inside a list or quote: {_start(text)}")

    def _inline_except(self, text: str, kept: set[int]) -> str:
        """Inline conversion of all lines but those in `kept` (code nested in a list)."""
        out: list[str] = []
        run: list[str] = []
        for i, line in enumerate(text.split("\n")):
            if i not in kept:
                run.append(line)
                continue
            out += [self.inline("\n".join(run))] if run else []
            out.append(line)
            run = []
        return "\n".join([*out, *([self.inline("\n".join(run))] if run else [])])

    def math(self, body: str, label: str) -> str:
        body = body.strip()
        if label and (re.search(r"\\(tag|label)\b", body) or _TOP_ENVIRONMENT.search(body)):
            raise PortableError(f"formula ({label}): use aligned, and neither \\tag nor \\label: {_start(body)}")
        if re.search(r"\\\\", body) and "\\begin{" not in body:
            body = f"\\begin{{aligned}}\n{body}\n\\end{{aligned}}"  # what the site does with bare line breaks
        tag = f"\n\\tag{{{self.labels[label]}}}" if label else ""
        return f"$$\n{body}{tag}\n$$"

    def directive(self, token: Any) -> str:
        found = re.fullmatch(r"\{([\w:-]+)\}\s*(.*)", token.info.strip())
        if not found:
            raise PortableError(f"a fence of colons must name a directive, got {_start(token.info) or 'nothing'}")
        name, title = found.groups()
        options, body = _body(token.content)
        if unknown := set(options) - set(OPTIONS):
            raise PortableError(f"directive {{{name}}}: unknown option {', '.join(sorted(unknown))}")
        if name == "article-header":
            return self.context.header
        if name in ADMONITIONS:
            text = self.blocks(f"{title}\n{body}".strip("\n"))
            return _quote(
                f"**{name.capitalize()}.** {text}" if _plain_start(text) else f"**{name.capitalize()}**\n\n{text}"
            )
        if name == "admonition":
            if not title:
                raise PortableError("{admonition} needs a title")
            return _quote(f"**{self.inline(title)}**\n\n{self.blocks(body)}")
        if name == "dropdown":
            if not title or re.search(r"[`$*]", title):
                raise PortableError(f"{{dropdown}} needs a title of plain words, got {title!r}")
            summary = html.escape(title, quote=False)
            return f"<details>\n<summary>{summary}</summary>\n\n{self.blocks(body)}\n\n</details>"
        if name == "code-cell":
            raise PortableError("a {code-cell} inside another directive is not read; close the directive before it")
        raise PortableError(f"unknown directive {{{name}}}; known are {', '.join(ADMONITIONS)}, admonition, dropdown")

    # -- inline --

    def inline(self, text: str) -> str:
        return _SCAN.sub(self._span, text)

    def _span(self, m: re.Match[str]) -> str:
        if m["math"] and m["math"].startswith("$$"):
            raise PortableError(
                f"$$ inside a line, which the site leaves raw; give it lines of its own: {_start(m[0])}"
            )
        if m["code"] or m["math"]:
            return m[0]
        if m["foot"]:
            raise PortableError(f"footnote {m['foot']}: footnotes show raw on Colab; use a sentence")
        if m["role"]:
            return self.role(m["role"], m["content"])
        inner = self.inline(m["text"]) if m["text"] else ""
        if not inner.strip() and not m["bang"]:
            raise PortableError(f"a link to {m['target']} without text")
        return f"{m['bang']}[{inner}](" + self.target(m["target"]) + m["close"]

    def role(self, name: str, content: str) -> str:
        if name == "eq":
            if content.strip() not in self.labels:
                raise PortableError(f"{{eq}} names the formula {content!r}, which is not there")
            return f"({self.labels[content.strip()]})"
        if name in ("cite", "cite:p", "cite:t"):
            return self.citation(_keys(content), textual=name == "cite:t")
        raise PortableError(f"unknown role {{{name}}}`{content}`; known are {', '.join(ROLES)}")

    def citation(self, keys: list[str], *, textual: bool) -> str:
        if absent := [key for key in keys if key not in self.cited]:
            raise PortableError(f"citation of {absent[0]!r} where citations are not collected")
        names = [(_authors_short(self.context.entries[key]), self.cited[key]) for key in keys]
        if textual:
            return " and ".join(f"{name} ({year})" for name, year in names)
        return "(" + "; ".join(f"{name} {year}" for name, year in names) + ")"

    def target(self, target: str) -> str:
        if re.match(r"(https?:|mailto:)", target):
            return target
        if self.context.link is None:
            raise PortableError(f"relative link {target}")
        return self.context.link(target)

    def references(self) -> str:
        rows = sorted((_reference(self.context.entries[key], year), key) for key, year in self.cited.items())
        return "\n".join(["**References**", "", *(f"- {row}" for row, _ in rows)])


# ---- blocks ----------------------------------------------------------------------------------------------------------


def _inside(tokens: Sequence[Any], opening: int) -> list[Any]:
    """The tokens between an opening token and its closing one."""
    depth = 0
    for end in range(opening, len(tokens)):
        depth += tokens[end].nesting
        if depth == 0:
            return list(tokens[opening + 1 : end])
    raise AssertionError("markdown-it closes every block that it opens")


def _body(content: str) -> tuple[dict[str, str], str]:
    """The options (`:key: value` lines or a `---` block at the start) and the body of a directive."""
    lines = content.splitlines()
    if lines and lines[0].strip() == "---" and "---" in [line.strip() for line in lines[1:]]:
        end = [line.strip() for line in lines].index("---", 1)
        pairs = [line.split(":", 1) for line in lines[1:end] if ":" in line]
        return {key.strip(): value.strip() for key, value in pairs}, "\n".join(lines[end + 1 :]).strip("\n")
    options: dict[str, str] = {}
    while lines and (found := re.fullmatch(r"\s*:([\w-]+):\s*(.*)", lines[0])):
        options[found[1]] = found[2]
        lines = lines[1:]
    return options, "\n".join(lines).strip("\n")


def _quote(text: str) -> str:
    return "\n".join(f"> {line}".rstrip() for line in text.splitlines())


def _plain_start(text: str) -> bool:
    """Whether the first line of a block can follow a bold word on the same line."""
    return bool(text) and not re.match(r"\s*([-*+>|#]|\d+[.)]|\$\$|```|<)(\s|$|[$`<])", text)


def _start(text: str) -> str:
    """The first words of a block, for messages."""
    return " ".join(text.split())[:60]


def _has_math(text: str) -> bool:
    return any(m["math"] for m in _SCAN.finditer(text))


def unfenced(text: str, *, directives: bool = False) -> str:
    """`text` without its code blocks; with `directives` the bodies of directives are kept."""
    lines = text.splitlines()
    for token in parser().parse(text):
        named = token.type == "colon_fence" or token.info.strip().startswith("{")
        if token.type in ("fence", "code_block", "colon_fence") and token.map:
            body = unfenced(token.content, directives=True).splitlines() if directives and named else []
            span = token.map[1] - token.map[0]
            lines[slice(*token.map)] = (body + [""] * span)[:span]
    return "\n".join(lines)


def roles(text: str) -> list[tuple[str, str]]:
    """The (name, content) of the roles in a piece of MyST, outside code and formulas."""
    found = []
    for m in _SCAN.finditer(unfenced(text, directives=True)):
        if m["role"]:
            found.append((m["role"], m["content"]))
        elif m["text"]:
            found += roles(m["text"])
    return found


# ---- bibliography ----------------------------------------------------------------------------------------------------


def bibliography(path: Path) -> dict[str, Any]:
    """The entries of a BibTeX file by key."""
    from pybtex.database import parse_file

    return dict(parse_file(str(path), bib_format="bibtex").entries.items()) if path.exists() else {}


def _keys(content: str) -> list[str]:
    return [key.strip() for key in content.split(",") if key.strip()]


def _latex(text: str) -> str:
    """BibTeX markup as plain text."""
    from pybtex.richtext import Text

    text = re.sub(r"\\url\{([^}]*)\}", r"\1", text)
    try:
        return str(Text.from_latex(text))
    except Exception as error:  # pybtex raises many kinds for unbalanced braces
        raise PortableError(f"references.bib: cannot read {text!r}: {error}") from error


def _names(entry: Any) -> list[str]:
    return [_latex(" ".join([*p.prelast_names, *p.last_names])) for p in entry.persons.get("author", [])]


def _authors_short(entry: Any) -> str:
    names = _names(entry) or [_latex(entry.fields.get("title", entry.key))]
    return names[0] if len(names) == 1 else f"{names[0]} and {names[1]}" if len(names) == 2 else f"{names[0]} et al."


def _years(keys: dict[str, None], entries: dict[str, Any]) -> dict[str, str]:
    """The year of each cited key, with a letter where two cited works share author and year."""
    if absent := [key for key in keys if key not in entries]:
        raise PortableError(f"citation of {absent[0]!r}, which is not in references.bib")
    groups: dict[tuple[str, str], list[str]] = {}
    for key in keys:
        year = entries[key].fields.get("year", "n.d.")
        groups.setdefault((_authors_short(entries[key]), year), []).append(key)
    letters = {
        key: year + (string.ascii_lowercase[i] if len(group) > 1 else "")
        for (_, year), group in groups.items()
        for i, key in enumerate(group)
    }
    return {key: letters[key] for key in keys}


def _reference(entry: Any, year: str) -> str:
    fields = entry.fields
    authors = [
        " ".join([*(_latex(n) for n in p.first_names), *(_latex(n) for n in p.middle_names), name])
        for p, name in zip(entry.persons.get("author", []), _names(entry), strict=True)
    ]
    where = next((_latex(fields[k]) for k in ("journal", "booktitle", "publisher") if k in fields), "")
    address = fields.get("url") or (f"https://doi.org/{fields['doi']}" if "doi" in fields else "")
    if (
        not address
        and fields.get("archiveprefix", fields.get("eprinttype", "")).lower() == "arxiv"
        and "eprint" in fields
    ):
        address = f"https://arxiv.org/abs/{fields['eprint']}"
    address = address or next(iter(re.findall(r"https?://[^\s}]+", fields.get("howpublished", ""))), "")
    title = _latex(fields.get("title", ""))
    parts = [f"{', '.join(authors)} ({year})" if authors else f"({year})", f"*{title}*" if title else "", where]
    return ". ".join(part.rstrip(".") for part in [*parts, f"<{address}>" if address else ""] if part) + "."


# ---- reading an export again -----------------------------------------------------------------------------------------

_RAW = (
    (re.compile(r"^\s*([>*+-]\s*)*:{3,}", re.MULTILINE), "a raw directive (:::)"),
    (re.compile(r"^\s*([>*+-]\s*)*[`~]{3,}\s*\{", re.MULTILINE), "a raw directive (```{...})"),
    (re.compile(r"^\([\w:.-]+\)=\s*$", re.MULTILINE), "a raw target ((label)=)"),
    (re.compile(r"\A\s*---\n.*?\n---", re.DOTALL), "raw front matter"),
    (re.compile(r"\[\^[^\]\s]+\]"), "a footnote"),
    (re.compile(r"\{[A-Za-z][\w:.+-]*\}`"), "a raw role"),
    (re.compile(r"^%\s", re.MULTILINE), "a raw comment (%)"),
)


def raw_left(text: str) -> list[str]:
    """What of MyST is still in a cell that should be plain Markdown; empty when it is portable."""
    blocks = MarkdownIt("commonmark").disable("inline", True).parse(text)
    found = [
        f"a raw directive ({t.info.strip()})" for t in blocks if t.type == "fence" and t.info.strip().startswith("{")
    ]
    lines = text.splitlines()
    for token in blocks:
        if token.type in ("fence", "code_block") and token.map:
            lines[slice(*token.map)] = [""] * (token.map[1] - token.map[0])
    prose = "\n".join(lines)
    bare = _SCAN.sub(lambda m: "" if m["code"] or m["math"] else m[0], prose)
    found += [what for pattern, what in _RAW if pattern.search(bare)]
    if re.search(r"\$\$[ \t]*\([\w:.-]+\)[ \t]*$", prose, re.MULTILINE):
        found.append("a raw formula label ($$ (label))")
    if _TOP_ENVIRONMENT.search(bare):
        found.append("a bare environment")
    found += [f"a relative link ({t})" for t in re.findall(r"\]\(\s*([^)\s]+)", bare) if not _absolute(t)]
    return found


def _absolute(target: str) -> bool:
    return bool(re.match(r"(https?:|mailto:)", target))


def relative_link(article_path: Path, root: Path, page: Callable[[str, str], str]) -> Callable[[str], str]:
    """How a relative target in the article becomes the address of a page: `page(docname, anchor)` of the site."""
    here = article_path.relative_to(root).as_posix()

    def link(target: str) -> str:
        name, _, anchor = target.partition("#")
        place = posixpath.normpath(posixpath.join(posixpath.dirname(here), name)) if name else here
        if not place.endswith(".md"):
            raise PortableError(f"relative file {target}: generate images, link to full addresses or to .md pages")
        if not (root / place).is_file():
            raise PortableError(f"link to {target}: there is no {place}")
        return page(place.removesuffix(".md"), anchor)

    return link
