"""StateLoader: reads a tenant's state from Redis while the stream is being delivered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from operator import attrgetter
from typing import Protocol

from twisted.internet.defer import Deferred

from callcenter_ws.broker.history import History
from callcenter_ws.broker.redis.tenant_store import KnownEvent, TenantStore
from callcenter_ws.broker.state import State
from callcenter_ws.errors import Refusal
from callcenter_ws.events.publication import Publication
from callcenter_ws.runtime.slicer import Slicer

STATE_PAGE_EVENTS = 200
"""Events of the state per call of a script."""

EVENTS_PER_STEP = 200
"""Events of the state that are restored in one step."""

READ_EVENTS = 500
"""Events of the log per call of a script."""


class FollowedStream(Protocol):
    """The tenant's stream as far as this node has delivered it."""

    epoch: str
    history: History

    @property
    def head(self) -> int:
        """The position that was delivered last."""

    @property
    def last_event(self) -> KnownEvent:
        """The event that was delivered last."""

    def wait_for(self, seq: int) -> Awaitable[None]:
        """Wait until everything up to a position has been delivered."""

    def confirm_history(self) -> Awaitable[None]:
        """Wait until it has been checked whether the stream still has this history."""


class StateLoader:
    """Reads the state of a tenant in pages, then applies what the stream has delivered meanwhile.

    Args:
        on_loaded: called with the state and its position, before those who wait for it are.
    """

    def __init__(
        self, stream: FollowedStream, tenant_store: TenantStore, on_loaded: Callable[[State, int], None]
    ) -> None:
        self._stream = stream
        self._tenant_store = tenant_store
        self._on_loaded = on_loaded
        # Requests that wait for the read under way; None: there is none.
        self._waiting: list[Deferred[State | None]] | None = None

    async def load(self) -> State | None:
        """Return the state, or None if it has to be loaded again. Requests at the same time share one read.

        Raises:
            Refusal: ``unavailable``.
        """
        if self._waiting is not None:
            answer: Deferred[State | None] = Deferred()
            self._waiting.append(answer)
            return await answer
        self._waiting = []
        try:
            state = await self._read()
        except BaseException as error:
            for answer in self._take_waiting():
                answer.errback(error.copy() if isinstance(error, Refusal) else error)
            raise
        for answer in self._take_waiting():
            answer.callback(state)
        return state

    def _take_waiting(self) -> list[Deferred[State | None]]:
        waiting, self._waiting = self._waiting or [], None
        return waiting

    async def _read(self) -> State | None:
        stream = self._stream
        epoch, seq, positions = await self._tenant_store.state_positions(stream.last_event)
        publications: list[Publication] = []
        head = seq
        while positions and epoch == stream.epoch:
            page = await self._tenant_store.state_events(positions[:STATE_PAGE_EVENTS])
            publications += page.publications
            del positions[: page.positions_read]
            epoch, head = page.epoch, page.head
        if epoch != stream.epoch:
            await stream.confirm_history()
            return None
        state = State(self._tenant_store.chat_messages)
        publications.sort(key=attrgetter("seq"))
        await Slicer(self._tenant_store.clock).run(_restore(state, publications))
        # The pages are of different positions. Applying what was published meanwhile makes the state consistent.
        await stream.wait_for(head)
        return await self._catch_up(state, seq, epoch)

    async def _catch_up(self, state: State, seq: int, epoch: str) -> State | None:
        """Apply to a state what was published after ``seq``; return None if that is not possible."""
        stream = self._stream
        while seq < stream.history.floor and epoch == stream.epoch:
            # The history in memory does not reach back so far.
            found = await self._tenant_store.read_log(seq, READ_EVENTS)
            if not found.publications or found.publications[0].seq != seq + 1:
                return None
            for publication in found.publications:
                state.apply(publication)
            seq = found.publications[-1].seq
        if epoch != stream.epoch:
            return None
        for publication in stream.history.after(seq, stream.head - seq) if seq < stream.head else ():
            state.apply(publication)
        # Not before: what fills the slot of an open chat may have replaced what was read.
        state.end_restore()
        self._on_loaded(state, max(seq, stream.head))
        return state


def _restore(state: State, publications: Sequence[Publication]) -> Iterator[None]:
    """Restore a state in steps: tens of thousands of publications would take a tenth of a second."""
    for number, publication in enumerate(publications, 1):
        state.restore(publication)
        if number % EVENTS_PER_STEP == 0:
            yield
