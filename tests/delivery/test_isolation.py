"""An unhandled error in one client, listener or handler does not affect the others."""

from __future__ import annotations

from typing import Any

import pytest
from world import World, types_of

from callcenter_ws.delivery.drain import ClientDrain
from callcenter_ws.errors import CloseCode
from callcenter_ws.events.publication import Publication
from callcenter_ws.requests.handlers import PingHandler

pytestmark = pytest.mark.logs_errors


def broken(*args: Any) -> None:
    raise RuntimeError("broken")


@pytest.mark.parametrize("synced", [True, False])
def test_only_the_client_whose_socket_cannot_be_written_is_closed(
    synced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World()
    first, second, third = world.live(), world.live(), world.live()
    second.client.pause()
    monkeypatch.setattr(second, "write", broken)
    second.drain()
    world.clock.turn()
    if not synced:
        second.send("ping")
    world.publish_alerts(1)
    world.clock.turn()
    assert second.closed_with is CloseCode.INTERNAL_ERROR
    assert second.client.closed
    world.publish_alerts(2)
    world.clock.turn()
    assert len(first.take()) == len(third.take()) == 3
    assert world.hub.connections() == 2


def test_a_socket_that_cannot_be_closed_does_not_prevent_the_close_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    first, second = world.live(), world.live()
    monkeypatch.setattr(first, "close", broken)
    ClientDrain(world.hub).start(30, others_take_over=False)
    world.clock.advance(1)
    assert second.closed_with is CloseCode.DRAINING
    assert world.hub.connections() == 0


def test_a_failing_listener_affects_neither_the_publisher_nor_other_listeners() -> None:
    world = World()
    received: list[Publication] = []
    world.hub.listen(broken)
    world.hub.listen(received.append)
    peer = world.live()
    world.publish_alerts(2)
    world.clock.turn()
    assert types_of(peer.take()) == ["alert", "alert"]
    assert world.broadcaster.counters.accepted >= 2
    assert len([publication for publication in received if publication.event.type.name == "alert"]) == 2


def test_an_unhandled_error_in_a_handler_is_answered_with_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    async def handle(*args: Any) -> None:
        broken()

    monkeypatch.setattr(PingHandler, "handle", handle)
    world = World()
    peer = world.live()
    peer.send("ping", id_=1)
    world.clock.turn()
    (answer,) = peer.take()
    assert (answer["type"], answer["in_reply_to"], answer["payload"]["code"]) == ("error", 1, "unavailable")
    assert peer.closed_with is None
