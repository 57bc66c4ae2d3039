"""Two nodes on one Redis compared with a reference model: restarts, lost announcements, lost histories."""

from __future__ import annotations

import itertools
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

import pytest
import pytest_twisted
from broker_contract import RANDOM_TYPES, payload_of
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from redis_nodes import DEADLINE, Node, Nodes, until
from redis_server import RedisServer
from reference import compacted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults

from callcenter_ws.events.event import Event, make_event
from callcenter_ws.events.publication import Publication
from callcenter_ws.interfaces import Position, PublishResult

TENANT = "acme"
WINDOW = 300.0
DAY = 86_400.0
T = TypeVar("T")

_servers: list[RedisServer] = []
_prefixes = (f"model-{number}" for number in itertools.count())


@pytest.fixture(scope="module", autouse=True)
def _server() -> Iterator[None]:
    server = RedisServer()
    server.start()
    _servers.append(server)
    yield
    _servers.remove(server)
    server.stop()


def wait_for(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in the reactor, and return its result."""
    answer: Deferred[T] = Deferred.fromCoroutine(coroutine)
    result: T = pytest_twisted.blockon(answer.addTimeout(DEADLINE, reactor))
    return result


class RedisModel(RuleBasedStateMachine):
    """Publishes events of a few entities through both nodes, and compares every answer with the reference."""

    def __init__(self) -> None:
        super().__init__()
        self.server = _servers[0]
        self.nodes = Nodes(self.server.url, next(_prefixes))
        self.clock = self.nodes.clock
        self.both: list[Node] = []
        self.epoch = ""
        self.old: list[Position] = []
        self.stream: list[Publication] = []
        self.expected: list[list[str]] = [[], []]
        self.known: dict[str, tuple[int, float]] = {}
        self.mail: dict[int, tuple[str, float]] = {}
        self.number = 0

    @initialize(
        # At least as many as a node can miss in one step, else it would report an interruption.
        kept=st.sampled_from([8, 20, 100]),
        seconds=st.sampled_from([50.0, 4_000.0, DAY]),
        memory=st.sampled_from([1, 4, 50]),
        size=st.sampled_from([1, 5_000, 10_000_000]),
    )
    def open(self, kept: int, seconds: float, memory: int, size: int) -> None:
        self.kept, self.seconds = kept, seconds
        options = {"memory_events": memory, "memory_bytes": size, "timeout": 3.0}
        self.both = [self.nodes.make([TENANT], **options) for _ in range(2)]
        for node in self.both:
            self.start(node)
        self.epoch = wait_for(self.both[0].store.position(TENANT)).epoch

    def start(self, node: Node) -> None:
        wait_for(node.open(history_events=self.kept, history_seconds=self.seconds))

    def teardown(self) -> None:
        wait_for(self.nodes.close())

    # Steps

    def event(self, type_: str, user_id: str | None, event_id: str | None, choice: int, leg: str | None) -> Event:
        payload = payload_of(type_) if type_ != "notification" else {"type": "x", "title": "t", "message": "m"}
        fields: dict[str, Any] = {
            "user_id": [1, "2"][choice],
            "session_id": "st"[choice],
            "queue_name": "ab"[choice],
            "call_id": None if leg is None else "cd"[choice],
            "unique_id": leg or "1.1",
        }
        payload.update({name: value for name, value in fields.items() if name in payload})
        self.number += 1
        return make_event(
            tenant_id=TENANT,
            type_=type_,
            payload=payload,
            event_id=event_id or f"e{self.number}",
            user_id=user_id or ("1" if type_ == "notification" else None),
            now=self.clock.time(),
            received_at=self.clock.monotonic(),
        )

    events = st.tuples(
        st.sampled_from((*RANDOM_TYPES, "notification", "notification")),
        st.sampled_from([None, None, "1", "2"]),
        st.sampled_from([None, None, None, "x", "y"]),
        st.integers(0, 1),
        st.sampled_from([None, "1.1", "1.2"]),
    )
    either = st.integers(0, 1)

    @rule(batch=st.lists(events, min_size=1, max_size=6), at=either)
    def publish(self, batch: list[Any], at: int) -> None:
        events = [self.event(*fields) for fields in batch]
        for event, published in zip(events, wait_for(self.both[at].publish(*events)), strict=True):
            self.check_result(event, published)

    @rule(batch=st.lists(events, min_size=2, max_size=8))
    def publish_through_both(self, batch: list[Any]) -> None:
        """Concurrently: only the answers tell the order."""
        events = [self.event(*fields) for fields in batch]
        parts = [events[::2], events[1::2]]
        calls = [node.broker.publish(part) for node, part in zip(self.both, parts, strict=True)]
        results = [
            (event, outcome)
            for part, outcomes in zip(parts, pytest_twisted.blockon(gatherResults(calls)), strict=True)
            for event, outcome in zip(part, outcomes, strict=True)
        ]
        for event, outcome in sorted(results, key=lambda one: (one[1].seq, one[1].duplicate)):
            self.check_result(event, outcome)

    def check_result(self, event: Event, outcome: PublishResult) -> None:
        if not self.epoch:
            self.epoch = outcome.epoch
        assert outcome.epoch == self.epoch
        assert outcome.epoch not in {position.epoch for position in self.old}
        now = self.clock.monotonic()
        seq, since = self.known.get(event.event_id, (0, -WINDOW))
        if seq and now - since <= WINDOW:
            assert (outcome.seq, outcome.duplicate) == (seq, True)
            return
        self.stream.append(Publication(event, len(self.stream) + 1))
        self.known[event.event_id] = len(self.stream), now
        assert (outcome.seq, outcome.duplicate) == (len(self.stream), False)
        for expected in self.expected:
            expected.append(event.event_id)
        if event.is_mail:
            assert event.user_id is not None
            self.mail[len(self.stream)] = event.user_id, now + 7 * DAY

    @rule(seconds=st.sampled_from([1, 59, 150, 301, 3_600, 43_000, 86_000]))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @rule(at=either)
    def restart_a_node(self, at: int) -> None:
        self.start(self.both[at])

    @rule()
    def drop_announcements(self) -> None:
        self.server.command("CLIENT", "KILL", "TYPE", "pubsub")

    @rule(batch=st.lists(events, min_size=1, max_size=4), at=either)
    def publish_without_announcements(self, batch: list[Any], at: int) -> None:
        unblock = self.both[1 - at].block_announcements()
        self.publish(batch, at)
        unblock()

    @rule()
    def kill_redis(self) -> None:
        """Restart Redis, which has an append-only file."""
        self.server.kill()
        wait_for(until(lambda: all(node.broker.not_ready() for node in self.both)))
        self.server.start()
        self.until_ready()

    @rule()
    def forget_everything(self) -> None:
        self.server.command("FLUSHALL")
        self.old.append(Position(self.epoch, len(self.stream)))
        self.stream, self.known, self.mail = [], {}, {}
        self.epoch = ""
        self.find_epoch()

    def find_epoch(self) -> None:
        """Have both nodes check the position, so that both follow the new epoch."""
        positions = [wait_for(node.store.position(TENANT, Position("another", 1))) for node in self.both]
        assert positions[0] == positions[1]
        assert positions[0].seq == 0
        self.epoch = positions[0].epoch

    def until_ready(self) -> None:
        wait_for(until(lambda: all(node.broker.not_ready() is None for node in self.both)))

    @rule(user_id=st.sampled_from("12"), limit=st.integers(1, 3), acknowledges=st.booleans(), at=either)
    def fetch(self, user_id: str, limit: int, acknowledges: bool, at: int) -> None:
        """A user is sent mail, and acknowledges it or not."""
        node = self.both[at]
        items = wait_for(node.store.read_mailbox(TENANT, user_id, 0, limit)).items
        ids = [item.publication.event.event_id for item in items]
        node.store.mark_mail_sent(TENANT, user_id, ids)
        if acknowledges:
            node.store.acknowledge_mail(TENANT, user_id, ids)
        # When this is answered, Redis has stored the marks.
        wait_for(node.store.read_mailbox(TENANT, user_id, 0, 1))
        for seq, (owner, _) in list(self.mail.items()):
            if acknowledges and owner == user_id and self.stream[seq - 1].event.event_id in ids:
                del self.mail[seq]

    # Invariants

    @invariant()
    def both_nodes_answer_like_the_reference(self) -> None:
        if not self.both:
            return
        self.until_ready()
        head = len(self.stream)
        for node, expected in zip(self.both, self.expected, strict=True):
            assert wait_for(node.store.position(TENANT, Position(self.epoch, head))) == Position(self.epoch, head)
            assert node.ids(TENANT) == expected
            snapshot = wait_for(node.store.snapshot(TENANT))
            assert (snapshot.epoch, snapshot.seq) == (self.epoch, head)
            assert [message.seq for message in snapshot.publications] == compacted(self.stream, self.clock.monotonic())
            self.check_history(node)
            self.check_mail(node)

    def check_history(self, node: Node) -> None:
        head = len(self.stream)
        oldest = self.clock.monotonic() - self.seconds
        fresh = sum(message.event.received_at >= oldest for message in self.stream)
        for after in {0, head - self.kept - 1, head - self.kept, head - fresh, head - 1, head} & {*range(head + 1)}:
            page = wait_for(node.store.read(TENANT, after, head))
            found = [message.event.event_id for message in page.publications]
            assert (page.epoch, page.head) == (self.epoch, head)
            assert page.reachable == (after >= head - min(self.kept, fresh))
            wanted = [message.event.event_id for message in self.stream[after:]] if page.reachable else []
            assert found == wanted

    def check_mail(self, node: Node) -> None:
        now = self.clock.monotonic()
        for user_id in "12":
            items = wait_for(node.store.read_mailbox(TENANT, user_id, 0, 1_000)).items
            assert [item.publication.seq for item in items] == [
                seq for seq, (owner, ends_at) in self.mail.items() if owner == user_id and ends_at > now
            ]

    @invariant()
    def positions_of_lost_histories_are_invalid(self) -> None:
        for position in self.old[-3:]:
            if position.seq:
                assert wait_for(self.both[0].store.position(TENANT, position)).epoch == self.epoch


@pytest.mark.slow
@pytest.mark.logs_errors
class TestRedisModel(RedisModel.TestCase):  # type: ignore[misc,name-defined]  # hypothesis makes it at run time
    settings = settings(
        max_examples=40, stateful_step_count=20, deadline=None, phases=[Phase.generate], report_multiple_bugs=False
    )
