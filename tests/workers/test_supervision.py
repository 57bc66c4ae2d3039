"""Supervision with real processes, whose workers are tiny: what becomes of them, and of who connects to them."""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Callable
from pathlib import Path

from processes import is_gone
from tiny_node import Stream, TinyNode, wait_until, who_answers

StartNode = Callable[..., TinyNode]


def test_all_workers_serve_one_port(start_node: StartNode) -> None:
    node = start_node(3)
    pids = node.serving(3)
    seen: set[int] = set()
    wait_until(lambda: seen.add(who_answers(("127.0.0.1", node.port))) or seen == set(pids), "an answer of each")


def test_their_log_is_the_supervisors(start_node: StartNode) -> None:
    node = start_node(1)
    node.expect(r"^\S+ \[tiny#warn\] worker 1: says hello \{on two$")
    assert node.next_line() == "\tlines}"


def test_a_worker_that_is_killed_is_replaced_at_once_and_then_later(start_node: StartNode) -> None:
    node = start_node(2)
    node.serving(2)
    first = node.pid_of(1)
    os.kill(first, signal.SIGKILL)
    node.expect(rf"worker 1 \(pid {first}\) was ended by SIGKILL, \d+ s after its start")
    node.expect("worker 1 is started again now")
    node.serving(3)
    second = node.pid_of(1)
    os.kill(second, signal.SIGSEGV)
    node.expect(rf"worker 1 \(pid {second}\) was ended by SIGSEGV, \d+ s after its start")
    node.expect("worker 1 is started again in 1 s")
    node.serving(4)


def test_who_connects_while_none_serves_is_served_by_the_next(start_node: StartNode) -> None:
    node = start_node(1)
    (pid,) = node.serving(1)
    os.kill(pid, signal.SIGKILL)
    node.expect(r"#critical\] no worker serves")
    assert who_answers(("127.0.0.1", node.port)) != pid
    node.expect(r"#error\] a worker serves again: worker 1 \(pid \d+\)")


def test_nobody_is_refused_while_a_worker_dies(start_node: StartNode) -> None:
    node = start_node(2)
    pids = node.serving(2)
    # Whom the dead one had accepted is cut off, and nobody else.
    with Stream(lambda: socket.create_connection(("127.0.0.1", node.port)).close()) as stream:
        os.kill(pids[0], signal.SIGKILL)
        node.serving(3)
    assert stream.results
    assert stream.failures == []


def test_replacing_refuses_nobody(start_node: StartNode) -> None:
    node = start_node(2)
    before = node.serving(2)
    with Stream(lambda: who_answers(("127.0.0.1", node.port))) as stream:
        node.process.send_signal(signal.SIGHUP)
        node.expect("all workers have been replaced")
        node.process.send_signal(signal.SIGHUP)
        node.expect("all workers have been replaced")
    assert stream.failures == []
    assert len(stream.results) > 100
    assert all(is_gone(pid) for pid in before)
    assert who_answers(("127.0.0.1", node.port)) in node.serving(6)[4:]


def test_they_are_replaced_one_by_one(start_node: StartNode) -> None:
    node = start_node(2)
    node.serving(2)
    node.process.send_signal(signal.SIGHUP)
    node.expect("all workers have been replaced")
    told = re.findall(r"worker (\d) \(pid (\d+)\) (is started|serves;|ended with)", node.output)
    rolled = [(number, what) for number, _, what in told][2:]
    one, two = ([(number, what) for what in ("is started", "serves;", "ended with")] for number in "12")
    assert rolled == one + two


def test_a_second_hangup_meanwhile_is_remembered_once(start_node: StartNode) -> None:
    node = start_node(1)
    node.serving(1)
    node.process.send_signal(signal.SIGHUP)
    node.expect("SIGHUP: the workers are replaced, one by one")
    for _ in range(3):
        node.process.send_signal(signal.SIGHUP)
        node.expect("will be done once more")
    node.expect("all workers have been replaced")
    node.expect("all workers have been replaced")
    # 1 at the start, 1 for the first, 1 for all of the others.
    assert node.stop() == 0
    assert len(re.findall("is started", node.output)) == 3


def test_a_replacement_that_fails_leaves_everything_as_it_is(start_node: StartNode) -> None:
    node = start_node(2)
    before = node.serving(2)
    node.mood("fail")
    node.process.send_signal(signal.SIGHUP)
    node.expect(r"worker 1: the settings are bad")
    node.expect(r"worker 1 \(pid \d+\), a replacement, ended with status 1")
    node.expect(rf"worker 1 \(pid {node.pid_of(1)}\) stays as it is")
    node.expect("the replacing ends at worker 1")
    assert who_answers(("127.0.0.1", node.port)) in before
    node.mood("")
    node.process.send_signal(signal.SIGHUP)
    node.expect("all workers have been replaced")


def test_a_worker_that_does_not_drain_is_killed(start_node: StartNode) -> None:
    node = start_node(1, patience=0.5)
    node.serving(1)
    node.mood("stay")
    node.process.send_signal(signal.SIGHUP)
    node.expect("all workers have been replaced")
    node.process.send_signal(signal.SIGTERM)
    node.expect(r"has not ended within 0.5 s: killed")
    assert node.wait() == 0


def test_bad_settings_end_the_start(start_node: StartNode, tmp_path: Path) -> None:
    (tmp_path / "mood").write_text("fail")
    node = start_node(2)
    node.expect(r"worker \d: the settings are bad")
    node.expect(r"worker \d \(pid \d+\) ended with status 1 before it ever served")
    assert node.wait() == 0
    assert node.output.count("\nunusable\n") == 1


def test_the_end_of_the_supervisor_is_the_end_of_the_workers(start_node: StartNode) -> None:
    node = start_node(2)
    pids = node.serving(2)
    port = node.port
    node.process.kill()
    assert all(is_gone(pid) for pid in pids)
    with socket.create_server(("127.0.0.1", port)):
        pass
    assert list(node.folder.iterdir()) == []


def test_even_if_they_hang(start_node: StartNode, tmp_path: Path) -> None:
    (tmp_path / "mood").write_text("hang")
    node = start_node(1)
    (pid,) = node.serving(1)
    node.process.kill()
    assert is_gone(pid)


def test_so_it_is_while_they_start(start_node: StartNode) -> None:
    node = start_node(1)
    pid = int(node.expect(r"worker 1 \(pid (\d+)\) is started")[1])
    node.process.kill()
    assert is_gone(pid)


def test_stopping_leaves_nothing(start_node: StartNode, tmp_path: Path) -> None:
    node = start_node(2, f"unix:{tmp_path}/web.sock:mode=600")
    pids = node.serving(2)
    assert node.stop() == 0
    assert all(is_gone(pid) for pid in pids)
    assert sorted(path.name for path in tmp_path.iterdir()) == []


def test_a_port_in_use_ends_the_start(start_node: StartNode) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        node = start_node(1, f"tcp:{port}:interface=127.0.0.1")
        assert node.wait() == 1
    assert f"cannot listen on tcp:{port}:interface=127.0.0.1: Address already in use" in node.output


def test_the_supervisor_ends_while_they_are_replaced(start_node: StartNode) -> None:
    node = start_node(2)
    node.serving(2)
    node.mood("wait")
    node.process.send_signal(signal.SIGHUP)
    node.expect("does not serve yet: the store is far away")
    assert node.stop() == 0
