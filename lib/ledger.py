"""The claims ledger: every claim is measured, against a control, under a rule that could have failed.

A rule must accept what was measured and reject the control (for a negative verdict the other way round), else the
call raises. The row that a claim displays carries its record in the output metadata under `RECORD_KEY`; the page
build collects these records into the verdict strips, the scoreboard and `claims.json`.
"""

from __future__ import annotations

import html
import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lib import config
from lib.rules import AtLeast, AtMost, Exact, Ordering, Rule, SlopeIn, Within, slope

__all__ = [
    "AtLeast", "AtMost", "ClaimFailed", "Exact", "Ledger", "Ordering", "Rule", "SlopeIn", "Within", "as_html",
    "as_text", "show", "slope", "strip",
]  # fmt: skip

RECORD_KEY = "executable_spaces_claim"
POSITIVE = ("reproduced", "corrected")
NEGATIVE = ("contradicted", "not at this scale")
PENDING = "full mode only"
VERDICTS = (*POSITIVE, *NEGATIVE, PENDING)
OURS = "ours"


class ClaimFailed(AssertionError):
    """The declared verdict is not what the rule says of the measurement and its control."""


def _is_pair(value: Any) -> bool:
    """Whether `value` is a pair (x, y) of sequences, rather than one slope or several."""
    return isinstance(value, tuple) and len(value) == 2 and all(hasattr(v, "__len__") for v in value)


def _plain(value: Any) -> Any:
    """`value` as JSON: numbers stay numbers, containers are walked, anything else becomes its text."""
    if hasattr(value, "free_symbols"):
        return str(value)
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, bool | int | str) or value is None:
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"a ledger value must be finite, got {value}")
        return value
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, set | frozenset):
        value = sorted(value, key=str)  # sets have no order of their own; a record must not depend on the run
    if isinstance(value, Sequence):
        return [_plain(v) for v in value]
    return str(value)


def show(value: Any, *, table: bool = False) -> str:
    """A ledger value for people: 5 significant digits; several seeds as mean [min, max], a `table` in full."""
    if value is None:
        return "–"
    if isinstance(value, Mapping):
        return " · ".join(f"{k}: {show(v)}" for k, v in value.items())
    if isinstance(value, float):
        return f"{value:.5g}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        numeric = [float(v) for v in value if isinstance(v, int | float)]
        close = len(numeric) >= 2 and max(numeric) - min(numeric) < abs(max(numeric))
        if len(numeric) == len(value) and not table and (close or len(value) > 6):
            return f"{sum(numeric) / len(numeric):.5g} [{min(numeric):.5g}, {max(numeric):.5g}]"
        return ", ".join(show(v) for v in value)
    return str(value)


def strip(records: Iterable[Mapping[str, Any]]) -> str:
    """Verdicts counted in words: `5 reproduced · 1 contradicted · 2 beyond the post`; the counts add up to the claims.

    Claims of our own count as beyond the post whatever their verdict, but a failed one counts as failed.
    """
    names = ["failed" if r["held"] is False else "beyond the post" if r["ours"] else r["verdict"] for r in records]
    count = Counter(names)
    return (
        " · ".join(f"{count[v]} {v}" for v in (*VERDICTS, "failed", "beyond the post") if count[v]) or "no claims yet"
    )


_COLUMNS = ("claim", "statement", "expected", "rule", "measured", "control", "verdict", "source")


def cells(r: Mapping[str, Any]) -> dict[str, str]:
    """The texts of a record by column, as every table of claims shows them."""
    table = isinstance(r["expected"], list)  # one value for each expected one, not one for each seed
    shown = {k: show(r.get(k), table=table) for k in _COLUMNS}
    control = f"{shown['control']} ({r['control_is']})" if r["control_is"] else "–"
    verdict = r["verdict"] if r["held"] is not False else f"{r['verdict']} (FAILED)"
    return {**shown, "claim": r["id"], "control": control, "verdict": verdict}


def as_html(records: Iterable[Mapping[str, Any]], *, anchors: bool = False) -> str:
    """The records as an HTML table, one row a claim; with `anchors` each row gets the id `claim-<id>`."""
    head = "".join(f"<th>{c}</th>" for c in _COLUMNS)
    rows = []
    for r in records:
        row = "".join(f'<td class="ledger-{k}">{html.escape(v)}</td>' for k, v in cells(r).items())
        anchor = f' id="claim-{r["id"].lower()}"' if anchors else ""
        state = "failed" if r["held"] is False else r["verdict"].replace(" ", "-")
        rows.append(f'<tr class="claim-{state}"{anchor}>{row}</tr>')
    return f'<table class="ledger"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'


def as_text(records: Iterable[Mapping[str, Any]]) -> str:
    """The records as plain text, one paragraph a claim."""
    return "\n".join(
        "{claim} [{verdict}] {statement}\n    measured {measured} · rule {rule} · expected {expected}"
        " · control {control} · source {source}".format(**cells(r))
        for r in records
    )


class _Row:
    """One displayed claim: a table row for people, the record in the output metadata for the build."""

    def __init__(self, record: dict[str, Any]) -> None:
        self.record = record

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, str], dict[str, Any]]:
        return (
            {"text/html": as_html([self.record], anchors=True), "text/plain": as_text([self.record])},
            {RECORD_KEY: self.record},
        )


class Ledger:
    """The claims of one article; displays as a table in the order of their numbers."""

    def __init__(self, article: str) -> None:
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", article):
            raise ValueError(f"article must be a slug such as 'rope-2d', got {article!r}")
        self.article = article
        self.records: list[dict[str, Any]] = []

    def claim(
        self,
        id: str,
        statement: str,
        *,
        source: str,
        tol: Rule,
        measured: Any = None,
        expected: Any = None,
        control: Any = None,
        control_is: str = "",
        verdict: str,
    ) -> None:
        """Record and display one claim.

        `tol` is the rule; `control` is the same measurement where the rule must come out the other way, described
        by `control_is`. `source="ours"` marks a claim beyond the post. A sequence is one value per seed.
        `verdict="full mode only"` with `measured=None` lists a claim that this mode cannot decide.

        Raises ValueError for a malformed claim and ClaimFailed when rule, measurement and control do not give the
        declared verdict. With `BOOK_LEDGER=record` a failure is recorded as `held: false` and does not raise.
        """
        self._check(id, statement, source, tol, verdict)
        if verdict == PENDING and measured is None:
            held, failure = None, ""
        else:
            if measured is None:
                raise ValueError(f"{id}: measured is missing; only a {PENDING!r} claim may go without")
            if control is None or not control_is.strip():
                raise ValueError(f"{id}: every claim needs a control and control_is, a few words on what it is")
            if isinstance(tol, SlopeIn):
                measured, control = (slope(*v) if _is_pair(v) else v for v in (measured, control))
            held, failure = self._judge(tol, measured, expected, control, control_is, verdict)
        record = {
            "id": id, "article": self.article, "statement": statement, "source": source, "ours": source == OURS,
            "verdict": verdict, "held": held, "rule": str(tol), "expected": _plain(expected),
            "measured": _plain(measured), "control": _plain(control), "control_is": control_is,
            "mode": config.mode(), "seed": config.seed(),
        }  # fmt: skip
        self.records.append(record)
        _display(_Row(record))
        if failure and os.environ.get("BOOK_LEDGER") != "record":
            raise ClaimFailed(f"{id} ({statement}): {failure}")

    def _check(self, id: str, statement: str, source: str, tol: Any, verdict: str) -> None:
        if not re.fullmatch(r"C[1-9]\d?", id):
            raise ValueError(f"a claim id is C and a number, such as 'C3', got {id!r}")
        if id in {r["id"] for r in self.records}:
            raise ValueError(f"claim {id} was already made in {self.article}; ids must be unique")
        for name, text in (("statement", statement), ("source", source)):
            if not text.strip():
                raise ValueError(f"{id}: {name} is missing")
        if not hasattr(tol, "accepts"):
            raise ValueError(f"{id}: tol must be a rule such as Within(rel=0.01) or AtLeast(2), got {tol!r}")
        if verdict not in VERDICTS:
            raise ValueError(f"{id}: verdict must be one of {', '.join(VERDICTS)}, got {verdict!r}")

    @staticmethod
    def _judge(
        tol: Rule, measured: Any, expected: Any, control: Any, control_is: str, verdict: str
    ) -> tuple[bool, str]:
        """Whether the declared verdict follows, and if not, why."""
        negative = verdict in NEGATIVE
        judged, want = (tol.rejects, "reject") if negative else (tol.accepts, "accept")
        controlled, want_control = (tol.accepts, "accept") if negative else (tol.rejects, "reject")
        rule = f"the rule '{tol}'" + (f" (expected {show(_plain(expected))})" if expected is not None else "")
        if not judged(measured, expected):
            return False, f"{rule} does not {want} the measurement {show(_plain(measured))}, so it is not {verdict!r}"
        try:
            shows = controlled(control, expected)
        except ValueError as error:
            raise ValueError(f"the control ({control_is}) does not fit the rule '{tol}': {error}") from error
        if not shows:
            return (
                False,
                f"{rule} does not {want_control} the control {show(_plain(control))} ({control_is}): it shows nothing",
            )
        return True, ""

    def _numbered(self) -> list[dict[str, Any]]:
        return sorted(self.records, key=lambda record: int(record["id"][1:]))

    def __str__(self) -> str:
        return f"{self.article}: {strip(self.records)}\n{as_text(self._numbered())}"

    def _repr_html_(self) -> str:
        return f'<p class="verdict-strip">{html.escape(strip(self.records))}</p>{as_html(self._numbered())}'

    def __repr__(self) -> str:
        return str(self)


def _display(row: _Row) -> None:
    """Show a row in a notebook; print it elsewhere."""
    try:
        from IPython.core.getipython import get_ipython
        from IPython.display import display
    except ImportError:
        print(as_text([row.record]))
        return
    if get_ipython() is None:
        print(as_text([row.record]))
    else:
        display(row)
