"""Follower: one tenant's stream as this node delivers it, without holes.

What is announced is a hint, the log is the truth. An announcement that follows upon what was delivered is delivered
as it is; of any other it is only taken that there is something to be read.
"""

from __future__ import annotations

import builtins
from collections.abc import Awaitable, Callable, Sequence

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from callcenter_ws.broker.history import History
from callcenter_ws.broker.redis.codec import publications_in
from callcenter_ws.broker.redis.tenant_store import StreamStatus, TenantStore
from callcenter_ws.broker.state import ENTITY_LIFETIME, State
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.publication import Publication
from callcenter_ws.interfaces import Deliver, Interrupted, Position
from callcenter_ws.runtime.background import Spawn
from callcenter_ws.runtime.clock import Clock, Timer

CHUNK_EVENTS = 500
MAX_MAIL_USERS = 50_000
"""Users of one tenant of whom it is known here that they may have mail."""

PATIENCE = 0.05
"""Seconds for which an announcement may be late before the log is read instead."""

PAGE_EVENTS = 200
"""Events of a state that are asked for at once."""

RETRY = 1.0

_log = Logger("callcenter_ws.broker")


class Follower:
    """Follows one tenant.

    Args:
        keep: lets go of what memory should not hold, after something was taken in.
        from_the_start: deliver all there ever was, and not only what comes.

    Attributes:
        epoch: of the history; empty until the stream was found.
        history: the end of the stream as far as it is in memory; its head is what was delivered last.
        mail_users: who may have mail; None: too many, or not known.
        letters: how many messages for mailboxes were delivered.
    """

    def __init__(
        self,
        tenant_store: TenantStore,
        clock: Clock,
        spawn: Spawn,
        deliver: Deliver,
        interrupted: Interrupted,
        keep: Callable[[Follower], None],
        *,
        from_the_start: bool = False,
    ) -> None:
        self._tenant_store = tenant_store
        self._clock = clock
        self._spawn = spawn
        self._deliver = deliver
        self._interrupted = interrupted
        self._keep = keep
        self._from_the_start = from_the_start
        self.tenant_id = tenant_store.tenant_id
        self.epoch = ""
        self.history = History()
        self.mail_users: set[str] | None = None
        self.items = 0
        self.counted = 0
        self._state: State | None = None
        self._state_seq = 0
        self._loading: list[Deferred[State | None]] | None = None
        self._last_id = ""
        self._hinted = 0
        self._doubts = 0
        self._is_current = False
        self._is_reading = False
        self._waiting: list[tuple[int, Deferred[None]]] = []
        self._retry: Timer | None = None
        self._stopped: Refusal | None = None

    @property
    def head(self) -> int:
        """The position that was delivered last."""
        return self.history.head

    @property
    def bytes(self) -> int:
        """Of all messages in memory; one that is in the history and in the state counts twice."""
        return self.history.bytes + (0 if self._state is None else self._state.bytes)

    @property
    def known(self) -> tuple[str, int, str]:
        """The last event that is known here: epoch, position, identifier."""
        return self.epoch, self.head, self._last_id

    def stop(self, refusal: Refusal) -> None:
        """Nobody is interested any more."""
        self._stopped = refusal
        if self._retry is not None:
            self._retry.cancel()
        self._refuse(refusal)

    def _refuse(self, refusal: Refusal) -> None:
        waiting, self._waiting = self._waiting, []
        for _, answer in waiting:
            answer.errback(refusal.anew())

    # Where it stands

    def reaches(self, seq: int) -> Awaitable[None]:
        """Wait until everything up to a position was delivered; 0 waits until the stream was found.

        Raises:
            Refusal: ``unavailable``.
        """
        answer: Deferred[None] = Deferred()
        if self.epoch and self.head >= seq:
            answer.callback(None)
        elif self._stopped is not None:
            answer.errback(self._stopped.anew())
        else:
            self._waiting.append((seq, answer))
            self._hinted = max(self._hinted, seq)
            self._go_on()
        return answer

    async def settles(self) -> None:
        """See which history it is, and wait for that.

        Raises:
            Refusal: ``unavailable``.
        """
        if self._stopped is not None:
            raise self._stopped.anew()
        answer: Deferred[None] = Deferred()
        self._waiting.append((0, answer))
        self.synchronise()
        await answer

    def _tell_waiting(self) -> None:
        ready = [answer for seq, answer in self._waiting if seq <= self.head]
        self._waiting = [(seq, answer) for seq, answer in self._waiting if seq > self.head]
        for answer in ready:
            answer.callback(None)

    # What comes

    def announced(self, epoch: str, first: int, last: int, text: builtins.bytes) -> None:
        """Take an announcement: positions, and the lines of the events if they are in it."""
        if epoch != self.epoch:
            self.synchronise()
        elif last > self.head:
            self._hinted = max(self._hinted, last)
            if self._is_current and not self._is_reading and text and first <= self.head + 1:
                found = publications_in(text, self.tenant_id, self._tenant_store.clock_offset)
                self._take([publication for publication in found if publication.seq > self.head])
            else:
                self._go_on()

    def published(self, epoch: str, publications: Sequence[Publication]) -> None:
        """Take what this node has published, unless others' events that come before it are not here yet."""
        if epoch != self.epoch:
            self.synchronise()
        elif self._is_current and not self._is_reading and publications[0].seq == self.head + 1:
            self._take(publications)
        elif publications[-1].seq > self.head:
            self._hinted = max(self._hinted, publications[-1].seq)
            self._clock.call_later(PATIENCE, self._go_on)

    def _take(self, publications: Sequence[Publication]) -> None:
        for publication in publications:
            self.history.append(publication)
            if self._state is not None and publication.seq > self._state_seq:
                self._state.apply(publication)
            if publication.event.is_mail:
                self.items += 1
                if self.mail_users is not None:
                    self.mail_users.add(publication.event.user_id or "")
                    if len(self.mail_users) > MAX_MAIL_USERS:
                        self.mail_users = None
        self._last_id = publications[-1].event.event_id
        self._keep(self)
        self._deliver(publications)
        if self._waiting:
            self._tell_waiting()

    # Reading the log

    def synchronise(self) -> None:
        """See where the stream stands, and whether it is still the same; then read what is missing."""
        self._is_current = False
        self._doubts += 1
        self._go_on()

    def _go_on(self) -> None:
        if self._is_reading or self._stopped or (self._is_current and self._hinted <= self.head):
            return
        self._is_reading = True
        self._spawn(self._read())

    async def _read(self) -> None:
        try:
            while not self._stopped and not (self._is_current and self._hinted <= self.head):
                if self._is_current:
                    await self._read_on()
                else:
                    await self._find_position()
        except Refusal as refusal:
            self._read_later(refusal)
        except Exception:
            # Nobody is to wait for ever for an answer.
            _log.failure("reading the stream of {tenant} met a bug", tenant=self.tenant_id)
            self._read_later(Refusal(ErrorCode.UNAVAILABLE, "the gateway has met a bug"))
        finally:
            self._is_reading = False

    def _read_later(self, refusal: Refusal) -> None:
        self._is_current = False
        self._refuse(refusal)
        if self._retry is not None:
            self._retry.cancel()
        if self._stopped is None:
            self._retry = self._clock.call_later(RETRY, self._go_on)

    async def _find_position(self) -> None:
        """Find where the stream stands, and go on from where it was left if that can be done."""
        doubts = self._doubts
        standing = await self._tenant_store.standing(self.known, self.epoch)
        # What was heard meanwhile may be newer than the answer.
        self._is_current = doubts == self._doubts
        if not self.epoch:
            await self._begin(standing)
        elif standing.epoch == self.epoch or standing.good_up_to >= self.head:
            self.epoch = standing.epoch
        else:
            await self._leap(standing.epoch, standing.begun)
        self._hinted = max(self._hinted, standing.head)
        self._tell_waiting()

    async def _begin(self, standing: StreamStatus) -> None:
        self.history.head = 0 if self._from_the_start else standing.head
        # Asked for behind the position: who gets mail from now on is among the messages.
        self.mail_users = await self._tenant_store.mail_users(MAX_MAIL_USERS)
        self.epoch = standing.epoch

    async def _read_on(self) -> None:
        stretch = await self._tenant_store.stretch(self.head, CHUNK_EVENTS)
        if stretch.epoch != self.epoch:
            self._is_current = False
        elif stretch.publications and stretch.publications[0].seq == self.head + 1:
            self._hinted = max(self._hinted, stretch.head)
            self._take(stretch.publications)
        elif stretch.head > self.head:
            # More was missed than the log holds.
            await self._leap(self.epoch, stretch.head)
        else:
            # What was hinted at is not there: is it another history?
            self._hinted = self.head
            self._is_current = False

    async def _leap(self, epoch: str, head: int) -> None:
        """Go on from another position: what lies between is lost to the clients here, who have to be told."""
        self.epoch = epoch
        self.history = History()
        self.history.head = head
        self._hinted = head
        self._last_id = ""
        self._state = None
        # Who got mail meanwhile is not known.
        self.mail_users = None
        self._keep(self)
        self._interrupted(self.tenant_id, Position(epoch, head))
        self.mail_users = await self._tenant_store.mail_users(MAX_MAIL_USERS)

    # The state

    async def state(self) -> tuple[int, list[Publication]]:
        """Return the tenant's state and its position, which is that of the stream or beyond.

        Raises:
            Refusal: ``unavailable``.
        """
        await self.reaches(0)
        state = self._state
        while state is None:
            # Memory may have no room for it: whoever asks gets it all the same.
            state = await self._load()
        state.forget_before(self._clock.monotonic() - ENTITY_LIFETIME)
        return max(self.head, self._state_seq), state.publications()

    def age(self, now: float) -> None:
        """Forget what is too old by the monotonic clock, but for the history."""
        if self._state is not None:
            self._state.forget_before(now - ENTITY_LIFETIME)

    def forget_state(self) -> None:
        """Make room: it is read again when somebody asks for it."""
        self._state = None

    async def _load(self) -> State | None:
        """Read the state; those who ask meanwhile wait for the same. None: once more."""
        if self._loading is not None:
            waiting: Deferred[State | None] = Deferred()
            self._loading.append(waiting)
            return await waiting
        self._loading = []
        try:
            state = await self._load_now()
        except BaseException as error:
            loading, self._loading = self._loading, None
            for waiting in loading:
                waiting.errback(error.anew() if isinstance(error, Refusal) else error)
            raise
        loading, self._loading = self._loading, None
        for waiting in loading:
            waiting.callback(state)
        return state

    async def _load_now(self) -> State | None:
        epoch, seq, places = await self._tenant_store.state_places(self.known)
        publications: list[Publication] = []
        head = seq
        while places and epoch == self.epoch:
            page = await self._tenant_store.state_page(places[:PAGE_EVENTS])
            publications += page.publications
            del places[: page.taken]
            epoch, head = page.epoch, page.head
        if epoch != self.epoch:
            await self.settles()
            return None
        state = State()
        for publication in sorted(publications, key=lambda publication: publication.seq):
            state.restore(publication)
        # What has changed while the pages were read: with it the state is right again.
        await self.reaches(head)
        return await self._bring_up(state, seq, epoch)

    async def _bring_up(self, state: State, seq: int, epoch: str) -> State | None:
        """Apply to a state what has come since a position; None: that cannot be done."""
        while seq < self.history.floor and epoch == self.epoch:
            # Memory has let it go.
            stretch = await self._tenant_store.stretch(seq, CHUNK_EVENTS)
            if not stretch.publications or stretch.publications[0].seq != seq + 1:
                return None
            for publication in stretch.publications:
                state.apply(publication)
            seq = stretch.publications[-1].seq
        if epoch != self.epoch:
            return None
        for publication in self.history.after(seq, self.head - seq) if seq < self.head else ():
            state.apply(publication)
        self._state, self._state_seq = state, max(seq, self.head)
        self._keep(self)
        return state
