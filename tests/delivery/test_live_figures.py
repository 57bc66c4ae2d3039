"""Live figures: which clients receive them, their order among events, and when the table is read from the store."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from typing import Any

import pytest
from figure_world import FigureWorld, figure, key_of, newest_of
from msgspec import structs
from twisted.internet.defer import Deferred
from world import ACME, Message, Peer, types_of

from callcenter_ws.delivery.state_reader import StateReader
from callcenter_ws.delivery.subscription import Subscription
from callcenter_ws.delivery.welcome import ConnectOptions
from callcenter_ws.errors import CloseCode
from callcenter_ws.events.deflate import Deflater
from callcenter_ws.events.principal import Principal, Role
from callcenter_ws.interfaces import Snapshot
from callcenter_ws.statistics.store import LiveFigure

SALES, HELP = "queue.stats:sales", "queue.stats:help"

ALL = [
    figure(SALES, 1),
    figure(HELP, 1),
    figure("agent.stats:7", 1, queues=["sales"]),
    figure("agent.stats:8", 1, queues=["help"]),
    figure("tenant.stats:", 1),
]
KEYS = {one.key for one in ALL}


@pytest.fixture
def world() -> FigureWorld:
    return FigureWorld()


def inflated(peer: Peer) -> list[Message]:
    """Return what a client with compression was sent since the last call."""
    messages, at, stream = [], 0, peer.written
    peer.written = b""
    while at < len(stream):
        head = {126: 4, 127: 10}.get(stream[at + 1], 2)
        size = stream[at + 1] if head == 2 else int.from_bytes(stream[at + 2 : at + head], "big")
        data = stream[at + head : at + head + size]
        if stream[at] & 0x40:
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data + b"\0\0\xff\xff")
        messages.append(json.loads(data))
        at += head + size
    return messages


def keys(messages: list[Message]) -> set[str]:
    return {key_of(message) for message in messages}


class TestVisibility:
    @pytest.mark.parametrize(
        ("role", "claims", "seen"),
        [
            (Role.SUPERVISOR, {}, KEYS),
            (Role.ADMIN, {"queues": frozenset(["sales"])}, {SALES, "agent.stats:7"}),
            (Role.SUPERVISOR, {"queues": frozenset()}, set()),
            (Role.AGENT, {}, {SALES, HELP, "agent.stats:7", "tenant.stats:"}),
            (Role.AGENT, {"queues": frozenset(["help"])}, {HELP, "agent.stats:7"}),
            (Role.WALLBOARD, {}, {SALES, HELP, "tenant.stats:"}),
            (Role.WALLBOARD, {"queues": frozenset(["help"])}, {HELP}),
            (Role.VISITOR, {"session_id": "s-1"}, set()),
            (Role.SUPERVISOR, {"tenant_id": "globex"}, set()),
        ],
    )  # fmt: skip
    def test_who_sees_them_as_they_change_and_on_connecting(
        self, world: FigureWorld, role: Role, claims: dict[str, Any], seen: set[str]
    ) -> None:
        peer = world.live(role, user_id="7", **claims)
        world.change(*ALL)
        assert keys(peer.read()) == seen
        late = world.connect(role, user_id="7", **claims).read()
        assert late[0]["type"] == "welcome"
        assert keys(late[1:]) == seen

    def test_an_agents_own_figure_has_its_user_and_others_are_sent_none_of_it(self, world: FigureWorld) -> None:
        own, other = world.live(Role.AGENT, user_id="7"), world.live(Role.AGENT, user_id="8")
        visitor = world.live(Role.VISITOR, user_id="7", session_id="s-1")
        world.change(figure("agent.stats:7", 1, queues=["sales"]))
        (message,) = own.read()
        assert (message["user_id"], message["payload"]["user_id"]) == ("7", "7")
        assert other.read() == []
        assert visitor.read() == []

    @pytest.mark.parametrize("role", [Role.AGENT, Role.WALLBOARD])
    def test_a_claim_of_queues_is_not_evaded_by_subscribing(self, world: FigureWorld, role: Role) -> None:
        peer = world.live(role, queues=frozenset(["help"]))
        for payload in ({"events": ["tenant.stats", "queue.stats"]}, {"events": ["*"], "queues": ["sales", "help"]}):
            peer.send("subscribe", payload)
        peer.read()
        world.change(*ALL)
        assert keys(peer.read()) == {HELP}

    @pytest.mark.parametrize("role", [Role.WALLBOARD, Role.VISITOR])
    def test_roles_that_never_see_agents_may_not_subscribe_to_them(self, world: FigureWorld, role: Role) -> None:
        peer = world.live(role, **({"session_id": "s-1"} if role is Role.VISITOR else {}))
        code, _ = peer.request_error("subscribe", {"events": ["agent.stats"]})
        assert code == "forbidden"

    def test_a_subscription_limits_types_and_queues(self, world: FigureWorld) -> None:
        queues = world.connect(options=ConnectOptions(events=("queue.stats",)))
        sales = world.connect(options=ConnectOptions(queues=("sales",)))
        agents = world.connect(options=ConnectOptions(events=("agent.*",)))
        world.turn()
        world.change(*ALL)
        assert keys(queues.read()[1:]) == {SALES, HELP}
        assert keys(sales.read()[1:]) == KEYS - {HELP}
        assert keys(agents.read()[1:]) == {"agent.stats:7", "agent.stats:8"}

    def test_clients_of_one_interest_stay_one_group_and_synced(self, world: FigureWorld) -> None:
        peers = [world.live(Role.WALLBOARD, user_id=str(number)) for number in range(5)]
        for seq in range(1, 4):
            world.change(figure(SALES, seq), figure("tenant.stats:", seq))
        (group,) = world.hub.tenant_to_read(ACME)._groups.values()
        assert len(group.synced) == 5
        assert all(newest_of(peer.read()) == {SALES: 3, "tenant.stats:": 3} for peer in peers)

    def test_agents_with_figures_of_their_own_stay_one_group(self, world: FigureWorld) -> None:
        for number in (7, 8):
            world.live(Role.AGENT, user_id=str(number))
        world.change(*ALL)
        (group,) = world.hub.tenant_to_read(ACME)._groups.values()
        assert len(group.synced) == 2

    def test_messages_are_counted_one_by_one(self, world: FigureWorld) -> None:
        peer, other = world.live(), world.live()
        delivered = world.hub.counters.delivered
        world.change(*ALL)
        assert (len(peer.read()), len(other.read())) == (5, 5)
        assert world.hub.counters.delivered == delivered + 10
        assert peer.client.delivered == 6
        assert world.live().client.delivered == 6


class TestOrder:
    @pytest.mark.parametrize("role", [Role.SUPERVISOR, Role.AGENT, Role.WALLBOARD])
    def test_they_follow_the_welcome_and_events_follow_them(self, world: FigureWorld, role: Role) -> None:
        world.live()
        world.change(*ALL)
        peer = world.connect(role, user_id="7")
        messages = peer.read()
        assert messages[0]["type"] == "welcome"
        assert newest_of(messages[1:]) == dict.fromkeys(keys(messages[1:]), 1)
        world.publish_alerts(1)
        assert peer.types() == ["alert"]

    def test_they_follow_resumed_once(self, world: FigureWorld) -> None:
        world.live()
        world.publish_alerts(2)
        world.publish_queue_stats(3)
        world.change(*ALL)
        types = types_of(world.resume(1).read())
        assert types[:3] == ["welcome", "alert", "resumed"]
        assert sorted(types[3:]) == sorted(key.partition(":")[0] for key in KEYS)

    def test_they_are_in_the_snapshot_but_not_among_its_events(self, world: FigureWorld) -> None:
        world.live()
        world.publish_queue_stats(3)
        world.change(*ALL)
        messages = world.connect(Role.SUPERVISOR, ConnectOptions(snapshot=True)).read()
        assert types_of(messages) == ["welcome", "snapshot"]
        assert keys(messages[1]["payload"]["figures"]) == KEYS
        assert "queue.stats" not in types_of(messages[1]["payload"]["events"])

    def test_an_agents_own_figure_follows_the_snapshot(self, world: FigureWorld) -> None:
        world.live()
        world.change(*ALL)
        messages = world.connect(Role.AGENT, ConnectOptions(snapshot=True), user_id="7").read()
        assert types_of(messages) == ["welcome", "snapshot", "agent.stats"]
        assert keys(messages[1]["payload"]["figures"]) == {SALES, HELP, "tenant.stats:"}
        assert messages[2]["user_id"] == "7"

    def test_a_snapshot_that_was_made_before_a_change_is_followed_by_it(self, world: FigureWorld) -> None:
        world.live()
        world.change(*ALL)
        first = world.connect(options=ConnectOptions(snapshot=True)).read()[1]
        world.change(figure(SALES, 2))
        messages = world.connect(options=ConnectOptions(snapshot=True)).read()
        assert messages[1]["payload"]["figures"] == first["payload"]["figures"], "it is shared for a moment"
        assert newest_of(messages[2:]) == {SALES: 2}

    def test_subscribed_comes_before_what_the_subscription_admits(self, world: FigureWorld) -> None:
        peer = world.connect(options=ConnectOptions(events=("alert",)))
        world.change(*ALL)
        assert peer.types() == ["welcome"]
        messages = peer.request("subscribe", {"events": ["queue.stats"]})
        assert messages[0]["type"] == "subscribed"
        assert keys(messages[1:]) == {SALES, HELP}

    def test_many_changes_of_the_subscription_bring_the_figures_once(self, world: FigureWorld) -> None:
        peer = world.live()
        world.change(*ALL)
        peer.read()
        for _ in range(20):
            peer.send("subscribe", {"events": ["*"]})
        messages = peer.read()
        assert types_of(messages[:20]) == ["subscribed"] * 20
        assert sorted(map(key_of, messages[20:])) == sorted(KEYS)

    def test_a_reset_has_them_in_its_snapshot(self, world: FigureWorld) -> None:
        world.live()
        world.change(*ALL)
        messages = world.resume(1, epoch="another").read()
        assert types_of(messages) == ["welcome", "reset", "snapshot"]
        assert keys(messages[2]["payload"]["figures"]) == KEYS

    def test_compressed_they_are_whole_messages(self, world: FigureWorld, monkeypatch: pytest.MonkeyPatch) -> None:
        deflater = Deflater()
        deflated = []
        one = deflater.deflated
        monkeypatch.setattr(deflater, "deflated", lambda frame: deflated.append(frame) or one(frame))
        peers = [world.live(role, wire_formats=deflater.wire_formats) for role in (Role.SUPERVISOR, Role.WALLBOARD)]
        plain = world.live()
        deflated.clear()
        world.change(*ALL)
        sent = len(peers[0].written), len(plain.written)
        assert sent[0] < sent[1]
        assert [keys(inflated(peer)) for peer in peers] == [KEYS, {SALES, HELP, "tenant.stats:"}]
        assert keys(plain.read()) == KEYS
        assert len(deflated) == len(ALL), "each was compressed once, for all"
        late = world.connect(wire_formats=deflater.wire_formats)
        world.turn()
        assert keys(inflated(late)[1:]) == KEYS
        assert len(deflated) == len(ALL)


class TestRenewal:
    """A new token of the same user."""

    def renewed(self, world: FigureWorld, peer: Peer, queues: frozenset[str] | None) -> list[Message]:
        fresh = structs.replace(peer.client.principal, queues=queues, expires_at=world.clock.time() + 600)
        world.tokens.principals["fresh"] = fresh
        messages = peer.request("auth", {"token": "fresh"})
        assert messages[0]["type"] == "session.extended"
        return messages[1:]

    @pytest.mark.parametrize(
        ("before", "after", "sent"),
        [
            (["sales"], ["sales", "help"], {SALES, HELP}),
            (["sales"], ["help"], {HELP}),
            (["sales"], None, {SALES, HELP, "tenant.stats:"}),
            (None, ["sales"], set()),
            (["sales", "help"], ["help"], set()),
        ],
    )
    def test_what_becomes_visible_follows_the_answer(
        self, world: FigureWorld, before: list[str] | None, after: list[str] | None, sent: set[str]
    ) -> None:
        def claim(queues: list[str] | None) -> frozenset[str] | None:
            return None if queues is None else frozenset(queues)

        peer = world.live(Role.WALLBOARD, user_id="w", queues=claim(before))
        world.change(*ALL)
        peer.read()
        assert keys(self.renewed(world, peer, claim(after))) == sent
        world.change(*(figure(one.key, 2) for one in ALL))
        assert newest_of(peer.read()) == newest_of(
            world.connect(Role.WALLBOARD, user_id="w", queues=claim(after)).read()
        )

    def test_what_is_not_visible_any_more_stops(self, world: FigureWorld) -> None:
        peer = world.live(Role.WALLBOARD, user_id="w")
        world.change(*ALL)
        peer.read()
        assert self.renewed(world, peer, frozenset(["help"])) == []
        world.change(figure(SALES, 2), figure("tenant.stats:", 2))
        assert peer.read() == []
        world.change(figure(HELP, 2))
        assert newest_of(peer.read()) == {HELP: 2}


class TestReading:
    """The table is read from the store."""

    def test_the_first_client_is_sent_what_is_in_the_store(self, world: FigureWorld) -> None:
        world.store(*ALL)
        messages = world.connect().read()
        assert messages[0]["type"] == "welcome"
        assert keys(messages[1:]) == KEYS

    def test_what_changed_while_a_tenant_had_no_clients_is_read(self, world: FigureWorld) -> None:
        world.store(*ALL)
        peer = world.live()
        peer.client.connection_lost(CloseCode.ABNORMAL)
        world.announce_figures(figure(SALES, 5), LiveFigure(HELP, b""))
        messages = world.connect().read()
        assert newest_of(messages[1:]) == {**dict.fromkeys(KEYS - {HELP}, 1), SALES: 5}
        assert len(messages) == 1 + 4, "and nothing of before"

    def test_a_missed_announcement_is_made_up_by_reading(self, world: FigureWorld) -> None:
        world.store(*ALL)
        peer = world.live()
        peer.read()
        world.store(figure(SALES, 7), figure("queue.stats:new", 7), LiveFigure(HELP, b""))
        assert peer.read() == []
        world.hub.announce_figures(ACME, None)
        assert newest_of(peer.read()) == {SALES: 7, "queue.stats:new": 7}, "what has not changed is not sent again"
        assert keys(world.connect().read()[1:]) == {*KEYS, "queue.stats:new"} - {HELP}

    def test_reading_is_repeated_until_the_store_answers(self, world: FigureWorld) -> None:
        world.store(*ALL)
        world.stored.is_down = True
        peer = world.live()
        for _ in range(5):
            world.hub.announce_figures(ACME, None)
        world.clock.advance(3)
        assert peer.read() == []
        world.stored.is_down = False
        world.clock.advance(2)
        assert keys(peer.read()) == KEYS
        reads = world.stored.reads
        world.clock.advance(60)
        assert world.stored.reads == reads, "once it was read, it is read no more"

    def test_a_snapshot_over_http_has_all_while_the_first_client_waits_for_them(self, world: FigureWorld) -> None:
        world.store(*ALL)
        world.stored.is_slow = True
        world.live()
        world.stored.is_slow = False
        supervisor = Principal(ACME, "u1", Role.SUPERVISOR, world.clock.time() + 3600, 0.0)
        found: list[tuple[Snapshot, Sequence[bytes] | None]] = []
        reading = StateReader(world.hub).read(supervisor, Subscription(Role.SUPERVISOR))
        Deferred.fromCoroutine(reading).addCallback(found.append)
        world.turn()
        ((_, figures),) = found
        assert keys([json.loads(text) for text in figures or ()]) == KEYS

    def test_many_requests_while_it_is_read_cause_one_more_reading(self, world: FigureWorld) -> None:
        world.stored.is_slow = True
        world.live()
        for _ in range(50):
            world.hub.announce_figures(ACME, None)
        assert world.stored.reads == 1
        world.stored.waiting.pop().callback(None)
        world.turn()
        assert world.stored.reads == 2

    def test_what_is_announced_while_it_is_read_is_newer(self, world: FigureWorld) -> None:
        world.store(*ALL)
        world.stored.is_slow = True
        peer = world.live()
        world.change(figure(SALES, 5), LiveFigure(HELP, b""))
        assert newest_of(peer.read()) == {SALES: 5}
        world.stored.waiting.pop().callback(None)
        assert newest_of(peer.read()) == dict.fromkeys(KEYS - {SALES, HELP}, 1)
        assert newest_of(world.connect().read()[1:]) == {**dict.fromkeys(KEYS - {HELP}, 1), SALES: 5}


class TestHandover:
    """Announcements of two processes, of which one has lost the tenant."""

    @pytest.mark.parametrize("late", [figure(SALES, 4), figure(SALES, 9, epoch="01A"), figure(SALES, 5)])
    @pytest.mark.parametrize("at_once", [True, False])
    def test_an_older_figure_is_not_sent(self, world: FigureWorld, late: LiveFigure, at_once: bool) -> None:
        peer = world.live()
        world.announce_figures(figure(SALES, 5))
        if not at_once:
            world.turn()
        world.announce_figures(late)
        assert [(json.loads(figure(SALES, 5).message))] == peer.read()

    def test_a_removal_counts_by_arrival(self, world: FigureWorld) -> None:
        peer = world.live()
        world.announce_figures(figure(SALES, 5), LiveFigure(SALES, b""))
        assert peer.read() == []
        world.change(figure(SALES, 4))
        assert newest_of(peer.read()) == {SALES: 4}
