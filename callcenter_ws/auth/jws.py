"""The compact form of a JWT, taken apart once (RFC 7515 section 7.1)."""

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
_NOT_A_JWT = "token: not a JWT; a part is not base64url, or the header is not a JSON object"
_KEPT_HEADER = 512
"""Characters of a header that is worth keeping."""


class CompactToken(Struct, frozen=True):
    """A token whose signature nobody has checked yet: believe nothing of it.

    Attributes:
        algorithm: the ``alg`` header.
        kid: the ``kid`` header; None when there is none.
        signed: the bytes that the signature is over.
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
    """Take a token apart.

    Raises:
        Refusal: ``unauthorized`` when it is longer than ``MAX_TOKEN_BYTES``, not three parts of base64url, its
            header is no JSON object, names no algorithm, or asks for extensions by ``crit``.
    """
    if len(token) > MAX_TOKEN_BYTES:
        raise unauthorized(f"token: longer than {MAX_TOKEN_BYTES} bytes")
    # RFC 7515 section 2 has no padding, and with it one token could be written in several ways.
    if not _SHAPE.fullmatch(token):
        raise unauthorized("token: not a JWT, which is three parts of base64url with dots between")
    header, payload, signature = token.split(".")
    algorithm, kid = (_known_header if len(header) <= _KEPT_HEADER else _read_header)(header)
    signed = token.rpartition(".")[0].encode("ascii")
    return CompactToken(algorithm, kid, signed, _decode(payload), _decode(signature))


def _decode(part: str) -> bytes:
    """Decode base64url that is written in the one way in which it can be."""
    text = part.encode("ascii")
    try:
        decoded = base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    except ValueError:
        decoded = b""
    if base64.urlsafe_b64encode(decoded).rstrip(b"=") != text:
        raise unauthorized(_NOT_A_JWT)
    return decoded


def _read_header(part: str) -> tuple[str, str | None]:
    """Return ``alg`` and ``kid`` of a token's header."""
    try:
        header = _JWS.get_unverified_header(f"{part}..")
    except DecodeError:
        raise unauthorized(_NOT_A_JWT) from None
    except PyJWTError:
        raise unauthorized("token header: kid must be a string, and crit is not supported") from None
    # RFC 7515 section 4.1.11: who does not understand an extension in crit must refuse. None is understood here.
    if "crit" in header or "b64" in header:
        raise unauthorized("crit: this gateway supports no extension of the token header")
    algorithm = header.get("alg")
    if not isinstance(algorithm, str):
        raise unauthorized("alg: required, a string")
    return algorithm, header.get("kid")


# An issuer's tokens all begin alike. What is refused is not kept.
_known_header = lru_cache(maxsize=64)(_read_header)


def unauthorized(text: str) -> Refusal:
    """The refusal of a token; ``text`` names the claim and what is wrong with it."""
    return Refusal(ErrorCode.UNAUTHORIZED, text)
