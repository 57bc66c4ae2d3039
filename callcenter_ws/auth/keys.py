"""Keys that tokens are verified with, and what each may verify.

A key belongs to one family of algorithms for good. Which algorithm a token claims therefore never decides how
a key is used: an RSA public key cannot become an HMAC secret (RFC 8725 section 3.1).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
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

HMAC_BYTES: Mapping[str, int] = {"HS256": 32, "HS384": 48, "HS512": 64}
"""The HMAC algorithms, and the shortest secret of each in bytes (RFC 7518 section 3.2)."""

RSA = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
EC_OF_CURVE: Mapping[str, str] = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
EDDSA = "EdDSA"

MIN_RSA_BITS = 2048
"""RFC 7518 section 3.3."""

MAX_CANDIDATES = 8
"""Keys that are tried for one token, so that a token without ``kid`` costs a bounded time."""

MAX_FILE_BYTES = 65_536
RETRY_AFTER = 5.0
"""Seconds after which a peer may try again while keys are awaited."""

PublicKey: TypeAlias = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey

_VERIFIERS = {name: get_algorithm_by_name(name) for name in (*HMAC_BYTES, *RSA, *EC_OF_CURVE.values(), EDDSA)}


class UnusableKey(ValueError):
    """Key material that cannot be used; the text says why, without any of it."""


@dataclass(frozen=True, slots=True, eq=False)
class VerificationKey:
    """A key, and the algorithms of the one family that it is for."""

    algorithms: frozenset[str]
    material: bytes | PublicKey = field(repr=False)
    kid: str | None = None

    def signed(self, token: CompactToken) -> bool:
        """Whether the holder of this key signed ``token``. False for an algorithm of another family."""
        if token.algorithm not in self.algorithms:
            return False
        try:
            return _VERIFIERS[token.algorithm].verify(token.signed, self.material, token.signature)
        except (PyJWTError, UnsupportedAlgorithm, ValueError):
            return False


def hmac_key(secret: bytes, algorithms: Collection[str] = ("HS256",), *, kid: str | None = None) -> VerificationKey:
    """Make the key of a shared secret.

    Args:
        algorithms: the HMAC algorithms that it is for; names of other families are passed over.

    Raises:
        UnusableKey: when the secret is shorter than one of them needs, or is itself some other kind of key.
    """
    mine = frozenset(algorithms) & HMAC_BYTES.keys()
    if not mine:
        raise UnusableKey("an HMAC secret is for HS256, HS384 and HS512, and none of these is among the algorithms")
    strictest = max(mine, key=lambda name: HMAC_BYTES[name])
    if len(secret) < HMAC_BYTES[strictest]:
        raise UnusableKey(f"the secret has {len(secret)} bytes, {strictest} needs at least {HMAC_BYTES[strictest]}")
    try:
        _VERIFIERS[strictest].prepare_key(secret)
    except PyJWTError:
        raise UnusableKey("the secret is a public or private key or a JWK; an HMAC secret is random bytes") from None
    return VerificationKey(mine, secret, kid)


def public_key(material: object, *, only: str | None = None, kid: str | None = None) -> VerificationKey:
    """Make the key of a public key that ``cryptography`` has loaded.

    Args:
        only: the one algorithm that its owner uses it for; None when that was not said.

    Raises:
        UnusableKey: for a kind, curve or size that the gateway does not verify with.
    """
    family: frozenset[str]
    if isinstance(material, RSAPublicKey):
        if material.key_size < MIN_RSA_BITS:
            raise UnusableKey(f"an RSA key of {material.key_size} bits is too weak, {MIN_RSA_BITS} is the least")
        family = RSA
    elif isinstance(material, EllipticCurvePublicKey):
        if material.curve.name not in EC_OF_CURVE:
            raise UnusableKey(f"no algorithm here is for the curve {material.curve.name}")
        family = frozenset({EC_OF_CURVE[material.curve.name]})
    elif isinstance(material, Ed25519PublicKey):
        family = frozenset({EDDSA})
    else:
        raise UnusableKey("not a public key of the kinds RSA, EC or Ed25519")
    if only is not None and only not in family:
        raise UnusableKey("its algorithm does not fit its kind")
    return VerificationKey(family if only is None else frozenset({only}), material, kid)


def read_secret(path: Path) -> bytes:
    """Return the secret in a file, without the one newline that editors leave at its end.

    Raises:
        UnusableKey: when the file cannot be read. The text does not show the path: some write the secret
            itself where its file belongs.
    """
    try:
        content = _content(path)
    except OSError as error:
        raise UnusableKey(f"cannot read the file of the secret: {error.strerror}") from None
    return content.removesuffix(b"\n").removesuffix(b"\r")


def read_public_key(path: Path) -> VerificationKey:
    """Return the one public key in a PEM file, which may also be a certificate.

    Raises:
        UnusableKey: when the file cannot be read, or holds a private key, several keys or none.
    """
    try:
        content = _content(path)
    except OSError as error:
        raise UnusableKey(f"cannot read {path}: {error.strerror}") from None
    if b"PRIVATE KEY-----" in content:
        raise UnusableKey(f"{path} holds a private key; only who issues tokens may have it, give the public one")
    if content.count(b"-----BEGIN ") > 1:
        raise UnusableKey(f"{path} holds more than one key; give each a file of its own")
    try:
        if b"-----BEGIN CERTIFICATE-----" in content:
            return public_key(load_pem_x509_certificate(content).public_key())
        return public_key(load_pem_public_key(content))
    except UnusableKey as error:
        raise UnusableKey(f"{path}: {error}") from None
    except (ValueError, UnsupportedAlgorithm):
        raise UnusableKey(f"{path} holds no public key in PEM form") from None


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise UnusableKey(f"the file of a key is larger than {MAX_FILE_BYTES} bytes")
    return content


class KeyRing:
    """All keys that the gateway verifies tokens with: those from files, and those that were fetched.

    Args:
        fixed: keys that stay for good.
        awaits_fetched: whether ``renew`` will bring more. Until it has, a token for which there is no key is
            told to come again rather than refused for good.

    Raises:
        UnusableKey: when more than ``MAX_CANDIDATES`` keys without ``kid`` are for one algorithm.
    """

    def __init__(self, fixed: Iterable[VerificationKey] = (), *, awaits_fetched: bool = False) -> None:
        self._fixed = tuple(fixed)
        self._awaits_fetched = awaits_fetched
        self._index(self._fixed)

    def renew(self, fetched: Iterable[VerificationKey]) -> None:
        """Take ``fetched`` in place of all that were fetched before.

        Raises:
            UnusableKey: as the constructor; the ring is then as it was.
        """
        self._index((*self._fixed, *fetched))
        self._awaits_fetched = False

    def candidates(self, kid: str | None, algorithm: str) -> tuple[VerificationKey, ...]:
        """Return the keys that may have signed a token with these headers: one at least.

        Where keys have a ``kid``, a token that names one is tried with that key alone. A token that names none,
        or keys that have none (PEM files), leave every key of the algorithm's family.

        Raises:
            Refusal: ``unauthorized`` when no key fits; ``unavailable`` while keys are still to be fetched.
        """
        if kid is not None and self._by_kid:
            named = self._by_kid.get(kid)
            if named is None:
                raise self._no_key("kid: no such key is known here")
            found = tuple([key for key in named if algorithm in key.algorithms])
            if not found:
                raise unauthorized(f"alg: the key that kid names is not for {algorithm}")
            return found
        found = self._by_algorithm.get(algorithm, ())
        if not found:
            raise self._no_key(f"alg: there is no key for {algorithm}")
        if len(found) > MAX_CANDIDATES:
            raise unauthorized("kid: required, there are many keys")
        return found

    def _no_key(self, text: str) -> Refusal:
        if self._awaits_fetched:
            text = "the keys that tokens are verified with have not been fetched yet"
            return Refusal(ErrorCode.UNAVAILABLE, text, retry_after=RETRY_AFTER)
        return unauthorized(text)

    def _index(self, keys: tuple[VerificationKey, ...]) -> None:
        by_kid: dict[str, tuple[VerificationKey, ...]] = {}
        by_algorithm: dict[str, tuple[VerificationKey, ...]] = {}
        nameless: dict[str, int] = {}
        for key in keys:
            if key.kid is not None:
                by_kid[key.kid] = (*by_kid.get(key.kid, ()), key)
            for name in key.algorithms:
                by_algorithm[name] = (*by_algorithm.get(name, ()), key)
                nameless[name] = nameless.get(name, 0) + (key.kid is None)
        if max(nameless.values(), default=0) > MAX_CANDIDATES or any(len(s) > MAX_CANDIDATES for s in by_kid.values()):
            raise UnusableKey(f"more than {MAX_CANDIDATES} keys of one kind cannot be told apart by a kid of their own")
        self._by_kid, self._by_algorithm = by_kid, by_algorithm
