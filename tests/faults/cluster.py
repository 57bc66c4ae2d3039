"""Real gateways that share a real Redis."""

from __future__ import annotations

import json
import re
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
from restartable import RestartableGateway, stable_port, until

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
    """A Redis and some gateways; they are not started.

    Args:
        settings: a part of each gateway's TOML file, which begins within ``[store]``.
        url: the URL of the Redis for the gateways, if it differs from the real one.
    """

    def __init__(self, folder: Path, settings: str = SETTINGS, *, nodes: int = 3, url: str | None = None) -> None:
        self.redis = RedisServer(folder / "redis", stable_port())
        secret = secrets.token_hex(32)
        self.nodes = [self._node(folder, number, settings, url or self.redis.url, secret) for number in range(nodes)]

    def _node(self, folder: Path, number: int, settings: str, url: str, secret: str) -> RestartableGateway:
        home = folder / f"n{number}"
        home.mkdir()
        more = f'[cluster]\nnode_id = "n{number}"\nlease = {LEASE}\n'
        return RestartableGateway(home, settings + more, url=url, secret=secret)

    def start(self) -> None:
        """Start everything, and wait until it is ready."""
        self.redis.start()
        with ThreadPoolExecutor(len(self.nodes)) as pool:
            list(pool.map(RestartableGateway.start, self.nodes))
        self.until_ready()

    def until_ready(self, nodes: Sequence[RestartableGateway] | None = None) -> None:
        """Wait until the nodes, or all nodes, are ready."""
        for node in self.nodes if nodes is None else nodes:
            until(lambda node=node: is_ready(node), f"{node.folder.name} is ready")

    def end(self) -> None:
        """Stop everything that runs."""
        for node in self.nodes:
            if node.process is not None:
                node.process.process.send_signal(signal.SIGCONT)
                node.end()
        self.redis.stop()

    def complaints(self) -> list[str]:
        """Return the log entries of the nodes that report bugs, with their tracebacks."""
        bugs = ("Traceback", "unhandled error", "Unhandled", "is not understood")
        # The lines of an entry after its first one are indented.
        entries = [entry for node in self.nodes for entry in re.split(r"\n(?!\t)", node.log)]
        return [entry for entry in entries if any(bug in entry for bug in bugs)]

    # Data in Redis

    def stored_events(self) -> list[StoredEvent]:
        """Return the events in the logs of all tenants."""
        with RedisPeer(self.redis.port) as peer:
            found: list[StoredEvent] = []
            for name in sorted(peer.ask("KEYS", "callcenter-ws:{*}:log")):
                tenant = name.decode().partition("{")[2].partition("}")[0]
                found += [_stored(tenant, *entry) for entry in peer.ask("XRANGE", name, "-", "+")]
            return found

    def known_tenants(self) -> set[str]:
        """Return the tenants that are registered."""
        with RedisPeer(self.redis.port) as peer:
            return {name.decode() for name in peer.ask("SMEMBERS", "callcenter-ws:tenants")}


def _stored(tenant: str, stream_id: bytes, fields: list[bytes]) -> StoredEvent:
    # The name of the source follows the payload, if the event has one.
    seq, _, _, event_id, type_, _, _, _, _, _, payload, *_ = json.loads(fields[5])
    assert stream_id == b"%d-0" % seq and fields[1].decode() == event_id
    return tenant, seq, event_id, type_, json.dumps(payload)


class RedisPeer:
    """A connection to a Redis."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE)
        self._reader = hiredis.Reader()

    def __enter__(self) -> RedisPeer:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, *command: str | bytes) -> Any:
        """Send a command; return its reply."""
        self._socket.sendall(hiredis.pack_command(command))
        while (reply := self._reader.gets()) is False:
            data = self._socket.recv(1 << 20)
            assert data, "Redis closed the connection"
            self._reader.feed(data)
        if isinstance(reply, hiredis.ReplyError):
            raise AssertionError(str(reply))
        return reply


def is_ready(node: RestartableGateway) -> bool:
    """Return whether ``/readyz`` of a node says that it is ready."""
    try:
        return node.http("/readyz", timeout=2)[0] == 200
    except (OSError, ValueError):
        return False
