"""The keys that verify tokens, and the algorithms of each.

Each key is bound to one family of algorithms. The ``alg`` header of a token therefore never decides how a key is used:
an RSA public key cannot be used as an HMAC secret (RFC 8725 section 3.1).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from cryptography.x509 import load_pem_x509_certificate
from jwt import get_algorithm_by_name
from jwt.exceptions import PyJWTError

from callcenter_ws.auth.jws import CompactToken, unauthorized
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.runtime import secret_files

MIN_HMAC_BYTES: Mapping[str, int] = {"HS256": 32, "HS384": 48, "HS512": 64}
"""The HMAC algorithms, each with the minimum length of its secret in bytes (RFC 7518 section 3.2)."""

RSA = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
EC_OF_CURVE: Mapping[str, str] = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
EDDSA = "EdDSA"

MIN_RSA_BITS = 2048
"""The minimum size of an RSA key (RFC 7518 section 3.3)."""

MAX_CANDIDATES = 8
"""The largest number of keys tried for one token; it bounds the time for a token without ``kid``."""

RETRY_AFTER_SECONDS = 5.0
"""Seconds after which a peer should retry while keys have not been fetched, if the next fetch is not known."""

PublicKey: TypeAlias = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey

_VERIFIERS = {name: get_algorithm_by_name(name) for name in (*MIN_HMAC_BYTES, *RSA, *EC_OF_CURVE.values(), EDDSA)}


class UnusableKey(ValueError):
    """Key material that cannot be used. The text says why and contains no key material."""


@dataclass(frozen=True, slots=True, eq=False)
class VerificationKey:
    """A key, and the algorithms that it verifies, all of one family."""

    algorithms: frozenset[str]
    material: bytes | PublicKey = field(repr=False)
    kid: str | None = None

    def signed(self, token: CompactToken) -> bool:
        """Return whether ``token`` was signed with this key; False for algorithms of another family."""
        if token.algorithm not in self.algorithms:
            return False
        try:
            return _VERIFIERS[token.algorithm].verify(token.signed, self.material, token.signature)
        except (PyJWTError, UnsupportedAlgorithm, ValueError):
            return False


def hmac_key(secret: bytes, algorithms: Collection[str] = ("HS256",), *, kid: str | None = None) -> VerificationKey:
    """Return the key of a shared secret.

    Args:
        algorithms: the algorithms that the secret is for; those of other families are ignored.

    Raises:
        UnusableKey: the secret is shorter than one of the algorithms requires, or it is a key of another kind.
    """
    usable = frozenset(algorithms) & MIN_HMAC_BYTES.keys()
    if not usable:
        raise UnusableKey("an HMAC secret requires HS256, HS384 or HS512 among the algorithms")
    strictest = max(usable, key=lambda name: MIN_HMAC_BYTES[name])
    if len(secret) < MIN_HMAC_BYTES[strictest]:
        raise UnusableKey(
            f"the secret has {len(secret)} bytes; {strictest} requires at least {MIN_HMAC_BYTES[strictest]}"
        )
    try:
        _VERIFIERS[strictest].prepare_key(secret)
    except PyJWTError:
        raise UnusableKey(
            "the secret is a public or private key or a JWK; an HMAC secret must be random bytes"
        ) from None
    return VerificationKey(usable, secret, kid)


def public_key(material: object, *, only: str | None = None, kid: str | None = None) -> VerificationKey:
    """Return the key of a public key object of ``cryptography``.

    Args:
        only: the only algorithm that the key is used with; None if it is not known.

    Raises:
        UnusableKey: the kind, curve or size of the key is not supported.
    """
    family: frozenset[str]
    if isinstance(material, RSAPublicKey):
        if material.key_size < MIN_RSA_BITS:
            raise UnusableKey(
                f"an RSA key of {material.key_size} bits is too weak; at least {MIN_RSA_BITS} are required"
            )
        family = RSA
    elif isinstance(material, EllipticCurvePublicKey):
        if material.curve.name not in EC_OF_CURVE:
            raise UnusableKey(f"the curve {material.curve.name} is not supported")
        family = frozenset({EC_OF_CURVE[material.curve.name]})
    elif isinstance(material, Ed25519PublicKey):
        family = frozenset({EDDSA})
    else:
        raise UnusableKey("not an RSA, EC or Ed25519 public key")
    if only is not None and only not in family:
        raise UnusableKey("its alg does not match its kind")
    return VerificationKey(family if only is None else frozenset({only}), material, kid)


def read_secret(path: Path) -> bytes:
    """Return the secret in a file, without one newline at its end.

    Raises:
        UnusableKey: the file cannot be read. The text contains the path only if there is such a file: an
            administrator may have set the secret in place of the path by mistake.
    """
    try:
        return secret_files.read_secret(path)
    except ValueError as error:
        raise UnusableKey(str(error)) from None


def read_public_key(path: Path) -> VerificationKey:
    """Return the public key in a PEM file of a public key or a certificate.

    Raises:
        UnusableKey: the file cannot be read, or it contains a private key, several keys or no key.
    """
    try:
        content = secret_files.read_limited(path)
    except OSError as error:
        raise UnusableKey(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise UnusableKey(str(error)) from None
    if b"PRIVATE KEY-----" in content:
        raise UnusableKey(
            f"{path} contains a private key, which only the issuer of tokens should have; use the public key"
        )
    if content.count(b"-----BEGIN ") > 1:
        raise UnusableKey(f"{path} contains more than one key; use one file for each")
    try:
        if b"-----BEGIN CERTIFICATE-----" in content:
            return public_key(load_pem_x509_certificate(content).public_key())
        return public_key(load_pem_public_key(content))
    except UnusableKey as error:
        raise UnusableKey(f"{path}: {error}") from None
    except (ValueError, UnsupportedAlgorithm):
        raise UnusableKey(f"{path} contains no public key in PEM format") from None


RequestKey = Callable[[bytes], float | None]
"""Has keys fetched because a key is missing; the argument is a digest that names the key.

Returns the seconds after which the key may be known; None if a fetch since the first request has not found it.
"""


class KeyRing:
    """All keys that verify tokens: the fixed ones, from files, and the fetched ones.

    If there are fetched keys, a missing one may have been published since the last fetch. Tokens of such a key are
    refused with ``try_later`` until a fetch has shown that it does not exist (``request_key``), and then with
    ``unauthorized``.

    Args:
        fixed: the keys from files.
        awaits_fetched: whether ``renew`` will add keys. Until it does, no refusal for want of a key is final.

    Attributes:
        request_key: set by the source of the fetched keys.

    Raises:
        UnusableKey: more than ``MAX_CANDIDATES`` keys without ``kid`` are for the same algorithm, or more than that
            have the same ``kid``.
    """

    def __init__(self, fixed: Iterable[VerificationKey] = (), *, awaits_fetched: bool = False) -> None:
        self.request_key: RequestKey = lambda name: None
        self._fixed = tuple(fixed)
        self._awaits_fetched = awaits_fetched
        self._index(self._fixed)

    def renew(self, fetched: Iterable[VerificationKey]) -> None:
        """Replace all fetched keys.

        Raises:
            UnusableKey: as for the constructor; the keys are then unchanged.
        """
        self._index((*self._fixed, *fetched))
        self._awaits_fetched = False

    def candidates(self, kid: str | None, algorithm: str) -> tuple[VerificationKey, ...]:
        """Return the keys, at least one, that may have signed a token with these headers.

        If the token has a ``kid`` and any key has one, these are the keys with that ``kid``. Otherwise, they are all
        keys for the algorithm.

        Raises:
            Refusal: ``unauthorized`` if no key matches; ``try_later`` if a fetch may add one that does.
        """
        if kid is not None and self._by_kid:
            named = self._by_kid.get(kid)
            if named is None:
                raise self._no_key("kid: unknown key", algorithm, kid.encode())
            found = tuple([key for key in named if algorithm in key.algorithms])
            if not found:
                raise unauthorized(f"alg: the key with this kid is not for {algorithm}")
            return found
        found = self._by_algorithm.get(algorithm, ())
        if not found:
            raise self._no_key(f"alg: there is no key for {algorithm}", algorithm, (kid or algorithm).encode())
        if len(found) > MAX_CANDIDATES:
            raise unauthorized("kid: required, because there are many keys")
        return found

    def mismatch(self, token: CompactToken) -> Refusal:
        """Return the refusal of a token that none of its ``candidates`` has signed.

        Its key may be one that is not known yet, unless a key with its ``kid`` is.
        """
        text = "signature: does not match any key"
        if token.kid is not None and token.kid in self._by_kid:
            return unauthorized(text)
        return self._no_key(text, token.algorithm, token.signed + token.signature)

    def _no_key(self, text: str, algorithm: str, name: bytes) -> Refusal:
        # Fetched keys are never those of an HMAC (``jwkset``).
        if algorithm in MIN_HMAC_BYTES:
            return unauthorized(text)
        retry_after = self.request_key(hashlib.blake2b(name, digest_size=16).digest())
        if self._awaits_fetched:
            text = "the keys for verifying tokens have not been fetched yet"
            return Refusal(ErrorCode.TRY_LATER, text, retry_after=retry_after or RETRY_AFTER_SECONDS)
        if retry_after is None:
            return unauthorized(text)
        text = f"{text}; the keys for verifying tokens are being fetched again"
        return Refusal(ErrorCode.TRY_LATER, text, retry_after=retry_after)

    def _index(self, keys: tuple[VerificationKey, ...]) -> None:
        by_kid: dict[str, tuple[VerificationKey, ...]] = {}
        by_algorithm: dict[str, tuple[VerificationKey, ...]] = {}
        without_kid: dict[str, int] = {}
        for key in keys:
            if key.kid is not None:
                by_kid[key.kid] = (*by_kid.get(key.kid, ()), key)
            for name in key.algorithms:
                by_algorithm[name] = (*by_algorithm.get(name, ()), key)
                without_kid[name] = without_kid.get(name, 0) + (key.kid is None)
        if max(without_kid.values(), default=0) > MAX_CANDIDATES or any(
            len(s) > MAX_CANDIDATES for s in by_kid.values()
        ):
            raise UnusableKey(f"more than {MAX_CANDIDATES} keys for one algorithm have the same kid or none")
        self._by_kid, self._by_algorithm = by_kid, by_algorithm
