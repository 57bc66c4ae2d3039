"""Who acknowledges alerts, and what happens when they are cleared at that moment."""

from __future__ import annotations

from typing import Any

import pytest
from sample_events import event, principal
from world import World

from callcenter_ws.broker.memory import MemoryBroker
from callcenter_ws.events.event import Event, Origin
from callcenter_ws.events.principal import Role
from callcenter_ws.testing import FakeClock, run

BOSS = principal(Role.SUPERVISOR, "boss")
FIELDS = {
    "alert_id": "alert-1",
    "rule": "waits",
    "queue_name": "sales",
    "since": "2026-01-01T00:00:00Z",
    "severity": "info",
}


def alert(what: str, number: int, **fields: Any) -> Event:
    return event(f"queue.alert.{what}", {**FIELDS, **fields}, event_id=f"a{number}", origin=Origin.GATEWAY)


def raised(broker: Any = None) -> World:
    world = World(broker=broker) if broker is not None else World()
    run(world.broker.publish([alert("raised", 1)]))
    return world


def shown(world: World) -> list[Any]:
    """Return the alerts of the snapshot."""
    found = run(world.broker.entities("acme", "alert"))
    return [publication.event for _, entity in found for publication in entity.publications()]


def test_an_alert_is_acknowledged_once_with_all_its_fields() -> None:
    world = raised()
    peer = world.live(BOSS)
    messages = peer.request("alert.ack", {"alert_id": "alert-1", "note": "calling in two"})
    (event_,) = [message for message in messages if message["type"] == "queue.alert.acknowledged"]
    assert event_["payload"].items() >= {**FIELDS, "by": "boss", "note": "calling in two"}.items()
    (answer,) = [message for message in messages if message["type"] == "accepted"]
    assert answer["payload"]["duplicate"] is False
    (again,) = peer.request("alert.ack", {"alert_id": "alert-1", "note": "other"})
    assert again["payload"] == {**answer["payload"], "duplicate": True}


@pytest.mark.parametrize("role", [Role.AGENT, Role.WALLBOARD])
def test_other_roles_are_refused(role: Role) -> None:
    assert raised().live(principal(role, "7")).request_error("alert.ack", {"alert_id": "alert-1"})[0] == "forbidden"


def test_the_queues_claim_must_hold_the_queue() -> None:
    world = raised()
    other = world.live(principal(Role.SUPERVISOR, "2", queues=frozenset({"support"})))
    assert other.request_error("alert.ack", {"alert_id": "alert-1"})[0] == "unknown_alert"
    own = world.live(principal(Role.SUPERVISOR, "3", queues=frozenset({"sales"})))
    assert "accepted" in [message["type"] for message in own.request("alert.ack", {"alert_id": "alert-1"})]


class Racing(MemoryBroker):
    """A store to which another event comes just before an acknowledgement."""

    before: Event | None = None

    async def publish(self, events: Any) -> Any:
        before, self.before = self.before, None
        if before is not None:
            await super().publish([before])
        return await super().publish(events)


@pytest.mark.parametrize(("what", "answer"), [("cleared", "unknown_alert"), ("raised", "accepted")])
def test_an_acknowledgement_loses_against_clear_and_not_against_a_repetition(what: str, answer: str) -> None:
    broker = Racing(FakeClock())
    world = raised(broker)
    peer = world.live(BOSS)
    broker.before = alert(what, 2, repeat=1)
    messages = peer.request("alert.ack", {"alert_id": "alert-1"})
    last = messages[-1]
    assert last["payload"].get("code", last["type"]) == answer or answer in [one["type"] for one in messages]
    names = [one.type.name for one in shown(world)]
    assert names == ([] if what == "cleared" else ["queue.alert.acknowledged"])


def test_an_unknown_alert_is_refused() -> None:
    assert World().live(BOSS).request_error("alert.ack", {"alert_id": "x"})[0] == "unknown_alert"
