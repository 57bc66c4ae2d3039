"""CatchUp: brings a client that is behind up to the head of its tenant's stream.

It reads the history in bounded chunks, one per reactor turn, and only while the socket takes what it writes:
no client that resumes or lags delays another. Order and completeness rest on one rule: while a client is
fed it is offered nothing, and it goes live in the very step that finds its position at the head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from callcenter_ws.delivery.replay_cache import ReplayBatch
from callcenter_ws.delivery.snapshot_cache import RequestId
from callcenter_ws.errors import CloseCode, ErrorCode, Refusal
from callcenter_ws.events.frames import control_frame
from callcenter_ws.events.publication import Publication
from callcenter_ws.interfaces import Position, Snapshot

if TYPE_CHECKING:
    from callcenter_ws.delivery.client import Client
    from callcenter_ws.delivery.group import Group
    from callcenter_ws.requests.context import Context

CHUNK_EVENTS = 200
CHUNK_BYTES = 262_144
MAX_REPLAY = 10_000
MAX_JOBS = 4
SHARED_FOR = 1.0
"""Seconds for which a snapshot is kept for others who ask: it is not counted among the store's memory."""

RETRY = 1.0
"""Seconds to wait when the store cannot be read."""


@dataclass(slots=True)
class Replay:
    """A client's wish for everything after a position."""

    epoch: str
    seq: int
    request_id: RequestId = None
    until: int = 0
    count: int = 0


@dataclass(slots=True)
class TakeSnapshot:
    """A client's wish for the tenant's state."""

    request_id: RequestId = None
    until: int = 0
    taken: Snapshot | None = None


Job = Replay | TakeSnapshot


class CatchUp:
    """Serves one client's mailbox, replays, snapshots and lags, one after the other."""

    __slots__ = (
        "_client",
        "_due",
        "_gateway",
        "_history_is_lost",
        "_job",
        "_jobs",
        "_mail_after",
        "_parked",
        "_running",
    )

    def __init__(self, client: Client, gateway: Context) -> None:
        self._client = client
        self._gateway = gateway
        # Up to where the mailbox has been read; None: it has been read.
        self._mail_after: int | None = 0
        # A list: it holds few, in most cases none, and an empty deque is large.
        self._jobs: list[Job] = []
        self._job: Job | None = None
        self._due = False
        self._running = False
        # Another client prepares what this one is to be sent, and will have it go on.
        self._parked = False
        self._history_is_lost = False

    def ask(self, job: Job) -> None:
        """Serve ``job`` after those that were asked for before.

        Raises:
            Refusal: ``rate_limited`` when ``MAX_JOBS`` are waiting.
        """
        if len(self._jobs) >= MAX_JOBS:
            raise Refusal(ErrorCode.RATE_LIMITED, "wait for the answers to the earlier requests", retry_after=1)
        self._jobs.append(job)
        self._client.step_aside()
        self.proceed()

    def lose_history(self) -> None:
        """The store has lost the history that the client is in: a reset comes before anything else."""
        self._history_is_lost = True

    def begin(self) -> None:
        """Take the first step now: of most clients it is the last, and they go live with it."""
        if not self._due and not self._running:
            self._turn()

    def proceed(self) -> None:
        """Go on in the next turn, unless that is arranged already."""
        self._parked = False
        if not self._due and not self._running:
            self._due = True
            self._gateway.clock.call_later(0, self._turn)

    def _turn(self) -> None:
        self._due = False
        # A blocked client calls proceed() once its socket has drained.
        if not self._client.blocked:
            self._running = True
            self._gateway.spawn(self._run())

    async def _run(self) -> None:
        wait = 0.0
        try:
            await self._step()
        except Refusal:
            wait = RETRY
        except BaseException:
            self._client.close(CloseCode.INTERNAL_ERROR)
            raise
        finally:
            self._running = False
        if self._client.live or self._client.closed or self._parked:
            return
        if wait:
            self._due = True
            self._gateway.clock.call_later(wait, self._turn)
        else:
            self.proceed()

    async def _step(self) -> None:
        """Fetch mail, begin a job, feed a chunk, finish a job, or go live: one bounded piece of work."""
        client = self._client
        if self._history_is_lost:
            self._history_is_lost = False
            job, self._job = self._job, None
            await self._reset("epoch_changed", None if job is None else job.request_id)
            # What came for the user meanwhile is no part of the state.
            client.mailbox_acks.begin_anew()
            self._mail_after = 0
            return
        if self._mail_after is not None:
            self._mail_after = await self._fetch_mail(self._mail_after)
            if self._mail_after is not None or client.closed:
                return
        if self._job is None and self._jobs:
            await self._begin(self._jobs[0])
            del self._jobs[0]
        end = client.tenant.head if self._job is None else self._job.until
        if client.position < end:
            await self._feed_chunk(end)
        if client.closed:
            return
        job = self._job
        if job is not None and client.position >= job.until:
            self._job = None
            self._finish(job)
        if self._is_done() and client.position >= client.tenant.head:
            client.go_live()

    def _is_done(self) -> bool:
        """Whether nothing but the stream is left to be brought."""
        return not (self._job or self._jobs or self._history_is_lost or self._mail_after is not None)

    async def _begin(self, job: Job) -> None:
        if isinstance(job, TakeSnapshot):
            job.taken = await self._take_snapshot()
            job.until = job.taken.seq
            self._job = job
        else:
            await self._begin_replay(job)

    async def _fetch_mail(self, after: int) -> int | None:
        """Bring what waits for the user; what came after the welcome is for the stream to bring.

        Returns:
            The position from which to read on; None: nothing is left.
        """
        client, who = self._client, self._client.principal
        limit = min(CHUNK_EVENTS, client.room)
        if not limit:
            return after
        mail = await self._gateway.broker.mail(who.tenant_id, who.user_id, after, limit)
        if client.closed:
            return None
        if mail.gap is not None and not after:
            missing = {"from_seq": mail.gap.from_seq, "to_seq": mail.gap.to_seq, "reason": "mailbox"}
            client.send(control_frame("gap", missing))
        for item in mail.items:
            if item.publication.seq > client.position:
                return None
            if not client.room:
                # Answers came into the outbox while the mailbox was read.
                return after
            after = item.publication.seq
            if client.tenant.sees(client, item.publication):
                client.queue_mail(item)
        return after if mail.items else None

    async def _begin_replay(self, job: Replay) -> None:
        tenant_id = self._client.principal.tenant_id
        broker = self._gateway.broker
        head = await broker.position(tenant_id, Position(job.epoch, job.seq))
        reason = None
        if job.epoch != head.epoch:
            reason = "epoch_changed"
        elif job.seq > head.seq:
            reason = "ahead"
        elif head.seq - job.seq > MAX_REPLAY:
            reason = "too_many"
        elif not (await broker.read(tenant_id, job.seq, 0)).reachable:
            reason = "too_old"
        if reason is not None:
            await self._reset(reason, job.request_id)
            return
        job.until = head.seq
        self._client.position = job.seq
        self._job = job

    async def _reset(self, reason: str, request_id: RequestId = None) -> None:
        client = self._client
        snapshot = await self._take_snapshot()
        payload = {"reason": reason, "epoch": snapshot.epoch, "seq": snapshot.seq}
        client.send(control_frame("reset", payload, in_reply_to=request_id))
        self._send_snapshot(snapshot, None)
        client.epoch, client.position = snapshot.epoch, snapshot.seq

    async def _feed_chunk(self, end: int) -> None:
        client = self._client
        if isinstance(self._job, Replay) and await self._feed_stretch(self._job, end):
            return
        limit = min(CHUNK_EVENTS, client.room, end - client.position)
        if not limit:
            return
        chunk = await self._gateway.broker.read(client.principal.tenant_id, client.position, limit)
        if client.closed:
            return
        if chunk.epoch != client.epoch:
            job, self._job = self._job, None
            await self._reset("epoch_changed", None if job is None else job.request_id)
        elif chunk.reachable:
            self._queue(chunk.publications)
        else:
            await self._leap()

    async def _feed_stretch(self, job: Replay, end: int) -> bool:
        """Send what others are sent, too; whether that could be done.

        Stretches end at multiples of their size, so that clients which begin at different positions soon share.
        """
        client, group, cache = self._client, self._client.group, self._gateway.hub.replays
        size = min(CHUNK_EVENTS, self._gateway.limits.outbox)
        until = min(end, client.position - client.position % size + size)
        if group is None or client.room < until - client.position:
            return False
        tenant_id = client.tenant.tenant_id
        key = (tenant_id, job.epoch, group.key, client.position, until)
        stretch = cache.get(key)
        if stretch is None:
            if cache.waits_for(key, self.proceed):
                self._parked = True
                return True
            stretch = await self._prepare(key, group, client.position, until - client.position)
        if client.closed:
            return True
        if stretch is None or client.principal.user_id in stretch.users or client.group is not group:
            return False
        client.position = stretch.to_seq
        job.count += stretch.count
        if stretch.count:
            client.queue_stretch(stretch.frames, stretch.count)
        return True

    async def _prepare(self, key: tuple[object, ...], group: Group, after: int, limit: int) -> ReplayBatch | None:
        """Prepare what the group sees; nothing if the client has left it meanwhile, and would decide for another."""
        client, cache = self._client, self._gateway.hub.replays
        stretch = None
        try:
            chunk = await self._gateway.broker.read(client.tenant.tenant_id, after, limit)
            if chunk.publications and chunk.epoch == client.epoch and client.group is group:
                stretch = ReplayBatch.seen_by(client, chunk.publications)
        finally:
            cache.done(key, stretch)
        return stretch

    def _queue(self, publications: Sequence[Publication]) -> None:
        client = self._client
        size = 0
        for publication in publications:
            if not client.room:
                # Answers came into the outbox while the history was read.
                return
            client.position = publication.seq
            if not client.tenant.sees(client, publication) or self._is_outdated(publication):
                continue
            if publication.seq in client.mailbox_acks.brought:
                continue
            frame = publication.frame(client.wire_format)
            client.queue(frame)
            if publication.event.is_mail:
                client.mailbox_acks.put(publication)
            if isinstance(self._job, Replay):
                self._job.count += 1
            size += len(frame)
            if size > CHUNK_BYTES:
                return

    def _is_outdated(self, publication: Publication) -> bool:
        """Whether a lagging client is better off with a newer message of the same key."""
        key = publication.event.conflation_key
        if key is None or not self._client.lagging or self._job is not None:
            return False
        return self._gateway.broker.newest_of(publication.event.tenant_id, key) > publication.seq

    async def _leap(self) -> None:
        """The history no longer reaches back to the client: say so, then send the state."""
        client, job = self._client, self._job
        if isinstance(job, Replay):
            await self._reset("too_old", job.request_id)
            self._job = None
            return
        snapshot = await self._take_snapshot()
        missing = {"from_seq": client.position + 1, "to_seq": snapshot.seq, "reason": "history_exceeded"}
        client.send(control_frame("gap", missing))
        client.count_dropped("history_exceeded", snapshot.seq - client.position)
        client.position = snapshot.seq
        if job is None:
            self._send_snapshot(snapshot, None)
        else:
            # The one that was taken earlier would take the client back in time.
            job.taken, job.until = snapshot, snapshot.seq

    def _finish(self, job: Job) -> None:
        if isinstance(job, Replay):
            payload = {"epoch": self._client.epoch, "from_seq": job.seq, "to_seq": job.until, "count": job.count}
            self._client.send(control_frame("resumed", payload, in_reply_to=job.request_id))
        elif job.taken is not None:
            self._send_snapshot(job.taken, job.request_id)

    async def _take_snapshot(self) -> Snapshot:
        """The tenant's state; the one that another client was sent, if nothing has happened since."""
        tenant, broker = self._client.tenant, self._gateway.broker
        shared = tenant.shared
        if shared is not None:
            head = await broker.position(tenant.tenant_id)
            if (shared.snapshot.epoch, shared.snapshot.seq) == (head.epoch, head.seq):
                return shared.snapshot
        return await broker.snapshot(tenant.tenant_id)

    def _send_snapshot(self, snapshot: Snapshot, request_id: RequestId) -> None:
        client = self._client
        shared = client.tenant.share(snapshot)
        self._gateway.clock.call_later(SHARED_FOR, client.tenant.unshare, shared)
        client.send(shared.frame_for(client, request_id))
