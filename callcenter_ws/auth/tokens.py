"""TokenVerifier: verifies a token and returns its Principal."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import msgspec
from msgspec import Meta

from callcenter_ws.auth.jws import CompactToken, parse, unauthorized
from callcenter_ws.auth.keys import KeyRing
from callcenter_ws.auth.revocation import CLOCK_SKEW_SECONDS
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.identifiers import has_control_character
from callcenter_ws.events.principal import EVERY_TENANT, Principal, Role
from callcenter_ws.runtime.json import Integer, JsonValue
from callcenter_ws.runtime.json_names import with_json_names

MAX_EXPIRY = 253_402_300_799.0
"""The largest ``exp`` in Unix seconds: the end of the year 9999, the last that RFC 3339 can represent."""

MAX_TEXT = 255
"""The length of the longest identifier in characters."""

_ALL_TENANTS_ROLES = frozenset({Role.ADMIN, Role.SERVICE})
_ROLES = {role.value: role for role in Role}
_MISSING = re.compile(r"Object missing required field `(\w+)`")


@dataclass(frozen=True, slots=True)
class TokenRules:
    """The requirements on a token.

    Attributes:
        algorithms: the accepted algorithms.
        issuer: the required ``iss``; None to ignore it.
        audience: the value that ``aud`` must be or contain; None to ignore it.
        leeway: the tolerated difference between the clocks of the issuer and the gateway, in seconds.
    """

    algorithms: tuple[str, ...]
    issuer: str | None = None
    audience: str | None = None
    leeway: float = 0.0

    @property
    def iat_tolerance(self) -> float:
        """Seconds by which ``iat`` may be in the future.

        A token that becomes valid within this time is refused with ``try_later``: probably the clocks differ.
        The revocation of a user covers tokens with an ``iat`` until as many seconds after it (``auth.revocation``).
        """
        return max(self.leeway, CLOCK_SKEW_SECONDS)


class TokenVerifier:
    """Verifies tokens with the keys of a KeyRing. Implements ``interfaces.Authenticator``.

    Args:
        time: returns the Unix time in seconds.
    """

    def __init__(self, keys: KeyRing, rules: TokenRules, time: Callable[[], float]) -> None:
        self._keys = keys
        self._rules = rules
        self._time = time

    def verify(self, token: str) -> Principal:
        """Return the principal of a token.

        Raises:
            Refusal: ``unauthorized``, with a text that names the invalid claim and does not contain the token;
                ``try_later`` if it may be accepted later: its key is being fetched, or it becomes valid soon.
        """
        return self.verify_parsed(parse(token))

    def verify_parsed(self, token: CompactToken) -> Principal:
        """Return the principal of a parsed token; raises as ``verify`` does."""
        self._check_signature(token)
        claims = _decode(token.payload)
        self._check_times(claims)
        self._check_parties(claims)
        return _principal(claims)

    def _check_signature(self, token: CompactToken) -> None:
        if token.algorithm not in self._rules.algorithms:
            raise unauthorized(f"alg: expected one of {', '.join(self._rules.algorithms)}")
        if not any(key.signed(token) for key in self._keys.candidates(token.kid, token.algorithm)):
            raise self._keys.mismatch(token)

    def _check_times(self, claims: Claims) -> None:
        """Check ``exp``, ``nbf`` and ``iat`` (RFC 7519 sections 4.1.4 to 4.1.6)."""
        now, leeway = self._time(), self._rules.leeway
        if claims.exp > MAX_EXPIRY:
            raise unauthorized("exp: after the year 9999; expected seconds, not milliseconds")
        if now >= claims.exp + leeway:
            raise unauthorized("exp: the token has expired")
        if claims.nbf is not None and claims.nbf > now + leeway:
            raise self._too_early("nbf: the token is not valid yet", claims.nbf - leeway - now, claims.exp - now)
        if claims.iat is not None and claims.iat > now + self._rules.iat_tolerance:
            wait = claims.iat - self._rules.iat_tolerance - now
            raise self._too_early("iat: the token was issued in the future", wait, claims.exp - now)

    def _too_early(self, text: str, wait: float, seconds_left: float) -> Refusal:
        """Return the refusal of a token that is valid in ``wait`` seconds and expires in ``seconds_left``."""
        if wait > self._rules.iat_tolerance or wait >= seconds_left:
            return unauthorized(text)
        return Refusal(
            ErrorCode.TRY_LATER, f"{text}; the clocks of its issuer and the gateway differ", retry_after=wait
        )

    def _check_parties(self, claims: Claims) -> None:
        """Check ``iss`` and ``aud`` (RFC 7519 sections 4.1.1 and 4.1.3), where they are configured."""
        rules = self._rules
        if rules.issuer is not None and claims.iss != rules.issuer:
            raise unauthorized("iss: missing, or not the expected issuer")
        if rules.audience is not None:
            audiences = claims.aud if isinstance(claims.aud, list) else [claims.aud]
            if rules.audience not in audiences:
                raise unauthorized("aud: missing, or not the expected audience")


_Required = Annotated[str, Meta(min_length=1, max_length=MAX_TEXT)] | Integer
_Optional = Annotated[str, Meta(max_length=MAX_TEXT)] | Integer | None


class Claims(msgspec.Struct, frozen=True):
    """The claims of a token, checked for their types only.

    Identifiers may be integers of 64 bits, which mean their decimal text, as in events. ``null`` means that an optional
    claim is absent, as with issuers that write every claim. A required claim must not be ``null``.
    """

    sub: _Required
    tenant_id: _Required
    exp: float
    nbf: float | None = None
    iat: float | None = None
    iss: JsonValue = None  # a wrong one does not equal the expected value
    aud: JsonValue = None
    role: str | None = None
    queues: list[_Required] | None = None
    name: Annotated[str, Meta(max_length=MAX_TEXT)] | None = None
    session_id: _Optional = None
    extension: _Optional = None
    jti: _Optional = None


_REQUIRED_CLAIMS = frozenset({"sub`", "tenant_id`", "exp`"})
_decoder = msgspec.json.Decoder(Claims)


def _decode(payload: bytes) -> Claims:
    try:
        return _decoder.decode(payload)
    except msgspec.ValidationError as error:
        raise unauthorized(_claim_text(str(error))) from None
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise unauthorized("claims: not a JSON object") from None


def _claim_text(text: str) -> str:
    """Rewrite msgspec's ``… - at `$.field` `` as ``field: …``. The text has types and lengths, but no values."""
    missing = _MISSING.fullmatch(text)
    if missing:
        return f"{missing[1]}: required"
    what, _, where = text.partition(" - at `$.")
    if what.endswith("got `null`") and where in _REQUIRED_CLAIMS:
        return f"{where[:-1]}: required, and must not be null"
    return f"{where.rstrip('`') or 'claims'}: {what[:1].lower()}{with_json_names(what[1:])}"


def _principal(claims: Claims) -> Principal:
    role = Role.AGENT if claims.role is None else _ROLES.get(claims.role)
    if role is None:
        raise unauthorized(f"role: expected one of {', '.join(_ROLES)}")
    tenant_id = _text("tenant_id", claims.tenant_id)
    if tenant_id == EVERY_TENANT and role not in _ALL_TENANTS_ROLES:
        raise unauthorized("tenant_id: '*' is for the roles admin and service only")
    session_id = _optional("session_id", claims.session_id)
    if role is Role.VISITOR and session_id is None:
        raise unauthorized("session_id: required for the role visitor")
    queues = None if claims.queues is None else frozenset([_text("queues", queue) for queue in claims.queues])
    return Principal(
        tenant_id=tenant_id,
        user_id=_text("sub", claims.sub),
        role=role,
        expires_at=claims.exp,
        issued_at=claims.iat,
        name=claims.name or None,
        queues=queues,
        session_id=session_id,
        extension=_optional("extension", claims.extension),
        jti=_optional("jti", claims.jti),
    )


def _text(claim: str, value: str | int) -> str:
    if isinstance(value, str):
        if has_control_character(value):
            # Refused in identifiers of events, too.
            raise unauthorized(f"{claim}: contains a control character")
        return value
    return str(value)


def _optional(claim: str, value: str | int | None) -> str | None:
    return None if value is None else _text(claim, value) or None
