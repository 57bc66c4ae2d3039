"""No agent is sent anything of another's chat: live, replayed and in snapshots, compared with a model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from sample_events import principal
from world import Message, Peer, World, seqs_of

from callcenter_ws.delivery.limits import Limits
from callcenter_ws.delivery.welcome import ConnectOptions
from callcenter_ws.events.principal import Principal, Role

AGENTS = [
    principal(Role.AGENT, "1"),
    principal(Role.AGENT, "2"),
    principal(Role.AGENT, "3", queues=frozenset({"sales"})),
    principal(Role.AGENT, "4", queues=frozenset({"help"})),
    principal(Role.AGENT, "5", queues=frozenset()),
]
# The same ids in roles that are not agents.
OTHERS = [
    principal(Role.SUPERVISOR, "1"),
    principal(Role.WALLBOARD, "2"),
    principal(Role.VISITOR, "3", session_id="a"),
    principal(Role.VISITOR, "1", session_id="b"),
]
USERS = [*AGENTS, *OTHERS]


@dataclass
class ModelSession:
    """A session: who has it now, and what its snapshot consists of."""

    agent: str | None = None
    queue: str | None = None
    is_open: bool = False
    slots: dict[str, int] = field(default_factory=dict)
    messages: list[tuple[int, bool]] = field(default_factory=list)


class Model:
    """Computes what each user may see of the events of two sessions."""

    def __init__(self) -> None:
        self.sessions = {"a": ModelSession(), "b": ModelSession()}
        # Of each event: its session, the agents whom it concerns (None: nobody had or has it), queue, and "private".
        self.seen: list[tuple[int, str, set[str | None], str | None, bool]] = []

    def publish(self, seq: int, type_: str, name: str, fields: dict[str, Any]) -> None:
        session = self.sessions[name]
        concerned = {session.agent}
        if type_ == "chat.session.started":
            concerned = concerned if session.is_open else set()
            session.agent, session.queue = fields.get("agent_id"), fields.get("queue_name")
        elif type_ == "chat.transferred":
            concerned = concerned if session.is_open else {None}
            session.agent = fields["to_agent_id"]
        if type_ in ("chat.session.started", "chat.transferred"):
            session.is_open = True
            concerned.add(session.agent)
            session.slots[type_] = seq
        elif type_ == "chat.session.ended":
            session.is_open, session.slots, session.messages = False, {}, []
        elif type_ == "chat.message" and session.is_open:
            session.messages = [*session.messages, (seq, fields["private"])][-50:]
        self.seen.append((seq, name, concerned, session.queue, type_ == "chat.message" and fields["private"]))

    def stream(self, user: Principal) -> list[int]:
        return [seq for seq, *event in self.seen if self._sees(user, *event)]

    def snapshot(self, user: Principal) -> list[int]:
        shown: list[int] = []
        for name, session in self.sessions.items():
            events = [(seq, False) for seq in session.slots.values()] + session.messages
            shown += [seq for seq, private in events if self._sees(user, name, {session.agent}, session.queue, private)]
        return sorted(shown)

    @staticmethod
    def _sees(user: Principal, name: str, agents: set[str | None], queue: str | None, private: bool) -> bool:
        if user.role is Role.VISITOR:
            return name == user.session_id and not private
        if user.role is not Role.AGENT:
            return user.role is Role.SUPERVISOR
        waits = None in agents and (user.queues is None or queue is None or queue in user.queues)
        return user.user_id in agents or waits


assigned = st.sampled_from(["1", "2", "3", "4"])
steps = st.one_of(
    st.tuples(
        st.just("chat.session.started"),
        st.fixed_dictionaries({}, optional={"agent_id": assigned, "queue_name": st.sampled_from(["sales", "help"])}),
    ),
    st.tuples(st.just("chat.transferred"), st.fixed_dictionaries({"to_agent_id": assigned})),
    st.tuples(st.just("chat.message"), st.fixed_dictionaries({"private": st.booleans()})),
    st.tuples(st.just("chat.message"), st.fixed_dictionaries({"private": st.booleans()})),
    st.tuples(st.sampled_from(["chat.typing", "chat.session.ended"]), st.just({})),
)


def events_of(messages: list[Message]) -> list[int]:
    """Return the positions of events, those in a snapshot included; alerts mark the steps between."""
    return [message["seq"] for message in messages if message["type"].startswith("chat.")]


def snapshot_of(peer: Peer) -> list[int]:
    (snapshot,) = peer.read("snapshot")
    return seqs_of(snapshot["payload"]["events"])


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["a", "b"]), steps, st.booleans()), min_size=3, max_size=40), st.integers(0, 9)
)
def test_each_user_is_sent_what_the_model_says(
    published: list[tuple[str, tuple[str, dict[str, Any]], bool]], resumed_after: int
) -> None:
    world = World(limits=Limits(rate=1e9, burst=10**6, connections_per_user=0))
    model = Model()
    live = [world.live(user) for user in USERS]
    for name, (type_, fields), is_followed_by_alert in published:
        seq = world.publish(type_, {"session_id": name, **fields}).seq
        model.publish(seq, type_, name, fields)
        if is_followed_by_alert:
            world.publish("alert")
            world.clock.turn()
    for user, peer in zip(USERS, live, strict=True):
        messages = peer.events()
        assert events_of(messages) == model.stream(user), user
        assert seqs_of(messages) == sorted(seqs_of(messages))
    # All at once, so that what is shared in a group is shared.
    replayed = [world.resume(resumed_after, user) for user in USERS for _ in range(2)]
    reloaded = [world.connect(user, ConnectOptions(snapshot=True)) for user in USERS for _ in range(2)]
    for peer in replayed:
        user = peer.client.principal
        assert events_of(peer.read()) == [seq for seq in model.stream(user) if seq > resumed_after], user
    for peer in reloaded:
        assert snapshot_of(peer) == model.snapshot(peer.client.principal), peer.client.principal
