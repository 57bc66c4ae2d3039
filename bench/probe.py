"""Measures the round trips of clients that behave, while something else happens to the gateway."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle

from bench.raw_websocket import RawWebSocket, frame

_INTERVAL_SECONDS = 0.01
"""The time between two round trips. Each of the clients stays below ``limits.rate``."""

_PING = frame(b'{"type":"ping"}')


class Probe:
    """Connected agents, each of which in turn sends a ``ping`` message and waits for its ``pong``."""

    def __init__(self, port: int, tokens: Sequence[str]) -> None:
        self._clients = [RawWebSocket(port, "/ws?events=alert", token) for token in tokens]
        self._turns = cycle([(client, client.messages()) for client in self._clients])
        for client in self._clients:
            _await(client.messages(), b'{"type":"welcome"')

    def run(self, seconds: float, between: Callable[[], object] = lambda: None) -> list[float]:
        """Return the round trips, in seconds; ``between`` is called after each.

        Raises:
            OSError: if the gateway disconnects a client, or does not answer.
        """
        roundtrips: list[float] = []
        end = time.monotonic() + seconds
        while not roundtrips or time.monotonic() < end:
            client, messages = next(self._turns)
            began = time.perf_counter()
            client.socket.sendall(_PING)
            _await(messages, b'{"type":"pong"')
            roundtrips.append(time.perf_counter() - began)
            between()
            time.sleep(_INTERVAL_SECONDS)
        return roundtrips

    def close(self) -> None:
        """Disconnect."""
        for client in self._clients:
            client.close()


def _await(messages: Iterator[bytes], start: bytes) -> None:
    for message in messages:
        if message.startswith(start):
            return
