"""lib.ledger: a claim holds only if its rule accepts the measurement and rejects the control."""

import json
import math
from fractions import Fraction

import numpy as np
import pytest
import sympy
import torch
from hypothesis import given
from hypothesis import strategies as st

from lib import ledger
from lib.ledger import AtLeast, AtMost, ClaimFailed, Exact, Ledger, Ordering, SlopeIn, Within

FINITE = st.floats(-1e6, 1e6, allow_nan=False)
GOOD = {
    "statement": "two and two are four", "source": "post", "measured": 4.0, "expected": 4.0, "tol": Within(abs=0.1),
    "control": 5.0, "control_is": "two and three", "verdict": "reproduced",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch):
    for name in ("BOOK_MODE", "BOOK_SEED", "BOOK_LEDGER"):
        monkeypatch.delenv(name, raising=False)


def claim(book=None, id="C1", **changes):
    """One good claim with changes; a change to `...` leaves the argument out."""
    book = book or Ledger("an-article")
    arguments = {k: v for k, v in {**GOOD, **changes}.items() if v is not ...}
    book.claim(id, arguments.pop("statement"), **arguments)
    return book.records[-1]


# ---- law: a claim holds exactly when the rule tells measurement and control apart


def test_a_claim_that_holds_leaves_a_record():
    record = claim()
    assert record["held"] is True and record["verdict"] == "reproduced" and not record["ours"]
    assert (record["article"], record["mode"], record["seed"]) == ("an-article", "small", 0)


@pytest.mark.parametrize("verdict", ["reproduced", "corrected"])
def test_a_positive_verdict_fails_when_the_rule_rejects_the_measurement(verdict):
    with pytest.raises(ClaimFailed, match="does not accept the measurement 7"):
        claim(measured=7.0, verdict=verdict)


@pytest.mark.parametrize("verdict", ["reproduced", "corrected"])
def test_a_positive_verdict_fails_when_the_control_passes_too(verdict):
    with pytest.raises(ClaimFailed, match=r"does not reject the control 4\.05 \(two and three\): it shows nothing"):
        claim(control=4.05, verdict=verdict)


@pytest.mark.parametrize("verdict", ["contradicted", "not at this scale"])
def test_a_negative_verdict_holds_when_the_measurement_fails_and_the_control_passes(verdict):
    assert claim(measured=7.0, control=4.0, verdict=verdict)["held"] is True


@pytest.mark.parametrize("verdict", ["contradicted", "not at this scale"])
def test_a_negative_verdict_fails_when_the_statement_does_hold(verdict):
    with pytest.raises(ClaimFailed, match="does not reject the measurement 4"):
        claim(measured=4.0, control=4.0, verdict=verdict)


@pytest.mark.parametrize("verdict", ["contradicted", "not at this scale"])
def test_a_negative_verdict_fails_when_its_control_could_not_have_held(verdict):
    with pytest.raises(ClaimFailed, match="does not accept the control 9"):
        claim(measured=7.0, control=9.0, verdict=verdict)


def test_a_full_mode_claim_waits_without_a_measurement_and_is_judged_with_one():
    assert claim(measured=..., control=..., control_is=..., verdict="full mode only")["held"] is None
    assert claim(verdict="full mode only")["held"] is True
    with pytest.raises(ClaimFailed):
        claim(measured=7.0, verdict="full mode only")


@given(measured=FINITE, control=FINITE, expected=FINITE, tolerance=st.floats(1e-9, 1e6))
def test_whatever_the_numbers_no_verdict_holds_together_with_its_opposite(measured, control, expected, tolerance):
    rule, held = Within(abs=tolerance), {}
    for verdict in ("reproduced", "contradicted"):
        held[verdict], _ = Ledger._judge(rule, measured, expected, control, "control", verdict)
    assert not all(held.values())
    inside = abs(measured - expected) <= tolerance
    assert held["reproduced"] == (inside and abs(control - expected) > tolerance)


@given(value=FINITE, bound=FINITE)
def test_the_measurement_is_never_its_own_control(value, bound):
    for rule in (AtLeast(bound), AtMost(bound), Within(abs=1.0)):
        for verdict in ("reproduced", "contradicted"):
            assert not Ledger._judge(rule, value, bound, value, "itself", verdict)[0]


@given(values=st.lists(FINITE, min_size=1, max_size=6), bound=FINITE)
def test_accepting_and_rejecting_exclude_each_other_and_mixed_seeds_do_neither(values, bound):
    rule = AtLeast(bound)
    above = [v >= bound for v in values]
    assert rule.accepts(values, None) == all(above) and rule.rejects(values, None) == (not any(above))


def test_seeds_that_disagree_support_no_verdict():
    for verdict in ("reproduced", "contradicted"):
        with pytest.raises(ClaimFailed):
            claim(measured=[4.0, 7.0], control=5.0, verdict=verdict)


# ---- refusal: malformed claims


@pytest.mark.parametrize("key", ["measured", "control"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, [4.0, math.nan], [], "four", [[4.0]], {"a": 1.0}])
def test_values_that_are_no_finite_numbers_are_refused(key, value):
    with pytest.raises(ValueError, match=r"must be finite|is empty|must be a number"):
        claim(**{key: value})


def test_a_bad_control_is_named_as_the_control():
    with pytest.raises(ValueError, match=r"the control \(two and three\) does not fit the rule"):
        claim(control=math.nan)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": " "}, "C1: source is missing"),
        ({"statement": ""}, "C1: statement is missing"),
        ({"control": ...}, "C1: every claim needs a control and control_is"),
        ({"control_is": ...}, "C1: every claim needs a control and control_is"),
        ({"control_is": "  "}, "C1: every claim needs a control and control_is"),
        ({"measured": ...}, "C1: measured is missing; only a 'full mode only' claim"),
        ({"expected": ...}, "Within compares with `expected`"),
        ({"expected": ..., "tol": Exact()}, "Exact compares with `expected`"),
        ({"expected": math.nan}, "must be finite, got nan"),
        ({"expected": math.inf, "tol": AtLeast(1), "control": 0}, "must be finite, got inf"),
        ({"verdict": "confirmed"}, "C1: verdict must be one of reproduced"),
        ({"measured": [1.0, 2.0], "expected": [1.0, 2.0, 3.0]}, r"2 measured value\(s\) but 3 expected"),
    ],
)
def test_incomplete_claims_are_refused_by_name(change, message):
    with pytest.raises(ValueError, match=message):
        claim(**change)


def test_a_bare_number_is_no_rule():
    with pytest.raises(ValueError, match="C1: tol must be a rule such as Within"):
        Ledger("an-article")._check("C1", "statement", "post", 0.1, "reproduced")


@pytest.mark.parametrize("id", ["1", "c1", "C0", "C100", "C1 ", "claim", ""])
def test_claim_ids_are_c_and_a_number(id):
    with pytest.raises(ValueError, match="a claim id is C and a number"):
        claim(id=id)


def test_an_id_cannot_be_used_twice():
    book = Ledger("an-article")
    claim(book)
    with pytest.raises(ValueError, match="claim C1 was already made in an-article"):
        claim(book)
    assert len(book.records) == 1


@pytest.mark.parametrize("slug", ["An-Article", "a_b", "", "a--b", "-a", "文章"])
def test_a_ledger_belongs_to_a_slug(slug):
    with pytest.raises(ValueError, match="article must be a slug"):
        Ledger(slug)


def test_a_refused_claim_leaves_no_record_but_a_failed_one_does():
    book = Ledger("an-article")
    with pytest.raises(ValueError):
        claim(book, measured=math.nan)
    assert book.records == []
    with pytest.raises(ClaimFailed):
        claim(book, measured=7.0)
    assert [r["held"] for r in book.records] == [False]


# ---- the rules, on their edges


@pytest.mark.parametrize(
    ("rule", "expected", "inside", "outside"),
    [
        (Within(abs=0.5), 1.0, [0.5, 1.0, 1.5], [0.4999, 1.5001]),
        (Within(rel=0.25), -4.0, [-5.0, -3.0], [-5.001, -2.999, 4.0]),
        (Within(abs=1.0, rel=0.5), 1.0, [0.0, 2.0], [2.01]),  # the wider of the two
        (Within(abs=1.0, rel=0.5), 10.0, [5.0, 15.0], [4.99]),
        (AtLeast(2), None, [2, 2.5], [1.999]),
        (AtMost(2), None, [2, -5], [2.001]),
        (SlopeIn(-1.2, -0.8), None, [-1.2, -1, -0.8], [-1.21, -0.79, 1]),
    ],
)
def test_numeric_rules_include_their_boundary(rule, expected, inside, outside):
    for value in inside:
        assert rule.accepts(value, expected) and not rule.rejects(value, expected)
    for value in outside:
        assert rule.rejects(value, expected) and not rule.accepts(value, expected)


def test_within_relative_to_zero_accepts_zero_alone():
    assert Within(rel=0.1).accepts(0.0, 0.0) and Within(rel=0.1).rejects(1e-300, 0.0)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Within(), lambda: Within(abs=-1), lambda: Within(rel=math.nan), lambda: Within(abs=math.inf),
        lambda: AtLeast(math.nan), lambda: AtMost(math.inf), lambda: AtLeast(np.inf), lambda: AtMost(-np.inf),
        lambda: SlopeIn(1, 1), lambda: SlopeIn(2, 1), lambda: SlopeIn(math.nan, 1), lambda: AtLeast(1, over="max"),
        lambda: Within(abs=1, over="all"), lambda: Ordering("a"), lambda: Ordering("a", "a"),
        lambda: Ordering("a", "b", ratio=0.5), lambda: Ordering("a", "b", ratio=math.nan),
    ],
)  # fmt: skip
def test_rules_that_say_nothing_cannot_be_made(make):
    with pytest.raises(ValueError):
        make()


def test_seeds_are_judged_one_by_one_or_by_mean_or_median():
    values = [0.0, 0.0, 9.0]
    assert not AtLeast(3).accepts(values, None) and not AtLeast(3).rejects(values, None)
    assert AtLeast(3, over="mean").accepts(values, None)
    assert AtLeast(3, over="median").rejects(values, None)
    assert Within(abs=0.1, over="median").accepts([1.0, 2.0, 3.0, 100.0], 2.5)  # even count: the two in the middle


@given(st.lists(FINITE, min_size=1, max_size=9))
def test_mean_and_median_are_those_of_numpy(values):
    for over, reference in (("mean", np.mean(values)), ("median", np.median(values))):
        # 1e-6: rounding of sums of up to nine numbers of size 1e6
        assert Within(abs=1e-6, over=over).accepts(values, float(reference))


def test_a_table_of_expected_values_is_refuted_by_one_wrong_entry():
    rule = Within(abs=0.1)
    assert rule.accepts([1.0, 2.0], [1.0, 2.0])
    assert rule.rejects([1.0, 5.0], [1.0, 2.0])
    assert not rule.rejects([1.0, 5.0], 1.0)  # two seeds against one value: they disagree


def test_ordering_is_strict_and_takes_a_ratio():
    rule = Ordering("a", "b", "c")
    assert rule.accepts({"a": 3, "b": 2, "c": 1}, None)
    assert rule.rejects({"a": 3, "b": 2, "c": 2}, None)
    twice = Ordering("a", "b", ratio=2)
    assert twice.accepts({"a": 4, "b": 2}, None) and twice.rejects({"a": 3.9, "b": 2}, None)
    assert rule.rejects({"a": 3, "b": 1, "c": 2}, None)  # judged by names, not by the order of the mapping


def test_ordering_of_seeds_holds_for_each_seed():
    rule = Ordering("a", "b")
    assert rule.accepts({"a": [2, 3], "b": [1, 2]}, None)
    mixed = {"a": [2, 1], "b": [1, 2]}
    assert not rule.accepts(mixed, None) and not rule.rejects(mixed, None)


@pytest.mark.parametrize(
    ("rule", "measured", "message"),
    [
        (Ordering("a", "b"), {"a": 1}, "mapping with the keys"),
        (Ordering("a", "b"), {"a": 1, "b": 2, "c": 3}, "mapping with the keys"),
        (Ordering("a", "b"), 3.0, "mapping with the keys"),
        (Ordering("a", "b"), {"a": [1, 2], "b": [1]}, "same number of seeds"),
        (Ordering("a", "b"), {"a": math.nan, "b": 1}, "a must be finite"),
        (Ordering("a", "b", ratio=2), {"a": -1, "b": -2}, "a ratio compares numbers ≥ 0"),
    ],
)
def test_ordering_refuses_what_it_cannot_compare(rule, measured, message):
    with pytest.raises(ValueError, match=message):
        rule.accepts(measured, None)


def test_slope_is_that_of_polyfit():
    x = np.array([1.0, 2.0, 5.0, 9.0])
    y = np.array([3.0, 1.0, 0.4, 0.1])
    assert ledger.slope(x, y) == pytest.approx(np.polyfit(np.log(x), np.log(y), 1)[0], rel=1e-12)


@given(st.floats(-4, 4), st.floats(0.01, 100))
def test_the_slope_of_a_power_is_its_exponent(power, factor):
    x = [1.0, 2.0, 4.0, 8.0]
    assert ledger.slope(x, [factor * v**power for v in x]) == pytest.approx(power, abs=1e-9)


def test_a_pair_is_measured_by_its_slope_and_recorded_as_such():
    x = np.array([1.0, 10.0, 100.0])
    record = claim(tol=SlopeIn(-1.1, -0.9), measured=(x, 1 / x), control=(x, 1 / x**2), expected=-1)
    assert record["measured"] == pytest.approx(-1) and record["control"] == pytest.approx(-2)
    assert claim(tol=SlopeIn(-1.1, -0.9), measured=(-1.0, -0.95), control=-2.0)["measured"] == [-1.0, -0.95]


@pytest.mark.parametrize(("x", "y"), [([1, 2], [1]), ([1, 1], [1, 2]), ([1, 2], [0, 1]), ([-1, 2], [1, 1]), ([], [])])
def test_slopes_need_positive_points_at_two_places(x, y):
    with pytest.raises(ValueError, match=r"slope needs|is empty"):
        ledger.slope(x, y)


def test_exact_compares_integers_strings_and_sequences():
    rule = Exact()
    assert rule.accepts(3, 3) and rule.rejects(3, 4) and rule.accepts("abc", "abc") and rule.rejects("abc", "abd")
    assert rule.accepts([1, 2], (1, 2)) and rule.rejects((1, 2), (1, 2, 3))
    assert rule.accepts(np.array([1, 2]), [1, 2]) and rule.accepts(torch.tensor(3), 3)
    assert rule.accepts(Fraction(1, 3), Fraction(2, 6))


def test_exact_simplifies_symbols_entries_and_matrices():
    x = sympy.symbols("x", positive=True)
    rule = Exact()
    assert rule.accepts(sympy.sin(x) ** 2 + sympy.cos(x) ** 2, 1)
    assert rule.rejects(sympy.sin(x), sympy.cos(x))
    assert rule.accepts(sympy.sqrt(x**2), x)
    assert rule.accepts([x * (x + 1), 2], [x**2 + x, 2])
    assert rule.accepts(sympy.Matrix([[x * (x + 1)]]), sympy.Matrix([[x**2 + x]]))
    assert rule.rejects(sympy.Matrix([[x]]), sympy.Matrix([[x, x]]))
    assert claim(tol=rule, measured=x + x, expected=2 * x, control=x)["measured"] == "2*x"


@pytest.mark.parametrize("value", [1.0, np.float64(1), [1, 2.0], torch.tensor([1.0])])
def test_exact_refuses_floats_wherever_they_stand(value):
    with pytest.raises(ValueError, match=r"compare the float .* with Within"):
        Exact().accepts(value, 1)


# ---- records, modes, display


def test_with_record_a_failure_is_written_down_and_not_raised(monkeypatch):
    monkeypatch.setenv("BOOK_LEDGER", "record")
    assert claim(measured=7.0)["held"] is False
    with pytest.raises(ValueError):  # malformed claims still stop
        claim(measured=math.nan)


def test_mode_and_seed_of_the_run_stand_in_the_record(monkeypatch):
    monkeypatch.setenv("BOOK_MODE", "dry")
    monkeypatch.setenv("BOOK_SEED", "2")
    record = claim()
    assert (record["mode"], record["seed"]) == ("dry", 2000)


@pytest.mark.parametrize(
    ("measured", "rule", "expected", "control"),
    [
        (np.float32(4), Within(abs=1), np.int64(4), np.float64(9)),
        (torch.tensor([4.0, 4.1]), Within(abs=1), 4, torch.tensor(9.0)),
        (np.array([4.0]), AtLeast(2), None, 0),
        ({"a": np.array([2.0]), "b": [1.0]}, Ordering("a", "b"), None, {"a": [1.0], "b": torch.tensor([2.0])}),
        (sympy.Rational(1, 3), Exact(), sympy.Rational(2, 6), sympy.pi),
        (Fraction(1, 2), Within(abs=0.1), 0.5, 2),
        ({3, 1, 2}, Exact(), {1, 2, 3}, {1}),
    ],
)
def test_every_record_is_json(measured, rule, expected, control):
    record = claim(measured=measured, tol=rule, expected=expected, control=control)
    assert json.loads(json.dumps(record, allow_nan=False)) == record


def test_text_from_an_article_is_escaped_in_html():
    book = Ledger("an-article")
    claim(book, statement="<script>a & b</script>", source='"post" <b>', control_is="<i>off</i>")
    page = book._repr_html_() + ledger.as_html(book.records, anchors=True)
    assert "<script>" not in page and "<i>off" not in page and "&lt;script&gt;a &amp; b" in page
    assert 'id="claim-c1"' in page and page.count("<tr") == page.count("</tr>")


def test_a_row_carries_its_record_in_the_output_metadata():
    from IPython.core.formatters import DisplayFormatter

    record = claim()
    data, metadata = DisplayFormatter().format(ledger._Row(record))
    assert metadata[ledger.RECORD_KEY] == record
    assert set(data) >= {"text/html", "text/plain"} and "two and two" in data["text/plain"]


def test_outside_a_notebook_a_claim_prints_its_row(capsys):
    claim()
    assert "C1 [reproduced] two and two are four" in capsys.readouterr().out


def test_a_failed_row_is_shown_before_the_error(capsys):
    with pytest.raises(ClaimFailed):
        claim(measured=7.0)
    assert "reproduced (FAILED)" in capsys.readouterr().out


def test_a_ledger_shows_its_strip_and_all_rows():
    book = Ledger("an-article")
    claim(book)
    claim(book, id="C2", source="ours")
    assert str(book).startswith("an-article: 1 reproduced · 1 beyond the post\nC1 [reproduced]")
    assert book._repr_html_().count("<tr") == 3 and repr(book) == str(book)


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "verdict": st.sampled_from(ledger.VERDICTS),
                "held": st.sampled_from([True, False, None]),
                "ours": st.booleans(),
            }
        ),
        max_size=30,
    )
)
def test_the_counts_of_the_strip_add_up_to_the_claims(records):
    words = ledger.strip(records)
    counts = [int(part.split(" ", 1)[0]) for part in words.split(" · ")] if records else []
    assert sum(counts) == len(records)
    assert (words == "no claims yet") == (not records)
    failed = sum(r["held"] is False for r in records)
    assert (f"{failed} failed" in words.split(" · ")) == bool(failed)  # a failure of ours is a failure


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"), (0.123456789, "0.12346"), (3, "3"), ("abc", "abc"), (True, "True"),
        ([1.0, 1.1], "1.05 [1, 1.1]"), ([-1.0, 100.0], "-1, 100"), ({"a": 1.5, "b": [1, 2]}, "a: 1.5 · b: 1.5 [1, 2]"),
    ],
)  # fmt: skip
def test_values_are_shown_in_five_digits_and_seeds_with_their_range(value, text):
    assert ledger.show(value) == text


@given(
    st.recursive(
        st.none() | st.booleans() | FINITE | st.text(max_size=5), lambda s: st.lists(s, max_size=8), max_leaves=20
    )
)
def test_any_plain_value_can_be_shown_and_stored(value):
    assert isinstance(ledger.show(ledger._plain(value)), str)
    json.dumps(ledger._plain(value), allow_nan=False)


def test_rows_show_a_table_in_full_and_seeds_as_their_mean():
    made = ledger.Ledger("an-article")
    common = {"source": "post", "control_is": "zeros", "verdict": "reproduced", "tol": ledger.Within(abs=0.1)}
    made.claim("C1", "three constants", measured=[1.0, 1.1, 1.2], expected=[1.0, 1.1, 1.2], control=[0.0] * 3, **common)
    made.claim("C2", "three seeds", measured=[1.0, 1.1, 1.05], expected=1.05, control=[0.0] * 3, **common)
    table, seeds = (ledger.cells(record)["measured"] for record in made.records)
    assert table == "1, 1.1, 1.2"
    assert seeds == "1.05 [1, 1.1]"


def test_the_table_is_in_the_order_of_the_numbers_and_the_records_in_that_of_the_text():
    made = ledger.Ledger("an-article")
    for claim in ("C10", "C2"):
        made.claim(
            claim,
            "x",
            source="post",
            measured=1.0,
            tol=ledger.AtLeast(0.5),
            control=0.0,
            control_is="nothing",
            verdict="reproduced",
        )
    assert [record["id"] for record in made.records] == ["C10", "C2"]
    assert str(made).index("C2 [") < str(made).index("C10 [")
    assert made._repr_html_().index(">C2<") < made._repr_html_().index(">C10<")
