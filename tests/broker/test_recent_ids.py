"""RecentIds: recently published identifiers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from callcenter_ws.broker.recent_ids import WINDOW_SECONDS, RecentIds


def test_an_identifier_is_remembered_within_the_window() -> None:
    recent = RecentIds()
    recent.remember("a", 1, 1000.0)
    assert recent.seq_of("a", 1000.0) == 1
    assert recent.seq_of("a", 1000.0 + WINDOW_SECONDS) == 1
    assert recent.seq_of("b", 1000.0) is None


def test_an_identifier_expires_without_another_event() -> None:
    recent = RecentIds()
    recent.remember("a", 1, 1000.0)
    assert recent.seq_of("a", 1000.1 + WINDOW_SECONDS) is None
    recent.remember("b", 2, 1000.1 + WINDOW_SECONDS)
    assert len(recent) == 1


def test_only_old_identifiers_are_removed() -> None:
    recent = RecentIds()
    for seq in range(1, 6):
        recent.remember(str(seq), seq, 100.0 * seq)
    recent.forget_before(300.0)
    assert len(recent) == 3
    assert [recent.seq_of(str(seq), 500.0) for seq in range(1, 6)] == [None, None, 3, 4, 5]


def test_the_number_of_identifiers_is_limited() -> None:
    recent = RecentIds(80)
    for seq in range(1, 201):
        recent.remember(str(seq), seq, 0.0)
    assert 70 <= len(recent) <= 80
    assert [seq for seq in range(1, 201) if recent.seq_of(str(seq), 0.0) is not None] == list(
        range(201 - len(recent), 201)
    )
    assert recent.removed_early == 200 - len(recent)


def test_identifiers_of_five_minutes_at_a_high_rate_are_all_known() -> None:
    """667 events a second for five minutes are 200,100, more than were remembered once."""
    recent = RecentIds()
    for seq in range(200_100):
        assert recent.seq_of(f"id-{seq}", seq / 667) is None
        recent.remember(f"id-{seq}", seq, seq / 667)
    assert recent.seq_of("id-0", 300.0) == 0
    assert all(recent.seq_of(f"id-{seq}", 300.0) == seq for seq in range(0, 200_100, 97))
    assert recent.removed_early == 0


@given(st.lists(st.tuples(st.integers(0, 30), st.floats(0, 120)), max_size=300))
def test_it_is_as_a_table_without_limits(steps: list[tuple[int, float]]) -> None:
    recent, now = RecentIds(), 0.0
    published: dict[str, tuple[int, float]] = {}
    for seq, (number, pause) in enumerate(steps, 1):
        now += pause
        event_id = f"id-{number}"
        known = published.get(event_id)
        expected = known[0] if known is not None and now - known[1] <= WINDOW_SECONDS - 0.01 else None
        if known is not None and abs(now - known[1] - WINDOW_SECONDS) <= 0.01:
            continue  # A time has six significant digits.
        assert recent.seq_of(event_id, now) == expected
        if expected is None:
            published[event_id] = (seq, now)
            recent.remember(event_id, seq, now)
