"""RequestPeer: the peer of one HTTP request, until and after it has authenticated."""

from __future__ import annotations

from collections.abc import Callable

from twisted.python.failure import Failure

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.runtime.log_fields import reason_of
from callcenter_ws.runtime.peer_budget import Credential
from callcenter_ws.runtime.peer_limits import PeerLimits


class RequestPeer:
    """Counts one request for its network; the request is given back when its token is accepted.

    Args:
        network: the network of the client, behind trusted proxies the real one.
        is_exempt: whether the request is not counted.
        has_credentials: whether the request has a token, which must be checked before the request is refused.
        authenticated: called once the token was accepted.
    """

    def __init__(
        self,
        limits: PeerLimits,
        network: str,
        *,
        is_exempt: bool,
        has_credentials: bool,
        authenticated: Callable[[], None],
    ) -> None:
        self._budget = limits.budget
        self._limits = limits
        self._authenticated = authenticated
        self._is_counted = False
        self._is_exempt = is_exempt
        self._has_credentials = has_credentials
        self.network = network

    def count_request(self) -> None:
        """Count the request.

        Raises:
            Refusal: ``rate_limited``: the network has made too many, and this one has no token that could be checked.
        """
        if self._is_exempt:
            return
        seconds = self._budget.request(self.network)
        self._is_counted = not seconds
        if seconds and not self._has_credentials:
            raise Refusal(
                ErrorCode.RATE_LIMITED, "too many requests without a valid token from this address", retry_after=seconds
            )

    def count_bytes(self, count: int) -> None:
        """Count bytes of a request that came through a trusted proxy.

        Raises:
            Refusal: ``rate_limited``: the network has sent too many.
        """
        seconds = 0.0 if self._is_exempt else self._budget.received(self.network, count)
        if seconds:
            raise Refusal(ErrorCode.RATE_LIMITED, "too many bytes from this address", retry_after=seconds)

    def check_try(self, kind: Credential = Credential.TOKEN) -> None:
        """Check that a credential of this peer may be verified.

        Raises:
            Refusal: ``rate_limited``: too many of this kind have been refused to the network.
        """
        seconds = self._budget.seconds_until_try(self.network, kind)
        if seconds:
            self._budget.count_refused_try()
            raise Refusal(
                ErrorCode.RATE_LIMITED, f"too many refused {kind.value}s from this address", retry_after=seconds
            )

    def token_refused(self, kind: Credential = Credential.TOKEN) -> None:
        """Count a refused credential."""
        self._budget.credential_refused(self.network, kind)

    def token_accepted(self) -> None:
        """Give the request back: its peer has authenticated."""
        if self._is_counted:
            self._is_counted = False
            self._budget.give_back_request(self.network)
        self._authenticated()

    def spend(self, units: int) -> None:
        """Count work of this turn of the reactor beyond that of a usual request."""
        self._limits.turns.spend(units)

    def log_unhandled(self, text: str, failure: Failure, **fields: object) -> None:
        """Log an exception that a request of this peer has caused; see ``RefusalLog.failure``."""
        self._limits.log.failure(text, failure, **fields)

    def log_refusal(self, text: str, refusal: Refusal, **fields: object) -> None:
        """Count a refusal, and log it unless the log has many of them; ``text`` may name peer, code and reason."""
        self._limits.count_refused(refusal.code.value)
        self._limits.log.write(
            self.network,
            text,
            is_warning=False,
            peer=self.network,
            code=refusal.code.value,
            reason=reason_of(refusal.message),
            **fields,
        )
