"""The Hub: brings each message to those who may see it, and knows who is connected."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from callcenter_ws.auth.revocation import Revocations
from callcenter_ws.delivery.counters import HubCounters, add
from callcenter_ws.delivery.group import SLICE, Group
from callcenter_ws.delivery.replay_cache import ReplayCache
from callcenter_ws.delivery.tenant import Tenant
from callcenter_ws.errors import CLOSES, CloseCode, ErrorCode, Refusal
from callcenter_ws.events.frames import control_frame
from callcenter_ws.events.principal import EVERY_TENANT, Principal
from callcenter_ws.events.visibility import AgentCalls
from callcenter_ws.interfaces import Broker, ConnectionLog, Position, PresenceTracker, PublicationListener
from callcenter_ws.runtime.clock import Clock

if TYPE_CHECKING:
    from callcenter_ws.delivery.client import Client
    from callcenter_ws.events.publication import Publication

RECONNECT_PAUSE = 1.0
"""Seconds that even the first client waits before it comes back to a node that stops."""


class Hub:
    """Knows every client of this node and brings them the messages that they may see.

    Args:
        presence: is told who comes and goes.
        journal: is told of bugs: a client or a listener that meets one costs the others nothing.
        agent_calls: the policy for agents (``events.principal``).
        burst: messages after which the outboxes are flushed without waiting for the turn's end, so that a
            large batch does not make healthy clients overflow.
        observe_latency: is given the seconds from taking an event in to handing it to the sockets.
    """

    def __init__(
        self,
        broker: Broker,
        presence: PresenceTracker,
        clock: Clock,
        log: ConnectionLog,
        *,
        agent_calls: AgentCalls = "all",
        burst: int = 128,
        observe_latency: Callable[[float], object] = lambda seconds: None,
    ) -> None:
        self._broker = broker
        self._presence = presence
        self._clock = clock
        self._log = log
        self._agent_calls = agent_calls
        self._burst = burst
        self._observe_latency = observe_latency
        self._tenants: dict[str, Tenant] = {}
        self._dirty: list[Client] = []
        self._waiting: list[Group] = []
        self._flushing: Iterator[None] | None = None
        self._flush_is_due = False
        self._taken_in: list[float] = []
        self._listeners: dict[PublicationListener, str] = {}
        self._interests: dict[str, int] = {}
        self.revocations = Revocations()
        self.replays = ReplayCache(clock)
        self.counters = HubCounters()

    # What flows through

    def deliver(self, publications: Sequence[Publication]) -> None:
        """Bring messages of one tenant, durable and in ``seq`` order, to those who may see them."""
        tenant = self._tenants.get(publications[0].event.tenant_id)
        if tenant is not None and tenant.clients:
            at = 0
            while at < len(publications):
                burst = publications[at : at + self._burst - len(self._taken_in)]
                at += len(burst)
                tenant.deliver(burst)
                self._taken_in += [publication.event.received_at for publication in burst]
                if len(self._taken_in) >= self._burst:
                    self.flush()
            if self._taken_in:
                self._want_flush()
        for listener in list(self._listeners):
            try:
                for publication in publications:
                    listener(publication)
            except Exception:
                self._log.unhandled_error("a listener")

    def interrupted(self, tenant_id: str, position: Position) -> None:
        """What a tenant's clients are given goes on behind another position: each is told what it has missed."""
        tenant = self._tenants.get(tenant_id)
        if tenant is None or not tenant.clients:
            return
        clients = list(tenant.clients)
        for client in clients:
            # While the tenant's head still says where they stand.
            self._attempt(client.step_aside, client)
        tenant.go_on_from(position.seq)
        for client in clients:
            self._attempt(partial(client.find_position, position.epoch), client)

    def mark_dirty(self, client: Client) -> None:
        """A client has something in its outbox: write it at the end of this turn."""
        self._dirty.append(client)
        self._want_flush()

    def _is_waiting(self, group: Group) -> None:
        """The same, for those who are in step."""
        self._waiting.append(group)
        self._want_flush()

    def _want_flush(self) -> None:
        if not self._flush_is_due:
            self._flush_is_due = True
            self._clock.call_later(0, self._flush_slice)

    def _flush_slice(self) -> None:
        """Write for as long as nobody minds; the rest in the next turn."""
        self._flush_is_due = False
        if self._flushing is None:
            self._flushing = self._write()
        try:
            next(self._flushing)
        except StopIteration:
            self._flushing = None
        if self._flushing is not None or self._waiting or self._dirty:
            self._want_flush()

    def flush(self) -> None:
        """Write everything that waits, at once."""
        for writing in (self._flushing or (), self._write()):
            for _ in writing:
                pass
        self._flushing = None

    def _write(self) -> Iterator[None]:
        """Write what groups and outboxes hold, one write per client; equal outboxes share the joined bytes."""
        taken_in, self._taken_in = self._taken_in, []
        waiting, self._waiting = self._waiting, []
        served = 0
        for group in waiting:
            if served >= SLICE:
                yield
                served = 0
            served += len(group)
            try:
                amount = yield from group.transmit(self._broke)
            except Exception:
                self._log.unhandled_error(f"writing to clients of {group.tenant.tenant_id}")
                group.give_up(self._attempt_to_abandon)
                continue
            self.counters.delivered += amount
            group.tenant.counters.delivered += amount
        dirty, self._dirty = self._dirty, []
        for begin in range(0, len(dirty), SLICE):
            if begin:
                yield
            self._write_outboxes(dirty[begin : begin + SLICE])
        now = self._clock.monotonic()
        for received_at in taken_in:
            self._observe_latency(now - received_at)

    def _write_outboxes(self, clients: list[Client]) -> None:
        previous: list[bytes] = []
        joined = b""
        for client in clients:
            outbox = client.outbox
            if outbox != previous:
                # A frame alone is sent as it is: a snapshot that many wait for exists once.
                previous, joined = outbox, outbox[0] if len(outbox) == 1 else b"".join(outbox)
            try:
                client.transmit(joined)
            except Exception:
                self._broke(client)

    def _broke(self, client: Client) -> None:
        """Nothing can be written to a client: the exception being handled is a bug."""
        self._log.unhandled_error(f"writing to {client}")
        self._attempt_to_abandon(client)

    def _attempt_to_abandon(self, client: Client) -> None:
        self._attempt(client.abandon, client)

    # Who is connected

    def register(self, client: Client) -> None:
        """Count and file a client; from now on it is offered what it may see."""
        principal = client.principal
        tenant = self._tenants.get(principal.tenant_id)
        if tenant is None:
            tenant = self._tenants[principal.tenant_id] = Tenant(
                principal.tenant_id, self._agent_calls, self._is_waiting
            )
        if not tenant.clients:
            self._want(tenant.tenant_id)
        tenant.add(client)
        client.tenant = tenant
        self.counters.opened += 1
        add(self.counters.connections_by, (principal.role.value, client.endpoint))
        self._presence.arrived(client)

    def unregister(self, client: Client, code: CloseCode) -> None:
        """Forget a client that was registered."""
        principal = client.principal
        tenant = client.tenant
        tenant.remove(client)
        add(self.counters.closed, CLOSES[code].name)
        add(self.counters.connections_by, (principal.role.value, client.endpoint), -1)
        self._presence.left(client, code)
        if not tenant.clients:
            tenant.head = 0
            self._want_no_more(tenant.tenant_id)

    def _want(self, tenant_id: str) -> None:
        """Somebody here wants a tenant's events: clients, or a listener."""
        add(self._interests, tenant_id)
        if self._interests[tenant_id] == 1:
            self._broker.attach(tenant_id)

    def _want_no_more(self, tenant_id: str) -> None:
        add(self._interests, tenant_id, -1)
        if not self._interests[tenant_id]:
            del self._interests[tenant_id]
            self._broker.detach(tenant_id)

    def connections(self, tenant_id: str | None = None) -> int:
        """How many connections the node or a tenant has."""
        if tenant_id is None:
            return sum(self.counters.connections_by.values())
        tenant = self._tenants.get(tenant_id)
        return 0 if tenant is None else len(tenant.clients)

    def connections_of(self, principal: Principal) -> int:
        """How many connections a user has; a visitor and an agent with the same id are two people."""
        tenant = self._tenants.get(principal.tenant_id)
        clients = [] if tenant is None else tenant.of_user(principal.user_id)
        return sum(client.principal.is_visitor == principal.is_visitor for client in clients)

    def drain(self, spread: float) -> None:
        """Send every client away, asked to come back at a moment of its own within ``spread`` seconds."""
        clients = [client for tenant in self._tenants.values() for client in tenant.clients]
        for place, client in enumerate(clients):
            wait = RECONNECT_PAUSE + spread * place / len(clients)
            client.send(control_frame("drain", {"reconnect_after_ms": int(1000 * wait)}))
            self._attempt(partial(client.close, CloseCode.DRAINING), client)

    def _attempt(self, closing: Callable[[], None], client: Client) -> None:
        """One client that cannot be closed must not keep the others from being closed."""
        try:
            closing()
        except Exception:
            self._log.unhandled_error(f"closing {client}")

    # What is done about them on this node; see core.directory

    def disconnect_user(self, tenant_id: str, user_id: str, opened_until: str = "") -> int:
        """Close all connections of a user; return how many.

        Args:
            opened_until: an identifier; only connections whose own are not later. Empty: all.
        """
        return self._close_where(
            [tenant_id],
            lambda client: (
                client.principal.user_id == user_id and (not opened_until or client.connection_id <= opened_until)
            ),
        )

    def revoke(
        self, tenant_id: str, *, jti: str | None = None, user_id: str | None = None, at: float | None = None
    ) -> int:
        """Refuse a token, or a user's tokens issued until ``at``; close their connections and return how many.

        Args:
            at: Unix time; None: now.

        Raises:
            Refusal: ``invalid_message`` when neither is given, ``overloaded`` when the list is full.
        """
        if jti is None and user_id is None:
            raise Refusal(ErrorCode.INVALID_MESSAGE, "jti or user_id: one of them is required")
        if jti is not None:
            self.revocations.revoke_token(tenant_id, jti)
        if user_id is not None:
            self.revocations.revoke_user(tenant_id, user_id, self._clock.time() if at is None else at)
        return self.close_revoked(tenant_id)

    def close_revoked(self, tenant_id: str) -> int:
        """Close the connections of a tenant, or of all (``*``), whose tokens are revoked; return how many."""
        # A token for every tenant is in use in one that its holder named.
        return self._close_where(self._tenants if tenant_id == EVERY_TENANT else [tenant_id], self._is_revoked)

    def _is_revoked(self, client: Client) -> bool:
        try:
            self.revocations.check(client.principal)
        except Refusal:
            return True
        return False

    def _close_where(self, tenant_ids: Iterable[str], condition: Callable[[Client], bool]) -> int:
        tenants = [self._tenants[name] for name in tenant_ids if name in self._tenants]
        closing = [client for tenant in tenants for client in tenant.clients if condition(client)]
        for client in closing:
            self._attempt(partial(client.close, CloseCode.REVOKED), client)
        return len(closing)

    def stats(self, tenant_id: str | None = None) -> dict[str, Any]:
        """Connections and messages of one tenant, or of all with a count per tenant."""
        names = self._tenants if tenant_id is None else [tenant_id]
        tenants = [self._tenants[name] for name in names if name in self._tenants]
        clients = [client for tenant in tenants for client in tenant.clients]
        by_role: dict[str, int] = {}
        by_endpoint: dict[str, int] = {}
        for client in clients:
            add(by_role, client.principal.role.value)
            add(by_endpoint, client.endpoint)
        connections: dict[str, Any] = {"total": len(clients), "by_role": by_role, "by_endpoint": by_endpoint}
        if tenant_id is None:
            connections["by_tenant"] = {tenant.tenant_id: len(tenant.clients) for tenant in tenants if tenant.clients}
        return {
            "connections": connections,
            "messages": {
                "received": sum(tenant.counters.received for tenant in tenants),
                "delivered": sum(tenant.counters.delivered for tenant in tenants),
                "dropped": sum(tenant.counters.dropped for tenant in tenants),
            },
            "lagging": sum(client.lagging for client in clients),
        }

    def listen(self, listener: PublicationListener, tenant_id: str = EVERY_TENANT) -> None:
        """Show every delivered message of a tenant, or of all, to ``listener`` from now on; maybe others, too."""
        if listener not in self._listeners:
            self._listeners[listener] = tenant_id
            self._want(tenant_id)

    def unlisten(self, listener: PublicationListener) -> None:
        """Stop showing messages to ``listener``."""
        tenant_id = self._listeners.pop(listener, None)
        if tenant_id is not None:
            self._want_no_more(tenant_id)
