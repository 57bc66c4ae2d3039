"""JWK sets: usable and ignored keys."""

from __future__ import annotations

import json
from typing import Any

import pytest
from auth_issuer import KIND_OF, SECRET, base64url, issue, jwk, jwk_set, private
from hypothesis import given
from hypothesis import strategies as st
from jwt import get_algorithm_by_name

from callcenter_ws.auth.jwkset import parse_jwk_set
from callcenter_ws.auth.jws import parse
from callcenter_ws.auth.keys import UnusableKey

GOOD = jwk("p256", kid="good")
PUBLIC_ALGORITHMS = [name for name, kind in KIND_OF.items() if kind != "hmac"]


@pytest.mark.parametrize("algorithm", PUBLIC_ALGORITHMS)
def test_keys_of_every_kind_are_accepted(algorithm: str) -> None:
    (key,) = parse_jwk_set(jwk_set(jwk(KIND_OF[algorithm], kid="k", use="sig"))).keys
    assert key.kid == "k"
    assert key.signed(parse(issue(algorithm)))


def test_use_kid_and_alg_are_optional() -> None:
    (key,) = parse_jwk_set(jwk_set(jwk("rsa", key_ops=None))).keys
    assert key.kid is None
    assert key.signed(parse(issue("PS256")))


def test_alg_restricts_a_key_to_that_algorithm() -> None:
    (key,) = parse_jwk_set(jwk_set(jwk("rsa", alg="PS256"))).keys
    assert key.signed(parse(issue("PS256")))
    assert not key.signed(parse(issue("RS256")))


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ({"kty": "oct", "k": base64url(SECRET), "kid": "s", "alg": "HS256"}, "symmetric"),
        ({"kty": "oct", "k": base64url(SECRET), "use": "enc"}, "symmetric"),
        (get_algorithm_by_name("RS256").to_jwk(private("rsa"), as_dict=True), "private key"),
        (get_algorithm_by_name("ES256").to_jwk(private("p256"), as_dict=True), "private key"),
        (jwk("rsa", use="enc"), "not for signatures"),
        (jwk("rsa", use=["sig"]), "not for signatures"),
        (jwk("rsa", key_ops=["encrypt"]), "not for signatures"),
        (jwk("rsa", key_ops="verify"), "not for signatures"),
        (jwk("rsa", alg="RSA-OAEP"), "does not match"),
        (jwk("rsa", alg="HS256"), "does not match"),
        (jwk("rsa", alg="none"), "does not match"),
        (jwk("p256", alg="ES384"), "does not match"),
        (jwk("rsa", kid=7), "kid or alg"),
        (jwk("rsa", alg=["RS256"]), "kid or alg"),
        (jwk("rsa", n="AQAB"), "cannot be read|too weak"),
        (jwk("rsa", n=None), "cannot be read"),
        (jwk("rsa", n=5), "cannot be read"),
        (jwk("p256", x=base64url(b"\x01" * 32)), "cannot be read"),
        (jwk("p256", crv="P-384"), "cannot be read"),
        (jwk("p256", crv="secp256k1"), "kty or crv"),
        (jwk("p256", crv=["P-256"]), "kty or crv"),
        (jwk("ed25519", crv="Ed448"), "kty or crv"),
        (jwk("ed25519", x="AA"), "cannot be read"),
        (jwk("rsa", kty="DSA"), "kty or crv"),
        ({"kty": {"a": 1}}, "kty or crv"),
        ({}, "kty or crv"),
    ],
)
def test_an_unusable_key_is_ignored(entry: dict[str, Any], why: str) -> None:
    found = parse_jwk_set(jwk_set(entry, GOOD))
    assert [key.kid for key in found.keys] == ["good"]
    (text,) = found.ignored
    assert text.startswith("key 1: ")
    assert any(part in text for part in why.split("|"))
    with pytest.raises(UnusableKey, match=f"no usable key.*({why})"):
        parse_jwk_set(jwk_set(entry))


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"<html>",
        b"null",
        b"[]",
        b"{}",
        b'{"keys":null}',
        b'{"keys":{}}',
        b'{"keys":["a"]}',
        b'{"keys":[]}',
        b"\xff\xfe",
        b'{"keys":' + b"[" * 100_000,
        b'{"keys":[{"n":' + b"9" * 10_000 + b"}]}",
        b'{"keys":[' + json.dumps(GOOD).encode(),
    ],
)
def test_a_document_that_is_not_a_jwk_set_is_refused(document: bytes) -> None:
    with pytest.raises(UnusableKey):
        parse_jwk_set(document)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
MEMBERS = st.sampled_from(["kty", "crv", "x", "y", "n", "e", "d", "kid", "alg", "use", "key_ops", "k"])


@given(st.sampled_from(["rsa", "p256", "p521", "ed25519"]), st.dictionaries(MEMBERS, JSON, max_size=4))
def test_a_set_is_either_read_or_refused(kind: str, changes: dict[str, Any]) -> None:
    try:
        found = parse_jwk_set(jwk_set({**jwk(kind), **changes}))
    except UnusableKey:
        return
    assert len(found.keys) == 1


@given(st.binary(max_size=200))
def test_any_document_is_either_read_or_refused(document: bytes) -> None:
    with pytest.raises(UnusableKey):
        parse_jwk_set(document)
