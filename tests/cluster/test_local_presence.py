"""LocalPresence: connections by user, announcements, and presence records after a restart."""

from __future__ import annotations

from typing import Any

import pytest
from doubles import SlowBroker
from sample_events import ACME
from world import Peer, World

from callcenter_ws.cluster import local_presence
from callcenter_ws.cluster.local_presence import RETRY_SECONDS
from callcenter_ws.errors import CloseCode, ErrorCode, Refusal
from callcenter_ws.events.principal import Role
from callcenter_ws.interfaces import PresenceRecord, UserPresence

GRACE = 10.0


def announcements(world: World) -> list[tuple[str, bool, int, str]]:
    """Return user, online, connections and reason of each announcement since the last call."""
    announced, world.announced[:] = list(world.announced), []
    assert all(tenant_id == ACME for tenant_id, _ in announced)
    return [
        (payload["user_id"], payload["online"], payload["connections"], payload["reason"]) for _, payload in announced
    ]


ONLINE = ("7", True, 1, "connected")
OFFLINE = ("7", False, 0, "disconnected")


def test_the_first_connection_is_announced(world: World) -> None:
    world.connect(Role.AGENT, user_id="7")
    assert announcements(world) == [ONLINE]


def test_a_second_connection_is_not_announced(world: World) -> None:
    first = world.connect(Role.AGENT, user_id="7")
    second = world.connect(Role.AGENT, user_id="7")
    assert announcements(world) == [ONLINE]
    first.client.connection_lost(CloseCode.NORMAL)
    world.clock.advance(2 * GRACE)
    assert announcements(world) == []
    second.client.connection_lost(CloseCode.NORMAL)
    world.clock.advance(2 * GRACE)
    assert announcements(world) == [OFFLINE]


def test_the_loss_of_the_last_connection_is_announced_after_the_grace(world: World) -> None:
    peer = world.connect(Role.AGENT, user_id="7")
    announcements(world)
    peer.client.connection_lost(CloseCode.NORMAL)
    world.clock.advance(GRACE - 0.1)
    assert announcements(world) == []
    world.clock.advance(0.2)
    assert announcements(world) == [OFFLINE]
    world.connect(Role.AGENT, user_id="7")
    assert announcements(world) == [ONLINE]


def test_a_reconnect_within_the_grace_is_not_announced(world: World) -> None:
    announced_before = None
    for _ in range(5):
        peer = world.connect(Role.AGENT, user_id="7")
        announced_before = announced_before or announcements(world)
        peer.client.connection_lost(CloseCode.NORMAL)
        world.clock.advance(GRACE - 1)
    assert announced_before == [ONLINE]
    assert announcements(world) == []
    world.clock.advance(2)
    assert announcements(world) == [OFFLINE]


@pytest.mark.parametrize("role", [Role.SUPERVISOR, Role.ADMIN, Role.WALLBOARD])
def test_staff_are_announced(world: World, role: Role) -> None:
    world.connect(role, user_id="7")
    assert announcements(world) == [ONLINE]


@pytest.mark.parametrize("role", [Role.VISITOR, Role.SERVICE])
def test_visitors_and_services_are_not_announced(world: World, role: Role) -> None:
    peer = world.connect(role, user_id="7")
    peer.client.connection_lost(CloseCode.NORMAL)
    world.clock.advance(2 * GRACE)
    assert announcements(world) == []


def test_the_same_user_id_in_another_tenant_is_another_user(world: World) -> None:
    world.connect(Role.AGENT, user_id="7", tenant_id="globex").client.connection_lost(CloseCode.NORMAL)
    assert world.announced.pop()[0] == "globex"
    world.connect(Role.AGENT, user_id="7")
    assert announcements(world) == [ONLINE]
    world.clock.advance(2 * GRACE)
    ((tenant_id, payload),) = world.announced
    assert tenant_id == "globex"
    assert payload == {"user_id": "7", "online": False, "connections": 0, "reason": "disconnected"}
    assert world.presence.of(ACME, "7").online
    assert not world.presence.of("globex", "7").online


def test_the_presence_of_a_user(world: World) -> None:
    start = world.clock.time()
    unknown = world.presence.of(ACME, "7")
    assert (unknown.online, unknown.connections, unknown.since, unknown.last_seen) == (False, 0, None, None)
    first = world.connect(Role.AGENT, user_id="7")
    world.clock.advance(5)
    second = world.connect(Role.AGENT, user_id="7")
    online = world.presence.of(ACME, "7")
    assert (online.online, online.connections, online.since, online.last_seen) == (True, 2, start, start + 5)
    first.client.connection_lost(CloseCode.NORMAL)
    assert world.presence.of(ACME, "7").connections == 1
    second.client.connection_lost(CloseCode.NORMAL)
    world.clock.advance(3)
    offline = world.presence.of(ACME, "7")
    assert (offline.online, offline.connections, offline.since, offline.last_seen) == (False, 0, None, start + 5)
    world.clock.advance(2 * GRACE)
    assert world.presence.of(ACME, "7") == offline


def test_a_reconnect_within_the_grace_does_not_change_since(world: World) -> None:
    start = world.clock.time()
    world.connect(Role.AGENT, user_id="7").client.connection_lost(CloseCode.NORMAL)
    world.clock.advance(GRACE - 1)
    world.connect(Role.AGENT, user_id="7")
    assert world.presence.of(ACME, "7").since == start


def test_the_user_last_seen_longest_ago_is_evicted_first(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_presence, "MAX_PRESENCE_RECORDS", 2)
    for user_id in ("1", "2", "1", "3"):
        world.connect(Role.AGENT, user_id=user_id).client.connection_lost(CloseCode.NORMAL)
        world.clock.advance(2 * GRACE)
    seen = {user_id: world.presence.of(ACME, user_id).last_seen is not None for user_id in ("1", "2", "3")}
    assert seen == {"1": True, "2": False, "3": True}


class MemoryPresenceStore:
    """A PresenceStore in memory."""

    def __init__(self, *known: PresenceRecord) -> None:
        self.known = list(known)
        self.saved: list[PresenceRecord] = []

    def load_presence(self) -> list[PresenceRecord]:
        return self.known

    def save_presence(self, record: PresenceRecord) -> None:
        self.saved.append(record)


class TestRestart:
    """Presence records are restored from the store; users that were online have ``RECONNECT_SECONDS`` to reconnect."""

    RECONNECT_SECONDS = 30.0

    def start(self, *known: PresenceRecord) -> tuple[World, MemoryPresenceStore]:
        world, store = World(), MemoryPresenceStore(*known)
        world.presence._store = store
        world.presence.resume(self.RECONNECT_SECONDS)
        return world, store

    def test_a_user_that_reconnects_in_time_is_not_announced(self) -> None:
        world, _ = self.start(PresenceRecord(ACME, "7", False, 1_000.0, 2_000.0, announced=True))
        assert world.presence.of(ACME, "7") == UserPresence(False, 0, None, 2_000.0)
        world.clock.advance(GRACE + self.RECONNECT_SECONDS - 1)
        world.connect(Role.AGENT, user_id="7")
        world.clock.advance(5 * GRACE)
        assert announcements(world) == []
        assert world.presence.of(ACME, "7").since == 1_000.0

    def test_a_user_that_does_not_reconnect_is_announced_offline_once(self) -> None:
        world, store = self.start(PresenceRecord(ACME, "7", False, 1_000.0, 2_000.0, announced=True))
        world.clock.advance(GRACE + self.RECONNECT_SECONDS - 1)
        assert announcements(world) == []
        world.clock.advance(2)
        assert announcements(world) == [OFFLINE]
        assert store.saved == [PresenceRecord(ACME, "7", False, None, 2_000.0)]
        world.clock.advance(100)
        assert announcements(world) == []
        assert world.presence.of(ACME, "7") == UserPresence(False, 0, None, 2_000.0)

    def test_a_user_that_was_offline_keeps_last_seen_and_is_not_announced(self) -> None:
        world, _ = self.start(PresenceRecord(ACME, "7", False, None, 2_000.0))
        world.clock.advance(100)
        assert announcements(world) == []
        assert world.presence.of(ACME, "7").last_seen == 2_000.0

    def test_a_user_not_announced_before_the_restart_is_announced_after_it_reconnects(self) -> None:
        world, _ = self.start(PresenceRecord(ACME, "7", False, 1_000.0, 2_000.0, announced=False))
        world.connect(Role.AGENT, user_id="7")
        assert announcements(world) == [ONLINE]

    def test_a_user_not_announced_before_the_restart_that_does_not_reconnect_is_not_announced(self) -> None:
        world, store = self.start(PresenceRecord(ACME, "7", False, 1_000.0, 2_000.0, announced=False))
        world.clock.advance(GRACE + self.RECONNECT_SECONDS + 1)
        assert announcements(world) == []
        assert store.saved == [PresenceRecord(ACME, "7", False, None, 2_000.0)]

    def test_a_pending_offline_announcement_is_made_after_the_restart(self) -> None:
        world, _ = self.start(PresenceRecord(ACME, "7", False, None, 2_000.0, announced=True))
        assert announcements(world) == [OFFLINE]

    def test_a_record_is_saved_at_each_change(self) -> None:
        world, store = self.start()
        start = world.clock.time()
        peer = world.connect(Role.AGENT, user_id="7")
        visitor = world.connect(Role.VISITOR, user_id="v", session_id="s")
        world.clock.advance(5)
        for leaving in (peer, visitor):
            leaving.client.connection_lost(CloseCode.NORMAL)
        world.clock.advance(2 * GRACE)
        assert store.saved == [
            PresenceRecord(ACME, "7", False, start, start),
            PresenceRecord(ACME, "7", False, start, start + 5),
            PresenceRecord(ACME, "v", True, None, start + 5),
            PresenceRecord(ACME, "7", False, None, start + 5),
        ]


class TestRefused:
    """An announcement that the store refused is repeated while it is still valid."""

    def start(self) -> tuple[World, list[bool]]:
        """Return a world, and a list of one flag: whether announcements are refused, at first True."""
        world, refuses = World(), [True]

        async def announce(tenant_id: str, payload: dict[str, Any]) -> None:
            if refuses[0]:
                raise Refusal(ErrorCode.UNAVAILABLE)
            await world.announce(tenant_id, payload)

        world.presence._announce = announce
        return world, refuses

    def test_it_is_repeated_until_it_is_accepted(self) -> None:
        world, refuses = self.start()
        world.connect(Role.AGENT, user_id="7")
        world.clock.advance(3 * RETRY_SECONDS)
        assert announcements(world) == []
        refuses[0] = False
        world.clock.advance(RETRY_SECONDS)
        assert announcements(world) == [ONLINE]
        world.clock.advance(3 * RETRY_SECONDS)
        assert announcements(world) == []

    def test_an_outdated_announcement_is_not_repeated(self) -> None:
        world, refuses = self.start()
        world.connect(Role.AGENT, user_id="7").client.connection_lost(CloseCode.NORMAL)
        world.clock.advance(2 * GRACE)
        refuses[0] = False
        world.clock.advance(3 * RETRY_SECONDS)
        assert announcements(world) == []

    def test_offline_is_announced_after_refusals(self) -> None:
        world, refuses = self.start()
        refuses[0] = False
        peer = world.connect(Role.AGENT, user_id="7")
        refuses[0] = True
        peer.client.connection_lost(CloseCode.NORMAL)
        world.clock.advance(GRACE + RETRY_SECONDS)
        refuses[0] = False
        world.clock.advance(2 * RETRY_SECONDS)
        assert announcements(world) == [ONLINE, OFFLINE]


class TestPublished:
    """Announcements are published by the EventBroadcaster."""

    def announcements(self, peer: Peer) -> list[tuple[str, bool]]:
        return [
            (message["payload"]["user_id"], message["payload"]["online"]) for message in peer.read("presence.changed")
        ]

    def test_supervisors_receive_announcements_and_agents_do_not(self) -> None:
        world = World(publishes_presence=True)
        supervisor, agent = world.live(user_id="boss"), world.live(Role.AGENT, user_id="7")
        peer = world.live(Role.AGENT, user_id="8")
        peer.client.connection_lost(CloseCode.NORMAL)
        world.clock.advance(2 * GRACE)
        assert self.announcements(supervisor) == [("7", True), ("8", True), ("8", False)]
        assert self.announcements(agent) == []

    def test_a_closed_store_causes_no_unhandled_error(self) -> None:
        world = World(publishes_presence=True)
        world.spawn(world.broker.stop())
        peer = world.connect(Role.AGENT, user_id="7")
        peer.client.connection_lost(CloseCode.NORMAL)
        world.clock.advance(2 * GRACE)
        world.turn()

    def test_many_reconnects_within_the_grace_are_not_announced(self) -> None:
        world = World(publishes_presence=True, slow=True)
        assert isinstance(world.broker, SlowBroker)
        peers = [world.live(Role.AGENT, user_id=f"a{number}") for number in range(50)]
        world.turn()
        head = world.hub._tenants[ACME].head
        for peer in peers:
            peer.client.connection_lost(CloseCode.ABNORMAL)
        world.clock.advance(GRACE / 2)
        peers = [world.connect(Role.AGENT, user_id=f"a{number}") for number in range(50)]
        world.clock.advance(3 * GRACE)
        assert [peer.read()[0]["payload"]["seq"] for peer in peers] == [head] * 50


def test_users_who_were_asked_to_reconnect_have_longer(world: World) -> None:
    world.presence.drain_grace = 5 * GRACE
    peer = world.connect(Role.AGENT, user_id="7")
    announcements(world)
    peer.client.close(CloseCode.DRAINING)
    world.clock.advance(5 * GRACE - 0.1)
    assert announcements(world) == []
    world.clock.advance(0.2)
    assert announcements(world) == [OFFLINE]
