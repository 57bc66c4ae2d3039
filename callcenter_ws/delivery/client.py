"""Client: one connection's session, from its welcome to its end.

A live client is offered each message as it is delivered and holds it in a bounded outbox until the turn ends.
A client that is behind (it resumes, or its outbox overflowed) is a position in the tenant's history and is
brought up to the head by its CatchUp. Only the Client drops, lags or closes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from callcenter_ws.delivery.catch_up import CatchUp, Replay, TakeSnapshot
from callcenter_ws.delivery.counters import add
from callcenter_ws.delivery.mailbox_acks import MailboxAcks
from callcenter_ws.delivery.slow_consumer import SlowConsumerWatch
from callcenter_ws.delivery.subscription import Subscription
from callcenter_ws.delivery.token_expiry import TokenExpiry
from callcenter_ws.delivery.welcome import DEFAULT_OPTIONS, ConnectOptions, welcome
from callcenter_ws.errors import CloseCode, Refusal
from callcenter_ws.events.frames import PLAIN, ControlFrame, WireFormat
from callcenter_ws.events.principal import Principal
from callcenter_ws.events.publication import Publication
from callcenter_ws.interfaces import MailboxItem, Position, Transport
from callcenter_ws.requests.context import Context
from callcenter_ws.requests.dispatcher import Dispatcher

if TYPE_CHECKING:
    from callcenter_ws.delivery.group import Group
    from callcenter_ws.delivery.tenant import Tenant

MAX_ANSWERS = 256
"""Answers that an outbox takes beyond its limit on events."""


class Client:
    """One authenticated connection.

    Args:
        endpoint: ``ws`` or ``public``; a label of statistics.
        forms: how messages are written for it, by view.
        session_token: given to an anonymous visitor in its welcome, to come back with.
    """

    __slots__ = (
        "__weakref__",
        "_base",
        "_bundled",
        "_catch_up",
        "_closed",
        "_expiry",
        "_fed",
        "_gateway",
        "_greeted",
        "_limit",
        "_live",
        "_mailbox_acks",
        "_paused",
        "_requests",
        "_session_token",
        "_slow",
        "_transport",
        "_wire_formats",
        "connection_id",
        "endpoint",
        "epoch",
        "group",
        "lagging",
        "outbox",
        "position",
        "principal",
        "subscription",
        "tenant",
    )

    tenant: Tenant

    def __init__(
        self,
        gateway: Context,
        transport: Transport,
        principal: Principal,
        *,
        connection_id: str,
        endpoint: str,
        wire_formats: Sequence[WireFormat] = PLAIN,
        session_token: str | None = None,
    ) -> None:
        limits, clock = gateway.limits, gateway.clock
        self._gateway = gateway
        self._transport = transport
        self.principal = principal
        self.connection_id = connection_id
        self.endpoint = endpoint
        self._wire_formats = wire_formats
        self._session_token = session_token
        self.subscription = Subscription(principal.role)
        self.group: Group | None = None
        self.outbox: list[bytes] = []
        self.epoch = ""
        self.position = 0
        self.lagging = False
        # How many frames at the front of the outbox came before the client went live, and so cannot be taken
        # from the history again; where it stands when the events behind them are thrown away.
        self._fed = 0
        self._base: int | None = None
        self._limit = limits.outbox
        # How many messages the outbox holds beyond the number of its pieces.
        self._bundled = 0
        self._greeted = False
        self._live = False
        self._paused = False
        self._closed = False
        self._mailbox_acks = MailboxAcks(gateway.broker, principal)
        self._catch_up = CatchUp(self, gateway)
        self._requests = Dispatcher(self, gateway)
        self._slow = SlowConsumerWatch(clock, transport, limits.slow_timeout, self)
        self._expiry = TokenExpiry(clock, self)

    def __str__(self) -> str:
        who = self.principal
        return f"{_printable(who.tenant_id)}/{_printable(who.user_id)} ({who.role}, connection {self.connection_id})"

    @property
    def wire_format(self) -> WireFormat:
        """How messages are written for this client."""
        return self._wire_formats[self.principal.view]

    @property
    def live(self) -> bool:
        """Whether the client is offered messages as they come."""
        return self._live

    @property
    def greeted(self) -> bool:
        """Whether the welcome has been queued."""
        return self._greeted

    @property
    def closed(self) -> bool:
        """Whether the client's session is over."""
        return self._closed

    @property
    def blocked(self) -> bool:
        """Whether nothing can be written now; the welcome comes before everything else."""
        return self._paused or self._closed or not self._greeted

    @property
    def room(self) -> int:
        """How many more events the outbox takes."""
        return max(0, self._limit - len(self.outbox) - self._bundled)

    # From the edge: the life of the connection

    def open(self, options: ConnectOptions = DEFAULT_OPTIONS) -> None:
        """PresenceStore with the Hub, send the welcome, then what ``wish`` asks for, then live messages."""
        self._gateway.hub.register(self)
        self._expiry.set(self.principal.expires_at)
        self._mailbox_acks.acknowledges = options.ack
        if options.epoch is not None and options.seq is not None:
            self._catch_up.ask(Replay(options.epoch, options.seq))
        elif options.snapshot:
            self._catch_up.ask(TakeSnapshot())
        self._gateway.spawn(self._greet())

    async def _greet(self) -> None:
        try:
            head = await self._gateway.broker.position(self.principal.tenant_id)
        except Refusal as refusal:
            # It takes the welcome's place.
            self.outbox, self._greeted = [], True
            self.refuse(refusal)
            self.close(CloseCode.INTERNAL_ERROR)
            return
        except Exception:
            self.close(CloseCode.INTERNAL_ERROR)
            raise
        if self._closed:
            return
        self.epoch, self.position = head.epoch, head.seq
        self._greeted = True
        # The peer may have asked for something already; its answer waits behind.
        self.outbox.insert(0, self._welcome(head))
        self._gateway.hub.mark_dirty(self)
        self._expiry.announce_if_soon()
        if not self._closed:
            self._catch_up.begin()

    def _welcome(self, head: Position) -> ControlFrame:
        gateway = self._gateway
        return welcome(
            self.principal,
            self.connection_id,
            head,
            now=gateway.clock.time(),
            ping_interval=gateway.limits.ping_interval,
            session_token=self._session_token,
        )

    def close(self, code: CloseCode) -> None:
        """End the session: what is queued goes out if it can, then the close frame."""
        if self._closed:
            return
        self.step_out()
        if self.outbox and not self.blocked:
            self._write(b"".join(self.outbox))
        if self.closed:
            # The transport broke under the write and said so.
            return
        self._end(code)
        self._gateway.log.closed(str(self), code)
        self._transport.close(code)

    def abandon(self) -> None:
        """Writing has failed, so nothing more is written: end the session."""
        # What waits in the group, too: it would come without what could not be written before it.
        self.step_out()
        self.outbox = []
        self.close(CloseCode.INTERNAL_ERROR)

    def lost(self, code: CloseCode) -> None:
        """The connection is gone; ``code`` is what the peer or the network ended it with."""
        if not self._closed:
            self._end(code)

    def _end(self, code: CloseCode) -> None:
        self.step_out()
        self._closed = True
        self._live = False
        self.catch_up_done()
        self._slow.stop()
        self._expiry.stop()
        self._gateway.hub.unregister(self, code)
        self.outbox = []
        # They know the client: without them it is freed at once, and need not wait for the collector of garbage, which
        # does not see how much OpenSSL holds for each connection.
        del self._catch_up, self._requests, self._slow, self._expiry

    def pause(self) -> None:
        """The socket takes nothing for now."""
        if self._closed:
            return
        self._paused = True
        self.step_out()
        self._slow.start()

    def drained(self) -> None:
        """The socket has taken everything: go on."""
        if self._closed:
            return
        self._paused = False
        self._slow.stop()
        if self._live:
            self._gateway.hub.mark_dirty(self)
            return
        if self.outbox:
            self._gateway.hub.mark_dirty(self)
        self._catch_up.proceed()

    def renew(self, principal: Principal) -> None:
        """Go on with a fresh token of the same user: its claims and expiry hold from now on."""
        if self._closed:
            return
        self.tenant.remove(self)
        self.principal = principal
        self.tenant.add(self)
        self._expiry.set(principal.expires_at)
        # In the next turn, behind the answer.
        self._gateway.clock.call_later(0, self._expiry.announce_if_soon)

    def refile(self) -> None:
        """The subscription has changed: tell the tenant's files."""
        self.tenant.remove(self)
        self.tenant.add(self)

    # From the Hub: what the client may see

    def step_out(self) -> None:
        """Have an outbox of its own until that is written; see ``delivery.group``."""
        if self.group is not None:
            self.group.step_out(self)

    def take_along(self, frames: list[bytes], since: int) -> None:
        """From its group: what waits for everybody in step, all after the position ``since``, is its own now."""
        self.outbox, self._base = frames, since
        self._gateway.hub.mark_dirty(self)
        if len(frames) > self._limit:
            self._fall_behind(since + 1)

    def fall_in(self) -> None:
        """Be written to with its group from now on, if nothing concerns this client alone."""
        if not self._live or self.outbox or self._paused or self.group is None:
            return
        # Before the head has come as far, the client might be offered what it has.
        if self.position <= self.tenant.head:
            send = self._transport.direct()
            if send is not None:
                self.group.fall_in(self, send)

    def write_rest(self, data: bytes, taken: int) -> None:
        """Its group has sent ``data`` directly, but for what comes behind the first ``taken`` bytes."""
        self._transport.write(data[taken:] if taken else data)

    def offer_mail(self, publication: Publication) -> None:
        """Queue a message that is in the user's mailbox too."""
        self.offer([publication.frame(self.wire_format)], [publication.seq])
        if self._live and publication.seq > self.position:
            self._mailbox_acks.put(publication)

    def offer(self, frames: list[bytes], seqs: list[int]) -> None:
        """Queue messages that the client may see, in ``seq`` order, unless its CatchUp will bring them."""
        if not self._live:
            return
        outbox = self.outbox
        if seqs[0] <= self.position or len(outbox) + len(frames) > self._limit:
            self._offer_singly(frames, seqs)
            return
        if not outbox:
            self._gateway.hub.mark_dirty(self)
        if self._base is None:
            self._base = seqs[0] - 1
        outbox += frames

    def _offer_singly(self, frames: list[bytes], seqs: list[int]) -> None:
        """As ``offer``, for what the client has in part, or has no room for as a whole."""
        for frame, seq in zip(frames, seqs, strict=True):
            if not self._live:
                return
            if seq <= self.position:
                continue
            if len(self.outbox) >= self._limit:
                self._fall_behind(seq)
            else:
                self.offer([frame], [seq])

    def _fall_behind(self, seq: int) -> None:
        """The outbox has no room for ``seq``: from now on the client is a position in the history."""
        self.position = seq - 1 if self._base is None else self._base
        offered = self.outbox[self._fed :]
        self.outbox = self.outbox[: self._fed] + [frame for frame in offered if isinstance(frame, ControlFrame)]
        self._base = None
        self._mailbox_acks.withdraw(self.position)
        self._live = False
        self.lagging = True
        self._gateway.hub.counters.lagging += 1
        self._catch_up.proceed()

    def transmit(self, joined: bytes) -> None:
        """Write the outbox, whose frames ``joined`` holds; a blocked client keeps it for later."""
        if self.outbox and not self.blocked:
            self._write(joined)
        self.fall_in()

    def _write(self, joined: bytes) -> None:
        self._transport.write(joined)
        count = len(self.outbox) + self._bundled
        self.outbox = []
        self._bundled = 0
        self._fed = 0
        self._base = None
        self._mailbox_acks.written()
        self._gateway.hub.counters.delivered += count
        self.tenant.counters.delivered += count

    # From the CatchUp: how a client that is behind comes up to the head

    def queue(self, frame: bytes) -> None:
        """Put a frame of the history into the outbox; the CatchUp keeps within its ``room``."""
        self.step_out()
        if not self.outbox:
            self._gateway.hub.mark_dirty(self)
        self.outbox.append(frame)

    def queue_stretch(self, frames: bytes, count: int) -> None:
        """Put many frames of the history into the outbox in one piece; the CatchUp keeps within its ``room``."""
        self.queue(frames)
        self._bundled += count - 1

    def queue_mail(self, item: MailboxItem) -> None:
        """Put a message of the user's mailbox into the outbox; the CatchUp keeps within its ``room``."""
        publication = item.publication
        self.queue(publication.mail_frame(self.principal.view, redelivered=item.sent))
        self._mailbox_acks.bring(publication)

    @property
    def mailbox_acks(self) -> MailboxAcks:
        """The mailbox messages that this connection was given."""
        return self._mailbox_acks

    def step_aside(self) -> None:
        """Stop taking messages as they come: the CatchUp has older ones to bring first."""
        self.step_out()
        if self._live:
            self._live = False
            # Whatever was delivered until now is in the outbox or has been written.
            self.position = max(self.position, self.tenant.head)

    def find_position(self, epoch: str) -> None:
        """Look where it stands: the stream does not go on from where this client was brought last."""
        if self._greeted and not self._closed:
            if epoch != self.epoch:
                self._catch_up.lose_history()
            self._catch_up.proceed()

    def go_live(self) -> None:
        """The CatchUp has brought everything: take messages as they come."""
        self.catch_up_done()
        self._live = True
        self._fed = len(self.outbox)
        self._base = None
        self._gateway.hub.mark_dirty(self)

    def catch_up_done(self) -> None:
        """The client no longer lags."""
        if self.lagging:
            self.lagging = False
            self._gateway.hub.counters.lagging -= 1

    def count_dropped(self, reason: str, amount: int) -> None:
        """Count messages that this client was told it does not get."""
        add(self._gateway.hub.counters.dropped, reason, amount)
        self.tenant.counters.dropped += amount

    # Dispatcher and their answers

    @property
    def catch_up(self) -> CatchUp:
        """Brings this client what it missed."""
        return self._catch_up

    def send(self, frame: ControlFrame) -> None:
        """Queue an answer, behind what is queued already.

        A client that asks and asks but reads no answer ends as the slow consumer that it is.
        """
        if self._closed:
            return
        self.step_out()
        if len(self.outbox) >= self._limit + MAX_ANSWERS:
            self.close(CloseCode.SLOW_CONSUMER)
            return
        self.queue(frame)

    def receive(self, text: bytes) -> None:
        """Take a text message that the peer sent."""
        if self._closed:
            return
        self.heard()
        gateway = self._gateway
        gateway.hub.counters.received += 1
        self.tenant.counters.received += 1
        self._requests.receive(text)

    def heard(self) -> None:
        """The peer has sent something, were it a pong.

        While its socket is blocked that says nothing about what was written last.
        """
        if not self._paused:
            self._mailbox_acks.heard()

    def refuse(self, refusal: Refusal) -> None:
        """Tell the peer that it is refused; see ``Dispatcher.refuse``."""
        if self._closed:
            return
        self._requests.refuse(refusal)


def _printable(name: str) -> str:
    """A name as a line of the log may show it."""
    return name if name.isprintable() else repr(name)
