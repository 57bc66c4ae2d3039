"""One session with an exchange, for the commands that show or record it. It is not made again when it is lost."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Protocol as Interface

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from callcenter_ws.bridge.asterisk.actions import InvalidValueError
from callcenter_ws.bridge.asterisk.login import Credentials, credentials_of
from callcenter_ws.bridge.asterisk.session import AmiSession, Machine, SessionState
from callcenter_ws.bridge.loss import LostReason
from callcenter_ws.bridge.settings import SourceSettings
from callcenter_ws.cli.target import CommandFailed
from callcenter_ws.remote.reasons import connection_reason
from callcenter_ws.runtime.reactor import Reactor
from callcenter_ws.runtime.secret_files import read_secret
from callcenter_ws.runtime.transports import TwistedTransport

_TICK_SECONDS = 0.5

ID_PREFIX = "ccws-"
"""Begins the ActionIDs."""


class Listener(Interface):
    """Is told what passes; all times are Unix seconds."""

    def received(self, data: bytes, now: float) -> None:
        """Take what the exchange sent, before it is handled."""

    def sent(self, data: bytes) -> None:
        """Take what is sent to the exchange."""

    def passed(self, now: float) -> None:
        """Do what is due, though nothing has come."""


class _Session(Protocol):
    """Connects an ``AmiSession`` to the exchange."""

    transport: TwistedTransport

    def __init__(self, session: AmiSession, listener: Listener) -> None:
        self._session = session
        self._listener = listener
        self._ticking = LoopingCall(self._tick)
        self.ended: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        self._ticking.start(_TICK_SECONDS)

    def dataReceived(self, data: bytes) -> None:
        now = time.time()
        self._listener.received(data, now)
        self._session.feed(data)
        while self._session.step(now):
            pass
        self._flush()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._ticking.running:
            self._ticking.stop()
        self._session.lose(LostReason.CONNECTION_LOST, "the connection was lost")
        if not self.ended.called:
            self.ended.callback(None)

    def _tick(self) -> None:
        self._session.tick(time.monotonic())
        self._listener.passed(time.time())
        self._flush()

    def _flush(self) -> None:
        output = self._session.take_output()
        if output:
            self._listener.sent(output)
            self.transport.write(output)
        if self._session.state is SessionState.LOST:
            self.transport.abortConnection()


async def follow(
    reactor: Reactor, source: SourceSettings, machine: Machine, listener: Listener, seconds: float | None
) -> str:
    """Keep a session for some seconds, or until it is lost; return why it was lost, empty if it was not.

    Raises:
        CommandFailed: there is no session.
    """
    session = AmiSession(
        _credentials(source),
        machine,
        f"{ID_PREFIX}{secrets.token_hex(8)}",
        ping_interval=source.ping_interval,
        audit_interval=source.audit_interval,
    )
    protocol = _Session(session, listener)
    try:
        connecting: Deferred[Protocol] = clientFromString(reactor, source.endpoint.text).connect(
            Factory.forProtocol(_returning(protocol))
        )
        await connecting
    except Exception as error:
        reason = connection_reason(error, "the exchange")
        raise CommandFailed(f"{source.name}: cannot connect: {reason}") from None
    if seconds is not None:
        reactor.callLater(seconds, protocol.transport.loseConnection)
    await protocol.ended
    loss = session.loss
    if session.synchronizations == 0 and loss is not None and loss.reason is not LostReason.CONNECTION_LOST:
        raise CommandFailed(f"{source.name}: {loss.text}")
    return "" if loss is None else loss.text


def _returning(protocol: _Session) -> Callable[[], _Session]:
    return lambda: protocol


def _credentials(source: SourceSettings) -> Credentials:
    try:
        return credentials_of(source, read_secret(source.secret_file).decode())
    except (ValueError, InvalidValueError) as error:
        raise CommandFailed(f"{source.name}: {error}") from None
