"""What a daemon may prove itself with."""

from __future__ import annotations

import hmac
from typing import Protocol

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.principal import EVERY_TENANT, Principal, Role
from callcenter_ws.interfaces import Authenticator

LOCAL = Principal(EVERY_TENANT, "unix", Role.SERVICE)
"""Whoever could open our unix socket: the file's mode has decided."""

SHARED = Principal(EVERY_TENANT, "token-file", Role.SERVICE)
"""Whoever knows the secret of ``amp.token_file``."""


class Revocations(Protocol):
    """The tokens that are refused although they are valid."""

    def check(self, principal: Principal) -> None:
        """Let a principal pass.

        Raises:
            Refusal: ``unauthorized``, its token was revoked.
        """


def is_revoked(principal: Principal | None, revocations: Revocations) -> bool:
    """Whether the token that a peer has presented is revoked by now; one that has none cannot lose it."""
    if principal is None or principal is LOCAL or principal is SHARED:
        return False
    try:
        revocations.check(principal)
    except Refusal:
        return True
    return False


class Credentials:
    """Turns the token of ``Authenticate`` into a Principal.

    Args:
        secret: the content of ``amp.token_file`` without surrounding white space; speaks for all tenants.
        authenticator: verifies JWTs; those of role ``service`` speak for their ``tenant_id``.
    """

    def __init__(self, secret: bytes | None, authenticator: Authenticator | None) -> None:
        if secret is not None and not secret.strip():
            raise ValueError("the shared secret of AMP is empty")
        self._secret = secret
        self._authenticator = authenticator

    def verify(self, token: str) -> Principal:
        """Return who the token speaks for.

        Raises:
            Refusal: ``unauthorized``; ``forbidden`` for a valid token of another role than ``service``.
        """
        if self._secret is not None and hmac.compare_digest(token.encode(), self._secret):
            return SHARED
        if self._authenticator is None:
            raise Refusal(ErrorCode.UNAUTHORIZED, "token: it is not the shared secret of this gateway")
        principal = self._authenticator.verify(token)
        if principal.role is not Role.SERVICE:
            raise Refusal(ErrorCode.FORBIDDEN, f"token: its role is {principal.role}, AMP is for the role service")
        return principal
