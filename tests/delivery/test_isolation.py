"""What one client, one listener or one handler does wrong costs nobody else anything."""

from __future__ import annotations

from typing import Any

import pytest
from core_stage import Stage

from callcenter_ws.errors import CloseCode
from callcenter_ws.events.publication import Publication
from callcenter_ws.requests.handlers import PingHandler

pytestmark = pytest.mark.logs_errors


def broken(*args: Any) -> None:
    raise RuntimeError("a bug")


@pytest.mark.parametrize("in_step", [True, False])
def test_a_socket_that_cannot_be_written_ends_alone(in_step: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage()
    first, second, third = stage.live(), stage.live(), stage.live()
    for client in (first, second, third):
        client.take()
    second.client.pause()
    monkeypatch.setattr(second, "write", broken)
    second.drain()
    stage.clock.turn()
    if not in_step:
        second.say("ping")
    stage.alerts(1)
    stage.clock.turn(2)
    assert second.closed_with is CloseCode.INTERNAL_ERROR
    assert second.client.closed
    stage.alerts(2)
    stage.clock.turn(2)
    assert len(first.take()) == len(third.take()) == 3
    assert stage.hub.connections() == 2


def test_a_socket_that_cannot_be_closed_keeps_no_other_from_being_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage()
    first, second = stage.live(), stage.live()
    monkeypatch.setattr(first, "close", broken)
    stage.hub.drain(30)
    assert second.closed_with is CloseCode.DRAINING
    assert stage.hub.connections() == 0


def test_a_listener_that_fails_costs_neither_the_publisher_nor_the_next() -> None:
    stage = Stage()
    heard: list[Publication] = []
    stage.hub.listen(broken)
    stage.hub.listen(heard.append)
    client = stage.live()
    client.take()
    stage.alerts(2)
    stage.clock.turn(2)
    assert [message["type"] for message in client.take()] == ["alert", "alert"]
    assert stage.broadcaster.intake.accepted >= 2
    assert len([message for message in heard if message.event.type.name == "alert"]) == 2


def test_a_handler_that_meets_a_bug_tells_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    async def handle(*args: Any) -> None:
        broken()

    monkeypatch.setattr(PingHandler, "handle", handle)
    stage = Stage()
    client = stage.live()
    client.take()
    client.client.receive(b'{"type": "ping", "id": 1}')
    stage.clock.turn(2)
    (answer,) = client.take()
    assert (answer["type"], answer["in_reply_to"], answer["payload"]["code"]) == ("error", 1, "unavailable")
    assert client.closed_with is None
