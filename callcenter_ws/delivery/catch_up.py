"""The catch-up: feeds a client that is behind until it reaches the head of its tenant's stream.

It reads the history in bounded pages, one per turn of the reactor, and only while the socket accepts what is written:
no client that resumes or lags delays another. Order and completeness rest on one rule: while a client is fed, its
outbox accepts no live publications, and it goes live in the very step that finds its position at the head.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from callcenter_ws.delivery.catch_up_requests import ChangeRequest, ReplayRequest, Request, SnapshotRequest
from callcenter_ws.delivery.counters import add
from callcenter_ws.delivery.hub import Hub
from callcenter_ws.delivery.outbox import SharedOutbox
from callcenter_ws.delivery.replay_cache import ReplayBatch
from callcenter_ws.delivery.snapshot_cache import RequestId, SharedSnapshot
from callcenter_ws.delivery.snapshot_sharing import take_snapshot
from callcenter_ws.delivery.subscriber import SessionState, Subscriber
from callcenter_ws.delivery.tenant import Tenant
from callcenter_ws.errors import CloseCode, ErrorCode, Refusal
from callcenter_ws.events.frames import ControlFrame, control_frame
from callcenter_ws.events.publication import Publication
from callcenter_ws.interfaces import Position
from callcenter_ws.runtime.json import JsonObject

PAGE_EVENTS = 200
PAGE_BYTES = 262_144
"""Publications, and bytes of their frames, that are queued in one turn."""

MAX_REPLAY_EVENTS = 10_000
"""Publications of one replay; a client that missed more is sent a snapshot."""

MAX_REQUESTS = 4
"""Replays and snapshots of one client that wait to be sent."""

MAX_CHANGES = 64
"""Changes of the subscription of one client that wait for these."""

NO_SUBSCRIPTION = "subscribe to event types first: without them this client is sent no events"

RETRY_SECONDS = 1.0
"""Time after which reading the store is attempted again when it failed."""


class _Activity(Enum):
    IDLE = "idle"
    SCHEDULED = "scheduled for a later turn"
    RUNNING = "running"
    WAITING = "another client prepares the next batch"


class CatchUp:
    """Sends one client its mailbox, replays, snapshots and what it missed while it lagged, one after the other.

    There is one for each client: its activity is one field here, where ``runtime.single_flight`` would cost an object
    and several closures.
    """

    __slots__ = (
        "_activity",
        "_client",
        "_current",
        "_hub",
        "_mailbox_after",
        "_requests",
        "_reset_reason",
        "_tenant",
    )

    def __init__(self, client: Subscriber, tenant: Tenant, hub: Hub) -> None:
        self._client = client
        self._tenant = tenant
        self._hub = hub
        # The position up to which the mailbox has been read; None: it has been read to its end.
        self._mailbox_after: int | None = 0
        # A list: it holds few, most often none, and an empty deque is large.
        self._requests: list[Request | ChangeRequest] = []
        self._current: Request | None = None
        self._activity = _Activity.IDLE
        # Why a reset is sent before anything else; None: none is.
        self._reset_reason: str | None = None

    def request(self, request: Request) -> None:
        """Serve ``request`` after the earlier ones.

        Raises:
            Refusal: ``rate_limited`` when ``MAX_REQUESTS`` are waiting.
        """
        changes = sum(isinstance(waiting, ChangeRequest) for waiting in self._requests)
        self._append(request, len(self._requests) - changes < MAX_REQUESTS)
        self._client.begin_catch_up()
        self.proceed()

    def request_change(self, request: ChangeRequest) -> None:
        """Change the subscription after the earlier requests, so that their answers are complete for the present one.

        Where they wait for a subscription, it precedes them.

        Raises:
            Refusal: ``rate_limited`` when ``MAX_CHANGES`` are waiting.
        """
        changes = sum(isinstance(waiting, ChangeRequest) for waiting in self._requests)
        self._append(request, changes < MAX_CHANGES)
        if self._waits_for_subscription:
            self._requests.sort(key=lambda waiting: not isinstance(waiting, ChangeRequest))
        self.proceed()

    def _append(self, request: Request | ChangeRequest, has_room: bool) -> None:
        if not has_room:
            raise Refusal(ErrorCode.RATE_LIMITED, "wait for the answers to the earlier requests", retry_after=1)
        self._requests.append(request)

    @property
    def has_changes(self) -> bool:
        """Whether changes of the subscription are waiting."""
        return any(isinstance(waiting, ChangeRequest) for waiting in self._requests)

    @property
    def _waits_for_subscription(self) -> bool:
        """Whether nothing can be sent, because the client has not subscribed to anything.

        Its stream stays at the position in the welcome, and what it asked for in its URL waits: an empty answer would
        look like a complete one.
        """
        state = self._client.state
        return state is SessionState.CLOSED or (
            not self._client.subscription.names and state is not SessionState.LAGGING
        )

    @property
    def waits_for_client(self) -> bool:
        """Whether the client has to subscribe before it is sent anything."""
        return self._waits_for_subscription and not self.has_changes

    def read_mailbox_again(self) -> None:
        """Send the items of the mailbox that the client was not subscribed to before."""
        self._mailbox_after = -1
        self._client.begin_catch_up()
        self.proceed()

    def rights_extended(self) -> None:
        """Answer a running replay by a reset: of what was replayed, the client may see more by its new token."""
        current = self._current
        if isinstance(current, ReplayRequest) and self._client.outbox.position > current.seq:
            current.outdated = True

    def lose_history(self) -> None:
        """Send a reset before anything else: the store has lost the history that the client's position is in."""
        self._reset_reason = "epoch_changed"

    def rights_changed(self) -> None:
        """Send a reset before anything else: the settings have changed what the client may see."""
        if not self._waits_for_subscription:
            self._want_reset("rights_changed")
            self._client.begin_catch_up()
            self.proceed()

    def _want_reset(self, reason: str) -> None:
        if self._reset_reason is None:
            self._reset_reason = reason

    def begin(self) -> None:
        """Take the first step; at once if nothing was requested: most clients then go live with it."""
        if self._requests:
            self.proceed()
        elif self._activity in (_Activity.IDLE, _Activity.WAITING):
            self._turn()

    def proceed(self) -> None:
        """Take the next step in the next turn, unless one is scheduled or running."""
        if self._activity in (_Activity.IDLE, _Activity.WAITING):
            self._schedule(0)

    def _schedule(self, delay: float) -> None:
        self._activity = _Activity.SCHEDULED
        if delay:
            self._hub.clock.call_later(delay, self._turn)
        else:
            # In turn with the other clients that are fed: a thousand may resume together.
            self._hub.slicer.call(self._turn)

    def _turn(self) -> None:
        if self._client.outbox.blocked or self.waits_for_client:
            # The client calls ``proceed`` once its socket has drained or it subscribes.
            self._activity = _Activity.IDLE
        else:
            self._activity = _Activity.RUNNING
            self._hub.spawn(self._run())

    async def _run(self) -> None:
        delay = 0.0
        try:
            await self._step()
        except Refusal:
            delay = RETRY_SECONDS
        except BaseException:
            self._client.close(CloseCode.INTERNAL_ERROR)
            raise
        finally:
            waiting = self._activity is _Activity.WAITING
            if not waiting:
                self._activity = _Activity.IDLE
        if not waiting and self._client.state not in (SessionState.LIVE, SessionState.CLOSED):
            self._schedule(delay)

    async def _step(self) -> None:
        """Do one bounded piece of work: change the subscription, read mail, serve a request, or go live."""
        self._apply_changes()
        if self._waits_for_subscription:
            return
        if self._reset_reason is not None:
            await self._reset_first(self._reset_reason)
            return
        if self._mailbox_after is not None:
            self._mailbox_after = await self._feed_mailbox(self._mailbox_after)
            if self._mailbox_after is not None or self._is_closed:
                return
        await self._serve()
        if self._is_closed:
            return
        if self._has_only_the_stream and self._client.outbox.position >= self._tenant.head:
            self._client.go_live()

    async def _serve(self) -> None:
        """Begin a request, feed a page and finish the request, as far as the socket accepts it."""
        outbox = self._client.outbox
        if self._current is None and self._requests:
            request = self._requests[0]
            if isinstance(request, ChangeRequest):
                # It was made while mail was read; the next step applies it.
                return
            await self._begin_request(request)
            self._requests.remove(request)
        current = self._current
        if isinstance(current, ReplayRequest) and current.outdated:
            await self._reset("rights_changed", current.request_id)
            add(self._hub.counters.replays, "rights_changed")
            self._current = None
            return
        end = self._tenant.head if current is None else current.until
        if outbox.position < end:
            await self._feed_page(end)
        current = self._current
        if current is not None and outbox.position >= current.until and not self._is_closed:
            self._current = None
            await self._finish_request(current)

    def _apply_changes(self) -> None:
        """Change the subscription, if that is what the client asked for next."""
        while self._current is None and self._requests and not self._is_closed:
            request = self._requests[0]
            if not isinstance(request, ChangeRequest):
                return
            del self._requests[0]
            try:
                self._client.apply_change(request.change, request.request_id)
            except Refusal as refusal:
                self._client.refuse(refusal, request.request_id)

    @property
    def _is_closed(self) -> bool:
        return self._client.state is SessionState.CLOSED

    @property
    def _has_only_the_stream(self) -> bool:
        """Whether nothing but the stream is left to be sent."""
        return not (self._current or self._requests or self._reset_reason or self._mailbox_after is not None)

    # Mailbox

    async def _feed_mailbox(self, after: int) -> int | None:
        """Queue items of the user's mailbox; those published after the welcome are sent with the stream.

        Returns:
            The position after which to continue; None: nothing is left.
        """
        client, principal, outbox = self._client, self._client.principal, self._client.outbox
        limit = min(PAGE_EVENTS, outbox.room)
        if not limit:
            return after
        page = await self._hub.broker.read_mailbox(principal.tenant_id, principal.user_id, after, limit)
        if self._is_closed:
            return None
        if page.gap is not None and after == 0:
            missing = {"from_seq": page.gap.from_seq, "to_seq": page.gap.to_seq, "reason": "mailbox"}
            client.send(control_frame("gap", missing))
        for item in page.items:
            publication = item.publication
            if publication.seq > outbox.position:
                return None
            if not outbox.room:
                # Answers were queued while the mailbox was read.
                return after
            after = publication.seq
            if self._tenant.sees(client, publication) and not client.mailbox_acks.has(publication):
                outbox.add_mail(item, publication.mail_frame(principal.view, redelivered=item.sent))
        return after if page.items else None

    # Requests

    async def _begin_request(self, request: Request) -> None:
        if isinstance(request, SnapshotRequest):
            request.snapshot = await take_snapshot(self._hub, self._tenant, self._client)
            request.until = request.snapshot.snapshot.seq
            self._current = request
        else:
            await self._begin_replay(request)

    async def _begin_replay(self, request: ReplayRequest) -> None:
        tenant_id, broker = self._tenant.tenant_id, self._hub.broker
        head = await broker.position(tenant_id, Position(request.epoch, request.seq))
        reason = None
        if request.epoch != head.epoch:
            reason = "epoch_changed"
        elif request.seq > head.seq:
            reason = "ahead"
        elif head.seq - request.seq > MAX_REPLAY_EVENTS:
            reason = "too_many"
        elif not (await broker.read(tenant_id, request.seq, 0)).reachable:
            reason = "too_old"
        if reason is not None:
            await self._reset(reason, request.request_id)
            add(self._hub.counters.replays, reason)
            return
        request.until = head.seq
        self._client.outbox.position = request.seq
        self._current = request

    async def _finish_request(self, request: Request) -> None:
        if isinstance(request, ReplayRequest):
            payload = {
                "epoch": self._client.epoch,
                "from_seq": request.seq,
                "to_seq": request.until,
                "count": request.count,
            }
            self._client.send(control_frame("resumed", payload, in_reply_to=request.request_id))
            add(self._hub.counters.replays, "resumed")
            if request.then_snapshot:
                self._requests.insert(0, SnapshotRequest())
            else:
                self._client.send_figures()
        elif request.snapshot is not None:
            self._send_snapshot(await self._encode(request.snapshot, request.request_id), request.snapshot)
            add(self._hub.counters.snapshots, "request")

    # Pages of the history

    async def _feed_page(self, end: int) -> None:
        client, outbox = self._client, self._client.outbox
        if isinstance(self._current, ReplayRequest) and await self._feed_shared_batch(self._current, end):
            return
        limit = min(PAGE_EVENTS, outbox.room, end - outbox.position)
        if not limit:
            return
        page = await self._hub.broker.read(self._tenant.tenant_id, outbox.position, limit)
        if self._is_closed:
            return
        if page.epoch != client.epoch:
            await self._reset_in_place_of_request("epoch_changed")
        elif page.reachable:
            self._queue(page.publications)
        else:
            await self._skip_gap()

    async def _feed_shared_batch(self, request: ReplayRequest, end: int) -> bool:
        """Queue a batch that other clients are sent too; return whether that was possible.

        Batches end at multiples of their size, so that clients which begin at different positions soon share them.
        """
        client, outbox, cache = self._client, self._client.outbox, self._hub.replays
        group = outbox.group
        size = min(PAGE_EVENTS, self._hub.limits.outbox)
        until = min(end, outbox.position - outbox.position % size + size)
        if group is None or outbox.room < until - outbox.position:
            return False
        key = (self._tenant.tenant_id, client.epoch, group.key, outbox.position, until)
        batch = cache.get(key)
        if batch is None:
            if cache.wait_for(key, self.proceed):
                self._activity = _Activity.WAITING
                return True
            batch = await self._prepare_batch(key, group, outbox.position, until - outbox.position)
        if self._is_closed:
            return True
        if batch is None or client.principal.user_id in batch.users or outbox.group is not group:
            return False
        outbox.position = batch.to_seq
        request.count += batch.count
        add(self._hub.counters.from_history, "replay", batch.count)
        if batch.count:
            outbox.add_batch(batch.frames, batch.count)
        return True

    async def _prepare_batch(
        self, key: tuple[object, ...], group: SharedOutbox, after: int, limit: int
    ) -> ReplayBatch | None:
        """Prepare what the group sees; None if the client has left it meanwhile, and would decide for another."""
        client, tenant, cache = self._client, self._tenant, self._hub.replays
        batch = None
        try:
            page = await self._hub.broker.read(tenant.tenant_id, after, limit)
            if page.publications and page.epoch == client.epoch and client.outbox.group is group:
                batch = ReplayBatch.prepare(
                    page.publications,
                    lambda publication: tenant.group_sees(client, publication),
                    client.outbox.wire_format,
                )
        finally:
            cache.done(key, batch)
        return batch

    def _queue(self, publications: Sequence[Publication]) -> None:
        client, outbox, counters = self._client, self._client.outbox, self._hub.counters
        cause = "lag" if client.state is SessionState.LAGGING else "connect"
        if isinstance(self._current, ReplayRequest):
            cause = "replay"
        size = 0
        for publication in publications:
            if not outbox.room:
                # Answers were queued while the history was read.
                return
            outbox.position = publication.seq
            if not self._tenant.sees(client, publication):
                continue
            if self._is_outdated(publication):
                counters.conflated += 1
                continue
            if publication.seq in client.mailbox_acks.from_mailbox:
                continue
            frame = publication.frame(outbox.wire_format)
            outbox.add(frame)
            add(counters.from_history, cause)
            if publication.event.is_mail:
                client.mailbox_acks.add(publication)
            if isinstance(self._current, ReplayRequest):
                self._current.count += 1
            size += len(frame)
            if size > PAGE_BYTES:
                return

    def _is_outdated(self, publication: Publication) -> bool:
        """Return whether a lagging client is sent only a newer publication with the same conflation key."""
        key = publication.event.conflation_key
        if key is None or self._client.state is not SessionState.LAGGING or self._current is not None:
            return False
        return self._hub.broker.newest_of(publication.event.tenant_id, key) > publication.seq

    # Resets and gaps

    async def _reset_first(self, reason: str) -> None:
        """Send the reset that comes before anything else."""
        # First, because more history may be lost meanwhile.
        self._reset_reason = None
        before = self._client.outbox.position
        try:
            await self._reset_in_place_of_request(reason)
        except Refusal:
            self._want_reset(reason)
            raise
        # Mail that was published meanwhile is no part of the state.
        if reason == "epoch_changed":
            self._client.mailbox_acks.forget_positions()
            self._mailbox_after = 0
        elif self._client.outbox.position > before and self._mailbox_after is None:
            self._mailbox_after = -1

    async def _reset_in_place_of_request(self, reason: str) -> None:
        """Send a reset that answers the current request, and end that; if it fails, the request is left."""
        request = self._current
        await self._reset(reason, None if request is None else request.request_id)
        self._current = None
        if isinstance(request, ReplayRequest):
            add(self._hub.counters.replays, "epoch_changed")

    async def _reset(self, reason: str, request_id: RequestId = None) -> None:
        """Send ``reset`` and a snapshot: the requested position cannot be served."""
        client = self._client
        shared = await take_snapshot(self._hub, self._tenant, self._client)
        frames, snapshot = await self._encode(shared, None), shared.snapshot
        payload: JsonObject = {"reason": reason, "epoch": snapshot.epoch, "seq": snapshot.seq}
        policy = self._hub.agent_policy(client.principal.role)
        if policy is not None:
            payload["policy"] = policy
        client.send(control_frame("reset", payload, in_reply_to=request_id))
        self._send_snapshot(frames, shared)
        add(self._hub.counters.resets, reason)
        add(self._hub.counters.snapshots, "reset")
        client.epoch, client.outbox.position = snapshot.epoch, snapshot.seq

    async def _skip_gap(self) -> None:
        """Send ``gap`` and a snapshot, or ``reset`` to a replay: the history no longer reaches back to the client."""
        client, request = self._client, self._current
        if isinstance(request, ReplayRequest):
            await self._reset("too_old", request.request_id)
            add(self._hub.counters.replays, "too_old")
            self._current = None
            return
        shared = await take_snapshot(self._hub, self._tenant, self._client)
        snapshot = shared.snapshot
        if snapshot.epoch != client.epoch:
            # The client's position is not in this history: it is sent a reset, not a gap.
            self._reset_reason = "epoch_changed"
            return
        frames = await self._encode(shared, None) if request is None else ()
        missing = {
            "from_seq": client.outbox.position + 1,
            "to_seq": snapshot.seq,
            "reason": "history_exceeded",
        }
        client.send(control_frame("gap", missing))
        client.count_dropped("history_exceeded", snapshot.seq - client.outbox.position)
        client.outbox.position = snapshot.seq
        if request is None:
            self._send_snapshot(frames, shared)
            add(self._hub.counters.snapshots, "gap")
        else:
            # The snapshot that was taken earlier would take the client back in time.
            request.snapshot, request.until = shared, snapshot.seq

    # Snapshots

    def _send_snapshot(self, frames: Sequence[ControlFrame], shared: SharedSnapshot) -> None:
        self._client.send_message(frames)
        self._client.figures_sent(shared.figures_version)

    async def _encode(self, shared: SharedSnapshot, request_id: RequestId) -> Sequence[ControlFrame]:
        """Return the ``snapshot`` message, as this client may see it when it is encoded."""
        client = self._client
        self._tenant.update(client)
        seen_as = None
        while seen_as != (seen_as := (client.principal, client.subscription.fixed(), client.outbox.group)):
            frames = await shared.frames_for(client, request_id)
            if self._is_closed:
                break
        return frames
