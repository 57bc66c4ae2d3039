"""Folds of tenants over the memory store, with a clock that the tests advance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from doubles import SteppingClock
from sample_events import ACME, event
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs

from callcenter_ws.broker.memory import MemoryBroker
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.publication import Publication
from callcenter_ws.figures import fold_turn, service, tenant_fold, waiting
from callcenter_ws.figures.fold_writer import FoldContext
from callcenter_ws.figures.holder import TenantHolder
from callcenter_ws.figures.plan import CurrentPlan, Plan, TenantPlan
from callcenter_ws.figures.restore import RUNNER, Progress
from callcenter_ws.figures.service import Figures
from callcenter_ws.interfaces import HistoryPage
from callcenter_ws.runtime.background import spawn
from callcenter_ws.statistics.checkpoint import NO_DAY, RowKey, Rows, load
from callcenter_ws.statistics.counters import FigureCounters
from callcenter_ws.statistics.fold import apply_publication
from callcenter_ws.statistics.state import State
from callcenter_ws.statistics.store import FigureCheckpoint, FigureClaim, FigurePosition, FigureWrite
from callcenter_ws.testing import run

ON = Plan(default=TenantPlan())
PART_ROW = RowKey("recorder", "", NO_DAY)


class Recorder:
    """A part that records the calls of its runner."""

    kinds = frozenset(("recorder",))
    types: frozenset[str] | None = None

    def __init__(self, world: World) -> None:
        self._world = world
        self.calls: list[str] = []
        self.seconds: list[int] = []
        self.seqs: list[int] = []
        self.loaded: bytes | None = None
        self._changed = False

    def load(self, rows: Mapping[RowKey, bytes]) -> None:
        self.calls.append("load")
        self.loaded = rows.get(PART_ROW)

    def apply(self, publication: Publication) -> None:
        if self._world.poison == publication.seq:
            self._world.poison = None
            raise ValueError("a bug")
        self.seqs.append(publication.seq)
        self._changed = True

    def second(self, state: State, second_ms: int) -> None:
        assert second_ms % 1000 == 0
        assert state.clock <= second_ms
        self.seconds.append(second_ms // 1000)

    def take_changes(self) -> Rows:
        changed, self._changed = self._changed, False
        return {PART_ROW: str(self.seqs[-1]).encode()} if changed else {}

    def hold(self) -> int | None:
        return self._world.hold

    def start(self, fence: int) -> None:
        self.calls.append(f"start {fence}")

    async def stop(self) -> None:
        self.calls.append("stop")
        if self._world.stopping is not None:
            await self._world.stopping


class ScriptedFigures:
    """The rows of a store, whose answers a test replaces."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._figures = world.broker.figures
        self.writes: list[FigureWrite] = []
        self.pages: list[int] = []
        self.removed: list[str] = []
        self.released: list[int] = []
        self.claim_answer = FigureClaim(0, is_held=True)
        self.epoch: str | None = None
        self.fails = False
        self.denies = False
        self.loads: Callable[[], FigureCheckpoint | None] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._figures, name)

    async def claim(self, tenant_id: str) -> FigureClaim:
        return self.claim_answer

    async def release(self, tenant_id: str, fence: int) -> None:
        self.released.append(fence)

    async def remove_live(self, tenant_id: str) -> None:
        self.removed.append(tenant_id)
        await self._figures.remove_live(tenant_id)

    async def load(self, tenant_id: str, since_day: int) -> FigureCheckpoint | None:
        if self.loads is not None:
            return self.loads()
        return await self._figures.load(tenant_id, since_day)

    async def write(self, tenant_id: str, write: FigureWrite) -> bool:
        if self.fails:
            raise Refusal(ErrorCode.UNAVAILABLE, "no store")
        if self.denies or not await self._figures.write(tenant_id, replace(write, fence=0)):
            return False
        self.writes.append(write)
        return True

    async def read_log(self, tenant_id: str, after: int, limit: int) -> HistoryPage:
        self.pages.append(after)
        return await self._figures.read_log(tenant_id, after, limit)


class World:
    """A memory store and the folds of a process."""

    def __init__(self, plan: Plan = ON, **limits: Any) -> None:
        self.clock = SteppingClock()
        self.broker = MemoryBroker(self.clock, **limits)
        self.store = ScriptedFigures(self)
        self.plan = CurrentPlan(plan)
        self.parts: list[Recorder] = []
        self.poison: int | None = None
        self.hold: int | None = None
        self.stopping: Deferred[None] | None = None
        self.calls = 0
        self.retained: list[str] = []
        self.figures = self._figures()
        run(self.broker.start(lambda publications: self.figures.deliver(publications)))

    def _figures(self) -> Figures:
        context = FoldContext(store=self.store, broker=self.broker, clock=self.clock, counters=FigureCounters())
        return Figures(
            context,
            self.plan,
            self._parts_of,
            spawn,
            known_tenants=self._known,
            retain=self._retain,
            release=self._release,
        )

    async def _known(self) -> Sequence[str]:
        return [ACME] if self.broker.figures._history(ACME) else []

    def _parts_of(self, _tenant_id: str, _plan: TenantPlan) -> Sequence[Recorder]:
        self.parts.append(Recorder(self))
        return [self.parts[-1]]

    def _retain(self, tenant_id: str) -> None:
        self.retained.append(tenant_id)
        self.broker.attach(tenant_id)

    def _release(self, tenant_id: str) -> None:
        self.retained.remove(tenant_id)
        if tenant_id not in self.retained:
            self.broker.detach(tenant_id)

    def start(self) -> None:
        self.figures.start()
        self.clock.advance(1.2)

    def restart(self, *, kill: bool = False) -> None:
        """End the folds and begin them again, as a new process would."""
        if kill:
            self.figures._timer.cancel()
            for holder in self.figures._holders.values():
                holder._flight.stop()
        else:
            self.stop()
        self.figures = self._figures()
        self.start()

    def stop(self) -> None:
        done: list[None] = []

        async def stop() -> None:
            await self.figures.stop()
            done.append(None)

        spawn(stop())
        for _ in range(100):
            self.clock.turn()
        assert done

    def publish(self, count: int = 1, *, apart: float = 0.0) -> None:
        """Publish the beginning of calls."""
        for _ in range(count):
            self.calls += 1
            payload = {"unique_id": f"c-{self.calls}", "queue_name": f"q{self.calls % 3}"}
            run(
                self.broker.publish(
                    [
                        event(
                            "queue.joined",
                            payload,
                            event_id=f"e-{self.calls}",
                            now=self.clock.time(),
                            received_at=self.clock.monotonic(),
                        )
                    ]
                )
            )
            if apart:
                self.clock.advance(apart)

    def expected(self) -> State:
        """Return the fold of the whole log."""
        page = run(self.broker.figures.read_log(ACME, 0, 1_000_000))
        state = State()
        for publication in page.publications:
            apply_publication(state, publication, publication.event.received_ms)
        return state

    def written(self) -> State:
        """Return the state in the rows of the store."""
        return load([row for row in self.rows() if row[0].kind not in ("recorder", "runner")])

    def rows(self) -> Sequence[tuple[RowKey, bytes]]:
        checkpoint = run(self.broker.figures.load(ACME, 0))
        assert checkpoint is not None
        return checkpoint.rows

    def progress(self) -> Progress:
        return msgspec.msgpack.decode(dict(self.rows())[RUNNER], type=Progress)

    def check(self) -> None:
        """Compare the rows with a fold of the whole log."""
        written, expected = self.written(), self.expected()
        assert written.seq == expected.seq == self.calls
        assert figures_of(written) == figures_of(expected)


def figures_of(state: State) -> Any:
    return {
        "queues": {name: (queue.series.days, queue.waiting) for name, queue in state.queues.items()},
        "calls": sorted(state.calls),
        "tenant": state.tenant.days,
        "clock": state.clock,
    }


@pytest.fixture
def world() -> World:
    return World()


def test_rows_and_position_follow_what_is_published(world: World) -> None:
    world.start()
    world.publish(7)
    world.clock.advance(1.1)
    world.check()
    (part,) = world.parts
    assert part.calls == ["load", "start 0"]
    assert part.seqs == list(range(1, 8))
    assert dict(world.rows())[PART_ROW] == b"7"
    assert [figure.key for figure in run(world.broker.figures.live(ACME))]
    count = len(world.store.writes)
    world.clock.advance(30)
    assert len(world.store.writes) <= count + 30
    assert world.figures.counters.held == 1
    assert world.figures.counters.behind == 0


@pytest.mark.parametrize("kill", [False, True])
def test_a_disposition_is_replaced_after_another_process_has_taken_over(world: World, kill: bool) -> None:
    def dispose(code: str) -> None:
        world.calls += 1
        fields = {"call_id": "c-1", "queue_name": "q1", "code": code, "note": "a secret"}
        stamped = {"now": world.clock.time(), "received_at": world.clock.monotonic(), "event_id": f"e-{world.calls}"}
        run(world.broker.publish([event("call.disposition", fields, **stamped)]))
        world.clock.advance(1.1)

    def shown() -> Any:
        live = {figure.key: figure.message for figure in run(world.broker.figures.live(ACME))}
        assert b"a secret" not in b"".join(live.values())
        payload = msgspec.json.decode(live["queue.stats:q1"])["payload"]
        return [payload[window]["dispositions"] for window in ("today", "last_30m", "interval")]

    world.start()
    dispose("sale")
    assert shown() == [{"sale": 1}] * 3
    world.restart(kill=kill)
    dispose("callback")
    assert shown() == [{"callback": 1}] * 3
    world.check()


def test_catches_up_in_pages_and_becomes_current_only_then(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tenant_fold, "PAGE", 10)
    monkeypatch.setattr(tenant_fold, "MAX_UNWRITTEN", 20)
    world.publish(45)
    waiting = {"state": "waiting", "epoch": None, "seq": None, "behind": 0}
    assert world.figures.state_of(ACME) == waiting
    world.figures.start()
    while not world.parts or not world.parts[0].seqs:
        assert world.clock.step()
    assert world.parts[0].calls == ["load"]
    epoch = run(world.broker.position(ACME)).epoch
    assert world.figures.state_of(ACME) == {"state": "catching_up", "epoch": epoch, "seq": 10, "behind": 35}
    assert world.figures.state() == {
        "tenants": {"waiting": 0, "catching_up": 1, "current": 0, "unreadable": 0},
        "behind": 35,
    }
    world.clock.advance(1.1)
    assert world.figures.state_of(ACME) == {"state": "current", "epoch": epoch, "seq": 45, "behind": 0}
    world.check()
    assert world.store.pages == [0, 10, 20, 30, 40]
    assert world.parts[0].calls == ["load", "start 0"]
    assert [write.position.seq for write in world.store.writes][:2] == [20, 40]
    assert not [write.live for write in world.store.writes[:2] if write.live]


def test_deliveries_beyond_the_queue_are_read_from_the_log(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "MAX_WAITING", 5)
    world.start()
    world.publish()
    world.clock.advance(1.1)
    world.store.pages.clear()
    world.publish(30)
    holder = world.figures._holders[ACME]
    assert len(holder._fold._waiting) == 5
    world.clock.advance(1.1)
    world.check()
    assert world.store.pages
    assert world.parts[0].seqs == list(range(1, 32))


def test_the_queue_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    publication = Publication(event("queue.joined"), 1)
    monkeypatch.setattr(waiting, "MAX_WAITING_BYTES", 3 * publication.memory)
    queue = waiting.Waiting(waiting.WaitingBytes())
    queue.extend([Publication(publication.event, seq) for seq in range(1, 10)])
    assert (len(queue), queue.last) == (3, 3)
    assert queue.has(2)
    assert [one.seq for one in queue.take(2, 1)] == [2]
    queue.extend([Publication(publication.event, 10)])
    assert (len(queue), queue.last) == (2, 10)
    queue.clear()
    queue.extend([Publication(publication.event, seq) for seq in range(11, 20)])
    assert len(queue) == 3


def test_the_queues_of_all_tenants_are_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    publications = [Publication(event("queue.joined"), seq) for seq in range(1, 10)]
    size = publications[0].memory
    monkeypatch.setattr(waiting, "MAX_WAITING_BYTES_OF_ALL", 5 * size)
    of_all = waiting.WaitingBytes()
    one, other = waiting.Waiting(of_all), waiting.Waiting(of_all)
    one.extend(publications[:3])
    other.extend(publications)
    assert (len(one), len(other), of_all.used) == (3, 2, 5 * size)
    one.extend(publications[3:])
    assert len(one) == 3
    assert other.has(2)
    assert len(one.take(1, 2)) == 2
    one.extend([Publication(publications[0].event, seq) for seq in range(20, 30)])
    assert (len(one), len(other), of_all.used) == (4, 1, 5 * size)
    one.clear()
    one.clear()
    assert of_all.used == size
    other.extend(publications[2:])
    assert (len(other), of_all.used) == (5, 5 * size)


@pytest.mark.parametrize("is_lost", [False, True], ids=["stopped", "lost"])
def test_a_fold_that_ends_leaves_its_room_to_others(world: World, is_lost: bool) -> None:
    world.start()
    world.publish()
    world.clock.advance(1.1)
    of_all = world.figures._context.waiting
    assert of_all.used == 0
    world.publish(5)
    assert of_all.used > 0
    if is_lost:
        world.store.claim_answer = FigureClaim(1, is_held=False)
        run(world.figures._holders[ACME].claim())
        world.clock.turn()
        assert world.figures._holders[ACME]._fold is None
    else:
        world.stop()
    assert of_all.used == 0


@pytest.mark.logs_errors
def test_trimmed_events_are_a_gap_that_is_shown() -> None:
    world = World(memory_events=10)
    with capturedLogs() as logs:
        world.publish(25)
        floor = run(world.broker.figures.oldest_in_log(ACME))
        assert floor
        world.start()
        # A fold that began with the oldest event lacks those before it.
        assert world.progress().incomplete_since is not None
        world.stop()
        # While nothing folds and nothing is held, more is trimmed.
        world.broker.figures.holds.clear()
        world.publish(30)
        world.figures = world._figures()
        world.start()
    assert world.figures.counters.gaps == 1
    (line,) = [one for one in logs if "lack the events" in one["log_format"]]
    assert (line["first"], line["last"]) == (26, run(world.broker.figures.oldest_in_log(ACME)))
    assert world.written().seq == 55


@pytest.mark.logs_errors
def test_a_gap_of_a_complete_fold_is_incomplete_since_its_last_event() -> None:
    world = World(memory_events=10)
    world.start()
    world.publish(5)
    world.clock.advance(1.1)
    assert world.progress().incomplete_since is None
    last = world.written().clock
    world.stop()
    world.broker.figures.holds.clear()
    world.publish(30)
    world.figures = world._figures()
    world.start()
    assert world.progress().incomplete_since == last


def test_another_epoch_keeps_days_and_loses_what_was_true(world: World) -> None:
    world.start()
    world.publish(4)
    world.clock.advance(1.1)
    rows, former = world.rows(), world.written()
    checkpoint = run(world.broker.figures.load(ACME, 0))
    other = World()
    other.store._figures._tenants.clear()
    other.publish(2)
    # The rows came from a store whose history was lost.
    run(other.broker.figures.write(ACME, FigureWrite(0, None, _position(other, 0), 0, dict(rows))))
    other.broker.figures._tenants[ACME].position = checkpoint.position
    other.start()
    state = other.written()
    assert (state.seq, sorted(state.calls)) == (2, ["c-1", "c-2"])
    assert other.progress().incomplete_since == former.clock
    offered = [
        sum(sum(bucket.values) for day in q.series.days.values() for bucket in day.values())
        for q in state.queues.values()
    ]
    before = [
        sum(sum(bucket.values) for day in q.series.days.values() for bucket in day.values())
        for q in former.queues.values()
    ]
    assert sum(offered) > sum(before) > 0


def test_another_epoch_of_the_same_log_counts_no_event_twice(world: World) -> None:
    """A Redis that has lost its newest events, with the rows of their position, goes on in another epoch."""
    world.start()
    world.publish(4)
    world.clock.advance(1.1)
    world.stop()
    clock, rows = world.written().clock, world.rows()
    world.broker._epoch = world.broker.figures._epoch = "another"
    written = FigurePosition("former", 4)
    world.broker.figures._tenants[ACME].position = written
    world.store.loads = lambda: FigureCheckpoint(written, rows, common=5)
    world.publish(3)
    world.figures = world._figures()
    world.start()
    world.store.loads = None
    world.check()
    assert len(world.written().calls) == 7
    assert world.progress().incomplete_since == clock


def _position(world: World, seq: int) -> Any:
    return FigurePosition(world.broker._epoch, seq)


def test_history_that_is_lost_below_the_fold_drops_it(world: World) -> None:
    world.start()
    world.publish(3)
    world.clock.advance(1.1)
    world.figures._holders[ACME]._fold._state.seq = 9
    world.figures.interrupted(ACME, run(world.broker.position(ACME)))
    world.clock.advance(2)
    assert [part.calls[-1] for part in world.parts] == ["stop", "start 0"]
    world.publish()
    world.clock.advance(1.1)
    world.check()


@pytest.mark.logs_errors
@pytest.mark.parametrize("held", [True, False])
def test_a_store_that_has_lost_everything_is_no_new_tenant(world: World, held: bool) -> None:
    world.start()
    world.publish(3)
    world.clock.advance(1.1)
    last = world.written().clock
    if not held:
        world.store.claim_answer = FigureClaim(0, is_held=False)
        world.clock.advance(4)
        assert world.figures.state_of(ACME)["state"] == "waiting"
        world.publish()
        world.clock.advance(1.1)
        last = world.expected().clock
    # Another store, as it is after it was emptied: with positions from 1 again.
    world.broker._epoch = world.broker.figures._epoch = "another"
    world.broker._tenants.clear()
    world.broker.figures._tenants.clear()
    world.calls = 0
    world.figures.interrupted(ACME, run(world.broker.position(ACME)))
    world.publish(2)
    world.store.claim_answer = FigureClaim(0, is_held=True)
    with capturedLogs() as logs:
        world.clock.advance(5)
    world.check()
    assert world.progress().incomplete_since == last
    assert [line["log_format"] for line in logs if line["log_level"].name == "error"] == [
        "the statistics of tenant {tenant} begin again: the store has lost its events and figures"
    ]
    world.clock.advance(5)
    world.restart(kill=True)
    assert world.progress().incomplete_since == last


def test_a_deposed_fold_stops_and_another_claim_begins_it_again(world: World) -> None:
    world.start()
    world.publish(3)
    world.clock.advance(1.1)
    world.store.claim_answer = FigureClaim(5, is_held=False)
    world.store.denies = True
    world.publish(2)
    world.clock.advance(5)
    assert world.parts[0].calls == ["load", "start 0", "stop"]
    assert world.figures.state_of(ACME) == {"state": "waiting", "epoch": None, "seq": None, "behind": 0}
    counters = world.figures.counters
    assert (len(world.parts), counters.held, counters.deposed) == (1, 0, 1)
    world.store.denies = False
    world.store.claim_answer = FigureClaim(6, is_held=True)
    world.clock.advance(5)
    assert world.parts[1].calls == ["load", "start 6"]
    assert world.parts[1].loaded == b"3"
    assert world.parts[1].seqs == [4, 5]
    assert counters.held == 1
    world.check()


def test_a_write_that_is_always_denied_is_repeated_with_growing_pauses(world: World) -> None:
    world.start()
    world.publish()
    world.clock.advance(1.1)
    world.store.denies = True
    world.publish()
    world.clock.advance(60)
    assert 5 < len(world.parts) < 65
    world.store.denies = False
    world.clock.advance(12)
    world.check()
    assert world.figures.counters.held == 1


def test_failed_writes_are_repeated_with_all_rows(world: World) -> None:
    world.start()
    world.publish(3)
    world.clock.advance(1.1)
    world.store.fails = True
    for _ in range(4):
        world.publish(2)
        world.clock.advance(1.1)
    assert world.figures.counters.failed_writes >= 4
    world.store.fails = False
    world.clock.advance(15)
    world.check()
    assert world.store.writes[-1].live or world.store.writes[-2].live
    assert [part.calls for part in world.parts] == [["load", "start 0"]]
    assert dict(world.rows())[PART_ROW] == b"11"


@pytest.mark.logs_errors
def test_a_bug_in_a_part_loads_the_fold_again(world: World) -> None:
    world.start()
    world.publish(3)
    world.clock.advance(1.1)
    world.poison = 5
    with capturedLogs() as logs:
        world.publish(4)
        world.clock.advance(2.5)
    assert [one["log_format"] for one in logs if "log_failure" in one] == [
        "unhandled error in the statistics of tenant {tenant}"
    ]
    assert [part.calls for part in world.parts] == [["load", "start 0", "stop"], ["load", "start 0"]]
    assert world.parts[1].seqs == [4, 5, 6, 7]
    world.check()
    assert world.figures.counters.held == 1


@pytest.mark.logs_errors
def test_rows_of_another_version_are_left_alone_and_given_back(world: World) -> None:
    world.start()
    world.publish(3)
    world.clock.advance(1.1)
    rows = world.rows()
    world.stop()
    world.store.released.clear()

    def unreadable() -> FigureCheckpoint:
        checkpoint = run(world.broker.figures.load(ACME, 0))
        return FigureCheckpoint(checkpoint.position, [(key, b"\x91\xcd\xff\xff") for key, _ in rows])

    world.store.loads = unreadable
    world.figures = world._figures()
    with capturedLogs() as logs:
        world.start()
        world.clock.advance(20)
    assert len([one for one in logs if "cannot be read" in one["log_format"]]) == 1
    assert world.store.released == [0]
    assert world.rows() == rows
    assert world.figures.counters.held == 0
    assert world.figures.state_of(ACME) == {"state": "unreadable", "epoch": None, "seq": None, "behind": 0}


@pytest.mark.parametrize("kill", [False, True], ids=["stop", "kill"])
def test_each_second_is_evaluated_once_and_in_order_over_a_restart(world: World, kill: bool) -> None:
    world.start()
    for _ in range(5):
        world.publish(2, apart=0.35)
        world.clock.advance(1.7)
    world.restart(kill=kill)
    world.publish(1)
    world.clock.advance(3)
    first, second = (part.seconds for part in world.parts)
    assert first == list(range(first[0], first[-1] + 1))
    assert second == list(range(second[0], second[-1] + 1))
    # What was evaluated after the last write is evaluated again, with the same state.
    assert second[0] <= first[-1] + 1
    assert second[-1] >= int(world.clock.time()) - 1
    world.check()


def test_seconds_of_a_pause_are_evaluated_in_slices_up_to_a_bound(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.start()
    world.publish()
    world.clock.advance(1.1)
    world.stop()
    last = world.parts[0].seconds[-1]
    world.clock.advance(tenant_fold.MAX_SECONDS + 500)
    now = int(world.clock.time())
    world.figures = world._figures()
    monkeypatch.setattr(fold_turn, "SECONDS_PER_TURN", 0)
    world.figures.start()
    world.clock.freeze(1)
    while len(world.parts) < 2 or not world.parts[1].seconds:
        assert world.clock.step()
    assert len(world.parts[1].seconds) < 10, "a turn does not evaluate all"
    world.clock.advance(3)
    seconds = world.parts[1].seconds
    assert seconds == list(range(seconds[0], seconds[-1] + 1))
    assert last < now - tenant_fold.MAX_SECONDS <= seconds[0] + 2 <= now
    assert len(seconds) < tenant_fold.MAX_SECONDS + 10


def test_stop_does_not_wait_until_the_fold_has_caught_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tenant_fold, "PAGE", 1)
    world.publish(300)
    world.figures.start()
    while not world.parts or not world.parts[0].seqs:
        assert world.clock.step()
    world.stop()
    assert len(world.parts[0].seqs) < 100
    assert world.parts[0].calls == ["load", "stop"]
    assert world.figures.counters.held == 0
    world.figures = world._figures()
    world.start()
    world.clock.advance(5)
    world.check()


def test_stop_writes_what_changed_and_gives_back(world: World) -> None:
    world.start()
    world.publish(3)
    world.clock.turn(20)
    world.stop()
    world.check()
    assert world.parts[0].calls == ["load", "start 0", "stop"]
    assert world.store.released == [0]


def test_the_hold_of_a_part_is_that_of_the_log(world: World) -> None:
    world.start()
    world.publish(6)
    world.hold = 4
    world.clock.advance(1.1)
    assert world.store.writes[-1].hold == 4
    world.hold = 99
    world.publish()
    world.clock.advance(1.1)
    assert world.store.writes[-1].hold == 7, "never above the position"


def test_a_changed_plan_begins_the_fold_again_without_a_gap(world: World) -> None:
    world.start()
    world.publish(3)
    world.clock.turn(5)
    world.figures.use(Plan(default=TenantPlan(interval_minutes=30)))
    world.publish(3)
    world.clock.advance(3)
    assert [part.calls for part in world.parts] == [["load", "start 0", "stop"], ["load", "start 0"]]
    world.check()
    assert (world.retained, world.figures.counters.held) == ([ACME], 1)


def test_many_tenants_are_claimed_and_written_in_slices(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "TICKED_PER_TURN", 2)
    monkeypatch.setattr(service, "CLAIMED_AT_ONCE", 2)
    names = [f"tenant-{number}" for number in range(7)]
    world.plan.plan = Plan(tenants=dict.fromkeys(names, TenantPlan()))
    world.start()
    assert world.figures.state()["tenants"]["current"] == 7
    ticked: list[str] = []
    monkeypatch.setattr(TenantHolder, "tick", lambda holder: ticked.append(holder.tenant_id))
    world.figures._tick()
    assert ticked == names[:2]
    world.figures._tick()
    assert ticked == names[:2], "those that are due come first"
    assert world.clock.step()
    assert ticked == names[:4]
    world.clock.turn()
    assert ticked == names
    world.figures._tick()
    assert ticked[7:] == names[:2]


class SlowClaims:
    """The claims in a store that a test answers."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._waiting: list[tuple[str, Deferred[FigureClaim]]] = []
        world.store.claim = self._claim

    async def _claim(self, tenant_id: str) -> FigureClaim:
        self._waiting.append((tenant_id, Deferred()))
        return await self._waiting[-1][1]

    def answer(self, *, is_held: bool = True, refuses: str = "") -> list[str]:
        """Answer the claims that are under way, and return their tenants."""
        answered, self._waiting = self._waiting, []
        for name, claim in answered:
            if name == refuses:
                claim.errback(Refusal(ErrorCode.UNAVAILABLE, "slow"))
            else:
                claim.callback(FigureClaim(0, is_held=is_held))
        self._world.clock.turn()
        return [name for name, _ in answered]


@pytest.fixture
def claims(world: World, monkeypatch: pytest.MonkeyPatch) -> SlowClaims:
    """Claims of the tenants 0 to 6, of which 0 is claimed and three are claimed at once."""
    monkeypatch.setattr(service, "CLAIMED_AT_ONCE", 3)
    world.plan.plan = Plan(tenants={str(number): TenantPlan() for number in range(7)})
    claims = SlowClaims(world)
    world.start()
    # The round that the first tenant has begun, then that for all tenants.
    assert claims.answer() == ["0"]
    assert claims.answer() == ["0"]
    return claims


def test_some_tenants_are_claimed_at_the_same_time(world: World, claims: SlowClaims) -> None:
    assert claims.answer() == ["1", "2", "3"]
    assert claims.answer() == ["4", "5", "6"]
    assert claims.answer() == []
    world.clock.advance(3)
    assert claims.answer() == ["0", "1", "2"]
    assert claims.answer(refuses="4") == ["3", "4", "5"]
    assert claims.answer() == [], "the store cannot be reached"
    world.clock.advance(3)
    assert [claims.answer() for _ in range(4)] == [["0", "1", "2"], ["3", "4", "5"], ["6"], []]


def test_claims_that_are_under_way_do_not_exceed_the_share(world: World, claims: SlowClaims) -> None:
    assert claims.answer(is_held=False) == ["1", "2", "3"]
    assert claims.answer() == ["4", "5", "6"]
    world.figures._live_processes = lambda: 2
    world.clock.advance(3)
    assert [claims.answer() for _ in range(2)] == [["0", "4", "5"], ["6"]]
    assert claims.answer(is_held=False) == ["1"], "there is room for one"
    assert claims.answer() == ["2"]
    assert claims.answer() == []


def test_claims_are_extended_before_a_long_search_goes_on(world: World, claims: SlowClaims) -> None:
    world.clock.freeze(3)
    assert claims.answer(is_held=False) == ["1", "2", "3"]
    world.clock.advance(3)
    assert claims.answer() == ["0"]
    assert claims.answer(is_held=False) == ["4", "5", "6"]
    assert claims.answer(is_held=False) == ["1", "2", "3"]
    world.clock.advance(3)
    assert claims.answer() == ["0"]
    assert claims.answer() == ["1", "2", "3"]
    assert claims.answer() == ["4", "5", "6"]


def test_a_fold_with_a_changed_plan_begins_only_when_the_former_has_ended(world: World) -> None:
    world.start()
    world.publish(3)
    world.clock.advance(1.1)
    world.stopping = Deferred()
    world.figures.use(Plan(default=TenantPlan(interval_minutes=30)))
    world.publish(3)
    world.clock.advance(40)
    assert [part.calls for part in world.parts] == [["load", "start 0", "stop"]]
    assert world.store.released == []
    assert world.figures.state_of(ACME)["state"] == "waiting"
    stopping, world.stopping = world.stopping, None
    stopping.callback(None)
    world.clock.advance(3)
    assert [part.calls for part in world.parts] == [["load", "start 0", "stop"], ["load", "start 0"]]
    assert world.store.released == [0]
    world.check()
    assert (world.retained, world.figures.counters.held) == ([ACME], 1)


def test_live_figures_are_removed_only_when_the_former_fold_has_ended(world: World) -> None:
    world.start()
    world.publish(3)
    world.clock.advance(1.1)
    world.stopping = Deferred()
    world.figures.use(Plan())
    world.clock.advance(65)
    assert world.store.removed == []
    stopping, world.stopping = world.stopping, None
    stopping.callback(None)
    world.clock.advance(1)
    assert world.store.removed == [ACME]
    assert ACME not in world.broker.figures.holds


def test_statistics_that_are_switched_off_remove_their_live_figures(world: World) -> None:
    world.start()
    world.publish(3)
    world.clock.advance(1.1)
    assert run(world.broker.figures.live(ACME))
    assert ACME in world.broker.figures.holds
    world.figures.use(Plan())
    world.publish(3)
    world.clock.advance(3)
    assert not run(world.broker.figures.live(ACME))
    assert ACME not in world.broker.figures.holds
    assert (world.store.removed, world.retained, world.figures.counters.held) == ([ACME], [], 0)
    world.clock.advance(65)
    assert world.store.removed == [ACME], "once"
    world.figures.use(ON)
    world.clock.advance(3)
    world.check()


def test_a_stop_right_after_a_changed_plan_ends_the_former_folds(world: World) -> None:
    world.start()
    world.publish(3)
    world.clock.turn(20)
    world.figures.use(Plan())
    world.stop()
    assert world.parts[0].calls == ["load", "start 0", "stop"]
    world.check()


def test_without_statistics_nothing_is_folded_or_written() -> None:
    world = World(Plan())
    world.start()
    world.publish(3)
    world.clock.advance(40)
    assert not world.parts
    assert not world.retained
    assert run(world.broker.figures.load(ACME, 0)) is None
