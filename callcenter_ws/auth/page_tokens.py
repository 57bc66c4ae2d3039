"""The tokens of the pages that the gateway serves: for ten minutes, under keys that are used for nothing else."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path

from callcenter_ws.auth.jws import CompactToken, unauthorized
from callcenter_ws.auth.keys import KeyRing, UnusableKey, hmac_key
from callcenter_ws.auth.signing import sign_token
from callcenter_ws.auth.tokens import TokenRules, TokenVerifier
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.principal import EVERY_TENANT, Principal, Role
from callcenter_ws.interfaces import SessionRecord
from callcenter_ws.runtime.secret_files import read_secret

PAGE_KID = "callcenter-ws-pages"
"""The ``kid`` and the ``iss`` of these tokens. It is reserved: a token with it that no key signed is refused."""

TOKEN_SECONDS = 600
"""Seconds for which a token is valid: for so long it can be used after its session has been signed out."""

MIN_KEY_BYTES = 32
MAX_KEYS = 8
"""The keys of a file: the one that signs, and former ones that verify (``keys.MAX_CANDIDATES``)."""

PAGE_ROLES = (Role.AGENT, Role.SUPERVISOR, Role.ADMIN, Role.WALLBOARD)
"""The roles that can sign in."""

_ALGORITHM = "HS256"


def page_keys(path: Path) -> list[bytes]:
    """Return the keys in a file: its lines, without spaces around them and without empty ones.

    Raises:
        ValueError: the file cannot be read, a key is too short, or there are too many.
    """
    lines = [line.strip() for line in read_secret(path).splitlines()]
    keys = [line for line in lines if line]
    if not keys or min(map(len, keys)) < MIN_KEY_BYTES:
        raise UnusableKey(f"{path}: each line is a key, and requires at least {MIN_KEY_BYTES} bytes")
    if len(keys) > MAX_KEYS:
        raise UnusableKey(f"{path}: {len(keys)} keys, and at most {MAX_KEYS} are used; remove the oldest, at the end")
    return keys


class PageTokens:
    """Signs and verifies the tokens of the pages.

    Args:
        keys: the first one signs, the others verify. Without any, signing in is off.
        time: returns the Unix time in seconds.
    """

    def __init__(self, keys: Sequence[bytes], time: Callable[[], float]) -> None:
        self._time = time
        self.replace_keys(keys)

    @property
    def has_keys(self) -> bool:
        """Whether tokens can be signed."""
        return self._signing is not None

    def replace_keys(self, keys: Sequence[bytes]) -> None:
        """Use other keys from now on."""
        derived = [_derived(key) for key in keys]
        self._signing = derived[0] if derived else None
        self._code_keys = [hmac.digest(key, b"callcenter-ws pairing codes", "sha256") for key in keys]
        ring = KeyRing([hmac_key(key, (_ALGORITHM,), kid=PAGE_KID) for key in derived])
        self._verifier = TokenVerifier(ring, TokenRules((_ALGORITHM,), issuer=PAGE_KID), self._time)

    def code_digests(self, code: str) -> list[str]:
        """Return the digest by which a store knows a pairing code, and those that it had with former keys.

        A plain digest would not do: 40 bits can be guessed from it.

        Raises:
            Refusal: ``signing_in_off`` without keys.
        """
        if not self._code_keys:
            raise Refusal(ErrorCode.SIGNING_IN_OFF)
        return [hmac.digest(key, code.encode(), "sha256").hex() for key in self._code_keys]

    def sign(self, session: SessionRecord) -> tuple[str, int]:
        """Return a token for a session, and when it ends (Unix seconds).

        Raises:
            Refusal: ``signing_in_off`` without keys.
        """
        if self._signing is None:
            raise Refusal(ErrorCode.SIGNING_IN_OFF)
        now = int(self._time())
        claims: dict[str, object] = {
            "iss": PAGE_KID,
            "sub": session.user_id,
            "tenant_id": session.tenant_id,
            "role": session.role,
            "iat": now,
            "exp": now + TOKEN_SECONDS,
            "jti": secrets.token_urlsafe(16),
            "sid": session.public_id,
        }
        if session.display_name:
            claims["name"] = session.display_name
        if session.queues is not None:
            claims["queues"] = list(session.queues)
        return sign_token(self._signing, claims, algorithm=_ALGORITHM, kid=PAGE_KID), now + TOKEN_SECONDS

    def verify_parsed(self, token: CompactToken) -> Principal:
        """Return the principal of a parsed token.

        Raises:
            Refusal: ``unauthorized``.
        """
        if token.kid != PAGE_KID:
            raise unauthorized("kid: not a token of this gateway's pages")
        principal = self._verifier.verify_parsed(token)
        # Refused although a key has signed it: no user can have it, and a stolen key must not reach further.
        if principal.role not in PAGE_ROLES:
            raise unauthorized("role: the pages have no tokens with this role")
        if principal.tenant_id == EVERY_TENANT:
            raise unauthorized("tenant_id: the pages have no tokens for all tenants")
        return principal


def _derived(key: bytes) -> bytes:
    """Return the key of the tokens: the file may also hold what signs something else."""
    return hmac.new(key, b"callcenter-ws page tokens", hashlib.sha256).digest()
