"""An Asterisk for tests in a separate process: ``AmiPlayer``, told by lines of JSON what to do.

``exchange_process.py PORT USER SECRET`` listens on the loopback interface. Each line of its standard input is a list: a
method of ``AmiPlayer`` and its arguments, or ``listen``, ``leave`` and ``count``. Each is answered by a line.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from typing import Any

from twisted.internet import endpoints, error, reactor, stdio
from twisted.protocols.basic import LineReceiver

from callcenter_ws.bridge.asterisk.player import AmiPlayer, PlayerUser
from callcenter_ws.runtime.clock import ReactorClock


class Commands(LineReceiver):
    delimiter = os.linesep.encode()
    MAX_LENGTH = 1_000_000

    def __init__(self, port: int, user: str, secret: str) -> None:
        rights = frozenset({"reporting", "agent"})
        self.player = AmiPlayer(ReactorClock(reactor), [PlayerUser(user, secret, write=rights)])
        self.port = port
        self.listening: Any = None

    def lineReceived(self, line: bytes) -> None:
        method, *arguments = json.loads(line)
        if method == "listen":
            endpoint = endpoints.serverFromString(reactor, f"tcp:{self.port}:interface=127.0.0.1")
            endpoint.listen(self.player).addCallback(self.listens)
        elif method == "leave":
            self.player.cut()
            self.listening.stopListening().addCallback(lambda _: self.answer("left"))
        elif method == "count":
            self.answer(str(self.player.actions.count(arguments[0])))
        elif method == "send_texts":
            for text in arguments[0]:
                self.player.send_text(text)
            self.answer("sent")
        elif method == "send_raw_text":
            self.player.send_raw(arguments[0].encode())
            self.answer("sent")
        else:
            getattr(self.player, method)(*arguments)
            self.answer("done")

    def listens(self, listening: Any) -> None:
        self.listening = listening
        self.answer("listens")

    def answer(self, text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    def connectionLost(self, reason: object = None) -> None:
        with suppress(error.ReactorNotRunning):
            reactor.stop()


if __name__ == "__main__":
    stdio.StandardIO(Commands(int(sys.argv[1]), sys.argv[2], sys.argv[3]))
    reactor.run()
