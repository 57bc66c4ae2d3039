"""How announced and stored figures come into the table: the newest of each key counts."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from callcenter_ws.delivery import figure_updates
from callcenter_ws.delivery.figure_table import Figure, FigureTable
from callcenter_ws.delivery.figure_updates import FigureUpdates
from callcenter_ws.statistics.store import LiveFigure

SALES = "queue.stats:sales"


def figure(seq: int, *, key: str = SALES, epoch: str = "01B", at: str = "09:00") -> LiveFigure:
    about = {"queue_name": key.partition(":")[2]}
    payload = {"epoch": epoch, "as_of_seq": seq, "generated_at": at, **about}
    return LiveFigure(key, json.dumps({"type": "queue.stats", "payload": payload}).encode())


GONE = LiveFigure(SALES, b"")


class Updates:
    """A table, and what changes it."""

    def __init__(self) -> None:
        self.table = FigureTable()
        self.reads = 0
        self.updates = FigureUpdates(self.table, lambda figure: True, self.read_again)

    def read_again(self) -> None:
        self.reads += 1

    def steps(self) -> Iterator[list[Figure]]:
        """Take what waits; yield what has changed of the table after each step."""
        while self.updates:
            steps = self.updates.take()
            while True:
                try:
                    next(steps)
                except StopIteration as end:
                    yield end.value
                    break

    def take(self) -> list[str]:
        """Take what waits; return the names of the queues whose figures have changed."""
        return [str(figure.queue_name) for changed in self.steps() for figure in changed]

    def seq(self, key: str = SALES) -> int | None:
        """Return ``as_of_seq`` of a figure in the table."""
        found = self.table.get(key)
        return None if found is None else json.loads(found.message)["payload"]["as_of_seq"]


@pytest.mark.parametrize("at_once", [True, False], ids=["both wait", "one after the other"])
@pytest.mark.parametrize(
    ("announced", "seq"),
    [
        ([figure(5), figure(4)], 5),
        ([figure(4), figure(5)], 5),
        ([figure(5, at="09:01"), figure(5)], 5),
        ([figure(5), figure(9, epoch="01A")], 5),
        ([figure(5), figure(3, epoch="01C")], 3),
        ([figure(5), figure(3, epoch="01C"), figure(6)], 3),
        ([figure(5), GONE], None),
        ([GONE, figure(5)], 5),
        ([figure(5), GONE, figure(4)], 4),
    ],
)
def test_the_newest_announcement_counts_and_a_removal_by_arrival(
    announced: list[LiveFigure], seq: int | None, at_once: bool
) -> None:
    world = Updates()
    for one in announced:
        world.updates.announce([one])
        if not at_once:
            world.take()
    world.take()
    assert world.seq() == seq


def test_the_later_of_two_with_one_position_counts_by_its_instant() -> None:
    world = Updates()
    world.updates.announce([figure(5, at="09:01"), figure(5, at="09:00")])
    world.take()
    found = world.table.get(SALES)
    assert found is not None
    assert found.order == ("01B", 5, "09:01")


def test_what_did_not_become_newer_has_not_changed() -> None:
    world = Updates()
    world.updates.announce([figure(5)])
    assert world.take() == ["sales"]
    version = world.table.version
    world.updates.announce([figure(5), figure(4)])
    assert world.take() == []
    assert world.table.changed_since(version, ["queue.stats"], 10)[0] == []


def test_what_was_read_counts_even_if_it_is_older_and_the_rest_is_removed() -> None:
    world = Updates()
    world.updates.announce([figure(5), figure(1, key="queue.stats:help"), figure(1, key="queue.stats:gone")])
    world.take()
    world.updates.begin_reading()
    world.updates.replace([figure(2, epoch="01A"), figure(1, key="queue.stats:help")])
    assert world.take() == ["sales"], "that of the other queue is the same"
    assert (world.seq(), world.seq("queue.stats:help"), world.seq("queue.stats:gone")) == (2, 1, None)


@pytest.mark.parametrize(("announced", "seq"), [(figure(6), 6), (GONE, None), (figure(1, epoch="01C"), 1)])
@pytest.mark.parametrize("is_taken", [True, False])
def test_what_was_announced_while_the_store_was_read_counts(
    announced: LiveFigure, seq: int | None, is_taken: bool
) -> None:
    world = Updates()
    world.updates.announce([figure(5)])
    world.updates.begin_reading()
    world.updates.announce([announced])
    if is_taken:
        world.take()
    world.updates.replace([figure(5)])
    world.take()
    assert world.seq() == seq


def test_another_reading_has_its_own_announcements() -> None:
    world = Updates()
    world.updates.begin_reading()
    world.updates.announce([figure(5)])
    world.updates.begin_reading()
    world.updates.replace([])
    world.take()
    assert world.seq() is None, "it was removed before the store was read again"


def test_the_table_is_whole_after_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figure_updates, "FIGURES_PER_STEP", 2)
    world = Updates()
    names = [f"queue.stats:{number}" for number in range(7)]
    world.updates.announce([figure(1, key=name) for name in names[:4]])
    world.updates.replace([figure(1, key=name) for name in names])
    steps = world.updates.take()
    sizes = []
    for _ in steps:
        sizes.append(len(world.table))
        assert all(figure.version <= world.table.version for figure in world.table)
    assert sizes == [2, 4, 4, 4, 6, 7]


def test_many_are_returned_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figure_updates, "FIGURES_PER_STEP", 2)
    monkeypatch.setattr(figure_updates, "MAX_CHANGED", 3)
    world = Updates()
    world.updates.announce([figure(1, key=f"queue.stats:{number}") for number in range(9)])
    assert [len(changed) for changed in world.steps()] == [4, 4, 1]


def test_of_too_many_the_store_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figure_updates, "MAX_WAITING", 10)
    world = Updates()
    for _ in range(10):
        world.updates.announce([figure(1)])
    assert world.reads == 0
    world.updates.announce([figure(1)])
    assert world.reads == 1
    assert not world.updates
    world.updates.announce([figure(2)])
    assert world.reads == 1
    world.take()
    assert world.seq() == 2


def test_a_figure_of_a_type_that_this_version_does_not_know_is_left_out() -> None:
    world = Updates()
    texts = [b"{", b'{"type":"new.stats","payload":{}}', b'{"type":"alert","payload":{}}']
    world.updates.announce([LiveFigure(f"new.stats:{number}", text) for number, text in enumerate(texts)])
    world.updates.announce([LiveFigure("new.stats:", b"")])
    assert world.take() == []
    assert len(world.table) == 0
