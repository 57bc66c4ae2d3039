"""The issuer of tokens in these tests: keys of all kinds, and valid and invalid tokens."""

from __future__ import annotations

import base64
import json
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from jwt import get_algorithm_by_name

NOW = 1_800_000_000.0
SECRET = b"0123456789abcdef" * 4
CLAIMS: dict[str, Any] = {"sub": "42", "tenant_id": "acme", "exp": int(NOW) + 600}

KIND_OF = {
    "HS256": "hmac",
    "HS384": "hmac",
    "HS512": "hmac",
    "RS256": "rsa",
    "PS256": "rsa",
    "ES256": "p256",
    "ES384": "p384",
    "ES512": "p521",
    "EdDSA": "ed25519",
}


def private(kind: str, number: int = 0) -> Any:
    """Return a private key, always the same for ``kind`` and ``number`` in a test run."""
    return _private(kind, number)


@cache
def _private(kind: str, number: int) -> Any:
    makers: dict[str, Any] = {
        "hmac": lambda: SECRET,
        "rsa": lambda: rsa.generate_private_key(65537, 2048),
        "rsa1024": lambda: rsa.generate_private_key(65537, 1024),
        "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
        "p521": lambda: ec.generate_private_key(ec.SECP521R1()),
        "secp256k1": lambda: ec.generate_private_key(ec.SECP256K1()),
        "ed25519": ed25519.Ed25519PrivateKey.generate,
        "ed448": ed448.Ed448PrivateKey.generate,
    }
    return makers[kind]()


def public(kind: str, number: int = 0) -> Any:
    return private(kind, number).public_key()


def public_pem(kind: str, number: int = 0) -> bytes:
    return public(kind, number).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def private_pem(kind: str, form: PrivateFormat = PrivateFormat.PKCS8) -> bytes:
    return private(kind).private_bytes(Encoding.PEM, form, NoEncryption())


def jwk(kind: str, number: int = 0, **members: Any) -> dict[str, Any]:
    """Return the public JWK of a key; members that are None are omitted."""
    name = next(name for name, of in KIND_OF.items() if of == kind)
    made = get_algorithm_by_name(name).to_jwk(public(kind, number), as_dict=True)
    return {key: value for key, value in {**made, **members}.items() if value is not None}


def jwk_set(*keys: dict[str, Any]) -> bytes:
    return json.dumps({"keys": list(keys)}).encode()


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def compact(header: Any, payload: Any, key: Any, algorithm: str) -> str:
    """Return a token signed with ``algorithm``, with any header and payload (bytes are used unchanged)."""
    parts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, payload)]
    signed = ".".join(base64url(part) for part in parts)
    return f"{signed}.{base64url(get_algorithm_by_name(algorithm).sign(signed.encode(), key))}"


def issue(algorithm: str = "HS256", *, number: int = 0, header: dict[str, Any] | None = None, **claims: Any) -> str:
    """Return a token with ``CLAIMS`` and ``claims``; the value ``...`` omits a claim."""
    payload = {name: value for name, value in {**CLAIMS, **claims}.items() if value is not ...}
    key = private(KIND_OF[algorithm], number)
    return compact({"typ": "JWT", "alg": algorithm, **(header or {})}, payload, key, algorithm)
