"""TokenExpiry: the notice before the expiry of a token, and the expiry."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callcenter_ws.delivery.token_expiry import NOTICE_SECONDS, TokenExpiry
from callcenter_ws.testing import FakeClock


@dataclass
class Calls:
    """Records the calls of the callbacks.

    Attributes:
        announced: the time of each call of ``expires_soon``.
        expiries: the argument of each call of ``expires_soon``.
        closed: the time of each call of ``expired``.
    """

    clock: FakeClock
    announced: list[float] = field(default_factory=list)
    closed: list[float] = field(default_factory=list)
    expiries: list[float] = field(default_factory=list)

    def token_expires_soon(self, expires_at: float) -> None:
        self.announced.append(self.clock.time())
        self.expiries.append(expires_at)

    def token_expired(self) -> None:
        self.closed.append(self.clock.time())


def start() -> tuple[FakeClock, Calls, TokenExpiry]:
    clock = FakeClock(0.0)
    calls = Calls(clock)
    return clock, calls, TokenExpiry(clock, calls)


@given(st.floats(NOTICE_SECONDS + 0.001, 10_000_000))
def test_the_expiry_is_announced_once_and_then_happens_once(lifetime: float) -> None:
    clock, calls, expiry = start()
    expiry.set(lifetime)
    clock.advance(lifetime + 1)
    assert calls.announced == [pytest.approx(lifetime - NOTICE_SECONDS, abs=0.001)]
    assert calls.closed == [pytest.approx(lifetime, abs=0.001)]


@given(st.floats(0, NOTICE_SECONDS))
def test_a_token_that_expires_soon_is_announced_on_request_only(lifetime: float) -> None:
    clock, calls, expiry = start()
    expiry.set(lifetime)
    expiry.announce_if_soon()
    expiry.announce_if_soon()
    assert calls.announced == [0.0]
    clock.advance(lifetime + 1)
    assert calls.announced == [0.0]
    assert calls.closed == [pytest.approx(lifetime, abs=0.001)]


def test_an_expired_token_expires_at_once() -> None:
    clock, calls, expiry = start()
    expiry.set(-5.0)
    clock.turn()
    assert calls.closed == [0.0]


def test_a_token_without_expiry_is_never_announced_and_never_expires() -> None:
    clock, calls, expiry = start()
    expiry.set(None)
    expiry.announce_if_soon()
    clock.advance(10_000_000)
    assert (calls.announced, calls.closed) == ([], [])


def test_a_new_expiry_replaces_the_earlier_one() -> None:
    clock, calls, expiry = start()
    expiry.set(100.0)
    clock.advance(50)
    expiry.set(500.0)
    clock.advance(389)
    assert calls.announced == [40.0]
    clock.advance(200)
    assert calls.announced == [40.0, 440.0]
    assert calls.expiries == [100.0, 500.0]
    assert calls.closed == [500.0]


def test_after_stop_no_callback_is_called() -> None:
    clock, calls, expiry = start()
    expiry.set(100.0)
    expiry.stop()
    expiry.stop()
    clock.advance(1000)
    assert (calls.announced, calls.closed) == ([], [])
