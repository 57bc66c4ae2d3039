"""The Hub: who is connected, who receives, who is sent away. Its law is stated against a plain model."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass, field
from typing import Any

import pytest
from core_world import ACME, GLOBEX, REQUIRED, Person, World, principal
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from callcenter_ws.cluster.local_presence import LocalPresence
from callcenter_ws.delivery.hub import Hub
from callcenter_ws.errors import CloseCode, ErrorCode, Refusal
from callcenter_ws.events.catalogue import CATALOGUE
from callcenter_ws.events.principal import Principal, Role
from callcenter_ws.events.publication import Publication
from callcenter_ws.events.visibility import AgentCalls
from callcenter_ws.requests.admission import Admission, Endpoint
from callcenter_ws.testing import run

ADMIN = principal(Role.ADMIN, "boss")


def seqs(person: Person) -> list[int]:
    return [message["seq"] for message in person.events()]


class TestDelivery:
    def test_an_event_goes_to_its_tenant_alone(self, world: World) -> None:
        here, there = world.connect(ADMIN), world.connect(replace(ADMIN, tenant_id=GLOBEX))
        world.publish("alert", tenant_id=GLOBEX)
        world.publish("alert")
        assert [message["tenant_id"] for message in here.events()] == [ACME]
        assert [message["tenant_id"] for message in there.events()] == [GLOBEX]

    def test_an_event_for_a_user_goes_to_all_its_connections_and_to_nobody_else(self, world: World) -> None:
        mine = [world.connect(principal()), world.connect(principal()), world.connect(principal(Role.WALLBOARD))]
        others = [
            world.connect(ADMIN),
            world.connect(principal(tenant_id=GLOBEX)),
            world.connect(principal(user_id="77")),
        ]
        world.publish("notification", user_id="7")
        assert [len(person.events()) for person in mine] == [1, 1, 1]
        assert [person.events() for person in others] == [[], [], []]

    def test_each_role_gets_its_view(self, world: World) -> None:
        admin, wall = world.connect(ADMIN), world.connect(principal(Role.WALLBOARD, "wall"))
        visitor = world.connect(principal(Role.VISITOR, "v-1", session_id="s-1"))
        world.publish("call.incoming", {"caller_name": "Rui", "variables": {"x": 1}})
        world.publish("chat.session.started", {"visitor_email": "rui@example.org", "visitor_name": "Rui"})
        call, chat = admin.events()
        assert (call["payload"]["caller_name"], chat["payload"]["visitor_email"]) == ("Rui", "rui@example.org")
        (masked,) = wall.events()
        assert masked["payload"] == {
            **REQUIRED["call.incoming"], "caller_id": "***", "caller_name": "***"
        }  # fmt: skip
        (own,) = visitor.events()
        assert own["payload"] == {"session_id": "s-1", "visitor_name": "Rui"}

    def test_clients_of_one_view_share_one_frame(self, world: World) -> None:
        people = [world.connect(principal(user_id=str(number))) for number in range(5)]
        world.publish("alert")
        world.settle()
        assert {len(person.events()) for person in people} == {1}
        assert len({id(person.transport.latest) for person in people}) == 1

    def test_a_turn_ends_in_one_write_per_client(self, world: World) -> None:
        people = [world.connect(principal(user_id=str(number))) for number in range(3)]
        before = [person.transport.writes for person in people]
        for _ in range(50):
            world.publish("alert")
        assert [person.transport.writes for person in people] == before
        world.settle()
        assert [person.transport.writes for person in people] == [writes + 1 for writes in before]
        assert [seqs(person) for person in people] == [list(range(1, 51))] * 3

    def test_a_large_batch_makes_no_healthy_client_overflow(self, world: World) -> None:
        person = world.connect(ADMIN)
        drafts = [{"tenant_id": ACME, "type": "alert", "payload": REQUIRED["alert"]}] * 1_000
        run(world.broadcaster.publish_batch(drafts))
        assert not person.client.lagging
        assert seqs(person) == list(range(1, 1_001))

    def test_unequal_outboxes_are_not_mixed_up(self, world: World) -> None:
        calls, alerts, both = (world.connect(principal(user_id=name)) for name in "abc")
        calls.says("subscribe", {"events": ["call.*"]})
        alerts.says("subscribe", {"events": ["alert"]})
        for type_ in ("alert", "call.ended", "alert"):
            world.publish(type_)
        assert (seqs(calls), seqs(alerts), seqs(both)) == ([2], [1, 3], [1, 2, 3])

    def test_who_connects_hears_what_is_published_from_then_on(self, world: World) -> None:
        world.publish("alert")
        person = world.enter(ADMIN)
        world.publish("alert")
        welcome, event_ = person.hears()
        assert (welcome["payload"]["seq"], event_["seq"]) == (1, 2)

    def test_who_comes_while_a_type_is_flowing_hears_the_next_of_it(self, world: World) -> None:
        first = world.connect(ADMIN)
        world.publish("alert")
        second = world.connect(principal())
        world.publish("alert")
        second.says("subscribe", {"events": ["alert", "call.*"]})
        world.publish("alert")
        first.client.lost(CloseCode.NORMAL)
        third = world.connect(ADMIN)
        world.publish("alert")
        assert (seqs(first), seqs(second), seqs(third)) == ([1, 2], [3, 4], [4])

    def test_the_time_from_intake_to_socket_is_measured(self, world: World) -> None:
        observed: list[float] = []
        hub = Hub(world.broker, world.presence, world.clock, world.notes, observe_latency=observed.append)
        run(world.broker.start(hub.deliver))
        world.gateway.hub = world.hub = hub
        world.connect(ADMIN)
        world.publish("alert", tenant_id=GLOBEX)
        world.publish("alert")
        world.settle()
        assert observed == [0.0]


class TestListeners:
    def test_see_every_message_of_every_tenant(self, world: World) -> None:
        seen: list[Publication] = []
        world.hub.listen(seen.append)
        world.publish("alert")
        world.publish("call.ended", tenant_id=GLOBEX)
        assert [(message.event.tenant_id, message.event.type.name) for message in seen] == [
            (ACME, "alert"), (GLOBEX, "call.ended"),
        ]  # fmt: skip

    def test_see_no_more_when_they_stop(self, world: World) -> None:
        seen: list[Publication] = []
        world.hub.listen(seen.append)
        world.hub.unlisten(seen.append)
        world.hub.unlisten(seen.append)
        world.publish("alert")
        assert seen == []

    def test_one_that_leaves_as_it_is_called_costs_the_next_nothing(self, world: World) -> None:
        seen: list[Publication] = []

        def leave(message: Publication) -> None:
            world.hub.unlisten(leave)

        world.hub.listen(leave)
        world.hub.listen(seen.append)
        world.publish("alert")
        assert len(seen) == 1


class TestWhoIsConnected:
    def test_connections_are_counted(self, world: World) -> None:
        people = [
            world.connect(principal()), world.connect(principal()), world.connect(ADMIN),
            world.connect(principal(Role.VISITOR, "v", GLOBEX)),
        ]  # fmt: skip
        hub = world.hub
        assert (hub.connections(), hub.connections(ACME), hub.connections_of(principal())) == (4, 3, 2)
        assert hub.connections_of(principal(Role.VISITOR)) == 0
        assert hub.connections("nowhere") == 0
        assert hub.counters.connections_by == {("agent", "ws"): 2, ("admin", "ws"): 1, ("visitor", "public"): 1}
        for person in people:
            person.client.lost(CloseCode.ABNORMAL)
        assert (hub.connections(), hub.connections(ACME), hub.connections_of(principal())) == (0, 0, 0)
        assert hub.counters.closed == {"abnormal": 4}
        assert hub.counters.opened == 4

    def test_presence_is_told(self, world: World) -> None:
        assert not world.presence.of(ACME, "7").online
        first, second = world.connect(principal()), world.connect(principal())
        assert (world.presence.of(ACME, "7").online, world.presence.of(ACME, "7").connections) == (True, 2)
        assert not world.presence.of(GLOBEX, "7").online
        first.client.lost(CloseCode.NORMAL)
        second.client.close(CloseCode.NORMAL)
        gone = world.presence.of(ACME, "7")
        assert (gone.online, gone.connections, gone.last_seen) == (False, 0, world.clock.time())

    def test_the_store_is_told_which_tenants_have_clients(self, world: World) -> None:
        told: list[tuple[str, str]] = []
        attach, detach = world.broker.attach, world.broker.detach
        world.broker.attach = lambda name: (told.append(("attach", name)), attach(name))[1]  # type: ignore[method-assign]  # the store is the outside world here
        world.broker.detach = lambda name: (told.append(("detach", name)), detach(name))[1]  # type: ignore[method-assign]  # the store is the outside world here
        one, two = world.connect(ADMIN), world.connect(principal())
        one.client.close(CloseCode.NORMAL)
        two.client.lost(CloseCode.NORMAL)
        world.connect(ADMIN)
        assert told == [("attach", ACME), ("detach", ACME), ("attach", ACME)]

    def test_a_connection_ends_once(self, world: World) -> None:
        person = world.connect(ADMIN)
        for _ in range(2):
            person.client.close(CloseCode.REVOKED)
            person.client.lost(CloseCode.NORMAL)
        assert (world.hub.connections(), world.hub.counters.closed) == (0, {"revoked": 1})

    def test_all_are_sent_away_spread_over_a_while(self, world: World) -> None:
        people = [world.connect(ADMIN), world.connect(replace(ADMIN, tenant_id=GLOBEX)), world.connect(principal())]
        world.publish("alert")
        world.hub.drain(30)
        assert {person.closed_with for person in people} == {CloseCode.DRAINING}
        assert world.hub.connections() == 0
        heard = [person.hears() for person in people]
        assert [[message["type"] for message in messages] for messages in heard] == [
            ["alert", "drain"], ["drain"], ["alert", "drain"],
        ]  # fmt: skip
        waits = sorted(messages[-1]["payload"]["reconnect_after_ms"] for messages in heard)
        assert waits == [1_000, 11_000, 21_000]
        world.hub.drain(30)

    def test_the_closed_hear_no_more(self, world: World) -> None:
        person = world.connect(ADMIN)
        person.client.close(CloseCode.NORMAL)
        world.publish("alert")
        assert person.hears() == []

    def test_stats_are_one_tenants_or_all(self, world: World) -> None:
        person = world.connect(principal())
        world.connect(principal(Role.VISITOR, "v", GLOBEX))
        person.says("ping")
        mine, all_ = world.hub.stats(ACME), world.hub.stats()
        assert mine["connections"] == {"total": 1, "by_role": {"agent": 1}, "by_endpoint": {"ws": 1}}
        assert all_["connections"] == {
            "total": 2, "by_role": {"agent": 1, "visitor": 1}, "by_endpoint": {"ws": 1, "public": 1},
            "by_tenant": {ACME: 1, GLOBEX: 1},
        }  # fmt: skip
        assert mine["messages"] == {"received": 1, "delivered": 2, "dropped": 0}
        assert all_["messages"] == {"received": 1, "delivered": 3, "dropped": 0}
        assert world.hub.stats("nowhere")["connections"]["total"] == 0


class TestSendingAway:
    def test_a_user_is_disconnected_from_all_its_connections(self, world: World) -> None:
        mine = [world.connect(principal()), world.connect(principal(Role.SUPERVISOR))]
        others = [world.connect(principal(user_id="8")), world.connect(principal(tenant_id=GLOBEX))]
        assert world.hub.disconnect_user(ACME, "7") == 2
        assert [person.closed_with for person in mine] == [CloseCode.REVOKED] * 2
        assert [person.closed_with for person in others] == [None, None]
        assert world.hub.disconnect_user(ACME, "7") == 0
        assert world.hub.disconnect_user("nowhere", "7") == 0
        assert world.hub.disconnect_user("*", "8") == 0

    def test_a_disconnected_user_may_come_back(self, world: World) -> None:
        world.connect(principal())
        world.hub.disconnect_user(ACME, "7")
        assert Admission(world.hub, world.limits).admit(principal(), Endpoint.STAFF)

    def test_a_token_is_revoked_where_it_is_used(self, world: World) -> None:
        mine, other = world.connect(principal(jti="t-1")), world.connect(principal(jti="t-2"))
        elsewhere = world.connect(principal(tenant_id=GLOBEX, jti="t-1"))
        assert world.hub.revoke(ACME, jti="t-1") == 1
        assert (mine.closed_with, other.closed_with, elsewhere.closed_with) == (CloseCode.REVOKED, None, None)

    def test_a_users_tokens_until_now_are_revoked(self, world: World) -> None:
        now = world.clock.time()
        old, unknown = world.connect(principal(issued_at=now - 5)), world.connect(principal())
        fresh = world.connect(principal(issued_at=now + 1))
        assert world.hub.revoke(ACME, user_id="7") == 2
        assert (old.closed_with, unknown.closed_with, fresh.closed_with) == (CloseCode.REVOKED, CloseCode.REVOKED, None)

    def test_something_must_be_revoked(self, world: World) -> None:
        with pytest.raises(Refusal) as raised:
            world.hub.revoke(ACME)
        assert raised.value.code is ErrorCode.INVALID_MESSAGE

    def test_a_token_for_every_tenant_is_revoked_wherever_it_is_used(self, world: World) -> None:
        admission = Admission(world.hub, world.limits)
        root = principal(Role.ADMIN, "root", "*", jti="t-1", issued_at=1.0)
        spared = [world.connect(principal(Role.ADMIN, "root", ACME, jti="t-1", issued_at=1.0))]
        used = [world.connect(admission.admit(root, Endpoint.STAFF, name)) for name in (ACME, GLOBEX)]
        assert world.hub.revoke("*", jti="t-1") == 2
        assert [person.closed_with for person in used] == [CloseCode.REVOKED] * 2
        assert [person.closed_with for person in spared] == [None]

    def test_a_user_of_every_tenant_is_revoked_wherever_it_is(self, world: World) -> None:
        admission = Admission(world.hub, world.limits)
        root = principal(Role.ADMIN, "root", "*", issued_at=1.0)
        used = [world.connect(admission.admit(root, Endpoint.STAFF, name)) for name in (ACME, GLOBEX)]
        assert world.hub.revoke("*", user_id="root") == 2
        assert [person.closed_with for person in used] == [CloseCode.REVOKED] * 2

    def test_a_revoked_token_does_not_extend_the_session_it_opened(self, world: World) -> None:
        root = principal(Role.ADMIN, "root", "*", jti="t-1")
        person = world.connect(Admission(world.hub, world.limits).admit(root, Endpoint.STAFF, ACME))
        world.hub.revocations.revoke_token("*", "t-1")
        world.tokens.principals["again"] = root
        assert person.is_refused("auth", {"token": "again"})[0] == "unauthorized"


def test_presence_that_the_store_refuses_to_take_is_no_bug(world: World) -> None:
    """While the store is away people come and go all the same."""
    world.announces = True
    presence = LocalPresence(world.clock, run, world._announce, world.broker, grace=10)
    run(world.broker.stop())
    client = world.connect(principal()).client
    presence.arrived(client)
    presence.left(client, CloseCode.NORMAL)
    world.clock.advance(11)
    assert not presence.of(ACME, "7").online


# The law


@dataclass
class Heard:
    """What the model says of one connection: who it is, what it asked for, what it must have received."""

    who: Principal
    asked_for: set[str] | None
    owed: list[tuple[int, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Said:
    """One published event, in the words of PROTOCOL section 4.1."""

    tenant: str
    type: str
    user: str | None
    queue: str | None
    session: str
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
        if self.agent is not None and self.family == "call":
            extra["agent_id"] = self.agent
        if self.family == "chat":
            extra |= {"session_id": self.session, "sender_email": "ana@example.org"}
        if self.type == "chat.message":
            extra["private"] = self.private
        if self.family == "call":
            extra |= {"caller_id": "+351210000000", "caller_name": "Rui"}
        return {**REQUIRED[self.type], **extra}


UNANSWERED = {
    "call.incoming", "call.ringing", "call.missed", "call.abandoned", "queue.joined", "queue.left",
}  # fmt: skip
_CALLS = itertools.count()
IS_A_CALL = {name for name in CATALOGUE if name.startswith("call.")} | {"queue.joined", "queue.left"}


def model_sees(who: Principal, said: Said, agent_calls: AgentCalls) -> bool:
    """PROTOCOL section 4.1, read aloud."""
    if who.tenant_id != said.tenant:
        return False
    if said.user is not None and said.user != who.user_id:
        return False
    if who.role is Role.VISITOR:
        mine = said.family == "chat" and said.session == who.session_id
        return mine and not (said.type == "chat.message" and said.private)
    if who.role is Role.WALLBOARD and said.family == "chat":
        return False
    if who.role is Role.AGENT and said.type == "presence.changed":
        return False
    if said.user is not None:
        return True
    queue = said.payload.get("queue_name") if said.family in ("call", "queue") else None
    in_claim = who.queues is None or queue in who.queues or said.family not in ("call", "queue")
    if who.role is not Role.AGENT:
        return in_claim
    if said.type in IS_A_CALL and said.payload.get("agent_id") == who.user_id:
        return True
    if agent_calls == "own" and said.type in IS_A_CALL:
        return said.type in UNANSWERED and who.queues is not None and queue in who.queues
    return in_claim


def model_matches(pattern: str) -> set[str]:
    return {
        name for name in CATALOGUE if pattern in ("*", name) or (pattern[-2:] == ".*" and name.startswith(pattern[:-1]))
    }


CALLERS = [
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
PATTERNS = ["*", "call.*", "queue.*", "queue.member.*", "chat.*", "agent.*", "presence.*", *CATALOGUE]

said_events = st.builds(
    Said,
    tenant=st.sampled_from([ACME, ACME, ACME, GLOBEX]),
    # The types whose audience depends on more than the role come more often.
    type=st.one_of(
        st.sampled_from(sorted(CATALOGUE)),
        st.sampled_from(["call.incoming", "call.answered", "call.ended", "queue.stats", "chat.message", "chat.typing"]),
    ),
    user=st.sampled_from([None, None, None, None, "7", "8"]),
    queue=st.sampled_from([None, "sales", "help"]),
    session=st.sampled_from(["s-1", "s-2"]),
    agent=st.sampled_from([None, "7", "8"]),
    private=st.booleans(),
)
which = st.integers(0, 9)
patterns = st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=3)
callers = st.one_of(
    st.sampled_from(CALLERS),
    st.sampled_from([who for who in CALLERS if who.tenant_id == ACME and who.role in (Role.AGENT, Role.VISITOR)]),
)
step = st.one_of(
    st.tuples(st.just("connect"), callers),
    st.tuples(st.just("subscribe"), which, patterns),
    st.tuples(st.just("unsubscribe"), which, patterns),
    st.tuples(st.just("disconnect"), which),
    st.tuples(st.just("turn")),
    *[st.tuples(st.just("publish"), said_events)] * 6,
)


class Comparison:
    """Does every step to a real gateway and to the model."""

    def __init__(self, agent_calls: AgentCalls) -> None:
        self.agent_calls = agent_calls
        # Without limits on pace: a law needs many steps in no time.
        self.world = World(agent_calls=agent_calls, rate=1e9, burst=10**6, bad_messages=10**6)
        self.connected: list[tuple[Person, Heard]] = []
        self.everybody: list[tuple[Person, Heard]] = []
        self.said: dict[tuple[str, int], Said] = {}

    def connect(self, who: Principal) -> None:
        asked_for: set[str] | None = set() if who.role is Role.SERVICE else None
        pair = (self.world.connect(who), Heard(who, asked_for))
        self.connected.append(pair)
        self.everybody.append(pair)

    def subscribe(self, index: int, wanted: list[str]) -> None:
        self._change(index, "subscribe", wanted)

    def unsubscribe(self, index: int, unwanted: list[str]) -> None:
        self._change(index, "unsubscribe", unwanted)

    def _change(self, index: int, act: str, meant: list[str]) -> None:
        if not self.connected:
            return
        person, heard = self.connected[index % len(self.connected)]
        person.client.receive(
            b'{"type":"%b","payload":{"events":%b}}' % (act.encode(), str(meant).replace("'", '"').encode())
        )
        if not all(self._may_ask(heard.who.role, pattern) for pattern in meant):
            return
        names = set().union(*map(model_matches, meant))
        if act == "subscribe":
            heard.asked_for = names | (heard.asked_for or set())
        else:
            heard.asked_for = (set(CATALOGUE) if heard.asked_for is None else heard.asked_for) - names

    def _may_ask(self, role: Role, pattern: str) -> bool:
        if role is Role.SERVICE:
            return pattern != "*"
        families = {name.partition(".")[0] for name in model_matches(pattern)}
        if role is Role.VISITOR:
            return "chat" in families
        if role is Role.WALLBOARD:
            return families != {"chat"}
        return role is not Role.AGENT or families != {"presence"}

    def publish(self, said: Said) -> None:
        user = said.user or ("7" if said.type == "notification" else None)
        said = dataclasses.replace(said, user=user)
        # Each its own call: what earlier events of a call tell about later ones is tests/broker/test_calls.py's matter.
        payload = {**said.payload, **({"unique_id": f"call-{next(_CALLS)}"} if said.type in IS_A_CALL else {})}
        seq = run(self.world.broadcaster.publish(said.tenant, said.type, payload, user_id=user)).seq
        self.said[said.tenant, seq] = said
        for _, heard in self.connected:
            if model_sees(heard.who, said, self.agent_calls) and (
                heard.asked_for is None or said.type in heard.asked_for
            ):
                heard.owed.append((seq, said.type))

    def disconnect(self, index: int) -> None:
        if self.connected:
            person, _ = self.connected.pop(index % len(self.connected))
            self.world.settle()
            person.client.lost(CloseCode.NORMAL)

    def turn(self) -> None:
        self.world.clock.turn()

    def replaces(self, tenant: str, seq: int, newer: int) -> bool:
        """Whether the newer message is of the same conflatable state (PROTOCOL section 4)."""
        old, new = self.said[tenant, seq], self.said[tenant, newer]
        entity = {"queue.stats": "queue_name", "chat.typing": "session_id", "presence.changed": "user_id"}.get(old.type)
        if entity is None or newer < seq or new.type != old.type:
            return False
        return (old.user, old.payload[entity]) == (new.user, new.payload[entity])

    def verify(self) -> None:
        for person, heard in self.everybody:
            received = person.events()
            assert [(message["seq"], message["type"]) for message in received] == heard.owed, heard.who
            for message in received:
                self._verify_content(heard.who, message)

    def _verify_content(self, who: Principal, message: dict[str, Any]) -> None:
        said = self.said[who.tenant_id, message["seq"]]
        expected = said.payload
        if who.role is Role.WALLBOARD and said.type in IS_A_CALL:
            expected = {
                name: "***" if name in ("caller_id", "caller_name") else value for name, value in expected.items()
            }
        if who.role is Role.VISITOR:
            expected = {name: value for name, value in expected.items() if name != "sender_email"}
        shown = message["payload"]
        assert {**shown, **({"unique_id": expected["unique_id"]} if "unique_id" in shown else {})} == expected
        assert message["tenant_id"] == who.tenant_id
        assert message.get("user_id") == said.user


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["all", "own"]),
    st.lists(callers, min_size=3, max_size=10),
    st.lists(step, min_size=10, max_size=60),
)
def test_everybody_receives_exactly_what_the_protocol_says(
    agent_calls: AgentCalls, present: list[Principal], steps: list[tuple[Any, ...]]
) -> None:
    """Whoever connects, asks, publishes and leaves, in whatever order.

    No message crosses a tenant or an audience, none is missing, none comes twice, all come in the order of
    ``seq``, each as its reader may see it.
    """
    comparison = Comparison(agent_calls)
    for who in present:
        comparison.connect(who)
    for act, *details in steps:
        getattr(comparison, act)(*details)
    comparison.verify()


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("publish"), said_events),
            st.tuples(st.just("publish"), said_events),
            st.tuples(st.just("pause"), which),
            st.tuples(st.just("drain"), which),
            st.tuples(st.just("turn"), which),
        ),
        max_size=80,
    ),
    st.integers(1, 6),
)
def test_a_slow_socket_changes_when_and_not_what(steps: list[tuple[Any, ...]], outbox: int) -> None:
    """Conflatable messages aside, of which a lagging client gets the newest, everybody gets all of it in order."""
    comparison = Comparison("all")
    comparison.world.gateway.limits = dataclasses.replace(comparison.world.limits, outbox=outbox)
    for who in (CALLERS[0], CALLERS[6], CALLERS[20], principal(Role.VISITOR, "v-1", session_id="s-1")):
        comparison.connect(who)
    for act, detail in steps:
        person, _ = comparison.connected[detail % 4] if act in ("pause", "drain") else (None, None)
        if act == "publish":
            comparison.publish(detail)
        elif act == "turn":
            comparison.turn()
        elif person is not None:
            (person.client.pause if act == "pause" else person.client.drained)()
    for person, _ in comparison.connected:
        person.client.drained()
    comparison.world.clock.turn(200)
    for person, heard in comparison.connected:
        received = [(message["seq"], message["type"]) for message in person.events()]
        assert received == sorted(set(received))
        assert set(received) <= set(heard.owed)
        for seq, _ in set(heard.owed) - set(received):
            assert any(comparison.replaces(heard.who.tenant_id, seq, newer) for newer, _ in received)
