"""Worker slots: restarts, replacements and outages, with fake processes and a fake clock."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from fake_reactor import FakeChild, FakeReactor
from twisted.internet.defer import Deferred
from twisted.logger import formatEvent

from callcenter_ws.config.settings import Settings
from callcenter_ws.config.source import SettingsSource
from callcenter_ws.runtime.endpoints import EndpointDescription
from callcenter_ws.workers import no_worker_monitor
from callcenter_ws.workers.channel import WorkerAnswer, decode_request, encode_answer
from callcenter_ws.workers.handoff import (
    FIRST_SOCKET_DESCRIPTOR,
    HANDOFF_VARIABLE,
    STATUS_DESCRIPTOR,
    ListenEndpoint,
    WorkerHandoff,
)
from callcenter_ws.workers.no_worker_monitor import CHECK_INTERVAL_SECONDS
from callcenter_ws.workers.node_settings import NodeSettings
from callcenter_ws.workers.slot import MAX_RESTART_DELAY_SECONDS, READY_TIMEOUT_SECONDS, STABLE_SECONDS
from callcenter_ws.workers.supervisor import Supervisor

pytestmark = pytest.mark.logs_errors
STOP_TIMEOUT_SECONDS = 30.0
HOME = {"HOME": "/"}


def answer(line: bytes) -> bytes:
    """Return the answer of a worker to a request."""
    return encode_answer(WorkerAnswer(decode_request(line).id))


def report(child: FakeChild, status: str) -> None:
    """Pass on a status line of a worker."""
    child.write(STATUS_DESCRIPTOR, status.encode() + b"\n")


class Node:
    """A supervisor and its fake children."""

    def __init__(self, count: int = 1, spawn_fails: bool = False, environ: Mapping[str, str] = HOME) -> None:
        self.reactor = FakeReactor()
        self.reactor.spawn_fails = spawn_fails
        self.reactor.answer = answer
        self.unusable_calls = 0
        self.supervisor = Supervisor(
            self.reactor,
            ["tiny"],
            NodeSettings(SettingsSource(None, [], {}, demo=False, folder=Path("/")), None, Settings()),
            [ListenEndpoint("web.listen", EndpointDescription.parse("tcp:0:interface=127.0.0.1"))],
            count,
            stop_timeout=STOP_TIMEOUT_SECONDS,
            unusable=self._unusable,
            environ=environ,
        )
        self.supervisor.privilegedStartService()
        self.supervisor.startService()
        self.stopped: Deferred[None] | None = None

    def _unusable(self) -> None:
        self.unusable_calls += 1

    @property
    def children(self) -> list[FakeChild]:
        return self.reactor.children

    def all_ready(self) -> None:
        for child in self.children:
            report(child, "ready")

    def kill_all(self) -> None:
        for child in self.children:
            if not child.has_ended:
                child.end(None, 9)

    def stop(self) -> None:
        self.stopped = self.supervisor.stopService()


@pytest.fixture
def count(request: pytest.FixtureRequest) -> int:
    """The number of workers: 1 unless the test is parametrized."""
    return int(getattr(request, "param", 1))


@pytest.fixture
def node(count: int) -> Iterator[Node]:
    made = Node(count)
    yield made
    if made.stopped is None:
        made.stop()
    for child in made.children:
        if not child.has_ended:
            child.end()
    assert made.stopped is not None and made.stopped.called
    assert made.reactor.getDelayedCalls() == []


def test_a_worker_receives_its_handoff(node: Node) -> None:
    (child,) = node.children
    handoff = WorkerHandoff.pop(child.environ)
    assert handoff is not None
    assert (handoff.number, handoff.of, handoff.generation, handoff.replaces) == (1, 1, 1, False)
    assert handoff.sockets == {"web.listen tcp:0:interface=127.0.0.1": FIRST_SOCKET_DESCRIPTOR}
    assert child.descriptors.keys() == {0, 1, 2, STATUS_DESCRIPTOR, FIRST_SOCKET_DESCRIPTOR}
    assert child.environ == HOME


@pytest.mark.parametrize("count", [2], indirect=True)
def test_a_worker_that_keeps_dying_is_restarted_at_once_and_then_with_increasing_delays(node: Node) -> None:
    node.all_ready()
    for delay in (0, 1, 2, 4, 8, 16, MAX_RESTART_DELAY_SECONDS, MAX_RESTART_DELAY_SECONDS):
        node.children[-1].end(None, 9)
        before = len(node.children)
        if delay:
            node.reactor.advance(delay - 0.1)
            assert len(node.children) == before
        node.reactor.advance(0.1)
        assert len(node.children) == before + 1


def test_a_worker_that_ran_for_long_is_restarted_at_once(node: Node) -> None:
    node.all_ready()
    for _ in range(4):
        node.children[-1].end(1)
        node.reactor.advance(MAX_RESTART_DELAY_SECONDS)
    node.reactor.advance(STABLE_SECONDS)
    node.children[-1].end(1)
    before = len(node.children)
    node.reactor.advance(0)
    assert len(node.children) == before + 1


def kill_until_backed_off(node: Node) -> None:
    """Kill all workers repeatedly, until every restart is due much later."""
    node.all_ready()
    for _ in range(7 * len(node.supervisor.slots)):
        node.kill_all()
        node.reactor.advance(CHECK_INTERVAL_SECONDS)
    node.kill_all()
    assert all(slot.restart_at > node.reactor.seconds() + 10 for slot in node.supervisor.slots)


@pytest.mark.parametrize("count", [1, 3], indirect=True)
def test_while_no_worker_serves_one_is_started_each_second(node: Node) -> None:
    kill_until_backed_off(node)
    for _ in range(20):
        before = len(node.children)
        node.reactor.advance(CHECK_INTERVAL_SECONDS - 0.1)
        assert len(node.children) == before
        node.reactor.advance(0.1)
        assert len(node.children) == before + 1
        node.kill_all()


@pytest.mark.parametrize("count", [3], indirect=True)
def test_a_starting_worker_does_not_delay_the_others(node: Node) -> None:
    kill_until_backed_off(node)
    before = len(node.children)
    for _ in range(5):
        node.reactor.advance(CHECK_INTERVAL_SECONDS)
    assert len(node.children) == before + 3
    numbers = {WorkerHandoff.pop(dict(child.environ)).number for child in node.children[before:]}  # type: ignore[union-attr]
    assert numbers == {1, 2, 3}


@pytest.mark.parametrize("count", [2], indirect=True)
def test_once_a_worker_serves_again_the_others_keep_their_delays(node: Node) -> None:
    kill_until_backed_off(node)
    node.reactor.advance(CHECK_INTERVAL_SECONDS)
    before = len(node.children)
    report(node.children[-1], "ready")
    for _ in range(10):
        node.reactor.advance(CHECK_INTERVAL_SECONDS)
    assert len(node.children) == before
    node.reactor.advance(MAX_RESTART_DELAY_SECONDS)
    assert len(node.children) == before + 1


def test_a_failing_spawn_is_retried_each_second_while_no_worker_serves(node: Node) -> None:
    kill_until_backed_off(node)
    before = len(node.children)
    node.reactor.spawn_fails = True
    for _ in range(10):
        node.reactor.advance(CHECK_INTERVAL_SECONDS)
    node.reactor.spawn_fails = False
    node.reactor.advance(CHECK_INTERVAL_SECONDS)
    assert len(node.children) == before + 1


@pytest.mark.parametrize("count", [2], indirect=True)
def test_an_outage_and_its_end_are_logged_once(node: Node, error_log: Any) -> None:
    def logged() -> list[tuple[str, str]]:
        events = [event for event in error_log.events if event["log_namespace"] == no_worker_monitor.__name__]
        return [(event["log_level"].name, formatEvent(event)) for event in events]

    node.all_ready()
    node.children[0].end(None, 9)
    assert logged() == []
    kill_until_backed_off(node)
    start = ("critical", "no worker serves: connections wait until one does")
    assert logged() == [start]
    node.reactor.advance(CHECK_INTERVAL_SECONDS)
    last = node.children[-1]
    report(last, "ready")
    for _ in range(3):
        node.reactor.advance(CHECK_INTERVAL_SECONDS)
    end = ("error", f"a worker serves again: {last.protocol}")
    assert logged() == [start, end]
    last.end(None, 9)
    assert logged() == [start, end, start]


def test_stopping_and_replacing_are_not_an_outage(node: Node, error_log: Any) -> None:
    node.all_ready()
    node.supervisor.replace_workers()
    report(node.children[1], "ready")
    node.children[0].end()
    node.stop()
    node.children[1].end()
    assert error_log.events == []


def test_a_replacement_that_dies_while_the_old_one_drains_is_an_outage(node: Node) -> None:
    node.all_ready()
    node.supervisor.replace_workers()
    old, new = node.children
    report(new, "ready")
    for _ in range(5):
        node.children[-1].end(None, 9)
        before = len(node.children)
        node.reactor.advance(CHECK_INTERVAL_SECONDS)
        assert len(node.children) == before + 1
    assert not old.has_ended


def test_a_worker_whose_store_became_unavailable_does_not_serve(node: Node) -> None:
    (child,) = node.children
    report(child, "ready")
    (slot,) = node.supervisor.slots
    assert slot.status().serves
    child.answer = lambda line: encode_answer(WorkerAnswer(decode_request(line).id, not_ready_reason="no Redis"))
    node.reactor.advance(1)
    status = slot.status()
    assert (status.serves, status.reason) == (False, "no Redis")
    assert (node.supervisor.status().serves, node.supervisor.status().text) == (False, "0 of 1 workers serve; no Redis")
    # It accepts connections, and there is nothing to restart.
    assert slot.serves
    child.answer = answer
    node.reactor.advance(1)
    assert node.supervisor.status().text == "1 of 1 workers serve"


def test_a_first_worker_that_ends_with_status_1_before_it_served_ends_the_start(node: Node) -> None:
    node.children[0].end(1)
    assert node.unusable_calls == 1
    assert node.reactor.getDelayedCalls() == []


@pytest.mark.parametrize(("status", "signal"), [(None, 9), (0, None), (2, None)])
def test_any_other_end_of_a_first_worker_does_not_end_the_start(
    node: Node, status: int | None, signal: int | None
) -> None:
    node.children[0].end(status, signal)
    node.reactor.advance(0)
    assert node.unusable_calls == 0
    assert len(node.children) == 2
    node.children[1].end(1)
    assert node.unusable_calls == 0


def test_a_first_spawn_that_fails_ends_the_start() -> None:
    node = Node(2, spawn_fails=True)
    assert node.unusable_calls == 1
    node.stop()
    assert node.reactor.getDelayedCalls() == []


def test_several_unusable_workers_end_the_start_once() -> None:
    node = Node(3)
    for child in node.children:
        child.end(1)
    assert node.unusable_calls == 1
    node.stop()


def test_a_failing_spawn_is_retried(node: Node) -> None:
    node.all_ready()
    node.reactor.spawn_fails = True
    node.children[0].end(None, 9)
    node.reactor.advance(0)
    node.reactor.advance(1)
    node.reactor.spawn_fails = False
    node.reactor.advance(2)
    assert len(node.children) == 2


def test_the_old_worker_drains_when_the_replacement_is_ready(node: Node) -> None:
    node.all_ready()
    node.supervisor.replace_workers()
    old, new = node.children
    assert WorkerHandoff.pop(new.environ).replaces  # type: ignore[union-attr]  # it is there
    assert old.signals == []
    report(new, "ready")
    assert old.signals == ["TERM"]
    node.reactor.advance(STOP_TIMEOUT_SECONDS)
    assert old.signals == ["TERM", "KILL"]
    old.end(None, 9)
    assert len(node.children) == 2


def test_a_replacement_that_does_not_become_ready_is_stopped(node: Node) -> None:
    node.all_ready()
    node.supervisor.replace_workers()
    old, new = node.children
    report(new, "the store is unavailable")
    node.reactor.advance(READY_TIMEOUT_SECONDS)
    assert (old.signals, new.signals) == ([], ["TERM"])
    new.end()
    node.supervisor.replace_workers()
    assert len(node.children) == 3


def test_when_the_old_worker_dies_the_replacement_takes_its_place(node: Node) -> None:
    node.all_ready()
    node.supervisor.replace_workers()
    old, new = node.children
    old.end(None, 11)
    node.reactor.advance(MAX_RESTART_DELAY_SECONDS)
    assert len(node.children) == 2
    report(new, "ready")
    new.end(None, 11)
    node.reactor.advance(0)
    assert len(node.children) == 3


def test_replacing_starts_a_worker_whose_restart_is_pending(node: Node) -> None:
    node.all_ready()
    for _ in range(2):
        node.children[-1].end(None, 9)
        node.reactor.advance(0)
    assert len(node.children) == 2
    node.supervisor.replace_workers()
    assert len(node.children) == 3
    report(node.children[2], "ready")
    node.reactor.advance(MAX_RESTART_DELAY_SECONDS)
    assert len(node.children) == 3


def test_the_next_worker_is_replaced_when_the_old_one_has_ended() -> None:
    node = Node(2)
    node.all_ready()
    node.supervisor.replace_workers()
    node.supervisor.replace_workers()
    assert len(node.children) == 3
    report(node.children[2], "ready")
    assert len(node.children) == 3
    node.children[0].end()
    assert len(node.children) == 4
    report(node.children[3], "ready")
    node.children[1].end()
    # The second request causes one more replacement of all.
    node.reactor.advance(0)
    assert len(node.children) == 5
    node.stop()
    assert [child.signals for child in node.children] == [["TERM"]] * 5
    for child in node.children[2:]:
        child.end()
    assert node.stopped is not None and node.stopped.called
    assert node.reactor.getDelayedCalls() == []


def test_stopping_ends_all_workers_and_kills_those_that_do_not_end(node: Node) -> None:
    node.all_ready()
    node.supervisor.replace_workers()
    old, new = node.children
    node.stop()
    assert (old.signals, new.signals) == (["TERM"], ["TERM"])
    old.end()
    node.reactor.advance(STOP_TIMEOUT_SECONDS)
    assert new.signals == ["TERM", "KILL"]
    new.end(None, 9)
    node.reactor.advance(MAX_RESTART_DELAY_SECONDS)
    assert len(node.children) == 2


def test_the_files_that_workers_share_are_in_a_private_folder(tmp_path: Path) -> None:
    node = Node(environ={"RUNTIME_DIRECTORY": f"{tmp_path}:/elsewhere"})
    handoff = WorkerHandoff.pop(node.children[0].environ)
    assert handoff is not None
    folder = Path(handoff.folder)
    assert folder.parent == tmp_path
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(handoff.session_key.stat().st_mode) == 0o600
    assert len(handoff.session_key.read_bytes()) == 32
    handoff.private_socket.touch()
    node.stop()
    node.children[0].end(None, 9)
    assert list(tmp_path.iterdir()) == []


def test_a_private_folder_that_cannot_be_made_ends_the_start(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        Node(environ={"RUNTIME_DIRECTORY": str(tmp_path / "nowhere")})


def test_the_handoff_variable_does_not_look_like_a_setting() -> None:
    assert not HANDOFF_VARIABLE.startswith("CALLCENTER_WS_")
