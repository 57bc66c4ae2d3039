"""UlidFactory: identifiers that sort by time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from callcenter_ws.events.ulid import UlidFactory

ALPHABET = set("0123456789ABCDEFGHJKMNPQRSTVWXYZ")


def test_an_id_has_the_format_of_a_ulid() -> None:
    """The example of the ULID specification: 1469918176385 ms is 01ARYZ6S41."""
    assert UlidFactory(lambda: 1469918176.385, lambda size: b"\xff" * size)() == "01ARYZ6S41" + "F" + 15 * "Z"
    assert UlidFactory(lambda: 0.0, lambda size: bytes(size))() == "0" * 26


@given(st.lists(st.floats(min_value=0, max_value=4e9), min_size=2, max_size=30), st.binary(min_size=10, max_size=10))
def test_later_ids_sort_later_even_if_the_clock_goes_back(times: list[float], random: bytes) -> None:
    clock = iter(times)
    make = UlidFactory(lambda: next(clock), lambda size: random)
    made = [make() for _ in times]
    assert made == sorted(set(made))
    assert {len(ulid) for ulid in made} == {26}
    assert set("".join(made)) <= ALPHABET


def test_ten_thousand_ids_of_one_millisecond_are_distinct_and_sorted() -> None:
    make = UlidFactory(lambda: 1_800_000_000.0, lambda size: b"\xff" * size)
    made = [make() for _ in range(10_000)]
    assert made == sorted(set(made))
    assert {ulid[:10] for ulid in made} == {made[0][:10]}


def test_two_factories_create_different_ids() -> None:
    assert UlidFactory(lambda: 1.0)() != UlidFactory(lambda: 1.0)()
