"""What happens at a post, with processes and a clock that the test plays."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import Clock
from twisted.logger import formatEvent
from twisted.python.failure import Failure

from callcenter_ws.workers import no_worker_monitor as outage
from callcenter_ws.workers.handoff import FIRST_SOCKET, STATUS, VARIABLE, Endpoint, WorkerHandoff
from callcenter_ws.workers.no_worker_monitor import LOOK_SECONDS
from callcenter_ws.workers.slot import MOST_DELAY, READY_SECONDS, STEADY_SECONDS
from callcenter_ws.workers.supervisor import Supervisor

pytestmark = pytest.mark.logs_errors
PATIENCE = 30.0
HOME = {"HOME": "/"}


@dataclass(eq=False)
class Child:
    """A process, as its supervisor's reactor sees it."""

    protocol: ProcessProtocol
    pid: int
    environ: dict[str, str]
    descriptors: dict[int, int | str]
    signals: list[str] = field(default_factory=list)
    gone: bool = False

    def signalProcess(self, name: str) -> None:  # noqa: N802 - Twisted's name
        if self.gone:
            raise ProcessExitedAlready
        self.signals.append(name)

    def says(self, report: str) -> None:
        self.protocol.childDataReceived(STATUS, report.encode() + b"\n")

    def ends(self, status: int | None = 0, signal: int | None = None) -> None:
        self.gone = True
        how = ProcessDone(0) if status == 0 and signal is None else ProcessTerminated(status, signal)
        self.protocol.processEnded(Failure(how))


class Reactor(Clock):
    """Starts children that do as the test says."""

    def __init__(self) -> None:
        super().__init__()
        self.children: list[Child] = []
        self.fails = False

    def spawnProcess(  # noqa: N802 - Twisted's name
        self,
        protocol: ProcessProtocol,
        executable: str,
        command: Sequence[str],
        environ: dict[str, str],
        folder: str | None,
        childFDs: dict[int, int | str],  # noqa: N803 - Twisted's name
    ) -> Child:
        if self.fails:
            raise OSError("no more processes")
        child = Child(protocol, 100 + len(self.children), environ, childFDs)
        self.children.append(child)
        protocol.makeConnection(child)  # type: ignore[arg-type]  # it is one
        return child


class Node:
    """A supervisor and its children."""

    def __init__(self, count: int = 1, fails: bool = False, environ: Mapping[str, str] = HOME) -> None:
        self.reactor = Reactor()
        self.reactor.fails = fails
        self.given_up = 0
        self.supervisor = Supervisor(
            self.reactor,
            ["tiny"],
            [Endpoint("web.listen", "tcp:0:interface=127.0.0.1")],
            count,
            patience=PATIENCE,
            unusable=self._give_up,
            environ=environ,
        )
        self.supervisor.privilegedStartService()
        self.supervisor.startService()
        self.stopped: Deferred[None] | None = None

    def _give_up(self) -> None:
        self.given_up += 1

    @property
    def children(self) -> list[Child]:
        return self.reactor.children

    def all_ready(self) -> None:
        for child in self.children:
            child.says("ready")

    def kill_all(self) -> None:
        for child in self.children:
            if not child.gone:
                child.ends(None, 9)

    def stop(self) -> None:
        self.stopped = self.supervisor.stopService()


@pytest.fixture
def count(request: pytest.FixtureRequest) -> int:
    """How many workers the node has: 1 unless the test says otherwise."""
    return int(getattr(request, "param", 1))


@pytest.fixture
def node(count: int) -> Iterator[Node]:
    made = Node(count)
    yield made
    if made.stopped is None:
        made.stop()
    for child in made.children:
        if not child.gone:
            child.ends()
    assert made.stopped is not None and made.stopped.called
    assert made.reactor.getDelayedCalls() == []


def test_a_worker_is_told_what_it_has(node: Node) -> None:
    (child,) = node.children
    handoff = WorkerHandoff.take(child.environ)
    assert handoff is not None
    assert (handoff.number, handoff.of, handoff.generation, handoff.replaces) == (1, 1, 1, False)
    assert handoff.sockets == {"web.listen tcp:0:interface=127.0.0.1": FIRST_SOCKET}
    assert child.descriptors.keys() == {0, 1, 2, STATUS, FIRST_SOCKET}
    assert child.environ == HOME


@pytest.mark.parametrize("count", [2], indirect=True)
def test_one_that_dies_comes_again_at_once_and_then_later_and_later(node: Node) -> None:
    node.all_ready()
    for delay in (0, 1, 2, 4, 8, 16, MOST_DELAY, MOST_DELAY):
        node.children[-1].ends(None, 9)
        before = len(node.children)
        if delay:
            node.reactor.advance(delay - 0.1)
            assert len(node.children) == before
        node.reactor.advance(0.1)
        assert len(node.children) == before + 1


def test_one_that_was_of_use_comes_again_at_once(node: Node) -> None:
    node.all_ready()
    for _ in range(4):
        node.children[-1].ends(1)
        node.reactor.advance(MOST_DELAY)
    node.reactor.advance(STEADY_SECONDS)
    node.children[-1].ends(1)
    before = len(node.children)
    node.reactor.advance(0)
    assert len(node.children) == before + 1


def all_backed_off(node: Node) -> None:
    """All die, and one after another dies again, until none is due for a long time."""
    node.all_ready()
    for _ in range(7 * len(node.supervisor.posts)):
        node.kill_all()
        node.reactor.advance(LOOK_SECONDS)
    node.kill_all()
    assert all(post.due > node.reactor.seconds() + 10 for post in node.supervisor.posts)


@pytest.mark.parametrize("count", [1, 3], indirect=True)
def test_while_none_serves_one_is_started_each_second(node: Node) -> None:
    all_backed_off(node)
    for _ in range(20):
        before = len(node.children)
        node.reactor.advance(LOOK_SECONDS - 0.1)
        assert len(node.children) == before
        node.reactor.advance(0.1)
        assert len(node.children) == before + 1
        node.kill_all()


@pytest.mark.parametrize("count", [3], indirect=True)
def test_one_that_is_being_started_does_not_hold_up_the_others(node: Node) -> None:
    all_backed_off(node)
    before = len(node.children)
    for _ in range(5):
        node.reactor.advance(LOOK_SECONDS)
    assert len(node.children) == before + 3
    numbers = {WorkerHandoff.take(dict(child.environ)).number for child in node.children[before:]}  # type: ignore[union-attr]
    assert numbers == {1, 2, 3}


@pytest.mark.parametrize("count", [2], indirect=True)
def test_when_one_serves_again_the_others_take_their_time(node: Node) -> None:
    all_backed_off(node)
    node.reactor.advance(LOOK_SECONDS)
    before = len(node.children)
    node.children[-1].says("ready")
    for _ in range(10):
        node.reactor.advance(LOOK_SECONDS)
    assert len(node.children) == before
    node.reactor.advance(MOST_DELAY)
    assert len(node.children) == before + 1


def test_a_system_that_starts_no_process_is_asked_each_second_while_none_serves(node: Node) -> None:
    all_backed_off(node)
    before = len(node.children)
    node.reactor.fails = True
    for _ in range(10):
        node.reactor.advance(LOOK_SECONDS)
    node.reactor.fails = False
    node.reactor.advance(LOOK_SECONDS)
    assert len(node.children) == before + 1


@pytest.mark.parametrize("count", [2], indirect=True)
def test_an_outage_is_told_once_and_so_is_its_end(node: Node, error_log: Any) -> None:
    def told() -> list[tuple[str, str]]:
        events = [event for event in error_log.events if event["log_namespace"] == outage.__name__]
        return [(event["log_level"].name, formatEvent(event)) for event in events]

    node.all_ready()
    node.children[0].ends(None, 9)
    assert told() == []
    all_backed_off(node)
    begun = ("critical", "no worker serves: who connects has to wait until one does")
    assert told() == [begun]
    node.reactor.advance(LOOK_SECONDS)
    last = node.children[-1]
    last.says("ready")
    for _ in range(3):
        node.reactor.advance(LOOK_SECONDS)
    over = ("error", f"a worker serves again: {last.protocol}")
    assert told() == [begun, over]
    last.ends(None, 9)
    assert told() == [begun, over, begun]


def test_stopping_and_replacing_are_no_outage(node: Node, error_log: Any) -> None:
    node.all_ready()
    node.supervisor.roll()
    node.children[1].says("ready")
    node.children[0].ends()
    node.stop()
    node.children[1].ends()
    assert error_log.events == []


def test_a_replacement_that_dies_while_the_old_one_drains_is_an_outage(node: Node) -> None:
    node.all_ready()
    node.supervisor.roll()
    old, new = node.children
    new.says("ready")
    for _ in range(5):
        node.children[-1].ends(None, 9)
        before = len(node.children)
        node.reactor.advance(LOOK_SECONDS)
        assert len(node.children) == before + 1
    assert not old.gone


def test_the_first_that_gives_up_before_it_served_ends_the_start(node: Node) -> None:
    node.children[0].ends(1)
    assert node.given_up == 1
    assert node.reactor.getDelayedCalls() == []


@pytest.mark.parametrize(("status", "signal"), [(None, 9), (0, None), (2, None)])
def test_any_other_end_does_not(node: Node, status: int | None, signal: int | None) -> None:
    node.children[0].ends(status, signal)
    node.reactor.advance(0)
    assert node.given_up == 0
    assert len(node.children) == 2
    node.children[1].ends(1)
    assert node.given_up == 0


def test_a_system_that_starts_no_process_at_all_ends_the_start() -> None:
    node = Node(2, fails=True)
    assert node.given_up == 1
    node.stop()
    assert node.reactor.getDelayedCalls() == []


def test_all_that_give_up_are_one_reason_to_end() -> None:
    node = Node(3)
    for child in node.children:
        child.ends(1)
    assert node.given_up == 1
    node.stop()


def test_a_system_that_starts_no_process_is_asked_again(node: Node) -> None:
    node.all_ready()
    node.reactor.fails = True
    node.children[0].ends(None, 9)
    node.reactor.advance(0)
    node.reactor.advance(1)
    node.reactor.fails = False
    node.reactor.advance(2)
    assert len(node.children) == 2


def test_the_old_one_drains_when_the_new_one_is_ready(node: Node) -> None:
    node.all_ready()
    node.supervisor.roll()
    old, new = node.children
    assert WorkerHandoff.take(new.environ).replaces  # type: ignore[union-attr]  # it is there
    assert old.signals == []
    new.says("ready")
    assert old.signals == ["TERM"]
    node.reactor.advance(PATIENCE)
    assert old.signals == ["TERM", "KILL"]
    old.ends(None, 9)
    assert len(node.children) == 2


def test_a_replacement_that_does_not_get_ready_is_given_up(node: Node) -> None:
    node.all_ready()
    node.supervisor.roll()
    old, new = node.children
    new.says("the store is far away")
    node.reactor.advance(READY_SECONDS)
    assert (old.signals, new.signals) == ([], ["TERM"])
    new.ends()
    node.supervisor.roll()
    assert len(node.children) == 3


def test_when_the_old_one_dies_its_replacement_has_its_place(node: Node) -> None:
    node.all_ready()
    node.supervisor.roll()
    old, new = node.children
    old.ends(None, 11)
    node.reactor.advance(MOST_DELAY)
    assert len(node.children) == 2
    new.says("ready")
    new.ends(None, 11)
    node.reactor.advance(0)
    assert len(node.children) == 3


def test_one_that_is_awaited_is_started_by_the_hangup(node: Node) -> None:
    node.all_ready()
    for _ in range(2):
        node.children[-1].ends(None, 9)
        node.reactor.advance(0)
    assert len(node.children) == 2
    node.supervisor.roll()
    assert len(node.children) == 3
    node.children[2].says("ready")
    node.reactor.advance(MOST_DELAY)
    assert len(node.children) == 3


def test_replacing_goes_on_to_the_next_when_the_old_one_has_gone() -> None:
    node = Node(2)
    node.all_ready()
    node.supervisor.roll()
    node.supervisor.roll()
    assert len(node.children) == 3
    node.children[2].says("ready")
    assert len(node.children) == 3
    node.children[0].ends()
    assert len(node.children) == 4
    node.children[3].says("ready")
    node.children[1].ends()
    # And once more.
    assert len(node.children) == 5
    node.stop()
    assert [child.signals for child in node.children] == [["TERM"]] * 5
    for child in node.children[2:]:
        child.ends()
    assert node.stopped is not None and node.stopped.called
    assert node.reactor.getDelayedCalls() == []


def test_stopping_ends_all_and_kills_who_stays(node: Node) -> None:
    node.all_ready()
    node.supervisor.roll()
    old, new = node.children
    node.stop()
    assert (old.signals, new.signals) == (["TERM"], ["TERM"])
    old.ends()
    node.reactor.advance(PATIENCE)
    assert new.signals == ["TERM", "KILL"]
    new.ends(None, 9)
    node.reactor.advance(MOST_DELAY)
    assert len(node.children) == 2


def test_what_the_workers_share_is_in_a_private_folder(tmp_path: Path) -> None:
    node = Node(environ={"RUNTIME_DIRECTORY": f"{tmp_path}:/elsewhere"})
    handoff = WorkerHandoff.take(node.children[0].environ)
    assert handoff is not None
    folder = Path(handoff.folder)
    assert folder.parent == tmp_path
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(handoff.session_key.stat().st_mode) == 0o600
    assert len(handoff.session_key.read_bytes()) == 32
    handoff.private_socket.touch()
    node.stop()
    node.children[0].ends(None, 9)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_ends_the_start(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        Node(environ={"RUNTIME_DIRECTORY": str(tmp_path / "nowhere")})


def test_the_variable_is_no_setting() -> None:
    assert not VARIABLE.startswith("CALLCENTER_WS_")
