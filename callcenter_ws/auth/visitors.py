"""Sessions of anonymous visitors, with tokens that the gateway signs."""

from __future__ import annotations

from collections.abc import Callable

from callcenter_ws.auth.jws import CompactToken, parse, unauthorized
from callcenter_ws.auth.keys import KeyRing, VerificationKey, hmac_key
from callcenter_ws.auth.page_tokens import PAGE_KID, PageTokens
from callcenter_ws.auth.signing import sign_token
from callcenter_ws.auth.tokens import TokenRules, TokenVerifier
from callcenter_ws.events.principal import Principal, Role

SESSION_KID = "callcenter-ws-session"
"""The ``kid`` of session tokens. It is reserved: a token with it that the gateway has not signed is refused."""

ISSUER = "callcenter-ws"
SESSION_LIFETIME_SECONDS = 86_400
"""Seconds for which a visitor can reconnect to its session."""

MAX_FORMER_KEYS = 7
"""Former keys with which session tokens are still verified (``keys.MAX_CANDIDATES`` with the present one)."""

_ALGORITHM = "HS256"


class VisitorSessions:
    """Opens sessions of anonymous visitors and verifies their tokens.

    Args:
        key: signs the session tokens; at least 32 bytes, not used for anything else.
        time: returns the Unix time in seconds.
        new_session_id: returns a new unique identifier.
        lifetime: the lifetime of a session in seconds.

    Raises:
        UnusableKey: the key is too short.
    """

    def __init__(
        self,
        key: bytes,
        time: Callable[[], float],
        new_session_id: Callable[[], str],
        lifetime: int = SESSION_LIFETIME_SECONDS,
    ) -> None:
        self._time = time
        self._new_session_id = new_session_id
        self._lifetime = lifetime
        # The latest first, each with the time at which its last session ends.
        self._former: list[tuple[VerificationKey, float]] = []
        self._use(key, session_key(key))

    def replace_key(self, key: bytes, verification_key: VerificationKey) -> None:
        """Sign with another key from now on. Sessions that were signed with an earlier one stay valid until their end.

        Args:
            verification_key: what ``session_key`` returns for it.
        """
        if key == self._key:
            return
        now = self._time()
        former = [(self._verification_key, now + self._lifetime), *self._former]
        self._former = [(known, until) for known, until in former if until > now][:MAX_FORMER_KEYS]
        self._use(key, verification_key)

    def _use(self, key: bytes, verification_key: VerificationKey) -> None:
        self._key, self._verification_key = key, verification_key
        ring = KeyRing([verification_key, *(known for known, _ in self._former)])
        self._verifier = TokenVerifier(ring, TokenRules((_ALGORITHM,), issuer=ISSUER), self._time)

    def open(self, tenant_id: str) -> tuple[Principal, str]:
        """Return a new visitor of a tenant, and the token with which it can reconnect to its session.

        Raises:
            Refusal: ``unauthorized`` for a ``tenant_id`` that is not valid for visitors, such as ``*``.
        """
        session_id = self._new_session_id()
        now = int(self._time())
        claims = {
            "iss": ISSUER,
            "sub": f"visitor-{session_id}",
            "tenant_id": tenant_id,
            "role": Role.VISITOR.value,
            "session_id": session_id,
            "iat": now,
            "exp": now + self._lifetime,
        }
        token = sign_token(self._key, claims, algorithm=_ALGORITHM, kid=SESSION_KID)
        return self.verify(token), token

    def verify(self, token: str) -> Principal:
        """Return the visitor of a session token.

        Raises:
            Refusal: ``unauthorized``.
        """
        return self.verify_parsed(parse(token))

    def verify_parsed(self, token: CompactToken) -> Principal:
        """Return the visitor of a parsed token; raises as ``verify`` does."""
        if token.kid != SESSION_KID:
            raise unauthorized("kid: not a session token of this gateway")
        principal = self._verifier.verify_parsed(token)
        if principal.role is not Role.VISITOR:
            raise unauthorized("role: a session token is for visitors only")
        return principal


def session_key(key: bytes) -> VerificationKey:
    """Return the key that verifies what ``key`` signs.

    Raises:
        UnusableKey: it is too short.
    """
    return hmac_key(key, (_ALGORITHM,), kid=SESSION_KID)


class GatewayTokens:
    """Verifies the gateway's own tokens and all other tokens. Implements ``interfaces.Authenticator``.

    Only the ``kid`` header decides which verifier is used: ``sessions`` for visitors, ``pages`` for users who have
    signed in at the gateway's pages, ``tokens`` for all others. No token is tried with two, so that a token of one kind
    is never accepted as one of another.

    Attributes:
        tokens: may be replaced.
    """

    def __init__(self, sessions: VisitorSessions, pages: PageTokens, tokens: TokenVerifier) -> None:
        self._sessions = sessions
        self._pages = pages
        self.tokens = tokens

    def verify(self, token: str) -> Principal:
        """Return the principal of a token.

        Raises:
            Refusal: ``unauthorized``; ``unavailable`` while the keys have not been fetched for the first time.
        """
        parsed = parse(token)
        if parsed.kid == SESSION_KID:
            return self._sessions.verify_parsed(parsed)
        if parsed.kid == PAGE_KID:
            return self._pages.verify_parsed(parsed)
        return self.tokens.verify_parsed(parsed)
