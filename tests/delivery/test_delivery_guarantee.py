"""The delivery guarantee (``docs/protocol.rst``, "Resuming"), for any interleaving.

A client that resumes with ``(epoch, seq)`` is sent every event after ``seq`` that it may see, once, in order, or an
explicit ``reset`` or ``gap``; a snapshot is in the stream at the position of its ``seq``. Hypothesis chooses the order
of the actions of publishers and of several clients, which pause, drain, send requests and disconnect, over a store
whose every call takes some turns. The messages of each client are then checked against what was published.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from doubles import SlowBroker
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from sample_events import ACME
from world import Message, Peer, World, seqs_of

from callcenter_ws.delivery import catch_up, group, hub, replay_cache
from callcenter_ws.delivery.limits import Limits
from callcenter_ws.delivery.subscriber import SessionState
from callcenter_ws.delivery.welcome import ConnectOptions
from callcenter_ws.errors import CloseCode
from callcenter_ws.events.publication import Publication
from callcenter_ws.runtime.json import decode_json
from callcenter_ws.testing import run

USERS = ("ada", "bob")


@dataclass
class Stream:
    """Everything that was published for the tenant, and what each user may see of it."""

    publications: list[Publication] = field(default_factory=list)

    def add(self, publication: Publication) -> None:
        assert publication.seq == len(self.publications) + 1
        self.publications.append(publication)

    @property
    def head(self) -> int:
        return len(self.publications)

    def visible(self, user_id: str, after: int, until: int) -> list[int]:
        """Return the positions in ``(after, until]`` that the user may see."""
        return [
            publication.seq
            for publication in self.publications[after:until]
            if publication.event.user_id in (None, user_id)
        ]

    def is_outdated(self, seq: int) -> bool:
        """Return whether a later event has the same conflation key."""
        key = self.publications[seq - 1].event.conflation_key
        return key is not None and any(later.event.conflation_key == key for later in self.publications[seq:])

    def state(self, seq: int) -> list[int]:
        """Return the positions of the events of a snapshot at ``seq``: queue statistics and logged-in agents."""
        slots: dict[tuple[str, str], int] = {}
        for publication in self.publications[:seq]:
            payload = decode_json(publication.event.payload)
            name = publication.event.type.name
            if name == "queue.stats":
                slots["queue", payload["queue_name"]] = publication.seq
            elif name == "agent.login":
                slots["agent", payload["user_id"]] = publication.seq
            elif name == "agent.logout":
                slots.pop(("agent", payload["user_id"]), None)
        return sorted(slots.values())


class Checker:
    """Checks the messages of one connection against the stream.

    Args:
        resumed_after: the position of each replay request by its id; None is the id of the request in the URL.
        disconnected: whether the connection was lost, possibly during a replay.

    Attributes:
        position: ``seq`` up to which everything has been sent or reported as missing.
        from_mailbox: positions that were sent from the mailbox.
        stateless_answers: ids of the requests whose answer is independent of the stream.
        answered: ids of the answered requests.
    """

    def __init__(self, stream: Stream, user_id: str, resumed_after: dict[Any, int], *, disconnected: bool) -> None:
        self.stream = stream
        self.user_id = user_id
        self.disconnected = disconnected
        self.resumed_after = resumed_after
        self.position = 0
        self.from_mailbox: list[int] = []
        self.stateless_answers: list[Any] = []
        self.answered: list[Any] = []
        # Positions of stream events that are checked with the next control message.
        self._unchecked: list[int] = []

    def check(self, messages: list[Message]) -> None:
        if not messages:
            return
        if messages[0]["type"] == "error":
            # The store was not available before the welcome.
            assert messages[0]["payload"]["code"] == "unavailable"
            assert len(messages) == 1
            return
        assert messages[0]["type"] == "welcome"
        self.position = messages[0]["payload"]["seq"]
        following = iter(messages[1:])
        for message in following:
            if message.get("offline"):
                self._check_mail(message)
            elif "seq" in message:
                assert message["type"] == self.stream.publications[message["seq"] - 1].event.type.name
                self._unchecked.append(message["seq"])
            else:
                getattr(self, "_check_" + message["type"])(message, following)
        unanswered = [request for request in self.resumed_after if request not in self.answered]
        if self.disconnected and unanswered:
            self._check_live_then_part_of_replay(unanswered[0])
        else:
            self._check_live(self._take_unchecked(), None)

    def check_complete(self, until: int) -> None:
        """Check that no visible event between the position and ``until`` is missing, except outdated ones."""
        self._check_none_missing(self.position, until)

    def _check_mail(self, message: Message) -> None:
        """The mailbox precedes all stream events, is in order, and holds only events for the user."""
        assert not self._unchecked
        # Only answers that are independent of the stream may precede it.
        assert all(request in self.stateless_answers for request in self.answered)
        seq = message["seq"]
        assert max(self.from_mailbox, default=0) < seq <= self.position
        assert self.stream.publications[seq - 1].event.user_id == self.user_id
        self.from_mailbox.append(seq)

    def _replayed(self, after: int, until: int) -> list[int]:
        """Return the positions of a replay, which does not repeat the mailbox."""
        return [seq for seq in self.stream.visible(self.user_id, after, until) if seq not in self.from_mailbox]

    def _check_live(self, seqs: list[int], until: int | None) -> None:
        """Live events, or events fed to a lagging client, are contiguous except for outdated conflatable events."""
        for seq in seqs:
            assert seq > self.position, f"{seq} after {self.position}"
            self._check_none_missing(self.position, seq - 1)
            assert self.stream.visible(self.user_id, seq - 1, seq)
            self.position = seq
        if until is not None:
            self._check_none_missing(self.position, until)

    def _check_live_then_part_of_replay(self, request: Any) -> None:
        """Live events may be followed by the beginning of a replay."""
        seqs, after, position = self._take_unchecked(), self.resumed_after[request], self.position
        for split in range(len(seqs), -1, -1):
            replayed = seqs[split:]
            if not replayed or replayed == self._replayed(after, replayed[-1]):
                try:
                    self._check_live(seqs[:split], None)
                except AssertionError:
                    self.position = position
                    continue
                return
        raise AssertionError(f"{seqs} continue neither the stream after {position} nor a replay after {after}")

    def _check_none_missing(self, after: int, until: int) -> None:
        visible = self.stream.visible(self.user_id, after, until)
        missing = [seq for seq in visible if not self.stream.is_outdated(seq)]
        assert not missing, f"{missing} were not sent"

    def _take_unchecked(self) -> list[int]:
        unchecked, self._unchecked = self._unchecked, []
        return unchecked

    def _check_resumed(self, message: Message, following: Iterator[Message]) -> None:
        payload = message["payload"]
        assert payload["from_seq"] == self.resumed_after[message.get("in_reply_to")]
        self.answered.append(message.get("in_reply_to"))
        seqs = self._take_unchecked()
        split = len(seqs) - payload["count"]
        assert split >= 0
        self._check_live(seqs[:split], None)
        assert seqs[split:] == self._replayed(payload["from_seq"], payload["to_seq"])
        assert payload["to_seq"] >= self.position
        self.position = payload["to_seq"]

    def _check_reset(self, message: Message, following: Iterator[Message]) -> None:
        request = message.get("in_reply_to")
        self.answered.append(request)
        event(f"reset {message['payload']['reason']}")
        if message["payload"]["reason"] == "too_old":
            # The history may have been trimmed during the replay.
            self._check_live_then_part_of_replay(request)
        else:
            self._check_live(self._take_unchecked(), None)
        self._check_snapshot_after(message, following, message["payload"]["seq"])

    def _check_gap(self, message: Message, following: Iterator[Message]) -> None:
        event("gap")
        payload = message["payload"]
        self._check_live(self._take_unchecked(), payload["from_seq"] - 1)
        assert payload["from_seq"] > self.position or self.position >= payload["from_seq"] - 1
        self._check_snapshot_after(message, following, payload["to_seq"])

    def _check_snapshot_after(self, message: Message, following: Iterator[Message], seq: int) -> None:
        snapshot = next(following)
        assert snapshot["type"] == "snapshot", f"no snapshot after {message}"
        assert snapshot["payload"]["seq"] == seq
        assert seq >= self.position
        self.position = seq
        self._check_snapshot(snapshot, following)

    def _check_snapshot(self, message: Message, following: Iterator[Message]) -> None:
        payload = message["payload"]
        if "in_reply_to" in message:
            self.answered.append(message["in_reply_to"])
        self._check_live(self._take_unchecked(), payload["seq"])
        assert payload["seq"] >= self.position
        self.position = payload["seq"]
        assert seqs_of(payload["events"]) == self.stream.state(payload["seq"])

    def _check_error(self, message: Message, following: Iterator[Message]) -> None:
        assert message["payload"]["code"] == "rate_limited"
        event("refused a request")
        self._check_pong(message, following)

    def _check_pong(self, message: Message, following: Iterator[Message]) -> None:
        self.stateless_answers.append(message["in_reply_to"])
        self.answered.append(message["in_reply_to"])


@dataclass
class Connection:
    """A client and its requests.

    Attributes:
        resumed_after: the position of each replay request by its id; None is the id of the request in the URL.
        requests: the ids of all requests.
    """

    peer: Peer
    user_id: str
    resumed_after: dict[Any, int]
    requests: list[Any]


class Interleaving:
    """Performs actions in the order that Hypothesis chooses.

    Connections that are not lost yet are numbered by *slot*.
    """

    def __init__(self, world: World, delays: list[int], failures: list[bool]) -> None:
        self.world = world
        self.stream = Stream()
        world.hub.listen(self.stream.add)
        broker: SlowBroker = world.broker
        self._delays, self._failures = itertools.cycle(delays), iter(failures)
        broker.delays = lambda: next(self._delays)
        broker.fails = lambda: next(self._failures, False)
        self.connections: list[Connection] = []
        self._by_slot: dict[int, Connection] = {}
        self._ids = itertools.count(1)

    def perform(self, action: tuple[Any, ...]) -> None:
        getattr(self, action[0])(*action[1:])

    def alerts(self, count: int) -> None:
        self.world.publish_alerts(count)

    def stats(self, queue: str) -> None:
        self.world.publish_queue_stats(3, queue)

    def agent(self, name: str, type_: str) -> None:
        self.world.publish(type_, {"user_id": name, "username": name})

    def notify(self, user_id: str) -> None:
        self.world.publish("notification", user_id=user_id)

    def connect(self, slot: int, user_id: str, seq: int | None, snapshot: bool) -> None:
        self.disconnect(slot)
        options = ConnectOptions(None if seq is None else self.world.epoch, seq, snapshot)
        resumed_after: dict[Any, int] = {} if seq is None else {None: seq}
        peer = self.world.connect(options=options, user_id=user_id)
        connection = Connection(peer, user_id, resumed_after, [None] if resumed_after else [])
        self._by_slot[slot] = connection
        self.connections.append(connection)

    def disconnect(self, slot: int) -> None:
        if slot in self._by_slot:
            self._by_slot.pop(slot).peer.client.connection_lost(CloseCode.ABNORMAL)

    def request(self, slot: int, type_: str, back: int) -> None:
        """Send a request; ``resume`` has a position ``back`` events before the one after the head."""
        if slot not in self._by_slot:
            return
        connection = self._by_slot[slot]
        id_ = next(self._ids)
        connection.requests.append(id_)
        payload: dict[str, Any] = {}
        if type_ == "resume":
            connection.resumed_after[id_] = max(0, self.stream.head + 1 - back)
            payload = {"epoch": self.world.epoch, "seq": connection.resumed_after[id_]}
        connection.peer.send(type_, payload, id_=id_)

    def pause(self, slot: int) -> None:
        if slot in self._by_slot:
            self._by_slot[slot].peer.client.pause()

    def drain(self, slot: int) -> None:
        if slot in self._by_slot:
            self._by_slot[slot].peer.client.drained()

    def steps(self, count: int) -> None:
        for _ in range(count):
            self.world.clock.step()

    def turn(self) -> None:
        self.world.turn()

    def pause_before_answer(self, slot: int, type_: str, back: int, count: int, alerts: int) -> None:
        """Send a request, and pause the client and publish events before the answer could be written."""
        self.request(slot, type_, back)
        self.steps(count)
        self.pause(slot)
        self.alerts(alerts)
        self.turn()

    def finish(self) -> None:
        """Drain all clients, then check their messages against what was published."""
        for slot in self._by_slot:
            self.drain(slot)
        self._failures = iter(())
        self.world.clock.advance(3 * catch_up.RETRY_SECONDS)
        self.world.turn()
        for connection in self.connections:
            client = connection.peer.client
            checker = Checker(self.stream, connection.user_id, connection.resumed_after, disconnected=client.closed)
            checker.check(connection.peer.messages)
            if not client.closed:
                assert client.state is SessionState.LIVE
                checker.check_complete(self.stream.head)
                assert sorted(map(str, checker.answered)) == sorted(map(str, connection.requests))
            assert not client.lagging
        self._check_mailboxes()

    def _check_mailboxes(self) -> None:
        """Mail is removed from a mailbox only after it was sent to the user."""
        for user_id in USERS:
            messages = [
                message
                for connection in self.connections
                if connection.user_id == user_id
                for message in connection.peer.messages
            ]
            page = run(self.world.broker.inner.read_mailbox(ACME, user_id, 0, 999))
            in_mailbox = {item.publication.seq for item in page.items}
            mail = {publication.seq for publication in self.stream.publications if publication.event.user_id == user_id}
            assert in_mailbox <= mail
            assert mail - in_mailbox <= set(seqs_of(messages)), "removed from the mailbox without being sent"
            if any(message.get("redelivered") for message in messages):
                event("redelivered")


slots = st.integers(0, 3)
request_types = ["resume", "snapshot", "ping"]
actions = st.one_of(
    st.tuples(st.just("alerts"), st.integers(1, 14)),
    st.tuples(st.just("stats"), st.sampled_from(["sales", "support"])),
    st.tuples(st.just("agent"), st.sampled_from(["7", "8"]), st.sampled_from(["agent.login", "agent.logout"])),
    st.tuples(st.just("notify"), st.sampled_from(USERS)),
    st.tuples(st.just("connect"), slots, st.sampled_from(USERS), st.none() | st.integers(0, 40), st.booleans()),
    st.tuples(st.just("disconnect"), slots),
    st.tuples(st.just("request"), slots, st.sampled_from(["resume", *request_types]), st.integers(0, 30)),
    st.tuples(st.just("pause"), slots),
    st.tuples(st.just("drain"), slots),
    st.tuples(st.just("steps"), st.integers(1, 12)),
    st.tuples(st.just("steps"), st.integers(1, 3)),
    st.tuples(st.just("turn")),
    st.tuples(
        st.just("pause_before_answer"),
        slots,
        st.sampled_from(request_types),
        st.integers(0, 30),
        st.integers(0, 12),
        st.integers(1, 14),
    ),
)


@settings(max_examples=1_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    chosen=st.lists(actions, min_size=5, max_size=40),
    delays=st.lists(st.sampled_from([0, 0, 1, 2, 4]), min_size=1, max_size=12),
    failures=st.lists(st.sampled_from([False, False, False, True]), max_size=10),
    outbox=st.integers(1, 10),
    burst=st.integers(1, 30),
    memory_events=st.sampled_from([4, 12, 1000]),
    page_events=st.integers(1, 6),
    batch_bytes=st.sampled_from([1, 400, 10_000]),
    clients_per_slice=st.sampled_from([1, 2, 1_000]),
)
def test_each_event_is_sent_once_in_order_or_reported_as_missing(
    chosen: list[tuple[Any, ...]],
    delays: list[int],
    failures: list[bool],
    outbox: int,
    burst: int,
    memory_events: int,
    page_events: int,
    batch_bytes: int,
    clients_per_slice: int,
) -> None:
    limits = Limits(outbox=outbox, rate=1e9, burst=10**6, bad_messages=10**6)
    world = World(limits=limits, slow=True, burst=burst, memory_events=memory_events)
    interleaving = Interleaving(world, delays, failures)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catch_up, "PAGE_EVENTS", page_events)
        patch.setattr(replay_cache, "BATCH_BYTES", batch_bytes)
        patch.setattr(catch_up, "MAX_REPLAY_EVENTS", 25)
        patch.setattr(group, "CLIENTS_PER_SLICE", clients_per_slice)
        patch.setattr(hub, "CLIENTS_PER_SLICE", clients_per_slice)
        interleaving.connect(0, "ada", None, False)
        interleaving.connect(1, "bob", None, False)
        for action in chosen:
            interleaving.perform(action)
            for connection in interleaving.connections:
                frames = connection.peer.client.outbox.frames
                assert sum(type(frame) is bytes for frame in frames) <= outbox
        interleaving.finish()
    assert world.hub.counters.lagging == 0
