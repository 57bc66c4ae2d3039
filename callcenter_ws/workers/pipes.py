"""The worker's ends of the pipes from and to its supervisor."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor, IWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

_READ_BYTES = 65_536


@implementer(IReadDescriptor)
class PipeReader:
    """Reads a pipe, and calls ``closed`` when its write end is closed.

    The operating system closes the write end when the process that holds it ends.
    """

    def __init__(self, descriptor: int, received: Callable[[bytes], None], closed: Callable[[], None]) -> None:
        self._descriptor = descriptor
        self._received = received
        self._closed = closed

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._descriptor

    def logPrefix(self) -> str:
        """Return the name for log lines."""
        return "pipe from the supervisor"

    def doRead(self) -> Any:  # noqa: N802 - Twisted's name; it declares a Failure, but reactors expect an exception
        """Read what there is; an error tells the reactor that the pipe is closed."""
        data = os.read(self._descriptor, _READ_BYTES)
        if not data:
            return EOFError()
        self._received(data)
        return None

    def connectionLost(self, reason: Failure) -> None:
        """Call ``closed``."""
        self._closed()


@implementer(IWriteDescriptor)
class PipeWriter:
    """Writes to a pipe without waiting for its reader.

    What the pipe does not take is kept. That is bounded: the supervisor waits for one answer before it asks again.
    """

    def __init__(self, reactor: IReactorFDSet, descriptor: int) -> None:
        self._reactor = reactor
        self._descriptor = descriptor
        self._unsent = b""
        self._is_closed = False
        os.set_blocking(descriptor, False)

    def write(self, data: bytes) -> None:
        """Write now, as far as possible, and the rest when there is room."""
        if self._is_closed:
            return
        was_blocked = bool(self._unsent)
        self._unsent += data
        if not was_blocked and self.doWrite() is None and self._unsent:
            self._reactor.addWriter(self)

    def stop(self) -> None:
        """Write no more."""
        self._reactor.removeWriter(self)

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._descriptor

    def logPrefix(self) -> str:
        """Return the name for log lines."""
        return "pipe to the supervisor"

    def doWrite(self) -> Any:  # noqa: N802 - Twisted's name; it declares a Failure, but reactors expect an exception
        """Write what the pipe takes; an error tells the reactor that the pipe is closed."""
        try:
            self._unsent = self._unsent[os.write(self._descriptor, self._unsent) :]
        except BlockingIOError:
            return None
        except OSError as error:
            # Without a reader the supervisor has ended, and this worker is about to stop.
            self._is_closed = True
            self._unsent = b""
            return error
        if not self._unsent:
            self._reactor.removeWriter(self)
        return None

    def connectionLost(self, reason: Failure) -> None:
        """Stop writing."""
        self.stop()
