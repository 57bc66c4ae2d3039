"""Clients with equal interest: one visibility check for all of them, and one shared outbox.

Most clients, most of the time, are sent exactly what their whole group is sent. They are *synced*: a delivered
publication waits once, in the group, and costs each of them one write at the end of the turn. A client is *detached*,
and adopts what waits, as soon as anything concerns it alone: an answer, a message for its user, a full socket. From
then on publications go to its own outbox; once that is written, the client rejoins.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass

from callcenter_ws.delivery.counters import TenantCounters
from callcenter_ws.delivery.figure_table import FigureFrames
from callcenter_ws.delivery.outbox import Outbox, join
from callcenter_ws.delivery.subscription import Subscription
from callcenter_ws.events.frames import WireFormat
from callcenter_ws.events.principal import Principal
from callcenter_ws.events.publication import Publication
from callcenter_ws.interfaces import Send

CLIENTS_PER_SLICE = 250
"""Clients that are sent to within one turn of the reactor: some two milliseconds."""

_null_send: Send = len
"""Accepts everything, at no cost."""


@dataclass(slots=True)
class _Transmission:
    """Frames on their way to the synced clients of a group.

    Attributes:
        since: the position before the first of the frames.
        messages: how many messages each outbox is sent: pieces of figures have several.
        sends: how to send to each of the outboxes, in the same order.
        started: how many outboxes have been sent to.
        removed: how many of the others were detached, and adopted the frames.
    """

    frames: list[bytes]
    since: int
    outboxes: list[Outbox]
    sends: list[Send]
    started: int = 0
    removed: int = 0
    messages: int = 0
    indexes: dict[Outbox, int] | None = None

    def remove(self, outbox: Outbox) -> bool:
        """Skip an outbox; return whether the frames were still to be sent to it."""
        if self.indexes is None:
            self.indexes = {other: index for index, other in enumerate(self.outboxes)}
        index = self.indexes.get(outbox, -1)
        if index < self.started or self.sends[index] is _null_send:
            return False
        self.sends[index] = _null_send
        self.removed += 1
        return True


class Group:
    """The clients of one tenant with one interest; implements ``outbox.SharedOutbox``.

    Args:
        key: identifies the interest within the tenant.
        principal: of any client of the group: they may see the same publications.
        subscription: of any client of the group: they are subscribed to the same event types and queues.
        head: returns the ``seq`` of the last publication that was delivered to the tenant's clients.
        has_pending: called when publications wait to be sent at the end of the turn.

    Attributes:
        figures: the version of the tenant's figures up to which the synced clients are sent them.
        names: the event types that the clients are subscribed to.
        queues: the queues that they are subscribed to; None: all that their tokens allow.
        synced: how to send to each synced client, whose socket has accepted everything that was written before.
        detached: the others. Both keep the order of arrival, so that delivery is reproducible.
    """

    __slots__ = (
        "_figure_messages",
        "_gathered_frames",
        "_gathered_seqs",
        "_has_pending",
        "_head",
        "_pending",
        "_rejoining",
        "_sent",
        "_since",
        "_synced_lists",
        "_transmission",
        "counters",
        "detached",
        "figures",
        "key",
        "names",
        "principal",
        "queues",
        "synced",
        "tenant_id",
        "wire_format",
    )

    def __init__(
        self,
        key: tuple[object, ...],
        principal: Principal,
        subscription: Subscription,
        wire_format: WireFormat,
        counters: TenantCounters,
        head: Callable[[], int],
        has_pending: Callable[[Group], None],
    ) -> None:
        self.key = key
        self.principal = principal
        self.tenant_id = principal.tenant_id
        self.names = subscription.names
        self.queues = subscription.queues
        self.wire_format = wire_format
        self.counters = counters
        self._head = head
        self._has_pending = has_pending
        self.synced: dict[Outbox, Send] = {}
        self.detached: dict[Outbox, None] = {}
        # The synced clients as lists, which are faster to iterate; None once a client was added or removed.
        self._synced_lists: tuple[list[Outbox], list[Send]] | None = None
        self._transmission: _Transmission | None = None
        # The frames of all transmissions, so that what a client was sent is known without counting it for each.
        self._sent = 0
        # Clients that rejoin once nothing is pending.
        self._rejoining: list[Outbox] = []
        # The publications that ``offer`` will offer.
        self._gathered_frames: list[bytes] = []
        self._gathered_seqs: list[int] = []
        # What waits for the synced clients, and the position before the first of it.
        self._pending: list[bytes] = []
        self._since = 0
        # Messages beyond the number of pending frames.
        self._figure_messages = 0
        self.figures = -1

    def __len__(self) -> int:
        return len(self.synced) + len(self.detached)

    @property
    def head(self) -> int:
        """``seq`` of the last publication that was delivered to the tenant's clients."""
        return self._head()

    def add(self, outbox: Outbox) -> None:
        """Add a client, which is detached until it rejoins."""
        self.detached[outbox] = None
        outbox.group = self

    def remove(self, outbox: Outbox) -> None:
        """Remove a client, which adopts what waits for it."""
        self.detach(outbox)
        del self.detached[outbox]
        self._rejoining = [other for other in self._rejoining if other is not outbox]
        outbox.group = None

    def rejoin(self, outbox: Outbox, send: Send) -> None:
        """Sync a client whose own outbox is empty, and which has been sent everything that was delivered."""
        if self._pending:
            # These it has been offered by itself.
            self._rejoining.append(outbox)
        elif outbox in self.detached:
            del self.detached[outbox]
            self.synced[outbox] = send
            outbox.delivered -= self._sent
            self._synced_lists = None

    def detach(self, outbox: Outbox) -> None:
        """Give a client an outbox of its own, which begins with what waits in the group."""
        if self.synced.pop(outbox, None) is not None:
            self.detached[outbox] = None
            self._synced_lists = None
            outbox.delivered += self._sent
            outbox.figures = max(outbox.figures, self.figures)
            transmission = self._transmission
            if transmission is not None and transmission.remove(outbox):
                outbox.delivered -= transmission.messages
                outbox.adopt_pending(transmission.frames + self._pending, transmission.since)
            elif self._pending:
                outbox.adopt_pending(list(self._pending), self._since)

    def sent_to(self, outbox: Outbox) -> int:
        """Return what the group has sent for a synced client since its ``delivered`` was counted, or is sending now."""
        return self._sent if outbox in self.synced else 0

    def gather(self, publication: Publication) -> None:
        """Add a publication that the group may see to those that ``offer`` offers."""
        self._gathered_frames.append(publication.frame(self.wire_format))
        self._gathered_seqs.append(publication.seq)

    def offer(self) -> None:
        """Offer the gathered publications to the clients."""
        frames, self._gathered_frames = self._gathered_frames, []
        seqs, self._gathered_seqs = self._gathered_seqs, []
        for outbox in self.detached:
            outbox.offer(frames, seqs)
        if self.synced:
            if not self._pending:
                self._since = seqs[0] - 1
                self._has_pending(self)
            self._pending += frames

    def offer_figures(self, batches: list[FigureFrames], version: int) -> None:
        """Offer figures that changed to the clients."""
        for outbox in self.detached:
            outbox.offer_figures(batches, version)
        self.figures = version
        if self.synced:
            if not self._pending:
                self._since = self._head()
                self._has_pending(self)
            self._pending += batches
            self._figure_messages += sum(batch.messages - 1 for batch in batches)

    def transmit(self, failed: Callable[[Outbox], None]) -> Generator[None, None, int]:
        """Send what is pending to all synced clients, in slices; yields between them.

        Args:
            failed: called, inside the handler of the exception, for an outbox that cannot be written.

        Returns:
            The number of messages that were sent, over all clients.
        """
        frames, self._pending = self._pending, []
        messages = len(frames) + self._figure_messages
        self._figure_messages = 0
        self._sent += messages
        joined = join(frames)
        if self._synced_lists is None:
            self._synced_lists = list(self.synced), list(self.synced.values())
        transmission = self._transmission = _Transmission(frames, self._since, *self._synced_lists)
        transmission.messages = messages
        rejoining, self._rejoining = self._rejoining, []
        for outbox in rejoining:
            try:
                outbox.rejoin()
            except Exception:
                failed(outbox)
        while transmission.started < len(transmission.outboxes):
            if transmission.started:
                yield
            self._send_slice(transmission, joined, failed)
        self._transmission = None
        return (len(transmission.outboxes) - transmission.removed) * messages

    def abort_transmission(self, abandon: Callable[[Outbox], None]) -> None:
        """Abandon every client of a transmission that a bug broke off: what each was sent is unknown."""
        transmission, self._transmission = self._transmission, None
        for outbox in () if transmission is None else transmission.outboxes:
            abandon(outbox)

    def _send_slice(self, transmission: _Transmission, joined: bytes | None, failed: Callable[[Outbox], None]) -> None:
        begin = transmission.started
        sends = transmission.sends[begin : begin + CLIENTS_PER_SLICE]
        if joined is None:
            # Too large to be written at once: each client's own outbox adopts the frames, and is written in pieces.
            for outbox in transmission.outboxes[begin : begin + CLIENTS_PER_SLICE]:
                self.detach(outbox)
            transmission.started += len(sends)
            return
        transmission.started += len(sends)
        short = _send_to_each(sends, joined, lambda index: failed(transmission.outboxes[begin + index]))
        for index, sent in short.items():
            if sends[index] is _null_send:
                continue
            outbox = transmission.outboxes[begin + index]
            self.detach(outbox)
            try:
                outbox.write_rest(joined, sent)
            except Exception:
                failed(outbox)


def _send_to_each(sends: list[Send], data: bytes, failed_at: Callable[[int], None]) -> dict[int, int]:
    """Send ``data`` by each function; return how many bytes were sent by those that did not send all, by index.

    Args:
        failed_at: called, inside the handler of the exception, with the index of a function after whose failure it is
            unknown how much was sent.
    """
    size = len(data)
    short = {}
    for index, send in enumerate(sends):
        try:
            sent = send(data)
        except OSError:
            # A full socket, as a rule. Any other error will show when the rest is written.
            sent = 0
        except Exception:
            failed_at(index)
            continue
        if sent != size:
            short[index] = sent
    return short
