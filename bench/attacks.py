"""Ways in which peers misbehave, each by an own process that runs for a limited time, against this machine only."""

from __future__ import annotations

import json
import select
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from bench.amp_box import encode_box
from bench.event import call_center
from bench.failure import InvalidRun
from bench.raw_websocket import PING, RawWebSocket, frame, handshake
from bench.request import publish_batch

_READ_BYTES = 262_144
_PIPELINED = b"GET / HTTP/1.1\r\n\r\n" * 3_640
_SMALL_BUFFER = 4_096
_RETRY_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Target:
    """What the attackers know of a gateway.

    Attributes:
        port, amp_port: of the site and of AMP over TCP.
        tokens: of agents, one for each connection that an attack needs.
        daemon: a valid AMP secret.
        visitors: the path at which anonymous visitors connect.
        seconds: how long the attack lasts.
    """

    port: int
    amp_port: int
    tokens: tuple[str, ...]
    daemon: str
    visitors: str
    seconds: float


Attack = Callable[[Target], None]


def pipelined_unread(target: Target) -> None:
    """Send pipelined requests on ten sockets, and read nothing."""
    _flood(target, [_PIPELINED] * 10, reads=False)


def pipelined_read(target: Target) -> None:
    """Send pipelined requests on thirty sockets, and read the answers."""
    _flood(target, [_PIPELINED] * 30, reads=True)


def silent_amp(target: Target) -> None:
    """Hold fifty AMP connections that say nothing, and open a new one for each that is closed."""
    _flood(target, [b""] * 50, reads=True, port=target.amp_port)


def secret_guesses(target: Target) -> None:
    """Try AMP secrets, on ten connections."""
    guess = b"".join(
        encode_box({b"_ask": b"%d" % number, b"_command": b"Authenticate", b"token": b"guess-%d" % number})
        for number in range(500)
    )
    _flood(target, [guess] * 10, reads=True, port=target.amp_port)


def refused_tokens(target: Target) -> None:
    """Connect with bad tokens, on twenty sockets."""
    _flood(target, [handshake("/ws", "not.a.token")] * 20, reads=True, again=True)


def unread_snapshots(target: Target) -> None:
    """Ask for a snapshot with every token, and do not read it."""
    end = time.monotonic() + target.seconds
    clients: list[RawWebSocket] = []
    for token in target.tokens:
        if time.monotonic() > end:
            return
        with suppress(OSError, InvalidRun):
            clients.append(RawWebSocket(target.port, "/ws?snapshot=1", token, receive_buffer=_SMALL_BUFFER))
    time.sleep(max(0.0, end - time.monotonic()))


def snapshot_requests(target: Target) -> None:
    """Ask for snapshots as fast as the gateway answers, on twenty connections."""
    _converse(target, "/ws", target.tokens[:20], [frame(b'{"type":"snapshot"}')])


def large_messages(target: Target) -> None:
    """Send messages of 500 KB with 55,000 keys as agents, on fifty connections."""
    keys = {f"{number:x}": 0 for number in range(55_000)}
    message = {"type": "chat.message", "payload": {"session_id": "s", "body": "b", **keys}}
    text = json.dumps(message, separators=(",", ":")).encode()
    _converse(target, "/ws", target.tokens[:50], [frame(text)])


def visitors(target: Target) -> None:
    """Send messages of 100 KB as sixty anonymous visitors."""
    body = json.dumps({"type": "chat.message", "payload": {"session_id": "s", "body": "x" * 100_000}}).encode()
    _converse(target, target.visitors, [None] * 60, [frame(body)])


def small_frames(target: Target) -> None:
    """Send pings, empty messages and invalid ones, thousands in one write, on ten connections."""
    writes = [frame(b"", PING) * 10_000, frame(b"{}") * 10_000, frame(b"[") * 10_000]
    _converse(target, "/ws", target.tokens[:10], writes)


def daemon_batches(target: Target) -> None:
    """Publish batches of 1,000 events as one daemon, without waiting for the answers, of a tenant without clients."""
    events = [event._replace(tenant="other") for event, _ in zip(call_center(), range(1_000), strict=False)]
    hello = encode_box({b"_ask": b"a", b"_command": b"Authenticate", b"token": target.daemon.encode()})
    _flood(target, [hello + publish_batch(events).data], reads=True, port=target.amp_port, again=True)


ATTACKS: Mapping[str, Attack] = {
    "pipelined requests, answers unread": pipelined_unread,
    "pipelined requests, answers read": pipelined_read,
    "silent AMP connections": silent_amp,
    "AMP secrets tried": secret_guesses,
    "refused tokens": refused_tokens,
    "snapshots that are not read": unread_snapshots,
    "snapshots as fast as possible": snapshot_requests,
    "messages of 55,000 keys": large_messages,
    "visitors with large messages": visitors,
    "10,000 small frames in one write": small_frames,
    "batches of 1,000 events": daemon_batches,
}


def _flood(
    target: Target,
    writes: list[bytes],
    *,
    reads: bool,
    port: int | None = None,
    again: bool = False,
) -> None:
    """Hold one socket for each of ``writes``, and write it again and again; open a new socket for each that is closed.

    Args:
        reads: whether to read what is answered.
        again: whether to write only as often as something is answered.
    """
    end = time.monotonic() + target.seconds
    flows = [_Flow(port or target.port, data, reads=reads, paced=again) for data in writes]
    while time.monotonic() < end:
        for flow in flows:
            flow.connect()
        _serve(flows, end)
    for flow in flows:
        flow.close()


class _Flow:
    """One socket of a flood."""

    def __init__(self, port: int, data: bytes, *, reads: bool, paced: bool) -> None:
        self._port = port
        self._data = data
        self._left = memoryview(b"")
        self._reads = reads
        self._paced = paced
        self._retry_at = 0.0
        self.socket: socket.socket | None = None
        self.writes = False

    def connect(self) -> None:
        """Connect if the socket is closed."""
        if self.socket is not None or time.monotonic() < self._retry_at:
            return
        self._retry_at = time.monotonic() + _RETRY_SECONDS
        with suppress(OSError):
            self.socket = socket.create_connection(("127.0.0.1", self._port), timeout=1)
            self.socket.setblocking(False)
            self._left = memoryview(self._data)
            self.writes = bool(self._data)

    def close(self) -> None:
        """Close the socket."""
        if self.socket is not None:
            self.socket.close()
            self.socket = None

    def write(self) -> None:
        """Write what the socket takes."""
        if self.socket is None:
            return
        self._left = self._left[self.socket.send(self._left) :]
        if not self._left:
            self._left = memoryview(self._data)
            self.writes = not self._paced

    def read(self) -> None:
        """Read what has arrived; raise ``ConnectionResetError`` at the end."""
        if self.socket is None:
            return
        if not self.socket.recv(_READ_BYTES):
            raise ConnectionResetError
        self.writes = bool(self._data)

    @property
    def events(self) -> int:
        """What to poll for."""
        return (select.POLLIN if self._reads else 0) | (select.POLLOUT if self.writes else 0)


def _serve(flows: list[_Flow], end: float) -> None:
    """Write and read until a socket is closed or the time is over."""
    poll = select.poll()
    by_number = {flow.socket.fileno(): flow for flow in flows if flow.socket is not None}
    while time.monotonic() < end:
        for number, flow in by_number.items():
            poll.register(number, flow.events)
        for number, found in poll.poll(1_000 * _RETRY_SECONDS):
            flow = by_number[number]
            try:
                if found & select.POLLOUT:
                    flow.write()
                if found & (select.POLLIN | select.POLLHUP | select.POLLERR):
                    flow.read()
            except BlockingIOError:
                continue
            except OSError:
                flow.close()
                return
        if len(by_number) < len(flows):
            return


def _converse(target: Target, path: str, tokens: tuple[str, ...] | list[str | None], writes: list[bytes]) -> None:
    """Hold a WebSocket for each token, write to all of them again and again, and read what comes."""
    end = time.monotonic() + target.seconds
    slots: list[RawWebSocket | None] = [None] * len(tokens)
    turns = _cycle(writes)
    while time.monotonic() < end:
        data = next(turns)
        for index, token in enumerate(tokens):
            slots[index] = _step(slots[index], target.port, path, token, data)
            if time.monotonic() >= end:
                break
    for client in slots:
        if client is not None:
            client.close()


def _cycle(writes: list[bytes]) -> Iterator[bytes]:
    while True:
        yield from writes


def _step(client: RawWebSocket | None, port: int, path: str, token: str | None, data: bytes) -> RawWebSocket | None:
    """Write once without blocking for long; return the connection, a new one if there was none, None if it is gone."""
    try:
        if client is None:
            client = RawWebSocket(port, path, token, origin="http://visitors.example" if token is None else None)
            client.socket.settimeout(_RETRY_SECONDS)
        with suppress(TimeoutError):
            client.socket.sendall(data)
        with suppress(BlockingIOError):
            if not client.socket.recv(_READ_BYTES, socket.MSG_DONTWAIT):
                raise ConnectionResetError
    except (OSError, InvalidRun):
        if client is not None:
            client.close()
        return None
    return client
