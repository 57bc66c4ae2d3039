"""Tokens that are refused although they are still valid."""

from __future__ import annotations

from collections.abc import Iterable

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.principal import EVERY_TENANT, Principal
from callcenter_ws.interfaces import Authenticator, Revocation

MAX_REVOCATIONS = 100_000


class Revocations:
    """Revoked tokens by ``jti``, and users whose tokens issued until a moment are refused.

    At most ``MAX_REVOCATIONS``; a full list refuses new ones rather than forget old ones.
    """

    def __init__(self) -> None:
        self._tokens: set[tuple[str, str]] = set()
        self._users: dict[tuple[str, str], float] = {}

    def recall(self, known: Iterable[Revocation]) -> None:
        """Take up what was revoked before."""
        for revocation in known:
            if revocation.jti is not None:
                self._tokens.add((revocation.tenant_id, revocation.jti))
            if revocation.user_id is not None:
                self._users[revocation.tenant_id, revocation.user_id] = revocation.at

    def revoke_token(self, tenant_id: str, jti: str) -> None:
        """Refuse the token with this ``jti`` from now on.

        Raises:
            Refusal: ``overloaded`` when the list is full.
        """
        if (tenant_id, jti) not in self._tokens:
            self._check_room()
        self._tokens.add((tenant_id, jti))

    def revoke_user(self, tenant_id: str, user_id: str, now: float) -> None:
        """Refuse every token that the user was issued until ``now`` (Unix seconds).

        Raises:
            Refusal: ``overloaded`` when the list is full.
        """
        if (tenant_id, user_id) not in self._users:
            self._check_room()
        self._users[tenant_id, user_id] = now

    def check(self, principal: Principal) -> None:
        """Let a principal pass.

        A token without ``iat`` of a revoked user is refused: nothing shows that it is newer.

        Raises:
            Refusal: ``unauthorized`` when its token was revoked.
        """
        for tenant_id in (principal.tenant_id, EVERY_TENANT) if principal.narrowed else (principal.tenant_id,):
            revoked_at = self._users.get((tenant_id, principal.user_id))
            by_user = revoked_at is not None and (principal.issued_at is None or principal.issued_at <= revoked_at)
            if by_user or (principal.jti is not None and (tenant_id, principal.jti) in self._tokens):
                raise Refusal(ErrorCode.UNAUTHORIZED, "the token was revoked")

    def _check_room(self) -> None:
        if len(self._tokens) + len(self._users) >= MAX_REVOCATIONS:
            raise Refusal(ErrorCode.OVERLOADED, f"{MAX_REVOCATIONS} tokens are revoked already, no room for more")


class UnrevokedTokens:
    """An Authenticator that refuses what another accepts, once it is revoked: over WebSocket, HTTP and AMP alike."""

    def __init__(self, authenticator: Authenticator, revocations: Revocations) -> None:
        self._authenticator = authenticator
        self._revocations = revocations

    def verify(self, token: str) -> Principal:
        """Return who the token speaks for.

        Raises:
            Refusal: as the other Authenticator, and ``unauthorized`` for a revoked token.
        """
        principal = self._authenticator.verify(token)
        self._revocations.check(principal)
        return principal
