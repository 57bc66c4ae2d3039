"""A source at running gateways: numbers and announcements over killed processes and over nodes."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from processes import DEADLINE, wait_until

ALERT = b'{"title":"t","message":"m"}'


class Link:
    """An AMP connection over a unix socket, without Twisted: boxes are lists of length-prefixed keys and values."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(DEADLINE)
        self.socket.connect(str(path))
        self.stream = self.socket.makefile("rb")
        self._asked = 0

    def send(self, command: bytes, **arguments: bytes) -> None:
        self._asked += 1
        named = {name.encode(): value for name, value in arguments.items()}
        box = {b"_ask": b"%d" % self._asked, b"_command": command, **named}
        packed = b"".join(len(text).to_bytes(2, "big") + text for pair in box.items() for text in pair)
        self.socket.sendall(packed + b"\0\0")

    def answer(self) -> dict[bytes, bytes]:
        """Return the next box; an empty one if the gateway has closed the connection."""
        return dict(iter(lambda: (key := _text(self.stream), _text(self.stream) if key else b""), (b"", b"")))

    def call(self, command: bytes, **arguments: bytes) -> dict[bytes, bytes]:
        self.send(command, **arguments)
        return self.answer()

    def hello(self, instance: bytes = b"i1", **options: bytes) -> dict[bytes, bytes]:
        return self.call(b"Hello", source=b"pbx1", kind=b"asterisk", instance=instance, tenants=b'["acme"]', **options)

    def publish(self, *numbers: int) -> list[int]:
        """Publish events one at a time, without waiting for answers; return their positions."""
        for number in numbers:
            self.send(b"PublishEvent", tenant_id=b"acme", type=b"alert", payload=ALERT, source_seq=b"%d" % number)
        return [int(self.answer()[b"seq"]) for _ in numbers]

    def close(self) -> None:
        self.stream.close()
        self.socket.close()


def _text(stream: BinaryIO) -> bytes:
    return stream.read(int.from_bytes(stream.read(2), "big"))


@pytest.fixture
def connect() -> Iterator[Callable[[Any], Link]]:
    links: list[Link] = []

    def connect(gateway: Any) -> Link:
        links.append(Link(gateway.amp_path))
        return links[-1]

    yield connect
    for link in links:
        link.close()


def states(gateway: Any) -> list[str]:
    """Return the types of the source events in the snapshot."""
    client = gateway.connect("admin", "/ws?snapshot=1")
    snapshot = client.receive_type("snapshot")
    client.socket.close()
    return [event["type"] for event in snapshot["payload"]["events"] if event["type"].startswith("source.")]


def test_a_killed_gateway(start_gateway: Any, tmp_path: Path, connect: Callable[[Any], Link]) -> None:
    settings = f'[store]\nurl = "sqlite:{tmp_path}/events.sqlite"\n'
    lease = ("--set", "amp.source_lease=1")
    first = start_gateway(settings, *lease)
    link = connect(first)
    assert link.hello(generation=b"1")[b"source_seq"] == b"0"
    assert link.publish(1, 2, 3) == [2, 3, 4]
    first.process.kill()
    first.process.wait()
    second = start_gateway(settings, *lease)
    again = connect(second)
    answer = again.hello(generation=b"1")
    assert (answer[b"generation"], answer[b"source_seq"]) == (b"1", b"3")
    assert again.publish(2, 3, 4)[2] == 5
    assert states(second) == ["source.up"]
    assert connect(second).hello(b"i2")[b"_error_code"] == b"SOURCE_IN_USE"
    again.close()
    second.process.kill()
    second.process.wait()
    # The source never returns.
    third = start_gateway(settings, *lease)
    wait_until(lambda: states(third) == ["source.down"], "source.down")
    assert connect(third).hello(b"i2")[b"generation"] == b"2"
    assert states(third) == ["source.up"]


def test_another_node_of_a_redis(start_gateway: Any, own_server: Any, connect: Callable[[Any], Link]) -> None:
    settings = f'[store]\nurl = "{own_server.url}"\n'
    one, two = (start_gateway(settings, "--set", "amp.source_lease=1") for _ in range(2))
    for gateway in (one, two):
        wait_until(lambda gateway=gateway: gateway.http("/readyz")[0] == 200, "the node to be ready")
    first, second = connect(one), connect(two)
    assert b"lease" in first.hello(generation=b"1")
    assert first.publish(1, 2) == [2, 3]
    assert second.hello(generation=b"1")[b"source_seq"] == b"2"
    # The connection that was replaced is closed.
    assert first.answer() == {}
    assert second.publish(1, 2, 3)[2] == 4
    two.process.kill()
    two.process.wait()
    wait_until(lambda: states(one) == ["source.down"], "source.down")
    status, metrics = one.http("/metrics", token=one.token("admin"))
    assert status == 200
    assert "callcenter_ws_sources_lost_total 1.0" in metrics
    assert json.loads(connect(one).call(b"ListSources")[b"sources"])[0]["state"] == "down"


def test_sources_of_a_node_that_stops_may_wait_for_the_next_process(
    start_gateway: Any, own_server: Any, connect: Callable[[Any], Link]
) -> None:
    settings = f'[store]\nurl = "{own_server.url}"\n[limits]\ndrain_timeout = 600\n'
    gateway = start_gateway(settings, "--set", "amp.source_lease=30")
    wait_until(lambda: gateway.http("/readyz")[0] == 200, "the node to be ready")
    link = connect(gateway)
    assert b"lease" in link.hello(generation=b"1")
    (leases,) = own_server.ask("KEYS", "*:{sources}:leases")

    def seconds_left() -> float:
        (_, end) = own_server.ask("ZRANGE", leases, "0", "-1", "WITHSCORES")
        return float(end) - int(own_server.ask("TIME")[0])

    assert seconds_left() < 60
    gateway.process.terminate()
    assert link.answer() == {}
    wait_until(lambda: 300 < seconds_left() < 660, "the longer lease")
