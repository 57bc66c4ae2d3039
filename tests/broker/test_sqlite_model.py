"""A model-based test of SqliteBroker against the reference: with restarts, crashes, evictions and failed writes."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
import pytest_twisted
from broker_contract import RANDOM_TYPES, payload_of
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from reference import compacted
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from callcenter_ws.broker.sqlite import expiry, group_commit, tenant
from callcenter_ws.broker.sqlite.broker import SqliteBroker
from callcenter_ws.errors import Refusal
from callcenter_ws.events.event import Event, make_event
from callcenter_ws.events.publication import Publication
from callcenter_ws.interfaces import PublishResult
from callcenter_ws.testing import FakeClock

TENANT = "acme"
WINDOW = 300.0
DEADLINE = 30.0
DAY = 86_400.0
T = TypeVar("T")


def wait_for(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine under the reactor, which the store's threads report to."""
    result: T = pytest_twisted.blockon(Deferred.fromCoroutine(coroutine))
    return result


class SqliteModel(RuleBasedStateMachine):
    """Publishes events about a few entities, and compares all answers with the published events after each step."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.folder = Path(tempfile.mkdtemp(prefix="callcenter-ws-model-"))
        self.files = 0
        self.stream: list[Publication] = []
        self.delivered: list[Publication] = []
        self.known: dict[str, tuple[int, float]] = {}
        self.mail: dict[int, tuple[str, float, bool]] = {}
        self.number = 0
        self.patches = pytest.MonkeyPatch()

    @initialize(
        kept=st.sampled_from([1, 5, 20, 100]),
        seconds=st.sampled_from([50.0, 4_000.0, DAY]),
        memory=st.sampled_from([1, 4, 50]),
        checkpoint=st.sampled_from([1, 3, 10]),
        batch=st.sampled_from([1, 4, 100]),
    )
    def open(self, kept: int, seconds: float, memory: int, checkpoint: int, batch: int) -> None:
        self.kept, self.seconds, self.memory = kept, seconds, memory
        self.patches.setattr(tenant, "CHECKPOINT_EVENTS", checkpoint)
        self.patches.setattr(expiry, "BATCH_ROWS", batch)
        self.start()
        self.epoch = wait_for(self.broker.position(TENANT)).epoch

    @property
    def path(self) -> Path:
        return self.folder / f"{self.files}.sqlite"

    def start(self) -> None:
        self.broker = SqliteBroker(
            reactor,
            self.clock,
            self.path,
            history_events=self.kept,
            history_seconds=self.seconds,
            memory_events=self.memory,
        )
        wait_for(self.broker.start(self.delivered.extend))

    def teardown(self) -> None:
        if hasattr(self, "broker"):
            wait_for(self.broker.stop())
        self.patches.undo()
        shutil.rmtree(self.folder)

    # Rules

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

    @rule(batch=st.lists(events, min_size=1, max_size=6))
    def publish(self, batch: list[Any]) -> None:
        events = [self.event(*fields) for fields in batch]
        outcomes = pytest_twisted.blockon(self.broker.publish(events))
        for event, outcome in zip(events, outcomes, strict=True):
            assert isinstance(outcome, PublishResult)
            self.accept(event, outcome)

    def accept(self, event: Event, outcome: PublishResult) -> None:
        assert outcome.epoch == self.epoch
        now = self.clock.monotonic()
        seq, since = self.known.get(event.event_id, (0, -WINDOW))
        if seq and now - since <= WINDOW:
            assert (outcome.seq, outcome.duplicate) == (seq, True)
            return
        self.stream.append(Publication(event, len(self.stream) + 1))
        self.known[event.event_id] = len(self.stream), now
        assert (outcome.seq, outcome.duplicate) == (len(self.stream), False)
        if event.is_mail:
            assert event.user_id is not None
            self.mail[len(self.stream)] = event.user_id, now + 7 * DAY, False

    @rule(seconds=st.sampled_from([1, 59, 150, 301, 3_600, 43_000, 86_000]))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @rule()
    def restart(self) -> None:
        wait_for(self.broker.stop())
        self.start()

    @rule(batch=st.lists(events, min_size=1, max_size=4))
    def crash(self, batch: list[Any]) -> None:
        """Kill the process: continue with a copy of the file as it is now."""
        self.publish(batch)
        wait_for(self.broker.position(TENANT))
        before, self.files = self.path, self.files + 1
        for suffix in ("", "-wal"):
            part = before.with_name(before.name + suffix)
            if part.exists():
                shutil.copyfile(part, self.path.with_name(self.path.name + suffix))
        wait_for(self.broker.stop())
        self.start()

    @rule()
    def evict(self) -> None:
        """Evict the tenant from memory."""
        cache = self.broker._open.cache  # type: ignore[union-attr]
        for record in cache.records():
            if record.is_idle:
                cache.evict(record)

    @rule(batch=st.lists(events, min_size=1, max_size=3), committed=st.booleans())
    def fail(self, batch: list[Any], committed: bool) -> None:
        """Make a write fail, before or after it is committed."""
        real = group_commit.write

        def failing(*arguments: Any) -> None:
            group_commit.write = real
            if committed:
                real(*arguments)
            raise sqlite3.OperationalError("it broke")

        group_commit.write = failing
        events = [self.event(*fields) for fields in batch]
        outcomes = pytest_twisted.blockon(self.broker.publish(events))
        group_commit.write = real
        expected = wait_for(self.broker.position(TENANT)).seq
        for event, outcome in zip(events, outcomes, strict=True):
            if isinstance(outcome, PublishResult):
                # A repetition of an event that was committed before.
                assert outcome.duplicate
                self.accept(event, outcome)
            else:
                assert isinstance(outcome, Refusal)
                if committed and len(self.stream) < expected and not self.is_known(event):
                    self.accept(event, PublishResult(self.epoch, len(self.stream) + 1, event.event_id))
        self.clock.advance(group_commit.RETRY_SECONDS)
        pytest_twisted.blockon(self.until_it_writes())

    def is_known(self, event: Event) -> bool:
        seq, since = self.known.get(event.event_id, (0, -WINDOW))
        return bool(seq) and self.clock.monotonic() - since <= WINDOW

    def until_it_writes(self) -> Deferred[None]:
        async def wait() -> None:
            deadline = reactor.seconds() + DEADLINE
            while self.broker.not_ready():
                assert reactor.seconds() < deadline, "the store did not become writable"
                turn: Deferred[None] = Deferred()
                reactor.callLater(0.001, turn.callback, None)
                await turn

        return Deferred.fromCoroutine(wait())

    @rule(user_id=st.sampled_from("12"), limit=st.integers(1, 3), acknowledge=st.booleans())
    def fetch(self, user_id: str, limit: int, acknowledge: bool) -> None:
        """Read the mailbox of a user, and acknowledge the items or not."""
        items = wait_for(self.broker.read_mailbox(TENANT, user_id, 0, limit)).items
        ids = [item.publication.event.event_id for item in items]
        self.broker.mark_mail_sent(TENANT, user_id, ids)
        if acknowledge:
            self.broker.acknowledge_mail(TENANT, user_id, ids)
        for seq, (owner, ends_at, _) in list(self.mail.items()):
            # An identifier used again after its window refers to both events.
            if owner == user_id and self.stream[seq - 1].event.event_id in ids:
                self.mail[seq] = owner, ends_at, True
                if acknowledge:
                    del self.mail[seq]

    # Invariants

    @invariant()
    def the_snapshot_is_the_compacted_stream(self) -> None:
        if not hasattr(self, "epoch"):
            return
        snapshot = wait_for(self.broker.snapshot(TENANT))
        assert (snapshot.epoch, snapshot.seq) == (self.epoch, len(self.stream))
        assert [message.seq for message in snapshot.publications] == compacted(self.stream, self.clock.monotonic())

    @invariant()
    def the_history_is_the_end_of_the_stream(self) -> None:
        if not hasattr(self, "epoch"):
            return
        head = len(self.stream)
        oldest = self.clock.monotonic() - self.seconds
        fresh = sum(message.event.received_at >= oldest for message in self.stream)
        for after in range(max(0, head - self.kept - 2), head + 1):
            page = wait_for(self.broker.read(TENANT, after, head))
            found = [message.event.event_id for message in page.publications]
            assert page.head == head
            if after >= head - min(self.kept, fresh):
                assert page.reachable
            if page.reachable:
                expected = [message.event.event_id for message in self.stream[after:]]
                assert found == expected[: len(found)]
                assert found or not expected
            else:
                assert not found

    @invariant()
    def everything_was_delivered_once_in_order(self) -> None:
        assert [message.seq for message in self.delivered] == list(range(1, len(self.stream) + 1))
        for message, published in zip(self.delivered, self.stream, strict=True):
            assert message.event.event_id == published.event.event_id

    @invariant()
    def mailboxes_hold_what_was_not_acknowledged(self) -> None:
        if not hasattr(self, "epoch"):
            return
        now = self.clock.monotonic()
        for user_id in "12":
            items = wait_for(self.broker.read_mailbox(TENANT, user_id, 0, 1_000)).items
            waiting = [item.publication.seq for item in items]
            assert waiting == [
                seq for seq, (owner, ends_at, _) in self.mail.items() if owner == user_id and ends_at > now
            ]


@pytest.mark.slow
@pytest.mark.logs_errors
class TestSqliteModel(SqliteModel.TestCase):  # type: ignore[misc,name-defined]  # hypothesis makes it at run time
    settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
