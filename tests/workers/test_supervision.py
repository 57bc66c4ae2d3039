"""Supervision with real processes, whose workers are tiny: restarts, replacements and the connections of clients."""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Callable
from pathlib import Path

from processes import has_ended, wait_until
from tiny_node import RepeatedCalls, TinyNode, answering_pid

StartNode = Callable[..., TinyNode]


def test_all_workers_serve_one_port(start_node: StartNode) -> None:
    node = start_node(3)
    pids = node.serving(3)
    seen: set[int] = set()
    wait_until(
        lambda: seen.add(answering_pid(("127.0.0.1", node.port))) or seen == set(pids), "an answer of each worker"
    )


def test_log_lines_of_workers_are_in_the_log_of_the_supervisor(start_node: StartNode) -> None:
    node = start_node(1)
    node.expect(r"^\S+ \[tiny#warn\] worker 1: logs \{on two\\nlines\}$")


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


def test_a_connection_waits_while_no_worker_serves(start_node: StartNode) -> None:
    node = start_node(1)
    (pid,) = node.serving(1)
    os.kill(pid, signal.SIGKILL)
    node.expect(r"#critical\] no worker serves")
    assert answering_pid(("127.0.0.1", node.port)) != pid
    node.expect(r"#error\] a worker serves again: worker 1 \(pid \d+\)")


def test_no_connection_is_refused_while_a_worker_dies(start_node: StartNode) -> None:
    node = start_node(2)
    pids = node.serving(2)
    # Only connections that the killed worker had accepted are reset.
    with RepeatedCalls(lambda: socket.create_connection(("127.0.0.1", node.port)).close()) as calls:
        os.kill(pids[0], signal.SIGKILL)
        node.serving(3)
    assert calls.results
    assert calls.failures == []


def test_no_connection_is_refused_while_workers_are_replaced(start_node: StartNode) -> None:
    node = start_node(2)
    before = node.serving(2)
    with RepeatedCalls(lambda: answering_pid(("127.0.0.1", node.port))) as calls:
        node.process.send_signal(signal.SIGHUP)
        node.expect("all workers have been replaced")
        node.process.send_signal(signal.SIGHUP)
        node.expect("all workers have been replaced")
        wait_until(lambda: len(calls.results) > 100, "a hundred answers")
    assert calls.failures == []
    assert all(has_ended(pid) for pid in before)
    assert answering_pid(("127.0.0.1", node.port)) in node.serving(6)[4:]


def test_workers_are_replaced_one_by_one(start_node: StartNode) -> None:
    node = start_node(2)
    node.serving(2)
    node.process.send_signal(signal.SIGHUP)
    node.expect("all workers have been replaced")
    logged = re.findall(r"worker (\d) \(pid (\d+)\) (is started|serves;|ended with)", node.output)
    rolled = [(number, what) for number, _, what in logged][2:]
    one, two = ([(number, what) for what in ("is started", "serves;", "ended with")] for number in "12")
    assert rolled == one + two


def test_sighups_during_a_replacement_cause_one_more(start_node: StartNode) -> None:
    node = start_node(1)
    node.serving(1)
    # The replacement is not ready before the other signals have been sent.
    node.set_mode("wait")
    node.process.send_signal(signal.SIGHUP)
    node.expect("SIGHUP: the workers are replaced, one by one")
    for _ in range(3):
        node.process.send_signal(signal.SIGHUP)
        node.expect("will be done once more")
    node.set_mode("")
    node.expect("all workers have been replaced")
    node.expect("all workers have been replaced")
    # 1 at the start, 1 for the first, 1 for all of the others.
    assert node.stop() == 0
    assert len(re.findall("is started", node.output)) == 3


def test_after_a_failed_replacement_the_old_workers_keep_serving(start_node: StartNode) -> None:
    node = start_node(2)
    before = node.serving(2)
    node.set_mode("fail")
    node.process.send_signal(signal.SIGHUP)
    node.expect(r"worker 1: the settings are bad")
    node.expect(r"worker 1 \(pid \d+\), a replacement, ended with status 1")
    node.expect(rf"worker 1 \(pid {node.pid_of(1)}\) continues to serve")
    node.expect("worker 1 was not replaced, and the workers after it will not be")
    assert answering_pid(("127.0.0.1", node.port)) in before
    node.set_mode("")
    node.process.send_signal(signal.SIGHUP)
    node.expect("all workers have been replaced")


def test_a_worker_that_does_not_drain_is_killed(start_node: StartNode) -> None:
    node = start_node(1, stop_timeout=0.5)
    node.serving(1)
    node.set_mode("stay")
    node.process.send_signal(signal.SIGHUP)
    node.expect("all workers have been replaced")
    node.process.send_signal(signal.SIGTERM)
    node.expect(r"has not ended within 0.5 s: killed")
    assert node.wait() == 0


def test_bad_settings_end_the_start(start_node: StartNode, tmp_path: Path) -> None:
    (tmp_path / "mode").write_text("fail")
    node = start_node(2)
    node.expect(r"worker \d: the settings are bad")
    node.expect(r"worker \d \(pid \d+\) ended with status 1 before it ever served")
    assert node.wait() == 0
    assert node.output.count("\nunusable\n") == 1


def test_workers_end_when_the_supervisor_is_killed(start_node: StartNode) -> None:
    node = start_node(2)
    pids = node.serving(2)
    port = node.port
    node.process.kill()
    assert all(has_ended(pid) for pid in pids)
    with socket.create_server(("127.0.0.1", port)):
        pass
    assert node.files == []


def test_hanging_workers_end_when_the_supervisor_is_killed(start_node: StartNode, tmp_path: Path) -> None:
    (tmp_path / "mode").write_text("hang")
    node = start_node(1)
    (pid,) = node.serving(1)
    node.process.kill()
    assert has_ended(pid)


def test_starting_workers_end_when_the_supervisor_is_killed(start_node: StartNode) -> None:
    node = start_node(1)
    pid = int(node.expect(r"worker 1 \(pid (\d+)\) is started")[1])
    node.process.kill()
    assert has_ended(pid)


def test_stopping_leaves_no_process_and_no_file(start_node: StartNode, tmp_path: Path) -> None:
    node = start_node(2, f"unix:{tmp_path}/web.sock:mode=600")
    pids = node.serving(2)
    assert node.stop() == 0
    assert all(has_ended(pid) for pid in pids)
    assert node.files == []


def test_a_port_in_use_ends_the_start(start_node: StartNode) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        node = start_node(1, f"tcp:{port}:interface=127.0.0.1")
        assert node.wait() == 1
    assert f"cannot listen on tcp:{port}:interface=127.0.0.1 (web.listen): Address already in use" in node.output


def test_the_supervisor_stops_during_a_replacement(start_node: StartNode) -> None:
    node = start_node(2)
    node.serving(2)
    node.set_mode("wait")
    node.process.send_signal(signal.SIGHUP)
    node.expect("does not serve yet: the store is unavailable")
    assert node.stop() == 0
