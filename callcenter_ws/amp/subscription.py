"""Calling daemons with what visitors, agents and the gateway itself said (``Subscribe``, ``ClientEvent``)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from callcenter_ws.core.access import EVERY_TENANT, Principal
from callcenter_ws.core.events import CATALOGUE
from callcenter_ws.core.message import Message, Origin
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.interfaces import Clock, Directory, Timer

QUEUE_MESSAGES = 1_000
QUEUE_BYTES = 16_777_216
WINDOW = 64
ANSWER_TIMEOUT = 30.0
ABSENCE = 60.0
_MOST_ABSENT = 64

_log = Logger()

Key = tuple[str, str, frozenset[str]]


class Callee(Protocol):
    """The peer that a Subscription calls."""

    @property
    def name(self) -> str:
        """Who it is, for log lines."""

    @property
    def writable(self) -> bool:
        """Whether it keeps up with what is written to it."""

    def client_event(self, message: Message) -> Deferred[None]:
        """Call it with a message; fires when it answered, fails with ``Refusal`` if it answered with an error."""

    def cut_off(self, reason: str) -> None:
        """End its connection."""


def wanted_events(kinds: Any) -> frozenset[str]:
    """Resolve event names and prefixes into event names.

    Raises:
        Refusal: ``invalid_event`` for anything but a list of kinds that exist.
    """
    if not isinstance(kinds, list):
        raise Refusal(ErrorCode.INVALID_EVENT, "kinds: expected a list of event names")
    wanted: set[str] = set()
    for place, kind in enumerate(kinds):
        found = _events_of(kind) if isinstance(kind, str) else set()
        if not found:
            raise Refusal(ErrorCode.INVALID_EVENT, f"kinds[{place}]: there is no such event type")
        wanted |= found
    return frozenset(wanted)


def _events_of(kind: str) -> set[str]:
    if kind == "*":
        return set(CATALOGUE)
    if kind.endswith(".*"):
        return {name for name in CATALOGUE if name.startswith(kind[:-1])}
    return {kind} & CATALOGUE.keys()


class Subscription:
    """The messages that one peer is owed: bounded, in order, kept until they are acknowledged.

    It outlives its connection by ``ABSENCE`` seconds, so that a daemon that reconnects gets what it missed;
    a message that it had not acknowledged comes again.
    """

    def __init__(self, key: Key, clock: Clock, registry: Subscriptions) -> None:
        self.key = key
        self._clock = clock
        self._registry = registry
        self._callee: Callee | None = None
        self._waiting: deque[Message] = deque()
        self._unanswered: dict[int, tuple[Message, Timer]] = {}
        self._calls = 0
        self._bytes = 0
        self._has_complained = False

    def __len__(self) -> int:
        """How many messages are not acknowledged."""
        return len(self._waiting) + len(self._unanswered)

    def __call__(self, message: Message) -> None:
        """Take a delivered message, if it is for this peer: an ``interfaces.Listener``."""
        event = message.event
        tenant_id, _, wanted = self.key
        if event.origin is Origin.PRODUCER or event.type.name not in wanted:
            return
        if tenant_id not in (EVERY_TENANT, event.tenant_id):
            return
        self._waiting.append(message)
        self._bytes += len(event.payload)
        if len(self) > QUEUE_MESSAGES or self._bytes > QUEUE_BYTES:
            self._overflow()
        else:
            self.feed()

    def attach(self, callee: Callee) -> None:
        """Call ``callee`` from now on, with what was not acknowledged first."""
        self._callee = callee
        self.feed()

    def detach(self) -> None:
        """The connection is gone: what was not acknowledged waits again, in order."""
        self._callee = None
        for message, timer in reversed(self._unanswered.values()):
            timer.cancel()
            self._waiting.appendleft(message)
        self._unanswered.clear()

    def feed(self) -> None:
        """Call the peer, as far as it keeps up."""
        while self._waiting and len(self._unanswered) < WINDOW:
            callee = self._callee
            if callee is None or not callee.writable:
                return
            message = self._waiting.popleft()
            self._calls += 1
            timer = self._clock.call_later(
                ANSWER_TIMEOUT, callee.cut_off, f"it left a ClientEvent unanswered for {ANSWER_TIMEOUT:g} s"
            )
            self._unanswered[self._calls] = (message, timer)
            callee.client_event(message).addBoth(self._answered, self._calls, callee)

    def _answered(self, result: object, call: int, callee: Callee) -> None:
        if self._callee is not callee or call not in self._unanswered:
            return
        error = getattr(result, "value", None)
        if error is not None and not isinstance(error, Refusal):
            return  # the connection is breaking; detach puts the message back
        message, timer = self._unanswered.pop(call)
        timer.cancel()
        self._bytes -= len(message.event.payload)
        if error is not None and not self._has_complained:
            self._has_complained = True
            _log.warn("AMP peer {peer} refuses a ClientEvent: {error}", peer=callee.name, error=error.message)
        self.feed()

    def _overflow(self) -> None:
        callee, count = self._callee, len(self)
        self._registry.close(self)
        reason = f"{count} messages of its subscription wait for it; they are dropped"
        if callee is not None:
            callee.cut_off(reason)
        else:
            _log.warn("the subscription of an absent AMP peer ends: {reason}", reason=reason)


class Subscriptions:
    """All subscriptions, those of peers that are away for a moment included."""

    def __init__(self, directory: Directory, clock: Clock) -> None:
        self._directory = directory
        self._clock = clock
        self._absent: dict[Subscription, Timer] = {}

    def open(self, principal: Principal, wanted: Iterable[str]) -> Subscription:
        """Return a subscription, taking over that of an equal peer which went away."""
        key = (principal.tenant_id, principal.user_id, frozenset(wanted))
        for subscription in self._absent:
            if subscription.key == key:
                self._absent.pop(subscription).cancel()
                return subscription
        subscription = Subscription(key, self._clock, self)
        self._directory.listen(subscription)
        return subscription

    def leave(self, subscription: Subscription) -> None:
        """Its connection is lost: keep it for a while."""
        subscription.detach()
        if len(self._absent) >= _MOST_ABSENT:
            self._expire(next(iter(self._absent)))
        self._absent[subscription] = self._clock.call_later(ABSENCE, self._expire, subscription)

    def close(self, subscription: Subscription) -> None:
        """End it."""
        timer = self._absent.pop(subscription, None)
        if timer is not None:
            timer.cancel()
        self._directory.unlisten(subscription)
        subscription.detach()

    def close_absent(self) -> None:
        """End those whose peers are away: the gateway stops."""
        for subscription in list(self._absent):
            self.close(subscription)

    def _expire(self, subscription: Subscription) -> None:
        if len(subscription):
            _log.warn("an AMP peer did not come back: {count} messages for it are dropped", count=len(subscription))
        self.close(subscription)
