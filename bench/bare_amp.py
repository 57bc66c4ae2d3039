"""A minimal AMP server with one command, as a program; its argument is the path of the unix socket.

It is a baseline for ingest: the cost above it is the gateway's own.
"""

# mypy: allow-untyped-calls
# Twisted has no annotations on most of AMP.

from __future__ import annotations

import sys
from typing import Any, ClassVar

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory
from twisted.internet.task import react
from twisted.protocols import amp


class Measure(amp.Command):
    """Ask for the length of a text in bytes."""

    arguments: ClassVar = [(b"text", amp.String())]
    response: ClassVar = [(b"size", amp.Integer())]


class BareServer(amp.AMP):
    """Answers ``Measure``."""

    @Measure.responder
    def measure(self, text: bytes) -> dict[str, int]:
        """Return the length of the text."""
        return {"size": len(text)}


def main(reactor: Any, path: str) -> Deferred[None]:  # Any: Twisted's reactors implement many interfaces.
    """Listen on a unix socket until the process is ended."""
    serverFromString(reactor, f"unix:{path}:mode=600").listen(Factory.forProtocol(BareServer))
    return Deferred()


if __name__ == "__main__":
    react(main, sys.argv[1:])
