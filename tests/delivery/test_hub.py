"""Hub: delivery, connections, listeners, revocations; delivery also in comparison with a model."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from sample_events import ACME, GLOBEX, REQUIRED, principal
from world import Message, Peer, World

from callcenter_ws.cluster.local_presence import LocalPresence
from callcenter_ws.delivery.hub import Hub
from callcenter_ws.delivery.limits import Limits
from callcenter_ws.delivery.subscriber import SessionState
from callcenter_ws.errors import CloseCode, ErrorCode, Refusal
from callcenter_ws.events.catalogue import CATALOGUE
from callcenter_ws.events.principal import Principal, Role
from callcenter_ws.events.publication import Publication
from callcenter_ws.events.visibility import AgentCalls, AgentChats
from callcenter_ws.requests.admission import Admission, EndpointName
from callcenter_ws.testing import run

ADMIN = principal(Role.ADMIN, "boss")


class TestDelivery:
    def test_an_event_is_delivered_to_its_tenant_only(self, world: World) -> None:
        acme, globex = world.live(ADMIN), world.live(replace(ADMIN, tenant_id=GLOBEX))
        world.publish("alert", tenant_id=GLOBEX)
        world.publish("alert")
        assert [message["tenant_id"] for message in acme.events()] == [ACME]
        assert [message["tenant_id"] for message in globex.events()] == [GLOBEX]

    def test_an_event_for_a_user_is_delivered_to_all_its_connections_and_to_no_other(self, world: World) -> None:
        own = [world.live(principal()), world.live(principal()), world.live(principal(Role.WALLBOARD))]
        others = [
            world.live(ADMIN),
            world.live(principal(tenant_id=GLOBEX)),
            world.live(principal(user_id="77")),
        ]
        world.publish("notification", user_id="7")
        assert [len(peer.events()) for peer in own] == [1, 1, 1]
        assert [peer.events() for peer in others] == [[], [], []]

    def test_each_role_is_sent_its_view(self, world: World) -> None:
        admin, wallboard = world.live(ADMIN), world.live(principal(Role.WALLBOARD, "wall"))
        visitor = world.live(principal(Role.VISITOR, "v-1", session_id="s-1"))
        world.publish("call.incoming", {"caller_name": "Rui", "variables": {"x": 1}})
        world.publish("chat.session.started", {"visitor_email": "rui@example.org", "visitor_name": "Rui"})
        call, chat = admin.events()
        assert (call["payload"]["caller_name"], chat["payload"]["visitor_email"]) == ("Rui", "rui@example.org")
        (masked,) = wallboard.events()
        assert masked["payload"] == {
            **REQUIRED["call.incoming"], "caller_id": "***", "caller_name": "***"
        }  # fmt: skip
        (own,) = visitor.events()
        assert own["payload"] == {"session_id": "s-1", "visitor_name": "Rui"}

    def test_clients_of_one_view_share_one_frame(self, world: World) -> None:
        peers = [world.live(principal(user_id=str(number))) for number in range(5)]
        world.publish("alert")
        world.turn()
        assert {len(peer.events()) for peer in peers} == {1}
        assert len({id(peer.latest) for peer in peers}) == 1

    def test_each_client_is_written_once_in_a_turn(self, world: World) -> None:
        peers = [world.live(principal(user_id=str(number))) for number in range(3)]
        before = [peer.writes for peer in peers]
        for _ in range(50):
            world.publish("alert")
        assert [peer.writes for peer in peers] == before
        world.turn()
        assert [peer.writes for peer in peers] == [writes + 1 for writes in before]
        assert [peer.seqs() for peer in peers] == [list(range(1, 51))] * 3

    def test_a_large_batch_overflows_no_client_that_reads(self, world: World) -> None:
        peer = world.live(ADMIN)
        drafts = [{"tenant_id": ACME, "type": "alert", "payload": REQUIRED["alert"]}] * 1_000
        run(world.broadcaster.publish_batch(drafts))
        assert not peer.client.lagging
        assert peer.seqs() == list(range(1, 1_001))

    def test_different_outboxes_are_written_separately(self, world: World) -> None:
        calls, alerts, both = (world.live(principal(user_id=name)) for name in "abc")
        calls.request("subscribe", {"events": ["call.*"]})
        alerts.request("subscribe", {"events": ["alert"]})
        for type_ in ("alert", "call.ended", "alert"):
            world.publish(type_)
        assert (calls.seqs(), alerts.seqs(), both.seqs()) == ([2], [1, 3], [1, 2, 3])

    def test_a_client_is_sent_events_published_after_it_connected(self, world: World) -> None:
        world.publish("alert")
        peer = world.connect(ADMIN)
        world.publish("alert")
        welcome, event = peer.read()
        assert (welcome["payload"]["seq"], event["seq"]) == (1, 2)

    def test_clients_that_connect_or_leave_between_events_of_a_type_are_sent_those_in_between(
        self, world: World
    ) -> None:
        first = world.live(ADMIN)
        world.publish("alert")
        second = world.live(principal())
        world.publish("alert")
        second.request("subscribe", {"events": ["alert", "call.*"]})
        world.publish("alert")
        first.client.connection_lost(CloseCode.NORMAL)
        third = world.live(ADMIN)
        world.publish("alert")
        assert (first.seqs(), second.seqs(), third.seqs()) == ([1, 2], [3, 4], [4])

    def test_the_latency_from_acceptance_to_the_socket_is_observed(self, world: World) -> None:
        observed: list[float] = []
        hub = Hub(
            world.broker,
            world.presence,
            world.clock,
            world.log,
            limits=world.limits,
            spawn=world.spawn,
            observe_latency=observed.append,
        )
        run(world.broker.start(hub.deliver))
        world.context.hub = world.hub = hub
        world.live(ADMIN)
        world.publish("alert", tenant_id=GLOBEX)
        world.publish("alert")
        world.turn()
        assert observed == [0.0]


class TestListeners:
    def test_a_listener_receives_the_publications_of_all_tenants(self, world: World) -> None:
        received: list[Publication] = []
        world.hub.listen(received.append)
        world.publish("alert")
        world.publish("call.ended", tenant_id=GLOBEX)
        assert [(publication.event.tenant_id, publication.event.type.name) for publication in received] == [
            (ACME, "alert"), (GLOBEX, "call.ended"),
        ]  # fmt: skip

    def test_a_removed_listener_receives_nothing(self, world: World) -> None:
        received: list[Publication] = []
        world.hub.listen(received.append)
        world.hub.unlisten(received.append)
        world.hub.unlisten(received.append)
        world.publish("alert")
        assert received == []

    def test_a_listener_that_removes_itself_does_not_affect_the_next(self, world: World) -> None:
        received: list[Publication] = []

        def remove_itself(publication: Publication) -> None:
            world.hub.unlisten(remove_itself)

        world.hub.listen(remove_itself)
        world.hub.listen(received.append)
        world.publish("alert")
        assert len(received) == 1


class TestConnections:
    def test_connections_are_counted(self, world: World) -> None:
        peers = [
            world.live(principal()), world.live(principal()), world.live(ADMIN),
            world.live(principal(Role.VISITOR, "v", GLOBEX)),
        ]  # fmt: skip
        hub = world.hub
        assert (hub.connections(), hub.connections(ACME), len(hub.clients_of(principal()))) == (4, 3, 2)
        assert hub.clients_of(principal(Role.VISITOR)) == []
        assert hub.connections("nowhere") == 0
        assert hub.counters.connections_by == {("agent", "ws"): 2, ("admin", "ws"): 1, ("visitor", "public"): 1}
        for peer in peers:
            peer.client.connection_lost(CloseCode.ABNORMAL)
        assert (hub.connections(), hub.connections(ACME), len(hub.clients_of(principal()))) == (0, 0, 0)
        assert hub.counters.closed == {"abnormal": 4}
        assert hub.counters.opened == 4

    def test_presence_is_updated(self, world: World) -> None:
        assert not world.presence.of(ACME, "7").online
        first, second = world.live(principal()), world.live(principal())
        assert (world.presence.of(ACME, "7").online, world.presence.of(ACME, "7").connections) == (True, 2)
        assert not world.presence.of(GLOBEX, "7").online
        first.client.connection_lost(CloseCode.NORMAL)
        second.client.close(CloseCode.NORMAL)
        offline = world.presence.of(ACME, "7")
        assert (offline.online, offline.connections, offline.last_seen) == (False, 0, world.clock.time())

    def test_a_tenant_is_attached_while_it_has_clients(self, world: World) -> None:
        calls: list[tuple[str, str]] = []
        attach, detach = world.broker.attach, world.broker.detach
        world.broker.attach = lambda name: (calls.append(("attach", name)), attach(name))[1]  # type: ignore[method-assign]  # recorded
        world.broker.detach = lambda name: (calls.append(("detach", name)), detach(name))[1]  # type: ignore[method-assign]  # recorded
        first, second = world.live(ADMIN), world.live(principal())
        first.client.close(CloseCode.NORMAL)
        second.client.connection_lost(CloseCode.NORMAL)
        world.live(ADMIN)
        assert calls == [("attach", ACME), ("detach", ACME), ("attach", ACME)]

    def test_a_connection_is_unregistered_once(self, world: World) -> None:
        peer = world.live(ADMIN)
        for _ in range(2):
            peer.client.close(CloseCode.REVOKED)
            peer.client.connection_lost(CloseCode.NORMAL)
        assert (world.hub.connections(), world.hub.counters.closed) == (0, {"revoked": 1})

    def test_a_closed_client_is_sent_nothing(self, world: World) -> None:
        peer = world.live(ADMIN)
        peer.client.close(CloseCode.NORMAL)
        world.publish("alert")
        assert peer.read() == []

    def test_stats_of_one_tenant_and_of_all(self, world: World) -> None:
        peer = world.live(principal())
        world.live(principal(Role.VISITOR, "v", GLOBEX))
        peer.request("ping")
        acme, total = world.hub.stats(ACME), world.hub.stats()
        assert acme["connections"] == {"total": 1, "by_role": {"agent": 1}, "by_endpoint": {"ws": 1}}
        assert total["connections"] == {
            "total": 2, "by_role": {"agent": 1, "visitor": 1}, "by_endpoint": {"ws": 1, "public": 1},
            "by_tenant": {ACME: 1, GLOBEX: 1},
        }  # fmt: skip
        assert acme["messages"] == {"received": 1, "delivered": 2, "dropped": 0}
        assert total["messages"] == {"received": 1, "delivered": 3, "dropped": 0}
        assert world.hub.stats("nowhere")["connections"]["total"] == 0


class TestDisconnecting:
    def test_a_user_is_disconnected_from_all_its_connections(self, world: World) -> None:
        own = [world.live(principal()), world.live(principal(Role.SUPERVISOR))]
        others = [world.live(principal(user_id="8")), world.live(principal(tenant_id=GLOBEX))]
        assert world.hub.disconnect_user(ACME, "7") == 2
        assert [peer.closed_with for peer in own] == [CloseCode.REVOKED] * 2
        assert [peer.closed_with for peer in others] == [None, None]
        assert world.hub.disconnect_user(ACME, "7") == 0
        assert world.hub.disconnect_user("nowhere", "7") == 0
        assert world.hub.disconnect_user("*", "8") == 0

    def test_a_disconnected_user_may_reconnect(self, world: World) -> None:
        world.live(principal())
        world.hub.disconnect_user(ACME, "7")
        assert Admission(world.hub, world.limits).admit(principal(), EndpointName.STAFF)

    def test_connections_with_a_revoked_token_are_closed(self, world: World) -> None:
        revoked, other = world.live(principal(jti="t-1")), world.live(principal(jti="t-2"))
        globex = world.live(principal(tenant_id=GLOBEX, jti="t-1"))
        assert world.hub.revoke(ACME, jti="t-1") == 1
        assert (revoked.closed_with, other.closed_with, globex.closed_with) == (CloseCode.REVOKED, None, None)

    def test_a_revocation_examines_only_the_clients_that_it_concerns(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for number in range(100):
            world.live(principal(user_id=f"u{number}", jti=f"t-{number}"))
        checked: list[object] = []
        check = world.hub.revocations.check
        monkeypatch.setattr(world.hub.revocations, "check", lambda who: (checked.append(who), check(who)))
        assert world.hub.revoke(ACME, jti="t-1") == 1
        assert world.hub.revoke(ACME, user_id="u2") == 1
        assert world.hub.revoke(ACME, jti="unknown", user_id="u3") == 1
        assert len(checked) == 3

    def test_many_connections_of_a_revoked_user_are_counted_once(self, world: World) -> None:
        for _ in range(120):
            world.live(principal(jti="t-1"))
        assert world.hub.revoke(ACME, jti="t-1", user_id="7") == 120

    def test_all_connections_of_a_revoked_user_are_closed(self, world: World) -> None:
        """Also if the clock of the issuer is ahead, so that a token seems to have been issued after the revocation."""
        now = world.clock.time()
        peers = [world.live(principal(issued_at=issued_at)) for issued_at in (now - 5, None, now + 3)]
        others = [world.live(principal(user_id="8", issued_at=now)), world.live(principal(tenant_id=GLOBEX))]
        assert world.hub.revoke(ACME, user_id="7") == 3
        assert [peer.closed_with for peer in peers] == [CloseCode.REVOKED] * 3
        assert [peer.closed_with for peer in others] == [None, None]

    def test_connections_opened_after_a_late_revocation_are_closed_by_their_tokens_only(self, world: World) -> None:
        now = world.clock.time()
        peers = [world.live(principal(issued_at=issued_at)) for issued_at in (now - 5, now - 1)]
        first = min(peer.client.connection_id for peer in peers)
        assert world.hub.revoke(ACME, user_id="7", at=now - 2, opened_until=first[:-1]) == 1
        assert [peer.closed_with for peer in peers] == [CloseCode.REVOKED, None]

    def test_a_revocation_without_token_and_user_is_refused(self, world: World) -> None:
        with pytest.raises(Refusal) as raised:
            world.hub.revoke(ACME)
        assert raised.value.code is ErrorCode.INVALID_MESSAGE

    def test_a_revoked_token_for_all_tenants_is_closed_in_each_tenant(self, world: World) -> None:
        admission = Admission(world.hub, world.limits)
        root = principal(Role.ADMIN, "root", "*", jti="t-1", issued_at=1.0)
        others = [world.live(principal(Role.ADMIN, "root", ACME, jti="t-1", issued_at=1.0))]
        revoked = [world.live(admission.admit(root, EndpointName.STAFF, name)) for name in (ACME, GLOBEX)]
        assert world.hub.revoke("*", jti="t-1") == 2
        assert [peer.closed_with for peer in revoked] == [CloseCode.REVOKED] * 2
        assert [peer.closed_with for peer in others] == [None]

    def test_a_revoked_user_of_all_tenants_is_closed_in_each_tenant(self, world: World) -> None:
        admission = Admission(world.hub, world.limits)
        root = principal(Role.ADMIN, "root", "*", issued_at=1.0)
        revoked = [world.live(admission.admit(root, EndpointName.STAFF, name)) for name in (ACME, GLOBEX)]
        assert world.hub.revoke("*", user_id="root") == 2
        assert [peer.closed_with for peer in revoked] == [CloseCode.REVOKED] * 2

    def test_a_revoked_token_does_not_extend_the_session_it_opened(self, world: World) -> None:
        root = principal(Role.ADMIN, "root", "*", jti="t-1")
        peer = world.live(Admission(world.hub, world.limits).admit(root, EndpointName.STAFF, ACME))
        world.hub.revocations.revoke_token("*", "t-1")
        world.tokens.principals["fresh"] = root
        assert peer.request_error("auth", {"token": "fresh"})[0] == "unauthorized"


def test_presence_is_updated_while_the_store_refuses_its_announcements(world: World) -> None:
    world.publishes_presence = True
    presence = LocalPresence(world.clock, run, world.announce, world.broker, grace=10)
    run(world.broker.stop())
    client = world.live(principal()).client
    presence.client_registered(client)
    presence.client_unregistered(client, CloseCode.NORMAL)
    world.clock.advance(11)
    assert not presence.of(ACME, "7").online


# Comparison with a model


@dataclass
class ModelClient:
    """One connection in the model.

    Attributes:
        names: the subscribed event types; None: all.
        expected: position and type of each event that the client must be sent.
        waiting: the events since its welcome, for a service until its first subscription.
    """

    principal: Principal
    names: set[str] | None
    expected: list[tuple[int, str]] = field(default_factory=list)
    waiting: list[tuple[int, ModelEvent, ModelWatchers | None]] | None = None


@dataclass(frozen=True)
class ModelEvent:
    """One published event in the model."""

    tenant_id: str
    type: str
    user_id: str | None
    queue: str | None
    session_id: str
    agent: str | None
    private: bool

    @property
    def family(self) -> str:
        return self.type.partition(".")[0]

    @property
    def payload(self) -> dict[str, Any]:
        extra: dict[str, Any] = {}
        if self.queue is not None and (self.family in ("call", "queue") or self.type == "chat.session.started"):
            extra["queue_name"] = self.queue
        if self.agent is not None and (self.family == "call" or self.type == "chat.session.started"):
            extra["agent_id"] = self.agent
        if self.agent is not None and self.type == "chat.transferred":
            extra["to_agent_id"] = self.agent
        if self.family == "chat":
            extra |= {"session_id": self.session_id, "sender_email": "ana@example.org"}
        if self.type == "chat.message":
            extra["private"] = self.private
        if self.family == "call":
            extra |= {"caller_id": "+351210000000", "caller_name": "Rui"}
        return {**REQUIRED[self.type], **extra}


UNANSWERED_TYPES = {
    "call.incoming", "call.ringing", "call.missed", "call.abandoned", "queue.joined", "queue.left",
}  # fmt: skip
_call_ids = itertools.count()
CALL_TYPES = {name for name in CATALOGUE if name.startswith("call.")} | {"queue.joined", "queue.left"}


@dataclass
class ModelChat:
    """One chat session in the model; ``agent`` None: nobody has it."""

    queue: str | None = None
    agent: str | None = None
    is_open: bool = True

    def apply(self, event: ModelEvent) -> set[str | None]:
        """Update the session; return the agents who had and have it, None among them if nobody did or does."""
        before = {self.agent}
        if event.type == "chat.session.started":
            concerned = before if self.is_open else set()
            self.queue, self.agent, self.is_open = event.payload.get("queue_name"), event.payload.get("agent_id"), True
            return {*concerned, self.agent}
        if event.type == "chat.transferred":
            before = before if self.is_open else {None}
            self.agent, self.is_open = event.payload["to_agent_id"], True
            return {*before, self.agent}
        self.is_open = self.is_open and event.type != "chat.session.ended"
        return before


@dataclass(frozen=True)
class ModelWatchers:
    """Which agents a chat event concerns."""

    agents: frozenset[str | None] = frozenset({None})
    queue: str | None = None

    def includes(self, agent: Principal) -> bool:
        waits = None in self.agents and (agent.queues is None or self.queue is None or self.queue in agent.queues)
        return agent.user_id in self.agents or waits


def model_sees(  # noqa: C901 - one rule after the other
    principal: Principal, event: ModelEvent, agent_calls: AgentCalls, watchers: ModelWatchers | None = None
) -> bool:
    """Return whether a principal may see an event, by ``docs/protocol.rst``, "Who sees what".

    Args:
        watchers: with ``agent_chats = "own"``: the agents whom an event of a chat concerns.
    """
    if principal.tenant_id != event.tenant_id:
        return False
    if event.user_id is not None and event.user_id != principal.user_id:
        return False
    if principal.role is Role.VISITOR:
        own_session = event.family == "chat" and event.session_id == principal.session_id
        return own_session and event.type != "chat.delivered" and not (event.type == "chat.message" and event.private)
    if principal.role is Role.WALLBOARD and (event.family == "chat" or event.type == "call.disposition"):
        return False
    if principal.role is Role.AGENT and event.type == "presence.changed":
        return False
    if event.user_id is not None:
        return True
    if principal.role is Role.AGENT and watchers is not None and event.family == "chat":
        return watchers.includes(principal)
    queue = event.payload.get("queue_name") if event.family in ("call", "queue") else None
    in_claim = principal.queues is None or queue in principal.queues or event.family not in ("call", "queue")
    if principal.role is not Role.AGENT:
        return in_claim
    if event.type in CALL_TYPES and event.payload.get("agent_id") == principal.user_id:
        return True
    if agent_calls == "own" and event.type in CALL_TYPES:
        return event.type in UNANSWERED_TYPES and principal.queues is not None and queue in principal.queues
    return in_claim


def model_matches(pattern: str) -> set[str]:
    """Return the event types that a pattern matches."""
    return {
        name for name in CATALOGUE if pattern in ("*", name) or (pattern[-2:] == ".*" and name.startswith(pattern[:-1]))
    }


PRINCIPALS = [
    principal(role, user, tenant, queues=queues)
    for tenant in (ACME, GLOBEX)
    for role in (Role.AGENT, Role.SUPERVISOR, Role.ADMIN, Role.WALLBOARD, Role.SERVICE)
    for user in ("7", "8")
    for queues in (None, frozenset[str](), frozenset({"sales"}))
] + [
    principal(Role.VISITOR, user, tenant, session_id=session)
    for tenant in (ACME, GLOBEX)
    for user in ("7", "v-1")
    for session in (None, "s-1", "s-2")
]
# The types that senders publish; those of the gateway alone have narrower audiences than the model knows.
PUBLISHED = [name for name, declared in CATALOGUE.items() if not declared.by_gateway]
PATTERNS = ["*", "call.*", "queue.*", "queue.member.*", "chat.*", "agent.*", "presence.*", *PUBLISHED]

model_events = st.builds(
    ModelEvent,
    tenant_id=st.sampled_from([ACME, ACME, ACME, GLOBEX]),
    # The types whose visibility depends on more than the role are more frequent.
    type=st.one_of(
        st.sampled_from(sorted(PUBLISHED)),
        st.sampled_from(["call.incoming", "call.answered", "call.ended", "queue.stats", "chat.message", "chat.typing"]),
        st.sampled_from(["chat.session.started", "chat.transferred", "chat.message", "chat.session.ended"]),
    ),
    user_id=st.sampled_from([None, None, None, None, "7", "8"]),
    queue=st.sampled_from([None, "sales", "help"]),
    session_id=st.sampled_from(["s-1", "s-2"]),
    agent=st.sampled_from([None, "7", "8"]),
    private=st.booleans(),
)
indexes = st.integers(0, 9)
patterns = st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=3)
principals = st.one_of(
    st.sampled_from(PRINCIPALS),
    st.sampled_from(
        [user for user in PRINCIPALS if user.tenant_id == ACME and user.role in (Role.AGENT, Role.VISITOR)]
    ),
)
steps_of_all_kinds = st.one_of(
    st.tuples(st.just("connect"), principals),
    st.tuples(st.just("subscribe"), indexes, patterns),
    st.tuples(st.just("unsubscribe"), indexes, patterns),
    st.tuples(st.just("disconnect"), indexes),
    st.tuples(st.just("turn")),
    *[st.tuples(st.just("publish"), model_events)] * 6,
)


class Comparison:
    """Performs each step with the parts of a gateway and with the model."""

    def __init__(self, agent_calls: AgentCalls, agent_chats: AgentChats = "own") -> None:
        self.agent_calls = agent_calls
        self.agent_chats = agent_chats
        self.chats: dict[tuple[str, str], ModelChat] = {}
        # The rate is not limited, because no time passes between the steps.
        limits = Limits(rate=1e9, burst=10**6, bad_messages=10**6)
        self.world = World(agent_calls=agent_calls, agent_chats=agent_chats, limits=limits)
        self.connected: list[tuple[Peer, ModelClient]] = []
        self.clients: list[tuple[Peer, ModelClient]] = []
        self.published: dict[tuple[str, int], ModelEvent] = {}

    def connect(self, principal: Principal) -> None:
        names: set[str] | None = set() if principal.role is Role.SERVICE else None
        peer = self.world.connect(principal)
        assert peer.read()[0]["type"] == "welcome"
        pair = (peer, ModelClient(principal, names, waiting=None if names is None else []))
        self.connected.append(pair)
        self.clients.append(pair)

    def subscribe(self, index: int, patterns: list[str]) -> None:
        self._change(index, "subscribe", patterns)

    def unsubscribe(self, index: int, patterns: list[str]) -> None:
        self._change(index, "unsubscribe", patterns)

    def _change(self, index: int, type_: str, patterns: list[str]) -> None:
        if not self.connected:
            return
        peer, client = self.connected[index % len(self.connected)]
        peer.send(type_, {"events": patterns})
        if peer.client.state is not SessionState.LIVE:
            # It reads its mailbox again, or waits for its first subscription.
            self.world.turn()
        if not all(self._may_subscribe(client.principal.role, pattern) for pattern in patterns):
            return
        names = set().union(*map(model_matches, patterns))
        if type_ == "subscribe":
            client.names = names | (client.names or set())
            # The stream of a service begins at its welcome.
            missed, client.waiting = client.waiting or [], None
            for seq, event, watchers in missed:
                if event.tenant_id == client.principal.tenant_id:
                    self._expect(client, seq, event, watchers)
        else:
            client.names = (set(CATALOGUE) if client.names is None else client.names) - names

    def _may_subscribe(self, role: Role, pattern: str) -> bool:
        if role is Role.SERVICE:
            return pattern != "*"
        families = {name.partition(".")[0] for name in model_matches(pattern)}
        if role is Role.VISITOR:
            return "chat" in families
        if role is Role.WALLBOARD:
            return families != {"chat"} and pattern != "call.disposition"
        return role is not Role.AGENT or families != {"presence"}

    def publish(self, event: ModelEvent) -> None:
        user_id = event.user_id or ("7" if event.type == "notification" else None)
        event = dataclasses.replace(event, user_id=user_id)
        # Each event has a call of its own: tests/broker/test_calls.py tests several events of one call.
        call = {"unique_id": f"call-{next(_call_ids)}"} if "unique_id" in event.payload else {}
        payload = {**event.payload, **call}
        seq = run(self.world.broadcaster.publish(event.tenant_id, event.type, payload, user_id=user_id)).seq
        self.published[event.tenant_id, seq] = event
        watchers = self._watchers(event)
        for _, client in self.connected:
            if client.waiting is not None:
                client.waiting.append((seq, event, watchers))
            self._expect(client, seq, event, watchers)

    def _expect(self, client: ModelClient, seq: int, event: ModelEvent, watchers: ModelWatchers | None) -> None:
        is_subscribed = client.names is None or event.type in client.names
        if is_subscribed and model_sees(client.principal, event, self.agent_calls, watchers):
            client.expected.append((seq, event.type))

    def _watchers(self, event: ModelEvent) -> ModelWatchers | None:
        """Update the chat of an event; return the agents whom the event concerns, None if all."""
        if event.family != "chat" or event.user_id is not None or self.agent_chats == "all":
            return None
        key = (event.tenant_id, event.session_id)
        chat = self.chats.get(key)
        if chat is None:
            # Only these are remembered of a session that was not started.
            chat = ModelChat(is_open=False)
            if event.type in ("chat.session.started", "chat.transferred", "chat.session.ended"):
                self.chats[key] = chat
        return ModelWatchers(frozenset(chat.apply(event)), chat.queue)

    def disconnect(self, index: int) -> None:
        if self.connected:
            peer, _ = self.connected.pop(index % len(self.connected))
            self.world.turn()
            peer.client.connection_lost(CloseCode.NORMAL)

    def turn(self) -> None:
        self.world.clock.turn()

    def is_replaced(self, tenant_id: str, seq: int, newer_seq: int) -> bool:
        """Return whether the event at ``newer_seq`` is conflatable with that at ``seq`` and not older."""
        old, new = self.published[tenant_id, seq], self.published[tenant_id, newer_seq]
        entity = {"queue.stats": "queue_name", "chat.typing": "session_id", "presence.changed": "user_id"}.get(old.type)
        if entity is None or newer_seq < seq or new.type != old.type:
            return False
        return (old.user_id, old.payload[entity]) == (new.user_id, new.payload[entity])

    def verify(self) -> None:
        for peer, client in self.clients:
            received = [message for message in peer.events() if not message.get("offline")]
            assert [(message["seq"], message["type"]) for message in received] == client.expected, client.principal
            for message in received:
                self._verify_content(client.principal, message)

    def _verify_content(self, principal: Principal, message: Message) -> None:
        event = self.published[principal.tenant_id, message["seq"]]
        expected = event.payload
        if principal.role is Role.WALLBOARD and event.type in CALL_TYPES:
            expected = {
                name: "***" if name in ("caller_id", "caller_name") else value for name, value in expected.items()
            }
        if principal.role is Role.VISITOR:
            expected = {name: value for name, value in expected.items() if name != "sender_email"}
        shown = message["payload"]
        assert {**shown, **({"unique_id": expected["unique_id"]} if "unique_id" in shown else {})} == expected
        assert message["tenant_id"] == principal.tenant_id
        assert message.get("user_id") == event.user_id


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["all", "own"]),
    st.sampled_from(["own", "own", "all"]),
    st.lists(principals, min_size=3, max_size=10),
    st.lists(steps_of_all_kinds, min_size=10, max_size=60),
)
def test_each_client_is_sent_exactly_the_events_of_the_model(
    agent_calls: AgentCalls, agent_chats: AgentChats, present: list[Principal], steps: list[tuple[Any, ...]]
) -> None:
    """Each client is sent each event that it may see once, in ``seq`` order and in its view, and no other event."""
    comparison = Comparison(agent_calls, agent_chats)
    for user in present:
        comparison.connect(user)
    for action, *arguments in steps:
        getattr(comparison, action)(*arguments)
    comparison.verify()


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("publish"), model_events),
            st.tuples(st.just("publish"), model_events),
            st.tuples(st.just("pause"), indexes),
            st.tuples(st.just("drain"), indexes),
            st.tuples(st.just("turn"), indexes),
        ),
        max_size=80,
    ),
    st.integers(1, 6),
)
def test_a_slow_client_is_sent_all_events_except_outdated_conflatable_ones(
    steps: list[tuple[Any, ...]], outbox: int
) -> None:
    comparison = Comparison("all")
    comparison.world.context.limits = dataclasses.replace(comparison.world.limits, outbox=outbox)
    for user in (PRINCIPALS[0], PRINCIPALS[6], PRINCIPALS[20], principal(Role.VISITOR, "v-1", session_id="s-1")):
        comparison.connect(user)
    for action, argument in steps:
        peer, _ = comparison.connected[argument % 4] if action in ("pause", "drain") else (None, None)
        if action == "publish":
            comparison.publish(argument)
        elif action == "turn":
            comparison.turn()
        elif peer is not None:
            (peer.client.pause if action == "pause" else peer.client.drained)()
    for peer, _ in comparison.connected:
        peer.client.drained()
    comparison.world.clock.turn()
    for peer, client in comparison.connected:
        received = [(message["seq"], message["type"]) for message in peer.events()]
        assert received == sorted(set(received))
        assert set(received) <= set(client.expected)
        for seq, _ in set(client.expected) - set(received):
            assert any(comparison.is_replaced(client.principal.tenant_id, seq, newer) for newer, _ in received)


class TestChangedLimits:
    def test_connected_clients_have_the_new_outbox(self) -> None:
        world = World(limits=Limits(outbox=4), burst=2)
        peer = world.live()
        world.hub.change_limits(Limits(outbox=50))
        world.turn()
        peer.client.pause()
        for _ in range(50):
            world.publish_alerts()
        assert peer.client.outbox.accepting
        world.publish_alerts()
        assert not peer.client.outbox.accepting

    def test_a_burst_fits_into_every_outbox_while_they_are_resized(self) -> None:
        world = World(limits=Limits(outbox=4), burst=2)
        peer = world.live()
        world.hub.change_limits(Limits(outbox=100))
        assert world.hub._burst == 2
        world.publish_alerts(10)
        assert peer.seqs() == list(range(1, 11))
        assert world.hub._burst == 50
        world.hub.change_limits(Limits(outbox=10))
        assert world.hub._burst == 5

    def test_the_last_of_several_changes_counts(self) -> None:
        world = World(limits=Limits(outbox=4), burst=2)
        peer = world.live()
        for outbox in (100, 6):
            world.hub.change_limits(Limits(outbox=outbox))
        world.turn()
        assert (peer.client.outbox._limit, world.hub._burst) == (6, 3)
