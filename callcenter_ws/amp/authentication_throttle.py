"""AuthenticationThrottle: how often the peers of a network may try to authenticate over AMP."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.runtime.clock import Clock
from callcenter_ws.runtime.peer_budget import Credential
from callcenter_ws.runtime.peer_limits import PeerLimits

DELAY_SECONDS = 3.0
"""Seconds before a token is verified, once too many of the network were refused."""

MAX_DELAYED = 4
"""Tries of one network that may be delayed at once; further ones are refused. The network with no delayed try has no
entry, so that the table is no larger than the number of connections."""


class AuthenticationThrottle:
    """Delays and refuses tries at the shared secret.

    A delayed try is still verified: a daemon at the same address as a guessing peer is late, not locked out.
    """

    def __init__(self, limits: PeerLimits, clock: Clock) -> None:
        self._limits = limits
        self._clock = clock
        self._delayed: dict[str, int] = {}

    async def admit(self, network: str) -> None:
        """Return when a token of the network may be verified.

        Raises:
            Refusal: ``rate_limited``: too many tries of the network wait already.
        """
        budget = self._limits.budget
        seconds = budget.seconds_until_try(network, Credential.SECRET)
        if not seconds:
            return
        delayed = self._delayed.get(network, 0)
        if delayed >= MAX_DELAYED:
            budget.count_refused_try()
            raise Refusal(ErrorCode.RATE_LIMITED, "too many refused tokens from this address", retry_after=seconds)
        self._delayed[network] = delayed + 1
        try:
            passed: Deferred[None] = Deferred()
            self._clock.call_later(DELAY_SECONDS, passed.callback, None)
            await passed
        finally:
            self._delayed[network] -= 1
            if not self._delayed[network]:
                del self._delayed[network]

    def refused(self, network: str) -> None:
        """Count a token that was verified and refused."""
        self._limits.budget.credential_refused(network, Credential.SECRET)
