"""The clients of one tenant, filed by what they may be interested in.

The cost of an event follows from who receives it, not from who is connected: a targeted event looks at one
user's clients, a chat event at one session's visitors, and any other at the groups that it may concern.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from callcenter_ws.delivery.counters import TenantCounters
from callcenter_ws.delivery.group import Group
from callcenter_ws.delivery.group_index import GroupIndex
from callcenter_ws.delivery.snapshot_cache import SharedSnapshot
from callcenter_ws.events.principal import Role
from callcenter_ws.events.visibility import AgentCalls, interest, may_see
from callcenter_ws.interfaces import Snapshot

if TYPE_CHECKING:
    from callcenter_ws.delivery.client import Client
    from callcenter_ws.events.publication import Publication

Clients = dict["Client", None]
Groups = dict[Group, None]
"""Sets that keep the order of arrival, so that delivery is reproducible."""


class Tenant:
    """One tenant's clients on this node.

    Attributes:
        head: ``seq`` of the last message that was brought to the clients here; 0 before the first.
        shared: the snapshot that was asked for last, until the next message or for a moment.

    Args:
        is_waiting: is told of a group that has something to be written at the end of the turn.
    """

    def __init__(self, tenant_id: str, agent_calls: AgentCalls, is_waiting: Callable[[Group], None]) -> None:
        self.tenant_id = tenant_id
        self.head = 0
        self.clients: Clients = {}
        self.counters = TenantCounters()
        self._agent_calls = agent_calls
        self._is_waiting = is_waiting
        self.shared: SharedSnapshot | None = None
        self._users: dict[str, Clients] = {}
        self._sessions: dict[str, Clients] = {}
        self._groups: dict[tuple[object, ...], Group] = {}
        self._audience = GroupIndex(agent_calls)

    def add(self, client: Client) -> None:
        """File a client under all that it may be interested in."""
        self.clients[client] = None
        principal = client.principal
        self._users.setdefault(principal.user_id, {})[client] = None
        if principal.role is Role.VISITOR:
            if principal.session_id is not None:
                self._sessions.setdefault(principal.session_id, {})[client] = None
            return
        key = (client.subscription.names, client.wire_format, *interest(principal, self._agent_calls))
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(key, client, self, self._is_waiting)
            self._audience.add(group)
        group.add(client)
        client.group = group

    def remove(self, client: Client) -> None:
        """Forget a client, which is filed under the principal and subscription that it was added with."""
        self.clients.pop(client, None)
        principal = client.principal
        _discard(self._users, principal.user_id, client)
        if principal.session_id is not None:
            _discard(self._sessions, principal.session_id, client)
        group, client.group = client.group, None
        if group is not None:
            group.remove(client)
            if not group:
                del self._groups[group.key]
                self._audience.remove(group)

    def of_user(self, user_id: str) -> list[Client]:
        """The user's clients."""
        return list(self._users.get(user_id, ()))

    def sees(self, client: Client, publication: Publication) -> bool:
        """Whether a client may see a message and asked for its type."""
        return publication.event.type.name in client.subscription.names and self.permits(client, publication)

    def permits(self, client: Client, publication: Publication) -> bool:
        """Whether a client may see a message, asked for or not."""
        return may_see(client.principal, publication.event, self._agent_calls)

    def share(self, snapshot: Snapshot) -> SharedSnapshot:
        """Return ``snapshot`` prepared for the clients here, together with those who asked at the same position."""
        if self.shared is None or self.shared.snapshot is not snapshot:
            self.shared = SharedSnapshot(snapshot, self)
        return self.shared

    def unshare(self, shared: SharedSnapshot) -> None:
        """Hold a shared snapshot no longer: those who reconnect together have had it."""
        if self.shared is shared:
            self.shared = None

    def go_on_from(self, seq: int) -> None:
        """What comes next follows upon another position than that of the last message."""
        self.head = seq
        self.shared = None

    def deliver(self, publications: Sequence[Publication]) -> None:
        """Offer messages, in order, to the clients that may see them, and to no other."""
        self.head = publications[-1].seq
        self.shared = None
        gathered: Groups = {}
        for publication in publications:
            event = publication.event
            visitors = {} if event.session_id is None else self._sessions.get(event.session_id, {})
            if event.user_id is not None:
                # What was gathered before it comes before it.
                gathered = _offer_all(gathered)
                self._offer(self._users.get(event.user_id, {}), publication)
                continue
            for group in self._audience.candidates(event):
                if event.type.name in group.names and may_see(group.principal, event, self._agent_calls):
                    group.gather(publication)
                    gathered[group] = None
            self._offer(visitors, publication)
        _offer_all(gathered)

    def _offer(self, clients: Clients, publication: Publication) -> None:
        for client in clients:
            if not self.sees(client, publication):
                continue
            client.step_out()
            if publication.event.is_mail:
                client.offer_mail(publication)
            else:
                client.offer([publication.frame(client.wire_format)], [publication.seq])


def _offer_all(gathered: Groups) -> Groups:
    """Offer each group what was gathered for it; return that nothing is left."""
    for group in gathered:
        group.offer()
    return {}


def _discard(files: dict[str, Clients], name: str, client: Client) -> None:
    clients = files.get(name)
    if clients is not None:
        clients.pop(client, None)
        if not clients:
            del files[name]
