"""The outbox: frames that wait to be written to one client, bounded, and the position that they bring it to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from callcenter_ws.delivery.figure_table import FigureFrames
from callcenter_ws.delivery.mailbox_acks import MailboxAcks
from callcenter_ws.events.frames import ControlFrame, WireFormat
from callcenter_ws.events.publication import Publication
from callcenter_ws.interfaces import MailboxItem, Send, Transport

MAX_ANSWERS = 256
"""Frames that an outbox holds beyond its limit on publications."""

MAX_DIRECT_BYTES = 131_072
"""More is not written at once: what a socket does not accept would be copied for each client."""


class OutboxOwner(Protocol):
    """The client that an outbox belongs to."""

    def outbox_filled(self) -> None:
        """Have the outbox written at the end of this turn: it was empty and is not any more."""

    def outbox_overflowed(self) -> None:
        """Feed the client from the history: the outbox had no room for a publication and accepts no more."""

    def outbox_written(self, count: int) -> None:
        """Count messages that were written to the socket."""

    def send_figures(self) -> None:
        """Queue the live figures that the client has not been sent."""

    def abandon(self) -> None:
        """End the session without sending what is queued."""


class SharedOutbox(Protocol):
    """The group of an outbox's client; see ``delivery.group``."""

    def detach(self, outbox: Outbox) -> None:
        """Give the outbox the frames that wait for it in the group, and write to it by itself from now on."""

    def rejoin(self, outbox: Outbox, send: Send) -> None:
        """Write to the outbox's socket together with the group's others, by ``send``."""

    def sent_to(self, outbox: Outbox) -> int:
        """Return what must be added to ``outbox.delivered``: what the group has sent for a synced outbox."""

    @property
    def head(self) -> int:
        """``seq`` of the last publication that was delivered to the tenant's clients."""

    @property
    def key(self) -> tuple[object, ...]:
        """What identifies the group within its tenant."""


class Outbox:
    """Frames for one client.

    While it is *accepting*, it is offered live publications. When there is no room for one, it discards the
    publications that it holds, keeps the control frames, stands at the position before the first discarded one and
    accepts no more: the client is then fed from the history (``delivery.catch_up``), within ``room``.

    Args:
        limit: publications that it holds at most.

    Attributes:
        accepting: whether it accepts live publications.
        closed: whether the client's session is over.
        delivered: messages that were written. While the client is synced, those that its group had sent before are
            subtracted: the group adds what it has sent when the client is detached.
        figures: the version of the tenant's figures up to which they are queued here or were written; -1: none are.
        frames: what waits. One item may hold several messages, see ``add_batch``.
        group: the group of the client; None for visitors, and while it is not registered.
        owes_figures: whether figures changed since that could not be queued.
        paused: whether the socket accepts no bytes for now.
        position: ``seq`` of the last publication that is queued here or was skipped, while the outbox is not accepting.
        ready: whether the welcome has been queued, before which nothing is written.
        wire_format: how publications are encoded for the client.
    """

    __slots__ = (
        "_base",
        "_batched",
        "_figure_messages",
        "_figure_pieces",
        "_fragments",
        "_kept",
        "_limit",
        "_mailbox_acks",
        "_owner",
        "_transport",
        "accepting",
        "closed",
        "delivered",
        "figures",
        "frames",
        "group",
        "owes_figures",
        "paused",
        "position",
        "ready",
        "wire_format",
    )

    def __init__(
        self,
        owner: OutboxOwner,
        transport: Transport,
        mailbox_acks: MailboxAcks,
        wire_format: WireFormat,
        limit: int,
    ) -> None:
        self._owner = owner
        self._transport = transport
        self._mailbox_acks = mailbox_acks
        self._limit = limit
        self.wire_format = wire_format
        self.delivered = 0
        self.frames: list[bytes] = []
        self.group: SharedOutbox | None = None
        self.position = 0
        self.accepting = False
        self.ready = False
        self.paused = False
        self.closed = False
        # Frames at the front that came before the outbox began to accept, and so cannot be read from the history again.
        self._kept = 0
        # The position before the first accepted publication; None when there is none.
        self._base: int | None = None
        # Messages beyond the number of frames, because some frames hold several.
        self._batched = 0
        # Frames beyond the number of messages, because some messages consist of several. ``_limit`` includes them.
        self._fragments = 0
        # Pieces with figures, which take no room from publications: ``_limit`` includes them. And the messages beyond
        # their number, because most have several.
        self._figure_pieces = 0
        self._figure_messages = 0
        self.figures = -1
        self.owes_figures = False

    def __str__(self) -> str:
        return "a closed connection" if self.closed else str(self._owner)

    def resize(self, limit: int) -> None:
        """Hold at most ``limit`` publications from now on; what is beyond that overflows with the next one."""
        self._limit = limit + self._fragments + self._figure_pieces

    @property
    def blocked(self) -> bool:
        """Whether nothing can be written now; the welcome comes before everything else."""
        return self.paused or self.closed or not self.ready

    @property
    def room(self) -> int:
        """The number of publications that may still be added."""
        return max(0, self._limit - len(self.frames) - self._batched)

    @property
    def is_full_of_answers(self) -> bool:
        """Whether the peer has so many unread answers that it counts as a slow consumer."""
        return len(self.frames) + self._batched >= self._limit + MAX_ANSWERS

    # Live publications

    def offer(self, frames: list[bytes], seqs: list[int]) -> None:
        """Queue publications that the client may see, in ``seq`` order, unless the history will bring them."""
        if not self.accepting:
            return
        waiting = self.frames
        if seqs[0] <= self.position or len(waiting) + len(frames) > self._limit:
            self._offer_singly(frames, seqs)
            return
        if not waiting:
            self._owner.outbox_filled()
        if self._base is None:
            self._base = seqs[0] - 1
        waiting += frames

    def offer_mail(self, publication: Publication) -> None:
        """Queue a publication that is also in the user's mailbox."""
        self.offer([publication.frame(self.wire_format)], [publication.seq])
        if self.accepting and publication.seq > self.position:
            self._mailbox_acks.add(publication)

    def _offer_singly(self, frames: list[bytes], seqs: list[int]) -> None:
        """Offer one by one what the client has in part, or what does not fit as a whole."""
        for frame, seq in zip(frames, seqs, strict=True):
            if not self.accepting:
                return
            if seq <= self.position:
                continue
            if len(self.frames) >= self._limit:
                self._overflow(seq)
            else:
                self.offer([frame], [seq])

    def _overflow(self, seq: int) -> None:
        """Stop accepting: there is no room for the publication ``seq``."""
        self.position = seq - 1 if self._base is None else self._base
        accepted = self.frames[self._kept :]
        self.frames = self.frames[: self._kept] + [frame for frame in accepted if isinstance(frame, ControlFrame)]
        if any(isinstance(frame, FigureFrames) for frame in accepted):
            self.figures, self.owes_figures = -1, True
            self._count_figures()
        self._base = None
        self._mailbox_acks.withdraw(self.position)
        self.accepting = False
        self._owner.outbox_overflowed()

    # Live figures

    def offer_figures(self, batches: list[FigureFrames], version: int) -> None:
        """Queue figures that changed, unless the client was sent them or does not read for now."""
        if self.figures >= version:
            return
        if not self.accepting or self.paused or self.owes_figures:
            self.owes_figures = True
        else:
            self.add_figures(batches, version)

    def offer_own_figure(self, frame: FigureFrames, changed: int, version: int) -> None:
        """Queue the figure of the client's user that changed at a version, after those of the group, likewise."""
        self.detach()
        if not self.accepting or self.paused or self.owes_figures:
            self.figures, self.owes_figures = min(self.figures, changed - 1), True
        else:
            self.add_figures([frame], version)

    def add_figures(self, batches: Sequence[FigureFrames], version: int, *, is_all: bool = True) -> None:
        """Queue figures; everything up to ``version`` is then queued, and that is all unless others follow."""
        for batch in batches:
            self.add(batch)
            self._figure_pieces += 1
            self._limit += 1
            self._figure_messages += batch.messages - 1
        self.figures, self.owes_figures = version, not is_all

    def _count_figures(self) -> None:
        """Count the pieces with figures among the frames, after others have been added or discarded."""
        pieces = [frame for frame in self.frames if isinstance(frame, FigureFrames)]
        self._limit += len(pieces) - self._figure_pieces
        self._figure_pieces = len(pieces)
        self._figure_messages = sum(piece.messages - 1 for piece in pieces)

    # Live publications, continued

    def accept(self) -> None:
        """Accept live publications from now on, which continue after ``position``."""
        self.accepting = True
        self._kept = len(self.frames)
        self._base = None
        self._owner.outbox_filled()

    def hold(self, head: int) -> None:
        """Accept no live publications after ``head``, up to which they are queued here or were written."""
        self.detach()
        if self.accepting:
            self.accepting = False
            self.position = max(self.position, head)

    # The group

    def detach(self) -> None:
        """Have frames of its own until they are written, and not share those of the group."""
        if self.group is not None:
            self.group.detach(self)

    def adopt_pending(self, frames: list[bytes], since: int) -> None:
        """Take over the frames that wait in the group, all after the position ``since``."""
        self.frames, self._base = frames, since
        if self.figures >= 0:
            self._count_figures()
        self._owner.outbox_filled()
        if len(frames) > self._limit:
            self._overflow(since + 1)

    def rejoin(self) -> None:
        """Share the frames of the group from now on, if nothing concerns this client alone."""
        if not self.accepting or self.frames or self.paused or self.group is None:
            return
        if self.owes_figures and not self._is_up_to_date():
            return
        # Before the deliveries have come as far, the client could be offered what it has.
        if self.position <= self.group.head:
            send = self._transport.direct()
            if send is not None:
                self.group.rejoin(self, send)

    def _is_up_to_date(self) -> bool:
        """Queue figures that are owed; return whether there were none that this client may see."""
        self._owner.send_figures()
        if self.closed or self.frames:
            return False
        if self.owes_figures:
            # None of those that were examined is for this client; the next are examined in another turn.
            self._owner.outbox_filled()
        return not self.owes_figures

    def write_rest(self, data: bytes, sent: int) -> None:
        """Write ``data``, of which the group has sent the first ``sent`` bytes directly."""
        self._transport.write(data[sent:] if sent else data)

    # Control frames, and publications from the history

    def add(self, frame: bytes) -> None:
        """Queue a frame for this client alone; the caller keeps within ``room``."""
        self.detach()
        if not self.frames:
            self._owner.outbox_filled()
        self.frames.append(frame)

    def add_first(self, frame: ControlFrame) -> None:
        """Queue the welcome, before what was queued already; from now on the outbox is written."""
        self.ready = True
        self.frames.insert(0, frame)
        self._owner.outbox_filled()

    def add_batch(self, frames: bytes, count: int) -> None:
        """Queue ``count`` frames in one piece; the caller keeps within ``room``."""
        self.add(frames)
        self._batched += count - 1

    def add_message(self, frames: Sequence[ControlFrame]) -> None:
        """Queue one message, in one or more frames."""
        self.add(frames[0])
        self.frames += frames[1:]
        self._fragments += len(frames) - 1
        self._limit += len(frames) - 1

    def add_mail(self, item: MailboxItem, frame: bytes) -> None:
        """Queue an item of the user's mailbox; the caller keeps within ``room``."""
        self.add(frame)
        self._mailbox_acks.add_from_mailbox(item.publication)

    # Writing

    def transmit(self, joined: bytes | None) -> None:
        """Write the frames; a blocked client keeps them.

        Args:
            joined: what ``join`` returns for the frames.
        """
        if self.frames and not self.blocked:
            self._write(joined)
        self.rejoin()

    def flush(self) -> None:
        """Write the frames now, if the socket accepts any."""
        if self.frames and not self.blocked:
            self._write(join(self.frames))

    def _write(self, joined: bytes | None) -> None:
        if joined is None:
            self._transport.write_frames(self.frames)
        else:
            self._transport.write(joined)
        count = len(self.frames) + self._batched + self._figure_messages - self._fragments
        self.frames = []
        self._limit -= self._fragments + self._figure_pieces
        self._batched = self._fragments = self._figure_pieces = self._figure_messages = 0
        self._kept = 0
        self._base = None
        self.delivered += count
        self._mailbox_acks.written()
        if not self.closed:
            self._owner.outbox_written(count)

    def clear(self) -> None:
        """Discard the frames."""
        self.frames = []

    def close(self) -> None:
        """Discard the frames and accept nothing any more."""
        self.accepting = False
        self.closed = True
        self.frames = []
        # Without this reference the client is freed at once, and not by the garbage collector, which does not see how
        # much memory OpenSSL holds for each connection.
        del self._owner

    def abandon(self) -> None:
        """End the client's session without sending what is queued."""
        if not self.closed:
            self._owner.abandon()


def join(frames: list[bytes]) -> bytes | None:
    """Return the frames in one piece; None if they are too large for that."""
    if len(frames) == 1:
        return frames[0] if len(frames[0]) <= MAX_DIRECT_BYTES else None
    return b"".join(frames) if sum(map(len, frames)) <= MAX_DIRECT_BYTES else None
