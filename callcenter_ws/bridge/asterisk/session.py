"""One session of the manager interface, without a socket: bytes in, bytes out, and the machine kept up to date.

It logs in, waits until the exchange is booted, asks for its lists while it keeps back the live events, gives the lists
and then these events to the machine, and passes on the events from then on. From time to time it asks for the lists
again, in the same manner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from enum import StrEnum
from typing import Protocol

from callcenter_ws.bridge.asterisk.actions import ActionIds, encode_action
from callcenter_ws.bridge.asterisk.booting import MAX_BOOT_SECONDS, may_be_booting
from callcenter_ws.bridge.asterisk.framing import EndlessMessageError, Framing, NotAmiError
from callcenter_ws.bridge.asterisk.held_events import MAX_HELD, HeldEvents
from callcenter_ws.bridge.asterisk.lists import (
    CORE_SETTINGS,
    CORE_STATUS,
    EVENT_NAMES,
    LISTS,
    ListCollector,
    ListsFailedError,
)
from callcenter_ws.bridge.asterisk.login import Credentials, Login
from callcenter_ws.bridge.asterisk.message import AmiMessage
from callcenter_ws.bridge.asterisk.session_clock import ANSWER_SECONDS, SessionClock
from callcenter_ws.bridge.asterisk.session_filters import SessionFilters
from callcenter_ws.bridge.asterisk.snapshot import AmiSnapshot
from callcenter_ws.bridge.loss import Loss, LostReason

BOOT_SECONDS = 5.0
"""How long an exchange that does not say that it is booted is waited for. A user without the class ``system`` is never
told; if it is told later, the lists are asked for again."""

RETRY_SECONDS = 2.0
"""How long to wait until lists that failed are asked for again."""

PARTIAL_SECONDS = 60.0
"""When the lists are asked for again that held no queues because the exchange does not know them (yet)."""

OWN_EVENTS = EVENT_NAMES | {"FullyBooted", "Reload", "Shutdown"}
"""The events that a session needs, whatever the machine wants."""


class Machine(Protocol):
    """What a session keeps up to date: ``machine.AsteriskMachine``."""

    def handle(self, message: AmiMessage, arrived: float) -> None:
        """Translate one event."""

    def synchronizing(self, snapshot: AmiSnapshot, arrived: float) -> Iterator[None]:
        """Correct what is known by the exchange's own lists, in steps."""

    @property
    def is_comparing(self) -> bool:
        """Whether ``compare_next`` has to be called before the next event."""

    def compare_next(self) -> None:
        """Take one step of a comparison that has become due."""


class SessionState(StrEnum):
    """How far a session is."""

    CONNECTING = "connecting"
    LOGGING_IN = "logging in"
    BOOTING = "booting"
    SYNCHRONIZING = "synchronizing"
    LIVE = "live"
    LOST = "lost"


class AmiSession:
    """One session.

    ``feed`` it with bytes, call ``step`` until it returns False, and ``tick`` about once a second; then send what
    ``take_output`` returns.

    Args:
        ping_interval, audit_interval: as in ``SourceSettings``.
        prefix: random; begins the ActionIDs.
        wanted: the events that the machine wants; None: all.

    Attributes:
        state: read it after each call; ``loss`` is set once it is ``LOST``.
        synchronizations: how many complete lists the machine was given.
        version, boot: of the exchange, from the lists.
        responses: called with the responses to actions of ``act``.
    """

    def __init__(
        self,
        credentials: Credentials,
        machine: Machine,
        prefix: str,
        *,
        wanted: frozenset[str] | None = None,
        ping_interval: float = 15.0,
        audit_interval: float = 3_600.0,
    ) -> None:
        self._credentials = credentials
        self._ping_interval = ping_interval
        self._audit_interval = audit_interval
        self._machine = machine
        self._ids = ActionIds(prefix)
        self.framing = Framing(None if wanted is None else OWN_EVENTS | wanted)
        self._output: list[bytes] = []
        self._clock = SessionClock()
        self._clock.expect("its greeting")
        self._heard_at = 0.0
        self._ping_id = ""
        self._filters = SessionFilters(self._send, wanted)
        self._login: Login | None = None
        self._lists: ListCollector | None = None
        self._lists_at: float | None = None
        self._is_settings_round = False
        self._comparison: Iterator[None] | None = None
        self._events = HeldEvents()
        self._is_booted = False
        self._booting_until = 0.0
        self._audit_is_requested = False
        self.state = SessionState.CONNECTING
        self.loss: Loss | None = None
        self.synchronizations = 0
        self.abandoned_audits = 0
        self.version = ""
        self.boot = ""
        self.responses: Callable[[AmiMessage], None] | None = None

    def feed(self, data: bytes) -> None:
        """Take bytes of the exchange; ``step`` handles the messages in them."""
        if self.state is SessionState.LOST:
            return
        try:
            self.framing.feed(data)
        except NotAmiError as error:
            self.lose(LostReason.NOT_AMI, f"the peer is no manager interface; it begins with {str(error)!r}")
        except EndlessMessageError:
            self.lose(LostReason.PROTOCOL_ERROR, "a message of the exchange does not end")
        if self.state is SessionState.CONNECTING and self.framing.is_begun:
            self._begin_login()

    def step(self, arrived: float) -> bool:
        """Handle one message; return whether there may be more.

        Args:
            arrived: the Unix time at which the bytes arrived that were fed last.
        """
        if self.state is SessionState.LOST:
            return False
        if self._comparison is not None:
            self._compare_next(self._comparison)
            return True
        if self.is_comparing:
            self._machine.compare_next()
            return True
        if self._events.has_released:
            self._machine.handle(*self._events.next())
            return True
        try:
            message = self.framing.next()
        except EndlessMessageError:
            self.lose(LostReason.PROTOCOL_ERROR, "the output of a command does not end")
            return False
        if message is None:
            return False
        self._heard_at = self._clock.now
        self._receive(message, arrived)
        return True

    def tick(self, now: float) -> None:
        """Do what is due.

        Args:
            now: seconds of a monotonic clock.
        """
        self._clock.tick(now)
        if self.state is SessionState.LOST:
            return
        if self._clock.is_overdue:
            self._time_out()
        elif self._lists_at is not None and self._clock.now >= self._lists_at:
            self._request_settings()
        elif self.state in (SessionState.LIVE, SessionState.BOOTING):
            self._ping_if_silent()

    def audit(self) -> None:
        """Ask for the lists now, or as soon as the session is live."""
        if self.state is SessionState.LIVE and self._lists is None:
            self._request_settings()
        else:
            self._audit_is_requested = True

    def act(self, name: str, *headers: tuple[str, str]) -> str:
        """Send an action, whose response is passed to ``responses``; return its ActionID.

        Raises:
            InvalidValueError: a value cannot be sent.
        """
        return self._send(name, *headers)

    def lose(self, reason: LostReason, text: str) -> None:
        """End the session; has no effect if it has ended."""
        if self.state is not SessionState.LOST:
            self.state = SessionState.LOST
            self.loss = Loss(reason, text)
            self._events.clear()
            self._comparison = None

    def take_output(self) -> bytes:
        """Return what has to be sent since the last call."""
        output = b"".join(self._output)
        self._output.clear()
        return output

    @property
    def is_synchronized(self) -> bool:
        """Whether the machine was given complete lists, and all that was kept back meanwhile."""
        return self.state is SessionState.LIVE and self.synchronizations > 0 and not self._events.has_released

    @property
    def is_comparing(self) -> bool:
        """Whether the next step is one of a comparison."""
        return self._comparison is not None or (self.state is SessionState.LIVE and self._machine.is_comparing)

    @property
    def is_idle(self) -> bool:
        """Whether the machine knows every event that was handed in."""
        return self.is_synchronized and self._lists is None

    def _send(self, name: str, *headers: tuple[str, str]) -> str:
        action_id = self._ids.next()
        self._output.append(encode_action(name, action_id, headers))
        return action_id

    def _receive(self, message: AmiMessage, arrived: float) -> None:
        if message.response:
            self._receive_response(message, arrived)
        elif self.state is SessionState.LOGGING_IN or self._take_answer(message, arrived):
            # Nothing that comes before the login is believed.
            return
        elif message.name == "FullyBooted":
            self._booted()
        elif message.name == "Shutdown":
            self._pass_on(message, arrived)
            self.lose(LostReason.SHUTDOWN, "the exchange shuts down")
        elif message.name == "Reload":
            # It may have changed the members of queues.conf, of which no event tells.
            if message.get("Module").startswith(("app_queue", "All")):
                self.audit()
        elif message.name not in EVENT_NAMES:
            self._pass_on(message, arrived)

    def _pass_on(self, message: AmiMessage, arrived: float) -> None:
        if self._lists is None and self.state is SessionState.LIVE:
            self._machine.handle(message, arrived)
            return
        if self._events.hold(message, arrived):
            return
        if self.state is SessionState.LIVE:
            self.abandoned_audits += 1
            self._finish_lists()
        else:
            self.lose(LostReason.OVERLOADED, f"more than {MAX_HELD} events came before its lists were complete")

    def _begin_login(self) -> None:
        self.state = SessionState.LOGGING_IN
        self._login = Login(self._credentials, self._send)
        self._clock.expect(self._login.waits_for)

    def _receive_response(self, message: AmiMessage, arrived: float) -> None:
        if self.state is SessionState.LOGGING_IN and self._login is not None:
            self._receive_login(self._login, message)
        elif self._ping_id and message.get("ActionID") == self._ping_id:
            self._ping_id = ""
            self._clock.expect_nothing()
        elif not (self._filters.receive(message) or self._take_answer(message, arrived)) and self.responses is not None:
            self.responses(message)

    def _receive_login(self, login: Login, message: AmiMessage) -> None:
        loss = login.receive(message)
        if loss is not None:
            self.lose(loss.reason, loss.text)
        elif login.is_accepted:
            self.state = SessionState.BOOTING
            self._clock.expect_nothing()
            self._lists_at = self._clock.now + BOOT_SECONDS
            self._booting_until = self._clock.now + MAX_BOOT_SECONDS
        else:
            self._clock.expect(login.waits_for)

    # Lists

    def _booted(self) -> None:
        """Ask for the lists, again if they have been asked for already: the exchange was not ready yet."""
        is_late = self._is_booted is False and self.state is not SessionState.BOOTING
        self._is_booted = True
        if self.state is SessionState.BOOTING or is_late:
            self._request_settings()

    def _request_settings(self) -> None:
        """Ask for the version first: the form of the filters depends on it."""
        if self.state is SessionState.BOOTING:
            self.state = SessionState.SYNCHRONIZING
        self._lists_at = None
        self._audit_is_requested = False
        self._is_settings_round = True
        self._lists = ListCollector({self._send(action.name): action for action in (CORE_STATUS, CORE_SETTINGS)})
        self._ping_id = ""
        self._clock.expect("CoreSettings")

    def _request_lists(self) -> None:
        self._is_settings_round = False
        if self.synchronizations == 0:
            self._filters.begin(self.version)
        self._lists = ListCollector({self._send(action.name): action for action in LISTS})
        self._clock.expect("the lists")

    def _take_answer(self, message: AmiMessage, arrived: float) -> bool:
        lists = self._lists
        if lists is None or "ActionID" not in message.headers:
            return False
        try:
            if not lists.take(message, arrived):
                return False
        except ListsFailedError as error:
            self._lists_failed(error)
            return True
        self._clock.expect_more()
        if lists.is_complete and self._is_settings_round:
            self.version = lists.version
            if not self._is_booted and self._clock.now < self._booting_until and may_be_booting(lists.boot, arrived):
                self._wait_for_boot(BOOT_SECONDS)
            else:
                self._request_lists()
        elif lists.is_complete:
            self._synchronize(lists, arrived)
        return True

    def _synchronize(self, lists: ListCollector, arrived: float) -> None:
        """Begin to compare; no message is handled meanwhile."""
        lists.version = self.version
        self.boot = lists.boot
        self._clock.expect_nothing()
        snapshot = replace(lists.snapshot(), meanwhile=self._events.meanwhile, is_audit=self.synchronizations > 0)
        self._comparison = self._machine.synchronizing(snapshot, arrived)

    def _compare_next(self, comparison: Iterator[None]) -> None:
        try:
            next(comparison)
        except StopIteration:
            self._comparison = None
            self._compared()

    def _compared(self) -> None:
        is_partial = self._lists is not None and self._lists.is_partial
        self.state = SessionState.LIVE
        self.synchronizations += 1
        self._finish_lists()
        if self._audit_is_requested:
            self._lists_at = self._clock.now
        elif is_partial:
            self._lists_at = self._clock.now + min(PARTIAL_SECONDS, self._audit_interval)

    def _finish_lists(self) -> None:
        self._events.release()
        self._lists = None
        self._clock.expect_nothing()
        self._lists_at = self._clock.now + self._audit_interval

    def _lists_failed(self, error: ListsFailedError) -> None:
        """Start again soon; give up where the user lacks the right."""
        if error.is_permission:
            user = self._credentials.username
            text = f"the user {user!r} may not ask for the state of the exchange ({error}); give it write = reporting"
            self.lose(LostReason.NO_PERMISSION, text)
        elif self.state is SessionState.LIVE:
            self.abandoned_audits += 1
            self._finish_lists()
        else:
            self._wait_for_boot(RETRY_SECONDS)

    def _wait_for_boot(self, seconds: float) -> None:
        self._lists = None
        self.state = SessionState.BOOTING
        self._clock.expect_nothing()
        self._lists_at = self._clock.now + seconds

    # Time

    def _time_out(self) -> None:
        what = self._lists.missing if self._lists is not None else self._clock.waits_for
        hint = "; is this the port of its manager interface?" if self.state is SessionState.CONNECTING else ""
        self.lose(LostReason.TIMEOUT, f"the exchange does not answer ({what}){hint}")

    def _ping_if_silent(self) -> None:
        if self._lists is None and not self._ping_id and self._clock.now - self._heard_at >= self._ping_interval:
            self._ping_id = self._send("Ping")
            self._clock.expect("Ping", min(ANSWER_SECONDS, self._ping_interval))
