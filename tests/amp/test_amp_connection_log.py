"""The log lines about connections of daemons."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionLost
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure

from callcenter_ws.amp import commands

SECRET = "a-shared-secret-of-the-tests"
EVENT = {"tenant_id": "acme", "type": "alert", "payload": b'{"code": "x", "severity": "info", "message": "m"}'}


def lines_of(events: Any, connection: int) -> list[Any]:
    return [event for event in events if event.get("connection") == str(connection)]


def test_a_daemon_is_opened_and_closed_with_one_line_each(server: Any) -> None:
    with capturedLogs() as events:
        peer = server.tcp()
        peer.call(commands.Authenticate, token=SECRET)
        # A new token of the same user is no new connection.
        peer.call(commands.Authenticate, token=SECRET)
        for _ in range(3):
            peer.call(commands.PublishEvent, **EVENT)
        server.clock.advance(2)
        peer.transport.loseConnection()
    opened, closed = lines_of(events, 1)
    assert formatEvent(opened) == "daemon */token-file (connection 1) is connected from 192.0.2.7:5000"
    assert formatEvent(closed) == (
        "daemon */token-file (connection 1) from 192.0.2.7:5000 is closed by the peer: the end of the connection; "
        "after 2.0 s, 3 events received, 0 delivered"
    )
    fields = ("tenant", "user", "role", "ip", "by", "received", "delivered", "seconds")
    assert [closed[name] for name in fields] == ["*", "token-file", "service", "192.0.2.7", "peer", 3, 0, 2.0]


def test_a_lost_connection_is_told_from_one_that_was_ended(server: Any) -> None:
    with capturedLogs() as events:
        server.unix().protocol.connectionLost(Failure(ConnectionLost()))
    assert lines_of(events, 1)[-1]["reason"] == "reset, timed out or broken"


def test_a_peer_without_a_token_has_a_line_with_the_reason_only(server: Any) -> None:
    with capturedLogs() as events:
        peer = server.tcp()
        assert peer.call(commands.Authenticate, token="s3cret-guess")[0] == b"UNAUTHENTICATED"
        server.clock.advance(20)
        assert not peer.connected
    refused, disconnected = map(formatEvent, events)
    assert refused.startswith("Authenticate of AMP peer 192.0.2.7:5000 is refused: unauthorized, ")
    assert disconnected == "AMP peer 192.0.2.7:5000 is disconnected: no valid Authenticate within 10 s"
    assert "s3cret" not in refused


def test_connections_need_not_be_logged(server: Any) -> None:
    server.factory.log.connections = False
    with capturedLogs() as events:
        server.unix().transport.loseConnection()
        server.unix()
        server.factory.abort()
    assert [event["by"] for event in events] == ["gateway"]
    assert "this node is shutting down" in formatEvent(events[0])
