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
from collections import Counter
from collections.abc import Callable, Iterable

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.principal import EVERY_TENANT, Principal
from callcenter_ws.interfaces import REVOCATION_LIFETIME_SECONDS, Authenticator, Revocation

CLOCK_SKEW_SECONDS = 60.0
"""Seconds by which the clock of an issuer may be ahead of the gateway's if no larger leeway is configured."""

LEAD_MARGIN_SECONDS = 2.0
"""Time that a token may have needed from its issue to the gateway when the lead of the issuer's clock was measured."""

MINIMUM_MARGIN_SECONDS = 5.0
"""Time after a revocation that it covers in any case; clocks kept by NTP differ by less."""

MAX_REVOCATIONS = 100_000
"""The largest number of revoked tokens and users."""

RESERVED_REVOCATIONS = 10_000
"""How many of these only credentials for all tenants may use."""

MAX_REVOCATIONS_PER_TENANT = 10_000
"""The largest number of revoked tokens and users of a tenant; more with a credential for all tenants."""

RETRY_SECONDS = 1.0
"""Seconds after which a client should try again whose token cannot be checked yet."""

SEARCH_INTERVAL_SECONDS = 60.0
"""Time between two searches for revocations that may be forgotten: one takes some milliseconds."""


class Revocations:
    """The revoked tokens, by ``jti``, and the users whose tokens are revoked if issued until a certain time.

    There are at most ``MAX_REVOCATIONS``, and ``MAX_REVOCATIONS_PER_TENANT`` of a tenant. At a limit those are dropped
    that are older than ``REVOCATION_LIFETIME_SECONDS`` and than the lifetime of any token that was presented; if there
    are none, new ones are refused.

    Args:
        now: returns the Unix time in seconds.

    Attributes:
        tolerance: seconds by which the ``iat`` of an accepted token may lie in the future; may be changed.
        are_read: whether those of the store are known; until then no token can be accepted. False only at a node that
            has not yet read them from the store that it shares with others.
    """

    def __init__(self, tolerance: float = CLOCK_SKEW_SECONDS, now: Callable[[], float] = time.time) -> None:
        self.tolerance = tolerance
        self._now = now
        # The largest number of seconds by which the ``iat`` of a verified token lay in the future.
        self._lead = 0.0
        # The longest lifetime of a verified token in seconds.
        self._lifetime = float(REVOCATION_LIFETIME_SECONDS)
        # The times of the revocations.
        self._tokens: dict[tuple[str, str], float] = {}
        self._users: dict[tuple[str, str], float] = {}
        self._by_tenant: dict[str, int] = {}
        self._next_search = 0.0
        self.are_read = True

    def not_ready(self) -> str | None:
        """Return why no token can be accepted; None if that is not so."""
        return None if self.are_read else "revocations: they have not been read from the store yet"

    def note_issued(self, principal: Principal) -> None:
        """Note how far the clock of the issuer of a verified token is ahead, and how long the token is valid."""
        if principal.issued_at is not None:
            self._lead = max(self._lead, principal.issued_at - self._now())
            if principal.expires_at is not None and principal.expires_at - principal.issued_at > self._lifetime:
                self._lifetime = principal.expires_at - principal.issued_at

    def cutoff(self, revoked_at: float) -> float:
        """Return the latest ``iat`` of the tokens that may have been issued until ``revoked_at``, Unix seconds."""
        measured = min(2 * self._lead + LEAD_MARGIN_SECONDS, self.tolerance)
        return revoked_at + max(MINIMUM_MARGIN_SECONDS, measured)

    def merge(self, known: Iterable[Revocation]) -> None:
        """Add revocations from the store or from other nodes."""
        for revocation in known:
            if revocation.jti is not None:
                self._revoke(self._tokens, (revocation.tenant_id, revocation.jti), revocation.at)
            if revocation.user_id is not None:
                self._revoke(self._users, (revocation.tenant_id, revocation.user_id), revocation.at)

    def revoke_token(self, tenant_id: str, jti: str) -> None:
        """Revoke the token with this ``jti``; ``check_room`` was called before."""
        self._revoke(self._tokens, (tenant_id, jti), self._now())

    def revoke_user(self, tenant_id: str, user_id: str, until: float) -> None:
        """Revoke all tokens of a user with an ``iat`` until that time (Unix seconds), and those without.

        ``check_room`` was called before.
        """
        self._revoke(self._users, (tenant_id, user_id), until)

    def _revoke(self, revoked: dict[tuple[str, str], float], key: tuple[str, str], at: float) -> None:
        known = revoked.get(key)
        if known is None:
            self._by_tenant[key[0]] = self._by_tenant.get(key[0], 0) + 1
        # A clock that was set back must not make an earlier revocation weaker.
        revoked[key] = at if known is None else max(at, known)

    def check_room(self, tenant_id: str, jti: str | None, user_id: str | None, *, for_all: bool = False) -> None:
        """Check that there is room for a revocation; a repeated one needs none.

        Args:
            for_all: whether the credential that revokes is for all tenants.

        Raises:
            Refusal: ``overloaded`` at a limit.
        """
        count = sum(
            name is not None and (tenant_id, name) not in revoked
            for name, revoked in ((jti, self._tokens), (user_id, self._users))
        )
        if count and self._full(tenant_id, count, for_all=for_all) is not None:
            self._forget_expired()
            full = self._full(tenant_id, count, for_all=for_all)
            if full is not None:
                raise Refusal(ErrorCode.OVERLOADED, full)

    def _full(self, tenant_id: str, count: int, *, for_all: bool) -> str | None:
        """Return which limit ``count`` more revocations would exceed."""
        if not for_all and self._by_tenant.get(tenant_id, 0) + count > MAX_REVOCATIONS_PER_TENANT:
            return f"the limit of {MAX_REVOCATIONS_PER_TENANT} revocations of one tenant is reached"
        most = revocation_limit(for_all=for_all)
        if len(self._tokens) + len(self._users) + count > most:
            return f"the limit of {most} revocations of all tenants together is reached"
        return None

    def _forget_expired(self) -> None:
        now = self._now()
        if now < self._next_search:
            return
        self._next_search = now + SEARCH_INTERVAL_SECONDS
        oldest = now - self._lifetime
        for revoked in (self._tokens, self._users):
            for key in [key for key, at in revoked.items() if at < oldest]:
                del revoked[key]
        self._by_tenant = dict(Counter(tenant_id for tenant_id, _ in (*self._tokens, *self._users)))

    def revoked_until(self, tenant_id: str, user_id: str) -> float | None:
        """Return until which ``iat`` all tokens of a user are refused; None if they are not."""
        return self._users.get((tenant_id, user_id))

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


def revocation_limit(*, for_all: bool) -> int:
    """Return how many revocations there may be; ``for_all``: with a credential for all tenants."""
    return MAX_REVOCATIONS if for_all else MAX_REVOCATIONS - RESERVED_REVOCATIONS


class UnrevokedTokens:
    """An Authenticator that refuses revoked tokens; it verifies all others with another Authenticator."""

    def __init__(self, authenticator: Authenticator, revocations: Revocations) -> None:
        self._authenticator = authenticator
        self._revocations = revocations

    def verify(self, token: str) -> Principal:
        """Return the principal of a token.

        Raises:
            Refusal: as for the other Authenticator; ``unauthorized`` if the token is revoked; ``try_later`` if that is
                not known yet.
        """
        principal = self._authenticator.verify(token)
        if not self._revocations.are_read:
            reason = "the gateway has just started and does not know yet which tokens are revoked"
            raise Refusal(ErrorCode.TRY_LATER, reason, retry_after=RETRY_SECONDS)
        self._revocations.note_issued(principal)
        self._revocations.check(principal)
        return principal
