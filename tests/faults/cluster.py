"""Three real gateways that share one real Redis, and what can be seen of them."""

from __future__ import annotations

import json
import secrets
import signal
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import hiredis
from checker import StoredEvent
from processes import DEADLINE
from redis_server import RedisServer
from restartable import RestartableGateway, steady_port, until

TIMEOUT = 1.0
LEASE = 3.0
GRACE = 3.0
DRAIN = 2.0
SETTINGS = f"""
history_events = 1000000
memory_events = 100
timeout = {TIMEOUT}
[limits]
outbox = 64
rate = 100000
burst = 100000
presence_grace = {GRACE}
drain_timeout = {DRAIN}
"""


class Cluster:
    """A Redis and some gateways; none of them runs yet.

    Args:
        settings: more of each gateway's TOML file, from within ``[store]`` on.
        url: where the gateways look for the Redis, if not where it is.
    """

    def __init__(self, folder: Path, settings: str = SETTINGS, *, nodes: int = 3, url: str | None = None) -> None:
        # Otherwise Redis may answer before the file has it, while the disk is busy.
        self.redis = RedisServer(folder / "redis", steady_port(), appendfsync="always")
        secret = secrets.token_hex(32)
        self.nodes = [self._node(folder, number, settings, url or self.redis.url, secret) for number in range(nodes)]

    def _node(self, folder: Path, number: int, settings: str, url: str, secret: str) -> RestartableGateway:
        home = folder / f"n{number}"
        home.mkdir()
        more = f'[cluster]\nnode_id = "n{number}"\nlease = {LEASE}\n'
        return RestartableGateway(home, settings + more, url=url, secret=secret)

    # Life

    def start(self) -> None:
        """Start everything, and wait until it serves."""
        self.redis.start()
        with ThreadPoolExecutor(len(self.nodes)) as pool:
            list(pool.map(RestartableGateway.start, self.nodes))
        self.until_ready()

    def until_ready(self, nodes: Sequence[RestartableGateway] | None = None) -> None:
        """Wait until the nodes (all, if none are named) can serve."""
        for node in self.nodes if nodes is None else nodes:
            until(lambda node=node: is_ready(node), f"{node.folder.name} can serve")

    def end(self) -> None:
        """End whatever runs."""
        for node in self.nodes:
            if node.process is not None:
                node.process.process.send_signal(signal.SIGCONT)
                node.end()
        self.redis.stop()

    def complaints(self) -> list[str]:
        """What the nodes have logged that nobody can want."""
        bugs = ("Traceback", "is a bug", "met a bug", "Unhandled", "is not understood")
        return [line for node in self.nodes for line in node.log.splitlines() if any(bug in line for bug in bugs)]

    # What is in Redis

    def stored_events(self) -> list[StoredEvent]:
        """All the tenants' logs."""
        with RedisPeer(self.redis.port) as peer:
            found: list[StoredEvent] = []
            for name in sorted(peer.ask("KEYS", "callcenter-ws:{*}:log")):
                tenant = name.decode().partition("{")[2].partition("}")[0]
                found += [_stored(tenant, *entry) for entry in peer.ask("XRANGE", name, "-", "+")]
            return found

    def known_tenants(self) -> set[str]:
        """Those that are found by whoever wants to hear of all."""
        with RedisPeer(self.redis.port) as peer:
            return {name.decode() for name in peer.ask("SMEMBERS", "callcenter-ws:tenants")}


def _stored(tenant: str, stream_id: bytes, fields: list[bytes]) -> StoredEvent:
    seq, _, _, event_id, type_, *_, payload = json.loads(fields[5])
    assert stream_id == b"%d-0" % seq and fields[1].decode() == event_id
    return tenant, seq, event_id, type_, json.dumps(payload)


class RedisPeer:
    """A connection to a Redis, to look behind the gateways' backs."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE)
        self._reader = hiredis.Reader()

    def __enter__(self) -> RedisPeer:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, *command: str | bytes) -> Any:
        """Send a command and return its reply."""
        self._socket.sendall(hiredis.pack_command(command))
        while (reply := self._reader.gets()) is False:
            data = self._socket.recv(1 << 20)
            assert data, "Redis closed the connection"
            self._reader.feed(data)
        if isinstance(reply, hiredis.ReplyError):
            raise AssertionError(str(reply))
        return reply


def is_ready(node: RestartableGateway) -> bool:
    """Whether a node says that it can serve."""
    try:
        return node.http("/readyz", timeout=2)[0] == 200
    except (OSError, ValueError):
        return False
