"""A gateway that sends commands to one source, as the test says, and notes what it answers."""

from __future__ import annotations

import json
import time
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory
from twisted.protocols import amp

from callcenter_ws.amp import commands

Entry = tuple[Any, ...]


class Peer(amp.AMP):
    """The gateway's end of one connection."""

    factory: CommandingGateway

    def connectionMade(self) -> None:
        super().connectionMade()
        self.factory.peers.append(self)

    def connectionLost(self, reason: Any = None) -> None:
        super().connectionLost(reason)
        self.factory.peers.remove(self)

    @commands.Hello.responder
    def hello(self, **arguments: Any) -> dict[str, Any]:
        self.factory.hellos.append(json.loads(arguments["capabilities"] or b"[]"))
        return {"lease": 30.0, "generation": 1, "source_seq": 0, "server_time_ms": self.factory.now_ms()}

    @commands.Subscribe.responder
    def subscribe(self, kinds: bytes) -> dict[str, Any]:
        listed = json.loads(kinds)
        if self.factory.is_old and "command" in listed:
            raise commands.InvalidEvent("kinds[0]: there is no such event type")
        self.factory.kinds.append(listed)
        return {}

    @commands.Ping.responder
    def ping(self, waiting: int | None) -> dict[str, Any]:
        return {"version": "1", "node": "n", "server_time_ms": self.factory.now_ms()}

    @commands.PublishBatch.responder
    def publish_batch(self, events: bytes) -> dict[str, Any]:
        listed = json.loads(events)
        self.factory.taken += [(event["type"], event["source_seq"]) for event in listed]
        return {"epoch": "e", "results": json.dumps([1] * len(listed)).encode()}

    @commands.CommandOutcome.responder
    def outcome(self, **given: Any) -> Any:
        entry = (given["command_id"], given["state"], given["code"], given["message"], given["data"])
        if self.factory.is_silent:
            self.factory.unanswered.append(entry)
            return Deferred()
        if self.factory.refuses is not None:
            raise self.factory.refuses
        if given["source_seq"] <= self.factory.mark:
            return {"accepted": True}
        self.factory.mark = given["source_seq"]
        self.factory.outcomes.append(entry)
        self.factory.taken.append((given["command_id"], given["source_seq"]))
        assert (given["tenant_id"], given["user_id"]) == ("acme", "7")
        return {"accepted": given["command_id"] not in self.factory.closed}


class CommandingGateway(Factory):
    """A gateway on a loopback port that sends commands.

    Attributes:
        hellos: the capabilities of each ``Hello``; ``kinds``: those of each ``Subscribe``.
        outcomes: id, state, code, message and data of those received.
        taken: events and outcomes in the order of their arrival, with their numbers.
        is_old: whether it knows no commands; ``is_silent``: whether it leaves outcomes unanswered.
        refuses: raised in answer to outcomes.
        mark: the highest number of an outcome that was received; others up to it are the same again.
        ahead: seconds by which its clock is ahead.
    """

    noisy = False
    protocol = Peer

    def __init__(self) -> None:
        self.peers: list[Peer] = []
        self.hellos: list[list[str]] = []
        self.kinds: list[list[str]] = []
        self.outcomes: list[Entry] = []
        self.unanswered: list[Entry] = []
        self.taken: list[tuple[str, int]] = []
        self.closed: set[str] = set()
        self.is_old = self.is_silent = False
        self.refuses: Exception | None = None
        self.ahead = 0.0
        self.mark = 0
        self.endpoint = ""

    def now_ms(self) -> int:
        return int((time.time() + self.ahead) * 1_000)

    def send(self, command_id: str, name: str = "call.hangup", seconds: float = 5.0, **given: Any) -> Deferred[Any]:
        """Send a command; fires with its answer."""
        arguments = {
            "tenant_id": "acme",
            "user_id": "7",
            "role": "agent",
            "payload": b'{"call_id":"1.1"}',
            "deadline_ms": int(self.now_ms() + seconds * 1_000),
            **given,
        }
        return self.peers[-1].callRemote(commands.Command, command_id=command_id, name=name, **arguments)
