"""TokenBucket and MistakeCount."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from callcenter_ws.requests.rate_limit import MINUTE_SECONDS, MistakeCount, TokenBucket


def test_a_burst_is_allowed_and_then_the_rate() -> None:
    bucket = TokenBucket(20, 40, 0.0)
    assert [bucket.wait_for(0.0) for _ in range(40)] == [0.0] * 40
    assert bucket.wait_for(0.0) == 0.05
    assert bucket.wait_for(0.05) == 0.0
    assert 0 < bucket.wait_for(0.05) <= 0.05


def test_a_refused_request_takes_no_token() -> None:
    bucket = TokenBucket(1, 1, 0.0)
    assert bucket.wait_for(0.0) == 0.0
    for now in (0.25, 0.5, 0.75):
        assert bucket.wait_for(now) == 1 - now
    assert bucket.wait_for(1.0) == 0.0


def test_an_idle_bucket_holds_no_more_than_the_burst() -> None:
    bucket = TokenBucket(20, 5, 0.0)
    assert sum(bucket.wait_for(3600.0) == 0.0 for _ in range(50)) == 5


@given(st.lists(st.floats(0, 5), max_size=200), st.integers(1, 50), st.integers(1, 20))
def test_no_more_than_burst_and_rate_are_allowed(pauses: list[float], rate: int, burst: int) -> None:
    bucket, now, allowed = TokenBucket(rate, burst, 0.0), 0.0, 0
    for pause in pauses:
        now += pause
        wait = bucket.wait_for(now)
        allowed += wait == 0.0
        assert wait >= 0
        assert allowed <= burst + rate * now + 1e-6


@given(st.lists(st.floats(0, 0.5), min_size=1, max_size=50))
def test_a_request_after_the_returned_wait_is_allowed(pauses: list[float]) -> None:
    bucket, now = TokenBucket(10, 2, 0.0), 0.0
    for pause in pauses:
        now += pause
        wait = bucket.wait_for(now)
        if wait:
            now += wait + 1e-9
            assert bucket.wait_for(now) == 0.0


def test_more_mistakes_than_allowed_are_too_many() -> None:
    mistakes = MistakeCount()
    assert [mistakes.too_many(0.0, 3) for _ in range(5)] == [False, False, False, True, True]


def test_a_mistake_counts_for_a_minute() -> None:
    mistakes = MistakeCount()
    assert not mistakes.too_many(0.0, 2)
    assert not mistakes.too_many(30.0, 2)
    assert mistakes.too_many(MINUTE_SECONDS - 0.1, 2)
    assert not mistakes.too_many(30.0 + MINUTE_SECONDS, 2)


def test_with_zero_allowed_the_first_mistake_is_too_many() -> None:
    assert MistakeCount().too_many(0.0, 0)


@given(st.lists(st.floats(0, 40), max_size=100), st.integers(1, 5))
def test_mistakes_are_counted_in_a_sliding_minute(pauses: list[float], allowed: int) -> None:
    mistakes, now, times = MistakeCount(), 0.0, []
    for pause in pauses:
        now += pause
        times.append(now)
        assert mistakes.too_many(now, allowed) == (sum(time > now - MINUTE_SECONDS for time in times) > allowed)
