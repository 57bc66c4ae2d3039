"""The log of clients: what they can cause is limited, and what is left out is counted."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from twisted.logger import capturedLogs, formatEvent

from callcenter_ws.errors import CloseCode, ErrorCode, Refusal
from callcenter_ws.gateway.log import TwistedConnectionLog
from callcenter_ws.runtime.peer_limits import PeerLimits
from callcenter_ws.runtime.refusal_log import WINDOW_SECONDS
from callcenter_ws.testing import FakeClock

LINES, OF_USER = 40, 10
"""Lines per minute about authenticated clients: in all and of one user."""


def client(user: int, connection: int) -> str:
    return f"acme/u{user} (agent, connection {connection})"


Action = Callable[[TwistedConnectionLog, str], None]

ACTIONS: list[Action] = [
    lambda log, who: log.refused(who, Refusal(ErrorCode.UNKNOWN_SESSION)),
    lambda log, who: log.closed(who, CloseCode.REPLACED),
    lambda log, who: log.ended(who),
    lambda log, who: log.opened(who, "192.0.2.1"),
]


@pytest.mark.parametrize("action", ACTIONS, ids=["refused", "closed", "ended", "opened"])
@pytest.mark.parametrize(("users", "expected"), [(1, OF_USER), (500, LINES)], ids=["one user", "many users"])
def test_lines_about_clients_are_limited(action: Action, users: int, expected: int) -> None:
    clock = FakeClock()
    limits = PeerLimits.create(clock, log_lines=4, log_lines_per_network=1)
    log = TwistedConnectionLog(limits)
    with capturedLogs() as events:
        for number in range(500):
            action(log, client(number % users, number))
        assert len(events) == expected
        assert limits.log_lines_left_out == 500 - expected
        clock.advance(WINDOW_SECONDS)
        assert formatEvent(events[-1]).startswith(f"{500 - expected} more ")
        action(log, client(0, 501))
        assert "acme/u0 (agent, connection 501)" in formatEvent(events[-1])


def test_a_reconnect_of_many_does_not_hide_refusals_and_closes() -> None:
    log = TwistedConnectionLog(PeerLimits.create(FakeClock()))
    for number in range(5_000):
        log.opened(client(number, number), "192.0.2.1")
    with capturedLogs() as events:
        log.closed(client(7, 7), CloseCode.REVOKED)
        log.opened(client(8, 8), "192.0.2.1")
    assert [formatEvent(event) for event in events] == ["acme/u7 (agent, connection 7) is closed with 4503 revoked"]


def test_an_ordinary_node_logs_every_connection() -> None:
    log = TwistedConnectionLog(PeerLimits.create(FakeClock()))
    with capturedLogs() as events:
        for number in range(500):
            log.opened(client(number, number), "192.0.2.1")
            log.ended(client(number, number))
    assert len(events) == 1_000
