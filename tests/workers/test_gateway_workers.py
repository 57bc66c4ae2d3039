"""Real gateways under a supervisor, on a real Redis."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from gateway_node import PLAIN, GatewayNode, Settings, close_code
from processes import DEADLINE, TWISTD, has_ended, wait_until
from redis_server import RedisServer
from tiny_node import RepeatedCalls
from websockets.exceptions import ConnectionClosed

from callcenter_ws.errors import CloseCode


@pytest.fixture
def settings(tmp_path: Path, redis: RedisServer) -> Settings:
    made = Settings(tmp_path, redis.url)
    made.write(more_web=f'metrics_listen = "{PLAIN}"')
    return made


StartGateways = Callable[..., GatewayNode]


@pytest.fixture
def start(settings: Settings) -> Iterator[StartGateways]:
    """Starts nodes and waits until all workers serve; a traceback in the output of one fails the test."""
    started: list[GatewayNode] = []

    def start_node(count: int = 2) -> GatewayNode:
        started.append(GatewayNode(settings, count))
        started[-1].wait_until_served(count)
        return started[-1]

    yield start_node
    for node in started:
        node.stop()
        assert "Traceback" not in node.output, node.output


def test_statistics_name_the_worker(start: StartGateways) -> None:
    node = start(2)
    seen: set[tuple[str, int]] = set()

    def both() -> bool:
        stats = node.stats()
        seen.add((stats["node"], stats["worker"]))
        return len(seen) == 2

    wait_until(both, "an answer of each worker")
    assert seen == {("pbx1", 1), ("pbx1", 2)}


def test_metrics_are_those_of_all_workers(start: StartGateways) -> None:
    node = start(2)
    client = node.connect()
    for text in (node.metrics(node.ports[1]), node.metrics(node.ports[1])):
        assert "callcenter_ws_workers 2.0" in text
        assert "callcenter_ws_workers_wanted 2.0" in text
        opened = [line for line in text.splitlines() if line.startswith("callcenter_ws_connections_opened_total{")]
        assert sorted(line.split()[0] for line in opened) == [
            'callcenter_ws_connections_opened_total{worker="1"}',
            'callcenter_ws_connections_opened_total{worker="2"}',
        ]
        assert sum(float(line.split()[1]) for line in opened) == 1
    client.close()


def test_metrics_of_the_shared_port(start: StartGateways, settings: Settings) -> None:
    settings.write()
    node = start(1)
    text = node.get("/metrics")
    assert 'callcenter_ws_connections_opened_total{worker="1"} 0.0' in text
    assert "callcenter_ws_workers 1.0" in text


def test_events_reach_the_clients_of_all_workers(start: StartGateways) -> None:
    node = start(2)
    clients = [node.connect() for _ in range(8)]
    for client in clients:
        assert '"welcome"' in str(client.recv(timeout=DEADLINE))
    workers = {line for line in node.metrics(node.ports[1]).splitlines() if "connections_opened_total{" in line}
    assert len(workers) == 2
    token = node.settings.token("service", tenant_id="*")
    event = b'{"tenant_id": "acme", "type": "alert", "payload": {"title": "t", "message": "to all workers"}}'
    node.post("/ws/events", event, Authorization=f"Bearer {token}")
    for client in clients:
        while "to all workers" not in str(client.recv(timeout=DEADLINE)):
            pass
        client.close()


def test_no_connection_is_refused_while_workers_are_replaced(start: StartGateways) -> None:
    node = start(2)

    def connect() -> None:
        client = node.connect()
        try:
            client.recv(timeout=DEADLINE)
        except ConnectionClosed as closed:
            # Its worker accepted it just before it drained, and closed it with the close code for that.
            assert closed.rcvd is not None and closed.rcvd.code == CloseCode.DRAINING, closed
        client.close()

    with RepeatedCalls(connect) as connects, RepeatedCalls(lambda: node.get("/readyz")) as probes:
        node.process.send_signal(signal.SIGHUP)
        node.expect("all workers have been replaced")
    assert [str(failure) for failure in connects.failures + probes.failures] == []
    assert connects.results and probes.results


def test_connected_clients_are_asked_to_reconnect(start: StartGateways) -> None:
    node = start(1)
    client = node.connect()
    node.process.send_signal(signal.SIGHUP)
    assert close_code(client) == CloseCode.DRAINING
    node.connect().close()


def test_replaced_workers_have_new_settings(start: StartGateways, settings: Settings) -> None:
    node = start(1)
    assert node.handshake_status("https://app.example") == 403
    settings.write(more_web=f'metrics_listen = "{PLAIN}"\nallowed_origins = ["https://app.example"]')
    node.process.send_signal(signal.SIGHUP)
    node.expect("all workers have been replaced")
    node.connect(origin="https://app.example").close()


def test_unusable_settings_leave_the_old_workers_running(start: StartGateways, settings: Settings) -> None:
    node = start(1)
    settings.write(more_web="trusted_proxies = [true]", more="[nonsense]\n")
    node.process.send_signal(signal.SIGHUP)
    node.expect(r"#error\] SIGHUP: no worker is replaced, because the settings cannot be used")
    path = re.escape(str(settings.file))
    node.expect(rf"#error\] the settings have a problem: {path}: nonsense: there is no such section")
    node.expect(rf"#error\] the settings have a problem: {path}: web.trusted_proxies: ")
    node.connect().close()
    assert len(node.worker_pids) == 1


def test_new_endpoints_wait_for_a_restart(start: StartGateways, settings: Settings) -> None:
    node = start(1)
    settings.write(listen="tcp:0:interface=127.0.0.2", more_web=f'metrics_listen = "{PLAIN}"')
    node.process.send_signal(signal.SIGHUP)
    node.expect(r"#warn\] settings: web.listen has changed, and stays as it is: restart the gateway")
    node.expect("all workers have been replaced")
    node.connect().close()


def test_a_killed_worker_is_restarted(start: StartGateways) -> None:
    node = start(2)
    os.kill(node.worker_pids[0], signal.SIGKILL)
    node.expect("was ended by SIGKILL")
    node.wait_until_served(1)
    node.connect().close()


def test_workers_end_when_the_supervisor_is_killed(start: StartGateways) -> None:
    node = start(2)
    client = node.connect()
    node.process.kill()
    assert close_code(client) == CloseCode.DRAINING
    assert all(has_ended(pid) for pid in node.worker_pids)


def test_repeated_stop_signals_are_one_stop(start: StartGateways) -> None:
    """With KillMode=control-group systemd signals the workers, and so does the supervisor."""
    node = start(2)
    for pid in node.worker_pids:
        os.kill(pid, signal.SIGTERM)
    assert node.stop() == -signal.SIGTERM
    assert all(has_ended(pid) for pid in node.worker_pids)


def test_bad_settings_end_the_start(settings: Settings) -> None:
    # The supervisor can read this path; in the workers it does not exist.
    with (settings.folder / "secret").open() as secret:
        command = [str(TWISTD), "-n", "--pidfile=", "callcenter-ws", "--workers", "2", "--config", str(settings.file)]
        ended = subprocess.run(
            [*command, "--set", f"jwt.secret_file=/dev/fd/{secret.fileno()}"],
            pass_fds=[secret.fileno()],
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
    assert (
        "worker 1: callcenter-ws cannot start:" in ended.stdout
        or "worker 2: callcenter-ws cannot start:" in ended.stdout
    )
    assert "ended with status 1 before it ever served" in ended.stdout
    assert ended.returncode == 1, ended.stdout


def test_the_log_file_of_a_daemon_has_the_lines_of_all_workers(settings: Settings) -> None:
    log, pid_file = settings.folder / "gateway.log", settings.folder / "gateway.pid"
    command = [str(TWISTD), f"--logfile={log}", f"--pidfile={pid_file}", "callcenter-ws", "--workers", "2"]
    subprocess.run([*command, "--config", str(settings.file)], timeout=DEADLINE, check=True)
    wait_until(lambda: log.exists() and len(re.findall(r"\(pid \d+\) serves\n", log.read_text())) == 2, "the workers")
    pid = int(pid_file.read_text())
    os.kill(pid, signal.SIGTERM)
    assert has_ended(pid)
    text = log.read_text()
    for number in (1, 2):
        assert f"worker {number}: callcenter-ws " in text
        assert f"worker {number}: Server Shut Down." in text
    assert "all workers have ended" in text
