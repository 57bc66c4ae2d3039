"""The crowd: many WebSocket clients, in ``loader.c``, which is compiled on the spot."""

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
from bench.failure import Broken
from bench.gateway import DEADLINE

PENDING = 32
"""Handshakes at a time. Twisted's listening sockets hold 50: more would wait for a second, and for nothing."""

_PAUSE = 0.01
_READ = 65_536
_ENDED = "the WebSocket clients' process has ended; what it said last says why"


class Dial(NamedTuple):
    """How one client connects.

    Attributes:
        path: with the query.
        headers: whole lines.
        first: the ``seq`` that its first event must have; 0: any.
    """

    path: str
    headers: tuple[str, ...]
    first: int = 0


@dataclass(frozen=True, slots=True)
class Kind:
    """Messages of one kind.

    Attributes:
        low, high: what the clients with the fewest and the most have got.
        at: when the last came, on the monotonic clock.
    """

    total: int
    low: int
    high: int
    at: float


@dataclass(frozen=True, slots=True)
class Catch:
    """What a group of clients has got, and what was wrong with it.

    Attributes:
        disorder: events with a ``seq`` that was not above the one before.
        gaps: events that were left out.
        mismatches: ``resumed`` messages that do not tell what came before them.
        replayed: events that came before ``resumed``.
        bytes: of the messages, as they are once they are inflated.
        wire: bytes of the frames as they came, below TLS if that is used.
        tls_resumed: clients whose TLS session was one from before.
        deflated: clients that were granted permessage-deflate.
        low_seq, high_seq: where the clients stand.
        began: when the first of them connected, on the monotonic clock.
    """

    clients: int
    lost: int
    trouble: str
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
    kinds: dict[str, Kind]

    @property
    def events(self) -> Kind:
        """The events of the stream."""
        return self.kinds["event"]


@dataclass(frozen=True, slots=True)
class Snap:
    """A snapshot that one client was sent: seconds from its request to the first and last byte, and its size."""

    first_byte: float
    last_byte: float
    size: int


@dataclass(frozen=True, slots=True)
class Latency:
    """How long events took from their sender to their clients, in seconds.

    Attributes:
        count: events that told when they were sent, at all clients.
        p50, p99: what that percentage did not exceed; too large by 3 % at most.
    """

    count: int
    p50: float
    p99: float
    most: float


class Loader:
    """The process of the crowd.

    Args:
        folder: where the program is put.

    Attributes:
        missing: packages without which it does not speak TLS, or does not inflate.

    Raises:
        Unavailable: there is no compiler.
    """

    def __init__(self, folder: Path) -> None:
        compiler = Compiler()
        self.missing = tuple(library.package for library in (TLS, ZLIB) if not compiler.has(library))
        program = folder / "loader"
        compiler.build_loader(program, tuple(one for one in (TLS, ZLIB) if one.package not in self.missing))
        self._process = subprocess.Popen(  # noqa: S603 - what was just built
            [str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.pid = self._process.pid
        assert self._process.stdin is not None  # noqa: S101 - narrows the type
        assert self._process.stdout is not None  # noqa: S101 - narrows the type
        self._commands = self._process.stdin
        self._answers = self._process.stdout
        self._crowds = 0
        self._unread = b""

    def crowd(self, port: int, dials: Iterable[Dial], *options: str, address: str = "127.0.0.1") -> Crowd:
        """Return a group of clients that are not connected yet; ``loader.c`` says which options there are."""
        self._crowds += 1
        name = f"crowd-{self._crowds}"
        lines = [" ".join([f"group {name} {address} {port}", *options])]
        lines += ["\t".join([f"client {name} {dial.first} {dial.path}", *dial.headers]) for dial in dials]
        self.tell("\n".join(lines))
        return Crowd(self, name)

    def tell(self, command: str) -> None:
        """Give a command, or several lines of them.

        Raises:
            Broken: the process has ended.
        """
        try:
            self._commands.write(command.encode() + b"\n")
            self._commands.flush()
        except BrokenPipeError:
            raise Broken(_ENDED) from None

    def answer(self, patience: float) -> Any:
        """The next answer, or None if there is none within ``patience`` seconds.

        Raises:
            Broken: the process has ended.
        """
        end = time.monotonic() + patience
        while b"\n" not in self._unread:
            if not select.select([self._answers], [], [], max(0.0, end - time.monotonic()))[0]:
                return None
            data = os.read(self._answers.fileno(), _READ)
            if not data:
                raise Broken(_ENDED)
            self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        with suppress(BrokenPipeError):
            self._commands.close()
        self._process.wait(DEADLINE)
        self._answers.close()


class Crowd:
    """A group of clients of the loader."""

    def __init__(self, loader: Loader, name: str) -> None:
        self._loader = loader
        self._name = name

    def open(self, pending: int = PENDING) -> None:
        """Begin to connect."""
        self._loader.tell(f"open {self._name} {pending}")

    def expect(self, kind: str, count: int) -> None:
        """Ask to be told once each client has got ``count`` messages of that kind; ``told`` is the answer."""
        self._loader.tell(f"await {self._name} {kind} {count}")

    def told(self, patience: float = DEADLINE) -> int | None:
        """What the client with the fewest has got of what was expected; None when it is not enough in that time.

        Raises:
            Broken: a client was disconnected.
        """
        answer = self._loader.answer(patience)
        if answer is None:
            return None
        if answer["lost"]:
            raise Broken(f"{answer['lost']} clients were disconnected: {self.catch().trouble}")
        low: int = answer["low"]
        return low

    def wait(self, kind: str, count: int) -> int:
        """Wait until each client has got ``count`` messages of that kind; return what the one with the fewest has.

        Raises:
            Broken: it does not come to that.
        """
        self.expect(kind, count)
        low = self.told()
        if low is None:
            raise Broken(f"waited {DEADLINE:g} s for {count} of {kind!r} for each client: {self.catch()}")
        return low

    def wait_together(self, kind: str, count: int) -> int:
        """Wait until the clients together have got ``count`` messages of that kind; return how many they have.

        Raises:
            Broken: it does not come to that.
        """
        self._loader.tell(f"total {self._name} {kind} {count}")
        answer = self._loader.answer(DEADLINE)
        if answer is None or answer["lost"]:
            raise Broken(f"waited for {count} of {kind!r} for all clients together: {self.catch()}")
        total: int = answer["total"]
        return total

    def reach(self, seq: int) -> Catch:
        """Wait until each client stands at ``seq``, and return what has come.

        Raises:
            Broken: it does not come to that.
        """
        end = time.monotonic() + DEADLINE
        while (catch := self.catch()).low_seq < seq:
            if catch.lost or time.monotonic() > end:
                raise Broken(f"not every client gets as far as {seq}: {catch}")
            time.sleep(_PAUSE)
        return catch

    def send(self, text: str) -> None:
        """Have each client send a message."""
        self._loader.tell(f"send {self._name} {text}")

    def say(self, place: int, text: str) -> None:
        """Have one client send a message: the first is 0."""
        self._loader.tell(f"say {self._name} {place} {text}")

    def forget(self) -> None:
        """Count from zero again; where each client stands is kept."""
        self._ask("forget")

    def capture(self, file: Path) -> None:
        """Write what comes from now on to a file, one message a line."""
        self._loader.tell(f"capture {self._name} {file}")

    def catch(self) -> Catch:
        """What has come so far."""
        answer = self._ask("stat")
        kinds = {
            name: Kind(kind["total"], kind["low"], kind["high"], kind["at"] / 1e9)
            for name, kind in answer.pop("kinds").items()
        }
        del answer["open"]
        return Catch(**{**answer, "began": answer["began"] / 1e9}, kinds=kinds)

    def snaps(self) -> list[Snap]:
        """The last snapshot of each client."""
        return [
            Snap((first - asked) / 1e9, (last - asked) / 1e9, size) for asked, first, last, size in self._ask("times")
        ]

    def counts(self) -> list[int]:
        """How many events each client has got."""
        return list(self._ask("counts"))

    def latency(self) -> Latency:
        """How long the events took that have come since ``forget``."""
        answer = self._ask("latency")
        return Latency(answer["count"], answer["p50"] / 1e9, answer["p99"] / 1e9, answer["most"] / 1e9)

    def again(self) -> None:
        """Disconnect; the group can be opened once more, and then comes with the TLS sessions that it was given."""
        self._loader.tell(f"again {self._name}")

    def close(self) -> None:
        """Disconnect, and forget the group."""
        self._loader.tell(f"close {self._name}")

    def _ask(self, question: str) -> Any:
        self._loader.tell(f"{question} {self._name}")
        answer = self._loader.answer(DEADLINE)
        if answer is None:
            raise Broken(f"the WebSocket clients' process did not answer {question!r}")
        return answer
