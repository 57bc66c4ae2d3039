"""Reloads of real gateways from outside: by ``callcenter-ws reload`` and SIGHUP, in one process and in all workers."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from gateway_node import GatewayNode, Settings, close_code
from processes import TWISTD, Demo, Process, free_port, has_ended, run
from redis_server import RedisServer

from callcenter_ws.errors import CloseCode

ORIGIN = "https://app.example"


@pytest.fixture
def settings(tmp_path: Path, redis: RedisServer) -> Settings:
    made = Settings(tmp_path, redis.url)
    made.write()
    return made


@pytest.fixture
def node(settings: Settings) -> Iterator[GatewayNode]:
    """Two workers that serve."""
    started = GatewayNode(settings, 2)
    started.wait_until_served(2)
    yield started
    started.stop()
    assert "Traceback" not in started.output, started.output


def reload(settings: Settings, status: int = 0) -> str:
    """Run the command; return what it prints."""
    ended = run("reload", "--config", str(settings.file))
    assert ended.returncode == status, ended
    return ended.stdout if status == 0 else ended.stderr


def reloaded_at(node: GatewayNode) -> dict[str, float]:
    """Return the time of the last reload, by worker."""
    name = "callcenter_ws_last_reload_success_timestamp_seconds"
    found = re.findall(rf'{name}{{worker="(\d)"}} (\S+)', node.metrics())
    return {worker: float(value) for worker, value in found}


def statuses(node: GatewayNode) -> set[int]:
    """Return the statuses of handshakes, of which each worker is given some."""
    return {node.handshake_status(ORIGIN) for _ in range(12)}


def test_a_reload_takes_effect_in_every_worker(node: GatewayNode, settings: Settings) -> None:
    client = node.connect()
    before = reloaded_at(node)
    assert statuses(node) == {403}
    settings.write(more_web=f"allowed_origins = [{json.dumps(ORIGIN)}]", more="[limits]\nping_interval = 20.0\n")
    printed = reload(settings)
    assert printed.splitlines() == [
        "in use now: web.allowed_origins",
        "in use for new connections: limits.ping_interval",
    ]
    node.expect(r"#info\] the settings were loaded again: in use now: web.allowed_origins; in use for new")
    assert statuses(node) == {101}
    after = reloaded_at(node)
    assert before.keys() == after.keys() == {"1", "2"}
    assert all(after[worker] > before[worker] for worker in after)
    # No connection was closed, and no worker was replaced.
    client.ping().wait(30)
    client.close()
    assert len(node.worker_pids) == 2
    assert reload(settings) == "no setting has changed\n"


def test_the_level_of_the_log_is_that_of_the_supervisor(node: GatewayNode, settings: Settings) -> None:
    settings.write(more='[log]\nlevel = "warn"\n')
    assert reload(settings) == "in use now: log.level\n"
    settings.write(more='[log]\nlevel = "warn"\n[limits]\nping_interval = 20.0\n')
    reload(settings)
    settings.write(more='[log]\nlevel = "info"\n[limits]\nping_interval = 21.0\n')
    reload(settings)
    node.expect("the settings were loaded again: in use now: log.level; in use for new connections: limits")
    assert node.output.count("the settings were loaded again") == 1


def test_what_waits_is_named(node: GatewayNode, settings: Settings) -> None:
    settings.write(listen="tcp:0:interface=127.0.0.2")
    assert reload(settings) == "not in use yet: web.listen: after a restart\n"


def test_a_refused_reload_changes_nothing_and_a_killed_worker_comes_back(node: GatewayNode, settings: Settings) -> None:
    settings.write(more_web=f"allowed_origins = [{json.dumps(ORIGIN)}]")
    reload(settings)
    settings.write(more_web="allowed_origins = []\nallowed_origin = 1", more="[limits]\nping_interval = -1\n")
    printed = reload(settings, 1)
    assert printed.splitlines()[0] == ("callcenter-ws reload: refused, and the old settings stay in use; 2 problems:")
    assert {line.split(": ")[1] for line in printed.splitlines()[1:]} == {"web.allowed_origin", "limits.ping_interval"}
    assert statuses(node) == {101}
    settings.file.write_text("this is not TOML")
    assert f"{settings.file}: is not TOML" in reload(settings, 1)
    os.kill(node.worker_pids[0], signal.SIGKILL)
    node.wait_until_served(1)
    assert statuses(node) == {101}
    status = run("status", "--config", str(settings.file))
    assert status.returncode == 0
    assert re.fullmatch(
        rf"callcenter-ws \S+ \(pid {node.pid}\) serves\n"
        rf"  worker 1 \(pid {node.worker_pids[2]}, for \d+ s\): serves\n"
        rf"  worker 2 \(pid {node.worker_pids[1]}, for \d+ s\): serves\n"
        r"last reload: .*: refused: 1 problem\n",
        status.stdout,
    )


def test_other_workers_serve_while_one_stands_still(node: GatewayNode) -> None:
    stopped, other = node.worker_pids
    os.kill(stopped, signal.SIGSTOP)
    node.expect(rf"#error\] worker 1 \(pid {stopped}\) hangs: it has not answered for 15 s")
    node.wait_until_served(1)
    assert has_ended(stopped)
    assert not has_ended(other, 0)
    node.connect().close()


def test_a_second_signal_ends_the_drain_of_all_workers(settings: Settings) -> None:
    settings.write(more="[limits]\ndrain_timeout = 600.0\n")
    node = GatewayNode(settings, 2)
    node.wait_until_served(2)
    clients = [node.connect() for _ in range(6)]
    # Both at one time: without other nodes the drain would be over soon.
    for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGINT, signal.SIGCONT):
        node.process.send_signal(number)
    assert [close_code(client) for client in clients] == [CloseCode.DRAINING] * 6
    assert node.wait() in (-signal.SIGTERM, -signal.SIGINT)
    assert len(re.findall(r"worker \d: a second signal: closing", node.output)) == 2
    assert "Traceback" not in node.output, node.output


@pytest.fixture
def gateway(settings: Settings) -> Iterator[Process]:
    """A gateway of one process."""
    settings.write(listen=f"tcp:{free_port()}:interface=127.0.0.1")
    command = [str(TWISTD), "-n", "--pidfile=", "callcenter-ws", "--config", str(settings.file)]
    started = Process([*command, "--set", "store.url=memory:"])
    started.expect("callcenter-ws serves")
    yield started
    started.stop()
    assert "Traceback" not in started.output, started.output


def edit(settings: Settings, more: str) -> None:
    settings.file.write_text(settings.file.read_text() + more)


def test_sighup_loads_the_settings_of_one_process_again(gateway: Process, settings: Settings) -> None:
    edit(settings, "[limits]\nping_interval = 20.0\n")
    gateway.process.send_signal(signal.SIGHUP)
    gateway.expect("the settings were loaded again: in use for new connections: limits.ping_interval")
    edit(settings, "nonsense = 1\n[nowhere]\n")
    gateway.process.send_signal(signal.SIGHUP)
    gateway.expect(r"#error\] the new settings are refused, and the old ones stay in use:")
    gateway.expect(rf"#error\] the settings have a problem: {settings.file}: limits.nonsense: there is no such key")
    gateway.expect(rf"#error\] the settings have a problem: {settings.file}: nowhere: there is no such section")


def test_the_command_reloads_one_process(gateway: Process, settings: Settings) -> None:
    edit(settings, "[limits]\nping_interval = 20.0\n")
    assert reload(settings) == "in use for new connections: limits.ping_interval\n"
    # The socket is found although the file is not TOML.
    edit(settings, '[control]\nsocket = "callcenter-ws.control"\n[oops')
    assert f"{settings.file}: is not TOML" in reload(settings, 1)
    ended = run("reload", "--socket", str(settings.folder / "callcenter-ws.control"))
    assert f"{settings.file}: is not TOML" in ended.stderr
    assert gateway.stop() == -signal.SIGTERM
    printed = reload(settings, 1)
    assert f"no gateway runs there: there is no socket {settings.folder}/callcenter-ws.control" in printed
    assert "Nor could a gateway start now" in printed
    assert "is not TOML" in printed


def test_the_commands_find_the_demo(tmp_path: Path) -> None:
    demo = Demo(tmp_path, free_port())
    try:
        status = run("status", environment=demo.environment)
        assert re.fullmatch(rf"callcenter-ws \S+ \(pid {demo.pid}\) serves\n", status.stdout), status
        assert run("reload", environment=demo.environment).stdout == "no setting has changed\n"
    finally:
        demo.stop()
    ended = run("status", environment=demo.environment)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "no gateway runs there" in ended.stderr


def test_a_gateway_starts_without_its_control_socket(settings: Settings) -> None:
    settings.write(listen="tcp:0:interface=127.0.0.1", more='[control]\nsocket = "missing/control"\n')
    command = [str(TWISTD), "-n", "--pidfile=", "callcenter-ws", "--config", str(settings.file)]
    gateway = Process([*command, "--set", "store.url=memory:"])
    try:
        gateway.expect(
            r"#warn\] callcenter-ws reload and status will not work: cannot open the control socket .*missing"
        )
    finally:
        assert gateway.stop() == -signal.SIGTERM
    ended = run("check-config", "--config", str(settings.file))
    assert ended.returncode == 0
    assert f"warning: control.socket: the folder {settings.folder}/missing does not exist" in ended.stderr
