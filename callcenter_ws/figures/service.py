"""Folds the streams of all tenants whose statistics are enabled and that no other process folds."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence

from twisted.internet.defer import Deferred, DeferredList, gatherResults
from twisted.logger import Logger

from callcenter_ws.errors import Refusal
from callcenter_ws.events.publication import Publication
from callcenter_ws.figures.fold_writer import FoldContext
from callcenter_ws.figures.holder import HolderState, PartsOf, TenantHolder
from callcenter_ws.figures.plan import CurrentPlan, Plan
from callcenter_ws.interfaces import Position
from callcenter_ws.runtime.background import Spawn, next_turn
from callcenter_ws.runtime.backoff import Backoff
from callcenter_ws.runtime.clock import Timer
from callcenter_ws.runtime.log_fields import Name
from callcenter_ws.runtime.single_flight import SingleFlight

TICK_SECONDS = 1.0

TICKED_PER_TURN = 32
"""Tenants that write and announce in one turn: without events, each takes about a tenth of a millisecond."""

CLAIMED_AT_ONCE = 100
"""Claims that are under way at the same time: a slow store answers those of thousands of tenants within the lease."""

DISCOVERY_SECONDS = 30.0
"""Seconds between two looks for tenants that no event and no setting has named."""

MAX_TENANTS = 10_000
"""Tenants that one process folds at most; those beyond have no figures, which is logged."""

STOPPED_AT_ONCE = 50
"""Folds that are stopped at the same time: each may wait some seconds for the disk of the archive."""

KnownTenants = Callable[[], Awaitable[Sequence[str]]]
"""Returns the tenants of the store that have published; empty where each event is delivered to this process."""

Follow = Callable[[str], None]

_log = Logger("callcenter_ws")


class Figures:
    """Runs the folds of this process.

    Args:
        plan: what the settings say; a reload replaces it with ``use``.
        retain, release: have the store deliver the events of a tenant, also while it has no clients.
        live_processes: returns how many processes share the store; None: only this one.
        claim_seconds: the time between two extensions of a claim, a third of the lease.
    """

    def __init__(
        self,
        context: FoldContext,
        plan: CurrentPlan,
        parts_of: PartsOf,
        spawn: Spawn,
        *,
        known_tenants: KnownTenants,
        retain: Follow,
        release: Follow,
        live_processes: Callable[[], int | None] = lambda: None,
        claim_seconds: float = 3.0,
    ) -> None:
        self.counters = context.counters
        self._context = context
        self._clock = context.clock
        self._plan = plan
        self._parts_of = parts_of
        self._spawn = spawn
        self._known_tenants = known_tenants
        self._retain, self._release = retain, release
        self._live_processes = live_processes
        self._claim_seconds = claim_seconds
        self._holders: dict[str, TenantHolder] = {}
        self._timer: Timer | None = None
        self._claims = SingleFlight(self._claim_all, self._clock, spawn)
        self._discovery = SingleFlight(self._discover, self._clock, spawn, backoff=Backoff(0.5, DISCOVERY_SECONDS))
        self._changes = SingleFlight(self._apply_plan, self._clock, spawn, delay=0)
        # By tenant, the former holders whose settings changed: the next one begins when they have stopped.
        self._outdated: dict[str, TenantHolder] = {}
        self._removed: set[str] = set()
        # Of the tenants without a claim, how many the last round came past before its time was over.
        self._sought = 0
        self._ticks = 0
        # Tenants whose tick of this second is due.
        self._due: deque[TenantHolder] = deque()
        self._is_full = False

    # From the store

    def deliver(self, publications: Sequence[Publication]) -> None:
        """Accept publications of one tenant, in order of ``seq``; they are folded in a later turn."""
        tenant_id = publications[0].event.tenant_id
        holder = self._holders.get(tenant_id)
        if holder is not None:
            holder.offer(publications)
        elif self._timer is not None and self._plan.is_enabled(tenant_id):
            self._add(tenant_id)

    def interrupted(self, tenant_id: str, _position: Position) -> None:
        """Compare a tenant's fold with its stream: deliveries go on after another position."""
        holder = self._holders.get(tenant_id)
        if holder is not None:
            holder.interrupted()

    # For /ws/stats

    def state_of(self, tenant_id: str) -> dict[str, object] | None:
        """Return what this process does with the statistics of a tenant; None: they are not enabled."""
        if not self._plan.is_enabled(tenant_id):
            return None
        holder = self._holders.get(tenant_id)
        position = None if holder is None else holder.position
        return {
            "state": HolderState.WAITING if holder is None else holder.state,
            "epoch": None if position is None else position.epoch,
            "seq": None if position is None else position.seq,
            "behind": 0 if holder is None else holder.behind,
        }

    def state(self) -> dict[str, object]:
        """Return how many tenants are in each state in this process, and how many events it is behind."""
        states = Counter(holder.state for holder in self._holders.values())
        return {
            "tenants": {state: states[state] for state in HolderState},
            "behind": sum(holder.behind for holder in self._holders.values()),
        }

    # Life

    def start(self) -> None:
        """Begin to fold, after the store was opened."""
        self._timer = self._clock.call_later(TICK_SECONDS, self._tick)
        self._discovery.request()

    async def stop(self) -> None:
        """Write what changed and give all tenants back; the store is closed after this."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._due.clear()
        await self._changes.stopped()
        await self._discovery.stopped()
        await self._claims.stopped()
        await _stop_all([*self._outdated.values(), *self._holders.values()])
        self._outdated.clear()
        self._holders.clear()

    def use(self, plan: Plan) -> None:
        """Use another plan from now on. Folds whose settings changed are written and begun again."""
        former, self._plan.plan = self._plan.plan, plan
        for tenant_id, holder in list(self._holders.items()):
            if plan.of(tenant_id) != former.of(tenant_id) or plan.archive_folder != former.archive_folder:
                del self._holders[tenant_id]
                self._outdated[tenant_id] = holder
        self._changes.request()

    async def _apply_plan(self) -> None:
        self._removed.clear()
        while self._outdated:
            stopping = list(self._outdated.values())
            await _stop_all(stopping)
            for holder in stopping:
                del self._outdated[holder.tenant_id]
                self._add(holder.tenant_id)
                self._release(holder.tenant_id)
        await self._discover()

    # Tenants

    def _add(self, tenant_id: str) -> None:
        plan = self._plan.plan.of(tenant_id)
        if plan is None or tenant_id in self._holders or tenant_id in self._outdated:
            return
        if len(self._holders) >= MAX_TENANTS:
            if not self._is_full:
                self._is_full = True
                _log.error(
                    "more than {limit} tenants have statistics: {tenant} has none",
                    limit=MAX_TENANTS,
                    tenant=Name(tenant_id),
                )
            return
        holder = TenantHolder(self._context, tenant_id, plan, self._parts_of, self._spawn)
        self._holders[tenant_id] = holder
        self._retain(tenant_id)
        self._claims.request()

    async def _discover(self) -> None:
        """Find tenants to fold; end the figures of those whose statistics were switched off."""
        plan, store = self._plan.plan, self._context.store
        stored = set(await store.tenants())
        names = stored | {name for name in plan.tenants if name} | set(await self._known_tenants())
        for tenant_id in sorted(names):
            if plan.is_enabled(tenant_id):
                self._add(tenant_id)
            elif tenant_id in stored and tenant_id not in self._removed and tenant_id not in self._outdated:
                await store.remove_live(tenant_id)
                self._removed.add(tenant_id)

    def _tick(self) -> None:
        self._timer = self._clock.call_later(TICK_SECONDS, self._tick)
        self._ticks += 1
        # Where there are more than a second has turns for, each has its turn some seconds late.
        if not self._due:
            self._due.extend(self._holders.values())
            self._tick_some()
        self.counters.behind = sum(holder.behind for holder in self._holders.values())
        if not self._ticks % max(1, round(self._claim_seconds)):
            self._claims.request()
        if not self._ticks % round(DISCOVERY_SECONDS):
            self._discovery.request()

    def _tick_some(self) -> None:
        """Tick some tenants in this turn, and the others in the next ones."""
        for _ in range(min(TICKED_PER_TURN, len(self._due))):
            self._due.popleft().tick()
        if self._due:
            self._clock.call_later(0, self._tick_some)

    async def _claim_all(self) -> None:
        """Extend the claims of this process, and take tenants that no process folds, but no more than its share.

        After a refusal, the next round may reach the store; until then it refuses what is written under an old claim.
        """
        began = self._clock.monotonic()
        own = [holder for holder in self._holders.values() if holder.is_held]
        for begin in range(0, len(own), CLAIMED_AT_ONCE):
            if not await self._claim_some(own[begin : begin + CLAIMED_AT_ONCE]):
                return
        holders = list(self._holders.values())
        share = -(-len(holders) // (self._live_processes() or 1)) + 1
        others = [holder for holder in holders if not holder.is_held]
        held = len(holders) - len(others)
        first = self._sought if self._sought < len(others) else 0
        others = others[first:] + others[:first]
        self._sought = tried = 0
        while tried < len(others) and held < share:
            if tried and self._clock.monotonic() >= began + self._claim_seconds:
                # The claims of this process are due again. The next round goes on here.
                self._sought = (first + tried) % len(others)
                return
            some = others[tried : tried + min(CLAIMED_AT_ONCE, share - held)]
            if not await self._claim_some(some):
                return
            tried += len(some)
            held += sum(holder.is_held for holder in some)

    async def _claim_some(self, holders: Sequence[TenantHolder]) -> bool:
        """Claim tenants at the same time; return whether the store answered all of it."""
        answered = await gatherResults([Deferred.fromCoroutine(_claim(holder)) for holder in holders])
        # Where one process has the store, each claim is granted without waiting.
        await next_turn(self._clock)
        return all(answered)


async def _claim(holder: TenantHolder) -> bool:
    """Claim a tenant; return whether the store answered. An error does not keep the others from being claimed."""
    try:
        await holder.claim()
    except Refusal:
        return False
    except Exception:
        _log.failure("unhandled error in the statistics of tenant {tenant}", tenant=Name(holder.tenant_id))
    return True


async def _stop_all(holders: Sequence[TenantHolder]) -> None:
    """Stop holders, some at a time; an error in one does not keep the others from writing."""
    for begin in range(0, len(holders), STOPPED_AT_ONCE):
        await DeferredList([Deferred.fromCoroutine(_stop(one)) for one in holders[begin : begin + STOPPED_AT_ONCE]])


async def _stop(holder: TenantHolder) -> None:
    try:
        await holder.stop()
    except Exception:
        _log.failure("unhandled error in the statistics of tenant {tenant}", tenant=Name(holder.tenant_id))
