"""What clients do not read costs little, whoever reads too slowly is closed, and nobody else notices."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from processes import wait_until
from raw_socket import RawPeer, message

CALLS = 8_000
"""A snapshot of 4 MB."""

NON_READERS = 60

CONTINUATION, TEXT, PING, PONG = 0, 1, 9, 10


def publish_calls(gateway: Any, calls: int = CALLS) -> None:
    token = gateway.token("service", tenant_id="acme")
    for begin in range(0, calls, 1_000):
        events = [
            {
                "tenant_id": "acme",
                "type": "call.incoming",
                "payload": {
                    "unique_id": f"c{number}",
                    "caller_id": "555",
                    "destination": "100",
                    "queue_name": "sales",
                    "variables": {"note": f"{number:>250}"},
                },
            }
            for number in range(begin, begin + 1_000)
        ]
        status, _ = gateway.http("/ws/events", method="POST", token=token, body=events)
        assert status == 200


def resident_bytes(gateway: Any) -> int:
    status = Path(f"/proc/{gateway.process.pid}/status").read_text()
    return 1_024 * int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0])


def metric(gateway: Any, name: str) -> float:
    text = gateway.http("/metrics")[1]
    return float(re.findall(rf"^callcenter_ws_{name} (\S+)$", text, re.M)[0])


def read_any_frame(peer: RawPeer) -> tuple[int, bool, bytes]:
    first, size = peer.read(2)
    extended = {126: 2, 127: 8}.get(size, 0)
    if extended:
        size = int.from_bytes(peer.read(extended), "big")
    return first & 15, bool(first & 128), peer.read(size)


def frames_of(peer: RawPeer) -> Iterator[tuple[int, bool, bytes]]:
    while True:
        yield read_any_frame(peer)


def connect_without_reading(gateway: Any, number: int, query: str = "?snapshot=1", **claims: Any) -> RawPeer:
    peer = RawPeer(gateway.port, receive_buffer=4_096)
    token = gateway.token("agent", sub=f"a{number}", **claims)
    assert peer.handshake(f"/ws{query}", token=token)[0] == 101
    return peer


@pytest.fixture
def large(start_gateway: Callable[..., Any]) -> Any:
    gateway = start_gateway("[store]\nmemory_events = 1000\n[limits]\nslow_timeout = 600\nconnections_per_ip = 1000\n")
    publish_calls(gateway)
    return gateway


def test_clients_that_do_not_read_a_snapshot_cost_little(large: Any) -> None:
    healthy = large.connect("supervisor", max_size=None)
    healthy.send("snapshot")
    shown = [event["type"] for event in healthy.receive_type("snapshot")["payload"]["events"]]
    assert shown.count("call.incoming") == CALLS
    before = resident_bytes(large)
    with ExitStack() as stack:
        for number in range(NON_READERS):
            stack.enter_context(connect_without_reading(large, number))
        wait_until(lambda: metric(large, "outgoing_bytes") > 3_000_000, "the snapshot waits")
        assert healthy.request("ping")["type"] == "pong"
        # Each copy of the snapshot would be 4 MB, in two buffers. A piece for each, and a few versions of the snapshot.
        assert resident_bytes(large) - before < 80_000_000
        assert metric(large, "outgoing_bytes") < 60_000_000
        assert healthy.request("ping")["type"] == "pong"
    large.wait_until_delivered()


def test_a_pong_and_an_event_arrive_while_and_after_a_snapshot_is_read_slowly(large: Any) -> None:
    with connect_without_reading(large, 1, query="") as peer:
        assert peer.read_message()["type"] == "welcome"
        peer.send(message("snapshot"))
        parts, seen_pong = [], 0
        frames = frames_of(peer)
        while True:
            opcode, is_last, payload = next(frames)
            if opcode == PONG:
                seen_pong = len(parts)
                continue
            if opcode == PING:
                continue
            if opcode == TEXT and is_last:
                # presence.changed of this client, before the snapshot.
                continue
            parts.append(payload)
            if len(parts) == 3:
                peer.send(bytes([0x89, 0x80]) + bytes(4))
            if is_last:
                break
        assert 3 <= seen_pong < len(parts) - 10
        events = json.loads(b"".join(parts))["payload"]["events"]
        assert sum(event["type"] == "call.incoming" for event in events) == CALLS
        large.publish("alert", {"title": "after", "message": "m"})
        assert "after" in str(next(payload for opcode, _, payload in frames if opcode == TEXT))


def test_a_client_that_reads_below_the_minimum_rate_is_closed(start_gateway: Callable[..., Any]) -> None:
    gateway = start_gateway("[limits]\nslow_timeout = 1\nmin_rate = 100000000\n")
    publish_calls(gateway, 4_000)
    healthy = gateway.connect("supervisor", claims={"sub": "healthy"})
    with connect_without_reading(gateway, 1) as slow:
        slow.socket.settimeout(None)
        while "4001 slow_consumer" not in gateway.log:
            # Some bytes in every timeout.
            slow.socket.recv(100)
            assert gateway.http("/livez")[0] == 200
        # The close frame follows what the transport had accepted; the connection ends.
        data = slow.read_end()
        assert struct.pack("!H", 4001) in data
    assert healthy.request("ping")["type"] == "pong"


def test_above_the_bound_those_pay_that_do_not_read(start_gateway: Callable[..., Any]) -> None:
    gateway = start_gateway("[limits]\nslow_timeout = 600\noutgoing_bytes = 16777216\nconnections_per_ip = 1000\n")
    publish_calls(gateway, 8_000)
    healthy = gateway.connect("supervisor", claims={"sub": "healthy"})
    with ExitStack() as stack:
        # They have other queues each, and so share nothing.
        for number in range(12):
            stack.enter_context(connect_without_reading(gateway, number, queues=["sales", f"other-{number}"]))
        wait_until(lambda: metric(gateway, "closed_for_outgoing_bytes_total") >= 6, "some pay")
        wait_until(lambda: metric(gateway, "outgoing_bytes") <= 16_777_216, "the bound holds")
    assert healthy.request("ping")["type"] == "pong"
    gateway.stop()
    assert "healthy" not in "".join(line for line in gateway.lines if "slow_consumer" in line)
