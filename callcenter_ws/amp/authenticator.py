"""Authentication of AMP peers: the shared secret, service tokens, and unix sockets."""

from __future__ import annotations

import hmac
import re

from callcenter_ws.auth.jws import NOT_A_JWT
from callcenter_ws.auth.revocation import Revocations
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.principal import EVERY_TENANT, Principal, Role
from callcenter_ws.interfaces import Authenticator
from callcenter_ws.runtime.peer_budget import Credential

UNIX_SOCKET = Principal(EVERY_TENANT, "unix", Role.SERVICE)
"""The principal of a peer on a unix socket. The mode of the socket's file has authorized it."""

SHARED_SECRET = Principal(EVERY_TENANT, "token-file", Role.SERVICE)
"""The principal of a peer that presented the secret of ``amp.token_file``."""


_SIGNED = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
"""The shape of a JWT (RFC 7515 section 7.1)."""


def is_revoked(principal: Principal | None, revocations: Revocations) -> bool:
    """Return whether the token that a peer presented has been revoked. A peer without a token has none to revoke."""
    if principal is None or principal is UNIX_SOCKET or principal is SHARED_SECRET:
        return False
    try:
        revocations.check(principal)
    except Refusal:
        return True
    return False


class PeerAuthenticator:
    """Verifies the token of ``Authenticate``.

    Args:
        secret: the content of ``amp.token_file`` without surrounding white space; it authorizes for all tenants.
        authenticator: verifies JWTs; those of role ``service`` authorize for their ``tenant_id``.

    Raises:
        ValueError: the secret is empty.
    """

    def __init__(self, secret: bytes | None, authenticator: Authenticator | None) -> None:
        self._authenticator = authenticator
        self.replace_secret(secret)

    def replace_secret(self, secret: bytes | None) -> None:
        """Accept another secret from now on; peers that have authenticated stay so.

        Raises:
            ValueError: the secret is empty.
        """
        if secret is not None and not secret.strip():
            raise ValueError("the shared secret of AMP is empty")
        self._secret = secret
        self._has_secret_like_token = secret is not None and _SIGNED.fullmatch(secret.decode("latin-1")) is not None

    def kind_of(self, token: str) -> Credential:
        """Return what a token is: what has the shape of a JWT, and the secret has not, is no guess of the secret."""
        can_be_signed = self._authenticator is not None and not self._has_secret_like_token
        if self._secret is None or (can_be_signed and _SIGNED.fullmatch(token)):
            return Credential.TOKEN
        return Credential.SECRET

    def verify(self, token: str) -> Principal:
        """Return the principal of a token.

        Raises:
            Refusal: ``unauthorized``; ``forbidden`` for a valid token of another role than ``service``.
        """
        if self._secret is not None and hmac.compare_digest(token.encode(), self._secret):
            return SHARED_SECRET
        if self._authenticator is None:
            raise Refusal(ErrorCode.UNAUTHORIZED, "token: it is not the shared secret of this gateway")
        try:
            principal = self._authenticator.verify(token)
        except Refusal as refusal:
            if self._secret is not None and refusal.message.startswith(NOT_A_JWT) and not _SIGNED.fullmatch(token):
                text = "token: it is neither the shared secret of this gateway nor a JWT"
                raise Refusal(ErrorCode.UNAUTHORIZED, text) from None
            raise
        if principal.role is not Role.SERVICE:
            raise Refusal(ErrorCode.FORBIDDEN, f"token: its role is {principal.role}, AMP is for the role service")
        return principal
