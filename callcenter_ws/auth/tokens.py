"""TokenVerifier: from a token's text to the Principal that it speaks for (PROTOCOL section 1.2)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from callcenter_ws.auth.jws import CompactToken, parse, unauthorized
from callcenter_ws.auth.keys import KeyRing
from callcenter_ws.events.principal import EVERY_TENANT, Principal, Role

CLOCK_SKEW = 60.0
"""Seconds by which ``iat`` may lie in the future, whatever the leeway: no reason to refuse a good token, as
long as revoking a user's tokens by their age stays sound."""

END_OF_TIME = 253_402_300_799.0
"""The last second of the year 9999, beyond which RFC 3339 has no instants."""

MAX_TEXT = 255

_FOR_EVERY_TENANT = frozenset({Role.ADMIN, Role.SERVICE})
_ROLES = {role.value: role for role in Role}
_MISSING = re.compile(r"Object missing required field `(\w+)`")


@dataclass(frozen=True, slots=True)
class TokenRules:
    """What a token must say.

    Attributes:
        algorithms: the pinned algorithms; every other is refused.
        issuer: what ``iss`` must be; None: it is not looked at.
        audience: what ``aud`` must be or contain; None: it is not looked at.
        leeway: seconds by which the issuer's clock may differ from ours.
    """

    algorithms: tuple[str, ...]
    issuer: str | None = None
    audience: str | None = None
    leeway: float = 0.0


class TokenVerifier:
    """Verifies tokens of the keys in a ring. Implements ``interfaces.Authenticator``.

    Args:
        time: Unix time in seconds.
    """

    def __init__(self, keys: KeyRing, rules: TokenRules, time: Callable[[], float]) -> None:
        self._keys = keys
        self._rules = rules
        self._time = time

    def verify(self, token: str) -> Principal:
        """Return who the token speaks for.

        Raises:
            Refusal: ``unauthorized``, naming the claim that is wrong and never showing the token;
                ``unavailable`` while the keys have not been fetched for the first time.
        """
        return self.verify_parsed(parse(token))

    def verify_parsed(self, token: CompactToken) -> Principal:
        """Do as ``verify`` for a token that was taken apart already."""
        self._check_signature(token)
        claims = _decode(token.payload)
        self._check_times(claims)
        self._check_parties(claims)
        return _principal(claims)

    def _check_signature(self, token: CompactToken) -> None:
        if token.algorithm not in self._rules.algorithms:
            raise unauthorized(f"alg: this gateway accepts {', '.join(self._rules.algorithms)}")
        if not any(key.signed(token) for key in self._keys.candidates(token.kid, token.algorithm)):
            raise unauthorized("signature: no key of this gateway has made it")

    def _check_times(self, claims: Claims) -> None:
        """Check ``exp``, ``nbf`` and ``iat`` (RFC 7519 sections 4.1.4 to 4.1.6)."""
        now, leeway = self._time(), self._rules.leeway
        if claims.exp > END_OF_TIME:
            raise unauthorized("exp: beyond the year 9999; it counts seconds, not milliseconds")
        if now >= claims.exp + leeway:
            raise unauthorized("exp: the token has expired")
        if claims.nbf is not UNSET and claims.nbf > now + leeway:
            raise unauthorized("nbf: the token is not valid yet")
        if claims.iat is not UNSET and claims.iat > now + max(leeway, CLOCK_SKEW):
            raise unauthorized("iat: the token was issued in the future")

    def _check_parties(self, claims: Claims) -> None:
        """Check ``iss`` and ``aud`` (RFC 7519 sections 4.1.1 and 4.1.3), where they are configured."""
        rules = self._rules
        if rules.issuer is not None and claims.iss != rules.issuer:
            raise unauthorized("iss: missing, or not the issuer that this gateway trusts")
        if rules.audience is not None:
            audiences = claims.aud if isinstance(claims.aud, list) else [claims.aud]
            if rules.audience not in audiences:
                raise unauthorized("aud: missing, or the token is for somebody else")


_Required = Annotated[str, Meta(min_length=1, max_length=MAX_TEXT)] | int
_Optional = Annotated[str, Meta(max_length=MAX_TEXT)] | int | None


class Claims(msgspec.Struct, frozen=True):
    """The claims of PROTOCOL section 1.2, of the right types but otherwise unchecked.

    Identifiers may be written as integers and stand for their decimal text. ``null`` stands for an absent name,
    session, extension or ``jti``; everywhere else, where it could widen what a token may do, it is refused.
    """

    sub: _Required
    tenant_id: _Required
    exp: float
    nbf: float | UnsetType = UNSET
    iat: float | UnsetType = UNSET
    iss: Any = None
    aud: Any = None
    role: str = Role.AGENT.value
    queues: list[_Required] | UnsetType = UNSET
    name: Annotated[str, Meta(max_length=MAX_TEXT)] | None = None
    session_id: _Optional = None
    extension: _Optional = None
    jti: _Optional = None


_decoder = msgspec.json.Decoder(Claims)


def _decode(payload: bytes) -> Claims:
    try:
        return _decoder.decode(payload)
    except msgspec.ValidationError as error:
        raise unauthorized(_claim_text(str(error))) from None
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise unauthorized("claims: not a JSON object") from None


def _claim_text(text: str) -> str:
    """Turn msgspec's ``… - at `$.field` `` into ``field: …``. It shows types and lengths, never values."""
    missing = _MISSING.fullmatch(text)
    if missing:
        return f"{missing[1]}: required"
    what, _, where = text.partition(" - at `$.")
    return f"{where.rstrip('`') or 'claims'}: {what[:1].lower()}{what[1:].replace('`', '')}"


def _principal(claims: Claims) -> Principal:
    role = _ROLES.get(claims.role)
    if role is None:
        raise unauthorized(f"role: expected one of {', '.join(_ROLES)}")
    tenant_id = _text("tenant_id", claims.tenant_id)
    if tenant_id == EVERY_TENANT and role not in _FOR_EVERY_TENANT:
        raise unauthorized("tenant_id: '*' is for the roles admin and service only")
    session_id = _optional("session_id", claims.session_id)
    if role is Role.VISITOR and session_id is None:
        raise unauthorized("session_id: required for the role visitor")
    queues = None if claims.queues is UNSET else frozenset([_text("queues", queue) for queue in claims.queues])
    return Principal(
        tenant_id=tenant_id,
        user_id=_text("sub", claims.sub),
        role=role,
        expires_at=claims.exp,
        issued_at=None if claims.iat is UNSET else claims.iat,
        name=claims.name or None,
        queues=queues,
        session_id=session_id,
        extension=_optional("extension", claims.extension),
        jti=_optional("jti", claims.jti),
    )


def _text(claim: str, value: str | int) -> str:
    if isinstance(value, str):
        if "\0" in value:
            # As identifiers of events.
            raise unauthorized(f"{claim}: holds a NUL")
        return value
    # An identifier of 255 digits has fewer than 850 bits; asking first spares the costly conversion of more.
    text = str(value) if value.bit_length() < 850 else ""
    if not 0 < len(text) <= MAX_TEXT:
        raise unauthorized(f"{claim}: longer than {MAX_TEXT} digits")
    return text


def _optional(claim: str, value: str | int | None) -> str | None:
    return None if value is None else _text(claim, value) or None
