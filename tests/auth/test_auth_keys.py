"""Key material: accepted and refused keys, and the choice of the key for a token."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from auth_issuer import KIND_OF, SECRET, issue, jwk, private, private_pem, public, public_pem
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat, PublicFormat
from msgspec.structs import replace

from callcenter_ws.auth.jws import parse
from callcenter_ws.auth.keys import (
    MAX_CANDIDATES,
    KeyRing,
    UnusableKey,
    VerificationKey,
    hmac_key,
    public_key,
    read_public_key,
    read_secret,
)
from callcenter_ws.errors import ErrorCode, Refusal

HMACS = ("HS256", "HS384", "HS512")


def key_of(algorithm: str, kid: str | None = None) -> VerificationKey:
    kind = KIND_OF[algorithm]
    return hmac_key(SECRET, HMACS, kid=kid) if kind == "hmac" else public_key(public(kind), kid=kid)


# Secrets


@pytest.mark.parametrize(
    ("content", "secret"),
    [
        (b"s" * 32, b"s" * 32),
        (b"s" * 32 + b"\n", b"s" * 32),
        (b"s" * 32 + b"\r\n", b"s" * 32),
        (b"s" * 32 + b"\n\n", b"s" * 32 + b"\n"),
        (b" s\xff\x00" * 8, b" s\xff\x00" * 8),
    ],
)
def test_one_newline_at_the_end_of_a_secret_is_not_part_of_it(tmp_path: Path, content: bytes, secret: bytes) -> None:
    file = tmp_path / "jwt.secret"
    file.write_bytes(content)
    assert read_secret(file) == secret


@pytest.mark.parametrize(("algorithm", "least"), [("HS256", 32), ("HS384", 48), ("HS512", 64)])
def test_a_short_secret_is_refused_at_load(algorithm: str, least: int) -> None:
    assert hmac_key(b"s" * least, (algorithm,)).algorithms == {algorithm}
    with pytest.raises(UnusableKey, match=rf"has {least - 1} bytes; {algorithm} requires at least {least}"):
        hmac_key(b"s" * (least - 1), (algorithm,))


def test_the_strictest_algorithm_decides_the_length_of_the_secret() -> None:
    with pytest.raises(UnusableKey, match="HS512 requires at least 64"):
        hmac_key(b"s" * 63, ("HS256", "HS512"))


def test_a_secret_is_for_hmac_algorithms_only() -> None:
    assert hmac_key(SECRET, ("HS256", "RS256", "none")).algorithms == {"HS256"}
    with pytest.raises(UnusableKey, match="among the algorithms"):
        hmac_key(SECRET, ("RS256",))


@pytest.mark.parametrize(
    "secret",
    [
        public_pem("rsa"),
        private_pem("p256"),
        public("rsa").public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        public("ed25519").public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH),
        repr(jwk("rsa")).replace("'", '"').encode(),
    ],
    ids=["public PEM", "private PEM", "DER", "SSH", "JWK"],
)
def test_a_key_of_another_kind_is_refused_as_a_secret(secret: bytes) -> None:
    with pytest.raises(UnusableKey, match="random bytes"):
        hmac_key(secret)


def test_a_secret_is_not_in_the_repr() -> None:
    assert "0123456789" not in repr(hmac_key(SECRET))


def test_the_error_for_a_missing_secret_file_does_not_contain_its_path(tmp_path: Path) -> None:
    with pytest.raises(UnusableKey, match="No such file") as caught:
        read_secret(tmp_path / "in-truth-the-secret-itself")
    assert "in-truth" not in str(caught.value)


def test_the_size_of_a_key_file_is_limited() -> None:
    with pytest.raises(UnusableKey, match="larger than"):
        read_secret(Path("/dev/zero"))


# PEM files


@pytest.mark.parametrize(
    ("kind", "algorithms"),
    [
        ("rsa", {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
        ("p256", {"ES256"}),
        ("p384", {"ES384"}),
        ("p521", {"ES512"}),
        ("ed25519", {"EdDSA"}),
    ],
)
def test_a_public_key_file_is_for_its_own_family(tmp_path: Path, kind: str, algorithms: set[str]) -> None:
    file = tmp_path / "key.pem"
    file.write_bytes(b"# the key of our issuer\n" + public_pem(kind))
    key = read_public_key(file)
    assert key.algorithms == algorithms
    assert key.kid is None


def test_a_certificate_is_accepted_as_a_public_key(tmp_path: Path) -> None:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "issuer")])
    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    certificate = x509.CertificateBuilder(
        name, name, public("p256"), 1, start, start + datetime.timedelta(days=1)
    ).sign(private("p256"), hashes.SHA256())
    file = tmp_path / "issuer.crt"
    file.write_bytes(certificate.public_bytes(Encoding.PEM))
    assert read_public_key(file).signed(parse(issue("ES256")))


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        ("rsa", PrivateFormat.PKCS8),
        ("rsa", PrivateFormat.TraditionalOpenSSL),
        ("p256", PrivateFormat.TraditionalOpenSSL),
        ("ed25519", PrivateFormat.OpenSSH),
    ],
)
def test_a_private_key_is_refused(tmp_path: Path, kind: str, form: PrivateFormat) -> None:
    file = tmp_path / "key.pem"
    file.write_bytes(private_pem(kind, form) + public_pem(kind))
    with pytest.raises(UnusableKey, match=r"key\.pem contains a private key, .* use the public key"):
        read_public_key(file)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "no public key"),
        (b"\xff\x00garbage", "no public key"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "no public key"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "no public key"),
        (public_pem("p256") + public_pem("p384"), "more than one key"),
        (public_pem("rsa1024"), "1024 bits is too weak"),
        (public_pem("secp256k1"), "curve secp256k1"),
        (public_pem("ed448"), "not an RSA, EC or Ed25519"),
        (b"#" * 70_000, "larger than"),
    ],
)
def test_a_file_without_a_usable_key_is_refused(tmp_path: Path, content: bytes, why: str) -> None:
    file = tmp_path / "key.pem"
    file.write_bytes(content)
    with pytest.raises(UnusableKey, match=why):
        read_public_key(file)


def test_the_error_for_a_missing_key_file_contains_its_path(tmp_path: Path) -> None:
    with pytest.raises(UnusableKey, match=r"cannot read .*nothing\.pem: No such file"):
        read_public_key(tmp_path / "nothing.pem")


def test_a_key_can_be_restricted_to_one_algorithm() -> None:
    assert public_key(public("rsa"), only="PS256").algorithms == {"PS256"}
    for stranger in ("HS256", "ES256", "none", "RSA-OAEP"):
        with pytest.raises(UnusableKey, match="does not match"):
            public_key(public("rsa"), only=stranger)


# One family per key


@pytest.mark.parametrize("algorithm", KIND_OF)
@pytest.mark.parametrize("of_key", KIND_OF)
def test_a_key_verifies_its_own_family_only(algorithm: str, of_key: str) -> None:
    assert key_of(of_key).signed(parse(issue(algorithm))) == (KIND_OF[algorithm] == KIND_OF[of_key])


@pytest.mark.parametrize("algorithm", KIND_OF)
def test_a_changed_signature_is_refused(algorithm: str) -> None:
    token = parse(issue(algorithm))
    changed = bytes([token.signature[0] ^ 1]) + token.signature[1:]
    for signature in (changed, token.signature[:-1], token.signature * 2, bytes(len(token.signature)), b""):
        assert not key_of(algorithm).signed(replace(token, signature=signature))
    assert not key_of(algorithm).signed(replace(token, signed=token.signed + b"A"))


# The ring


def kids(keys: tuple[VerificationKey, ...]) -> list[str | None]:
    return [key.kid for key in keys]


def test_a_kid_selects_its_key_only() -> None:
    ring = KeyRing([key_of("RS256", "a"), key_of("PS256", "b"), key_of("ES256", "c")])
    assert kids(ring.candidates("b", "RS256")) == ["b"]
    assert kids(ring.candidates(None, "RS256")) == ["a", "b"]


def test_an_unknown_kid_is_refused() -> None:
    ring = KeyRing([key_of("RS256", "a"), key_of("ES256")])
    for kid in ("b", "", "A"):
        with pytest.raises(Refusal, match="kid: unknown key") as caught:
            ring.candidates(kid, "ES256")
        assert caught.value.code is ErrorCode.UNAUTHORIZED


def test_a_kid_is_ignored_if_no_key_has_one() -> None:
    ring = KeyRing([key_of("RS256"), key_of("HS256")])
    assert ring.candidates("whatever", "RS256") == ring.candidates(None, "RS256")
    assert len(ring.candidates("whatever", "RS256")) == 1


def test_an_algorithm_without_a_key_is_refused() -> None:
    ring = KeyRing([key_of("RS256", "a"), key_of("ES256", "b")])
    with pytest.raises(Refusal, match="alg: there is no key for HS256"):
        ring.candidates(None, "HS256")
    with pytest.raises(Refusal, match="alg: the key with this kid is not for ES256"):
        ring.candidates("a", "ES256")


def test_fetched_keys_replace_earlier_ones() -> None:
    ring = KeyRing([key_of("ES256", "file")])
    ring.renew([key_of("RS256", "old")])
    ring.renew([key_of("RS256", "new")])
    assert kids(ring.candidates("new", "RS256")) == ["new"]
    assert kids(ring.candidates("file", "ES256")) == ["file"]
    with pytest.raises(Refusal, match="kid"):
        ring.candidates("old", "RS256")


def test_tokens_are_refused_temporarily_while_keys_are_awaited() -> None:
    ring = KeyRing([key_of("HS256")], awaits_fetched=True)
    assert ring.candidates(None, "HS256")
    with pytest.raises(Refusal) as caught:
        ring.candidates("a", "RS256")
    assert caught.value.code is ErrorCode.TRY_LATER
    assert caught.value.retry_after
    ring.renew([key_of("RS256", "a")])
    assert ring.candidates("a", "RS256")
    with pytest.raises(Refusal) as caught:
        ring.candidates("b", "RS256")
    assert caught.value.code is ErrorCode.UNAUTHORIZED


def test_the_number_of_keys_tried_for_one_token_is_bounded() -> None:
    named = [key_of("RS256", str(number)) for number in range(MAX_CANDIDATES + 1)]
    ring = KeyRing(named)
    assert len(ring.candidates("0", "RS256")) == 1
    with pytest.raises(Refusal, match="kid: required"):
        ring.candidates(None, "RS256")
    for alike in (None, "same"):
        with pytest.raises(UnusableKey, match="the same kid or none"):
            KeyRing([key_of("RS256", alike)] * (MAX_CANDIDATES + 1))


def test_keys_are_unchanged_if_new_ones_are_refused() -> None:
    ring = KeyRing(awaits_fetched=True)
    ring.renew([key_of("RS256", "a")])
    with pytest.raises(UnusableKey):
        ring.renew([key_of("RS256")] * (MAX_CANDIDATES + 1))
    assert kids(ring.candidates("a", "RS256")) == ["a"]
