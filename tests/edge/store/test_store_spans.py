"""Spans: a set of numbers, whatever way it came about."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotedge_lab.edge.store.spans import Spans


def made(*pairs):
    spans = Spans()
    for first, last in pairs:
        spans.add(first, last)
    return spans


@pytest.mark.parametrize(
    ("added", "spans"),
    [
        ([], []),
        ([(5, 5)], [(5, 5)]),
        ([(5, 5), (6, 6)], [(5, 6)]),
        ([(6, 6), (5, 5)], [(5, 6)]),
        ([(5, 5), (7, 7)], [(5, 5), (7, 7)]),
        ([(5, 5), (7, 7), (6, 6)], [(5, 7)]),
        ([(5, 9), (7, 7)], [(5, 9)]),
        ([(5, 9), (5, 9)], [(5, 9)]),
        ([(5, 6), (9, 10), (20, 21), (6, 15)], [(5, 15), (20, 21)]),
        ([(9, 10), (1, 2)], [(1, 2), (9, 10)]),
        ([(1, 2), (4, 5), (7, 8), (0, 99)], [(0, 99)]),
    ],
)
def test_neighbours_become_one(added, spans):
    """What touches or overlaps is one span; gaps stay."""
    assert list(made(*added)) == spans
    assert len(made(*added)) == len(spans)


@pytest.mark.parametrize(
    ("cut", "spans"),
    [
        ((1, 4), [(5, 9), (20, 29)]),
        ((5, 9), [(20, 29)]),
        ((5, 6), [(7, 9), (20, 29)]),
        ((8, 9), [(5, 7), (20, 29)]),
        ((7, 7), [(5, 6), (8, 9), (20, 29)]),
        ((8, 25), [(5, 7), (26, 29)]),
        ((0, 99), []),
        ((10, 19), [(5, 9), (20, 29)]),
        ((30, 40), [(5, 9), (20, 29)]),
    ],
)
def test_cutting(cut, spans):
    """A cut takes out what lies in it, and nothing else."""
    kept = made((5, 9), (20, 29))
    kept.cut(*cut)
    assert list(kept) == spans


@pytest.mark.parametrize(("number", "found"), [(4, 4), (5, 10), (9, 10), (10, 10), (25, 30), (30, 30)])
def test_the_first_past(number, found):
    """`past` is the number itself outside, and the first after the span inside one."""
    assert made((5, 9), (20, 29)).past(number) == found


NUMBERS = st.integers(0, 40)


@given(st.lists(st.tuples(st.booleans(), NUMBERS, NUMBERS)))
def test_they_are_a_set(steps):
    """After any adds and cuts it holds what a set would hold, in spans with gaps between them."""
    spans, model = Spans(), set()
    for add, one, other in steps:
        first, last = min(one, other), max(one, other)
        numbers = range(first, last + 1)
        if add:
            spans.add(first, last)
            model.update(numbers)
        else:
            spans.cut(first, last)
            model.difference_update(numbers)
        found = list(spans)
        assert {number for low, high in found for number in range(low, high + 1)} == model
        assert all(low <= high for low, high in found)
        assert all(one[1] + 1 < two[0] for one, two in pairwise(found))
        for number in range(-1, 43):
            assert (number in spans) == (number in model)
            assert spans.past(number) == next(n for n in range(number, 99) if n not in model)
