"""The time of events: the exchange's own, whose clock may be set."""

from __future__ import annotations

import pytest

from callcenter_ws.bridge.asterisk.exchange_clock import ExchangeClock

START = 1_800_000_000.0


def test_an_event_without_a_timestamp_has_the_time_of_its_arrival() -> None:
    clock = ExchangeClock()
    assert clock.read("", START) == START
    assert clock.jump == 0


@pytest.mark.parametrize("stamp", ["soon", "nan", "-5", "1e300", "inf", "0"])
def test_a_timestamp_that_is_no_time_is_ignored(stamp: str) -> None:
    assert ExchangeClock().read(stamp, START) == START


def test_delays_are_no_jumps() -> None:
    clock = ExchangeClock()
    for stamp, arrived in ((0, 1), (1, 70), (2, 70.1), (3, 70.2), (65, 70.3), (71, 71.1), (140, 200)):
        assert clock.read(f"{START + stamp}", START + arrived) == START + stamp
        assert clock.jump == 0


@pytest.mark.parametrize("jump", [3_600.0, -3_600.0, -10.0, 45.0])
def test_a_jump_of_the_exchange_is_noticed(jump: float) -> None:
    clock = ExchangeClock()
    clock.read(f"{START}", START + 0.1)
    clock.read(f"{START + 5 + jump}", START + 5.1)
    assert clock.jump == pytest.approx(jump, abs=0.01)
    clock.read(f"{START + 6 + jump}", START + 6.1)
    assert clock.jump == 0


def test_a_jump_of_the_own_clock_is_none_of_the_exchange() -> None:
    clock = ExchangeClock()
    clock.read(f"{START}", START)
    for arrived in (-3_600.0, -3_599.0, 100.0):
        clock.read(f"{START + 1}", START + arrived)
        assert clock.jump == 0
