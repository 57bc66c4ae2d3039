"""Hub.interrupted: the clients of a tenant whose stream continues at another position; and attached tenants."""

from __future__ import annotations

from typing import Any

from doubles import SlowBroker
from sample_events import ACME
from world import Peer, World, types_of

from callcenter_ws.errors import CloseCode
from callcenter_ws.interfaces import Position


def lose_history(world: World, events: int = 0, mail_for: str | None = None) -> str:
    """Begin a new epoch in the store.

    Args:
        events: number of undelivered events in it.
        mail_for: user of an undelivered notification after them.

    Returns:
        The new epoch.
    """
    broker = world.broker.inner if isinstance(world.broker, SlowBroker) else world.broker
    broker._epoch = "another"
    broker._tenants.clear()
    deliver, broker._deliver = broker._deliver, lambda messages: None
    world.publish_alerts(events)
    if mail_for is not None:
        world.publish("notification", user_id=mail_for)
    broker._deliver = deliver
    world.hub.interrupted(ACME, Position("another", events + (mail_for is not None)))
    return "another"


def skip(world: World, events: int) -> None:
    """Publish ``events`` that are not delivered and are removed from the history."""
    broker = world.broker
    deliver, broker._deliver = broker._deliver, lambda messages: None
    world.publish_alerts(events)
    broker._deliver = deliver
    broker._tenants[ACME].stream.history.trim(0, 0)
    world.hub.interrupted(ACME, Position(world.epoch, broker._tenants[ACME].stream.history.head))


class TestLostHistory:
    def test_a_live_client_is_reset_once_and_then_sent_new_events(self, world: World) -> None:
        world.publish_alerts(5)
        peer = world.live()
        epoch = lose_history(world, 2)
        reset, snapshot = peer.read()
        assert (reset["type"], reset["payload"]) == ("reset", {"reason": "epoch_changed", "epoch": epoch, "seq": 2})
        assert (snapshot["type"], snapshot["payload"]["seq"]) == ("snapshot", 2)
        world.publish_alerts(2)
        assert peer.seqs() == [3, 4]
        assert peer.read() == []

    def test_mail_of_the_new_epoch_is_sent_from_the_mailbox_after_the_reset(self, world: World) -> None:
        peer = world.live(user_id="me")
        world.publish("notification", user_id="me")
        (item,) = peer.read()
        assert item["seq"] == 1
        # At the same position of another epoch.
        lose_history(world, mail_for="me")
        messages = peer.read()
        assert types_of(messages) == ["reset", "snapshot", "notification"]
        assert (messages[2]["seq"], messages[2]["offline"]) == (1, True)
        world.publish_alerts(1)
        assert peer.seqs() == [2]

    def test_queued_events_are_sent_before_the_reset(self, world: World) -> None:
        peer = world.live()
        world.publish_alerts(2)
        lose_history(world)
        assert peer.types() == ["alert", "alert", "reset", "snapshot"]

    def test_a_replay_in_progress_is_ended_by_the_reset(self) -> None:
        world = World(slow=True, memory_events=5_000)
        world.publish_alerts(3_000)
        world.turn()
        peer: Peer = world.live()
        peer.send("resume", {"epoch": world.epoch, "seq": 0}, id_="r-1")
        for _ in range(20):
            world.clock.step()
        assert 0 < peer.client.outbox.position < 3_000
        lose_history(world)
        world.turn()
        messages = peer.read()
        assert types_of(messages)[-2:] == ["reset", "snapshot"]
        assert types_of(messages).count("reset") == 1
        assert "resumed" not in types_of(messages)
        world.publish_alerts(1)
        world.turn()
        assert peer.seqs() == [1]

    def test_a_client_before_its_welcome_is_welcomed_in_the_new_epoch(self) -> None:
        world = World(slow=True)
        peer = world.connect()
        epoch = lose_history(world)
        world.turn()
        messages = peer.read()
        assert (types_of(messages), messages[0]["payload"]["epoch"]) == (["welcome"], epoch)

    def test_a_paused_client_is_reset_once_it_drained(self, world: World) -> None:
        peer = world.live()
        peer.client.pause()
        lose_history(world)
        assert peer.read() == []
        peer.drain()
        assert peer.types() == ["reset", "snapshot"]

    def test_a_tenant_without_clients_is_not_reset(self, world: World) -> None:
        world.hub.interrupted(ACME, Position("another", 3))
        assert world.connect().types() == ["welcome"]


class TestSkipped:
    def test_a_live_client_is_sent_gap_and_snapshot(self, world: World) -> None:
        world.publish_alerts(2)
        peer = world.live()
        skip(world, 3)
        gap, snapshot = peer.read()
        assert (gap["type"], gap["payload"]["from_seq"], gap["payload"]["to_seq"]) == ("gap", 3, 5)
        assert (snapshot["type"], snapshot["payload"]["seq"]) == ("snapshot", 5)
        world.publish_alerts(1)
        assert peer.seqs() == [6]


class TestAttachment:
    def test_a_tenant_is_attached_while_it_has_clients_or_listeners(self, world: World) -> None:
        calls: list[tuple[str, str]] = []
        world.broker.attach = lambda name: calls.append(("attach", name))
        world.broker.detach = lambda name: calls.append(("detach", name))
        received: list[Any] = []
        world.hub.listen(received.append, ACME)
        peer = world.live()
        world.hub.listen(print, "*")
        assert calls == [("attach", ACME), ("attach", "*")]
        world.hub.unlisten(received.append)
        world.hub.unlisten(received.append)
        assert calls[2:] == []
        peer.client.connection_lost(CloseCode.NORMAL)
        world.hub.unlisten(print)
        assert calls[2:] == [("detach", ACME), ("detach", "*")]
