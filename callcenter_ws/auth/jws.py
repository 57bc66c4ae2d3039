"""Parses the compact serialization of a JWT (RFC 7515 section 7.1)."""

from __future__ import annotations

import base64
import re
from functools import lru_cache

from jwt import PyJWS
from jwt.exceptions import DecodeError, PyJWTError
from msgspec import Struct

from callcenter_ws.errors import ErrorCode, Refusal

MAX_TOKEN_BYTES = 8192

_JWS = PyJWS(options={"verify_signature": False})
_SHAPE = re.compile(r"[\w-]+\.[\w-]*\.[\w-]*", re.ASCII)
NOT_A_JWT = "token: not a JWT"
"""How the message begins for what has not the form of a JWT."""

_UNREADABLE = f"{NOT_A_JWT}; a part is not base64url, or the header is not a JSON object"
_MAX_CACHED_HEADER = 512
"""The length in characters of the longest header that is cached."""


class CompactToken(Struct, frozen=True):
    """A parsed token whose signature has not been verified: none of its contents can be trusted.

    Attributes:
        algorithm: the ``alg`` header.
        kid: the ``kid`` header; None if there is none.
        signed: the bytes that are signed.
        payload: the claims, as JSON text.
    """

    algorithm: str
    kid: str | None
    signed: bytes
    payload: bytes
    signature: bytes

    def __repr__(self) -> str:
        return f"CompactToken(algorithm={self.algorithm!r}, kid={self.kid!r})"


def parse(token: str) -> CompactToken:
    """Parse a token.

    Raises:
        Refusal: ``unauthorized`` if the token is longer than ``MAX_TOKEN_BYTES`` or does not consist of three parts of
            base64url, or if its header is not a JSON object, has no ``alg``, or has ``crit``.
    """
    if len(token) > MAX_TOKEN_BYTES:
        raise unauthorized(f"token: longer than {MAX_TOKEN_BYTES} bytes")
    # RFC 7515 section 2 forbids padding. If it were accepted, one token would have several spellings.
    if not _SHAPE.fullmatch(token):
        raise unauthorized(f"{NOT_A_JWT}; expected three parts of base64url separated by dots")
    header, payload, signature = token.split(".")
    algorithm, kid = (_cached_header if len(header) <= _MAX_CACHED_HEADER else _read_header)(header)
    signed = token.rpartition(".")[0].encode("ascii")
    return CompactToken(algorithm, kid, signed, _decode(payload), _decode(signature))


def _decode(part: str) -> bytes:
    """Decode base64url; refuse any but the canonical spelling."""
    text = part.encode("ascii")
    try:
        decoded = base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    except ValueError:
        decoded = b""
    if base64.urlsafe_b64encode(decoded).rstrip(b"=") != text:
        raise unauthorized(_UNREADABLE)
    return decoded


def _read_header(part: str) -> tuple[str, str | None]:
    """Return ``alg`` and ``kid`` of a header."""
    try:
        header = _JWS.get_unverified_header(f"{part}..")
    except DecodeError:
        raise unauthorized(_UNREADABLE) from None
    except PyJWTError:
        raise unauthorized("token header: kid must be a string, and crit is not supported") from None
    # RFC 7515 section 4.1.11: a token with an unsupported extension in crit must be refused. None is supported.
    if "crit" in header or "b64" in header:
        raise unauthorized("crit: extensions of the token header are not supported")
    algorithm = header.get("alg")
    if not isinstance(algorithm, str):
        raise unauthorized("alg: required, a string")
    return algorithm, header.get("kid")


# All tokens of an issuer have the same header. Refusals are not cached.
_cached_header = lru_cache(maxsize=64)(_read_header)


def unauthorized(text: str) -> Refusal:
    """Return the refusal of a token; ``text`` names the header or claim and what is wrong with it."""
    return Refusal(ErrorCode.UNAUTHORIZED, text)
