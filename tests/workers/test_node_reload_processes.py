"""Reloads of a node with real processes, whose workers are tiny: all or none, and workers that end meanwhile."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from processes import has_ended, wait_until
from tiny_node import TinyNode

StartNode = Callable[..., TinyNode]


def uses(node: TinyNode, number: int) -> None:
    """Wait until both workers use a number of connections."""
    wait_until(lambda: [node.used_by(1), node.used_by(2)] == [number, number], f"{number} in {node.output}")


@pytest.fixture
def node(start_node: StartNode) -> TinyNode:
    """A node of two workers that serve."""
    node = start_node(2)
    node.serving(2)
    return node


def test_all_workers_load_the_settings_again(node: TinyNode) -> None:
    node.set_connections(7)
    node.reload()
    node.expect(r"#info\] the settings were loaded again: in use .*: limits.connections$")
    uses(node, 7)
    node.reload()
    node.expect("loaded again: no setting has changed")
    assert len(node.serving(2)) == 2


def test_settings_that_one_worker_refuses_are_used_by_none(node: TinyNode) -> None:
    node.set_connections(7)
    node.set_mode("refuse")
    node.reload()
    node.expect(r"#error\] the new settings are refused, and the old ones stay in use:$")
    node.expect(r"#error\] the settings have a problem: tiny: limits.connections: is refused$")
    assert "uses 7" not in node.output
    node.set_mode("")
    node.reload()
    node.expect("loaded again")
    uses(node, 7)


def test_a_worker_that_dies_after_a_refusal_is_restarted_with_the_settings_in_use(node: TinyNode) -> None:
    node.set_connections(7)
    node.reload()
    node.expect("loaded again")
    node.settings.write_text("[limits]\nconnections = nonsense\n")
    node.reload()
    node.expect(r"#error\] the settings have a problem: tiny.toml: is not TOML")
    os.kill(node.pid_of(2), signal.SIGKILL)
    node.serving(3)
    wait_until(lambda: len(re.findall("worker 2: uses 7$", node.output, re.MULTILINE)) == 2, "the restarted worker")
    assert node.used_by(2) == 7
    # A replacement of the workers is refused, too.
    node.process.send_signal(signal.SIGHUP)
    node.expect(r"#error\] SIGHUP: no worker is replaced, because the settings cannot be used:$")
    node.expect(r"#error\] the settings have a problem: tiny.toml: is not TOML")


def test_settings_that_were_not_loaded_are_not_used_by_a_restarted_worker(node: TinyNode) -> None:
    node.set_connections(7)
    os.kill(node.pid_of(1), signal.SIGKILL)
    node.serving(3)
    assert node.used_by(1) == 1


@pytest.mark.parametrize("mode", ["die-in-prepare", "die-in-commit"])
def test_a_worker_that_dies_meanwhile_comes_back_with_the_settings_of_its_siblings(node: TinyNode, mode: str) -> None:
    first = node.pid_of(1)
    node.set_connections(7)
    node.set_mode(mode)
    node.reload()
    node.expect("the settings were loaded again")
    assert has_ended(first)
    node.set_mode("")
    node.serving(3)
    uses(node, 7)


def test_a_worker_that_starts_meanwhile_takes_over_the_settings(node: TinyNode) -> None:
    # Stopped while it starts: it may have read the old settings already.
    node.set_mode("wait")
    os.kill(node.pid_of(1), signal.SIGKILL)
    node.expect("was ended by SIGKILL")
    starting = int(node.expect(r"worker 1 \(pid (\d+)\) is started")[1])
    os.kill(starting, signal.SIGSTOP)
    node.set_connections(7)
    node.set_mode("")
    node.reload()
    node.expect("the settings were loaded again")
    os.kill(starting, signal.SIGCONT)
    uses(node, 7)


def test_a_key_that_needs_new_workers_keeps_its_value_in_a_restarted_worker(node: TinyNode) -> None:
    node.set_connections(7, '[cluster]\nnode_id = "other"\n')
    node.reload()
    node.expect("loaded again")
    os.kill(node.pid_of(2), signal.SIGKILL)
    node.serving(3)
    assert node.used_by(2) == 7
    assert "node other" not in node.output
    node.process.send_signal(signal.SIGHUP)
    node.expect("all workers have been replaced")
    wait_until(lambda: len(re.findall(r"worker \d: is node other", node.output)) == 2, "both new workers")


def test_a_reload_during_a_replacement_waits_for_it(node: TinyNode) -> None:
    node.set_mode("wait")
    node.process.send_signal(signal.SIGHUP)
    node.expect("does not serve yet: the store is unavailable")
    node.set_connections(7)
    node.reload()
    node.set_mode("")
    node.expect("all workers have been replaced")
    node.expect("the settings were loaded again")
    uses(node, 7)


def test_a_replacement_that_fails_leaves_the_settings(node: TinyNode) -> None:
    node.set_connections(7)
    node.set_mode("fail")
    node.process.send_signal(signal.SIGHUP)
    node.expect("worker 1 was not replaced")
    node.set_mode("")
    os.kill(node.pid_of(2), signal.SIGKILL)
    node.serving(3)
    assert node.used_by(2) == 1


def test_the_workers_are_told_that_the_node_stops(node: TinyNode) -> None:
    node.process.send_signal(signal.SIGHUP)
    node.expect("all workers have been replaced")
    assert "the node stops" not in node.output
    assert node.stop() == 0
    assert {"worker 1: the node stops", "worker 2: the node stops"} <= {
        line.partition("] ")[2].strip() for line in node.output.splitlines()
    }


def test_a_stop_can_be_ended_at_once(start_node: StartNode, tmp_path: Path) -> None:
    (tmp_path / "mode").write_text("hang")
    node = start_node(2)
    node.serving(2)
    node.process.send_signal(signal.SIGTERM)
    wait_until(lambda: node.output.count("the node stops") == 2, "both workers")
    node.process.send_signal(signal.SIGUSR2)
    assert node.wait() == 0
    assert "killed" not in node.output


def test_a_worker_that_stands_still_is_killed_and_restarted(node: TinyNode) -> None:
    hung = node.pid_of(1)
    os.kill(hung, signal.SIGSTOP)
    node.expect(rf"#error\] worker 1 \(pid {hung}\) hangs: it has not answered for 15 s")
    node.expect(rf"worker 1 \(pid {hung}\) was ended by SIGKILL")
    node.serving(3)
    assert node.output.count("has not answered") == 1


def test_a_worker_that_loops_says_where(node: TinyNode) -> None:
    node.set_mode("loop")
    node.reload()
    node.expect(r"#error\] worker 1 \(pid \d+\) hangs")
    node.expect(r'worker 1:   File ".*tiny_worker.py", line \d+ in prepare')
    node.expect(r"worker 1 \(pid \d+\) was ended by SIGKILL")
    node.set_mode("")
    node.serving(3)
