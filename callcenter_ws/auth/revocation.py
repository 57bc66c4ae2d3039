"""Revocation of tokens before they expire.

A user's tokens are revoked by the time of their issue, ``iat``, which is read from the issuer's clock, while the time
of the revocation is read from the gateway's. If the issuer's clock is ahead, a token that was issued before the
revocation has a later ``iat``. The gateway therefore notes how far the ``iat`` of any verified token lay ahead of its
own clock, and a revocation covers every ``iat`` until ``Revocations.cutoff``, at least ``MINIMUM_MARGIN_SECONDS`` after
it: a gateway that has just started has not seen any lead. No token that was presented to this process before the
revocation is missed; one that was not is missed only if the issuer's clock is ahead by more than that and no token ever
showed it. A token that is issued after the revocation is accepted if its ``iat`` lies behind the cutoff. A token that
was issued within the margin stays refused, since its ``iat`` does not change: the user has to log in once more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.principal import EVERY_TENANT, Principal
from callcenter_ws.interfaces import Authenticator, Revocation

CLOCK_SKEW_SECONDS = 60.0
"""Seconds by which the clock of an issuer may be ahead of the gateway's if no larger leeway is configured."""

LEAD_MARGIN_SECONDS = 2.0
"""Time that a token may have needed from its issue to the gateway when the lead of the issuer's clock was measured."""

MINIMUM_MARGIN_SECONDS = 5.0
"""Time after a revocation that it covers in any case; clocks kept by NTP differ by less."""

MAX_REVOCATIONS = 100_000
"""The largest number of revoked tokens and users."""


class Revocations:
    """The revoked tokens, by ``jti``, and the users whose tokens are revoked if issued until a certain time.

    There are at most ``MAX_REVOCATIONS``. At the limit new revocations are refused; none is ever dropped.

    Args:
        tolerance: seconds by which the ``iat`` of an accepted token may lie in the future.
        now: returns the Unix time in seconds.
    """

    def __init__(self, tolerance: float = CLOCK_SKEW_SECONDS, now: Callable[[], float] = time.time) -> None:
        self._tolerance = tolerance
        self._now = now
        # The largest number of seconds by which the ``iat`` of a verified token lay in the future.
        self._lead = 0.0
        self._tokens: set[tuple[str, str]] = set()
        self._users: dict[tuple[str, str], float] = {}

    def note_issued(self, principal: Principal) -> None:
        """Note how far the clock of the issuer of a verified token is ahead."""
        if principal.issued_at is not None:
            self._lead = max(self._lead, principal.issued_at - self._now())

    def cutoff(self, revoked_at: float) -> float:
        """Return the latest ``iat`` of the tokens that may have been issued until ``revoked_at``, Unix seconds."""
        measured = min(2 * self._lead + LEAD_MARGIN_SECONDS, self._tolerance)
        return revoked_at + max(MINIMUM_MARGIN_SECONDS, measured)

    def merge(self, known: Iterable[Revocation]) -> None:
        """Add revocations from the store or from other nodes."""
        for revocation in known:
            if revocation.jti is not None:
                self._tokens.add((revocation.tenant_id, revocation.jti))
            if revocation.user_id is not None:
                self._revoke_user((revocation.tenant_id, revocation.user_id), revocation.at)

    def revoke_token(self, tenant_id: str, jti: str) -> None:
        """Revoke the token with this ``jti``.

        Raises:
            Refusal: ``overloaded`` at the limit.
        """
        if (tenant_id, jti) not in self._tokens:
            self._check_limit()
        self._tokens.add((tenant_id, jti))

    def revoke_user(self, tenant_id: str, user_id: str, until: float) -> None:
        """Revoke all tokens of a user with an ``iat`` until that time (Unix seconds), and those without.

        Raises:
            Refusal: ``overloaded`` at the limit.
        """
        if (tenant_id, user_id) not in self._users:
            self._check_limit()
        self._revoke_user((tenant_id, user_id), until)

    def _revoke_user(self, user: tuple[str, str], until: float) -> None:
        # A clock that was set back must not make an earlier revocation weaker.
        self._users[user] = max(until, self._users.get(user, until))

    def check(self, principal: Principal) -> None:
        """Check that the token of a principal is not revoked.

        A token of a revoked user without ``iat`` counts as revoked: it may have been issued before.

        Raises:
            Refusal: ``unauthorized`` if the token is revoked.
        """
        for tenant_id in (principal.tenant_id, EVERY_TENANT) if principal.narrowed else (principal.tenant_id,):
            until = self._users.get((tenant_id, principal.user_id))
            by_user = until is not None and (principal.issued_at is None or principal.issued_at <= until)
            if by_user or (principal.jti is not None and (tenant_id, principal.jti) in self._tokens):
                raise Refusal(ErrorCode.UNAUTHORIZED, "the token was revoked")

    def _check_limit(self) -> None:
        if len(self._tokens) + len(self._users) >= MAX_REVOCATIONS:
            raise Refusal(ErrorCode.OVERLOADED, f"the limit of {MAX_REVOCATIONS} revocations is reached")


class UnrevokedTokens:
    """An Authenticator that refuses revoked tokens; it verifies all others with another Authenticator."""

    def __init__(self, authenticator: Authenticator, revocations: Revocations) -> None:
        self._authenticator = authenticator
        self._revocations = revocations

    def verify(self, token: str) -> Principal:
        """Return the principal of a token.

        Raises:
            Refusal: as for the other Authenticator; ``unauthorized`` if the token is revoked.
        """
        principal = self._authenticator.verify(token)
        self._revocations.note_issued(principal)
        self._revocations.check(principal)
        return principal
