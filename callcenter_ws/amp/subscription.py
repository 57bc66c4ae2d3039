"""Calling daemons with what visitors, agents and the gateway itself said (``Subscribe``, ``ClientEvent``)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.catalogue import names_matching
from callcenter_ws.events.event import Origin
from callcenter_ws.events.principal import EVERY_TENANT, Principal
from callcenter_ws.events.publication import Publication
from callcenter_ws.interfaces import Directory
from callcenter_ws.runtime.clock import Clock, Timer

QUEUE_MESSAGES = 1_000
QUEUE_BYTES = 16_777_216
WINDOW = 64
ANSWER_TIMEOUT = 30.0
TRIES = 5
FIRST_PAUSE = 0.5
ABSENCE = 60.0
_MOST_ABSENT = 64
_ERROR_LENGTH = 200

_PASSING = frozenset({ErrorCode.OVERLOADED, ErrorCode.UNAVAILABLE})
"""Errors of a peer that say nothing about the message: it comes again."""

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

    def client_event(self, publication: Publication) -> Deferred[None]:
        """Call it with a message; fires when it answered.

        Fails with ``Refusal`` if the answer was an error, ``unavailable`` for one that is not declared.
        """

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
        found = names_matching(kind) if isinstance(kind, str) else None
        if not found:
            raise Refusal(ErrorCode.INVALID_EVENT, f"kinds[{place}]: there is no such event type")
        wanted |= found
    return frozenset(wanted)


@dataclass(slots=True, eq=False)
class _Owed:
    """A message for the peer, and how often it has answered it with a passing error on this connection."""

    publication: Publication
    refusals: int = 0


class Subscription:
    """The messages that one peer is owed: bounded, in order, kept until they are acknowledged.

    It outlives its connection by ``ABSENCE`` seconds, so that a daemon that reconnects gets what it missed;
    a message that it had not acknowledged comes again.

    A message that the peer answers with ``overloaded`` or ``unavailable`` is kept. When the peer has answered
    everything under way, and after a pause, it is called again with what it refused, in order and one message
    at a time; after ``TRIES`` times with the same message it is cut off.
    """

    def __init__(self, key: Key, clock: Clock, registry: Subscriptions) -> None:
        self.key = key
        self._clock = clock
        self._registry = registry
        self._callee: Callee | None = None
        self._waiting: deque[_Owed] = deque()
        self._unanswered: dict[int, tuple[_Owed, Timer]] = {}
        self._again: dict[int, _Owed] = {}
        self._pause: Timer | None = None
        self._calls = 0
        self._bytes = 0
        self._has_complained = False

    def __len__(self) -> int:
        """How many messages are not acknowledged."""
        return len(self._waiting) + len(self._unanswered) + len(self._again)

    def __call__(self, publication: Publication) -> None:
        """Take a delivered message, if it is for this peer: an ``interfaces.PublicationListener``."""
        event = publication.event
        tenant_id, _, wanted = self.key
        if event.origin is Origin.PRODUCER or event.type.name not in wanted:
            return
        if tenant_id not in (EVERY_TENANT, event.tenant_id):
            return
        self._waiting.append(_Owed(publication))
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
        for call, (owed, timer) in self._unanswered.items():
            timer.cancel()
            self._again[call] = owed
        self._unanswered.clear()
        for owed in self._again.values():
            owed.refusals = 0
        self._put_back()

    def feed(self) -> None:
        """Call the peer, as far as it keeps up."""
        while self._waiting and not self._again and len(self._unanswered) < self._window():
            callee = self._callee
            if callee is None or not callee.writable:
                return
            owed = self._waiting.popleft()
            self._calls += 1
            timer = self._clock.call_later(
                ANSWER_TIMEOUT, callee.cut_off, f"it left a ClientEvent unanswered for {ANSWER_TIMEOUT:g} s"
            )
            self._unanswered[self._calls] = (owed, timer)
            callee.client_event(owed.publication).addBoth(self._answered, self._calls, callee)

    def _window(self) -> int:
        oldest = next((owed for owed, _ in self._unanswered.values()), self._waiting[0])
        return 1 if oldest.refusals else WINDOW

    def _answered(self, result: object, call: int, callee: Callee) -> None:
        if self._callee is not callee or call not in self._unanswered:
            return
        error = getattr(result, "value", None)
        if error is not None and not isinstance(error, Refusal):
            return  # the connection is breaking; detach puts the message back
        owed, timer = self._unanswered.pop(call)
        timer.cancel()
        if error is not None and error.code in _PASSING:
            owed.refusals += 1
            self._again[call] = owed
            if owed.refusals >= TRIES:
                callee.cut_off(f"it refused a ClientEvent {TRIES} times: {error.message[:_ERROR_LENGTH]!r}")
                return
        else:
            self._acknowledged(owed.publication, callee, error)
        if self._again and not self._unanswered:
            delay = FIRST_PAUSE * 2 ** (max(again.refusals for again in self._again.values()) - 1)
            self._pause = self._clock.call_later(delay, self._try_again)
        else:
            self.feed()

    def _acknowledged(self, publication: Publication, callee: Callee, error: Refusal | None) -> None:
        self._bytes -= len(publication.event.payload)
        if error is not None and not self._has_complained:
            self._has_complained = True
            _log.warn(
                "AMP peer {peer} refuses a ClientEvent: {error!r}",
                peer=callee.name,
                error=error.message[:_ERROR_LENGTH],
            )

    def _try_again(self) -> None:
        self._put_back()
        self.feed()

    def _put_back(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        self._waiting.extendleft(self._again[call] for call in sorted(self._again, reverse=True))
        self._again.clear()

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
        self._directory.listen(subscription, principal.tenant_id)
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
