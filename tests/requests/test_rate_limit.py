"""TokenBucket and MistakeCount: how fast a peer may go."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from callcenter_ws.requests.rate_limit import MINUTE, MistakeCount, TokenBucket


def test_a_burst_then_the_rate() -> None:
    bucket = TokenBucket(20, 40, 0.0)
    assert [bucket.wait_for(0.0) for _ in range(40)] == [0.0] * 40
    assert bucket.wait_for(0.0) == 0.05
    assert bucket.wait_for(0.05) == 0.0
    assert 0 < bucket.wait_for(0.05) <= 0.05


def test_a_refused_message_costs_nothing() -> None:
    bucket = TokenBucket(1, 1, 0.0)
    assert bucket.wait_for(0.0) == 0.0
    for moment in (0.25, 0.5, 0.75):
        assert bucket.wait_for(moment) == 1 - moment
    assert bucket.wait_for(1.0) == 0.0


def test_silence_saves_up_no_more_than_the_burst() -> None:
    bucket = TokenBucket(20, 5, 0.0)
    assert sum(bucket.wait_for(3600.0) == 0.0 for _ in range(50)) == 5


@given(st.lists(st.floats(0, 5), max_size=200), st.integers(1, 50), st.integers(1, 20))
def test_never_more_than_burst_and_rate(pauses: list[float], rate: int, burst: int) -> None:
    bucket, now, taken = TokenBucket(rate, burst, 0.0), 0.0, 0
    for pause in pauses:
        now += pause
        wait = bucket.wait_for(now)
        taken += wait == 0.0
        assert wait >= 0
        assert taken <= burst + rate * now + 1e-6


@given(st.lists(st.floats(0, 0.5), min_size=1, max_size=50))
def test_who_waits_as_told_gets_through(pauses: list[float]) -> None:
    bucket, now = TokenBucket(10, 2, 0.0), 0.0
    for pause in pauses:
        now += pause
        wait = bucket.wait_for(now)
        if wait:
            now += wait + 1e-9
            assert bucket.wait_for(now) == 0.0


def test_mistakes_up_to_the_allowed_number() -> None:
    mistakes = MistakeCount(3)
    assert [mistakes.too_many(0.0) for _ in range(5)] == [False, False, False, True, True]


def test_mistakes_count_for_a_minute() -> None:
    mistakes = MistakeCount(2)
    assert not mistakes.too_many(0.0)
    assert not mistakes.too_many(30.0)
    assert mistakes.too_many(MINUTE - 0.1)
    assert not mistakes.too_many(30.0 + MINUTE)


def test_no_mistake_is_allowed() -> None:
    assert MistakeCount(0).too_many(0.0)


@given(st.lists(st.floats(0, 40), max_size=100), st.integers(1, 5))
def test_it_is_the_sliding_minute_that_counts(pauses: list[float], allowed: int) -> None:
    mistakes, now, moments = MistakeCount(allowed), 0.0, []
    for pause in pauses:
        now += pause
        moments.append(now)
        assert mistakes.too_many(now) == (sum(moment > now - MINUTE for moment in moments) > allowed)
