"""Who is here: connections per user, since when, and the events that say so."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from callcenter_ws.errors import CloseCode, Refusal
from callcenter_ws.events.visibility import is_announced
from callcenter_ws.interfaces import PresenceRecord, PresenceStore, UserPresence
from callcenter_ws.runtime.background import Spawn
from callcenter_ws.runtime.clock import Clock, Timer

if TYPE_CHECKING:
    from callcenter_ws.delivery.client import Client

MAX_REMEMBERED = 50_000
"""Users whose ``last_seen`` is remembered; above that the one gone longest is forgotten."""

RETRY = 5.0
"""Seconds after which an announcement that the store did not take is made again."""

Announce = Callable[[str, dict[str, Any]], Awaitable[object]]
"""Publishes ``presence.changed`` with a payload for a tenant."""

UserKey = tuple[str, str, bool]
"""Tenant, user, and whether it is a visitor: a visitor and an agent with the same id are two people."""


@dataclass(slots=True)
class _Stay:
    """A user's time with us, over all its connections.

    Attributes:
        person: others are told of its coming and going.
        noted: the register holds it as one that has not ended.
    """

    since: float
    connections: int = 0
    person: bool = False
    noted: bool = False
    farewell: Timer | None = None


class LocalPresence:
    """Counts each user's connections and announces the first one and, after a grace, the end of the last.

    Args:
        register: remembers who was here, so that the end of a stay is announced over a restart, too.
        grace: seconds that a user may be away, as when a page is reloaded, without being announced gone.
    """

    def __init__(self, clock: Clock, spawn: Spawn, announce: Announce, register: PresenceStore, grace: float) -> None:
        self._clock = clock
        self._spawn = spawn
        self._announce = announce
        self._register = register
        self._grace = grace
        self._stays: dict[UserKey, _Stay] = {}
        self._last_seen: OrderedDict[UserKey, float] = OrderedDict()
        # What others were told last, or are being told: who is not in here is gone.
        self._told: set[UserKey] = set()
        self._telling: set[UserKey] = set()

    def resume(self, patience: float) -> None:
        """Take up what the register knows. Who was here has ``patience`` seconds beyond the grace to come back."""
        for known in self._register.load_presence():
            key = (known.tenant_id, known.user_id, known.visitor)
            self._last_seen[key] = known.last_seen
            if known.told:
                self._told.add(key)
            if known.since is not None:
                # Who comes back is announced if the process ended before that was done.
                stay = self._stays[key] = _Stay(known.since, person=known.told, noted=True)
                stay.farewell = self._clock.call_later(self._grace + patience, self._gone, key)
            elif known.told:
                # The process ended before this could be said.
                self._tell(key)

    def arrived(self, client: Client) -> None:
        """A connection has opened."""
        principal = client.principal
        key = (principal.tenant_id, principal.user_id, principal.is_visitor)
        stay = self._stays.get(key)
        if stay is None:
            stay = self._stays[key] = _Stay(self._clock.time())
        if stay.farewell is not None:
            stay.farewell.cancel()
            stay.farewell = None
        stay.connections += 1
        if not stay.person and is_announced(principal):
            stay.person = True
            self._note(key, stay)
            self._tell(key)

    def left(self, client: Client, code: CloseCode) -> None:
        """A connection has closed."""
        principal = client.principal
        key = (principal.tenant_id, principal.user_id, principal.is_visitor)
        stay = self._stays[key]
        stay.connections -= 1
        if stay.connections == 0:
            self._last_seen[key] = self._clock.time()
            self._last_seen.move_to_end(key)
            if len(self._last_seen) > MAX_REMEMBERED:
                self._last_seen.popitem(last=False)
            self._note(key, stay)
            stay.farewell = self._clock.call_later(self._grace, self._gone, key)

    def of(self, tenant_id: str, user_id: str) -> UserPresence:
        """Whether a user is connected; see ``UserPresence``. A visitor is told of where no staff has that id."""
        staff = self._presence_of((tenant_id, user_id, False))
        return staff if staff.online or staff.last_seen is not None else self._presence_of((tenant_id, user_id, True))

    def _presence_of(self, key: UserKey) -> UserPresence:
        stay = self._stays.get(key)
        if stay is None or stay.connections == 0:
            return UserPresence(False, 0, None, self._last_seen.get(key))
        return UserPresence(True, stay.connections, stay.since, self._clock.time())

    def _gone(self, key: UserKey) -> None:
        if self._stays.pop(key).noted:
            self._note(key, None)
            self._tell(key)

    def _note(self, key: UserKey, stay: _Stay | None) -> None:
        now = self._clock.time()
        last_seen = now if stay is not None else self._last_seen.get(key, now)
        since = None
        if stay is not None and stay.person:
            since, stay.noted = stay.since, True
        self._register.note(PresenceRecord(*key, since, last_seen))

    def _tell(self, key: UserKey) -> None:
        if key not in self._telling:
            self._telling.add(key)
            self._spawn(self._tell_all(key))

    async def _tell_all(self, key: UserKey) -> None:
        """Announce what is the case until others know it."""
        try:
            while (online := self._is_here(key)) != (key in self._told):
                stay = self._stays.get(key)
                connections = 0 if stay is None else stay.connections
                reason = "connected" if online else "disconnected"
                payload = {"user_id": key[1], "online": online, "connections": connections, "reason": reason}
                try:
                    await self._announce(key[0], payload)
                except Refusal:
                    # The store takes nothing now. Publishers are told so themselves, /readyz says it to operators.
                    self._clock.call_later(RETRY, self._tell, key)
                    return
                (self._told.add if online else self._told.discard)(key)
        finally:
            self._telling.discard(key)

    def _is_here(self, key: UserKey) -> bool:
        stay = self._stays.get(key)
        return stay is not None and stay.person
