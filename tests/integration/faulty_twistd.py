"""Runs ``twistd`` with a gateway in which messages with the word ``EXPLODE`` raise errors that hold the message.

A real error of this kind would be a bug; this one shows what the log has of it.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import fail
from twisted.logger import Logger
from twisted.python import log
from twisted.scripts.twistd import run

from callcenter_ws.amp import responders
from callcenter_ws.http import events
from callcenter_ws.requests import dispatcher


def exploding(decode: Any, place: str) -> Any:
    # Of another kind at each place: of one kind only the first is logged.
    broken = type(f"BrokenAt{place}", (Exception,), {})

    def decode_or_fail(text: bytes, *more: Any) -> Any:
        if b"EXPLODE" not in text:
            return decode(text, *more)
        local_variable = text.decode()
        # Unhandled in a Deferred, and by both interfaces of Twisted's log.
        fail(ValueError(local_variable))
        log.err(KeyError(local_variable), "reported by the old interface")
        try:
            {}[local_variable]
        except KeyError:
            Logger("callcenter_ws.faulty").failure("reported by the new interface")
        raise broken(local_variable)

    return decode_or_fail


for module, name, place in (
    (responders, "decode_json", "Amp"),
    (events, "decode_json", "Http"),
    (dispatcher, "read_request", "WebSocket"),
):
    setattr(module, name, exploding(getattr(module, name), place))

run()
