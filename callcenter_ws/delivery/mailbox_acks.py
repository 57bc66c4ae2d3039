"""The mailbox items that were sent on one connection and are not acknowledged yet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from callcenter_ws.broker.mailboxes import MAX_ITEMS
from callcenter_ws.events.principal import Principal
from callcenter_ws.events.publication import Publication
from callcenter_ws.interfaces import Broker, Transport
from callcenter_ws.runtime.clock import Clock

PING_SPACING_SECONDS = 0.25
"""Time between two pings that ask whether mail was received: a burst of mail is confirmed by a few of them."""

_MAX_PINGS = 3
"""Pings whose pongs are recognised: one of this module's, and those of the keepalive after it."""


class _Receipts:
    """The items that were written to the socket, and the pings that were written after them.

    Attributes:
        unconfirmed: ids of the items whose receipt is not known, in the order in which they were written.
        written: the number of all items that were written.
        pings: payload of each unanswered ping, and ``written`` when it was sent.
        pinged_at: seconds on the monotonic clock.
        scheduled: whether a ping is to be sent later.
    """

    __slots__ = ("pinged_at", "pings", "scheduled", "unconfirmed", "written")

    def __init__(self) -> None:
        self.unconfirmed: list[str] = []
        self.written = 0
        self.pings: list[tuple[bytes, int]] = []
        self.pinged_at = 0.0
        self.scheduled = False

    def add(self, ids: Sequence[str]) -> None:
        """Add items. The mailbox holds no more than ``MAX_ITEMS``: older ones have been removed from it."""
        self.written += len(ids)
        self.unconfirmed = [*self.unconfirmed, *ids][-MAX_ITEMS:]

    def add_ping(self, payload: bytes) -> None:
        """Add a ping that is written after all items."""
        self.pings = [*self.pings, (payload, self.written)][-_MAX_PINGS:]

    def take_confirmed(self, payload: bytes) -> Sequence[str]:
        """Return and forget the items before the ping with that payload; none if there is no such ping."""
        for index, (sent, written) in enumerate(self.pings):
            if sent == payload:
                # A peer may answer only the latest of several pings (RFC 6455 section 5.5.3).
                del self.pings[: index + 1]
                count = max(0, len(self.unconfirmed) - (self.written - written))
                confirmed, self.unconfirmed = self.unconfirmed[:count], self.unconfirmed[count:]
                return confirmed
        return ()


class MailboxAcks:
    """Acknowledges mailbox items to the broker (``docs/protocol.rst``, "Mailbox").

    A client that opted in acknowledges each item. For any other client the gateway sends a WebSocket ping after the
    items: the pong with the same payload proves that the client has received what was written before the ping. No
    other input does, because it may have been sent, or have waited in the socket, before the items were written.

    Attributes:
        explicit: whether the client opted in to acknowledge.
        from_mailbox: positions of the items that were read from the mailbox on this connection.
    """

    __slots__ = (
        "_broker",
        "_clock",
        "_principal",
        "_queued",
        "_receipts",
        "_sent",
        "_transport",
        "explicit",
        "from_mailbox",
    )

    def __init__(self, broker: Broker, principal: Principal, transport: Transport, clock: Clock) -> None:
        self._broker = broker
        self._principal = principal
        self._transport = transport
        self._clock = clock
        self.explicit = False
        # Most clients are never sent any mail: they have no containers of their own.
        self._queued: dict[int, Publication] | None = None
        self._sent: dict[str, None] | None = None
        self._receipts: _Receipts | None = None
        self.from_mailbox: frozenset[int] | set[int] = frozenset()

    def add(self, publication: Publication) -> None:
        """Follow an item that was queued for the socket."""
        if self._queued is None:
            self._queued = {}
        self._queued[publication.seq] = publication

    def add_from_mailbox(self, publication: Publication) -> None:
        """Follow an item that was read from the mailbox and queued for the socket."""
        if isinstance(self.from_mailbox, frozenset):
            self.from_mailbox = set()
        self.from_mailbox.add(publication.seq)
        self.add(publication)

    def forget_positions(self) -> None:
        """Forget ``from_mailbox``: positions belong to another history from now on."""
        self.from_mailbox = frozenset()

    def withdraw(self, after: int) -> None:
        """Forget the queued items after a position: they were discarded and will be queued again."""
        self._queued = {seq: publication for seq, publication in (self._queued or {}).items() if seq <= after}

    def has(self, publication: Publication) -> bool:
        """Return whether an item was sent on this connection, or is queued."""
        return publication.seq in (self._queued or ()) or publication.event.event_id in (self._sent or ())

    def written(self) -> None:
        """Mark everything that was queued as sent, and ask the peer to confirm it."""
        if not self._queued:
            return
        ids = [publication.event.event_id for publication in self._queued.values()]
        self._queued = None
        if self._sent is None:
            self._sent = {}
        self._sent.update(dict.fromkeys(ids))
        while len(self._sent) > MAX_ITEMS:
            del self._sent[next(iter(self._sent))]
        self._broker.mark_mail_sent(self._principal.tenant_id, self._principal.user_id, ids)
        if not self.explicit:
            if self._receipts is None:
                self._receipts = _Receipts()
            self._receipts.add(ids)
            self._request_ping(self._receipts)

    def ping_sent(self, payload: bytes) -> None:
        """Note that the keepalive has sent a ping, which confirms items as well."""
        if self._receipts is not None and self._receipts.unconfirmed:
            self._receipts.add_ping(payload)

    def ping_answered(self, payload: bytes) -> None:
        """Acknowledge the items that were written before a ping: the peer has answered it."""
        receipts = self._receipts
        if receipts is None:
            return
        confirmed = receipts.take_confirmed(payload)
        if confirmed:
            self._acknowledge(confirmed)
        self._request_ping(receipts)

    def _request_ping(self, receipts: _Receipts) -> None:
        """Send a ping for the unconfirmed items, unless one is unanswered or scheduled; it may have to wait."""
        if not receipts.unconfirmed or receipts.pings or receipts.scheduled:
            return
        now = self._clock.monotonic()
        wait = receipts.pinged_at + PING_SPACING_SECONDS - now
        if wait > 0:
            receipts.scheduled = True
            self._clock.call_later(wait, self._send_ping, receipts)
        else:
            self._send_ping(receipts)

    def _send_ping(self, receipts: _Receipts) -> None:
        receipts.scheduled = False
        receipts.pinged_at = self._clock.monotonic()
        payload = b"mail-%d" % receipts.written
        receipts.add_ping(payload)
        self._transport.ping(payload)

    def acknowledged(self, event_ids: Iterable[str]) -> None:
        """Acknowledge what the peer says it has received.

        A visitor may acknowledge only what was sent on this connection: an agent may have the same user id.
        """
        sent = self._sent or {}
        ids = [event_id for event_id in event_ids if event_id in sent or not self._principal.is_visitor]
        if ids:
            self._acknowledge(ids)

    def _acknowledge(self, event_ids: Sequence[str]) -> None:
        self._broker.acknowledge_mail(self._principal.tenant_id, self._principal.user_id, event_ids)
