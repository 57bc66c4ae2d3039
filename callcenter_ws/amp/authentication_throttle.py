"""AuthenticationThrottle: how often the peers of a network may try to authenticate over AMP."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

from twisted.internet.defer import Deferred

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.runtime.clock import Clock
from callcenter_ws.runtime.peer_budget import Credential
from callcenter_ws.runtime.peer_limits import PeerLimits

DELAY_SECONDS = 3.0
"""Seconds before a secret is compared, once too many of the network were refused."""

MAX_DELAYED = 4
"""Tries of one network that may be delayed at once; further ones are refused. The network with no delayed try has no
entry, so that the table is no larger than the number of connections."""

MAX_DELAYED_OF_KNOWN = 64
"""The same for a network from which a daemon has authenticated with the secret."""

MAX_KNOWN = 1_000
"""Networks that are known for such a daemon; beyond, the one that authenticated longest ago is forgotten."""


class AuthenticationThrottle:
    """Delays and refuses tries at the shared secret, and refuses signed tokens after too many wrong ones.

    A delayed try is still verified: a daemon at the same address as a guessing peer is late, not locked out. For that,
    a network of daemons has more places than a peer can take with a few sockets: a connection has one place.
    """

    def __init__(self, limits: PeerLimits, clock: Clock) -> None:
        self._limits = limits
        self._clock = clock
        self._delayed: dict[str, int] = {}
        self._waiting: set[Hashable] = set()
        # The one that authenticated longest ago is first.
        self._known: OrderedDict[str, None] = OrderedDict()

    async def admit(self, peer: Hashable, network: str, kind: Credential) -> None:
        """Return when a credential of a peer may be verified.

        Raises:
            Refusal: ``rate_limited``: too many tries of the network wait already, a try of this peer waits, or too many
                signed tokens of the network were refused.
        """
        budget = self._limits.budget
        seconds = budget.seconds_until_try(network, kind)
        if not seconds:
            return
        delayed = self._delayed.get(network, 0)
        places = MAX_DELAYED_OF_KNOWN if network in self._known else MAX_DELAYED
        if kind is Credential.TOKEN or delayed >= places or peer in self._waiting:
            budget.count_refused_try()
            raise Refusal(ErrorCode.RATE_LIMITED, "too many refused tokens from this address", retry_after=seconds)
        self._delayed[network] = delayed + 1
        self._waiting.add(peer)
        try:
            passed: Deferred[None] = Deferred()
            self._clock.call_later(DELAY_SECONDS, passed.callback, None)
            await passed
        finally:
            self._waiting.discard(peer)
            self._delayed[network] -= 1
            if not self._delayed[network]:
                del self._delayed[network]

    def refused(self, network: str, kind: Credential) -> None:
        """Count a credential that was verified and refused."""
        self._limits.budget.credential_refused(network, kind)

    def accepted(self, network: str, kind: Credential) -> None:
        """Remember a network from which a daemon has authenticated with the secret."""
        if kind is Credential.SECRET:
            self._known[network] = None
            self._known.move_to_end(network)
            if len(self._known) > MAX_KNOWN:
                self._known.popitem(last=False)
