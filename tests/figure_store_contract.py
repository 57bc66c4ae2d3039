"""The tests that every implementation of ``statistics.store.FigureStore`` passes.

The test module of a store provides a fixture ``bench``, a started Bench (``broker_contract``), and derives from
``FigureContract`` and ``HoldContract``, and from ``DurableFigureContract`` if its rows survive the process.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import pytest
import pytest_twisted
from broker_contract import DEADLINE, A, B, Bench
from twisted.internet import reactor, task
from twisted.internet.defer import Deferred

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.event import Event, Origin, StoreCondition
from callcenter_ws.interfaces import PublishResult
from callcenter_ws.statistics.checkpoint import NO_DAY, RowKey
from callcenter_ws.statistics.store import FigureClaim, FigurePosition, FigureWrite, LiveFigure

FOLD = RowKey("fold", "", NO_DAY)
CALL = RowKey("call", "c-1", NO_DAY)
DAY = 20_000


def day_of(name: str, day: int = DAY, kind: str = "queue-day") -> RowKey:
    return RowKey(kind, name, day)


class Writer:
    """One that folds a tenant: it has a claim, and knows the position of its last write."""

    def __init__(self, bench: Bench, tenant_id: str, claim: FigureClaim) -> None:
        self.bench = bench
        self.tenant_id = tenant_id
        self.fence = claim.fence
        self.after: FigurePosition | None = None

    @classmethod
    async def of(cls, bench: Bench, tenant_id: str = A) -> Writer:
        """Return one that has taken the tenant, and continues where the store is."""
        claim = await bench.figures.claim(tenant_id)
        assert claim.is_held
        writer = cls(bench, tenant_id, claim)
        found = await bench.figures.load(tenant_id, 0)
        writer.after = None if found is None else found.position
        return writer

    async def write(
        self,
        rows: Mapping[RowKey, bytes | None],
        *,
        seq: int | None = None,
        hold: int | None = None,
        live: Sequence[LiveFigure] = (),
    ) -> FigurePosition:
        """Write rows at a position, the head of the stream if none is given; the store must take them."""
        head = await self.bench.broker.position(self.tenant_id)
        position = FigurePosition(head.epoch, head.seq if seq is None else seq)
        hold = position.seq if hold is None else hold
        write = FigureWrite(self.fence, self.after, position, hold, dict(rows), live)
        assert await self.bench.figures.write(self.tenant_id, write)
        self.after = position
        return position


async def stored(bench: Bench, tenant_id: str = A, since_day: int = 0) -> dict[RowKey, bytes]:
    """Return the rows that a fold would begin with."""
    found = await bench.figures.load(tenant_id, since_day)
    assert found is not None
    rows = dict(found.rows)
    assert len(rows) == len(found.rows)
    return rows


async def days(
    bench: Bench, kind: str, names: Sequence[str] | None, first: int, last: int, limit: int = 100
) -> dict[RowKey, bytes]:
    """Return rows of sums."""
    return dict(await bench.figures.days(A, kind, names, first, last, limit))


async def live(bench: Bench, tenant_id: str = A) -> dict[str, bytes]:
    """Return the live figures."""
    return {figure.key: figure.message for figure in await bench.figures.live(tenant_id)}


class FigureContract:
    """Rows, live figures and claims."""

    @pytest_twisted.ensureDeferred
    async def test_nothing_is_there_before_the_first_write(self, bench: Bench) -> None:
        assert await bench.figures.load(A, 0) is None
        assert await bench.figures.head(A, ["fold"]) is None
        assert not await days(bench, "queue-day", None, 0, DAY)
        assert not await live(bench)
        assert A not in await bench.figures.tenants()
        await bench.figures.forget_days(A, DAY)
        await bench.figures.remove_live(A)

    @pytest_twisted.ensureDeferred
    async def test_rows_are_found_with_their_position(self, bench: Bench) -> None:
        await bench.alerts(3)
        writer = await Writer.of(bench)
        rows = {FOLD: b"\x00\xff", CALL: b"call", day_of("a"): b"a", day_of("", kind="tenant-day"): b"t"}
        position = await writer.write(rows)
        found = await bench.figures.load(A, 0)
        assert found is not None
        assert found.position == position == FigurePosition(position.epoch, 3)
        assert dict(found.rows) == rows
        assert await bench.figures.tenants() == [A]
        assert await bench.figures.load(B, 0) is None

    @pytest_twisted.ensureDeferred
    async def test_later_rows_replace_earlier_ones_and_none_deletes(self, bench: Bench) -> None:
        writer = await Writer.of(bench)
        await writer.write({FOLD: b"1", CALL: b"call", day_of("a"): b"a"})
        await bench.alerts(1)
        await writer.write({FOLD: b"2", CALL: None, day_of("b"): b"b", day_of("unknown"): None})
        assert await stored(bench) == {FOLD: b"2", day_of("a"): b"a", day_of("b"): b"b"}
        await writer.write({day_of("a"): None})
        await writer.write({CALL: b"again"})
        assert await stored(bench) == {FOLD: b"2", day_of("b"): b"b", CALL: b"again"}

    @pytest_twisted.ensureDeferred
    async def test_any_name_may_be_that_of_a_row(self, bench: Bench) -> None:
        names = ["", "a", "a:b", "ä\n\"'%*?[", "a\x00b", "a\x00", "😀", "x" * 255, "1", "01", "!pos"]
        writer = await Writer.of(bench)
        rows = {day_of(name): name.encode() for name in names}
        await writer.write({**rows, **{RowKey("call", name, NO_DAY): b"c" for name in names}})
        assert await days(bench, "queue-day", names, DAY, DAY) == rows
        for name in names:
            assert await days(bench, "queue-day", [name], DAY, DAY) == {day_of(name): name.encode()}
        removed = names[::2]
        await writer.write({day_of(name): None for name in removed})
        left = {day_of(name): name.encode() for name in names[1::2]}
        assert await days(bench, "queue-day", None, DAY, DAY) == left
        assert len(await stored(bench)) == len(left) + len(names)

    @pytest_twisted.ensureDeferred
    async def test_a_fold_begins_with_recent_days_only(self, bench: Bench) -> None:
        writer = await Writer.of(bench)
        await writer.write({FOLD: b"f", **{day_of("a", DAY - age): b"%d" % age for age in range(5)}})
        assert await stored(bench, since_day=DAY - 1) == {FOLD: b"f", day_of("a"): b"0", day_of("a", DAY - 1): b"1"}

    @pytest_twisted.ensureDeferred
    async def test_days_are_selected_by_kind_name_and_day(self, bench: Bench) -> None:
        writer = await Writer.of(bench)
        rows = {
            day_of(name, DAY - age, kind): f"{kind} {name} {age}".encode()
            for name in "abc"
            for age in range(4)
            for kind in ("queue-day", "agent-day")
        }
        await writer.write({FOLD: b"f", RowKey("queue", "a", NO_DAY): b"q", **rows})
        assert await days(bench, "queue-day", None, 0, 2**31) == {
            key: value for key, value in rows.items() if key.kind == "queue-day"
        }
        chosen = {
            key: value
            for key, value in rows.items()
            if key.kind == "agent-day" and key.name in "ac" and DAY - 2 <= key.day <= DAY - 1
        }
        assert len(chosen) == 4
        assert await days(bench, "agent-day", ["a", "c", "unknown", "a"], DAY - 2, DAY - 1) == chosen
        assert not await days(bench, "agent-day", [], DAY - 2, DAY)
        assert not await days(bench, "agent-day", None, DAY, DAY - 1)
        assert not await days(bench, "tenant-day", None, 0, DAY)

    @pytest_twisted.ensureDeferred
    async def test_too_many_days_are_refused(self, bench: Bench) -> None:
        writer = await Writer.of(bench)
        await writer.write({day_of(str(number)): b"r" for number in range(10)})
        assert len(await days(bench, "queue-day", None, DAY, DAY, limit=10)) == 10
        with pytest.raises(Refusal) as refused:
            await days(bench, "queue-day", None, DAY, DAY, limit=9)
        assert refused.value.code is ErrorCode.TOO_LARGE

    @pytest_twisted.ensureDeferred
    async def test_the_head_has_rows_of_the_kinds_that_were_asked_for(self, bench: Bench) -> None:
        writer = await Writer.of(bench)
        queue = RowKey("queue", "a", NO_DAY)
        position = await writer.write({FOLD: b"f", CALL: b"c", queue: b"q", day_of("a"): b"d"})
        found = await bench.figures.head(A, ["fold", "queue", "queue-day"])
        assert found is not None
        assert found.position == position
        assert dict(found.rows) == {FOLD: b"f", queue: b"q"}
        none = await bench.figures.head(A, [])
        assert none is not None
        assert list(none.rows) == []

    @pytest_twisted.ensureDeferred
    async def test_old_days_are_forgotten_and_nothing_else(self, bench: Bench) -> None:
        writer = await Writer.of(bench)
        old = {day_of(str(number), DAY - 9): b"old" for number in range(1_200)}
        await writer.write({FOLD: b"f", CALL: b"c", day_of("a"): b"a", **old})
        other = await Writer.of(bench, B)
        await other.write({day_of("a", DAY - 9): b"other"})
        await bench.figures.forget_days(A, DAY)
        assert await stored(bench) == {FOLD: b"f", CALL: b"c", day_of("a"): b"a"}
        assert await stored(bench, B) == {day_of("a", DAY - 9): b"other"}

    @pytest_twisted.ensureDeferred
    async def test_days_are_forgotten_also_if_nothing_was_written_since(self, bench: Bench) -> None:
        writer = await Writer.of(bench)
        await writer.write({day_of("a"): b"a"})
        done: list[None] = []
        for number in range(3):
            Deferred.fromCoroutine(bench.figures.forget_days(A, DAY)).addCallback(done.append)
            await bench.until(lambda number=number: len(done) > number)
        assert await days(bench, "queue-day", None, 0, DAY) == {day_of("a"): b"a"}

    @pytest_twisted.ensureDeferred
    async def test_a_write_after_another_position_than_the_stores_is_refused(self, bench: Bench) -> None:
        await bench.alerts(5)
        writer = await Writer.of(bench)
        first = await writer.write({FOLD: b"1"}, seq=2)
        for after in (None, FigurePosition(first.epoch, 1), FigurePosition("other", 2)):
            write = FigureWrite(writer.fence, after, FigurePosition(first.epoch, 5), 5, {FOLD: b"2"})
            assert not await bench.figures.write(A, write)
        assert await stored(bench) == {FOLD: b"1"}
        fresh = FigureWrite(writer.fence, first, FigurePosition(first.epoch, 5), 5, {FOLD: b"2"})
        assert not await bench.figures.write(B, fresh)
        assert await bench.figures.load(B, 0) is None
        assert await bench.figures.write(A, fresh)
        assert await stored(bench) == {FOLD: b"2"}

    @pytest_twisted.ensureDeferred
    async def test_a_write_of_another_epoch_than_the_stores_is_refused(self, bench: Bench) -> None:
        writer = await Writer.of(bench)
        first = await writer.write({FOLD: b"1"})
        write = FigureWrite(writer.fence, first, FigurePosition("other", 9), 9, {FOLD: b"2"}, [LiveFigure("k", b"{}")])
        assert not await bench.figures.write(A, write)
        assert await stored(bench) == {FOLD: b"1"}
        assert not await live(bench)

    @pytest_twisted.ensureDeferred
    async def test_the_position_may_stay_while_rows_change(self, bench: Bench) -> None:
        writer = await Writer.of(bench)
        for number in range(20):
            await writer.write({FOLD: b"%d" % number, RowKey("call", str(number), NO_DAY): b"c"})
            found = await bench.figures.head(A, ["fold"])
            assert found is not None
            assert dict(found.rows) == {FOLD: b"%d" % number}
        assert len(await stored(bench)) == 21

    @pytest_twisted.ensureDeferred
    async def test_random_writes_and_reads_agree_with_a_dictionary(self, bench: Bench) -> None:
        chance = random.Random(15)
        kinds = {
            "call": [NO_DAY],
            "queue": [NO_DAY],
            "queue-day": range(DAY - 4, DAY),
            "agent-day": range(DAY - 4, DAY),
        }
        writer, model = await Writer.of(bench), dict[RowKey, bytes]()
        await writer.write({})
        for number in range(80):
            rows: dict[RowKey, bytes | None] = {}
            for _ in range(chance.randrange(8)):
                kind = chance.choice([*kinds])
                key = RowKey(kind, chance.choice("abcdef"), chance.choice(kinds[kind]))
                rows[key] = None if chance.random() < 0.4 else b"%d" % number
            await bench.alerts(chance.randrange(3))
            position = await writer.write(rows)
            model = {key: value for key, value in (model | rows).items() if value is not None}
            since, kind, names = (
                chance.randrange(DAY - 5, DAY),
                chance.choice([*kinds]),
                chance.choice([None, "ab", "x"]),
            )
            found = await bench.figures.load(A, since)
            assert found is not None
            assert found.position == position
            assert dict(found.rows) == {k: v for k, v in model.items() if k.day == NO_DAY or k.day >= since}
            assert await days(bench, kind, names, since, DAY - 2) == {
                key: value
                for key, value in model.items()
                if key.kind == kind and since <= key.day <= DAY - 2 and (names is None or key.name in names)
            }

    @pytest_twisted.ensureDeferred
    async def test_claims_of_one_process_are_granted_and_extended(self, bench: Bench) -> None:
        first = await bench.figures.claim(A)
        again = await bench.figures.claim(A)
        assert first == again == FigureClaim(first.fence, is_held=True)
        await bench.figures.release(A, first.fence)
        later = await bench.figures.claim(A)
        assert later.is_held
        assert later.fence >= first.fence

    @pytest_twisted.ensureDeferred
    async def test_a_write_with_a_fence_that_was_never_granted_is_refused(self, bench: Bench) -> None:
        writer = await Writer.of(bench)
        head = await bench.broker.position(A)
        for fence in (writer.fence - 1, writer.fence + 1):
            write = FigureWrite(fence, None, FigurePosition(head.epoch, 0), 0, {FOLD: b"1"})
            assert not await bench.figures.write(A, write)
        assert await bench.figures.load(A, 0) is None

    @pytest_twisted.ensureDeferred
    async def test_live_figures_are_kept_and_announced(self, bench: Bench) -> None:
        bench.listen_to_figures()
        writer = await Writer.of(bench)
        await writer.write({FOLD: b"1"}, live=[LiveFigure("queue.stats:a", b'{"a":1}'), LiveFigure("x:", b"{}")])
        await writer.write({FOLD: b"2"})
        await writer.write({}, live=[LiveFigure("queue.stats:a", b'{"a":2}'), LiveFigure("x:", b"")])
        assert await live(bench) == {"queue.stats:a": b'{"a":2}'}
        assert not await live(bench, B)
        await bench.until(lambda: len([1 for _, changed in bench.announced if changed]) == 2)
        assert [one for one in bench.announced if one[1]] == [
            (A, [LiveFigure("queue.stats:a", b'{"a":1}'), LiveFigure("x:", b"{}")]),
            (A, [LiveFigure("queue.stats:a", b'{"a":2}'), LiveFigure("x:", b"")]),
        ]

    @pytest_twisted.ensureDeferred
    async def test_removing_live_figures_leaves_the_rows(self, bench: Bench) -> None:
        writer = await Writer.of(bench)
        rows = {FOLD: b"1", day_of("a"): b"a"}
        position = await writer.write(rows, live=[LiveFigure("queue.stats:a", b"{}")])
        bench.listen_to_figures()
        await bench.figures.remove_live(A)
        assert not await live(bench)
        await bench.until(lambda: (A, None) in bench.announced)
        found = await bench.figures.load(A, 0)
        assert found is not None
        assert (found.position, dict(found.rows)) == (position, rows)
        later = await Writer.of(bench)
        await later.write({FOLD: b"2"}, live=[LiveFigure("queue.stats:a", b"[]")])
        assert await live(bench) == {"queue.stats:a": b"[]"}

    @pytest_twisted.ensureDeferred
    async def test_events_have_the_received_time_of_the_store(self, bench: Bench) -> None:
        for milliseconds in (1, 234, 999):
            bench.clock.advance(milliseconds / 1_000)
            await bench.alerts(1)
        await bench.until(lambda: len(bench.delivered) == 3)
        times = [publication.event.received_ms for publication in bench.delivered]
        assert times == [1_800_000_000_001, 1_800_000_000_235, 1_800_000_001_234]
        bench.clock.advance(3_600)
        page = await bench.figures.read_log(A, 0, 10)
        assert [publication.event.received_ms for publication in page.publications] == times


def of_agent(bench: Bench, *, entity_seq: int | None = None, state: str = "busy", **fields: str) -> Event:
    """Return an event about an agent, on the condition that the agent's last event has a position."""
    payload = {"user_id": "7", "username": "seven", "state": state}
    event = bench.event("agent.state.changed", payload, **fields)
    event.condition = None if entity_seq is None else StoreCondition(entity_seq=entity_seq)
    return event


async def outcome_of(bench: Bench, entity_seq: int, **fields: str) -> PublishResult | Refusal:
    """Publish an event about an agent on such a condition."""
    [outcome] = await bench.broker.publish([of_agent(bench, entity_seq=entity_seq, **fields)])
    return outcome


class ConditionContract:
    """Conditions of events that the process makes that folds the tenant."""

    @pytest_twisted.ensureDeferred
    async def test_an_event_with_the_fence_of_the_holder_is_accepted(self, bench: Bench) -> None:
        claim = await bench.figures.claim(A)
        event = bench.event()
        event.condition = StoreCondition(fence=claim.fence)
        [result] = await bench.publish(event)
        assert result.seq == 1

    @pytest_twisted.ensureDeferred
    async def test_an_event_is_refused_if_its_entity_has_changed(self, bench: Bench) -> None:
        await bench.publish(bench.event(), of_agent(bench))
        for seq in (0, 1, 3):
            outcome = await outcome_of(bench, seq)
            assert isinstance(outcome, Refusal)
            assert outcome.code is ErrorCode.UNKNOWN_ALERT
        outcome = await outcome_of(bench, 2)
        assert isinstance(outcome, PublishResult)
        assert outcome.seq == 3

    @pytest_twisted.ensureDeferred
    async def test_a_repetition_of_an_accepted_event_is_a_duplicate(self, bench: Bench) -> None:
        await bench.publish(of_agent(bench))
        await outcome_of(bench, 1, event_id="once")
        outcome = await outcome_of(bench, 1, event_id="once")
        assert isinstance(outcome, PublishResult)
        assert (outcome.duplicate, outcome.seq) == (True, 2)

    @pytest_twisted.ensureDeferred
    async def test_of_two_events_on_one_condition_the_first_is_accepted(self, bench: Bench) -> None:
        events = [of_agent(bench, entity_seq=1, state=state) for state in ("busy", "away")]
        outcomes = await bench.broker.publish([of_agent(bench), *events])
        assert [isinstance(outcome, Refusal) for outcome in outcomes] == [False, False, True]

    @pytest_twisted.ensureDeferred
    async def test_an_entity_that_has_ended_is_none(self, bench: Bench) -> None:
        logout = bench.event("agent.logout", {"user_id": "7", "username": "seven"})
        await bench.publish(of_agent(bench), logout)
        for seq in (1, 2):
            assert isinstance(await outcome_of(bench, seq), Refusal)
        assert isinstance(await outcome_of(bench, 0), PublishResult)

    @pytest_twisted.ensureDeferred
    async def test_lasting_entities_are_found(self, bench: Bench) -> None:
        online = bench.event("presence.changed", {"user_id": "7", "online": True}, origin=Origin.GATEWAY)
        [result] = await bench.publish(online)
        [(_, entity)] = await bench.broker.entities(A, "presence")
        assert entity.changed_by == result.seq
        again = bench.event("presence.changed", {"user_id": "7", "online": True}, origin=Origin.GATEWAY)
        again.condition = StoreCondition(entity_seq=result.seq)
        assert isinstance((await bench.broker.publish([again]))[0], PublishResult)


class HoldContract:
    """Trimming of the log: never what is held, within the bounds; and reading what is physically there.

    Stores trim in the background, and some more than one event at a time: the tests use many events, and exact numbers
    only for what must not be removed.
    """

    @staticmethod
    async def settle(bench: Bench) -> None:
        """Let an hour pass, so that every event is too old, and the store remove what it may."""
        for _ in range(3):
            bench.clock.advance(1_200)
            await bench.alerts(1)
            await task.deferLater(reactor, 0.01)

    async def until_trimmed(self, bench: Bench, beyond: int) -> None:
        """Let time pass until events after a position are removed."""
        limit = reactor.seconds() + DEADLINE
        while await bench.figures.oldest_in_log(A) <= beyond:
            assert reactor.seconds() < limit, "the log was not trimmed"
            await self.settle(bench)

    @pytest_twisted.ensureDeferred
    async def test_a_log_of_nothing(self, bench: Bench) -> None:
        assert await bench.figures.oldest_in_log(A) == 0
        page = await bench.figures.read_log(A, 0, 10)
        assert (list(page.publications), page.reachable, page.head) == ([], True, 0)

    @pytest_twisted.ensureDeferred
    async def test_the_log_is_read_in_pages(self, bench: Bench) -> None:
        await bench.alerts(10)
        await bench.until(lambda: len(bench.delivered) == 10)
        page = await bench.figures.read_log(A, 3, 4)
        assert [publication.seq for publication in page.publications] == [4, 5, 6, 7]
        assert (page.reachable, page.head) == (True, 10)
        assert page.epoch == (await bench.broker.position(A)).epoch
        end = await bench.figures.read_log(A, 10, 4)
        assert (list(end.publications), end.reachable, end.head) == ([], True, 10)

    @pytest_twisted.ensureDeferred
    async def test_what_clients_may_not_read_any_more_is_still_read(self, bench: Bench) -> None:
        await bench.open(history_events=5, history_seconds=600)
        writer = await Writer.of(bench)
        await writer.write({FOLD: b"1"}, seq=0)
        await bench.alerts(20)
        assert not (await bench.broker.read(A, 10, 100)).reachable
        bench.clock.advance(601)
        assert not (await bench.broker.read(A, 18, 100)).reachable
        page = await bench.figures.read_log(A, 10, 100)
        assert [publication.seq for publication in page.publications] == [*range(11, 21)]

    @pytest_twisted.ensureDeferred
    async def test_events_above_the_hold_are_not_removed(self, bench: Bench) -> None:
        await bench.open(history_events=10, history_seconds=600)
        writer = await Writer.of(bench)
        await writer.write({FOLD: b"0"}, seq=0)
        await bench.alerts(1_200)
        await self.settle(bench)
        assert await bench.figures.oldest_in_log(A) == 0
        await writer.write({FOLD: b"1"}, seq=1_200, hold=700)
        await self.until_trimmed(bench, 0)
        for _ in range(3):
            await self.settle(bench)
            assert await bench.figures.oldest_in_log(A) <= 700
        page = await bench.figures.read_log(A, 700, 3)
        assert [publication.seq for publication in page.publications] == [701, 702, 703]
        await writer.write({FOLD: b"2"}, seq=1_200, hold=1_200)
        await self.until_trimmed(bench, 700)
        page = await bench.figures.read_log(A, 1_200, 1)
        assert [publication.seq for publication in page.publications] == [1_201]

    @pytest_twisted.ensureDeferred
    async def test_without_a_hold_the_log_is_trimmed(self, bench: Bench) -> None:
        await bench.open(history_events=10, history_seconds=600)
        writer = await Writer.of(bench)
        await writer.write({FOLD: b"0"}, seq=0)
        await bench.alerts(300)
        await self.settle(bench)
        assert await bench.figures.oldest_in_log(A) == 0
        await bench.figures.remove_live(A)
        await self.until_trimmed(bench, 0)
        page = await bench.figures.read_log(A, 0, 10)
        assert (list(page.publications), page.reachable) == ([], False)
        oldest = await bench.figures.oldest_in_log(A)
        page = await bench.figures.read_log(A, oldest, 10)
        assert page.reachable
        assert not page.publications or page.publications[0].seq == oldest + 1

    @pytest.mark.parametrize("limits", [{"unfolded_events": 400}, {"unfolded_bytes": 400 * 30}])
    @pytest_twisted.ensureDeferred
    async def test_the_log_that_is_held_is_bounded(self, bench: Bench, limits: dict[str, int]) -> None:
        bench.unfolded = limits
        await bench.open(history_events=10, history_seconds=600)
        writer = await Writer.of(bench)
        await writer.write({FOLD: b"0"}, seq=0)
        await bench.alerts(1_500)
        await self.until_trimmed(bench, 0)
        page = await bench.figures.read_log(A, 0, 10)
        assert not page.reachable
        head = (await bench.broker.position(A)).seq
        assert await bench.figures.oldest_in_log(A) < head


class DurableFigureContract:
    """Rows survive the process."""

    @pytest_twisted.ensureDeferred
    async def test_rows_and_position_survive_a_restart(self, bench: Bench) -> None:
        await bench.alerts(3)
        writer = await Writer.of(bench)
        rows = {FOLD: b"1", CALL: b"c", day_of("a"): b"a"}
        position = await writer.write(rows)
        await bench.open()
        found = await bench.figures.load(A, 0)
        assert found is not None
        assert (found.position, dict(found.rows)) == (position, rows)
        assert await bench.figures.tenants() == [A]
        later = await Writer.of(bench)
        await bench.alerts(1)
        await later.write({FOLD: b"2", CALL: None})
        await bench.open()
        assert await stored(bench) == {FOLD: b"2", day_of("a"): b"a"}

    @pytest_twisted.ensureDeferred
    async def test_received_times_survive_a_restart_and_a_clock_that_drifts(self, bench: Bench) -> None:
        bench.clock.advance(0.123)
        await bench.alerts(2)
        await bench.until(lambda: len(bench.delivered) == 2)
        times = [publication.event.received_ms for publication in bench.delivered]
        await bench.open()
        bench.clock.advance(1.234567)
        page = await bench.figures.read_log(A, 0, 10)
        assert [publication.event.received_ms for publication in page.publications] == times

    @pytest_twisted.ensureDeferred
    async def test_the_hold_survives_a_restart(self, bench: Bench) -> None:
        await bench.open(history_events=10, history_seconds=600)
        writer = await Writer.of(bench)
        await writer.write({FOLD: b"0"}, seq=0)
        await bench.alerts(300)
        await writer.write({FOLD: b"0"}, seq=300, hold=100)
        await bench.open(history_events=10, history_seconds=600)
        await HoldContract.settle(bench)
        page = await bench.figures.read_log(A, 100, 1)
        assert [publication.seq for publication in page.publications] == [101]
