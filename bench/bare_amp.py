"""The least that an AMP server can be: one command, which answers with an integer. A program; give it a socket's path.

The yardstick for ingest: what the gateway does beyond this is its own.
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


class Take(amp.Command):
    """Take a text and say how long it is."""

    arguments: ClassVar = [(b"text", amp.String())]
    response: ClassVar = [(b"size", amp.Integer())]


class Taker(amp.AMP):
    """Answers ``Take``."""

    @Take.responder
    def take(self, text: bytes) -> dict[str, int]:
        """Count the bytes."""
        return {"size": len(text)}


def main(reactor: Any, path: str) -> Deferred[None]:
    """Listen on a unix socket, for ever."""
    serverFromString(reactor, f"unix:{path}:mode=600").listen(Factory.forProtocol(Taker))
    return Deferred()


if __name__ == "__main__":
    react(main, sys.argv[1:])
