"""The log of clients: its lines and fields; what clients can cause is limited, and what is left out is counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from twisted.logger import capturedLogs, formatEvent

from callcenter_ws.errors import CloseCode, ErrorCode, Refusal
from callcenter_ws.events.principal import Principal, Role
from callcenter_ws.gateway.log import TwistedConnectionLog
from callcenter_ws.runtime.peer_limits import PeerLimits, PeerLimitValues
from callcenter_ws.runtime.refusal_log import WINDOW_SECONDS
from callcenter_ws.testing import FakeClock
from callcenter_ws.ws.authentication import PrincipalRefused

LINES, OF_USER = 40, 10
"""Lines per minute about authenticated clients: in all and of one user."""


@dataclass
class Connection:
    principal: Principal
    connection_id: str
    endpoint: str = "ws"
    ip: str = "192.0.2.1"
    received: int = 3
    delivered: int = 40
    dropped: int = 0
    seconds: float = 61.23456


def client(user: int, connection: int) -> Connection:
    return Connection(Principal("acme", f"u{user}", Role.AGENT), str(connection))


def visitor(number: int) -> Connection:
    principal = Principal("acme", f"v{number}", Role.VISITOR, session_id=f"v{number}")
    return Connection(principal, str(number), "public", f"198.51.100.{number % 100}")


Action = Callable[[TwistedConnectionLog, Connection], None]

ACTIONS: dict[str, Action] = {
    "refused": lambda log, who: log.refused(who, Refusal(ErrorCode.UNKNOWN_SESSION)),
    "closed": lambda log, who: log.closed(who, CloseCode.REPLACED),
    "ended": lambda log, who: log.ended(who, 1001, "with a close frame"),
    "opened": lambda log, who: log.opened(who),
}


@pytest.mark.parametrize("action", ACTIONS.values(), ids=ACTIONS)
@pytest.mark.parametrize(("users", "expected"), [(1, OF_USER), (500, LINES)], ids=["one user", "many users"])
def test_lines_about_clients_are_limited(action: Action, users: int, expected: int) -> None:
    clock = FakeClock()
    limits = PeerLimits.create(clock, PeerLimitValues(log_lines=4, log_lines_per_network=1))
    log = TwistedConnectionLog(limits)
    with capturedLogs() as events:
        for number in range(500):
            action(log, client(number % users, number))
        assert len(events) == expected
        assert limits.log_lines_left_out == 500 - expected
        clock.advance(WINDOW_SECONDS)
        assert formatEvent(events[-1]).startswith(f"{500 - expected} more lines")
        assert events[-1]["kind"] == events[0]["log_format"]
        action(log, client(0, 501))
        assert "acme/u0 (agent, connection 501)" in formatEvent(events[-1])


def test_the_line_of_an_opened_connection() -> None:
    log = TwistedConnectionLog(PeerLimits.create(FakeClock()))
    with capturedLogs() as events:
        log.opened(client(7, 1))
    (event,) = events
    assert formatEvent(event) == "acme/u7 (agent, connection 1) is connected from 192.0.2.1 at ws"
    assert {name: event[name] for name in ("tenant", "user", "role", "connection", "ip", "endpoint")} == {
        "tenant": "acme",
        "user": "u7",
        "role": "agent",
        "connection": "1",
        "ip": "192.0.2.1",
        "endpoint": "ws",
    }


@pytest.mark.parametrize(
    ("action", "by", "code", "name", "reason"),
    [
        (ACTIONS["closed"], "gateway", 4505, "replaced", "replaced by a newer connection of the same user"),
        (ACTIONS["ended"], "peer", 1001, "going_away", "with a close frame"),
        (lambda log, who: log.ended(who, 1006, "reset"), "peer", 1006, "abnormal", "reset"),
        (lambda log, who: log.ended(who, 1005, "x"), "peer", 1005, "no_status", "x"),
        (lambda log, who: log.ended(who, 3999, "x"), "peer", 3999, "other", "x"),
    ],
)
def test_the_line_of_a_closed_connection(action: Action, by: str, code: int, name: str, reason: str) -> None:
    log = TwistedConnectionLog(PeerLimits.create(FakeClock()))
    with capturedLogs() as events:
        action(log, client(7, 1))
    (event,) = events
    assert formatEvent(event) == (
        f"acme/u7 (agent, connection 1) from 192.0.2.1 is closed by the {by} with {code} {name}, {reason}, after "
        "61.235 s: 3 messages received, 40 delivered, 0 dropped"
    )
    assert (event["by"], event["close_code"], event["close_name"], event["reason"]) == (by, code, name, reason)
    assert (event["seconds"], event["received"], event["delivered"], event["dropped"]) == (61.235, 3, 40, 0)


def test_the_line_of_a_refused_connection_names_the_user_of_a_valid_token() -> None:
    log = TwistedConnectionLog(PeerLimits.create(FakeClock()))
    refusal = Refusal(ErrorCode.CONNECTION_LIMIT, "too many connections of this user")
    with capturedLogs() as events:
        log.handshake_refused("192.0.2.1", "ws", refusal)
        log.handshake_refused("192.0.2.1", "ws", PrincipalRefused(refusal, client(7, 1).principal).copy())
    assert [formatEvent(event) for event in events] == [
        "a handshake from 192.0.2.1 at ws is refused: connection_limit, too many connections of this user",
        (
            "a connection of acme/u7 (agent) from 192.0.2.1 at ws is refused: connection_limit, "
            "too many connections of this user"
        ),
    ]


def test_a_name_cannot_forge_another_part_of_the_line() -> None:
    log = TwistedConnectionLog(PeerLimits.create(FakeClock()))
    name = "7 (agent, connection 9) is connected from 10.0.0.1\n\x1b[2J"
    with capturedLogs() as events:
        log.opened(Connection(Principal("acme", name, Role.AGENT), "1"))
    (event,) = events
    assert formatEvent(event) == f"acme/{name!r} (agent, connection 1) is connected from 192.0.2.1 at ws"
    assert event["user"] == name


def test_a_reconnect_of_many_does_not_hide_refusals_and_closes() -> None:
    log = TwistedConnectionLog(PeerLimits.create(FakeClock()))
    for number in range(5_000):
        log.opened(client(number, number))
        log.ended(client(number, number), 1006, "reset")
    with capturedLogs() as events:
        log.closed(client(7, 7), CloseCode.REVOKED)
        log.refused(client(7, 7), Refusal(ErrorCode.FORBIDDEN))
        log.opened(client(8, 8))
    assert [event.get("close_code") or event["code"] for event in events] == [4503, "forbidden"]


def test_strangers_and_visitors_do_not_hide_the_lines_about_users() -> None:
    log = TwistedConnectionLog(PeerLimits.create(FakeClock()))
    limit, forbidden = Refusal(ErrorCode.CONNECTION_LIMIT), Refusal(ErrorCode.FORBIDDEN)
    for number in range(20_000):
        ip = f"203.0.113.{number % 256}"
        log.unauthenticated_closed(ip, CloseCode.AUTH_TIMEOUT)
        log.handshake_refused(ip, "ws", Refusal(ErrorCode.UNAUTHORIZED))
        log.handshake_refused(ip, "public", PrincipalRefused(forbidden, visitor(number).principal))
        log.opened(visitor(number))
        log.refused(visitor(number), forbidden)
        log.closed(visitor(number), CloseCode.PROTOCOL_ABUSE)
    with capturedLogs() as events:
        log.handshake_refused("203.0.113.1", "ws", PrincipalRefused(limit, client(1, 1).principal))
        for action in ACTIONS.values():
            action(log, client(1, 1))
    assert len(events) == 1 + len(ACTIONS)


def test_connections_that_are_not_logged() -> None:
    log = TwistedConnectionLog(PeerLimits.create(FakeClock()), connections=False)
    with capturedLogs() as events:
        for action in ACTIONS.values():
            action(log, client(1, 1))
    assert [event.get("close_code") or event["code"] for event in events] == ["unknown_session", 4505]


def test_an_ordinary_node_logs_every_connection() -> None:
    log = TwistedConnectionLog(PeerLimits.create(FakeClock()))
    with capturedLogs() as events:
        for number in range(500):
            log.opened(client(number, number))
            log.ended(client(number, number), 1000, "with a close frame")
    assert len(events) == 1_000
