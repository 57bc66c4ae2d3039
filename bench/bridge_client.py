"""A client of the gateway, in a thread, that notes when events of calls arrive."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter

from bench.bridge_parsers import TENANT
from bench.failure import InvalidRun
from bench.gateway import DEADLINE, Gateway
from bench.raw_websocket import PONG, RawWebSocket, frame

_PAUSE_SECONDS = 0.01


class CallClient:
    """A supervisor who receives all events of calls and queues.

    Attributes:
        counts: events by type.
        joined: when ``queue.joined`` arrived, on the monotonic clock, by ``unique_id``.
    """

    def __init__(self, gateway: Gateway) -> None:
        token = gateway.token("lead", "supervisor", TENANT)
        self._socket = RawWebSocket(gateway.port, "/ws?events=call.*,queue.joined,queue.left", token)
        self._messages = self._socket.messages()
        if not next(self._messages).startswith(b'{"type":"welcome"'):
            raise InvalidRun("the client is not welcomed")
        self.counts: Counter[str] = Counter()
        self.joined: dict[str, float] = {}
        threading.Thread(target=self._read, daemon=True).start()

    def await_ended(self, calls: int) -> None:
        """Wait until so many calls have ended.

        Raises:
            InvalidRun: if no event arrives for 30 s before that.
        """
        seen, end = -1, 0.0
        while self.counts["call.ended"] < calls:
            total = self.counts.total()
            if total != seen:
                seen, end = total, time.monotonic() + DEADLINE
            elif time.monotonic() > end:
                raise InvalidRun(f"{self.counts['call.ended']} of {calls} calls have ended: {dict(self.counts)}")
            time.sleep(_PAUSE_SECONDS)

    def close(self) -> None:
        """Disconnect."""
        self._socket.close()

    def _read(self) -> None:
        try:
            for data in self._messages:
                now = time.monotonic()
                if not data.startswith(b"{"):
                    # Every message is an object of JSON, so this is the payload of a ping.
                    self._socket.socket.sendall(frame(data, PONG))
                    continue
                message = json.loads(data)
                kind = message["type"]
                if kind == "queue.joined":
                    self.joined[message["payload"]["unique_id"]] = now
                self.counts[kind] += 1
        except OSError:
            return
