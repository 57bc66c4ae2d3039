"""Follower: delivers one tenant's stream at this node, without gaps.

An announcement is a hint; the log in Redis is authoritative. An announcement that continues what was delivered is
delivered as it is. After any other announcement the log is read.
"""

from __future__ import annotations

import builtins
from collections.abc import Awaitable, Callable, Sequence

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from callcenter_ws.broker.history import History
from callcenter_ws.broker.redis.codec import decode_publications
from callcenter_ws.broker.redis.state_loader import READ_EVENTS, StateLoader
from callcenter_ws.broker.redis.tenant_store import KnownEvent, StreamStatus, TenantStore
from callcenter_ws.broker.state import State
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.catalogue import EntityKey
from callcenter_ws.events.entity import Entity
from callcenter_ws.events.publication import Publication
from callcenter_ws.events.slot_table import ENTITY_LIFETIME
from callcenter_ws.interfaces import Deliver, Interrupted, Position
from callcenter_ws.runtime.background import Spawn
from callcenter_ws.runtime.backoff import Backoff
from callcenter_ws.runtime.clock import Clock
from callcenter_ws.runtime.single_flight import SingleFlight

MAX_MAIL_USERS = 50_000
"""Users of one tenant who are remembered as possibly having mail."""

ANNOUNCEMENT_DELAY_SECONDS = 0.05
"""How long to wait for a missing announcement before the log is read."""

OWNERS_PER_CALL = 500
"""Entities whose owners are read at a time."""

RETRY_SECONDS = 1.0

_log = Logger("callcenter_ws.broker")


class Follower:
    """Follows one tenant's stream.

    Args:
        trim_memory: called after publications were added; removes what memory should not hold.
        from_the_start: deliver the whole log, not only what is published from now on.

    Attributes:
        epoch: the epoch of the stream; empty until its position is known.
        history: the end of the stream, as far as it is in memory; its head is the position that was delivered last.
        mail_users: users who may have mail; None: too many, or not known.
        mail_count: how many mailbox items were delivered.
        counted_bytes: the part of the memory limit that is attributed to this follower.
    """

    def __init__(
        self,
        tenant_store: TenantStore,
        clock: Clock,
        spawn: Spawn,
        deliver: Deliver,
        interrupted: Interrupted,
        trim_memory: Callable[[Follower], None],
        *,
        from_the_start: bool = False,
    ) -> None:
        self._tenant_store = tenant_store
        self._clock = clock
        self._deliver = deliver
        self._interrupted = interrupted
        self._trim_memory = trim_memory
        self._from_the_start = from_the_start
        self.tenant_id = tenant_store.tenant_id
        self.epoch = ""
        self.history = History()
        self.mail_users: set[str] | None = None
        self.mail_count = 0
        self.counted_bytes = 0
        self._state: State | None = None
        self._state_seq = 0
        self._state_loader = StateLoader(self, tenant_store, self._state_loaded)
        self._last_id = ""
        # The highest position that is known to exist.
        self._known_head = 0
        # Whether the epoch and the head were confirmed since the last doubt about them.
        self._is_synchronised = False
        self._doubts = 0
        self._reads = SingleFlight(self._read, clock, spawn, backoff=Backoff(RETRY_SECONDS, RETRY_SECONDS))
        self._waiting: list[tuple[int, Deferred[None]]] = []
        self._stopped: Refusal | None = None

    @property
    def head(self) -> int:
        """The position that was delivered last."""
        return self.history.head

    @property
    def bytes(self) -> int:
        """Memory of all publications; those in the history and in the state count twice."""
        return self.history.bytes + (0 if self._state is None else self._state.bytes)

    @property
    def last_event(self) -> KnownEvent:
        """The event that was delivered last: epoch, position, event id."""
        return self.epoch, self.head, self._last_id

    def stop(self, refusal: Refusal) -> None:
        """Follow the tenant no longer; requests that wait are refused."""
        self._stopped = refusal
        self._reads.stop()
        self._refuse_waiting(refusal)

    # Waiting for a position

    def wait_for(self, seq: int) -> Awaitable[None]:
        """Wait until everything up to a position has been delivered; 0: until the stream's position is known.

        Raises:
            Refusal: ``unavailable``.
        """
        answer: Deferred[None] = Deferred()
        if self.epoch and self.head >= seq:
            answer.callback(None)
        elif self._stopped is not None:
            answer.errback(self._stopped.copy())
        else:
            self._waiting.append((seq, answer))
            self._known_head = max(self._known_head, seq)
            self._request_read()
        return answer

    async def confirm_history(self) -> None:
        """Wait until it has been checked whether the stream still has this history.

        Raises:
            Refusal: ``unavailable``.
        """
        if self._stopped is not None:
            raise self._stopped.copy()
        answer: Deferred[None] = Deferred()
        self._waiting.append((0, answer))
        self.synchronise()
        await answer

    def _resolve_waiting(self) -> None:
        ready = [answer for seq, answer in self._waiting if seq <= self.head]
        self._waiting = [(seq, answer) for seq, answer in self._waiting if seq > self.head]
        for answer in ready:
            answer.callback(None)

    def _refuse_waiting(self, refusal: Refusal) -> None:
        waiting, self._waiting = self._waiting, []
        for _, answer in waiting:
            answer.errback(refusal.copy())

    # Publications that arrive

    def announced(self, epoch: str, first: int, last: int, text: builtins.bytes) -> None:
        """Process an announcement: the first and the last position, and the lines of the events, if it has them."""
        if epoch != self.epoch:
            self.synchronise()
        elif last > self.head:
            self._known_head = max(self._known_head, last)
            if self._is_synchronised and not self._reads.is_running and text and first <= self.head + 1:
                found = decode_publications(text, self.tenant_id, self._tenant_store.clock_offset)
                self._deliver_next([publication for publication in found if publication.seq > self.head])
            else:
                self._request_read()

    def published(self, epoch: str, publications: Sequence[Publication]) -> None:
        """Process what this node has published; deliver it unless earlier events of other nodes are missing."""
        if epoch != self.epoch:
            self.synchronise()
        elif self._is_synchronised and not self._reads.is_running and publications[0].seq == self.head + 1:
            self._deliver_next(publications)
        elif publications[-1].seq > self.head:
            self._known_head = max(self._known_head, publications[-1].seq)
            self._clock.call_later(ANNOUNCEMENT_DELAY_SECONDS, self._request_read)

    def _deliver_next(self, publications: Sequence[Publication]) -> None:
        for publication in publications:
            self.history.append(publication)
            if self._state is not None and publication.seq > self._state_seq:
                self._state.apply(publication)
            if publication.event.is_mail:
                self.mail_count += 1
                if self.mail_users is not None:
                    self.mail_users.add(publication.event.user_id or "")
                    if len(self.mail_users) > MAX_MAIL_USERS:
                        self.mail_users = None
        self._last_id = publications[-1].event.event_id
        self._trim_memory(self)
        self._deliver(publications)
        if self._waiting:
            self._resolve_waiting()

    # Reading the log

    def synchronise(self) -> None:
        """Check the position of the stream, and whether it has the same history; then read what is missing."""
        self._is_synchronised = False
        self._doubts += 1
        self._request_read()

    @property
    def _is_up_to_date(self) -> bool:
        return self._is_synchronised and self._known_head <= self.head

    def _request_read(self) -> None:
        if not self._is_up_to_date:
            self._reads.request(skip_backoff=True)

    async def _read(self) -> None:
        try:
            while self._stopped is None and not self._is_up_to_date:
                if self._is_synchronised:
                    await self._read_missing()
                else:
                    await self._find_position()
        except Refusal as refusal:
            self._read_failed(refusal)
            raise
        except Exception:
            # Requests that wait must be answered.
            _log.failure("unhandled error in reading the stream of {tenant}", tenant=self.tenant_id)
            unavailable = Refusal(ErrorCode.UNAVAILABLE, "unhandled error in the gateway")
            self._read_failed(unavailable)
            raise unavailable from None

    def _read_failed(self, refusal: Refusal) -> None:
        self._is_synchronised = False
        self._refuse_waiting(refusal)

    async def _find_position(self) -> None:
        """Find the position of the stream; continue after what was delivered last if the history is the same."""
        doubts = self._doubts
        status = await self._tenant_store.stream_status(self.last_event, self.epoch)
        # An announcement that arrived meanwhile may be newer than the answer.
        self._is_synchronised = doubts == self._doubts
        if not self.epoch:
            await self._begin(status)
        elif status.epoch == self.epoch or status.valid_up_to >= self.head:
            self.epoch = status.epoch
        else:
            await self._skip_to(status.epoch, status.epoch_start)
        self._known_head = max(self._known_head, status.head)
        self._resolve_waiting()

    async def _begin(self, status: StreamStatus) -> None:
        self.history.head = 0 if self._from_the_start else status.head
        # Read after the position: later mail is among the events that will be delivered.
        self.mail_users = await self._tenant_store.mail_users(MAX_MAIL_USERS)
        self.epoch = status.epoch

    async def _read_missing(self) -> None:
        found = await self._tenant_store.read_log(self.head, READ_EVENTS)
        if found.epoch != self.epoch:
            self._is_synchronised = False
        elif found.publications and found.publications[0].seq == self.head + 1:
            self._known_head = max(self._known_head, found.head)
            self._deliver_next(found.publications)
        elif found.head > self.head:
            # The log has been trimmed beyond what was delivered last.
            await self._skip_to(self.epoch, found.head)
        else:
            # An announced position is not in the log: the history may be another.
            self._known_head = self.head
            self._is_synchronised = False

    async def _skip_to(self, epoch: str, head: int) -> None:
        """Continue after another position, and report that clients miss what lies between."""
        self.epoch = epoch
        self.history = History()
        self.history.head = head
        self._known_head = head
        self._last_id = ""
        self._state = None
        # Users may have got mail in what was skipped.
        self.mail_users = None
        self._trim_memory(self)
        self._interrupted(self.tenant_id, Position(epoch, head))
        self.mail_users = await self._tenant_store.mail_users(MAX_MAIL_USERS)

    # The state

    async def state(self) -> tuple[int, list[Publication]]:
        """Return the position of the tenant's state, which is at least the head, and its publications.

        Raises:
            Refusal: ``unavailable``.
        """
        state = await self._loaded_state()
        return max(self.head, self._state_seq), state.publications()

    async def entities(self, kind: str) -> list[tuple[EntityKey, Entity]]:
        """Return the entities of a kind, with their owners.

        Raises:
            Refusal: ``unavailable``.
        """
        entities = (await self._loaded_state()).entities(kind)
        for start in range(0, len(entities), OWNERS_PER_CALL):
            part = entities[start : start + OWNERS_PER_CALL]
            owners = await self._tenant_store.owners([key for key, _ in part])
            for (_, entity), owner in zip(part, owners, strict=True):
                entity.owner = owner
        return entities

    async def entity(self, key: EntityKey) -> Entity | None:
        """Return one entity, with its owner; raises as ``entities``."""
        entity = (await self._loaded_state()).entity(key)
        if entity is not None:
            (entity.owner,) = await self._tenant_store.owners([key])
        return entity

    async def _loaded_state(self) -> State:
        await self.wait_for(0)
        state = self._state
        while state is None:
            # The memory limit may drop the state at once; it is returned all the same.
            state = await self._state_loader.load()
        state.forget_before(self._clock.monotonic() - ENTITY_LIFETIME)
        return state

    def _state_loaded(self, state: State, seq: int) -> None:
        self._state, self._state_seq = state, seq
        self._trim_memory(self)

    def expire_state(self, now: float) -> None:
        """Remove entities from the state that are too old at this time of the monotonic clock."""
        if self._state is not None:
            self._state.forget_before(now - ENTITY_LIFETIME)

    def drop_state(self) -> None:
        """Free the memory of the state; it is read again when it is needed."""
        self._state = None
