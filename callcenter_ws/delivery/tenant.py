"""The clients of one tenant, indexed by what they may be interested in.

The cost of an event follows from who receives it, not from who is connected: an event for one user examines that
user's clients, a chat event the visitors of one session and the clients of its agent, and any other event the groups
that it may concern.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from callcenter_ws.delivery.counters import TenantCounters
from callcenter_ws.delivery.figure_feed import FigureFeed
from callcenter_ws.delivery.group import Group
from callcenter_ws.delivery.group_index import GroupIndex, Groups
from callcenter_ws.delivery.prepared_views import PreparedViews
from callcenter_ws.delivery.snapshot_cache import MaySee, SharedSnapshot
from callcenter_ws.delivery.snapshot_parts import PartCache
from callcenter_ws.delivery.subscriber import Subscriber
from callcenter_ws.delivery.subscription import FixedSubscription
from callcenter_ws.events.event import Event
from callcenter_ws.events.principal import Principal, Role
from callcenter_ws.events.publication import Publication
from callcenter_ws.events.visibility import AgentCalls, AgentChats, group_may_see, interest, may_see
from callcenter_ws.interfaces import Snapshot
from callcenter_ws.runtime.few_at_a_time import FewAtATime
from callcenter_ws.runtime.slicer import Slicer
from callcenter_ws.statistics.store import FigurePolicy

GROUPS_PER_STEP = 100
"""Groups that are moved in one step after a change of the policy."""

Clients = dict[Subscriber, None]
"""A set that keeps the order of arrival, so that delivery is reproducible."""


class Tenant:
    """The clients of one tenant at this node.

    Args:
        agent_calls, agent_chats: the policy for agents (``events.visibility``); may be changed.
        has_pending: called with a group whose publications wait to be sent at the end of the turn.
        view_preparation, parts, prepared_views: for large snapshots.

    Attributes:
        feed: the live figures; None while the tenant has no statistics.
        head: ``seq`` of the last publication that was delivered to the clients; 0 before the first.
        snapshot: the snapshot that was requested last, until the next publication or for a moment.
        in_preparation: the snapshot that was requested last, until it is prepared.
        view_preparation: bounds how many views of large snapshots are prepared at once.
    """

    def __init__(
        self,
        tenant_id: str,
        agent_calls: AgentCalls,
        agent_chats: AgentChats,
        has_pending: Callable[[Group], None],
        view_preparation: FewAtATime,
        parts: PartCache,
        prepared_views: PreparedViews,
    ) -> None:
        self.in_preparation: SharedSnapshot | None = None
        self.view_preparation = view_preparation
        self._prepared_views = prepared_views
        self._parts = parts
        self.tenant_id = tenant_id
        self.head = 0
        self.feed: FigureFeed | None = None
        self._policy: FigurePolicy | None = None
        self._figures_version = 0
        self.clients: Clients = {}
        self.counters = TenantCounters()
        self.snapshot: SharedSnapshot | None = None
        self._has_pending = has_pending
        self._users: dict[str, Clients] = {}
        self._sessions: dict[str, Clients] = {}
        self._tokens: dict[str, Clients] = {}
        self._groups: dict[tuple[object, ...], Group] = {}
        self._index = GroupIndex(agent_calls, agent_chats)
        # Those of former policies, until their groups are updated.
        self._former: list[GroupIndex] = []

    def add(self, client: Subscriber) -> None:
        """Index a client by its principal and subscription."""
        self.clients[client] = None
        principal = client.principal
        self._users.setdefault(principal.user_id, {})[client] = None
        if principal.jti is not None:
            self._tokens.setdefault(principal.jti, {})[client] = None
        if principal.role is Role.VISITOR:
            if principal.session_id is not None:
                self._sessions.setdefault(principal.session_id, {})[client] = None
            return
        key = (client.outbox.wire_format, *self.interest_of(principal, client.subscription.fixed()))
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = self._new_group(key, client)
            self._index.add(group)
        group.add(client.outbox)
        if self.feed is not None:
            client.outbox.owes_figures = True

    def use_policy(self, policy: FigurePolicy | None) -> None:
        """Show the figures of senders only where the settings say so; None: the tenant has no statistics."""
        self._policy = policy
        self.snapshot = None
        if policy is None:
            self.close_figures()
        elif self.feed is not None:
            self.feed.use_policy(policy)

    def open_figures(self, policy: FigurePolicy, slicer: Slicer) -> FigureFeed:
        """Deliver live figures to the clients from now on."""
        self.snapshot = None
        # Clients remember by the version what they were sent, also by the feed before.
        version, indexes = self._figures_version, lambda: (self._index, *self._former)
        self.feed = FigureFeed(self.tenant_id, slicer, policy, indexes, self.clients_of_user, version)
        return self.feed

    def close_figures(self) -> None:
        """Deliver no live figures any more."""
        if self.feed is not None:
            self._figures_version = self.feed.table.version
            self.feed.close()
            self.feed = self.snapshot = None

    def _hides(self, event: Event) -> bool:
        """Return whether an event has figures of a sender, in the place of which the gateway derives them."""
        policy = self._policy
        return policy is not None and not policy.takes_producers(self.tenant_id, event.queue_name)

    def interest_of(self, principal: Principal, subscription: FixedSubscription) -> tuple[object, ...]:
        """Return a key that is equal for those that may see, and are subscribed to, the same publications for all.

        What is cached by the key must not outlast the policy.
        """
        calls, chats = self._index.agent_calls, self._index.agent_chats
        policy = (calls, chats) if principal.role is Role.AGENT else None
        return (*subscription, *interest(principal, calls), policy)

    def change_policy(self, agent_calls: AgentCalls, agent_chats: AgentChats) -> None:
        """Use another policy from now on; connected agents follow the former one until ``update``."""
        if self._index:
            self._former.append(self._index)
        self._index = GroupIndex(agent_calls, agent_chats)
        # It was made for the former policy.
        self.snapshot = None

    def update(self, client: Subscriber) -> None:
        """Have a connected client see what the present policy permits."""
        if self._former and self._index_of(client) is not self._index:
            self.remove(client)
            self.add(client)

    def end_update(self) -> Iterator[None]:
        """Move the groups of other roles than agents, which see the same by every policy, in steps."""
        for former in self._former:
            for number, group in enumerate(list(former), 1):
                if group in former and group.principal.role is not Role.AGENT:
                    former.remove(group)
                    self._index.add(group)
                if number % GROUPS_PER_STEP == 0:
                    yield
        self._former = [former for former in self._former if former]

    def _index_of(self, client: Subscriber) -> GroupIndex:
        """Return the index that a client's group is in, which has the policy for the client."""
        shared = client.outbox.group
        return self._index if shared is None or not self._former else self._index_with(self._groups[shared.key])

    def _index_with(self, group: Group) -> GroupIndex:
        return next((former for former in self._former if group in former), self._index)

    def _new_group(self, key: tuple[object, ...], client: Subscriber) -> Group:
        return Group(
            key,
            client.principal,
            client.subscription,
            client.outbox.wire_format,
            self.counters,
            lambda: self.head,
            self._has_pending,
        )

    def remove(self, client: Subscriber) -> None:
        """Remove a client, whose principal and subscription must be those that it was added with."""
        self.clients.pop(client, None)
        principal = client.principal
        _discard(self._users, principal.user_id, client)
        if principal.jti is not None:
            _discard(self._tokens, principal.jti, client)
        if principal.session_id is not None:
            _discard(self._sessions, principal.session_id, client)
        shared = client.outbox.group
        group = None if shared is None else self._groups[shared.key]
        if group is not None:
            group.remove(client.outbox)
            if not group:
                del self._groups[group.key]
                self._index_with(group).remove(group)

    def clients_of_user(self, user_id: str) -> list[Subscriber]:
        """Return the user's clients."""
        return list(self._users.get(user_id, ()))

    def clients_of_token(self, jti: str) -> list[Subscriber]:
        """Return the clients that were authenticated with a token."""
        return list(self._tokens.get(jti, ()))

    def sees(self, client: Subscriber, publication: Publication) -> bool:
        """Return whether a client may see a publication and is subscribed to its type."""
        event, index = publication.event, self._index if not self._former else self._index_of(client)
        if event.type.figure is not None and self._hides(event):
            return False
        return client.subscription.admits(event) and may_see(
            client.principal, event, index.agent_calls, index.agent_chats
        )

    def group_sees(self, client: Subscriber, publication: Publication) -> bool:
        """Return whether all clients of a client's group see a publication without ``user_id``."""
        event, index = publication.event, self._index_of(client)
        if event.type.figure is not None and self._hides(event):
            return False
        return client.subscription.admits(event) and group_may_see(
            client.principal, event, index.agent_calls, index.agent_chats
        )

    def share_snapshot(self, snapshot: Snapshot) -> SharedSnapshot:
        """Return ``snapshot`` for the clients, shared with other requests at the same position."""
        known = self.snapshot
        if known is None or (known.snapshot.epoch, known.snapshot.seq) != (snapshot.epoch, snapshot.seq):
            sees, group_sees = (
                partial(rule, agent_calls=self._index.agent_calls, agent_chats=self._index.agent_chats)
                for rule in (may_see, group_may_see)
            )
            known = self.snapshot = SharedSnapshot(
                snapshot,
                self._unless_hidden(sees),
                self._unless_hidden(group_sees),
                partial(self.view_preparation.run, self.tenant_id),
                self._parts,
                self._prepared_views,
                self.feed,
            )
        self.in_preparation = known
        return known

    def _unless_hidden(self, rule: MaySee) -> MaySee:
        if self._policy is None:
            return rule
        return lambda principal, event: (event.type.figure is None or not self._hides(event)) and rule(principal, event)

    def release_snapshot(self, shared: SharedSnapshot) -> None:
        """Share a snapshot with no further client; hold it only until what clients requested of it is prepared."""
        if self.snapshot is shared:
            self.snapshot = None
        if self.in_preparation is shared and shared.preparing() is None:
            self.in_preparation = None

    def continue_after(self, seq: int) -> None:
        """Set the head: the next publication follows ``seq``, not the last publication that was delivered."""
        self.head = seq
        self.snapshot = None

    def deliver(self, publications: Sequence[Publication]) -> None:
        """Offer publications, in order, to the clients that may see them, and to no others."""
        self.head = publications[-1].seq
        self.snapshot = None
        gathered: Groups = {}
        # One, unless the policy has just changed.
        indexes = (self._index, *self._former)
        for publication in publications:
            event = publication.event
            if event.type.figure is not None and self._hides(event):
                continue
            session_id = event.session_id
            if event.user_id is not None:
                # The publications gathered before come before it.
                _offer_gathered(gathered)
                gathered = {}
                self._offer(self._users.get(event.user_id, {}), publication)
                continue
            sees = may_see if session_id is None else group_may_see
            for index in indexes:
                for group in index.candidates(event):
                    if event.type.name in group.names and sees(
                        group.principal, event, index.agent_calls, index.agent_chats
                    ):
                        group.gather(publication)
                        gathered[group] = None
            if session_id is not None:
                if event.type.of_chat and event.agents:
                    self._offer_to_agents(publication, gathered)
                self._offer(self._sessions.get(session_id, {}), publication)
        _offer_gathered(gathered)

    def _offer_to_agents(self, publication: Publication, gathered: Groups) -> None:
        """Offer an event of a chat to the clients of its agents, unless it was offered to their groups."""
        for agent in publication.event.agents:
            for client in self._users.get(agent, ()):
                if client.principal.role is not Role.AGENT or self.group_sees(client, publication):
                    continue
                shared = client.outbox.group
                group = None if shared is None else self._groups[shared.key]
                if group is not None and group in gathered:
                    # The publications gathered before come before it.
                    del gathered[group]
                    group.offer()
                self._offer((client,), publication)

    def _offer(self, clients: Iterable[Subscriber], publication: Publication) -> None:
        for client in clients:
            if not self.sees(client, publication):
                continue
            outbox = client.outbox
            outbox.detach()
            if publication.event.is_mail:
                outbox.offer_mail(publication)
            else:
                outbox.offer([publication.frame(outbox.wire_format)], [publication.seq])


def _offer_gathered(groups: Groups) -> None:
    for group in groups:
        group.offer()


def _discard(index: dict[str, Clients], name: str, client: Subscriber) -> None:
    clients = index.get(name)
    if clients is not None:
        clients.pop(client, None)
        if not clients:
            del index[name]
