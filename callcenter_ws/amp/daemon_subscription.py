"""Subscriptions of daemons (``Subscribe``): queues of ``ClientEvent`` calls, kept until they are acknowledged."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.catalogue import names_matching
from callcenter_ws.events.event import Origin
from callcenter_ws.events.principal import EVERY_TENANT, Principal
from callcenter_ws.events.publication import Publication
from callcenter_ws.interfaces import Directory
from callcenter_ws.runtime.clock import Clock, Timer
from callcenter_ws.runtime.log_fields import Name

MAX_PENDING_EVENTS = 1_000
MAX_PENDING_BYTES = 16_777_216
MAX_CALLS_IN_FLIGHT = 64
ANSWER_TIMEOUT_SECONDS = 30.0
MAX_ATTEMPTS = 5
FIRST_RETRY_SECONDS = 0.5
RECONNECT_TIMEOUT_SECONDS = 60.0
_MAX_DETACHED = 64

_TRANSIENT = frozenset({ErrorCode.OVERLOADED, ErrorCode.UNAVAILABLE})
"""Errors of a peer that do not concern the event itself: it is sent again."""

_log = Logger()


class SubscriptionKey(NamedTuple):
    """What a subscription is for. A daemon that reconnects gets the subscription with an equal key back.

    Attributes:
        tenant_id: the tenant of the daemon's principal; ``*`` for all tenants.
        user_id: the user id of the daemon's principal.
    """

    tenant_id: str
    user_id: str
    event_types: frozenset[str]


class ClientEventReceiver(Protocol):
    """The connection over which a DaemonSubscription calls ``ClientEvent``."""

    @property
    def name(self) -> str:
        """The address of the peer, for log lines."""

    @property
    def writable(self) -> bool:
        """Whether the transport accepts more."""

    def client_event(self, publication: Publication) -> Deferred[None]:
        """Call ``ClientEvent``.

        Returns:
            Fires with the peer's answer. Fails with ``Refusal`` if the answer is an error, ``unavailable`` for an
            error that is not declared; with another exception if the connection is lost.
        """

    def disconnect(self, reason: str) -> None:
        """Log ``reason`` and close the connection."""


def matching_event_types(kinds: object) -> frozenset[str]:
    """Return the names of the event types that the patterns ``kinds`` match.

    Args:
        kinds: decoded JSON of any shape; valid is a list of event names, prefixes as ``chat.*``, or ``*``.

    Raises:
        Refusal: ``invalid_event``: it is not a list, or a pattern matches no event type.
    """
    if not isinstance(kinds, list):
        raise Refusal(ErrorCode.INVALID_EVENT, "kinds: expected a list of event names")
    event_types: set[str] = set()
    for index, kind in enumerate(kinds):
        matching = names_matching(kind) if isinstance(kind, str) else None
        if not matching:
            raise Refusal(ErrorCode.INVALID_EVENT, f"kinds[{index}]: there is no such event type")
        event_types |= matching
    return frozenset(event_types)


@dataclass(slots=True, eq=False)
class _PendingCall:
    """A publication that the peer has not acknowledged.

    Attributes:
        refusals: how often the peer has answered it with a transient error on this connection.
    """

    publication: Publication
    refusals: int = 0


class DaemonSubscription:
    """The events that one daemon has subscribed to, in order, each kept until it is acknowledged.

    The subscription outlives its connection by ``RECONNECT_TIMEOUT_SECONDS``. A daemon that reconnects in time gets
    the events of the meantime, and again those that it had not acknowledged.

    An event that the peer answers with ``overloaded`` or ``unavailable`` is kept. When no call is in flight any more,
    and after a delay of ``FIRST_RETRY_SECONDS`` that doubles with each refusal, the refused events are sent again, in
    order and one at a time. After ``MAX_ATTEMPTS`` refusals of one event the peer is disconnected.

    Implements ``interfaces.PublicationListener``.
    """

    def __init__(self, key: SubscriptionKey, clock: Clock, subscriptions: DaemonSubscriptions) -> None:
        self.key = key
        self._clock = clock
        self._subscriptions = subscriptions
        self._receiver: ClientEventReceiver | None = None
        # Every pending call is in one of these three; the numbers are those of the calls, in order.
        self._queue: deque[_PendingCall] = deque()
        self._in_flight: dict[int, tuple[_PendingCall, Timer]] = {}
        self._refused: dict[int, _PendingCall] = {}
        self._retry: Timer | None = None
        self._last_number = 0
        self._bytes = 0
        self._refusal_logged = False

    def __len__(self) -> int:
        """Return the number of events that are not acknowledged."""
        return len(self._queue) + len(self._in_flight) + len(self._refused)

    def __call__(self, publication: Publication) -> None:
        """Queue a publication if the subscription matches it and no daemon published it."""
        event = publication.event
        tenant_id, _, event_types = self.key
        if event.origin is Origin.PRODUCER or event.type.name not in event_types:
            return
        if event.type.by_gateway and event.type.needs_user:
            # The outcome of a command, which only its asker is told.
            return
        if tenant_id not in (EVERY_TENANT, event.tenant_id):
            return
        self._queue.append(_PendingCall(publication))
        self._count_bytes(len(event.payload))
        if len(self) > MAX_PENDING_EVENTS or self._bytes > MAX_PENDING_BYTES:
            self._overflow()
        else:
            self.send()

    def attach(self, receiver: ClientEventReceiver) -> None:
        """Send over ``receiver`` from now on, beginning with the events that were not acknowledged."""
        self._receiver = receiver
        self.send()

    def detach(self) -> None:
        """Stop sending: the connection is lost. Return the events in flight to the queue, in order."""
        self._receiver = None
        for number, (call, timer) in self._in_flight.items():
            timer.cancel()
            self._refused[number] = call
        self._in_flight.clear()
        for call in self._refused.values():
            call.refusals = 0
        self._requeue_refused()

    def drop(self) -> None:
        """Drop all events; the subscription must be detached, and is not used any more."""
        self._queue.clear()
        self._count_bytes(-self._bytes)

    def send(self) -> None:
        """Send queued events, up to the limit of calls in flight and while the transport accepts them."""
        while self._queue and not self._refused and len(self._in_flight) < self._max_calls_in_flight():
            receiver = self._receiver
            if receiver is None or not receiver.writable:
                return
            call = self._queue.popleft()
            self._last_number += 1
            timer = self._clock.call_later(
                ANSWER_TIMEOUT_SECONDS,
                receiver.disconnect,
                f"it left a ClientEvent unanswered for {ANSWER_TIMEOUT_SECONDS:g} s",
            )
            self._in_flight[self._last_number] = (call, timer)
            receiver.client_event(call.publication).addBoth(self._answered, self._last_number, receiver)

    def _max_calls_in_flight(self) -> int:
        oldest = next((call for call, _ in self._in_flight.values()), self._queue[0])
        return 1 if oldest.refusals else MAX_CALLS_IN_FLIGHT

    def _answered(self, result: object, number: int, receiver: ClientEventReceiver) -> None:
        if self._receiver is not receiver or number not in self._in_flight:
            return
        error = getattr(result, "value", None)
        if error is not None and not isinstance(error, Refusal):
            return  # The connection is being lost; ``detach`` returns the event to the queue.
        call, timer = self._in_flight.pop(number)
        timer.cancel()
        if error is not None and error.code in _TRANSIENT:
            call.refusals += 1
            self._refused[number] = call
            if call.refusals >= MAX_ATTEMPTS:
                receiver.disconnect(f"it refused a ClientEvent {MAX_ATTEMPTS} times: {error.code.value}")
                return
        else:
            self._acknowledged(call.publication, receiver, error)
        if self._refused and not self._in_flight:
            # Not a Backoff: the delay follows the event refused most often, also after others have been acknowledged.
            delay = FIRST_RETRY_SECONDS * 2 ** (max(refused.refusals for refused in self._refused.values()) - 1)
            self._retry = self._clock.call_later(delay, self._send_again)
        else:
            self.send()

    def _acknowledged(self, publication: Publication, receiver: ClientEventReceiver, error: Refusal | None) -> None:
        self._count_bytes(-len(publication.event.payload))
        if error is not None and not self._refusal_logged:
            self._refusal_logged = True
            _log.warn(
                "AMP peer {peer} refuses a ClientEvent: {code} (logged once; its own log has the reason)",
                peer=receiver.name,
                code=error.code.value,
            )

    def _count_bytes(self, change: int) -> None:
        self._bytes += change
        self._subscriptions.waiting_bytes += change

    def _send_again(self) -> None:
        self._requeue_refused()
        self.send()

    def _requeue_refused(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        self._queue.extendleft(self._refused[number] for number in sorted(self._refused, reverse=True))
        self._refused.clear()

    def _overflow(self) -> None:
        receiver, count = self._receiver, len(self)
        self._subscriptions.close(self)
        reason = f"{count} events of its subscription wait for it; they are dropped"
        if receiver is not None:
            receiver.disconnect(reason)
        else:
            _log.warn(
                "the subscription of daemon {tenant}/{user}, which is not connected, ends: {reason}",
                tenant=Name(self.key.tenant_id),
                user=Name(self.key.user_id),
                reason=reason,
            )


class DaemonSubscriptions:
    """All subscriptions of daemons: those of connected peers, and those that wait for their peer to reconnect.

    Attributes:
        waiting_bytes: bytes of the payloads that daemons have not acknowledged.
    """

    def __init__(self, directory: Directory, clock: Clock) -> None:
        self.waiting_bytes = 0
        self._directory = directory
        self._clock = clock
        self._detached: dict[DaemonSubscription, Timer] = {}

    def open(self, principal: Principal, event_types: Iterable[str]) -> DaemonSubscription:
        """Return a detached subscription with the same key, or a new one that receives publications from now on."""
        key = SubscriptionKey(principal.tenant_id, principal.user_id, frozenset(event_types))
        for subscription in self._detached:
            if subscription.key == key:
                self._detached.pop(subscription).cancel()
                return subscription
        subscription = DaemonSubscription(key, self._clock, self)
        self._directory.listen(subscription, principal.tenant_id)
        return subscription

    def detach(self, subscription: DaemonSubscription) -> None:
        """Keep a subscription whose connection is lost for ``RECONNECT_TIMEOUT_SECONDS``.

        At most 64 are kept; the one detached longest ago is closed for a new one.
        """
        subscription.detach()
        if len(self._detached) >= _MAX_DETACHED:
            self._expire(next(iter(self._detached)))
        self._detached[subscription] = self._clock.call_later(RECONNECT_TIMEOUT_SECONDS, self._expire, subscription)

    def close(self, subscription: DaemonSubscription) -> None:
        """End a subscription; drop the events that it has not sent."""
        timer = self._detached.pop(subscription, None)
        if timer is not None:
            timer.cancel()
        self._directory.unlisten(subscription)
        subscription.detach()
        subscription.drop()

    def close_detached(self) -> None:
        """End all subscriptions without a connection: the gateway stops."""
        for subscription in list(self._detached):
            self.close(subscription)

    def _expire(self, subscription: DaemonSubscription) -> None:
        if len(subscription):
            _log.warn(
                "daemon {tenant}/{user} did not reconnect in time: {count} events for it are dropped",
                tenant=Name(subscription.key.tenant_id),
                user=Name(subscription.key.user_id),
                count=len(subscription),
            )
        self.close(subscription)
