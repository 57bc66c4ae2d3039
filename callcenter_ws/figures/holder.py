"""Holds one tenant: claims it, folds it while the claim is held, and begins again when it was taken away."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum

import msgspec
from twisted.logger import Logger

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.publication import Publication
from callcenter_ws.figures.fold_writer import Deposed, FoldContext
from callcenter_ws.figures.plan import TenantPlan
from callcenter_ws.figures.seen import SeenStream
from callcenter_ws.figures.tenant_fold import TenantFold
from callcenter_ws.runtime.background import Spawn
from callcenter_ws.runtime.backoff import Backoff
from callcenter_ws.runtime.log_fields import Name
from callcenter_ws.runtime.single_flight import SingleFlight
from callcenter_ws.statistics.checkpoint import UnknownVersion
from callcenter_ws.statistics.store import FigurePosition, FoldedPart

PartsOf = Callable[[str, TenantPlan], Sequence[FoldedPart]]
"""Makes the further parts of a tenant's fold."""

_log = Logger("callcenter_ws")


class HolderState(StrEnum):
    """What a process does with the statistics of a tenant.

    ``WAITING``: it has no claim; another process derives them, or the store cannot be reached. ``CATCHING_UP``: it
    folds events that were published before it began. ``CURRENT``: it folds events as they are published.
    ``UNREADABLE``: the rows in the store cannot be read; the log has the reason.
    """

    WAITING = "waiting"
    CATCHING_UP = "catching_up"
    CURRENT = "current"
    UNREADABLE = "unreadable"


class TenantHolder:
    """Claims and folds one tenant.

    Args:
        parts_of: makes the further parts of the fold, each time that it is begun.
    """

    def __init__(self, context: FoldContext, tenant_id: str, plan: TenantPlan, parts_of: PartsOf, spawn: Spawn) -> None:
        self.tenant_id = tenant_id
        self._context = context
        self._plan = plan
        self._parts_of = parts_of
        self._seen = SeenStream()
        self._fold: TenantFold | None = None
        self._is_loaded = False
        self._is_due = False
        self._is_unreadable = False
        self._is_stopped = False
        self._fence: int | None = None
        self._flight = SingleFlight(self._work, context.clock, spawn, backoff=Backoff(0.2, 10), delay=0)

    @property
    def is_held(self) -> bool:
        """Whether this process holds the tenant, as far as it knows."""
        return self._fence is not None

    @property
    def behind(self) -> int:
        """The publications that are known and not folded."""
        return 0 if self._fold is None else self._fold.behind

    @property
    def state(self) -> HolderState:
        """What becomes of the statistics in this process."""
        if self._is_unreadable:
            return HolderState.UNREADABLE
        if self._fence is None:
            return HolderState.WAITING
        return HolderState.CURRENT if self._fold is not None and self._fold.is_current else HolderState.CATCHING_UP

    @property
    def position(self) -> FigurePosition | None:
        """The position up to which events are folded; None: nothing is loaded."""
        return None if self._fold is None or not self._is_loaded else self._fold.position

    def offer(self, publications: Sequence[Publication]) -> None:
        """Accept publications in order of ``seq``; they are folded in a later turn."""
        self._seen.note(publications)
        if self._fold is not None:
            self._fold.offer(publications)
            self._flight.request()

    def interrupted(self) -> None:
        """Compare the position of the fold with the stream: deliveries were interrupted."""
        if self._fold is not None:
            self._fold.interrupted()
            self._flight.request()

    def tick(self) -> None:
        """Write and announce what changed; called once a second."""
        self._is_due = True
        if self._fold is not None:
            self._flight.request()

    async def claim(self) -> None:
        """Take the tenant, or extend the claim.

        Raises:
            Refusal: the store cannot be reached. A fold goes on: what it writes is checked by the store.
        """
        if not self._may_claim():
            return
        claim = await self._context.store.claim(self.tenant_id)
        if not self._may_claim():
            # It was given back while this claim was under way.
            if claim.is_held:
                await self._context.store.release(self.tenant_id, claim.fence)
            return
        fence = claim.fence if claim.is_held else None
        if fence != self._fence:
            if self._fence is not None:
                self._context.counters.deposed += 1
            self._fence = fence
            self._flight.request()

    def _may_claim(self) -> bool:
        return not self._is_stopped and not self._is_unreadable

    async def _work(self) -> None:
        fold = self._fold
        if fold is not None and (self._fence is None or fold.fence != self._fence):
            await self._drop()
        if self._fence is None or self._is_unreadable:
            return
        try:
            await self._advance(self._fence)
        except Deposed:
            _log.info("the statistics of tenant {tenant} are loaded again", tenant=Name(self.tenant_id))
            await self._drop()
            await self.claim()
            raise Refusal(ErrorCode.UNAVAILABLE, "the statistics are loaded again") from None
        except Refusal:
            raise
        except (UnknownVersion, msgspec.DecodeError) as error:
            self._is_unreadable = True
            await self._drop()
            _log.critical(
                "the statistics of tenant {tenant} cannot be read, and are not continued: {reason}",
                tenant=Name(self.tenant_id),
                reason=str(error),
            )
            # Another process may be of the version that can read them.
            await self._give_back()
        except Exception:
            # A bug: the state may be half changed. It is loaded again, after the delay of a failure.
            _log.failure("unhandled error in the statistics of tenant {tenant}", tenant=Name(self.tenant_id))
            await self._drop()
            raise Refusal(ErrorCode.UNAVAILABLE, "the statistics are loaded again") from None

    async def _advance(self, fence: int) -> None:
        if self._fold is None:
            parts = self._parts_of(self.tenant_id, self._plan)
            self._fold = TenantFold(self._context, self.tenant_id, self._plan, parts, fence)
            self._is_loaded = False
        if not self._is_loaded:
            await self._fold.load(self._seen)
            self._is_loaded = True
            self._context.counters.held += 1
        await self._fold.advance(lambda: self._is_due)
        if self._is_due:
            self._is_due = False
            await self._fold.tick()
            if self._fold.behind:
                self._flight.request()

    async def _drop(self) -> None:
        fold, self._fold = self._fold, None
        if fold is not None:
            if self._is_loaded:
                self._context.counters.held -= 1
            self._is_loaded = False
            await fold.drop()

    async def stop(self) -> None:
        """Write what changed, and give the tenant back; what cannot be written is folded again from the log."""
        self._is_stopped = True
        if self._fold is not None:
            self._fold.end()
        await self._flight.stopped()
        if self._fold is not None and self._is_loaded:
            fold, self._fold = self._fold, None
            self._context.counters.held -= 1
            await fold.stop()
        await self._drop()
        await self._give_back()

    async def _give_back(self) -> None:
        fence, self._fence = self._fence, None
        if fence is not None:
            try:
                await self._context.store.release(self.tenant_id, fence)
            except Refusal:
                _log.info("the claim of tenant {tenant} ends by itself", tenant=Name(self.tenant_id))
