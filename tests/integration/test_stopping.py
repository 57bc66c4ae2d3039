"""A gateway that is asked to stop, as its peers see it."""

from __future__ import annotations

import http.client
import json
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from processes import DEADLINE, wait_until
from redis_server import RedisServer
from websockets.exceptions import InvalidStatus

ALERT = {"title": "t", "message": "m"}
TIMEOUT = 600
"""The drain takes so long that all requests of a test are made meanwhile; a second signal ends it."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    redis = RedisServer(tmp_path_factory.mktemp("redis"))
    redis.start()
    yield redis
    redis.stop()


class Draining:
    """A node that drains, another node, and the clients of the first in the order of their closes."""

    def __init__(self, nodes: list[Any]) -> None:
        self.node, self.other = nodes
        self.idle = self._connection()
        self.ask("/livez", connection=self.idle)
        self.clients = [self.node.connect(claims={"sub": f"u{number}"}) for number in range(4)]
        self.node.process.send_signal(signal.SIGTERM)
        self.drains = [client.receive_type("drain")["payload"] for client in self.clients]

    def _connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.node.port, timeout=DEADLINE)

    def ask(
        self, path: str, body: Any = None, connection: http.client.HTTPConnection | None = None
    ) -> tuple[int, Any, http.client.HTTPResponse]:
        """Return the status and the body of a response, and the response."""
        if connection is None:
            with closing(self._connection()) as own:
                return self.ask(path, body, own)
        headers = {"Authorization": f"Bearer {self.node.token('service', tenant_id='*')}"}
        data = None if body is None else json.dumps(body)
        connection.request("GET" if body is None else "POST", path, data, headers)
        response = connection.getresponse()
        text = response.read().decode()
        return response.status, json.loads(text) if text.startswith("{") else text, response


@pytest.fixture
def draining(two_nodes: Callable[..., list[Any]]) -> Iterator[Draining]:
    started = Draining(two_nodes(f"limits.drain_timeout={TIMEOUT}", "limits.presence_grace=600"))
    yield started
    started.idle.close()
    # A second signal, unless the test has sent it.
    started.node.stop()


def test_the_ports_stay_open_and_say_that_the_node_drains(draining: Draining) -> None:
    status, ready, _ = draining.ask("/readyz")
    assert (status, ready["ready"]) == (503, False)
    assert ready["reasons"] == ["draining: this node is shutting down"]
    assert draining.ask("/livez")[:2] == (200, {"alive": True})
    status, metrics, _ = draining.ask("/metrics")
    assert status == 200 and "callcenter_ws_connections" in metrics
    event = {"tenant_id": "acme", "type": "alert", "payload": ALERT}
    for path, body in (("/ws/events", event), ("/ws/stats", None), ("/schemas/", None), ("/nowhere", None)):
        status, error, response = draining.ask(path, body)
        assert (status, error["error"]["code"]) == (503, "draining"), path
        assert response.headers["Retry-After"] == "5"
        assert response.headers["Connection"] == "close"
    # Also for a page that cannot see HTTP statuses: its client is not told to wait for anything of this node.
    for options in ({}, {"subprotocols": ["callcenter.v1"]}):
        with pytest.raises(InvalidStatus) as refused:
            draining.node.connect(**options)
        assert refused.value.response.status_code == 503
        assert refused.value.response.headers["Retry-After"] == "5"


def test_a_connection_that_is_kept_alive_is_closed_after_its_next_response(draining: Draining) -> None:
    status, error, response = draining.ask("/ws/stats", connection=draining.idle)
    assert (status, error["error"]["code"], response.will_close) == (503, "draining", True)
    probe = socket.create_connection(("127.0.0.1", draining.node.port), timeout=DEADLINE)
    with probe, probe.makefile("rb") as answers:
        probe.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200 OK" in answers.readline()
        assert b"connection: close" in answers.read().lower()


def test_clients_are_served_until_their_own_close(draining: Draining) -> None:
    first, *others = draining.clients
    assert [drain["reconnect_after_ms"] for drain in draining.drains] == [1_000, 149_500, 298_000, 446_500]
    assert first.close_code() == 4003
    draining.other.publish("alert", {**ALERT, "title": "of the other node"})
    for client in others:
        assert client.receive_type("alert")["payload"]["title"] == "of the other node"
        assert client.request("ping")["type"] == "pong"
        assert client.request("snapshot")["type"] == "snapshot"
    epoch, seq = first.welcome["payload"]["epoch"], first.welcome["payload"]["seq"]
    again = draining.other.connect(claims={"sub": "u0"}, path=f"/ws?epoch={epoch}&seq={seq}")
    assert again.receive_type("alert")["payload"]["title"] == "of the other node"


def test_the_port_of_daemons_is_closed_at_once(draining: Draining) -> None:
    path: Path = draining.node.amp_path
    wait_until(lambda: not path.exists(), "the socket of daemons is removed")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_the_drain(draining: Draining, number: signal.Signals) -> None:
    assert draining.clients[0].close_code() == 4003
    draining.node.process.send_signal(number)
    assert [client.close_code() for client in draining.clients[1:]] == [4003] * 3
    assert draining.node.process.wait(DEADLINE) == -signal.SIGTERM
    draining.node.reader.join(DEADLINE)
    assert "a second signal: closing 3 clients and 0 daemons at once" in draining.node.log
    assert "Main loop terminated" in draining.node.log
    # It has reported to the store that its users have disconnected, and left the cluster.
    status, user = draining.other.http("/ws/users/u1/online", token=draining.other.token("supervisor"))
    assert (status, user["online"]) == (200, False)


def test_two_signals_in_one_turn_are_a_first_and_a_second_one(start_gateway: Callable[..., Any]) -> None:
    gateway = start_gateway()
    client = gateway.connect()
    wait_until(lambda: "callcenter-ws serves" in gateway.log, "the gateway handles signals")
    for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGINT, signal.SIGCONT):
        gateway.process.send_signal(number)
    assert client.close_code() == 4003
    assert gateway.stop() in (-signal.SIGTERM, -signal.SIGINT)
    assert "a second signal: closing 1 clients and 0 daemons at once" in gateway.log


def test_a_redis_that_does_not_answer_does_not_delay_the_drain(
    two_nodes: Callable[..., list[Any]], server: RedisServer
) -> None:
    node, _ = two_nodes("store.timeout=60", "limits.drain_timeout=6", "cluster.lease=60")
    clients = [node.connect(claims={"sub": f"u{number}"}) for number in range(3)]
    admin = node.token("admin", tenant_id="*")
    wait_until(
        lambda: "callcenter_ws_cluster_processes 2.0" in node.http("/metrics", token=admin)[1],
        "it knows the other node",
    )
    server.pause()
    try:
        node.process.send_signal(signal.SIGTERM)
        for client in clients:
            client.receive_type("drain")
        # Paced: the other node was alive a moment ago.
        assert [client.close_code() for client in clients] == [4003] * 3
        wait_until(lambda: "other processes take over" in node.log, "the drain in the log")
    finally:
        server.resume()
    assert node.process.wait(DEADLINE) == -signal.SIGTERM


def test_further_signals_change_nothing(start_gateway: Callable[..., Any]) -> None:
    gateway = start_gateway()
    client = gateway.connect()
    for _ in range(5):
        gateway.process.send_signal(signal.SIGTERM)
    assert client.close_code() == 4003
    assert gateway.process.wait(DEADLINE) == -signal.SIGTERM
