"""What reads the bytes of a manager interface in this process: our framing and machine, a plain parser, panoramisk."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.cpu import Span, Stopwatch
from bench.exchange_server import BANNER, ExchangeAnswers
from bench.failure import InvalidRun, Unavailable
from callcenter_ws.bridge.asterisk.framing import Framing
from callcenter_ws.bridge.asterisk.login import Credentials
from callcenter_ws.bridge.asterisk.machine import AsteriskMachine
from callcenter_ws.bridge.asterisk.session import AmiSession
from callcenter_ws.bridge.settings import Directions, SourceSettings
from callcenter_ws.runtime.endpoints import EndpointDescription

TENANT = "acme"
AGENT_PATTERN = "PJSIP/(?P<user_id>[0-9]+)"
CHUNK_BYTES = 16_384
"""Bytes that are read at once."""

Read = Callable[[Iterable[bytes]], int]
"""Reads chunks, and returns the number of events in them."""


def _source_settings() -> SourceSettings:
    return SourceSettings(
        name="bench",
        kind="asterisk",
        endpoint=EndpointDescription.parse("tcp:127.0.0.1:1"),
        username="bench",
        secret_file=Path(),
        tenant=TENANT,
        agent_pattern=AGENT_PATTERN,
        directions=Directions(inbound=("from-trunk",), internal=("internal",)),
    )


def chunks_of(events: Sequence[bytes]) -> list[bytes]:
    """Return the bytes of events as they would be read."""
    data = b"".join(events)
    return [data[at : at + CHUNK_BYTES] for at in range(0, len(data), CHUNK_BYTES)]


def timed(read: Read, chunks: Iterable[bytes]) -> tuple[Span, int]:
    """Read chunks; return time and CPU, and the number of events."""
    watch = Stopwatch(server=os.getpid())
    count = read(chunks)
    return watch.stop(), count


def read_plainly(chunks: Iterable[bytes]) -> int:
    """Make a dictionary of each event, without any of the rules and bounds of a real interface."""
    count, rest = 0, ""
    for chunk in chunks:
        *blocks, rest = (rest + chunk.decode()).split("\r\n\r\n")
        for block in blocks:
            headers = dict(line.split(": ", 1) for line in block.split("\r\n"))
            count += "Event" in headers
    return count


def read_framing(chunks: Iterable[bytes]) -> int:
    """Have our framing make a message of each event."""
    framing = Framing()
    framing.feed(BANNER)
    count = 0
    for chunk in chunks:
        framing.feed(chunk)
        while framing.next() is not None:
            count += 1
    return count


class _Counter:
    """Stands for panoramisk's manager: counts the events that are dispatched."""

    def __init__(self) -> None:
        self.count = 0

    def dispatch(self, message: object) -> None:
        """Count an event."""
        self.count += 1


def panoramisk_reader() -> Read:
    """Return what has panoramisk dispatch each event to a handler that does nothing.

    Raises:
        Unavailable: if it is not installed.
    """
    try:
        module = import_module("panoramisk.ami_protocol")
    except ImportError:
        raise Unavailable("panoramisk is not installed; bench/setup installs it") from None

    def read(chunks: Iterable[bytes]) -> int:
        protocol: Any = module.AMIProtocol()  # Any: panoramisk is untyped
        protocol.connection_made(None)
        protocol.encoding = "utf8"
        protocol.factory = _Counter()
        protocol.data_received(BANNER)
        for chunk in chunks:
            protocol.data_received(chunk)
        count: int = protocol.factory.count
        return count

    return read


def panoramisk_name() -> str:
    """Return its name with the version that is installed."""
    return f"panoramisk {version('panoramisk')}"


class MachineReader:
    """Session and state machine of one exchange, logged in and synchronized; what it would send is only counted.

    Attributes:
        published: the number of events of the gateway.
    """

    def __init__(self, queue_items: Sequence[str]) -> None:
        self._machine = AsteriskMachine(_source_settings(), {})
        credentials = Credentials("bench", "secret")
        self._session = AmiSession(credentials, self._machine, "bench", wanted=self._machine.wanted)
        self._arrived = 0.0
        self.published = 0
        answers = ExchangeAnswers(queue_items)
        self._feed(BANNER)
        while output := self._session.take_output():
            self._feed(answers.feed(output))
        if not self._session.is_synchronized:
            raise InvalidRun(f"the session is {self._session.state}: {self._session.loss}")

    def __call__(self, chunks: Iterable[bytes]) -> int:
        """Read chunks; return the number of events, those included that are not wanted."""
        framing = self._session.framing
        before = framing.messages
        for chunk in chunks:
            self._feed(chunk)
        return framing.messages - before

    def _feed(self, data: bytes) -> None:
        # As a connection does it: what the messages of a step have made is one unit.
        self._session.feed(data)
        while self._session.step(self._arrived):
            pass
        self.published += len(self._machine.take().events)
