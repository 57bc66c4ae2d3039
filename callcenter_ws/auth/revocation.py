"""Revocation of tokens before they expire."""

from __future__ import annotations

from collections.abc import Iterable

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.principal import EVERY_TENANT, Principal
from callcenter_ws.interfaces import Authenticator, Revocation

MAX_REVOCATIONS = 100_000
"""The largest number of revoked tokens and users."""


class Revocations:
    """The revoked tokens, by ``jti``, and the users whose tokens are revoked if issued until a certain time.

    There are at most ``MAX_REVOCATIONS``. At the limit new revocations are refused; none is ever dropped.
    """

    def __init__(self) -> None:
        self._tokens: set[tuple[str, str]] = set()
        self._users: dict[tuple[str, str], float] = {}

    def merge(self, known: Iterable[Revocation]) -> None:
        """Add revocations from the store or from other nodes."""
        for revocation in known:
            if revocation.jti is not None:
                self._tokens.add((revocation.tenant_id, revocation.jti))
            if revocation.user_id is not None:
                self._users[revocation.tenant_id, revocation.user_id] = revocation.at

    def revoke_token(self, tenant_id: str, jti: str) -> None:
        """Revoke the token with this ``jti``.

        Raises:
            Refusal: ``overloaded`` at the limit.
        """
        if (tenant_id, jti) not in self._tokens:
            self._check_limit()
        self._tokens.add((tenant_id, jti))

    def revoke_user(self, tenant_id: str, user_id: str, now: float) -> None:
        """Revoke all tokens of a user that were issued until ``now`` (Unix seconds).

        Raises:
            Refusal: ``overloaded`` at the limit.
        """
        if (tenant_id, user_id) not in self._users:
            self._check_limit()
        self._users[tenant_id, user_id] = now

    def check(self, principal: Principal) -> None:
        """Check that the token of a principal is not revoked.

        A token of a revoked user without ``iat`` counts as revoked: it may have been issued before.

        Raises:
            Refusal: ``unauthorized`` if the token is revoked.
        """
        for tenant_id in (principal.tenant_id, EVERY_TENANT) if principal.narrowed else (principal.tenant_id,):
            revoked_at = self._users.get((tenant_id, principal.user_id))
            by_user = revoked_at is not None and (principal.issued_at is None or principal.issued_at <= revoked_at)
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
        self._revocations.check(principal)
        return principal
