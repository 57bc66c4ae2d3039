"""One connection to a manager interface that examines the exchange: it asks, listens, and changes nothing."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from callcenter_ws.bridge.asterisk.actions import ActionIds, encode_action
from callcenter_ws.bridge.asterisk.framing import EndlessMessageError, Framing, NotAmiError
from callcenter_ws.bridge.asterisk.lists import CORE_SETTINGS, LISTS, ListAction
from callcenter_ws.bridge.asterisk.login import Credentials, Login
from callcenter_ws.bridge.asterisk.message import AmiMessage
from callcenter_ws.bridge.asterisk.session_clock import ANSWER_SECONDS
from callcenter_ws.bridge.loss import Loss, LostReason
from callcenter_ws.remote.reasons import connection_reason
from callcenter_ws.runtime.transports import TwistedTransport

MAX_EVENTS = 20_000

_COMMANDS = ListAction("ListCommands")
_DIALPLAN = ListAction("ShowDialPlan", frozenset({"ListDialplan"}), "ShowDialPlanComplete")
_PRIVILEGES = re.compile(r"\(Priv: ([a-z,<>]+)\)")
_WHICH_PORT = "is this the port of its manager interface?"
_CLASSES = ("system", "call", "agent", "dialplan", "reporting", "originate", "command", "config", "user", "security")


class ProbeFailed(Exception):
    """The exchange cannot be examined.

    Attributes:
        loss: why.
    """

    def __init__(self, loss: Loss) -> None:
        super().__init__(loss.text)
        self.loss = loss


@dataclass(slots=True)
class Facts:
    """What an exchange has told.

    Attributes:
        is_booted: whether it said that it is booted, which only the class ``system`` is told.
        used_challenge: whether the login proved the secret by a challenge.
        refused: the actions that were refused, with the exchange's text.
        actions: the actions that the user may use.
        write: the rights of the user, as far as the actions show them that it may use.
        read: the classes that it may read; None: the user has no right to ask that.
        settings: the general settings of the manager interface, where the user may ask for them.
        missing_contexts: those of the contexts asked for that the dialplan does not have.
        events: the live events, without what was sent as answers.
        local_address: of this end of the connection; empty for a unix socket.
    """

    banner: str = ""
    version: str = ""
    ami_version: str = ""
    system_name: str = ""
    started: str = ""
    is_booted: bool = False
    used_challenge: bool = True
    refused: dict[str, str] = field(default_factory=dict)
    actions: frozenset[str] = frozenset()
    write: set[str] = field(default_factory=set)
    read: frozenset[str] | None = None
    settings: dict[str, str] = field(default_factory=dict)
    queues: list[AmiMessage] = field(default_factory=list)
    members: list[AmiMessage] = field(default_factory=list)
    channels: list[AmiMessage] = field(default_factory=list)
    missing_contexts: list[str] = field(default_factory=list)
    events: list[AmiMessage] = field(default_factory=list)
    listened_seconds: float = 0.0
    local_address: str = ""


class Probe(Protocol):
    """The connection. ``examine`` does everything.

    Args:
        contexts: those of the dialplan that the exchange should have.
    """

    transport: TwistedTransport

    def __init__(self, credentials: Credentials, reactor: IReactorTime, contexts: Sequence[str] = ()) -> None:
        self._credentials = credentials
        self._contexts = contexts
        self._reactor = reactor
        self._framing = Framing()
        self._ids = ActionIds(f"ccws-check-{secrets.token_hex(8)}")
        self._facts = Facts()
        self._login: Login | None = None
        self._is_mine: Callable[[AmiMessage], bool] | None = None
        self._waiter: Deferred[None] | None = None
        self._loss: Loss | None = None

    async def examine(self, listen_seconds: float) -> Facts:
        """Log in, ask, and listen for some seconds.

        Raises:
            ProbeFailed: the exchange is not there, refuses the login or does not answer.
        """
        try:
            self._facts.local_address = getattr(self.transport.getHost(), "host", "")
            await self._log_in()
            for action in (CORE_SETTINGS, _COMMANDS, *LISTS):
                await self._ask(action)
            for context in self._contexts if _DIALPLAN.name in self._facts.actions else ():
                # Of one extension, which need not exist: the whole context may be long.
                await self._ask(_DIALPLAN, ("Context", context), ("Extension", "s"))
            if "command" in self._facts.write:
                await self._ask(ListAction("Command"), ("Command", f"manager show user {self._credentials.username}"))
                await self._ask(ListAction("Command"), ("Command", "manager show settings"))
            if listen_seconds:
                await self._listen(listen_seconds)
            return self._facts
        finally:
            self.transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        """Take what the exchange sends."""
        try:
            self._framing.feed(data)
            while (message := self._framing.next()) is not None:
                self._receive(message)
        except NotAmiError as error:
            self._fail(LostReason.NOT_AMI, f"the peer is no manager interface; it begins with {str(error)!r}")
        except EndlessMessageError:
            self._fail(LostReason.PROTOCOL_ERROR, "a message of the exchange does not end")
        if self._framing.is_begun and self._login is None:
            self._facts.banner = self._framing.banner
            self._login = Login(self._credentials, self._send)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Let the examination fail."""
        text = connection_reason(reason.value, "the exchange")
        if not self._framing.is_begun and not text.startswith("TLS"):
            text += f" before it greeted; {_WHICH_PORT}"
        self._fail(LostReason.CONNECTION_LOST, text)

    def _send(self, name: str, *headers: tuple[str, str]) -> str:
        action_id = self._ids.next()
        if name == "Login":
            # The check looks at all classes of events, not only at those that a bridge asks for.
            headers = tuple(header for header in headers if header[0] != "Events")
            self._facts.used_challenge = any(header == "Key" for header, _ in headers)
        self.transport.write(encode_action(name, action_id, headers))
        return action_id

    def _receive(self, message: AmiMessage) -> None:
        if self._login is not None and not self._login.is_accepted:
            if message.response:
                self._receive_login(self._login, message)
        elif self._is_mine is not None and self._is_mine(message):
            return
        elif message.name == "FullyBooted":
            self._facts.is_booted = True
        elif message.name and len(self._facts.events) < MAX_EVENTS:
            self._facts.events.append(message)

    def _receive_login(self, login: Login, message: AmiMessage) -> None:
        loss = login.receive(message)
        if loss is not None:
            self._fail(loss.reason, loss.text)
        elif login.is_accepted:
            self._wake()

    async def _log_in(self) -> None:
        await self._wait("its greeting, the login")

    async def _ask(self, action: ListAction, *headers: tuple[str, str]) -> None:
        """Send an action, and keep its answer."""
        action_id = self._send(action.name, *headers)

        def take(message: AmiMessage) -> bool:
            if message.get("ActionID") != action_id or message.name == "UserEvent":
                return False
            if message.name in action.items:
                self._keep_item(message)
            elif message.response:
                self._keep_response(action, message)
            if message.name == action.end or (message.response and (not action.end or message.response != "Success")):
                self._wake()
            return True

        self._is_mine = take
        await self._wait(action.name)
        self._is_mine = None

    def _keep_item(self, message: AmiMessage) -> None:
        facts = self._facts
        kinds = {"QueueParams": facts.queues, "QueueMember": facts.members, "CoreShowChannel": facts.channels}
        if message.name in kinds:
            kinds[message.name].append(message)

    def _keep_response(self, action: ListAction, message: AmiMessage) -> None:
        facts = self._facts
        if action.name == "Command":
            self._keep_output(message)
        elif action is _DIALPLAN:
            before, found, context = message.get("Message").partition("Did not find context ")
            if found and not before:
                facts.missing_contexts.append(context)
        elif message.response != "Success":
            facts.refused[action.name] = message.get("Message") or message.response
        elif action is CORE_SETTINGS:
            facts.version = message.get("AsteriskVersion")
            facts.ami_version = message.get("AMIversion")
            facts.system_name = message.get("SystemName")
        elif action is _COMMANDS:
            facts.write.update(_rights(message))
            facts.actions = frozenset(name for name, text in message.headers.items() if "(Priv: " in text)
        elif message.get("CoreStartupTime"):
            facts.started = f"{message.get('CoreStartupDate')} {message.get('CoreStartupTime')}"

    def _keep_output(self, message: AmiMessage) -> None:
        """Keep what a command of Asterisk shows: lines ``name: value``."""
        shown = {
            name.strip(): value.strip() for name, _, value in (line.partition(":") for line in message.all("Output"))
        }
        classes = shown.pop("read perm", None)
        if classes is not None:
            self._facts.read = frozenset(classes.split(","))
        elif "Timestamp events" in shown:
            self._facts.settings = shown

    async def _listen(self, seconds: float) -> None:
        await deferLater(self._reactor, seconds)
        self._facts.listened_seconds = seconds
        if self._loss is not None:
            raise ProbeFailed(self._loss)

    async def _wait(self, what: str) -> None:
        if self._loss is not None:
            raise ProbeFailed(self._loss)
        waiter: Deferred[None] = Deferred()
        self._waiter = waiter
        late = self._reactor.callLater(ANSWER_SECONDS, self._time_out, what)
        try:
            await waiter
        finally:
            self._waiter = None
            if late.active():
                late.cancel()

    def _time_out(self, what: str) -> None:
        hint = "" if self._framing.is_begun else f"; {_WHICH_PORT}"
        self._fail(LostReason.TIMEOUT, f"the exchange does not answer ({what}){hint}")

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter.callback(None)

    def _fail(self, reason: LostReason, text: str) -> None:
        if self._loss is None:
            self._loss = Loss(reason, text)
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter.errback(ProbeFailed(self._loss))


def _rights(commands: AmiMessage) -> Iterator[str]:
    """Yield the rights that the user must have, given the actions that it may use.

    An action with several rights needs one of them. So only those with one right prove something.
    """
    for text in commands.headers.values():
        found = _PRIVILEGES.search(text)
        rights = [right for right in found[1].split(",") if right != "all"] if found else []
        if len(rights) == 1 and rights[0] in _CLASSES:
            yield rights[0]
