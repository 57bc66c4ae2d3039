"""Clients that see the same: one decision for all of them, one outbox and one piece of bytes.

Most clients, most of the time, have nothing to be sent but what their whole group is sent. They are *in step*: what
is delivered waits for them once, in the group, and costs each of them one write at the end of the turn. A client
*steps out*, and takes along what waits, as soon as anything concerns it alone: an answer, a message for its user, a
full socket. From then on messages go to its own outbox; once that is written it falls in again.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from callcenter_ws.delivery.client import Client
    from callcenter_ws.delivery.tenant import Tenant
    from callcenter_ws.events.publication import Publication

Send = Callable[[bytes], int]

DIRECT_BYTES = 131_072
"""More than this is written, not sent: what a socket did not take would be a copy of its own for each client."""

SLICE = 250
"""Clients that are sent to before others may have a turn: some two milliseconds, in which events come in meanwhile."""


@dataclass(slots=True)
class _Round:
    """What waited for those in step, on its way to them.

    Attributes:
        since: the position before the first of the frames.
        sends: of the clients, in the same order.
        served: how many have had their turn.
        left: how many of the others have left with their share.
    """

    frames: list[bytes]
    since: int
    clients: list[Client]
    sends: list[Send]
    served: int = 0
    left: int = 0
    places: dict[Client, int] | None = None

    def leave(self, client: Client) -> bool:
        """Leave a client out; whether it was to get something yet."""
        if self.places is None:
            self.places = {one: place for place, one in enumerate(self.clients)}
        place = self.places.get(client, -1)
        if place < self.served or self.sends[place] is _null_send:
            return False
        self.sends[place] = _null_send
        self.left += 1
        return True


# Takes everything, at no cost.
_null_send: Send = len


class Group:
    """The clients of one tenant with one interest.

    Attributes:
        in_step: with what sends to each of them, whose socket has taken all that was written before.
        apart: the others. Both keep the order of arrival, so that delivery is reproducible.
    """

    __slots__ = (
        "_frames",
        "_in_order",
        "_is_waiting",
        "_late",
        "_round",
        "_seqs",
        "_since",
        "_waiting",
        "apart",
        "in_step",
        "key",
        "names",
        "principal",
        "tenant",
        "wire_format",
    )

    def __init__(self, key: tuple[object, ...], client: Client, tenant: Tenant, is_waiting: Callable[[Group], None]):
        self.key = key
        self.principal = client.principal
        self.names = client.subscription.names
        self.wire_format = client.wire_format
        self.tenant = tenant
        self.in_step: dict[Client, Send] = {}
        self.apart: dict[Client, None] = {}
        # Those in step as lists, which are quicker to go through; None once somebody has come or gone.
        self._in_order: tuple[list[Client], list[Send]] | None = None
        self._round: _Round | None = None
        # Those who would fall in once nothing waits.
        self._late: list[Client] = []
        self._is_waiting = is_waiting
        # Of the messages that the group is about to be offered.
        self._frames: list[bytes] = []
        self._seqs: list[int] = []
        # What those in step are owed, and the position before the first of it.
        self._waiting: list[bytes] = []
        self._since = 0

    def __len__(self) -> int:
        return len(self.in_step) + len(self.apart)

    def add(self, client: Client) -> None:
        """Take a client in; it is apart until it falls in."""
        self.apart[client] = None

    def remove(self, client: Client) -> None:
        """Let a client go, with what waits for it."""
        self.step_out(client)
        del self.apart[client]
        self._late = [one for one in self._late if one is not client]

    def fall_in(self, client: Client, send: Send) -> None:
        """The client has no outbox of its own any more, and has got all that was delivered."""
        if self._waiting:
            # It has got that by itself.
            self._late.append(client)
        elif client in self.apart:
            del self.apart[client]
            self.in_step[client] = send
            self._in_order = None

    def step_out(self, client: Client) -> None:
        """The client needs an outbox of its own; what waits for the group is the beginning of it."""
        if self.in_step.pop(client, None) is not None:
            self.apart[client] = None
            self._in_order = None
            if self._round is not None and self._round.leave(client):
                client.take_along(self._round.frames + self._waiting, self._round.since)
            elif self._waiting:
                client.take_along(list(self._waiting), self._since)

    def gather(self, publication: Publication) -> None:
        """Note a message that the group sees; ``offer`` follows."""
        self._frames.append(publication.frame(self.wire_format))
        self._seqs.append(publication.seq)

    def offer(self) -> None:
        """Offer the clients what was gathered."""
        frames, self._frames = self._frames, []
        seqs, self._seqs = self._seqs, []
        for client in self.apart:
            client.offer(frames, seqs)
        if self.in_step:
            if not self._waiting:
                self._since = seqs[0] - 1
                self._is_waiting(self)
            self._waiting += frames

    def transmit(self, broke: Callable[[Client], None]) -> Generator[None, None, int]:
        """Send what waits to all who are in step, in slices, between which others may have a turn.

        Args:
            broke: is told, inside the handler of the exception, of a client to which nothing can be written.

        Returns:
            How many messages were sent, all together.
        """
        frames, self._waiting = self._waiting, []
        joined = frames[0] if len(frames) == 1 else b"".join(frames)
        if self._in_order is None:
            self._in_order = list(self.in_step), list(self.in_step.values())
        round_ = self._round = _Round(frames, self._since, *self._in_order)
        late, self._late = self._late, []
        for client in late:
            try:
                client.fall_in()
            except Exception:
                broke(client)
        while round_.served < len(round_.clients):
            if round_.served:
                yield
            self._serve_slice(round_, joined, broke)
        self._round = None
        return (len(round_.clients) - round_.left) * len(frames)

    def give_up(self, abandon: Callable[[Client], None]) -> None:
        """A bug broke the round off, and nobody knows how far it got: who was in it has to come back and resume."""
        round_, self._round = self._round, None
        for client in () if round_ is None else round_.clients:
            abandon(client)

    def _serve_slice(self, round_: _Round, joined: bytes, broke: Callable[[Client], None]) -> None:
        begin = round_.served
        sends = round_.sends[begin : begin + SLICE]
        round_.served += len(sends)
        if len(joined) > DIRECT_BYTES:
            short = dict.fromkeys(range(len(sends)), 0)
        else:
            short = _send_to_each(sends, joined, lambda place: broke(round_.clients[begin + place]))
        for place, taken in short.items():
            if sends[place] is _null_send:
                continue
            client = round_.clients[begin + place]
            self.step_out(client)
            try:
                client.write_rest(joined, taken)
            except Exception:
                broke(client)


def _send_to_each(sends: list[Send], data: bytes, broke_at: Callable[[int], None]) -> dict[int, int]:
    """Send; return how much was taken by those that did not take everything, by their places.

    Args:
        broke_at: is told, inside the handler of the exception, of a place where nobody knows how much was taken.
    """
    size = len(data)
    short = {}
    for place, send in enumerate(sends):
        try:
            taken = send(data)
        except OSError:
            # A full socket as a rule. What else it may be, writing the rest will tell.
            taken = 0
        except Exception:
            broke_at(place)
            continue
        if taken != size:
            short[place] = taken
    return short
