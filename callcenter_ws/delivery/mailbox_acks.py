"""The mailbox messages that one connection was given, until it is known that they arrived."""

from __future__ import annotations

from collections.abc import Iterable

from callcenter_ws.broker.mailboxes import MAX_ITEMS
from callcenter_ws.events.principal import Principal
from callcenter_ws.events.publication import Publication
from callcenter_ws.interfaces import Broker

_NONE: frozenset[int] = frozenset()
"""Most clients never get any mail."""


class MailboxAcks:
    """Strikes messages off their user's mailbox (PROTOCOL section 4.3).

    A client that opted in acknowledges each message. Any other has what was written to its socket when it is heard of
    after that.

    Attributes:
        acknowledges: the client opted in.
        brought: positions of messages that came out of the mailbox on this connection.
    """

    __slots__ = ("_broker", "_given", "_principal", "_queued", "_written", "acknowledges", "brought")

    def __init__(self, broker: Broker, principal: Principal) -> None:
        self._broker = broker
        self._principal = principal
        self.acknowledges = False
        self._queued: list[Publication] = []
        self._written: list[str] = []
        self._given: dict[str, None] = {}
        self.brought: set[int] | frozenset[int] = _NONE

    def bring(self, publication: Publication) -> None:
        """A message came out of the mailbox and was queued for the socket."""
        if isinstance(self.brought, frozenset):
            self.brought = set()
        self.brought.add(publication.seq)
        self.put(publication)

    def begin_anew(self) -> None:
        """Positions belong to another history from now on."""
        self.brought = _NONE

    def put(self, publication: Publication) -> None:
        """A message of the user's mailbox was queued for the socket."""
        self._queued.append(publication)

    def withdraw(self, after: int) -> None:
        """What was queued behind a position is thrown away; it will be queued again."""
        self._queued = [publication for publication in self._queued if publication.seq <= after]

    def written(self) -> None:
        """Everything that was queued was written to the socket."""
        if not self._queued:
            return
        ids = [publication.event.event_id for publication in self._queued]
        self._queued = []
        self._given.update(dict.fromkeys(ids))
        while len(self._given) > MAX_ITEMS:
            del self._given[next(iter(self._given))]
        if not self.acknowledges:
            # The oldest would have fallen out of the mailbox by now.
            self._written = [*self._written, *ids][-MAX_ITEMS:]
        self._broker.mark_mail_sent(self._principal.tenant_id, self._principal.user_id, ids)

    def heard(self) -> None:
        """The peer is there: it has what was written before."""
        if self._written:
            written, self._written = self._written, []
            self._acknowledge(written)

    def acknowledged(self, event_ids: Iterable[str]) -> None:
        """The peer says that it has these.

        A visitor may strike off what it was given here, and nothing else: an agent may have the same user id.
        """
        ids = [event_id for event_id in event_ids if event_id in self._given or not self._principal.is_visitor]
        if ids:
            self._acknowledge(ids)

    def _acknowledge(self, event_ids: list[str]) -> None:
        self._broker.acknowledge_mail(self._principal.tenant_id, self._principal.user_id, event_ids)
