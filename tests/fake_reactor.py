"""A fake reactor: a clock that spawns fake children, and runs readers and writers on request."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.main import CONNECTION_DONE
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure


class FakeChild:
    """A fake child process, which is its own transport.

    Attributes:
        signals: the names or numbers of the signals that were sent to it.
        received: what was written to its descriptors.
        answer: returns its output at descriptor 3 for what is written to it; None: it writes nothing.
        has_ended: whether it has ended; set it for a process that has ended but has not been reaped.
    """

    def __init__(
        self,
        protocol: ProcessProtocol,
        pid: int,
        command: Sequence[str],
        environ: Mapping[str, str] | None,
        descriptors: Mapping[int, int | str],
    ) -> None:
        self.protocol = protocol
        self.pid = pid
        self.command = command
        self.environ = environ
        self.descriptors = descriptors
        self.signals: list[str | int] = []
        self.received: list[bytes] = []
        self.answer: Callable[[bytes], bytes] | None = None
        self.has_ended = False

    def signalProcess(self, name: str | int) -> None:  # noqa: N802 - Twisted's name
        """Record a signal; raise ``ProcessExitedAlready`` if the process has ended."""
        if self.has_ended:
            raise ProcessExitedAlready
        self.signals.append(name)

    def writeToChild(self, descriptor: int, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """Record what is written to the process, and pass on its answer."""
        assert descriptor in self.descriptors
        self.received.append(data)
        if self.answer is not None:
            self.write(3, self.answer(data))

    def write(self, descriptor: int, data: bytes) -> None:
        """Pass on output of the process."""
        self.protocol.childDataReceived(descriptor, data)

    def end(self, status: int | None = 0, signal: int | None = None) -> None:
        """End the process, with a status or by a signal."""
        self.has_ended = True
        reason = ProcessDone(0) if status == 0 and signal is None else ProcessTerminated(status, signal)
        self.protocol.processEnded(Failure(reason))


class FakeReactor(Clock):
    """A fake clock that also spawns fake children, and records readers and writers.

    Attributes:
        spawn_fails: whether spawning raises ``OSError``.
        answer: the ``answer`` of the children that it spawns.
        readers: the descriptors that are watched for input.
        writers: the descriptors that are watched for space to write.
        when_running: the calls to make once the reactor runs; a test makes them itself.
    """

    def __init__(self) -> None:
        super().__init__()
        self.children: list[FakeChild] = []
        self.spawn_fails = False
        self.answer: Callable[[bytes], bytes] | None = None
        self.readers: set[Any] = set()
        self.writers: set[Any] = set()
        self.when_running: list[Callable[[], None]] = []
        self.addReader, self.removeReader = self.readers.add, self.readers.discard
        self.addWriter, self.removeWriter = self.writers.add, self.writers.discard
        self.callWhenRunning = self.when_running.append

    def turn(self) -> None:
        """Run one iteration: the calls that are due, then the writers, then the readers."""
        self.advance(0)
        for name, descriptors in (("doWrite", self.writers), ("doRead", self.readers)):
            for descriptor in list(descriptors):
                why = getattr(descriptor, name)()
                if why is not None:
                    descriptor.connectionLost(Failure(why if isinstance(why, Exception) else CONNECTION_DONE))

    def spawnProcess(  # noqa: N802 - Twisted's name
        self,
        protocol: ProcessProtocol,
        executable: str,
        command: Sequence[str],
        environ: Mapping[str, str] | None = None,
        folder: str | None = None,
        *,
        childFDs: Mapping[int, int | str],  # noqa: N803 - Twisted's name
    ) -> FakeChild:
        """Start a fake child."""
        if self.spawn_fails:
            raise OSError(11, "Resource temporarily unavailable")
        assert executable == command[0]
        child = FakeChild(protocol, 100 + len(self.children), command, environ, childFDs)
        child.answer = self.answer
        self.children.append(child)
        protocol.makeConnection(child)  # type: ignore[arg-type]  # it has the methods that are used
        return child
