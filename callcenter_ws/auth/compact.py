"""The compact form of a JWT, taken apart once (RFC 7515 section 7.1)."""

from __future__ import annotations

from dataclasses import dataclass, field

from jwt import PyJWS
from jwt.exceptions import DecodeError, PyJWTError

from callcenter_ws.errors import ErrorCode, Refusal

MAX_TOKEN_BYTES = 8192

_JWS = PyJWS(options={"verify_signature": False})


@dataclass(frozen=True, slots=True)
class CompactToken:
    """A token whose signature nobody has checked yet: believe nothing of it.

    Attributes:
        algorithm: the ``alg`` header.
        kid: the ``kid`` header; None when there is none.
        signed: the bytes that the signature is over.
        payload: the claims, as JSON text.
    """

    algorithm: str
    kid: str | None
    signed: bytes = field(repr=False)
    payload: bytes = field(repr=False)
    signature: bytes = field(repr=False)


def parse(token: str) -> CompactToken:
    """Take a token apart.

    Raises:
        Refusal: ``unauthorized`` when it is longer than ``MAX_TOKEN_BYTES``, not three parts of base64url, its
            header is no JSON object, names no algorithm, or asks for extensions by ``crit``.
    """
    if len(token) > MAX_TOKEN_BYTES:
        raise unauthorized(f"token: longer than {MAX_TOKEN_BYTES} bytes")
    # PyJWT forgives padding; RFC 7515 section 2 has none, and with it one token could be written in several ways.
    if not token.isascii() or token.count(".") != 2 or "=" in token:
        raise unauthorized("token: not a JWT, which is three parts of base64url with dots between")
    try:
        parts = _JWS.decode_complete(token)
    except DecodeError:
        raise unauthorized("token: not a JWT; a part is not base64url, or the header is not a JSON object") from None
    except PyJWTError:
        raise unauthorized("token header: kid must be a string, and crit is not supported") from None
    header = parts["header"]
    # RFC 7515 section 4.1.11: who does not understand an extension in crit must refuse. None is understood here.
    if "crit" in header or "b64" in header:
        raise unauthorized("crit: this gateway supports no extension of the token header")
    algorithm = header.get("alg")
    if not isinstance(algorithm, str):
        raise unauthorized("alg: required, a string")
    signed = token.rpartition(".")[0].encode("ascii")
    return CompactToken(algorithm, header.get("kid"), signed, parts["payload"], parts["signature"])


def unauthorized(text: str) -> Refusal:
    """The refusal of a token; ``text`` names the claim and what is wrong with it."""
    return Refusal(ErrorCode.UNAUTHORIZED, text)
