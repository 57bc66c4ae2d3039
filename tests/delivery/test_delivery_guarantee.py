"""The promise of the protocol, against any interleaving.

A client that resumes with ``(epoch, seq)`` gets every event after ``seq`` that it may see, once, in order, or an
explicit ``reset`` or ``gap``; a snapshot stands in the stream exactly where its ``seq`` says. Here a store whose
every call takes some turns, several clients that pause, drain, ask and go away, and publishers in between are
played in orders that Hypothesis chooses; then what each socket was given is read like a suspicious client would.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from core_stage import TENANT, SlowBroker, Socket, Stage
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from callcenter_ws.delivery import catch_up as catch_up
from callcenter_ws.delivery import group, hub, replay_cache
from callcenter_ws.delivery.limits import Limits
from callcenter_ws.delivery.welcome import ConnectOptions
from callcenter_ws.errors import CloseCode
from callcenter_ws.events.publication import Publication
from callcenter_ws.runtime.json import decode_json
from callcenter_ws.testing import run

USERS = ("ada", "bob")
Told = dict[str, Any]


@dataclass
class Log:
    """Everything that was made durable for the tenant, and what one user may see of it."""

    messages: list[Publication] = field(default_factory=list)

    def take(self, message: Publication) -> None:
        assert message.seq == len(self.messages) + 1
        self.messages.append(message)

    @property
    def head(self) -> int:
        return len(self.messages)

    def visible(self, user_id: str, after: int, until: int) -> list[int]:
        """The positions in ``(after, until]`` that the user may see."""
        return [m.seq for m in self.messages[after:until] if m.event.user_id in (None, user_id)]

    def is_outdated(self, seq: int) -> bool:
        key = self.messages[seq - 1].event.conflation_key
        return key is not None and any(later.event.conflation_key == key for later in self.messages[seq:])

    def state(self, seq: int) -> list[int]:
        """The positions that a snapshot at ``seq`` is made of: figures by queue, agents who are logged in."""
        slots: dict[tuple[str, str], int] = {}
        for message in self.messages[:seq]:
            payload = decode_json(message.event.payload)
            name = message.event.type.name
            if name == "queue.stats":
                slots["queue", payload["queue_name"]] = message.seq
            elif name == "agent.login":
                slots["agent", payload["user_id"]] = message.seq
            elif name == "agent.logout":
                slots.pop(("agent", payload["user_id"]), None)
        return sorted(slots.values())


class Reader:
    """Reads what one connection was told, and finds fault with it.

    Args:
        asked: the position of each ``resume`` request by its id; None is the wish in the URL.
        broke_off: the connection ended, perhaps amid a replay.
    """

    def __init__(self, log: Log, user_id: str, asked: dict[Any, int], *, broke_off: bool) -> None:
        self.log = log
        self.user_id = user_id
        self.broke_off = broke_off
        self.asked = asked
        self.cursor = 0
        self.brought: list[int] = []
        self.pongs: list[Any] = []
        self.answered: list[Any] = []
        self._pending: list[int] = []

    def read(self, told: list[Told]) -> None:
        if not told:
            return
        if told[0]["type"] == "error":
            # The store did not answer as the client came: it is told so and sent away.
            assert told[0]["payload"]["code"] == "unavailable"
            assert len(told) == 1
            return
        assert told[0]["type"] == "welcome"
        self.cursor = told[0]["payload"]["seq"]
        following = iter(told[1:])
        for message in following:
            if message.get("offline"):
                self._mail(message)
            elif "seq" in message:
                assert message["type"] == self.log.messages[message["seq"] - 1].event.type.name
                self._pending.append(message["seq"])
            else:
                getattr(self, "_" + message["type"])(message, following)
        unanswered = [request for request in self.asked if request not in self.answered]
        if self.broke_off and unanswered:
            self._live_then_part_of(unanswered[0])
        else:
            self._live(self._take_pending(), None)

    def _mail(self, message: Told) -> None:
        """The mailbox comes before everything else, in order, and holds what is the user's alone."""
        assert not self._pending
        # Answers that say nothing about the stream may come before it.
        assert all(request in self.pongs for request in self.answered)
        seq = message["seq"]
        assert max(self.brought, default=0) < seq <= self.cursor
        assert self.log.messages[seq - 1].event.user_id == self.user_id
        self.brought.append(seq)

    def _missed(self, after: int, until: int) -> list[int]:
        """What a replay brings: not what came out of the mailbox on the same connection."""
        return [seq for seq in self.log.visible(self.user_id, after, until) if seq not in self.brought]

    def _live(self, seqs: list[int], until: int | None) -> None:
        """Live events, or events brought to a lagging client: contiguous but for outdated figures."""
        for seq in seqs:
            assert seq > self.cursor, f"{seq} after {self.cursor}"
            self._nothing_between(self.cursor, seq - 1)
            assert self.log.visible(self.user_id, seq - 1, seq)
            self.cursor = seq
        if until is not None:
            self._nothing_between(self.cursor, until)

    def _live_then_part_of(self, request: Any) -> None:
        """Live events, then perhaps the beginning of a replay."""
        pending, asked, cursor = self._take_pending(), self.asked[request], self.cursor
        for split in range(len(pending), -1, -1):
            part = pending[split:]
            if not part or part == self._missed(asked, part[-1]):
                try:
                    self._live(pending[:split], None)
                except AssertionError:
                    self.cursor = cursor
                    continue
                return
        raise AssertionError(f"{pending} is nothing after {cursor} and {asked}")

    def _nothing_between(self, after: int, until: int) -> None:
        lost = [seq for seq in self.log.visible(self.user_id, after, until) if not self.log.is_outdated(seq)]
        assert not lost, f"{lost} never came"

    def _take_pending(self) -> list[int]:
        pending, self._pending = self._pending, []
        return pending

    def _resumed(self, message: Told, following: Iterator[Told]) -> None:
        payload = message["payload"]
        assert payload["from_seq"] == self.asked[message.get("in_reply_to")]
        self.answered.append(message.get("in_reply_to"))
        pending = self._take_pending()
        split = len(pending) - payload["count"]
        assert split >= 0
        self._live(pending[:split], None)
        assert pending[split:] == self._missed(payload["from_seq"], payload["to_seq"])
        assert payload["to_seq"] >= self.cursor
        self.cursor = payload["to_seq"]

    def _reset(self, message: Told, following: Iterator[Told]) -> None:
        request = message.get("in_reply_to")
        self.answered.append(request)
        event(f"reset {message['payload']['reason']}")
        if message["payload"]["reason"] == "too_old":
            # The history may have run away when the replay had begun.
            self._live_then_part_of(request)
        else:
            self._live(self._take_pending(), None)
        self._snapshot_after(message, following, message["payload"]["seq"])

    def _gap(self, message: Told, following: Iterator[Told]) -> None:
        event("gap")
        payload = message["payload"]
        self._live(self._take_pending(), payload["from_seq"] - 1)
        assert payload["from_seq"] > self.cursor or self.cursor >= payload["from_seq"] - 1
        self._snapshot_after(message, following, payload["to_seq"])

    def _snapshot_after(self, message: Told, following: Iterator[Told], seq: int) -> None:
        snapshot = next(following)
        assert snapshot["type"] == "snapshot", f"no snapshot after {message}"
        assert snapshot["payload"]["seq"] == seq
        assert seq >= self.cursor
        self.cursor = seq
        self._snapshot(snapshot, following)

    def _snapshot(self, message: Told, following: Iterator[Told]) -> None:
        payload = message["payload"]
        if "in_reply_to" in message:
            self.answered.append(message["in_reply_to"])
        self._live(self._take_pending(), payload["seq"])
        assert payload["seq"] >= self.cursor
        self.cursor = payload["seq"]
        assert [told["seq"] for told in payload["events"]] == self.log.state(payload["seq"])

    def _error(self, message: Told, following: Iterator[Told]) -> None:
        assert message["payload"]["code"] == "rate_limited"
        event("refused a request")
        self.pongs.append(message["in_reply_to"])
        self.answered.append(message["in_reply_to"])

    def _pong(self, message: Told, following: Iterator[Told]) -> None:
        self.pongs.append(message["in_reply_to"])
        self.answered.append(message["in_reply_to"])


class Play:
    """One interleaving."""

    def __init__(self, stage: Stage, delays: list[int], failures: list[bool]) -> None:
        self.stage = stage
        self.log = Log()
        stage.hub.listen(self.log.take)
        broker: SlowBroker = stage.broker
        self._delays, self._failures = itertools.cycle(delays), iter(failures)
        broker.delays = lambda: next(self._delays)
        broker.fails = lambda: next(self._failures, False)
        self.sockets: list[tuple[Socket, str, dict[Any, int], list[Any]]] = []
        self._present: dict[int, tuple[Socket, str, dict[Any, int], list[Any]]] = {}
        self._ids = itertools.count(1)

    def do(self, step: tuple[Any, ...]) -> None:
        getattr(self, step[0])(*step[1:])

    def alerts(self, count: int) -> None:
        self.stage.alerts(count)

    def stats(self, queue: str) -> None:
        self.stage.stats(3, queue)

    def agent(self, name: str, type_: str) -> None:
        self.stage.publish(type_, {"user_id": name, "username": name})

    def notify(self, user_id: str) -> None:
        self.stage.publish("notification", {"type": "x", "title": "t", "message": "m"}, user_id=user_id)

    def connect(self, place: int, user_id: str, seq: int | None, snapshot: bool) -> None:
        self.leave(place)
        options = ConnectOptions(None if seq is None else self.stage.epoch, seq, snapshot)
        asked: dict[Any, int] = {} if seq is None else {None: seq}
        socket = self.stage.connect(options=options, user_id=user_id)
        self._present[place] = (socket, user_id, asked, [None] if asked else [])
        self.sockets.append(self._present[place])

    def leave(self, place: int) -> None:
        if place in self._present:
            self._present.pop(place)[0].client.lost(CloseCode.ABNORMAL)

    def ask(self, place: int, type_: str, back: int) -> None:
        if place not in self._present:
            return
        socket, _, asked, requests = self._present[place]
        id_ = next(self._ids)
        requests.append(id_)
        payload: dict[str, Any] = {}
        if type_ == "resume":
            asked[id_] = max(0, self.log.head + 1 - back)
            payload = {"epoch": self.stage.epoch, "seq": asked[id_]}
        socket.say(type_, payload, id_=id_)

    def pause(self, place: int) -> None:
        if place in self._present:
            self._present[place][0].client.pause()

    def drain(self, place: int) -> None:
        if place in self._present:
            self._present[place][0].client.drained()

    def steps(self, count: int) -> None:
        for _ in range(count):
            self.stage.clock.step()

    def settle(self) -> None:
        self.stage.settle()

    def squeeze(self, place: int, type_: str, back: int, count: int, alerts: int) -> None:
        """A client asks for something old, and its socket blocks and events come before that could be written."""
        self.ask(place, type_, back)
        self.steps(count)
        self.pause(place)
        self.alerts(alerts)
        self.settle()

    def finish(self) -> None:
        """Let everybody read, then hold what they were told against what was published."""
        for place in self._present:
            self.drain(place)
        self._failures = iter(())
        self.stage.clock.advance(3 * catch_up.RETRY)
        self.stage.settle()
        for socket, user_id, asked, requests in self.sockets:
            reader = Reader(self.log, user_id, asked, broke_off=socket.client.closed)
            reader.read(socket.messages)
            if not socket.client.closed:
                assert socket.client.live
                reader._nothing_between(reader.cursor, self.log.head)
                assert sorted(map(str, reader.answered)) == sorted(map(str, requests))
            if socket.client.lagging:
                raise AssertionError("still lagging")
        self._check_mailboxes()

    def _check_mailboxes(self) -> None:
        """Who was sent a message of the mailbox and was heard of after that has it; every other one waits."""
        for user_id in USERS:
            told = [message for socket, who, *_ in self.sockets if who == user_id for message in socket.messages]
            seen = {message["seq"] for message in told if "seq" in message}
            waiting = {
                item.publication.seq for item in run(self.stage.broker.inner.mail(TENANT, user_id, 0, 999)).items
            }
            items = {m.seq for m in self.log.messages if m.event.user_id == user_id}
            assert waiting <= items
            assert items - waiting <= seen, "struck off, and never shown"
            if any(message.get("redelivered") for message in told):
                event("redelivered")


places = st.integers(0, 3)
steps = st.one_of(
    st.tuples(st.just("alerts"), st.integers(1, 14)),
    st.tuples(st.just("stats"), st.sampled_from(["sales", "support"])),
    st.tuples(st.just("agent"), st.sampled_from(["7", "8"]), st.sampled_from(["agent.login", "agent.logout"])),
    st.tuples(st.just("notify"), st.sampled_from(USERS)),
    st.tuples(st.just("connect"), places, st.sampled_from(USERS), st.none() | st.integers(0, 40), st.booleans()),
    st.tuples(st.just("leave"), places),
    st.tuples(st.just("ask"), places, st.sampled_from(["resume", "resume", "snapshot", "ping"]), st.integers(0, 30)),
    st.tuples(st.just("pause"), places),
    st.tuples(st.just("drain"), places),
    st.tuples(st.just("steps"), st.integers(1, 12)),
    st.tuples(st.just("steps"), st.integers(1, 3)),
    st.tuples(st.just("settle")),
    st.tuples(
        st.just("squeeze"),
        places,
        st.sampled_from(["resume", "snapshot", "ping"]),
        st.integers(0, 30),
        st.integers(0, 12),
        st.integers(1, 14),
    ),
)


@settings(max_examples=1_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    play=st.lists(steps, min_size=5, max_size=40),
    delays=st.lists(st.sampled_from([0, 0, 1, 2, 4]), min_size=1, max_size=12),
    failures=st.lists(st.sampled_from([False, False, False, True]), max_size=10),
    outbox=st.integers(1, 10),
    burst=st.integers(1, 30),
    memory_events=st.sampled_from([4, 12, 1000]),
    chunk=st.integers(1, 6),
    stretch_bytes=st.sampled_from([1, 400, 10_000]),
    slice_=st.sampled_from([1, 2, 1_000]),
)
def test_every_event_once_in_order_or_said_to_be_missing(
    play: list[tuple[Any, ...]],
    delays: list[int],
    failures: list[bool],
    outbox: int,
    burst: int,
    memory_events: int,
    chunk: int,
    stretch_bytes: int,
    slice_: int,
) -> None:
    limits = Limits(outbox=outbox, rate=1e9, burst=10**6, bad_messages=10**6)
    stage = Stage(limits=limits, slow=True, burst=burst, memory_events=memory_events)
    acts = Play(stage, delays, failures)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catch_up, "CHUNK_EVENTS", chunk)
        patch.setattr(replay_cache, "BATCH_BYTES", stretch_bytes)
        patch.setattr(catch_up, "MAX_REPLAY", 25)
        patch.setattr(group, "SLICE", slice_)
        patch.setattr(hub, "SLICE", slice_)
        acts.connect(0, "ada", None, False)
        acts.connect(1, "bob", None, False)
        for step in play:
            acts.do(step)
            for socket, *_ in acts.sockets:
                assert sum(type(frame) is bytes for frame in socket.client.outbox) <= outbox
        acts.finish()
    assert stage.hub.counters.lagging == 0
