"""UserProbes: finds out whether a user's connections live, when the limit on their number is reached.

A connection whose peer has vanished without closing it counts until a ping stays unanswered. When the limit is reached,
the user's connections are pinged (``Client.probe``). Those that do not answer are closed; a new connection is refused
for good only if the others have answered a moment ago.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection

from msgspec import Struct

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.interfaces import PresenceClient
from callcenter_ws.runtime.clock import Clock

PROBE_TIMEOUT_SECONDS = 5.0
"""Time within which a connection must answer."""

RETRY_SECONDS = PROBE_TIMEOUT_SECONDS + 1
"""Time after the pings at which the connections that did not answer are closed, at other nodes too."""

DECIDED_AFTER_SECONDS = PROBE_TIMEOUT_SECONDS + 0.75
"""Time after which a new connection may be refused for good. Clients return a little later, after ``RETRY_SECONDS``."""

PROBE_INTERVAL_SECONDS = 10.0
"""Minimum time between two pings to a user's connections."""

ANSWER_LIFETIME_SECONDS = 30.0
"""Time for which connections that have answered count as living."""

MAX_USERS = 10_000
"""Users whose last pings are remembered. If there are more, the oldest are forgotten, and may be pinged earlier."""

UserKey = tuple[str, str, bool]
"""Tenant, user, and whether it is a visitor: a visitor and an agent with the same id are different users."""


class _Probe(Struct, frozen=True):
    """When a user's connections were pinged (monotonic), and their identifiers."""

    at: float
    connections: frozenset[str]


class UserProbes:
    """The pings to the connections of users who have reached a limit."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # The users who were pinged last are at the end.
        self._probes: OrderedDict[UserKey, _Probe] = OrderedDict()

    def probe(self, user: UserKey, clients: Collection[PresenceClient]) -> bool:
        """Ping a user's connections; return False if that was done less than ``PROBE_INTERVAL_SECONDS`` ago."""
        now = self._clock.monotonic()
        last = self._probes.get(user)
        if last is not None and now - last.at < PROBE_INTERVAL_SECONDS:
            return False
        self._probes[user] = _Probe(now, frozenset([client.connection_id for client in clients]))
        self._probes.move_to_end(user)
        if len(self._probes) > MAX_USERS:
            self._probes.popitem(last=False)
        for client in clients:
            client.probe()
        return True

    def decide(self, user: UserKey, clients: Collection[PresenceClient]) -> tuple[Refusal, bool]:
        """Return the refusal of a connection over the limit that ``clients`` have reached, and whether they are pinged.

        The refusal has no time after which to retry if they live: then waiting does not help.
        """
        if self._have_answered(user, clients):
            text = "the user has too many connections, and all of them answer"
            return Refusal(ErrorCode.CONNECTION_LIMIT, text), False
        if self.probe(user, clients):
            return _undecided(RETRY_SECONDS), True
        age = self._clock.monotonic() - self._probes[user].at
        # After the answers, a connection that was not pinged is left: it may be pinged after the interval.
        return _undecided((RETRY_SECONDS if age < DECIDED_AFTER_SECONDS else PROBE_INTERVAL_SECONDS) - age), False

    def _have_answered(self, user: UserKey, clients: Collection[PresenceClient]) -> bool:
        """Return whether all of these connections, which are open, have answered a moment ago."""
        last = self._probes.get(user)
        if last is None:
            return False
        age = self._clock.monotonic() - last.at
        return DECIDED_AFTER_SECONDS <= age < ANSWER_LIFETIME_SECONDS and all(
            client.connection_id in last.connections for client in clients
        )


def _undecided(seconds: float) -> Refusal:
    text = "the user has too many connections; those that do not answer a ping are closed"
    return Refusal(ErrorCode.CONNECTION_LIMIT, text, retry_after=seconds)
