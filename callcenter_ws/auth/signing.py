"""Signs tokens, for anonymous visitors, the demo and the command line."""

from __future__ import annotations

from collections.abc import Mapping

import jwt

from callcenter_ws.auth.keys import hmac_key


def sign_token(secret: bytes, claims: Mapping[str, object], *, algorithm: str = "HS256", kid: str | None = None) -> str:
    """Return a signed token.

    Args:
        claims: all claims of the token; none is added.
        algorithm: ``HS256``, ``HS384`` or ``HS512``.
        kid: the ``kid`` header; None omits it.

    Raises:
        UnusableKey: the secret is too short for the algorithm, or the algorithm is not an HMAC.
    """
    hmac_key(secret, (algorithm,))
    return jwt.encode(dict(claims), secret, algorithm, headers=None if kid is None else {"kid": kid})
