from itertools import product

import numpy as np
import pytest

from lib import counting, squares


def backtrack(cells, q):
    """The dominants of every colouring of some squares in which each is dominated: one square is joined at a time."""
    found = [({}, [])]
    for cell in cells:
        joined = []
        for (at, dominants), colours in product(found, product(range(q), repeat=4)):
            new = dict(zip(edges_of(cell), colours, strict=True))
            pairs = [c for c in {*colours} if colours.count(c) == 2]
            if len(pairs) == 1 and len({*colours}) == 3 and all(at.get(e, c) == c for e, c in new.items()):
                joined.append((at | new, [*dominants, pairs[0]]))
        found = joined
    return [dominants for _, dominants in found]


def edges_of(cell):
    """Top, right, bottom, left of the square in column x and row y."""
    x, y = cell
    return [("h", x, y), ("v", x + 1, y), ("h", x, y + 1), ("v", x, y)]


@pytest.mark.parametrize("q", range(2, 7))
def test_the_number_of_dominated_squares(q):
    assert (squares.dominance(q) >= 0).sum() == 6 * q * (q - 1) * (q - 2)


@pytest.mark.parametrize("q", range(3, 7))
def test_arms_have_two_closed_forms(q):
    a = squares.arm_counts(q)
    equal = np.eye(q, dtype=bool)
    assert (a[equal] == 3 * (q - 1) * (q - 2)).all() and (a[~equal] == 3 * (q - 2)).all()


def test_dominance_needs_one_pair_and_two_more_colours():
    assert squares.dominant([0, 1, 0, 2]) == 0 and squares.dominant([2, 1, 0, 1]) == 1
    for colours in ([0, 0, 1, 1], [0, 0, 0, 1], [0, 1, 2, 3], [2, 2, 2, 2]):
        assert squares.dominant(colours) is None


def test_the_table_is_indexed_by_top_right_bottom_left_and_cannot_be_changed():
    table = squares.dominance(3)
    assert all(
        table[c] == (-1 if squares.dominant(c) is None else squares.dominant(c)) for c in product(range(3), repeat=4)
    )
    with pytest.raises(ValueError, match="read-only"):
        table[0, 0, 0, 0] = 1


@pytest.mark.parametrize(("k", "q"), [(1, 3), (2, 3), (3, 3), (2, 4)])
def test_lines_agree_with_enumeration(k, q):
    found = backtrack([(x, 0) for x in range(k)], q)
    allowed = sum(all(len(set(d[i : i + 3])) == len(d[i : i + 3]) for i in range(k)) for d in found)
    assert counting.walks(*squares.line_matrix(q), k)[-1] == allowed


def test_lines_of_the_prototype():
    expected = [36, 270, 1026, 3942, 15174, 58374, 224478, 863190]
    assert counting.walks(*squares.line_matrix(), 8) == expected


@pytest.mark.slow
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 3), (2, 1), (2, 2)])
def test_blocks_agree_with_enumeration(rows, columns):
    found = len(backtrack(list(product(range(columns), range(rows))), 3))
    M = squares.block_matrix(rows)
    assert counting.walks(np.ones(len(M), dtype=int), M, columns + 1)[-1] == found


def test_a_block_turned_has_as_many_fillings():
    def count(rows, columns):
        M = squares.block_matrix(rows)
        return counting.walks(np.ones(len(M), dtype=int), M, columns + 1)[-1]

    assert count(2, 4) == count(4, 2) and count(3, 2) == count(2, 3)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="4 edges, got 3"):
        squares.dominant([0, 1, 2])
    for q in (-1, 1, 21):
        with pytest.raises(ValueError, match=f"2 to 20 colours, got {q}"):
            squares.dominance(q)
    for rows in (0, 7):
        with pytest.raises(ValueError, match=f"got {rows} rows"):
            squares.block_matrix(rows)
