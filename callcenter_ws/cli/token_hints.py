"""What may be done about a token that is refused, for ``callcenter-ws check-token``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from callcenter_ws.auth.jws import CompactToken, parse
from callcenter_ws.auth.keys import MIN_HMAC_BYTES, KeyRing, VerificationKey
from callcenter_ws.auth.page_tokens import PAGE_KID
from callcenter_ws.auth.visitors import SESSION_KID
from callcenter_ws.cli.spans import instant, span
from callcenter_ws.config.settings import Settings
from callcenter_ws.errors import Refusal

_SHOWN_CLAIMS = ("sub", "tenant_id", "role", "session_id", "iss", "aud")
_MAX_SHOWN = 100


@dataclass(frozen=True, slots=True)
class KnownKeys:
    """The keys of the settings.

    Attributes:
        problem: why the JWK set could not be fetched, or which of its keys are not used; None without a problem.
    """

    ring: KeyRing
    keys: tuple[VerificationKey, ...]
    problem: str | None


def is_known_spelling(token: str) -> bool:
    """Return whether the text can be parsed as a JWT."""
    try:
        parse(token)
    except Refusal:
        return False
    return True


def hints(token: str, reason: str, settings: Settings, keys: KnownKeys, now: float) -> Iterator[str]:
    """Yield lines for a person: what the token says, without it itself, and what may be done.

    Args:
        reason: why the token is refused; it begins with the name of a header or claim.
    """
    if not is_known_spelling(token):
        yield from _spelling(token)
        return
    header = parse(token)
    claims = _claims(header)
    yield _summary(header, claims)
    subject = reason.partition(":")[0]
    if subject in ("exp", "nbf", "iat"):
        yield from _times(subject, claims, now)
    elif subject in ("iss", "aud"):
        required = settings.jwt.issuer if subject == "iss" else settings.jwt.audience
        setting = "jwt.issuer" if subject == "iss" else "jwt.audience"
        yield f"The gateway requires {subject} {required!r} ({setting}). Have the issuer set it, or change the setting."
    elif subject in ("alg", "kid", "signature") or "fetched" in reason:
        yield from _key_hints(subject, header, settings, keys)
    elif subject == "session_id":
        yield "A token for a visitor needs the claim session_id, the id of its chat session."
    elif subject == "role":
        yield "The claim role is one of these words in lower case; a token without it is for an agent."


def _spelling(token: str) -> Iterator[str]:
    """Yield what may be wrong with a text that is no JWT."""
    if not token:
        yield "The text is empty."
    elif token.lower().startswith(("bearer ", "authorization:")):
        yield "Give the token without the header's name and without the word Bearer."
    elif token[0] in "\"'{":
        yield "Give the token alone, without quotes and not as a part of JSON."
    elif any(character.isspace() for character in token):
        yield "The text contains white space: it is more than a token, or was broken into lines."
    elif token.count(".") == 4:
        yield "A token of five parts is encrypted (JWE), which the gateway does not read; the issuer must only sign it."
    else:
        yield f"The text has {len(token)} characters and {token.count('.')} dots; was it copied completely?"


def _claims(header: CompactToken) -> dict[str, Any]:  # claims may be any JSON
    try:
        claims = json.loads(header.payload)
    except (ValueError, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}


def _summary(header: CompactToken, claims: dict[str, Any]) -> str:  # claims may be any JSON
    shown = [f"alg {_shown(header.algorithm)}", "no kid" if header.kid is None else f"kid {_shown(header.kid)}"]
    shown += [f"{name} {_shown(claims[name])}" for name in _SHOWN_CLAIMS if name in claims]
    return f"The token says, unverified: {', '.join(shown)}."


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 1]}…"


def _times(claim: str, claims: dict[str, Any], now: float) -> Iterator[str]:  # claims may be any JSON
    value = claims.get(claim)
    if not isinstance(value, int | float):
        yield f"The claim {claim} is a number: seconds since 1970-01-01 UTC."
        return
    clock = f"the clock of this machine says {instant(now)}"
    if claim != "exp":
        yield f"Its {claim} is {instant(value)}, {span(value - now)} in the future: {clock}."
        yield "If both machines should agree, one of the clocks is wrong: synchronise them with NTP (or jwt.leeway)."
    elif value <= now:
        yield f"It expired at {instant(value)}, {span(now - value)} ago: {clock}. Get a new token from its issuer."


def _key_hints(subject: str, header: CompactToken, settings: Settings, keys: KnownKeys) -> Iterator[str]:
    jwt = settings.jwt
    if keys.problem is not None:
        yield keys.problem
    if header.algorithm not in jwt.algorithms:
        yield f"The gateway accepts {', '.join(jwt.algorithms)} (jwt.algorithms)."
    elif not jwt.has_keys:
        yield "No key is configured: set jwt.secret_file, jwt.public_key_files or jwt.jwks_url."
    elif header.kid == SESSION_KID:
        yield "It is a visitor's session token of a gateway with another key (public.session_key_file)."
    elif header.kid == PAGE_KID:
        yield "It is a token of the pages of a gateway with another key (session.key_file)."
    elif subject == "kid":
        yield f"The known keys: {_kids(keys) or 'none with a kid'}. Has the issuer changed its keys, or is it another?"
    elif subject == "alg":
        yield "There is no key for this algorithm in jwt.secret_file, jwt.public_key_files or jwt.jwks_url."
    elif header.algorithm in MIN_HMAC_BYTES:
        yield (
            f"It was signed with another secret than the one in {jwt.secret_file}: that of another installation or an "
            "older one, or with a difference such as a newline. Or the token was changed."
        )
    else:
        yield "It was signed with another private key than those of the known public keys, or the token was changed."


def _kids(keys: KnownKeys) -> str:
    return ", ".join(_shown(key.kid) for key in keys.keys if key.kid is not None)
