"""TokenExpiry: told a minute before, closed at the end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callcenter_ws.delivery.token_expiry import NOTICE, TokenExpiry
from callcenter_ws.errors import CloseCode
from callcenter_ws.testing import FakeClock, text_payloads


@dataclass
class Heard:
    """Stands for the client: keeps when it was told and when it was closed."""

    clock: FakeClock
    told: list[float] = field(default_factory=list)
    closed: list[float] = field(default_factory=list)

    def send(self, frame: bytes) -> None:
        assert b'"type":"session.expiring"' in text_payloads(frame)[0]
        self.told.append(self.clock.time())

    def close(self, code: CloseCode) -> None:
        assert code is CloseCode.TOKEN_EXPIRED
        self.closed.append(self.clock.time())


def watch() -> tuple[FakeClock, Heard, TokenExpiry]:
    clock = FakeClock(0.0)
    client: Any = Heard(clock)
    return clock, client, TokenExpiry(clock, client)


@given(st.floats(NOTICE + 0.001, 10_000_000))
def test_told_once_a_minute_before_and_closed_once_at_the_end(lives: float) -> None:
    clock, client, expiry = watch()
    expiry.set(lives)
    clock.advance(lives + 1)
    assert client.told == [pytest.approx(lives - NOTICE, abs=0.001)]
    assert client.closed == [pytest.approx(lives, abs=0.001)]


@given(st.floats(0, NOTICE))
def test_a_short_life_is_announced_when_asked_for_and_ends_in_time(lives: float) -> None:
    clock, client, expiry = watch()
    expiry.set(lives)
    expiry.announce_if_soon()
    expiry.announce_if_soon()
    assert client.told == [0.0]
    clock.advance(lives + 1)
    assert client.told == [0.0]
    assert client.closed == [pytest.approx(lives, abs=0.001)]


def test_a_token_that_is_over_already() -> None:
    clock, client, expiry = watch()
    expiry.set(-5.0)
    clock.turn()
    assert client.closed == [0.0]


def test_no_end() -> None:
    clock, client, expiry = watch()
    expiry.set(None)
    expiry.announce_if_soon()
    clock.advance(10_000_000)
    assert (client.told, client.closed) == ([], [])


def test_a_new_end_replaces_the_old_one() -> None:
    clock, client, expiry = watch()
    expiry.set(100.0)
    clock.advance(50)
    expiry.set(500.0)
    clock.advance(389)
    assert client.told == [40.0]
    clock.advance(200)
    assert client.told == [40.0, 440.0]
    assert client.closed == [500.0]


def test_stopped() -> None:
    clock, client, expiry = watch()
    expiry.set(100.0)
    expiry.stop()
    expiry.stop()
    clock.advance(1000)
    assert (client.told, client.closed) == ([], [])
