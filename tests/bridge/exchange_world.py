"""A played exchange on a loopback port, and connections of bridges to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from amp_doubles import until
from twisted.internet import reactor
from twisted.internet.endpoints import clientFromString

from callcenter_ws.bridge.asterisk.connection import AmiConnection
from callcenter_ws.bridge.asterisk.login import Credentials
from callcenter_ws.bridge.asterisk.message import AmiMessage
from callcenter_ws.bridge.asterisk.player import AmiPlayer, PlayerUser
from callcenter_ws.bridge.asterisk.snapshot import AmiSnapshot
from callcenter_ws.bridge.loss import Loss
from callcenter_ws.bridge.outgoing import BridgeEvent, Unit
from callcenter_ws.runtime.clock import ReactorClock
from callcenter_ws.runtime.endpoints import EndpointDescription
from callcenter_ws.runtime.slicer import Slicer
from callcenter_ws.runtime.tls import server_contexts

SECRET = "opensesame"
USER = PlayerUser("callcenter", SECRET)


class NotingMachine:
    """A machine that makes a unit of each message, with one event that names it."""

    def __init__(self) -> None:
        self.snapshots: list[AmiSnapshot] = []
        self.passed = 0.0
        self._events: list[BridgeEvent] = []

    def handle(self, message: AmiMessage, arrived: float) -> None:
        text = message.get("Uniqueid") or message.name
        self._events.append(BridgeEvent(message.name, "acme", arrived, text, {}))

    is_comparing = False

    def compare_next(self) -> None:
        raise AssertionError("nothing is compared")

    def synchronizing(self, snapshot: AmiSnapshot, arrived: float) -> Iterator[None]:
        yield
        self.snapshots.append(snapshot)
        self._events.append(BridgeEvent("synchronize", "acme", arrived, "synchronize", {}))

    def pass_time(self, arrived: float) -> None:
        self.passed = arrived

    def take(self) -> Unit:
        unit = Unit(tuple(self._events))
        self._events.clear()
        return unit


class Bridge:
    """One connection of a bridge, and what it reports, in order."""

    def __init__(
        self, endpoint: str, *, secret: str = SECRET, plain: bool = False, machine: Any = None, **options: Any
    ) -> None:
        self.reports: list[str] = []
        self.losses: list[Loss] = []
        self.retries: list[float] = []
        self.machine = NotingMachine() if machine is None else machine
        self.events: list[BridgeEvent] = []
        self.secret = secret
        clock = ReactorClock(reactor)  # type: ignore[arg-type]  # the module is the reactor
        self.connection = AmiConnection(
            clientFromString(reactor, endpoint),
            reactor,  # type: ignore[arg-type]
            clock,
            Slicer(clock),
            lambda: Credentials("callcenter", self.secret, allow_plain_login=plain),
            self.machine,
            self,
            **options,
        )
        self.connection.start()

    def logged_in(self) -> None:
        self.reports.append("logged in")

    def handle_unit(self, unit: Unit) -> None:
        self.events += unit.events
        self.reports += [event.event_id for event in unit.events]

    def synchronized(self, version: str, boot: str) -> None:
        self.reports.append(f"up {version}")

    def lost(self, loss: Loss, retry_seconds: float) -> None:
        self.reports.append(f"down {loss.reason.value}")
        self.losses.append(loss)
        self.retries.append(retry_seconds)

    async def until(self, report: str, count: int = 1) -> None:
        await until(reactor, lambda: self.reports.count(report) >= count)


class Exchange:
    """A player that listens."""

    def __init__(self, *users: PlayerUser, **options: Any) -> None:
        self.player = AmiPlayer(ReactorClock(reactor), users or (USER,), **options)  # type: ignore[arg-type]
        self._port: Any = None
        self.port = 0

    def listen(self, certificate: tuple[Path, Path] | None = None) -> None:
        if certificate is None:
            self._port = reactor.listenTCP(self.port, self.player, interface="127.0.0.1")  # type: ignore[attr-defined]
        else:
            text = f"ssl:0:certKey={certificate[0]}:privateKey={certificate[1]}"
            contexts = server_contexts(EndpointDescription.parse(text))
            self._port = reactor.listenSSL(0, self.player, contexts, interface="127.0.0.1")  # type: ignore[attr-defined]
        self.port = self._port.getHost().port

    @property
    def endpoint(self) -> str:
        return f"tcp:127.0.0.1:{self.port}"

    async def close(self) -> None:
        self.player.cut()
        if self._port is not None:
            port, self._port = self._port, None
            await port.stopListening()


OpenBridge = Callable[..., Bridge]
