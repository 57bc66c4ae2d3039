"""The exchange of ``./demo --exchange``: a manager interface that plays the recorded shift, as Asterisk sends it."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Iterator, Mapping

from twisted.internet.interfaces import IAddress, IReactorTime, ITransport
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from callcenter_ws.demo.exchange_state import ExchangeState, encode, parse
from callcenter_ws.demo.shift import PlayedEvent, Shift

_BANNER = b"Asterisk Call Manager/11.0.0\r\n"
_VERSION = "22.10.1"
_MAX_ACTION_BYTES = 16_384
_MAX_CONNECTIONS = 8
_LEAD_SECONDS = 2.0
"""The time from the start until the first event of the shift."""

Headers = Mapping[str, str]


class Exchange:
    """Plays a shift in a loop, and answers like the manager interface of an Asterisk. Has no users but one.

    Args:
        reactor: its clock schedules the events.
        username, secret: of that user.
        now: returns the Unix time in seconds.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        shift: Shift,
        username: str,
        secret: str,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._reactor = reactor
        self.username = username
        self._secret = secret
        self.now = now
        self.started = now()
        self._rounds: Iterator[PlayedEvent] = shift.rounds(self.started + _LEAD_SECONDS)
        self.state = ExchangeState(shift.members(self.started))
        self.connections: set[_ManagerProtocol] = set()

    async def run(self) -> None:
        """Send the events at their times, until cancelled."""
        for event in self._rounds:
            late = self.now() - event.time
            if late < 0:
                await deferLater(self._reactor, -late)
            headers = parse(event.text)
            self.state.apply(headers, event.time)
            for connection in self.connections:
                connection.send_event(event.text)

    def is_key(self, challenge: str, key: str) -> bool:
        """Return whether a key is the secret, hidden by this challenge as AMI does it."""
        expected = hashlib.md5((challenge + self._secret).encode(), usedforsecurity=False).hexdigest()
        return hmac.compare_digest(expected, key)


class _ManagerProtocol(Protocol):
    """One connection."""

    transport: ITransport

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._buffer = b""
        self._challenge = ""
        self._is_in = False

    def connectionMade(self) -> None:
        if len(self._exchange.connections) >= _MAX_CONNECTIONS:
            self.transport.loseConnection()
            return
        self._exchange.connections.add(self)
        self.transport.write(_BANNER)

    def connectionLost(self, reason: Failure | None = None) -> None:
        self._exchange.connections.discard(self)

    def dataReceived(self, data: bytes) -> None:
        *actions, self._buffer = (self._buffer + data).split(b"\r\n\r\n")
        for action in actions:
            self._answer(parse(action.decode(errors="replace")))
        if len(self._buffer) > _MAX_ACTION_BYTES:
            self.transport.loseConnection()

    def send_event(self, text: str) -> None:
        """Send an event, if somebody has logged in."""
        if self._is_in:
            self._write(text)

    def _write(self, text: str) -> None:
        self.transport.write(f"{text}\r\n".encode())

    def _answer(self, action: Headers) -> None:
        name = action.get("Action", "").lower()
        handler = _BEFORE_LOGIN.get(name) or (_ACTIONS.get(name) if self._is_in else None)
        if handler is not None:
            handler(self, action)
        elif self._is_in:
            self._respond(action, Response="Error", Message="Invalid/unknown command")
        else:
            self._respond(action, Response="Error", Message="Permission denied")

    def _respond(self, action: Headers, **headers: str) -> None:
        identified = {"ActionID": action["ActionID"]} if "ActionID" in action else {}
        response = headers.pop("Response", "Success")
        self._write(encode({"Response": response, **identified, **headers}))

    def _give_challenge(self, action: Headers) -> None:
        self._challenge = str(secrets.randbelow(900_000_000) + 100_000_000)
        self._respond(action, Challenge=self._challenge)

    def _log_in(self, action: Headers) -> None:
        is_user = action.get("Username") == self._exchange.username
        if not (is_user and self._challenge and self._exchange.is_key(self._challenge, action.get("Key", ""))):
            self._respond(action, Response="Error", Message="Authentication failed")
            return
        self._is_in = True
        self._respond(action, Message="Authentication accepted")
        uptime = str(int(self._exchange.now() - self._exchange.started))
        booted = {"Event": "FullyBooted", "Privilege": "system,all", "Uptime": uptime, "LastReload": uptime}
        self._write(encode({**booted, "Status": "Fully Booted"}))

    def _give_settings(self, action: Headers) -> None:
        self._respond(action, AMIversion="11.0.0", AsteriskVersion=_VERSION)

    def _give_status(self, action: Headers) -> None:
        started = time.gmtime(self._exchange.started)
        date, clock = time.strftime("%Y-%m-%d", started), time.strftime("%H:%M:%S", started)
        calls = str(self._exchange.state.call_count)
        self._respond(action, CoreStartupDate=date, CoreStartupTime=clock, CoreCurrentCalls=calls)

    def _list_queues(self, action: Headers) -> None:
        items = self._exchange.state.list_queues(self._exchange.now())
        self._list(action, "Queue status", "QueueStatusComplete", items)

    def _list_channels(self, action: Headers) -> None:
        items = self._exchange.state.list_channels(self._exchange.now())
        self._list(action, "Channels", "CoreShowChannelsComplete", items)

    def _list_bridges(self, action: Headers) -> None:
        self._list(action, "Bridge listing", "BridgeListComplete", self._exchange.state.list_bridges())

    def _list(self, action: Headers, what: str, complete: str, items: list[str]) -> None:
        identified = f"ActionID: {action['ActionID']}\r\n" if "ActionID" in action else ""
        self._respond(action, EventList="start", Message=f"{what} will follow")
        end = encode({"Event": complete, "EventList": "Complete", "ListItems": str(len(items))})
        for item in [*items, end]:
            self._write(item + identified)

    def _give_pong(self, action: Headers) -> None:
        self._respond(action, Ping="Pong", Timestamp=f"{self._exchange.now():.6f}")

    def _accept_filter(self, action: Headers) -> None:
        # What is filtered away here would be ignored by the bridge anyway.
        self._respond(action, Message="Filter added successfully")


_BEFORE_LOGIN: Mapping[str, Callable[[_ManagerProtocol, Headers], None]] = {
    "challenge": _ManagerProtocol._give_challenge,
    "login": _ManagerProtocol._log_in,
}
_ACTIONS: Mapping[str, Callable[[_ManagerProtocol, Headers], None]] = {
    "bridgelist": _ManagerProtocol._list_bridges,
    "coresettings": _ManagerProtocol._give_settings,
    "coreshowchannels": _ManagerProtocol._list_channels,
    "corestatus": _ManagerProtocol._give_status,
    "filter": _ManagerProtocol._accept_filter,
    "ping": _ManagerProtocol._give_pong,
    "queuestatus": _ManagerProtocol._list_queues,
}


class ManagerFactory(Factory):
    """Makes the protocols of an exchange's connections."""

    noisy = False

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        """Return the protocol of a new connection."""
        return _ManagerProtocol(self._exchange)
