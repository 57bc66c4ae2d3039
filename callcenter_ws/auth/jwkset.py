"""Reads the JWK set of an identity provider (RFC 7517 section 5)."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from jwt import PyJWK
from jwt.exceptions import PyJWTError

from callcenter_ws.auth.keys import EDDSA, UnusableKey, VerificationKey, public_key
from callcenter_ws.runtime.json import JsonObject

_PYJWT_NAME = {
    ("RSA", None): "RS256",
    ("EC", "P-256"): "ES256",
    ("EC", "P-384"): "ES384",
    ("EC", "P-521"): "ES512",
    ("OKP", "Ed25519"): EDDSA,
}
"""For each ``kty`` and ``crv``, the name of an algorithm with which PyJWT loads such a key."""


@dataclass(frozen=True, slots=True)
class JwkSet:
    """The usable keys of a JWK set.

    Attributes:
        ignored: a text for each ignored key, with its position in the set and the reason.
    """

    keys: tuple[VerificationKey, ...]
    ignored: tuple[str, ...]


def parse_jwk_set(document: bytes) -> JwkSet:
    """Read a JWK set.

    Keys that are not for signatures or of an unsupported kind are ignored. So are symmetric and private keys: a
    published secret is no longer secret.

    Raises:
        UnusableKey: the document is not a JWK set, or it has no usable key.
    """
    try:
        entries = msgspec.json.decode(document, type=_Document).keys
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise UnusableKey("the document is not a JWK set (a JSON object with a list named keys)") from None
    keys = []
    ignored = []
    for number, entry in enumerate(entries, 1):
        try:
            keys.append(_key(entry))
        except UnusableKey as error:
            ignored.append(f"key {number}: {error}")
    if not keys:
        raise UnusableKey("; ".join(["the JWK set has no usable key", *ignored[:3]]))
    return JwkSet(tuple(keys), tuple(ignored))


class _Document(msgspec.Struct):
    keys: list[JsonObject]


def _key(entry: JsonObject) -> VerificationKey:
    kid, algorithm, kind = entry.get("kid"), entry.get("alg"), entry.get("kty")
    if kind == "oct":
        raise UnusableKey("it is a symmetric key, which must not be published")
    if "d" in entry:
        raise UnusableKey("it is a private key, which must not be published; replace it at the issuer")
    if not _is_for_signatures(entry):
        raise UnusableKey("it is not for signatures")
    if not isinstance(kid, str | None) or not isinstance(algorithm, str | None):
        raise UnusableKey("its kid or alg is not a string")
    crv = None if kind == "RSA" else entry.get("crv")
    name = _PYJWT_NAME.get((kind, crv)) if isinstance(kind, str) and isinstance(crv, str | None) else None
    if name is None:
        raise UnusableKey("its kty or crv is not supported")
    try:
        material = PyJWK(entry, name).key
    except (PyJWTError, UnsupportedAlgorithm, ValueError, TypeError):
        raise UnusableKey("it cannot be read") from None
    return public_key(material, only=algorithm, kid=kid)


def _is_for_signatures(entry: JsonObject) -> bool:
    operations = entry.get("key_ops", ["verify"])
    return entry.get("use", "sig") == "sig" and isinstance(operations, list) and "verify" in operations
