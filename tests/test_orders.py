import itertools
import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from lib import orders, orderstats

RNG = np.random.default_rng
SAMPLERS = {
    "uniform": lambda draws: orders.uniform(5, draws, RNG(0)),
    "scatter": lambda draws: orders.scatter(5, 3, draws, RNG(1)),
    "merge of files of one line": lambda draws: orders.merge(5, 1, draws, RNG(2)),
    "blocked merge": lambda draws: orders.blocked_merge(5, 1, 2, draws, RNG(3)),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_exact_samplers_give_all_orders_equal_chances(name):
    # one fixed seed; a right sampler falls below 1e-4 in one seed of ten thousand
    found = orderstats.permutation_chi2(SAMPLERS[name](24_000))
    assert found.p > 1e-4 and found.reached == 120 and found.df == 119


@pytest.mark.parametrize("block", [1, 2, 3, 4, 6, 9])
def test_merging_is_uniform_for_real_files_and_any_block(block):
    for found in (orders.blocked_merge(3, 2, block, 36_000, RNG(block)), orders.merge(2, 3, 36_000, RNG(block))):
        assert orderstats.permutation_chi2(found).p > 1e-4


@pytest.mark.parametrize(("m", "n"), [(1, 3), (3, 1), (2, 2), (2, 3), (3, 2)])
def test_the_scheme_reaches_each_of_its_orders_once(m, n):
    every = orders.columns_then_rows_all(m, n)
    count = math.factorial(n) ** m * math.factorial(m) ** n
    assert len(every) == len(np.unique(every, axis=0)) == count
    share = count / math.factorial(m * n)
    assert 10 ** orders.reachable_log10(m, n) == pytest.approx(share, rel=1e-12)
    assert orders.tv_to_uniform(m, n) == pytest.approx(1 - share, abs=1e-12)


def test_the_list_of_orders_is_that_of_a_literal_double_loop():
    def literal(m, n):
        for columns in itertools.product(itertools.permutations(range(n)), repeat=m):
            for rows in itertools.product(itertools.permutations(range(m)), repeat=n):
                yield tuple(f * n + columns[f][t] for t in range(n) for f in rows[t])

    assert set(literal(2, 3)) == set(map(tuple, orders.columns_then_rows_all(2, 3).tolist()))


def test_draws_of_the_scheme_stay_in_its_list_and_are_even_there():
    ranks = orderstats.order_rank(orders.columns_then_rows(2, 3, 28_800, RNG(0)))
    reachable = orderstats.order_rank(orders.columns_then_rows_all(2, 3))
    assert set(ranks) == set(reachable)
    assert stats.chisquare(np.bincount(ranks)[np.sort(reachable)]).pvalue > 1e-4


def test_a_buffer_that_holds_the_file_is_uniform_and_a_single_slot_changes_nothing():
    assert orderstats.permutation_chi2(orders.buffered(5, 9, 24_000, RNG(0))).p > 1e-4
    assert (orders.buffered(5, 1, 3, RNG(0)) == np.arange(5)).all()
    # line i can stand at position i − slots + 1 at the earliest
    assert (orderstats.position_law(orders.buffered(6, 3, 4000, RNG(0)))[5] > 0).tolist() == [False] * 3 + [True] * 3


@pytest.mark.parametrize("rejection", [True, False])
@pytest.mark.parametrize(("m", "n", "last"), [(2, 2, 1), (3, 5, 2), (2, 4, 4), (1, 3, 2)])
def test_the_position_law_of_a_short_file_is_that_of_draws(m, n, last, rejection):
    law = orders.short_last_law(m, n, last, rejection=rejection)
    draws = orders.short_last(m, n, last, 40_000, RNG(0), rejection=rejection)
    assert sum(law) == 1 and len(law) == m * n + last
    at = orderstats.position_law(draws)[m * n :].mean(0)
    # five standard errors of a frequency are at most 5·0.5/√40000 = 0.0125
    np.testing.assert_allclose(at, np.array(law, dtype=float), atol=0.0125)


def test_a_full_last_file_is_read_in_every_round():
    for rejection in (True, False):
        assert set(orders.short_last_law(2, 3, 3, rejection=rejection)) == {Fraction(1, 9)}


def test_rounds_agree_with_composed_enumerations():
    once = orders.columns_then_rows_all(2, 2)
    law = Counter(tuple(first[second]) for first in once for second in once)
    total = sum(law.values())
    distance = sum(abs(Fraction(law[p], total) - Fraction(1, 24)) for p in itertools.permutations(range(4))) / 2
    assert orders.tv_after_rounds(2, 2) == distance
    assert float(orders.tv_after_rounds(3, 1)) == pytest.approx(orders.tv_to_uniform(3, 3), abs=1e-12)
    assert orders.tv_after_rounds(1, 1) == 0


def test_the_rank_is_the_place_in_the_list_of_itertools():
    every = np.array(list(itertools.permutations(range(5))))
    assert (orderstats.order_rank(every) == np.arange(120)).all()


def test_the_statistic_is_that_of_scipy():
    draws = orders.buffered(4, 2, 300, RNG(0))
    found = orderstats.permutation_chi2(draws)
    counts = Counter(map(tuple, draws.tolist()))
    reference = stats.chisquare([counts[p] for p in itertools.permutations(range(4))])
    assert found.statistic == pytest.approx(reference.statistic)
    assert found.p == pytest.approx(reference.pvalue, rel=1e-9)
    assert found.reached == len(counts)


def test_positions_and_pairs_agree_with_loops():
    draws = orders.columns_then_rows(2, 3, 50, RNG(0))
    positions, pairs = np.zeros((6, 6)), np.zeros((6, 6))
    for row in draws.tolist():
        for j, line in enumerate(row):
            positions[line, j] += 1 / 50
            for other in row[j // 2 * 2 : j // 2 * 2 + 2]:
                pairs[line, other] += 1 / 50
    np.testing.assert_allclose(orderstats.position_law(draws), positions, atol=1e-12)
    np.testing.assert_allclose(orderstats.shared_block(draws, 2), pairs, atol=1e-12)
    assert not orderstats.shared_block(draws, 2)[:3, :3][~np.eye(3, dtype=bool)].any()


def test_neighbours_and_block_variance_have_their_theoretical_means():
    m, n, draws = 8, 20, 2000
    exact, scheme = orders.uniform(m * n, draws, RNG(0)), orders.columns_then_rows(m, n, draws, RNG(1))
    # four standard errors, with Poisson-like variances: 4·√19/√2000 = 0.39 and 4·√2.4/√2000 = 0.14
    assert orderstats.same_file_neighbours(exact, n).mean() == pytest.approx(n - 1, abs=0.4)
    assert orderstats.same_file_neighbours(scheme, n).mean() == pytest.approx((n - 1) / m, abs=0.14)
    assert orderstats.block_variance(scheme, n, m) == 0
    hypergeometric = (1 - 1 / m) * (m * n - m) / (m * n - 1)
    assert orderstats.block_variance(exact, n, m) == pytest.approx(hypergeometric, rel=0.02)


def test_one_line_and_one_file_are_no_special_cases():
    for sampler in (
        lambda: orders.scatter(1, 4, 2, RNG(0)),
        lambda: orders.columns_then_rows(1, 1, 2, RNG(0)),
        lambda: orders.blocked_merge(1, 1, 7, 2, RNG(0)),
    ):
        assert sampler().tolist() == [[0], [0]]
    assert orders.tv_to_uniform(1, 50) == orders.tv_to_uniform(50, 1) == 0
    assert orders.tv_to_uniform(100, 100) == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: orders.columns_then_rows_all(3, 4), "at most"),
        (lambda: orders.short_last(2, 2, 3, 1, RNG(0), rejection=True), "at most n=2"),
        (lambda: orders.tv_after_rounds(4, 1), "m <= 3"),
        (lambda: orderstats.order_rank(np.array([[0, 0]])), "once"),
        (lambda: orderstats.order_rank(np.arange(21)[None]), "at most 20"),
        (lambda: orderstats.permutation_chi2(np.array([[0, 1]])), "5"),
        (lambda: orderstats.shared_block(np.array([[0, 1, 2]]), 2), "divides"),
        (lambda: orderstats.block_variance(np.array([[0, 1, 2]]), 2, 3), "divides"),
    ],
)
def test_refusals_name_what_was_expected_and_what_came(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "got" in str(caught.value)
