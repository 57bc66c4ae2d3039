"""The reactor's interfaces that a gateway, a worker or a daemon uses, as one."""

from __future__ import annotations

from types import FrameType

from twisted.internet.interfaces import (
    IReactorCore,
    IReactorFDSet,
    IReactorPluggableNameResolver,
    IReactorProcess,
    IReactorSocket,
    IReactorTCP,
    IReactorThreads,
    IReactorTime,
    IReactorUNIX,
)


class Reactor(
    IReactorCore,
    IReactorFDSet,
    IReactorPluggableNameResolver,
    IReactorProcess,
    IReactorSocket,
    IReactorTCP,
    IReactorThreads,
    IReactorTime,
    IReactorUNIX,
):
    """What Twisted's reactors on Unix implement. A type only: no reactor declares it, and nothing checks for it.

    A part that needs time alone takes an ``IReactorTime``.
    """

    # These two are in no interface of Twisted; all its reactors inherit them from ``ReactorBase``.

    def sigInt(number: int, frame: FrameType | None = None) -> None:  # noqa: N802, N805 - Twisted's names
        """Handle SIGINT: stop."""

    def sigTerm(number: int, frame: FrameType | None = None) -> None:  # noqa: N802, N805 - Twisted's names
        """Handle SIGTERM: stop."""
