"""The keys and rules by which the settings have tokens verified: for the gateway, and for ``check-token``."""

from __future__ import annotations

from callcenter_ws.auth.keys import VerificationKey, hmac_key, read_public_key, read_secret
from callcenter_ws.auth.tokens import TokenRules
from callcenter_ws.config.settings import JwtSettings


def fixed_keys(jwt: JwtSettings) -> list[VerificationKey]:
    """Read the keys in files.

    Raises:
        UnusableKey: a file cannot be read, or its key cannot be used.
    """
    keys = [read_public_key(path) for path in jwt.public_key_files]
    if jwt.secret_file is not None:
        keys.append(hmac_key(read_secret(jwt.secret_file), jwt.algorithms))
    return keys


def token_rules(jwt: JwtSettings) -> TokenRules:
    """Return the requirements on a token."""
    return TokenRules(jwt.algorithms, jwt.issuer, jwt.audience, jwt.leeway)
