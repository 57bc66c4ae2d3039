"""LinkOrder: which numbers of one connection are passed to the store, and after which others."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from callcenter_ws.sources.link_order import LinkOrder, RefusedCount


def test_each_number_follows_the_one_before_it_that_is_under_way() -> None:
    order = LinkOrder(RefusedCount())
    assert [order.begin(number) for number in (3, 5, 9)] == [0, 3, 5]
    order.end(3, refused=False)
    assert order.begin(10) == 9
    for number in (5, 9, 10):
        order.end(number, refused=False)
    assert order.begin(11) == 0


def test_a_number_that_is_sent_twice_follows_a_lower_one() -> None:
    order = LinkOrder(RefusedCount())
    assert [order.begin(number) for number in (1, 2, 2, 1)] == [0, 1, 1, 0]
    order.end(2, refused=False)
    assert order.begin(3) == 2


def test_higher_numbers_wait_for_a_refused_one() -> None:
    count = RefusedCount()
    order = LinkOrder(count)
    order.begin(1)
    order.end(1, refused=True)
    assert [order.begin(number) for number in (2, 3)] == [None, None]
    assert order.begin(1) == 0
    # Each number that was refused must come again before any higher one.
    assert [order.begin(number) for number in (3, 4)] == [None, None]
    assert [order.begin(number) for number in (2, 3, 4)] == [1, 2, 3]
    assert count.value == 0


def test_a_lower_number_may_pass() -> None:
    order = LinkOrder(RefusedCount())
    for number in (1, 2):
        order.begin(number)
    order.end(2, refused=True)
    assert order.begin(1) == 0
    assert order.begin(3) is None


@given(st.lists(st.tuples(st.integers(1, 12), st.booleans(), st.integers(0, 5)), max_size=60))
def test_a_number_passes_if_no_lower_one_was_refused_and_not_sent_again(
    steps: list[tuple[int, bool, int]],
) -> None:
    count = RefusedCount()
    order = LinkOrder(count)
    under_way: list[int] = []
    refused: set[int] = set()
    for number, is_refused, ended in steps:
        after = order.begin(number)
        if any(lower < number for lower in refused):
            refused.add(number)
            assert after is None
        else:
            refused.discard(number)
            assert after == max([one for one in under_way if one < number], default=0)
            under_way.append(number)
        if under_way and ended:
            done = under_way.pop(ended % len(under_way))
            order.end(done, refused=is_refused)
            if is_refused:
                refused.add(done)
        assert count.value == len(refused)


def test_a_number_waits_until_it_is_alone() -> None:
    order = LinkOrder(RefusedCount())
    for number in (1, 2, 3):
        order.begin(number)
    answers: list[bool] = []
    order.alone(3).addCallback(answers.append)
    order.end(1, refused=False)
    order.begin(4)
    assert answers == []
    order.end(2, refused=False)
    assert answers == [True]
    order.alone(3).addCallback(answers.append)
    assert answers == [True, True]


def test_a_number_behind_a_refused_one_is_not_next() -> None:
    order = LinkOrder(RefusedCount())
    order.begin(1)
    order.begin(2)
    answers: list[bool] = []
    order.alone(2).addCallback(answers.append)
    order.end(1, refused=True)
    assert answers == [False]
    order.end(2, refused=True)
    # A higher number that was refused does not matter.
    order.begin(1)
    order.alone(1).addCallback(answers.append)
    assert answers == [False, True]
