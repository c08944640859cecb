from itertools import permutations, product

import numpy as np
import pytest
from sympy.combinatorics import Permutation, PermutationGroup

from lib import counting, figures
from lib import crosscount as cc
from lib.squares import arm_counts, dominance

RULES = {"distinct": cc.distinct, "neighbours": cc.neighbours, "free": cc.free}


def backtracking(q):
    """The total by colouring edge after edge, the centre first, giving up at the first square that breaks a rule."""
    order = list(dict.fromkeys(edge for edges in cc.SQUARES.values() for edge in edges))
    at = {}

    def dominants():
        for name, edges in cc.SQUARES.items():
            if all(edge in at for edge in edges):
                colours = [at[edge] for edge in edges]
                pairs = [c for c in colours if colours.count(c) == 2]
                yield name, pairs[0] if len(pairs) == 2 and len({*colours}) == 3 else None

    def extend(depth):
        known = dict(dominants())
        bars = [
            [known[s] for s in bar if s in known] for bar in (("up", "centre", "down"), ("left", "centre", "right"))
        ]
        if None in known.values() or any(len({*bar}) < len(bar) for bar in bars):
            return 0
        if depth == 16:
            return 1
        total = 0
        for at[order[depth]] in range(q):
            total += extend(depth + 1)
        del at[order[depth]]
        return total

    return extend(0)


@pytest.mark.slow
def test_backtracking_in_pure_python_finds_the_total():
    assert backtracking(3) == cc.count_centre_first(3) == 27216


def test_the_full_enumeration_agrees_with_the_product_formula_under_all_rules():
    dominants = np.concatenate([d for _, d in cc.enumerate_crosses()])
    for vertical, horizontal in product(RULES.values(), repeat=2):
        rules = (vertical, horizontal)
        assert cc.obey(dominants, rules).sum() == cc.count_centre_first(3, rules)


def test_the_joined_list_is_the_enumerated_one():
    found = np.concatenate([c[cc.obey(d)] for c, d in cc.enumerate_crosses()])
    joined = cc.solutions()
    assert np.array_equal(np.unique(found, axis=0), np.unique(joined, axis=0)) and len(joined) == len(found)


@pytest.mark.parametrize("q", [3, 4, 5])
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_messages_on_the_tree_give_the_same_total(q, rule):
    assert counting.sum_product(*cc.cross_tree(q, (rule, cc.distinct))).total == cc.count_centre_first(
        q, (rule, cc.distinct)
    )


@pytest.mark.parametrize("q", range(2, 9))
def test_the_polynomial_is_the_count(q):
    assert cc.polynomial().subs("q", q) == cc.count_centre_first(q)


def test_two_colours_allow_nothing():
    assert sum(len(c) for c, _ in cc.enumerate_crosses(2)) == 0


def test_bar_weights_in_closed_form():
    for q in (3, 4, 5, 7):
        W = cc.bar_weights(q)
        assert W[0, 0, 0] == 9 * (q - 1) * (q - 2) ** 3
        assert W[0, 0, 1] == W[0, 1, 0] == 9 * (q - 2) ** 3 * (2 * q - 3)
        assert W[0, 1, 2] == 9 * (q - 2) ** 3 * (4 * q - 7)


def test_five_squares_share_four_of_their_edges_with_the_centre():
    assert len(cc.EDGES) == 16 and sum(map(len, cc.SQUARES.values())) == 20
    for name, edges in cc.SQUARES.items():
        assert len({*edges} & {*cc.SQUARES["centre"]}) == (4 if name == "centre" else 1)


def test_the_symmetries_form_the_dihedral_group_and_map_squares_to_squares():
    perms = cc.dihedral()
    group = PermutationGroup([Permutation(p.tolist()) for p in perms])
    assert group.order() == 8 and not group.is_abelian and len(np.unique(perms, axis=0)) == 8
    squares = {frozenset(edges) for edges in cc.SQUARES.values()}
    for p in perms:
        assert {frozenset(p[edges].tolist()) for edges in cc.SQUARES.values()} == squares
        assert {*p[cc.SQUARES["centre"]]} == {*cc.SQUARES["centre"]}


def test_classes_under_symmetry_agree_with_explicit_orbits():
    rows, colours = cc.solutions(), np.array(list(permutations(range(3))))
    powers = 3 ** np.arange(16)
    for P, V in (
        (cc.dihedral(), np.arange(3)[None]),
        (np.arange(16)[None], colours),
        (cc.dihedral(), colours),
    ):
        least = np.min([v[rows[:, p]] @ powers for p in P for v in V], axis=0)
        assert counting.burnside(rows, P, V)[0] == len(np.unique(least))


def test_samples_are_solutions_and_uniform_over_the_dominants_of_the_centre():
    rows = cc.sample_solutions(np.random.default_rng(0), 3000)
    known = {row.tobytes() for row in cc.solutions()}
    assert all(row.tobytes() in known for row in rows)
    m = dominance(3)[tuple(rows[:, cc.SQUARES["centre"]].T)]
    # each of three colours 1000 times, deviation 26
    assert np.abs(np.bincount(m, minlength=3) - 1000).max() < 4 * 26


def test_samples_with_four_colours_obey_every_rule():
    rows = cc.sample_solutions(np.random.default_rng(1), 200, q=4)
    dominants = np.stack([dominance(4)[tuple(rows[:, e].T)] for e in cc.SQUARES.values()], 1)
    assert (dominants >= 0).all() and cc.obey(dominants).all()


def test_a_drawn_cross_has_a_line_for_each_edge_and_a_number_for_each_colour():
    fig, ax = figures.panel()
    cc.draw_cross(ax, {0: 1, 5: 2}, {"centre": 0})
    assert len(ax.lines) == 16 and [t.get_text() for t in ax.texts] == ["1", "2"] and len(ax.patches) == 1
    fig.clear()


def test_bad_input_is_refused():
    for q in (1, 4):
        with pytest.raises(ValueError, match=f"2 or 3 colours, got {q}"):
            next(cc.enumerate_crosses(q))
    for q in (2, 7):
        with pytest.raises(ValueError, match=f"3 to 6 colours, got {q}"):
            cc.cross_tree(q)
    with pytest.raises(ValueError, match="size >= 1, got 0"):
        cc.sample_solutions(np.random.default_rng(0), 0)
    with pytest.raises(ValueError, match="2 to 20 colours, got 1"):
        cc.count_centre_first(1)
    with pytest.raises(ValueError, match="2 to 20 colours, got 0"):
        arm_counts(0)
