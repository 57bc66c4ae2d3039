"""Client: the session of one connection, from its welcome to its end.

A live client is offered each publication as it is delivered; its outbox holds them until the end of the turn. A client
that is behind (it resumes, or its outbox overflowed) has a position in the tenant's history, and its catch-up feeds it
from there to the head. ``SessionState`` names the states of a session; only the methods here change it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from itertools import chain

from callcenter_ws.delivery.catch_up import NO_SUBSCRIPTION, CatchUp
from callcenter_ws.delivery.catch_up_requests import ChangeRequest, ReplayRequest, SnapshotRequest
from callcenter_ws.delivery.counters import add
from callcenter_ws.delivery.hub import Hub
from callcenter_ws.delivery.mailbox_acks import MailboxAcks
from callcenter_ws.delivery.outbox import Outbox
from callcenter_ws.delivery.slow_consumer import SlowConsumerWatch
from callcenter_ws.delivery.snapshot_cache import RequestId
from callcenter_ws.delivery.subscriber import SessionState
from callcenter_ws.delivery.subscription import Subscription, SubscriptionChange
from callcenter_ws.delivery.tenant import Tenant
from callcenter_ws.delivery.token_expiry import TokenExpiry
from callcenter_ws.delivery.welcome import DEFAULT_OPTIONS, ConnectOptions, welcome
from callcenter_ws.errors import CloseCode, ErrorCode, Refusal
from callcenter_ws.events.frames import PLAIN, ControlFrame, WireFormat, control_frame, error_frame
from callcenter_ws.events.principal import Principal
from callcenter_ws.interfaces import Position, Transport
from callcenter_ws.runtime.json import rfc3339
from callcenter_ws.runtime.log_fields import Name


class Client:
    """The session of one authenticated connection.

    Implements ``delivery.subscriber.Subscriber`` and ``interfaces.LoggedConnection``.

    Args:
        endpoint: ``ws`` or ``public``; a label of statistics.
        ip: the client's address.
        wire_formats: how messages are encoded for the connection, indexed by view.
        session_token: sent to an anonymous visitor in its welcome.

    Attributes:
        epoch: the epoch of the position that the outbox has.
        requests_in_progress: requests of the client that are being answered.
        state: changed by the methods of this class only.
        subscription: set by ``open``.
        tenant: the other clients of the tenant at this node; set by ``open``.
    """

    __slots__ = (
        "__weakref__",
        "_catch_up",
        "_expiry",
        "_hub",
        "_opened_at",
        "_session_token",
        "_slow",
        "_transport",
        "connection_id",
        "dropped",
        "endpoint",
        "epoch",
        "ip",
        "mailbox_acks",
        "outbox",
        "principal",
        "received",
        "requests_in_progress",
        "state",
        "subscription",
        "tenant",
    )

    subscription: Subscription
    tenant: Tenant
    _catch_up: CatchUp

    def __init__(
        self,
        hub: Hub,
        transport: Transport,
        principal: Principal,
        *,
        connection_id: str,
        endpoint: str,
        ip: str = "unix",
        wire_formats: Sequence[WireFormat] = PLAIN,
        session_token: str | None = None,
    ) -> None:
        self._hub = hub
        self._transport = transport
        self.principal = principal
        self.connection_id = connection_id
        self.endpoint = endpoint
        self.ip = ip
        self.received = self.dropped = 0
        self._opened_at = hub.clock.monotonic()
        self._session_token = session_token
        self.epoch = ""
        self.state = SessionState.OPENING
        self.requests_in_progress = 0
        self.mailbox_acks = MailboxAcks(hub.broker, principal, transport, hub.clock)
        self.outbox = Outbox(self, transport, self.mailbox_acks, wire_formats[principal.view], hub.limits.outbox)
        self._slow: SlowConsumerWatch | None = None
        self._expiry = TokenExpiry(hub.clock, self)

    def __str__(self) -> str:
        who = self.principal
        return f"{Name(who.tenant_id)}/{Name(who.user_id)} ({who.role}, connection {self.connection_id})"

    @property
    def delivered(self) -> int:
        """The messages that were written to the socket, with those of the group."""
        outbox = self.outbox
        return outbox.delivered + (0 if outbox.group is None else outbox.group.sent_to(outbox))

    @property
    def seconds(self) -> float:
        """For how long the session exists."""
        return self._hub.clock.monotonic() - self._opened_at

    @property
    def closed(self) -> bool:
        """Whether the session is over."""
        return self.state is SessionState.CLOSED

    @property
    def welcomed(self) -> bool:
        """Whether the welcome has been queued, or an error in its place."""
        return self.outbox.ready

    @property
    def lagging(self) -> bool:
        """Whether the client is fed from the history because its outbox overflowed."""
        return self.state is SessionState.LAGGING

    # The life of the session

    def open(self, options: ConnectOptions = DEFAULT_OPTIONS) -> None:
        """Register with the Hub, send the welcome, then what ``options`` ask for, then live publications.

        Raises:
            Refusal: the role may not subscribe to what ``options`` name; the client is not registered.
        """
        self.subscription = options.subscription(self.principal.role)
        self.tenant = self._hub.register(self)
        self._catch_up = CatchUp(self, self.tenant, self._hub)
        self._expiry.set(self.principal.expires_at)
        self.mailbox_acks.explicit = options.ack
        if options.epoch is not None and options.seq is not None:
            self._catch_up.request(ReplayRequest(options.epoch, options.seq, then_snapshot=options.snapshot))
        elif options.snapshot:
            self._catch_up.request(SnapshotRequest())
        self._hub.spawn(self._send_welcome())

    async def _send_welcome(self) -> None:
        try:
            head = await self._hub.broker.position(self.principal.tenant_id)
        except Refusal as refusal:
            self._refuse_in_place_of_welcome(refusal)
            return
        except Exception:
            self.close(CloseCode.INTERNAL_ERROR)
            raise
        if self.closed:
            return
        self.epoch, self.outbox.position = head.epoch, head.seq
        self.state = SessionState.CATCHING_UP
        # The client may have sent requests already; their answers follow the welcome.
        self.outbox.add_first(self._welcome(head))
        self._expiry.announce_if_soon()
        if not self.closed:
            self._catch_up.begin()

    def _welcome(self, head: Position) -> ControlFrame:
        return welcome(
            self.principal,
            self.connection_id,
            head,
            now=self._hub.clock.time(),
            ping_interval=self._hub.limits.ping_interval,
            session_token=self._session_token,
            policy=self._hub.agent_policy(self.principal.role),
            commands=self._hub.offered_commands(self.principal),
        )

    def _refuse_in_place_of_welcome(self, refusal: Refusal) -> None:
        self.outbox.clear()
        self.outbox.ready = True
        self.refuse(refusal)
        # Without a time for the retry it is an error of the gateway.
        self.close(CloseCode.INTERNAL_ERROR if refusal.retry_after is None else CloseCode.TRY_LATER)

    def close(self, code: CloseCode) -> None:
        """End the session: send what is queued, if possible, then the close frame."""
        if self.closed:
            return
        self.outbox.detach()
        self.outbox.flush()
        if self.outbox.closed:
            # Writing has found the connection lost, and ended the session.
            return
        self._end(code)
        self._hub.log.closed(self, code)
        self._transport.close(code)

    def abandon(self) -> None:
        """End the session without sending what is queued: writing has failed."""
        # Discard what waits in the group too: it must not be sent without what could not be written before it.
        self.outbox.detach()
        self.outbox.clear()
        self.close(CloseCode.INTERNAL_ERROR)

    def connection_lost(self, code: CloseCode) -> None:
        """End the session: the connection is gone, and ``code`` says why."""
        if not self.closed:
            self._end(code)

    def _end(self, code: CloseCode) -> None:
        self.outbox.detach()
        self._count_lagging(-1)
        self.state = SessionState.CLOSED
        if self._slow is not None:
            self._slow.stop()
        self._expiry.stop()
        self._hub.outgoing.discard(self)
        self._hub.unregister(self, self.tenant, code)
        self.outbox.close()
        # They refer to the client: without them it is freed at once, and not by the garbage collector, which does not
        # see how much memory OpenSSL holds for each connection.
        del self._catch_up, self._slow, self._expiry

    def token_expires_soon(self, expires_at: float) -> None:
        """Announce the end of the token."""
        self.send(control_frame("session.expiring", {"expires_at": rfc3339(expires_at)}))

    def token_expired(self) -> None:
        """End the session with its token."""
        self.close(CloseCode.TOKEN_EXPIRED)

    def renew(self, principal: Principal) -> None:
        """Continue with a new token of the same user, tenant and role: its claims and expiry apply from now on."""
        if self.closed:
            return
        before = self.principal.queues
        self.tenant.remove(self)
        self.principal = principal
        self.tenant.add(self)
        if before is not None and (principal.queues is None or not principal.queues <= before):
            self.outbox.figures = -1
            self._catch_up.rights_extended()
        if self.outbox.owes_figures:
            self._hub.mark_dirty(self.outbox)
        self._expiry.set(principal.expires_at)
        # In the next turn, after the answer to the request.
        self._hub.clock.call_later(0, self._expiry.announce_if_soon)

    def change_subscription(self, change: SubscriptionChange, request_id: RequestId = None) -> None:
        """Change the subscription and send ``subscribed``; before the client is live, after its earlier requests.

        Raises:
            Refusal: ``unknown_event`` or ``forbidden``; ``invalid_message`` for the queues; ``rate_limited`` when too
                many requests are waiting. The subscription is unchanged.
        """
        self.subscription.check(change)
        if self.state is SessionState.LIVE:
            self.apply_change(change, request_id)
        else:
            self._catch_up.request_change(ChangeRequest(change, request_id))

    def apply_change(self, change: SubscriptionChange, request_id: RequestId) -> None:
        """Change the subscription now, and name the position after which the change is in force.

        Raises:
            Refusal: ``invalid_message`` for the queues; the subscription is unchanged.
        """
        extended = self.subscription.apply(change)
        self.tenant.remove(self)
        self.tenant.add(self)
        position = self.outbox.position
        payload = {
            "events": self.subscription.events,
            "queues": self.subscription.queue_list,
            "epoch": self.epoch,
            "seq": max(position, self.tenant.head) if self.state is SessionState.LIVE else position,
        }
        self.send(control_frame("subscribed", payload, in_reply_to=request_id))
        # All that the subscription admits follow, once this answer is written.
        self.outbox.figures = -1
        if extended and not self.closed:
            self._catch_up.read_mailbox_again()

    # The socket

    def pause(self) -> None:
        """Write nothing for now: the socket accepts no bytes."""
        if self.closed:
            return
        self.outbox.paused = True
        self.outbox.detach()
        self._hub.outgoing.add(self)
        if self._slow is None:
            hub, timed_out = self._hub, partial(self.close, CloseCode.SLOW_CONSUMER)
            self._slow = SlowConsumerWatch(hub.clock, self._transport, hub, timed_out)
        self._slow.start()

    def drained(self) -> None:
        """Continue writing: the socket has accepted everything."""
        if self.closed:
            return
        self.outbox.paused = False
        self._hub.outgoing.discard(self)
        if self._slow is not None:
            self._slow.stop()
        if self.outbox.accepting or self.outbox.frames:
            self._hub.mark_dirty(self.outbox)
        if not self.outbox.accepting:
            self._catch_up.proceed()

    def probe(self) -> None:
        """Ping the peer, and close the connection unless it answers; see ``interfaces.Transport``."""
        if not self.closed:
            self._transport.probe()

    def is_flushed(self) -> bool:
        """Write what waits; return whether the client has been sent all that it is to be sent.

        That is what it asked for or is behind with, and the answers to its requests. A closed client is sent nothing.
        """
        if self.closed:
            return True
        self.outbox.detach()
        self.outbox.flush()
        if self.outbox.closed:
            # Writing has found the connection lost, and ended the session.
            return True
        is_caught_up = self.state is SessionState.LIVE or (self.welcomed and self._catch_up.waits_for_client)
        return is_caught_up and not (self.outbox.paused or self.requests_in_progress)

    def unsent_bytes(self) -> int:
        """Return the bytes that were written and that the peer has not received."""
        return 0 if self.closed else self._transport.unsent_bytes()

    # Implements delivery.outgoing.UnsentPeer

    @property
    def is_stranger(self) -> bool:
        """Whether the client is a visitor."""
        return self.principal.is_visitor

    def buffered_bytes(self) -> int:
        """Return the bytes in the buffers of the transport."""
        return self._transport.buffered_bytes()

    def unsent_frames(self) -> Iterable[bytes]:
        """Return what waits in the outbox and in the transport's backlog."""
        return chain(self._transport.unsent_frames(), self.outbox.frames)

    def close_slow(self) -> None:
        """End the session: too much waits for all clients together, and this one does not read."""
        self.close(CloseCode.SLOW_CONSUMER)

    def count_received(self) -> None:
        """Count a message from the peer."""
        self.received += 1
        self._hub.counters.received += 1
        self.tenant.counters.received += 1

    # Answers

    def send(self, frame: ControlFrame) -> None:
        """Queue a message for this client alone, after what is queued already.

        A client for which ``limits.outbox`` + 256 frames are waiting is closed as a slow consumer.
        """
        self.send_message((frame,))

    def send_message(self, frames: Sequence[ControlFrame]) -> None:
        """Queue a message as ``send`` does that may consist of several frames."""
        if self.closed:
            return
        self.outbox.detach()
        if self.outbox.is_full_of_answers:
            self.close(CloseCode.SLOW_CONSUMER)
            return
        self.outbox.add_message(frames)

    def refuse(self, refusal: Refusal, request_id: RequestId = None) -> None:
        """Send an ``error`` message."""
        if self.closed:
            return
        add(self._hub.counters.requests_refused, refusal.code)
        self._hub.log.refused(self, refusal)
        self.send(error_frame(refusal, request_id))

    # Catching up

    def request(self, request: ReplayRequest | SnapshotRequest) -> None:
        """Have a replay or a snapshot sent, after what was requested before.

        Raises:
            Refusal: ``rate_limited`` when too many are waiting; ``invalid_message`` for a client that is sent no
                events, which would take an empty answer for a complete one.
        """
        if not (self.subscription.names or self._catch_up.has_changes):
            raise Refusal(ErrorCode.INVALID_MESSAGE, NO_SUBSCRIPTION)
        self._catch_up.request(request)

    def begin_catch_up(self) -> None:
        """Stop accepting live publications: older ones must be sent first."""
        self.outbox.hold(self.tenant.head)
        if self.state is SessionState.LIVE:
            self.state = SessionState.CATCHING_UP

    def continue_after_interruption(self, epoch: str) -> None:
        """Determine the position again: the stream does not continue after what this client was sent last."""
        if self.state not in (SessionState.OPENING, SessionState.CLOSED):
            if epoch != self.epoch:
                self._catch_up.lose_history()
            self._catch_up.proceed()

    def rights_changed(self) -> None:
        """Have a reset sent: the settings have changed what the client may see."""
        # Before the welcome it was sent nothing.
        if self.state not in (SessionState.OPENING, SessionState.CLOSED):
            self._catch_up.rights_changed()

    def go_live(self) -> None:
        """Accept live publications: everything before them is queued."""
        self._count_lagging(-1)
        self.state = SessionState.LIVE
        self.send_figures()
        self.outbox.accept()

    def send_figures(self) -> None:
        """Queue the live figures that changed since the client was sent any."""
        feed = self.tenant.feed
        if feed is None or self.closed:
            self.outbox.owes_figures = False
        else:
            feed.send_owed(self)

    def figures_sent(self, version: int) -> None:
        """Note the version of the figures in a snapshot that was queued; an agent's own figure follows it."""
        feed = self.tenant.feed
        if feed is not None and not self.closed:
            self.outbox.figures = version
            feed.send_own(self)

    def count_dropped(self, reason: str, amount: int) -> None:
        """Count publications that the client was informed it will not be sent."""
        self.dropped += amount
        add(self._hub.counters.dropped, reason, amount)
        self.tenant.counters.dropped += amount

    def _count_lagging(self, change: int) -> None:
        if self.lagging:
            self._hub.counters.lagging += change

    # From the outbox

    def outbox_filled(self) -> None:
        """Have the outbox written at the end of this turn."""
        self._hub.mark_dirty(self.outbox)

    def outbox_overflowed(self) -> None:
        """Feed the client from the history."""
        self.state = SessionState.LAGGING
        self._count_lagging(1)
        self._hub.counters.lags += 1
        self._catch_up.proceed()

    def outbox_written(self, count: int) -> None:
        """Count messages that were written to the socket."""
        self._hub.counters.delivered += count
        self.tenant.counters.delivered += count
