"""LocalPresence: presence of users where this node is the only one."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from callcenter_ws.broker.retention import MAX_PRESENCE_RECORDS
from callcenter_ws.errors import CloseCode
from callcenter_ws.events.visibility import is_announced
from callcenter_ws.interfaces import PresenceClient, PresenceRecord, PresenceStore, UserPresence
from callcenter_ws.runtime.background import Spawn
from callcenter_ws.runtime.backoff import Backoff
from callcenter_ws.runtime.clock import Clock, Timer
from callcenter_ws.runtime.single_flight import SingleFlight

RETRY_SECONDS = 5.0
"""Seconds after which an announcement that the store refused is repeated."""

Announce = Callable[[str, dict[str, object]], Awaitable[object]]
"""Publishes ``presence.changed`` for a tenant, with a payload."""

UserKey = tuple[str, str, bool]
"""Tenant, user, and whether it is a visitor: a visitor and an agent with the same id are different users."""


@dataclass(slots=True)
class _OnlineUser:
    """A user who is online, or whose grace is not over.

    Attributes:
        since: when the user came online, Unix seconds.
        announced: whether ``presence.changed`` is published for the user.
        stored: whether the store has the user as online.
        offline_timer: runs during the grace after the last connection was closed.
    """

    since: float
    connections: int = 0
    announced: bool = False
    stored: bool = False
    offline_timer: Timer | None = None


class LocalPresence:
    """Implements ``interfaces.PresenceTracker``: counts each user's connections.

    A user comes online with the first connection, and goes offline when the last one has been closed for ``grace``
    seconds. Both are announced.

    Args:
        announce: publishes an announcement.
        store: keeps presence over a restart, so that users who do not reconnect are announced offline.

    Attributes:
        grace: seconds that a user may be without a connection, as when a page is reloaded, and still count as online;
            may be changed, and applies to users who disconnect then.
        drain_grace: the same for users whom this process has asked to reconnect, because it stops.
    """

    def __init__(
        self,
        clock: Clock,
        spawn: Spawn,
        announce: Announce,
        store: PresenceStore,
        grace: float,
        drain_grace: float | None = None,
    ) -> None:
        self._clock = clock
        self._spawn = spawn
        self._announce = announce
        self._store = store
        self.grace = grace
        self.drain_grace = grace if drain_grace is None else drain_grace
        self._users: dict[UserKey, _OnlineUser] = {}
        self._last_seen: OrderedDict[UserKey, float] = OrderedDict()
        # Users whose last announcement said online.
        self._announced_online: set[UserKey] = set()
        self._announcing: dict[UserKey, SingleFlight] = {}

    def resume(self, reconnect_seconds: float) -> None:
        """Restore the records of the store.

        Args:
            reconnect_seconds: how long users who were online may take to reconnect, in addition to the grace.
        """
        for record in self._store.load_presence():
            key = (record.tenant_id, record.user_id, record.visitor)
            self._last_seen[key] = record.last_seen
            if record.announced:
                self._announced_online.add(key)
            if record.since is not None:
                # If the process ended before the user was announced online, that is done when the user reconnects.
                user = self._users[key] = _OnlineUser(record.since, announced=record.announced, stored=True)
                user.offline_timer = self._clock.call_later(self.grace + reconnect_seconds, self._gone_offline, key)
            elif record.announced:
                # The process ended before the user was announced offline.
                self._request_announcement(key)

    def client_registered(self, client: PresenceClient) -> None:
        """Count a client that was registered with the Hub."""
        principal = client.principal
        key = (principal.tenant_id, principal.user_id, principal.is_visitor)
        user = self._users.get(key)
        if user is None:
            user = self._users[key] = _OnlineUser(self._clock.time())
        if user.offline_timer is not None:
            user.offline_timer.cancel()
            user.offline_timer = None
        user.connections += 1
        if not user.announced and is_announced(principal):
            user.announced = True
            self._save(key, user)
            self._request_announcement(key)

    def client_unregistered(self, client: PresenceClient, code: CloseCode) -> None:
        """Count a client that was removed from the Hub."""
        principal = client.principal
        key = (principal.tenant_id, principal.user_id, principal.is_visitor)
        user = self._users[key]
        user.connections -= 1
        if user.connections == 0:
            self._last_seen[key] = self._clock.time()
            self._last_seen.move_to_end(key)
            if len(self._last_seen) > MAX_PRESENCE_RECORDS:
                self._last_seen.popitem(last=False)
            self._save(key, user)
            grace = self.drain_grace if code is CloseCode.DRAINING else self.grace
            user.offline_timer = self._clock.call_later(grace, self._gone_offline, key)

    def of(self, tenant_id: str, user_id: str) -> UserPresence:
        """Return whether a user is connected; a visitor only if no other user with this id is or was."""
        staff = self._presence_of((tenant_id, user_id, False))
        return staff if staff.online or staff.last_seen is not None else self._presence_of((tenant_id, user_id, True))

    def _presence_of(self, key: UserKey) -> UserPresence:
        user = self._users.get(key)
        if user is None or user.connections == 0:
            return UserPresence(False, 0, None, self._last_seen.get(key))
        return UserPresence(True, user.connections, user.since, self._clock.time())

    def _gone_offline(self, key: UserKey) -> None:
        if self._users.pop(key).stored:
            self._save(key, None)
            self._request_announcement(key)

    def _save(self, key: UserKey, user: _OnlineUser | None) -> None:
        now = self._clock.time()
        last_seen = now if user is not None else self._last_seen.get(key, now)
        since = None
        if user is not None and user.announced:
            since, user.stored = user.since, True
        self._store.save_presence(PresenceRecord(*key, since, last_seen))

    # Announcements

    def _request_announcement(self, key: UserKey) -> None:
        announcing = self._announcing.get(key)
        if announcing is None:
            backoff = Backoff(RETRY_SECONDS, RETRY_SECONDS)
            work = partial(self._announce_until_current, key)
            # The store may refuse everything for a while; publishers and ``/readyz`` report that.
            announcing = self._announcing[key] = SingleFlight(work, self._clock, self._spawn, backoff=backoff)
        if not announcing.is_running:  # else the run under way notices the change
            announcing.request()

    async def _announce_until_current(self, key: UserKey) -> None:
        """Announce until the last announcement says whether the user is online.

        Raises:
            Refusal: the store refused the announcement.
        """
        while (online := self._is_online(key)) != (key in self._announced_online):
            user = self._users.get(key)
            connections = 0 if user is None else user.connections
            reason = "connected" if online else "disconnected"
            payload = {"user_id": key[1], "online": online, "connections": connections, "reason": reason}
            await self._announce(key[0], payload)
            (self._announced_online.add if online else self._announced_online.discard)(key)
        del self._announcing[key]

    def _is_online(self, key: UserKey) -> bool:
        user = self._users.get(key)
        return user is not None and user.announced
