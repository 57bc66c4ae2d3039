"""Thousands of WebSocket clients in one process, which follow the protocol: they resume, and reconnect when asked to.

Each is an ``asyncio.Protocol`` that parses only what it needs. A client counts every event by its position.
"""

from __future__ import annotations

import asyncio
import errno
import os
import random
import re
import resource
from collections import Counter
from collections.abc import Sequence

import msgspec
from processes import DEADLINE
from restartable import RestartableGateway

MASK = b"\0\0\0\0"
FIRST_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS = 1.0, 10.0
"""The delays before further attempts, after one has failed."""

CONNECTS_AT_ONCE = 50
"""Clients that connect at the same time at the beginning."""

_HEADERS = (
    "Host: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


class Payload(msgspec.Struct):
    """The fields of control messages that a client needs."""

    epoch: str = ""
    seq: int = 0
    to_seq: int = 0
    reconnect_after_ms: int = 0


class Envelope(msgspec.Struct):
    """A message."""

    type: str
    payload: msgspec.Raw
    seq: int | None = None


_decode = msgspec.json.Decoder(Envelope).decode
_decode_payload = msgspec.json.Decoder(Payload).decode


class Connection(asyncio.Protocol):
    """One connection of a client."""

    transport: asyncio.Transport

    def __init__(self, client: CrowdClient, head: bytes) -> None:
        self._client = client
        self._head = head
        self._data = b""
        self._is_open = False
        self.status = 0
        self.code = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self._head)

    def data_received(self, data: bytes) -> None:
        self._data += data
        if not self._is_open:
            head, separator, rest = self._data.partition(b"\r\n\r\n")
            if not separator:
                return
            self.status = int(head.split()[1])
            if self.status != 101:
                self.transport.abort()
                return
            self._is_open, self._data = True, rest
        self._parse_frames()

    def _parse_frames(self) -> None:
        data, start = self._data, 0
        while len(data) - start >= 2:
            size, begin = data[start + 1], start + 2
            if size >= 126:
                length = 2 if size == 126 else 8
                size, begin = int.from_bytes(data[begin : begin + length], "big"), begin + length
            if len(data) < begin + size:
                break
            self._frame_received(data[start] & 15, data[begin : begin + size])
            start = begin + size
        self._data = data[start:]

    def _frame_received(self, opcode: int, payload: bytes) -> None:
        if opcode == 1:
            self._client.received(_decode(payload))
        elif opcode == 9:
            self._send(0x8A, payload)
        elif opcode == 8:
            self.code = int.from_bytes(payload[:2], "big")
            self._send(0x88, payload[:2])
            self.transport.close()

    def _send(self, first: int, payload: bytes) -> None:
        self.transport.write(bytes([first, 0x80 | len(payload)]) + MASK + payload)

    def close(self) -> None:
        """Begin the closing handshake."""
        self._send(0x88, (1000).to_bytes(2, "big"))
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._client.disconnected(self)


class CrowdClient:
    """A client of a crowd.

    Attributes:
        first: the position at which it connected first.
        epoch, seq: the position of the last message that it has processed.
        seen: the positions of the events that it has received, in their order.
    """

    def __init__(self, crowd: Crowd, number: int) -> None:
        self._crowd = crowd
        self.tenant = crowd.tenants[number % len(crowd.tenants)]
        self.user = f"u{number}"
        # Most are daemons: with thousands of users, most events would be those of their presence.
        self.role = "agent" if number % crowd.clients_per_agent == 0 else "service"
        self.epoch = ""
        self.first = self.seq = 0
        self.seen: list[int] = []
        self._home = 0
        self._attempts = 0
        self._connection: Connection | None = None
        self._drained: asyncio.TimerHandle | None = None
        self._connecting: asyncio.Task[None] | None = None

    def __str__(self) -> str:
        return f"{self.tenant}/{self.user}"

    # Connections

    async def connect(self) -> None:
        """Connect to a random node, or to the next one after a refusal."""
        crowd = self._crowd
        nodes = list(range(len(crowd.nodes)))
        crowd.rng.shuffle(nodes)
        for number in nodes:
            node = crowd.nodes[number]
            connection = Connection(self, self._request(node))
            self._home, self._connection = number, connection
            try:
                await asyncio.get_running_loop().create_connection(lambda made=connection: made, "127.0.0.1", node.port)
                return
            except OSError as error:
                crowd.refused[errno.errorcode.get(error.errno or 0, str(error))] += 1
        self._connection = None
        self._retry()

    def _request(self, node: RestartableGateway) -> bytes:
        position = f"&epoch={self.epoch}&seq={self.seq}" if self.epoch else ""
        token = node.token(self.role, sub=self.user, tenant_id=self.tenant)
        return f"GET /ws?events=alert{position} HTTP/1.1\r\n{_HEADERS}Authorization: Bearer {token}\r\n\r\n".encode()

    def _start_connecting(self) -> None:
        self._drained = None
        if self._crowd.is_leaving:
            return
        if self._connection is not None:
            # The time has come before the node has closed it.
            former, self._connection = self._connection, None
            self._crowd.connected.discard(self)
            former.close()
        self._connecting = asyncio.create_task(self.connect())

    def _retry(self) -> None:
        if not self._crowd.is_leaving:
            # As the manual recommends: half of the delay is random.
            ceiling = min(MAX_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2**self._attempts)
            self._attempts += 1
            delay = ceiling / 2 + self._crowd.rng.uniform(0, ceiling / 2)
            self._drained = asyncio.get_running_loop().call_later(delay, self._start_connecting)

    def disconnected(self, connection: Connection) -> None:
        """Reconnect when the node has asked for it, or else after a while."""
        if connection.code:
            self._crowd.closed_with[connection.code] += 1
        if connection.status not in (0, 101):
            self._crowd.refused[str(connection.status)] += 1
        if connection is self._connection:
            self._connection = None
            self._crowd.connected.discard(self)
            if self._drained is None:
                self._retry()

    def leave(self) -> None:
        """Close the connection."""
        if self._drained is not None:
            self._drained.cancel()
        if self._connection is not None and self._connection.status == 101:
            self._connection.close()

    # Messages

    def received(self, message: Envelope) -> None:
        """Process a message."""
        if message.seq is not None:
            if message.seq <= self.seq:
                self._crowd.violations.append(f"{self} received {message.seq} after {self.seq}")
            self.seq = message.seq
            self.seen.append(message.seq)
            self._crowd.progress(self)
            return
        payload = _decode_payload(message.payload)
        if message.type == "welcome":
            self._crowd.connected.add(self)
            self._attempts = 0
            if not self.epoch:
                self.epoch, self.first, self.seq = payload.epoch, payload.seq, payload.seq
        elif message.type == "resumed":
            self.seq = max(self.seq, payload.to_seq)
        elif message.type == "drain":
            self._crowd.drains.setdefault(self._home, []).append(payload.reconnect_after_ms)
            loop = asyncio.get_running_loop()
            self._drained = loop.call_later(payload.reconnect_after_ms / 1000, self._start_connecting)
        elif message.type in ("reset", "gap", "snapshot", "error"):
            self._crowd.violations.append(f"{self} received {message.type} {bytes(message.payload)[:200]!r}")


class Crowd:
    """Clients of one or more nodes.

    Attributes:
        connected: the clients that have been welcomed and are connected.
        drains: the ``reconnect_after_ms`` of all clients, by the index of the node that sent them.
        closed_with: how often each close code was received.
        refused: how often connects were refused, by HTTP status.
        violations: what clients received against the protocol.
    """

    def __init__(
        self,
        nodes: Sequence[RestartableGateway],
        count: int,
        tenants: Sequence[str],
        seed: int,
        *,
        clients_per_agent: int = 50,
    ) -> None:
        self.nodes = nodes
        self.tenants = tenants
        self.clients_per_agent = clients_per_agent
        self.rng = random.Random(seed)
        self.connected: set[CrowdClient] = set()
        self.drains: dict[int, list[int]] = {}
        self.closed_with: Counter[int] = Counter()
        self.refused: Counter[str] = Counter()
        self.violations: list[str] = []
        self.is_leaving = False
        self._awaited: dict[str, int] = {}
        self._behind = 0
        self.clients = [CrowdClient(self, number) for number in range(count)]

    def __str__(self) -> str:
        return f"closed with {dict(self.closed_with)}, refused with {dict(self.refused)}"

    async def arrive(self) -> None:
        """Connect all clients, and wait until they are welcomed."""
        _raise_descriptor_limit(len(self.clients) + 1_000)
        slots = asyncio.Semaphore(CONNECTS_AT_ONCE)

        async def connect(client: CrowdClient) -> None:
            async with slots:
                await client.connect()
                await self.until(lambda: client in self.connected, f"{client} is connected")

        await asyncio.gather(*map(connect, self.clients))

    async def until_all_connected(self) -> None:
        await self.until(lambda: len(self.connected) == len(self.clients), "all are connected", 3 * DEADLINE)

    async def until(self, condition: object, what: str, deadline: float = DEADLINE) -> None:
        """Wait for a condition; fail after ``deadline`` seconds, or at the first violation."""
        assert callable(condition)
        end = asyncio.get_running_loop().time() + deadline
        while not condition():
            assert not self.violations, self.violations[:10]
            behind = f"{len(self.connected)} of {len(self.clients)} connected, {self._behind} behind"
            assert asyncio.get_running_loop().time() < end, f"waited {deadline:g} s until {what}; {behind}; {self}"
            await asyncio.sleep(0.05)

    async def until_received(self, last: dict[str, int]) -> None:
        """Wait until each client has received the event at this position of its tenant."""
        self._awaited = last
        self._behind = sum(client.seq < last[client.tenant] for client in self.clients)
        await self.until(lambda: not self._behind, "all have received the last event", 3 * DEADLINE)

    def progress(self, client: CrowdClient) -> None:
        """Count a client no longer that has received the event which is waited for."""
        if self._awaited.get(client.tenant) == client.seq:
            self._behind -= 1

    def compare(self, published: dict[str, list[int]]) -> int:
        """Check that each client has received exactly what was published since it connected; return how many events.

        Args:
            published: the positions of the events, by tenant.
        """
        assert not self.violations, self.violations[:10]
        compared = 0
        for client in self.clients:
            expected = [seq for seq in published[client.tenant] if seq > client.first]
            missing, doubled = set(expected) - set(client.seen), len(client.seen) - len(set(client.seen))
            assert client.seen == expected, f"{client}: missing {sorted(missing)[:10]}, {doubled} doubled"
            compared += len(expected)
        return compared

    async def leave(self) -> None:
        """Close all connections."""
        self.is_leaving = True
        for client in self.clients:
            client.leave()
        await asyncio.sleep(0)


def _raise_descriptor_limit(needed: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < needed:
        assert hard == resource.RLIM_INFINITY or hard >= needed, f"{needed} descriptors are needed, {hard} permitted"
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def clients_from_environment(default: int = 5_000) -> int:
    """Return the number of clients, from ``CALLCENTER_WS_DRAIN_CLIENTS`` if that is set."""
    return int(os.environ.get("CALLCENTER_WS_DRAIN_CLIENTS", default))


def stated_rates(log: str) -> list[tuple[int, int]]:
    """Return the number of clients, and the rate in 100 ms, that each drain in a log has stated."""
    return [
        (int(clients), int(rate)) for clients, rate in re.findall(r"draining: (\d+) clients .* at most (\d+) in", log)
    ]
