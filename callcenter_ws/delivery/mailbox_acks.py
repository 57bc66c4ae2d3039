"""The mailbox items that were sent on one connection and are not acknowledged yet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from callcenter_ws.broker.mailboxes import MAX_ITEMS
from callcenter_ws.events.principal import Principal
from callcenter_ws.events.publication import Publication
from callcenter_ws.interfaces import Broker


class MailboxAcks:
    """Acknowledges mailbox items to the broker (``docs/protocol.rst``, "Mailbox").

    A client that opted in acknowledges each item. For any other client, what was written to its socket counts as
    received when the client sends anything after that.

    Attributes:
        explicit: whether the client opted in to acknowledge.
        from_mailbox: positions of the items that were read from the mailbox on this connection.
    """

    __slots__ = ("_broker", "_principal", "_queued", "_sent", "_unconfirmed", "explicit", "from_mailbox")

    def __init__(self, broker: Broker, principal: Principal) -> None:
        self._broker = broker
        self._principal = principal
        self.explicit = False
        # Most clients are never sent any mail: they have no containers of their own.
        self._queued: Sequence[Publication] = ()
        self._unconfirmed: Sequence[str] = ()
        self._sent: dict[str, None] | None = None
        self.from_mailbox: frozenset[int] | set[int] = frozenset()

    def add(self, publication: Publication) -> None:
        """Follow an item that was queued for the socket."""
        self._queued = [*self._queued, publication]

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
        self._queued = [publication for publication in self._queued if publication.seq <= after]

    def written(self) -> None:
        """Mark everything that was queued as sent."""
        if not self._queued:
            return
        ids = [publication.event.event_id for publication in self._queued]
        self._queued = ()
        if self._sent is None:
            self._sent = {}
        self._sent.update(dict.fromkeys(ids))
        while len(self._sent) > MAX_ITEMS:
            del self._sent[next(iter(self._sent))]
        if not self.explicit:
            # The mailbox holds no more than this: older ones have been removed from it.
            self._unconfirmed = [*self._unconfirmed, *ids][-MAX_ITEMS:]
        self._broker.mark_mail_sent(self._principal.tenant_id, self._principal.user_id, ids)

    def peer_active(self) -> None:
        """Acknowledge what was written before: the peer has sent something."""
        if self._unconfirmed:
            unconfirmed, self._unconfirmed = self._unconfirmed, ()
            self._acknowledge(unconfirmed)

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
