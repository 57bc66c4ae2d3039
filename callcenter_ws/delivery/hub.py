"""The Hub: the clients of this node, and the delivery of each publication to those that may see it."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from callcenter_ws.auth.revocation import CLOCK_SKEW_SECONDS, Revocations
from callcenter_ws.delivery.counters import HubCounters, TenantCounters, add
from callcenter_ws.delivery.figure_feed import FigureFeed
from callcenter_ws.delivery.figure_feeds import FigureFeeds, announce
from callcenter_ws.delivery.group import CLIENTS_PER_SLICE, Group
from callcenter_ws.delivery.limits import Limits
from callcenter_ws.delivery.outbox import Outbox, join
from callcenter_ws.delivery.outgoing import OutgoingBytes
from callcenter_ws.delivery.prepared_views import PreparedViews, max_prepared_bytes
from callcenter_ws.delivery.replay_cache import ReplayCache
from callcenter_ws.delivery.snapshot_parts import PartCache
from callcenter_ws.delivery.subscriber import SessionState, Subscriber
from callcenter_ws.delivery.tenant import Tenant
from callcenter_ws.errors import CLOSES, CloseCode, ErrorCode, Refusal
from callcenter_ws.events.principal import EVERY_TENANT, Principal, Role
from callcenter_ws.events.publication import Publication
from callcenter_ws.events.visibility import AgentCalls, AgentChats
from callcenter_ws.interfaces import Broker, ConnectionLog, Position, PresenceTracker, PublicationListener
from callcenter_ws.runtime.background import Spawn
from callcenter_ws.runtime.clock import Clock
from callcenter_ws.runtime.few_at_a_time import FewAtATime
from callcenter_ws.runtime.json import JsonObject
from callcenter_ws.runtime.slicer import Slicer
from callcenter_ws.statistics.store import FigurePolicy, FigureStore, LiveFigure

MAX_UNDELIVERED_BURSTS = 32
"""Bursts that wait to be delivered. Beyond that several are delivered in each turn, which slows the publishers down."""

CLOSED_AT_ONCE = 50
"""Clients that are closed in one turn; of more, the rest is closed in slices."""

CLOSED_PER_STEP = 5
"""Clients that are closed in one step of a slice."""

CHANGED_PER_STEP = 5
"""Agents that follow another policy, and are sent a reset, in one step of a slice."""

RESIZED_PER_STEP = 500
"""Clients whose outboxes are resized in one step."""

MAX_IDLE_TENANTS = 1_000
"""Tenants without clients whose counters are kept apart; beyond that they are added to those of former tenants."""


class Hub:
    """The clients of this node, by tenant.

    Args:
        presence: is called when clients are registered and unregistered.
        log: receives unhandled errors: one in a client or a listener must not affect the others.
        spawn: runs a coroutine in the background.
        agent_calls, agent_chats: the policy for agents (``events.visibility``).
        burst: publications after which the outboxes are written without waiting for the end of the turn, so that a
            large batch does not make healthy clients overflow.
        iat_tolerance: seconds by which the ``iat`` of an accepted token may lie in the future (``auth.revocation``).
        observe_latency: called with the seconds from accepting an event to passing it to the sockets.
    """

    def __init__(
        self,
        broker: Broker,
        presence: PresenceTracker,
        clock: Clock,
        log: ConnectionLog,
        *,
        limits: Limits,
        spawn: Spawn,
        agent_calls: AgentCalls = "all",
        agent_chats: AgentChats = "own",
        burst: int = 128,
        iat_tolerance: float = CLOCK_SKEW_SECONDS,
        observe_latency: Callable[[float], object] = lambda seconds: None,
    ) -> None:
        self.broker = broker
        self.clock = clock
        self.log = log
        self.limits = limits
        self.spawn = spawn
        self._presence = presence
        self._agent_calls = agent_calls
        self._agent_chats = agent_chats
        self._burst = burst
        self._observe_latency = observe_latency
        self._tenants: dict[str, Tenant] = {}
        # Tenants without clients, the longest idle first.
        self._idle: OrderedDict[str, Tenant] = OrderedDict()
        self._former = TenantCounters()
        self._dirty: list[Outbox] = []
        self._pending: list[Group] = []
        self._writing: Iterator[None] | None = None
        self._flush_is_scheduled = False
        self._accepted_at: list[float] = []
        # What was committed in large batches, one burst in each turn.
        self._undelivered: deque[Sequence[Publication]] = deque()
        self._delivery_is_scheduled = False
        self._listeners: dict[PublicationListener, str] = {}
        self._interests: dict[str, int] = {}
        self._is_draining = False
        self.revocations = Revocations(iat_tolerance, clock.time)
        self.replays = ReplayCache(clock)
        self.slicer = Slicer(clock)
        self._view_preparation = FewAtATime(self.slicer, "snapshots")
        self._snapshot_parts = PartCache(clock)
        self._prepared_views = PreparedViews(max_prepared_bytes(limits.outgoing_bytes))
        self.outgoing = OutgoingBytes(clock, self.slicer, limits.outgoing_bytes, self._count_limit_exceeded)
        self.outgoing.others.append(lambda: self._prepared_views.bytes)
        self.counters = HubCounters()
        # Which commands a client may issue, for its welcome; None: none.
        self.offered_commands: Callable[[Principal], JsonObject | None] = lambda principal: None
        self._figures = FigureFeeds(clock, self.slicer, spawn)

    # Delivery

    def deliver(self, publications: Sequence[Publication]) -> None:
        """Deliver publications of one tenant, durable and in ``seq`` order, to the clients that may see them.

        More than a burst is delivered in slices, and then everything that follows too.
        """
        if self._undelivered or len(publications) > self._burst:
            self._deliver_later(publications)
        else:
            self._deliver(publications)

    def _deliver_later(self, publications: Sequence[Publication]) -> None:
        for begin in range(0, len(publications), self._burst):
            self._undelivered.append(publications[begin : begin + self._burst])
        self._schedule_delivery()

    def _schedule_delivery(self) -> None:
        if self._undelivered and not self._delivery_is_scheduled:
            self._delivery_is_scheduled = True
            self.clock.call_later(0, self._deliver_slice)

    def _deliver_slice(self) -> None:
        """Deliver a burst, once the one before it has been written; more when the publishers are faster than this."""
        self._delivery_is_scheduled = False
        bursts = len(self._undelivered)
        if not self._flush_is_scheduled or bursts > MAX_UNDELIVERED_BURSTS:
            for _ in range(min(bursts, 1 + bursts // MAX_UNDELIVERED_BURSTS)):
                self._deliver(self._undelivered.popleft())
        self._schedule_delivery()

    def _deliver(self, publications: Sequence[Publication]) -> None:
        tenant = self._tenants.get(publications[0].event.tenant_id)
        if tenant is not None:
            at = 0
            while at < len(publications):
                burst = publications[at : at + self._burst - len(self._accepted_at)]
                at += len(burst)
                tenant.deliver(burst)
                self._accepted_at += [publication.event.received_at for publication in burst]
                if len(self._accepted_at) >= self._burst:
                    self.flush()
            if self._accepted_at:
                self._schedule_flush()
        for listener in list(self._listeners):
            try:
                for publication in publications:
                    listener(publication)
            except Exception:
                self.log.unhandled_error("a listener to publications")

    def interrupted(self, tenant_id: str, position: Position) -> None:
        """Continue a tenant's deliveries after another position; each client is sent what it missed, or a reset."""
        while self._undelivered:
            self._deliver(self._undelivered.popleft())
        tenant = self._tenants.get(tenant_id)
        if tenant is None:
            return
        clients = list(tenant.clients)
        for client in clients:
            # While the tenant's head still is the position of the live clients.
            self.attempt(client.begin_catch_up, client)
        tenant.continue_after(position.seq)
        for client in clients:
            self.attempt(partial(client.continue_after_interruption, position.epoch), client)

    # Writing

    def mark_dirty(self, outbox: Outbox) -> None:
        """Write an outbox at the end of this turn."""
        self._dirty.append(outbox)
        self._schedule_flush()

    def _mark_pending(self, group: Group) -> None:
        """Write the shared outbox of a group at the end of this turn."""
        self._pending.append(group)
        self._schedule_flush()

    def _schedule_flush(self) -> None:
        if not self._flush_is_scheduled:
            self._flush_is_scheduled = True
            self.clock.call_later(0, self._flush_slice)

    def _flush_slice(self) -> None:
        """Write to a bounded number of clients; the rest follows in the next turns."""
        self._flush_is_scheduled = False
        if self._writing is None:
            self._writing = self._write()
        try:
            next(self._writing)
        except StopIteration:
            self._writing = None
        if self._writing is not None or self._pending or self._dirty:
            self._schedule_flush()

    def flush(self) -> None:
        """Write everything that waits, at once."""
        for writing in (self._writing or (), self._write()):
            for _ in writing:
                pass
        self._writing = None

    def _write(self) -> Iterator[None]:
        """Write the outboxes of groups and clients; yields between slices of ``CLIENTS_PER_SLICE`` clients."""
        accepted_at, self._accepted_at = self._accepted_at, []
        pending, self._pending = self._pending, []
        written = 0
        for group in pending:
            if written >= CLIENTS_PER_SLICE:
                yield
                written = 0
            written += len(group)
            try:
                count = yield from group.transmit(self._write_failed)
            except Exception:
                self.log.unhandled_error(f"writing to clients of {group.tenant_id}")
                group.abort_transmission(self._attempt_to_abandon)
                continue
            self.counters.delivered += count
            group.counters.delivered += count
        dirty, self._dirty = self._dirty, []
        for begin in range(0, len(dirty), CLIENTS_PER_SLICE):
            if begin:
                yield
            self._write_outboxes(dirty[begin : begin + CLIENTS_PER_SLICE])
        now = self.clock.monotonic()
        for instant in accepted_at:
            self._observe_latency(now - instant)

    def _write_outboxes(self, outboxes: list[Outbox]) -> None:
        """Write each outbox with one call; equal ones share the joined bytes."""
        previous: list[bytes] = []
        joined: bytes | None = b""
        for outbox in outboxes:
            frames = outbox.frames
            if frames != previous:
                previous, joined = frames, join(frames)
            try:
                outbox.transmit(joined)
            except Exception:
                self._write_failed(outbox)

    def _write_failed(self, outbox: Outbox) -> None:
        """Log the exception being handled, which is a bug, and abandon the client."""
        self.log.unhandled_error(f"writing to {outbox}")
        self._attempt_to_abandon(outbox)

    def _attempt_to_abandon(self, outbox: Outbox) -> None:
        self.attempt(outbox.abandon, outbox)

    # Who is connected

    def register(self, client: Subscriber) -> Tenant:
        """Add a client, which is offered from now on what it may see; return its tenant."""
        principal = client.principal
        tenant = self._tenants.get(principal.tenant_id)
        if tenant is None:
            tenant = self._activate(principal.tenant_id)
        tenant.add(client)
        self.counters.opened += 1
        add(self.counters.connections_by, (principal.role.value, client.endpoint))
        self._presence.client_registered(client)
        return tenant

    def unregister(self, client: Subscriber, tenant: Tenant, code: CloseCode) -> None:
        """Remove a client that was registered."""
        principal = client.principal
        tenant.remove(client)
        add(self.counters.closed, CLOSES[code].name)
        add(self.counters.connections_by, (principal.role.value, client.endpoint), -1)
        # While the node drains, a client that closes by itself does what it was asked for.
        is_asked = self._is_draining and code.reconnect
        self._presence.client_unregistered(client, CloseCode.DRAINING if is_asked else code)
        if not tenant.clients and self._tenants.get(tenant.tenant_id) is tenant:
            self._deactivate(tenant)

    def _activate(self, tenant_id: str) -> Tenant:
        tenant = self._idle.pop(tenant_id, None) or self._new_tenant(tenant_id)
        self._tenants[tenant_id] = tenant
        self._attach(tenant_id)
        self._figures.update(tenant, has_clients=True)
        return tenant

    # Live figures

    def use_figures(self, store: FigureStore, policy: FigurePolicy) -> None:
        """Send live figures where the policy has them; call it before clients connect, and when the policy changed."""
        self._figures.use(store, policy)
        for tenant in self._tenants.values():
            self._figures.update(tenant, has_clients=True)
        for tenant in self._idle.values():
            self._figures.update(tenant, has_clients=False)

    def announce_figures(self, tenant_id: str, changed: Sequence[LiveFigure] | None) -> None:
        """Send live figures that changed to the clients that may see them. Implements ``FiguresAnnounced``."""
        tenant = self._tenants.get(tenant_id)
        if tenant is not None:
            announce(tenant, changed)

    async def figures_to_read(self, tenant: Tenant) -> FigureFeed | None:
        """Return the figures of a tenant that may have no clients; None: it has no statistics.

        Raises:
            Refusal: the store does not answer.
        """
        return await self._figures.to_read(tenant)

    def _new_tenant(self, tenant_id: str) -> Tenant:
        policy = (self._agent_calls, self._agent_chats)
        return Tenant(
            tenant_id, *policy, self._mark_pending, self._view_preparation, self._snapshot_parts, self._prepared_views
        )

    def tenant_to_read(self, tenant_id: str) -> Tenant:
        """Return a tenant of which only the state is read, and which may have no clients."""
        tenant = self._tenants.get(tenant_id) or self._idle.get(tenant_id)
        if tenant is None:
            tenant = self._new_tenant(tenant_id)
            self._figures.update(tenant, has_clients=False)
            self._keep_idle(tenant)
        return tenant

    def _deactivate(self, tenant: Tenant) -> None:
        del self._tenants[tenant.tenant_id]
        # This node is not informed of their changes any more.
        tenant.close_figures()
        tenant.continue_after(0)
        self._keep_idle(tenant)
        self._detach(tenant.tenant_id)

    def _keep_idle(self, tenant: Tenant) -> None:
        self._idle[tenant.tenant_id] = tenant
        if len(self._idle) > MAX_IDLE_TENANTS:
            self._former.add(self._idle.popitem(last=False)[1].counters)

    def retain(self, tenant_id: str) -> None:
        """Have the broker deliver a tenant's events, also while it has no clients; each call needs a ``release``."""
        self._attach(tenant_id)

    def release(self, tenant_id: str) -> None:
        """End what ``retain`` began."""
        self._detach(tenant_id)

    def _attach(self, tenant_id: str) -> None:
        """Have the broker deliver a tenant's events, for its first client or listener."""
        add(self._interests, tenant_id)
        if self._interests[tenant_id] == 1:
            self.broker.attach(tenant_id)

    def _detach(self, tenant_id: str) -> None:
        add(self._interests, tenant_id, -1)
        if not self._interests[tenant_id]:
            del self._interests[tenant_id]
            self.broker.detach(tenant_id)

    def tenants(self) -> list[str]:
        """Return the tenants that have clients at this node."""
        return list(self._tenants)

    def connections(self, tenant_id: str | None = None) -> int:
        """Return the number of connections of the node, or of a tenant."""
        if tenant_id is None:
            return sum(self.counters.connections_by.values())
        tenant = self._tenants.get(tenant_id)
        return 0 if tenant is None else len(tenant.clients)

    def clients_of(self, principal: Principal) -> list[Subscriber]:
        """Return a user's clients; a visitor and an agent with the same id are different users."""
        tenant = self._tenants.get(principal.tenant_id)
        clients = [] if tenant is None else tenant.clients_of_user(principal.user_id)
        return [client for client in clients if client.principal.is_visitor == principal.is_visitor]

    # Closing connections of this node; for all nodes see ``interfaces.Directory``

    def begin_drain(self) -> list[Subscriber]:
        """Return all clients; from now on, those that leave count as asked to reconnect. See ``delivery.drain``."""
        self._is_draining = True
        return [client for tenant in self._tenants.values() for client in tenant.clients]

    def _close_in_slices(self, clients: list[Subscriber], close: Callable[[Subscriber], None]) -> None:
        """Close clients, the first at once."""
        for client in clients[:CLOSED_AT_ONCE]:
            self.attempt(partial(close, client), client)

        def steps() -> Iterator[None]:
            for index, client in enumerate(clients[CLOSED_AT_ONCE:], 1):
                self.attempt(partial(close, client), client)
                if index % CLOSED_PER_STEP == 0:
                    yield

        if len(clients) > CLOSED_AT_ONCE:
            self.slicer.run(steps())

    def _count_limit_exceeded(self) -> None:
        self.counters.closed_for_outgoing_bytes += 1

    def attempt(self, action: Callable[[], None], client: object) -> None:
        """Log what ``action`` raises: a bug in one client must not prevent the same for the others."""
        try:
            action()
        except Exception:
            self.log.unhandled_error(f"closing {client}")

    def disconnect_user(self, tenant_id: str, user_id: str, opened_until: str = "") -> int:
        """Close all connections of a user; return how many.

        Args:
            tenant_id: ``*``: those of a token for all tenants.
            opened_until: an identifier; only connections whose own is not greater are closed. Empty: all.
        """
        return self._close_revoked(self._opened(tenant_id, user_id, opened_until))

    def _opened(self, tenant_id: str, user_id: str, until: str) -> Iterator[Subscriber]:
        is_everywhere = tenant_id == EVERY_TENANT
        for tenant in self._tenants_named(tenant_id):
            for client in tenant.clients_of_user(user_id):
                if (client.principal.narrowed or not is_everywhere) and (not until or client.connection_id <= until):
                    yield client

    def revoke(
        self,
        tenant_id: str,
        *,
        jti: str | None = None,
        user_id: str | None = None,
        at: float | None = None,
        opened_until: str = "",
    ) -> int:
        """Refuse a token, or a user's tokens with an ``iat`` until ``at``; close connections and return how many.

        The user's connections are closed whatever their ``iat``: their tokens were issued before they connected.

        Args:
            at: Unix time in seconds; None: the cutoff for tokens issued until now (``auth.revocation``).
            opened_until: as for ``disconnect_user``; later connections are closed only if their token is revoked.

        Raises:
            Refusal: ``invalid_message`` when neither is given.
        """
        if jti is None and user_id is None:
            raise Refusal(ErrorCode.INVALID_MESSAGE, "jti or user_id: one of them is required")
        if jti is not None:
            self.revocations.revoke_token(tenant_id, jti)
        # The tables of tenants are asked: a tenant may have thousands of clients, and a daemon revokes many tokens.
        tenants = self._tenants_named(tenant_id)
        concerned = [client for tenant in tenants for client in tenant.clients_of_token(jti)] if jti is not None else []
        closing: dict[Subscriber, None] = {}
        if user_id is not None:
            cutoff = self.revocations.cutoff(self.clock.time()) if at is None else at
            self.revocations.revoke_user(tenant_id, user_id, cutoff)
            closing.update(dict.fromkeys(self._opened(tenant_id, user_id, opened_until)))
            concerned += [client for tenant in tenants for client in tenant.clients_of_user(user_id)]
        closing.update(dict.fromkeys(client for client in concerned if self._is_revoked(client)))
        return self._close_revoked(closing)

    def close_revoked(self, tenant_id: str) -> int:
        """Close the connections of a tenant, or of all (``*``), whose tokens are revoked; return how many."""
        tenants = self._tenants_named(tenant_id)
        return self._close_revoked(
            client for tenant in tenants for client in tenant.clients if self._is_revoked(client)
        )

    def _is_revoked(self, client: Subscriber) -> bool:
        try:
            self.revocations.check(client.principal)
        except Refusal:
            return True
        return False

    def _tenants_named(self, tenant_id: str) -> list[Tenant]:
        """Return the tenants in which a token for a tenant, or for all (``*``), may be in use.

        A token for all tenants is used in the tenant that its connection named.
        """
        if tenant_id == EVERY_TENANT:
            return list(self._tenants.values())
        tenant = self._tenants.get(tenant_id)
        return [] if tenant is None else [tenant]

    def _close_revoked(self, clients: Iterable[Subscriber]) -> int:
        closing = list(clients)
        self._close_in_slices(closing, lambda client: client.close(CloseCode.REVOKED))
        return len(closing)

    # Settings that change

    def change_limits(self, limits: Limits) -> None:
        """Use other limits from now on, for the outboxes of connected clients within the next turns."""
        self.limits = limits
        self.outgoing.limit = limits.outgoing_bytes
        self._prepared_views.max_bytes = max_prepared_bytes(limits.outgoing_bytes)
        # Until all are resized, not more than the smallest outbox holds.
        self._burst = min(self._burst, burst_of(limits))
        self.slicer.run(self._resize_outboxes())

    def _resize_outboxes(self) -> Iterator[None]:
        clients = [client for tenant in self._tenants.values() for client in tenant.clients]
        for index, client in enumerate(clients, 1):
            # Not a value from the beginning: the limits may have changed again.
            client.outbox.resize(self.limits.outbox)
            if index % RESIZED_PER_STEP == 0:
                yield
        self._burst = burst_of(self.limits)

    @property
    def agent_calls(self) -> AgentCalls:
        """The calls that agents see."""
        return self._agent_calls

    def agent_policy(self, role: Role) -> JsonObject | None:
        """Return which calls and chats agents see, as ``welcome`` and ``reset`` tell them; None for other roles."""
        if role is not Role.AGENT:
            return None
        return {"agent_calls": self._agent_calls, "agent_chats": self._agent_chats}

    def change_policy(self, agent_calls: AgentCalls, agent_chats: AgentChats) -> None:
        """Let agents see what another policy permits: new ones from now on, connected ones in turn, after a reset."""
        self._agent_calls, self._agent_chats = agent_calls, agent_chats
        tenants = [*self._tenants.values(), *self._idle.values()]
        for tenant in tenants:
            tenant.change_policy(agent_calls, agent_chats)
        self.slicer.run(self._update_agents(tenants))

    def _update_agents(self, tenants: list[Tenant]) -> Iterator[None]:
        for tenant in tenants:
            agents = [client for client in tenant.clients if client.principal.role is Role.AGENT]
            for index, client in enumerate(agents, 1):
                self.attempt(partial(self._update_agent, tenant, client), client)
                if index % CHANGED_PER_STEP == 0:
                    yield
            yield from tenant.end_update()

    def _update_agent(self, tenant: Tenant, client: Subscriber) -> None:
        if client.state is not SessionState.CLOSED:
            tenant.update(client)
            client.rights_changed()

    # Figures and listeners

    def stats(self, tenant_id: str | None = None) -> JsonObject:
        """Return connections and messages of one tenant, or of all with a count per tenant."""
        tenants = self._with_counters(tenant_id)
        total = lagging = 0
        by_role: dict[str, int] = {}
        by_endpoint: dict[str, int] = {}
        if tenant_id is None:
            # A node may have many clients: the counters know them.
            lagging = self.counters.lagging
            for (role, endpoint), count in self.counters.connections_by.items():
                total += count
                if count:
                    add(by_role, role, count)
                    add(by_endpoint, endpoint, count)
        for client in () if tenant_id is None else (client for tenant in tenants for client in tenant.clients):
            total += 1
            lagging += client.state is SessionState.LAGGING
            add(by_role, client.principal.role.value)
            add(by_endpoint, client.endpoint)
        connections: dict[str, object] = {"total": total, "by_role": by_role, "by_endpoint": by_endpoint}
        messages = TenantCounters()
        for tenant in tenants:
            messages.add(tenant.counters)
        if tenant_id is None:
            messages.add(self._former)
            connections["by_tenant"] = {tenant.tenant_id: len(tenant.clients) for tenant in tenants if tenant.clients}
        return {
            "connections": connections,
            "messages": {
                "received": messages.received,
                "delivered": messages.delivered,
                "dropped": messages.dropped,
            },
            "lagging": lagging,
        }

    def _with_counters(self, tenant_id: str | None) -> list[Tenant]:
        if tenant_id is None:
            return [*self._tenants.values(), *self._idle.values()]
        tenant = self._tenants.get(tenant_id) or self._idle.get(tenant_id)
        return [] if tenant is None else [tenant]

    def listen(self, listener: PublicationListener, tenant_id: str = EVERY_TENANT) -> None:
        """Pass every delivered publication of a tenant, or of all, to ``listener`` from now on; possibly others too."""
        if listener not in self._listeners:
            self._listeners[listener] = tenant_id
            self._attach(tenant_id)

    def unlisten(self, listener: PublicationListener) -> None:
        """Stop passing publications to ``listener``."""
        tenant_id = self._listeners.pop(listener, None)
        if tenant_id is not None:
            self._detach(tenant_id)


def burst_of(limits: Limits) -> int:
    """Return after how many publications the outboxes are written without waiting for the end of the turn."""
    return max(1, limits.outbox // 2)
