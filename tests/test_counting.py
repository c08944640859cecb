import math
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError
from scipy import stats

from lib import counting

DOMAINS = {"a": 2, "b": 3, "c": 2, "d": 3}


def tree(seed):
    """A tree with a factor of three variables and a variable of two factors."""
    rng = np.random.default_rng(seed)
    scopes = {"abc": ("b", "a", "c"), "cd": ("c", "d"), "only d": ("d",)}
    return {name: (scope, rng.integers(0, 4, [DOMAINS[v] for v in scope])) for name, scope in scopes.items()}


def weights(factors):
    """Every assignment with the product of all factors."""
    for values in product(*map(range, DOMAINS.values())):
        at = dict(zip(DOMAINS, values, strict=True))
        yield at, math.prod(int(table[tuple(at[v] for v in scope)]) for scope, table in factors.values())


@pytest.mark.parametrize("seed", range(5))
def test_the_total_and_the_counts_are_those_of_enumeration(seed):
    factors = tree(seed)
    beliefs = counting.sum_product(factors, DOMAINS)
    assert beliefs.total == sum(w for _, w in weights(factors))
    for v, size in DOMAINS.items():
        assert list(beliefs.counts[v]) == [sum(w for at, w in weights(factors) if at[v] == x) for x in range(size)]


def test_every_link_carries_two_messages_whose_product_is_the_count():
    factors = tree(0)
    beliefs = counting.sum_product(factors, DOMAINS)
    for name, (scope, _) in factors.items():
        for v in scope:
            assert (beliefs.messages[v, name] * beliefs.messages[name, v] == beliefs.counts[v]).all()


def test_counts_do_not_overflow():
    chain = {f"f{i}": ((f"v{i}", f"v{i + 1}"), np.full((2, 2), 1000)) for i in range(30)}
    assert counting.sum_product(chain, {f"v{i}": 2 for i in range(31)}).total == 2**31 * 1000**30


def test_one_variable_without_factors_counts_its_values():
    assert counting.sum_product({}, {"a": 7}).total == 7


def test_draws_follow_the_weights():
    factors, size = tree(1), 20_000
    found = counting.draw(factors, DOMAINS, np.random.default_rng(0), size)
    expected = {tuple(at.values()): w for at, w in weights(factors) if w}
    total = sum(expected.values())
    seen: dict[tuple[int, ...], int] = {}
    for row in zip(*(found[v].tolist() for v in DOMAINS), strict=True):
        seen[row] = seen.get(row, 0) + 1
    assert set(seen) <= set(expected)
    observed = [seen.get(key, 0) for key in expected]
    # one fixed seed; a right sampler fails at 1e-4 in one seed of ten thousand
    assert stats.chisquare(observed, [size * w / total for w in expected.values()]).pvalue > 1e-4


@pytest.mark.parametrize(
    ("factors", "domains", "message"),
    [
        ({"f": (("a", "b"), np.ones((2, 2), int)), "g": (("a", "b"), np.ones((2, 2), int))}, {"a": 2, "b": 2}, "tree"),
        ({"f": (("a",), np.ones(2, int))}, {"a": 2, "b": 2}, "tree"),
        ({}, {}, "tree"),
        ({"a": (("a",), np.ones(2, int))}, {"a": 2}, "different names"),
        ({"f": (("a", "x"), np.ones((2, 2), int))}, {"a": 2}, "variables of the domains"),
        ({"f": (("a",), np.ones(3, int))}, {"a": 2}, r"shape \(2,\)"),
        ({"f": (("a",), np.array([1, -1]))}, {"a": 2}, "counts >= 0"),
        ({"f": (("a",), np.array([1.0, np.nan]))}, {"a": 2}, "float64"),
        ({"f": (("a",), np.ones(0, int))}, {"a": 0}, r"shape \(0,\)"),
    ],
)
def test_what_is_no_tree_of_counts_is_refused(factors, domains, message):
    with pytest.raises(ValueError, match=message):
        counting.sum_product(factors, domains)


def test_draws_need_a_size_and_something_to_draw():
    factors = {"f": (("a",), np.zeros(2, int))}
    with pytest.raises(ValueError, match="size >= 1, got 0"):
        counting.draw(factors, {"a": 2}, np.random.default_rng(0), 0)
    with pytest.raises(ValueError, match="total of 0"):
        counting.draw(factors, {"a": 2}, np.random.default_rng(0), 1)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(-5, 5), min_size=1, max_size=4).filter(lambda c: c[-1]),
    st.lists(st.integers(-9, 9), min_size=4, max_size=4),
)
def test_the_recurrence_that_made_a_sequence_is_found_or_a_shorter_one(coefficients, start):
    s = start[: len(coefficients)]
    while len(s) < 16:
        s.append(sum(c * x for c, x in zip(coefficients, s[::-1][: len(coefficients)], strict=True)))
    found = counting.berlekamp_massey(s)
    assert len(found) <= len(coefficients)
    for n in range(len(found), len(s)):
        assert s[n] == sum(c * s[n - 1 - i] for i, c in enumerate(found))


def test_known_recurrences():
    assert counting.berlekamp_massey([0, 1, 1, 2, 3, 5, 8]) == [1, 1]
    assert counting.berlekamp_massey([8, 4, 2, 1]) == [Fraction(1, 2)]
    assert counting.berlekamp_massey([0, 0, 0]) == []
    assert counting.berlekamp_massey([3, 0, 0, 0]) == [0]


@pytest.mark.parametrize("sequence", [[], [0, 0, 1], [1, 5, 2]])
def test_too_short_a_sequence_is_refused(sequence):
    with pytest.raises(ValueError, match="terms, got"):
        counting.berlekamp_massey(sequence)


def test_walks_of_the_golden_matrix_are_fibonacci_numbers_of_any_size():
    totals = counting.walks(np.array([1, 0]), np.array([[1, 1], [1, 0]]), 200)
    assert totals[:6] == [1, 2, 3, 5, 8, 13]
    assert totals[199] == totals[198] + totals[197] > 2**64


def test_walks_refuse_a_matrix_that_does_not_fit():
    # under pytest the shape check of the signature comes first; both are a refusal with the sizes
    with pytest.raises((ValueError, TypeCheckError), match="2"):
        counting.walks(np.array([1, 0]), np.ones((2, 3), int), 2)
    with pytest.raises(ValueError, match="count"):
        counting.walks(np.array([1]), np.ones((1, 1), int), 0)


def necklaces(beads, colours):
    """The number of necklaces by the formula with Euler's φ."""
    phi = [sum(math.gcd(k, d) == 1 for k in range(1, d + 1)) for d in range(1, beads + 1)]
    return sum(phi[d - 1] * colours ** (beads // d) for d in range(1, beads + 1) if beads % d == 0) // beads


@pytest.mark.parametrize(("beads", "colours"), [(1, 2), (4, 3), (6, 2), (5, 4)])
def test_burnside_counts_necklaces(beads, colours):
    rows = np.indices((colours,) * beads).reshape(beads, -1).T
    turns = np.array([np.roll(np.arange(beads), k) for k in range(beads)])
    orbits, fixed = counting.burnside(rows, turns, np.arange(colours)[None])
    assert orbits == necklaces(beads, colours) and fixed[0] == len(rows)


def test_burnside_agrees_with_explicit_orbits_of_places_and_colours():
    rows = np.indices((3,) * 4).reshape(4, -1).T
    places = np.array([[0, 1, 2, 3], [3, 2, 1, 0]])
    colours = np.array([[0, 1, 2], [1, 2, 0], [2, 0, 1]])
    classes = {min(tuple(v[row[p]]) for p in places for v in colours) for row in rows}
    assert counting.burnside(rows, places, colours)[0] == len(classes)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[0, 1]], "closed"),
        ([[0, 1], [0, 1]], "1 of them twice"),
        ([[0, 2]], r"\[0, 2\)"),
        ([[0, -1]], r"\[0, 2\)"),
    ],
)
def test_burnside_refuses_lists_on_which_the_group_does_not_act(rows, message):
    with pytest.raises(ValueError, match=message):
        counting.burnside(np.array(rows), np.array([[0, 1], [1, 0]]), np.array([[0, 1]]))


def test_burnside_refuses_what_no_code_can_hold_and_nothing():
    with pytest.raises(ValueError, match=r"2\^63, got 2\^70"):
        counting.burnside(np.zeros((1, 70), int), np.arange(70)[None], np.array([[0, 1]]))
    with pytest.raises(ValueError, match="got"):
        counting.burnside(np.zeros((0, 2), int), np.array([[0, 1]]), np.array([[0, 1]]))
