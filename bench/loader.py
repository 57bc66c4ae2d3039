"""Drives many WebSocket clients, which run in the C program ``loader.c``; it is compiled when it is needed."""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from bench.compiler import TLS, ZLIB, Compiler
from bench.failure import InvalidRun
from bench.gateway import DEADLINE

PENDING = 32
"""Concurrent handshakes. Twisted's listen backlog is 50 by default; more connects would be retried after a second."""

_PAUSE_SECONDS = 0.01
_READ_BYTES = 65_536
_ENDED = "the loader has ended; its last line on standard error says why"


class Handshake(NamedTuple):
    """The opening handshake of one client.

    Attributes:
        path: the request target, with the query.
        headers: header lines.
        first: the ``seq`` that the client's first event must have; 0 for any.
    """

    path: str
    headers: tuple[str, ...]
    first: int = 0


@dataclass(frozen=True, slots=True)
class MessageCounts:
    """Counts of the messages of one kind.

    Attributes:
        total: of all clients together.
        low, high: of the client with the fewest and of the client with the most.
        at: the arrival of the last message, in seconds of CLOCK_MONOTONIC.
    """

    total: int
    low: int
    high: int
    at: float


@dataclass(frozen=True, slots=True)
class GroupStats:
    """What a group of clients received, and what was wrong with it.

    Attributes:
        clients: the size of the group.
        lost: clients whose connection failed or was closed.
        error: why the first of them was lost.
        disorder: events whose ``seq`` was not greater than that of the event before.
        gaps: positions that were skipped.
        mismatches: ``resumed`` messages that do not match the events before them.
        replayed: events that preceded ``resumed``.
        wire: bytes of the frames as received, below TLS.
        tls_resumed: clients that resumed a TLS session.
        deflated: clients that were granted permessage-deflate.
        bytes: bytes of the messages, after inflating.
        low_seq, high_seq: the lowest and the highest ``seq`` that a client has reached.
        began: the first connect, in seconds of CLOCK_MONOTONIC.
        kinds: counts by the kind of message.
    """

    clients: int
    lost: int
    error: str
    disorder: int
    gaps: int
    mismatches: int
    replayed: int
    wire: int
    tls_resumed: int
    deflated: int
    bytes: int
    low_seq: int
    high_seq: int
    began: float
    kinds: dict[str, MessageCounts]

    @property
    def events(self) -> MessageCounts:
        """The counts of stream events."""
        return self.kinds["event"]


@dataclass(frozen=True, slots=True)
class SnapshotTiming:
    """One client's snapshot: seconds from its request to the first and the last byte, and its size in bytes."""

    first_byte: float
    last_byte: float
    size: int


@dataclass(frozen=True, slots=True)
class Latency:
    """Latencies from the sender to the clients, in seconds.

    Attributes:
        count: events with a send time, at all clients.
        p50, p99: percentiles, at most 3 % too large.
        max: the largest latency.
    """

    count: int
    p50: float
    p99: float
    max: float


class Loader:
    """The loader's process.

    Args:
        folder: where the program is compiled to.

    Attributes:
        missing: Debian packages that are not installed, without which the loader cannot use TLS or inflate messages.

    Raises:
        Unavailable: if there is no compiler.
    """

    def __init__(self, folder: Path) -> None:
        compiler = Compiler()
        self.missing = tuple(library.package for library in (TLS, ZLIB) if not compiler.has(library))
        program = folder / "loader"
        compiler.build_loader(program, tuple(one for one in (TLS, ZLIB) if one.package not in self.missing))
        self._process = subprocess.Popen(  # noqa: S603 - the program that was just compiled
            [str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.pid = self._process.pid
        assert self._process.stdin is not None  # noqa: S101 - narrows the type
        assert self._process.stdout is not None  # noqa: S101 - narrows the type
        self._commands = self._process.stdin
        self._answers = self._process.stdout
        self._group_count = 0
        self._unread = b""

    def client_group(
        self, port: int, handshakes: Iterable[Handshake], *options: str, address: str = "127.0.0.1"
    ) -> ClientGroup:
        """Return a group of clients, not yet connected; ``loader.c`` lists the options."""
        self._group_count += 1
        name = f"group-{self._group_count}"
        lines = [" ".join([f"group {name} {address} {port}", *options])]
        lines += ["\t".join([f"client {name} {one.first} {one.path}", *one.headers]) for one in handshakes]
        self.command("\n".join(lines))
        return ClientGroup(self, name)

    def command(self, lines: str) -> None:
        """Send one or more commands, one a line.

        Raises:
            InvalidRun: if the process has ended.
        """
        try:
            self._commands.write(lines.encode() + b"\n")
            self._commands.flush()
        except BrokenPipeError:
            raise InvalidRun(_ENDED) from None

    def read_answer(self, timeout: float) -> Any:
        """Return the next answer, or None if there is none within ``timeout`` seconds.

        Raises:
            InvalidRun: if the process has ended.
        """
        end = time.monotonic() + timeout
        while b"\n" not in self._unread:
            if not select.select([self._answers], [], [], max(0.0, end - time.monotonic()))[0]:
                return None
            data = os.read(self._answers.fileno(), _READ_BYTES)
            if not data:
                raise InvalidRun(_ENDED)
            self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        with suppress(BrokenPipeError):
            self._commands.close()
        self._process.wait(DEADLINE)
        self._answers.close()


class ClientGroup:
    """A group of the loader's clients."""

    def __init__(self, loader: Loader, name: str) -> None:
        self._loader = loader
        self._name = name

    def open(self, pending: int = PENDING) -> None:
        """Start to connect, with at most ``pending`` handshakes in progress."""
        self._loader.command(f"open {self._name} {pending}")

    def start_await(self, kind: str, count: int) -> None:
        """Start to wait until each client has received ``count`` messages of a kind; see ``finish_await``."""
        self._loader.command(f"await {self._name} {kind} {count}")

    def finish_await(self, timeout: float = DEADLINE) -> int | None:
        """Return the awaited count of the client with the fewest, or None if it is too low after ``timeout`` seconds.

        Raises:
            InvalidRun: if a client was lost.
        """
        answer = self._loader.read_answer(timeout)
        if answer is None:
            return None
        if answer["lost"]:
            raise InvalidRun(f"{answer['lost']} clients were disconnected: {self.stats().error}")
        low: int = answer["low"]
        return low

    def wait(self, kind: str, count: int) -> int:
        """Wait until each client has received ``count`` messages of a kind; return the count of that with the fewest.

        Raises:
            InvalidRun: if a client was lost, or after ``DEADLINE``.
        """
        self.start_await(kind, count)
        low = self.finish_await()
        if low is None:
            raise InvalidRun(f"waited {DEADLINE:g} s for {count} of {kind!r} at each client: {self.stats()}")
        return low

    def wait_total(self, kind: str, count: int) -> int:
        """Wait until all clients together have received ``count`` messages of a kind; return their number.

        Raises:
            InvalidRun: if a client was lost, or after ``DEADLINE``.
        """
        self._loader.command(f"total {self._name} {kind} {count}")
        answer = self._loader.read_answer(DEADLINE)
        if answer is None or answer["lost"]:
            raise InvalidRun(f"waited for {count} of {kind!r} at all clients together: {self.stats()}")
        total: int = answer["total"]
        return total

    def wait_for_seq(self, seq: int) -> GroupStats:
        """Wait until each client has reached ``seq``; return what the group has received.

        Raises:
            InvalidRun: if a client was lost, or after ``DEADLINE``.
        """
        end = time.monotonic() + DEADLINE
        while (stats := self.stats()).low_seq < seq:
            if stats.lost or time.monotonic() > end:
                raise InvalidRun(f"not every client has reached {seq}: {stats}")
            time.sleep(_PAUSE_SECONDS)
        return stats

    def send(self, text: str) -> None:
        """Send a message from each client."""
        self._loader.command(f"send {self._name} {text}")

    def send_from(self, index: int, text: str) -> None:
        """Send a message from one client; the first has index 0."""
        self._loader.command(f"send-one {self._name} {index} {text}")

    def clear(self) -> None:
        """Set counts and latencies to zero; the ``seq`` that each client has reached stays."""
        self._request("clear")

    def capture(self, file: Path) -> None:
        """Write the messages that arrive from now on to a file, one a line."""
        self._loader.command(f"capture {self._name} {file}")

    def stats(self) -> GroupStats:
        """Return what the group has received so far."""
        answer = self._request("stat")
        kinds = {
            name: MessageCounts(kind["total"], kind["low"], kind["high"], kind["at"] / 1e9)
            for name, kind in answer.pop("kinds").items()
        }
        del answer["open"]
        return GroupStats(**{**answer, "began": answer["began"] / 1e9}, kinds=kinds)

    def snapshot_timings(self) -> list[SnapshotTiming]:
        """Return the timing of the last snapshot of each client."""
        return [
            SnapshotTiming((first - asked) / 1e9, (last - asked) / 1e9, size)
            for asked, first, last, size in self._request("times")
        ]

    def event_counts(self) -> list[int]:
        """Return the number of events of each client."""
        return list(self._request("counts"))

    def latency(self) -> Latency:
        """Return the latencies of the events that have arrived since ``clear``."""
        answer = self._request("latency")
        return Latency(answer["count"], answer["p50"] / 1e9, answer["p99"] / 1e9, answer["max"] / 1e9)

    def disconnect(self) -> None:
        """Close all connections. The group can be opened again, and then offers the TLS sessions that it was issued."""
        self._loader.command(f"disconnect {self._name}")

    def close(self) -> None:
        """Close all connections, and delete the group."""
        self._loader.command(f"close {self._name}")

    def _request(self, command: str) -> Any:
        self._loader.command(f"{command} {self._name}")
        answer = self._loader.read_answer(DEADLINE)
        if answer is None:
            raise InvalidRun(f"the loader did not answer {command!r}")
        return answer
