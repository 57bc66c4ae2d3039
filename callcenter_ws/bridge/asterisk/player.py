"""A server of the manager interface that plays a shift: for the demo, and for tests of the bridge.

It answers what a bridge asks: login, ping, filters, and the lists of its channels, bridges and queues. Like a real
exchange it can be cut off, freeze, crash and restart.
"""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.python.failure import Failure

from callcenter_ws.bridge.asterisk.actions import challenge_key
from callcenter_ws.bridge.asterisk.framing import parse_block
from callcenter_ws.bridge.asterisk.message import AmiMessage
from callcenter_ws.bridge.asterisk.played_actions import CHANGES, changed_by
from callcenter_ws.bridge.asterisk.played_events import PlayedEvent
from callcenter_ws.bridge.asterisk.played_rights import ACTIONS, LISTS, RIGHTS
from callcenter_ws.bridge.asterisk.played_state import PlayedState
from callcenter_ws.runtime.clock import Clock
from callcenter_ws.runtime.transports import TwistedTransport

Headers = Mapping[str, str]

MAX_ACTION_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class PlayerUser:
    """A user of the server, as a section of ``manager.conf``.

    Attributes:
        read: the classes of the events that it gets; ``all`` is every class.
        write: the rights for actions; ``agent`` lets it change queues.
    """

    name: str
    secret: str = field(repr=False)
    read: frozenset[str] = frozenset({"system", "call", "agent", "dialplan"})
    write: frozenset[str] = frozenset({"reporting"})


class AmiPlayer(ServerFactory):
    """The exchange: its users, its state, and its sessions.

    Args:
        cuts: cuts what is sent at random places; None: each message is sent as a whole.

    Attributes:
        state: made of the events that were sent.
        is_booted: whether it tells sessions that it is; an exchange that is not sends no event ``FullyBooted``.
        offers_challenge: whether it offers an MD5 challenge at the login.
        actions: the names of the actions that were received, in order; at most 10,000.
        hang_up: ends the call of a channel, and returns why it cannot; None: there is no action ``Hangup``.
    """

    noisy = False

    def __init__(
        self, clock: Clock, users: Iterable[PlayerUser], *, version: str = "22.10.1", cuts: random.Random | None = None
    ) -> None:
        self.clock = clock
        self.users = {user.name: user for user in users}
        self.version = version
        self.cuts = cuts
        self.state = PlayedState()
        self.started_at = clock.time()
        self.is_booted = True
        self.offers_challenge = True
        self.actions: list[str] = []
        self.hang_up: Callable[[str], str | None] | None = None
        self._sessions: list[_PlayerSession] = []

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        """Return the protocol of a new connection."""
        return _PlayerSession(self)

    @property
    def session_count(self) -> int:
        """The number of connections that are logged in."""
        return sum(session.user is not None for session in self._sessions)

    def play(self, events: Sequence[PlayedEvent], *, speed: float = 1.0, epoch: int = 0) -> Deferred[None]:
        """Send events with the distances of their times; the result is there after the last one.

        Args:
            speed: divides the distances.
            epoch: is added to the times and ids within the events.
        """
        finished: Deferred[None] = Deferred()
        waiting = iter(events)
        begin = self.clock.monotonic()
        first = events[0].time if events else 0.0

        def send(event: PlayedEvent | None) -> None:
            if event is not None:
                self.send(event)
            following = next(waiting, None)
            if following is None:
                finished.callback(None)
                return
            due = begin + (following.time - first) / speed
            moved = following.moved(self.clock.time() + due - self.clock.monotonic(), epoch) if epoch else following
            self.clock.call_later(max(0.0, due - self.clock.monotonic()), send, moved)

        self.clock.call_later(0, send, None)
        return finished

    def send(self, event: PlayedEvent) -> None:
        """Change the state by an event, and send it to the sessions that may read its class."""
        self.state.take(event.message, event.time)
        for session in list(self._sessions):
            session.send_event(event.message, event.block)

    def send_text(self, text: str) -> None:
        """Send an event, given its lines."""
        block = text.strip().replace("\n", "\r\n").encode() + b"\r\n\r\n"
        self.send(PlayedEvent(self.clock.time(), block, parse_block(block)))

    def send_raw(self, data: bytes) -> None:
        """Send bytes to all sessions that are logged in, whatever they are."""
        for session in list(self._sessions):
            if session.user is not None:
                session.transport.write(data)

    def cut(self) -> None:
        """Break all connections; the exchange goes on."""
        for session in list(self._sessions):
            session.transport.abortConnection()

    def freeze(self) -> None:
        """Stop in mid-message: present sessions get half an event and nothing more, and are not read any more."""
        for session in list(self._sessions):
            session.freeze()

    def crash(self) -> None:
        """End without a word, with all calls and dynamic members, and start again."""
        self.cut()
        self._restart()

    def shut_down(self) -> None:
        """Send ``Shutdown``, end all sessions, and start again."""
        self.send_text("Event: Shutdown\nPrivilege: system,all\nShutdown: Cleanly\nRestart: True")
        for session in list(self._sessions):
            session.transport.loseConnection()
        self._restart()

    def boot(self) -> None:
        """Tell the sessions that the exchange is booted."""
        self.is_booted = True
        self.send_text("Event: FullyBooted\nPrivilege: system,all\nStatus: Fully Booted\nUptime: 0\nLastReload: 0")

    def _restart(self) -> None:
        self.state = PlayedState()
        self.started_at = max(self.clock.time(), self.started_at + 1)

    # What the sessions call

    def opened(self, session: _PlayerSession) -> None:
        """Add a connection."""
        self._sessions.append(session)

    def closed(self, session: _PlayerSession) -> None:
        """Remove a connection."""
        self._sessions.remove(session)

    def note_action(self, name: str) -> None:
        """Count an action."""
        if len(self.actions) < 10_000:
            self.actions.append(name)


class _PlayerSession(Protocol):
    """One connection."""

    transport: TwistedTransport

    def __init__(self, player: AmiPlayer) -> None:
        self._player = player
        self._buffer = b""
        self._challenge = ""
        self._classes: frozenset[str] = frozenset()
        self._excluded: set[str] = set()
        self._is_frozen = False
        self.user: PlayerUser | None = None

    def connectionMade(self) -> None:
        """Greet."""
        self._player.opened(self)
        self._write(b"Asterisk Call Manager/11.0.0\r\n")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Forget the connection."""
        self._player.closed(self)

    def dataReceived(self, data: bytes) -> None:
        """Answer the actions."""
        if self._is_frozen:
            return
        *blocks, self._buffer = (self._buffer + data).split(b"\r\n\r\n")
        for block in blocks:
            self._act(parse_block(block))
        if len(self._buffer) > MAX_ACTION_BYTES:
            self.transport.abortConnection()

    def send_event(self, message: AmiMessage, block: bytes) -> None:
        """Send an event, if its class is read and it is not filtered out."""
        needed = {name for name in message.get("Privilege").split(",") if name != "all"}
        if self.user is not None and needed <= self._classes and message.name not in self._excluded:
            self._write(block)

    def freeze(self) -> None:
        """Send half an event, and do nothing more."""
        self._write(b"Event: Newchannel\r\nPrivilege: call,all\r\nChannel: PJSIP/tr")
        self._is_frozen = True
        self.transport.pauseProducing()

    def _write(self, data: bytes) -> None:
        if self._is_frozen:
            return
        cuts = self._player.cuts
        if cuts is None:
            self.transport.write(data)
            return
        start = 0
        while start < len(data):
            end = start + cuts.randint(1, len(data))
            self.transport.write(data[start:end])
            start = end

    def _reply(self, action: AmiMessage, response: str, headers: Headers) -> None:
        self._write(_encoded({"Response": response, "ActionID": action.get("ActionID"), **headers}))

    def _act(self, action: AmiMessage) -> None:
        name = action.get("Action")
        self._player.note_action(name)
        if name == "Challenge" and self._player.offers_challenge:
            self._challenge = str(secrets.randbelow(1_000_000_000))
            self._reply(action, "Success", {"Challenge": self._challenge})
        elif name == "Login":
            self._log_in(action)
        elif name == "Challenge" or self._may(name):
            self._answer(name, action)
        else:
            self._reply(action, "Error", {"Message": "Permission denied"})

    def _may(self, name: str) -> bool:
        return self.user is not None and (name not in RIGHTS or not self.user.write.isdisjoint(RIGHTS[name]))

    def _log_in(self, action: AmiMessage) -> None:
        user = self._player.users.get(action.get("Username"))
        proof = action.get("Key") if action.get("AuthType").upper() == "MD5" else action.get("Secret")
        expected = ""
        if user is not None:
            is_md5 = action.get("AuthType").upper() == "MD5"
            expected = challenge_key(self._challenge, user.secret) if is_md5 else user.secret
        if user is None or not expected or proof != expected or (not self._challenge and "Key" in action.headers):
            self._reply(action, "Error", {"Message": "Authentication failed"})
            self.transport.loseConnection()
            return
        self.user = user
        self._set_classes(action.get("Events"))
        self._reply(action, "Success", {"Message": "Authentication accepted"})
        if self._player.is_booted and "system" in self._classes:
            self._write(_encoded({"Event": "FullyBooted", "Privilege": "system,all", "Status": "Fully Booted"}))

    def _set_classes(self, mask: str) -> None:
        read = self.user.read if self.user is not None else frozenset()
        asked = frozenset(mask.split(",")) if mask not in ("", "on", "all") else read | {"all"}
        if "all" in read:
            read = asked | {"system", "call", "agent", "dialplan", "user", "reporting", "cdr", "dtmf", "config"}
        self._classes = read if "all" in asked else read & asked

    def _answer(self, name: str, action: AmiMessage) -> None:
        if name in LISTS:
            self._answer_list(name, action)
        elif name == "Ping":
            self._reply(action, "Success", {"Ping": "Pong", "Timestamp": f"{self._player.clock.time():.6f}"})
        elif name == "CoreSettings":
            self._reply(action, "Success", {"AMIversion": "11.0.0", "AsteriskVersion": self._player.version})
        elif name == "CoreStatus":
            self._reply(action, "Success", self._core_status())
        elif name == "Filter":
            self._exclude(action)
        elif name == "ListCommands":
            self._reply(action, "Success", dict(self._commands()))
        elif name in CHANGES:
            self._change(action)
        elif name == "Hangup" and self._player.hang_up is not None:
            problem = self._player.hang_up(action.get("Channel"))
            self._reply(action, "Error" if problem else "Success", {"Message": problem or "Channel Hungup"})
        elif name == "Logoff":
            self._reply(action, "Goodbye", {"Message": "Thanks for all the fish."})
            self.transport.loseConnection()
        else:
            text = f"Invalid/unknown command: {name}. Use Action: ListCommands to show available commands."
            self._reply(action, "Error", {"Message": text})

    def _change(self, action: AmiMessage) -> None:
        """Change queues; Asterisk may send the events before or after the response."""
        player, now = self._player, self._player.clock.time()
        response, text, events = changed_by(action, player.state, now)
        for headers in events:
            block = _encoded(headers)
            player.send(PlayedEvent(now, block, parse_block(block)))
        self._reply(action, response, {"Message": text})

    def _answer_list(self, name: str, action: AmiMessage) -> None:
        end, text = LISTS[name]
        own = {"ActionID": action.get("ActionID")}
        self._reply(action, "Success", {"EventList": "start", "Message": text})
        items = list(self._player.state.lists(name, self._player.clock.time()))
        for item in items:
            self._write(_encoded({**item, **own}))
        self._write(_encoded({"Event": end, **own, "EventList": "Complete", "ListItems": str(len(items))}))

    def _commands(self) -> Iterator[tuple[str, str]]:
        """Yield the actions that the user may use, as far as this server has them."""
        for name in ACTIONS:
            if self._may(name) and (name != "Hangup" or self._player.hang_up is not None):
                rights = ",".join((*RIGHTS[name], "all")) if name in RIGHTS else "<none>"
                yield name, f" (Priv: {rights})"

    def _core_status(self) -> Headers:
        started = time.gmtime(self._player.started_at)
        return {
            "CoreStartupDate": time.strftime("%Y-%m-%d", started),
            "CoreStartupTime": time.strftime("%H:%M:%S", started),
            "CoreCurrentCalls": str(self._player.state.call_count),
        }

    def _exclude(self, action: AmiMessage) -> None:
        """Take a filter of the form that the bridge sends: events of one name are excluded."""
        criteria = action.get("MatchCriteria")
        if not criteria.startswith("action(exclude),name("):
            self._reply(action, "Error", {"Message": "Filter was formatted incorrectly."})
            return
        self._excluded.add(criteria.removeprefix("action(exclude),name(").removesuffix(")"))
        self._reply(action, "Success", {"Message": "Success"})


def _encoded(headers: Headers) -> bytes:
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode() + b"\r\n"
