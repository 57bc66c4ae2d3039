"""TokenVerifier: refused tokens, and the principals of valid ones."""

from __future__ import annotations

import json
from typing import Any

import pytest
from auth_issuer import CLAIMS, KIND_OF, NOW, SECRET, base64url, compact, issue, private, public, public_pem
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import example, given
from hypothesis import strategies as st

from callcenter_ws.auth.jws import MAX_TOKEN_BYTES
from callcenter_ws.auth.keys import KeyRing, hmac_key, public_key
from callcenter_ws.auth.tokens import TokenRules, TokenVerifier
from callcenter_ws.errors import CloseCode, ErrorCode, Refusal
from callcenter_ws.events.principal import Principal, Role
from callcenter_ws.runtime.json import rfc3339

HMACS = ("HS256", "HS384", "HS512")
ALL = tuple(KIND_OF)


def ring_of(*kinds: str) -> KeyRing:
    return KeyRing([hmac_key(SECRET, HMACS) if kind == "hmac" else public_key(public(kind)) for kind in kinds])


def verifier(*algorithms: str, now: float = NOW, keys: KeyRing | None = None, **rules: Any) -> TokenVerifier:
    """Return a verifier with the keys of ``algorithms`` (default: HS256)."""
    pinned = algorithms or ("HS256",)
    ring = keys or ring_of(*{KIND_OF[name] for name in pinned})
    return TokenVerifier(ring, TokenRules(pinned, **rules), lambda: now)


def refused(token: str, by: TokenVerifier | None = None) -> str:
    """Return the text of the refusal of ``token``."""
    with pytest.raises(Refusal) as caught:
        (by or verifier()).verify(token)
    assert caught.value.code is ErrorCode.UNAUTHORIZED
    assert caught.value.close_code is CloseCode.UNAUTHORIZED
    assert len(caught.value.message) < 200
    return caught.value.message


def refused_for(seconds: float, token: str, **rules: Any) -> str:
    """Return the text of a refusal that is over after that time."""
    with pytest.raises(Refusal) as caught:
        verifier(**rules).verify(token)
    assert (caught.value.code, caught.value.close_code) == (ErrorCode.TRY_LATER, CloseCode.TRY_LATER)
    assert caught.value.retry_after == pytest.approx(seconds)
    verifier(now=NOW + seconds, **rules).verify(token)
    return caught.value.message


# Valid tokens


def test_the_required_claims_are_enough() -> None:
    assert verifier().verify(issue()) == Principal("acme", "42", Role.AGENT, expires_at=NOW + 600)


def test_every_claim_is_stored_in_the_principal() -> None:
    token = issue(
        iss="https://id.example",
        aud="callcenter",
        nbf=NOW - 1,
        iat=NOW - 2.5,
        jti="j-1",
        name="Zoë 名",
        role="supervisor",
        queues=["sales", 7],
        session_id="s-1",
        extension="1001",
        something_else={"a": [1]},
    )
    assert verifier().verify(token) == Principal(
        tenant_id="acme",
        user_id="42",
        role=Role.SUPERVISOR,
        expires_at=NOW + 600,
        issued_at=NOW - 2.5,
        name="Zoë 名",
        queues=frozenset({"sales", "7"}),
        session_id="s-1",
        extension="1001",
        jti="j-1",
    )


@pytest.mark.parametrize("algorithm", ALL)
def test_every_algorithm_is_accepted_where_it_is_pinned(algorithm: str) -> None:
    assert verifier(algorithm).verify(issue(algorithm)).user_id == "42"
    assert verifier(*ALL).verify(issue(algorithm)).user_id == "42"


@pytest.mark.parametrize("role", Role)
def test_every_role_is_known(role: Role) -> None:
    assert verifier().verify(issue(role=role.value, session_id="s")).role is role


def test_integers_mean_their_decimal_text() -> None:
    who = verifier().verify(issue(sub=0, tenant_id=-12, extension=1001, session_id=2**63 - 1, jti=5, queues=[-(2**63)]))
    assert (who.user_id, who.tenant_id, who.extension, who.jti) == ("0", "-12", "1001", "5")
    assert (who.session_id, who.queues) == ("9223372036854775807", {"-9223372036854775808"})


@pytest.mark.parametrize("claim", ["sub", "tenant_id", "session_id", "jti", "extension"])
@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, int("9" * 255)])
def test_an_integer_of_more_than_64_bits_is_refused(claim: str, value: int) -> None:
    """An event cannot name it, so that it would be nobody's."""
    assert f"{claim}: expected an integer" in refused(issue(**{claim: value}))


def test_a_queue_of_more_than_64_bits_is_refused() -> None:
    assert "queues[1]: expected an integer" in refused(issue(queues=["sales", 2**63]))


@pytest.mark.parametrize("claim", ["sub", "tenant_id", "session_id", "jti", "extension"])
def test_an_identifier_with_a_control_character_is_refused(claim: str) -> None:
    """Identifiers of events must not contain any either."""
    for character in "\0\x01\n\x7f\x9f":
        assert f"{claim}: contains a control character" in refused(issue(**{claim: f"a{character}b"}))


def test_an_empty_or_null_optional_claim_is_an_absent_one() -> None:
    for nothing in ("", None):
        who = verifier().verify(issue(name=nothing, session_id=nothing, extension=nothing, jti=nothing))
        assert (who.name, who.session_id, who.extension, who.jti) == (None, None, None, None)


def test_an_empty_list_of_queues_is_not_an_absent_one() -> None:
    assert verifier().verify(issue(queues=[])).queues == frozenset()
    assert verifier().verify(issue()).queues is None


def test_identifiers_of_255_characters_pass() -> None:
    who = verifier().verify(issue(sub="é" * 255, tenant_id="9" * 255))
    assert (who.user_id, who.tenant_id) == ("é" * 255, "9" * 255)


# Format


def test_a_token_over_8_kib_is_refused_before_anything_else() -> None:
    room = MAX_TOKEN_BYTES - len(issue(pad=""))
    fits = issue(pad="x" * (room * 3 // 4 - 3))
    assert len(fits) <= MAX_TOKEN_BYTES
    assert verifier().verify(fits)
    assert "8192 bytes" in refused(issue(pad="x" * MAX_TOKEN_BYTES))
    assert "8192 bytes" in refused("x" * (MAX_TOKEN_BYTES + 1))


@pytest.mark.parametrize("token", ["", ".", "..", "a.b", "a.b.c.d", "a.b.c.d.e", issue() + ".", "." + issue()])
def test_a_token_without_three_parts_is_refused(token: str) -> None:
    assert "not a JWT" in refused(token)


@pytest.mark.parametrize("spoil", [" ", "\n", "\x00", "é", "\ud800", "=", "+", "/", "%"])
def test_a_character_that_is_not_base64url_is_refused(spoil: str) -> None:
    head, payload, signature = issue().split(".")
    for token in (f"{head}{spoil}.{payload}.{signature}", f"{head}.{spoil}{payload}.{signature}", issue() + spoil):
        assert "not a JWT" in refused(token)


def test_unused_bits_must_be_zero() -> None:
    # 32 bytes leave two bits of the last character unused; ignoring them would allow four spellings of a token.
    token = issue()
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    twin = token[:-1] + alphabet[alphabet.index(token[-1]) + 1]
    assert "not a JWT" in refused(twin)


@pytest.mark.parametrize("header", [b"", b"x", b"null", b"[]", b'"HS256"', b"\xff", b"[" * 3000, b'{"a":' * 800])
def test_a_header_that_is_not_an_object_is_refused(header: bytes) -> None:
    assert "not a JWT" in refused(compact(header, CLAIMS, SECRET, "HS256"))


@pytest.mark.parametrize("payload", [b"", b"x", b"null", b"[]", b'"42"', b"\xff", b"[" * 4000, b'{"a":' * 900])
def test_claims_that_are_not_an_object_are_refused(payload: bytes) -> None:
    assert "claims" in refused(compact({"alg": "HS256"}, payload, SECRET, "HS256"))


def test_a_lone_surrogate_in_a_claim_is_refused() -> None:
    # It could not be encoded in a message.
    payload = json.dumps(CLAIMS).replace('"42"', '"\\ud800"').encode()
    refused(compact({"alg": "HS256"}, payload, SECRET, "HS256"))


# Algorithm and key


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", ""])
def test_the_algorithm_none_is_refused(algorithm: str) -> None:
    head = base64url(json.dumps({"typ": "JWT", "alg": algorithm}).encode())
    payload = base64url(json.dumps(CLAIMS).encode())
    for signature in ("", base64url(b"x"), issue().rpartition(".")[2]):
        assert "alg" in refused(f"{head}.{payload}.{signature}", verifier(*ALL))


@pytest.mark.parametrize("header", [{}, {"alg": None}, {"alg": 5}, {"alg": ["HS256"]}, {"alg": {"HS256": 1}}])
def test_an_algorithm_that_is_not_a_string_is_refused(header: dict[str, Any]) -> None:
    assert "alg: required" in refused(compact(header, CLAIMS, SECRET, "HS256"))


@pytest.mark.parametrize("pinned", ALL)
@pytest.mark.parametrize("used", ALL)
def test_no_algorithm_but_the_pinned_ones_is_accepted(pinned: str, used: str) -> None:
    every_key = ring_of("hmac", "rsa", "p256", "p384", "p521", "ed25519")
    strict = verifier(pinned, keys=every_key)
    if used == pinned:
        assert strict.verify(issue(used))
    else:
        assert f"expected one of {pinned}" in refused(issue(used), strict)


@pytest.mark.parametrize("algorithm", ALL)
@pytest.mark.parametrize("claimed", ALL)
def test_a_signature_is_valid_for_its_algorithm_only(algorithm: str, claimed: str) -> None:
    token = compact({"alg": claimed}, CLAIMS, private(KIND_OF[algorithm]), algorithm)
    if claimed == algorithm:
        assert verifier(*ALL).verify(token)
    else:
        assert "signature" in refused(token, verifier(*ALL))


@pytest.mark.parametrize("kind", ["rsa", "p256", "ed25519"])
def test_an_hmac_over_a_public_key_is_refused(kind: str) -> None:
    forms = [
        public_pem(kind),
        public_pem(kind).strip(),
        public(kind).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
    ]
    for secret in forms:
        token = compact({"alg": "HS256"}, CLAIMS, secret, "HS256")
        assert "signature" in refused(token, verifier(*ALL))
        # Even if only HS256 is accepted and only the public key is configured.
        assert "no key for HS256" in refused(token, verifier("HS256", keys=ring_of(kind)))


def test_an_hmac_by_the_kid_of_a_public_key_is_refused() -> None:
    keys = KeyRing([public_key(public("rsa"), kid="k"), hmac_key(SECRET, HMACS, kid="h")])
    token = compact({"alg": "HS256", "kid": "k"}, CLAIMS, public_pem("rsa"), "HS256")
    assert "not for HS256" in refused(token, verifier("HS256", "RS256", keys=keys))


def test_an_unknown_kid_is_refused() -> None:
    keys = KeyRing([public_key(public("rsa"), kid="k")])
    strict = verifier("RS256", keys=keys)
    assert strict.verify(issue("RS256", header={"kid": "k"}))
    assert "kid" in refused(issue("RS256", header={"kid": "other"}), strict)


@pytest.mark.parametrize("kid", [None, 5, ["k"], {"k": 1}, True])
def test_a_kid_that_is_not_a_string_is_refused(kid: object) -> None:
    assert "kid" in refused(issue(header={"kid": kid}))


@pytest.mark.parametrize("extra", [{"crit": ["exp"], "exp": 1}, {"crit": []}, {"crit": "b64"}, {"crit": None}])
def test_the_crit_header_is_refused(extra: dict[str, Any]) -> None:
    assert "crit" in refused(issue(header=extra))


@pytest.mark.parametrize(
    "extra", [{"crit": ["b64"], "b64": True}, {"b64": True}, {"crit": ["b64"], "b64": False}, {"b64": False}]
)
def test_an_unencoded_payload_is_refused(extra: dict[str, Any]) -> None:
    # RFC 7797, which PyJWT supports.
    refused(issue(header=extra))
    refused(compact({"alg": "HS256", **extra}, b"", SECRET, "HS256"))


@pytest.mark.parametrize("header", [{"jwk": {}}, {"jku": "https://evil.example/"}, {"x5u": "x"}, {"x5c": ["x"]}])
def test_a_key_in_the_token_header_is_ignored(header: dict[str, Any]) -> None:
    assert verifier().verify(issue(header=header))


@pytest.mark.parametrize("algorithm", ALL)
def test_a_signature_of_another_key_is_refused(algorithm: str) -> None:
    stranger = b"f" * 64 if KIND_OF[algorithm] == "hmac" else private(KIND_OF[algorithm], 1)
    token = compact({"alg": algorithm}, CLAIMS, stranger, algorithm)
    assert "signature" in refused(token, verifier(algorithm))


@pytest.mark.parametrize("algorithm", ALL)
def test_changed_claims_are_refused(algorithm: str) -> None:
    head, _, signature = issue(algorithm).split(".")
    payload = base64url(json.dumps({**CLAIMS, "role": "admin"}).encode())
    assert "signature" in refused(f"{head}.{payload}.{signature}", verifier(algorithm))


def test_one_of_several_keys_may_match() -> None:
    keys = KeyRing([public_key(public("p256", number)) for number in range(3)])
    for number in range(3):
        assert verifier("ES256", keys=keys).verify(issue("ES256", number=number))
    assert "signature" in refused(issue("ES256", number=3), verifier("ES256", keys=keys))


def test_a_token_is_refused_temporarily_while_keys_are_awaited() -> None:
    waiting = verifier("RS256", keys=KeyRing(awaits_fetched=True))
    with pytest.raises(Refusal) as caught:
        waiting.verify(issue("RS256"))
    assert caught.value.code is ErrorCode.TRY_LATER


# Times


def test_a_token_expires_at_exp() -> None:
    token = issue(exp=NOW + 10)
    assert verifier(now=NOW + 9.9).verify(token).expires_at == NOW + 10
    assert "exp: the token has expired" in refused(token, verifier(now=NOW + 10))
    assert verifier(now=NOW + 14.9, leeway=5).verify(token)
    assert "exp" in refused(token, verifier(now=NOW + 15, leeway=5))


@pytest.mark.parametrize("exp", [..., None, "2000000000", True, [], {}, "never"])
def test_exp_is_required_and_a_number(exp: object) -> None:
    assert refused(issue(exp=exp)).startswith("exp: ")


@pytest.mark.parametrize("exp", ["1e999", "NaN", "Infinity", "9" * 400, "9" * 6000, "1.8e300", "18000000000000"])
def test_exp_after_the_year_9999_is_refused(exp: str) -> None:
    payload = json.dumps(CLAIMS).replace(str(CLAIMS["exp"]), exp).encode()
    text = refused(compact({"alg": "HS256"}, payload, SECRET, "HS256"))
    assert "exp" in text or "claims" in text


def test_an_accepted_exp_can_be_formatted() -> None:
    last = verifier().verify(issue(exp=253_402_300_799)).expires_at
    assert last is not None
    assert rfc3339(last) == "9999-12-31T23:59:59.000Z"
    refused(issue(exp=253_402_300_799.9996))


def test_a_token_is_valid_from_nbf() -> None:
    token = issue(nbf=NOW + 10)
    assert "nbf" in refused_for(10, token)
    assert verifier(now=NOW + 10).verify(token)
    assert verifier(now=NOW + 5, leeway=5).verify(token)
    assert "nbf" in refused_for(7, token, leeway=3)


@pytest.mark.parametrize(
    ("claim", "value"), [("nbf", NOW + 61), ("iat", NOW + 121), ("nbf", NOW * 1000), ("iat", NOW * 1000)]
)
def test_a_token_that_does_not_become_valid_soon_is_refused_for_good(claim: str, value: float) -> None:
    assert refused(issue(**{claim: value})).startswith(f"{claim}: ")


@pytest.mark.parametrize("claim", ["nbf", "iat"])
def test_a_token_that_never_becomes_valid_is_refused_for_good(claim: str) -> None:
    assert refused(issue(**{claim: NOW + 100}, exp=NOW + 30)).startswith(f"{claim}: ")


NULLABLE = ["nbf", "iat", "iss", "aud", "role", "queues", "name", "session_id", "extension", "jti"]


@pytest.mark.parametrize("claim", NULLABLE)
def test_null_means_that_an_optional_claim_is_absent(claim: str) -> None:
    assert verifier().verify(issue(**{claim: None})) == verifier().verify(issue())


def test_all_optional_claims_may_be_null() -> None:
    assert verifier().verify(issue(**dict.fromkeys(NULLABLE))) == verifier().verify(issue())


@pytest.mark.parametrize("claim", ["sub", "tenant_id", "exp"])
def test_a_required_claim_must_not_be_null(claim: str) -> None:
    assert refused(issue(**{claim: None})) == f"{claim}: required, and must not be null"


@pytest.mark.parametrize("claim", ["nbf", "iat"])
@pytest.mark.parametrize("value", ["1700000000", True, [], {}])
def test_nbf_and_iat_are_numbers(claim: str, value: object) -> None:
    assert refused(issue(**{claim: value})).startswith(f"{claim}: ")


def test_a_token_from_the_future_is_refused() -> None:
    assert verifier().verify(issue(iat=NOW + 60)).issued_at == NOW + 60
    assert "iat" in refused_for(1, issue(iat=NOW + 61))
    # One rule: at most the leeway, but not less than a minute.
    assert verifier(leeway=120).verify(issue(iat=NOW + 120))
    assert "iat" in refused_for(1, issue(iat=NOW + 121), leeway=120)
    assert verifier(leeway=5).verify(issue(iat=NOW + 60))


# Issuer and audience


@pytest.mark.parametrize("iss", [..., None, "", "https://id.example/", "HTTPS://ID.EXAMPLE", ["https://id.example"], 5])
def test_another_issuer_is_refused_once_one_is_configured(iss: object) -> None:
    strict = verifier(issuer="https://id.example")
    assert strict.verify(issue(iss="https://id.example"))
    assert refused(issue(iss=iss), strict).startswith("iss: ")
    assert verifier().verify(issue(iss=iss))


@pytest.mark.parametrize("aud", [..., None, "", "callcenter2", [], ["a", "b"], [["callcenter"]], {"callcenter": 1}, 5])
def test_another_audience_is_refused_once_one_is_configured(aud: object) -> None:
    strict = verifier(audience="callcenter")
    assert strict.verify(issue(aud="callcenter"))
    assert strict.verify(issue(aud=["a", "callcenter"]))
    assert refused(issue(aud=aud), strict).startswith("aud: ")
    assert verifier().verify(issue(aud=aud))


# Identity


@pytest.mark.parametrize("claim", ["sub", "tenant_id"])
@pytest.mark.parametrize(
    "value", [..., None, "", True, 1.5, 1.0, [], ["a"], {}, "x" * 256, 10**255, -(10**254), 10**1000, 10**4200]
)
def test_sub_and_tenant_id_are_required_identifiers(claim: str, value: object) -> None:
    assert refused(issue(**{claim: value})).startswith(f"{claim}: ")


@pytest.mark.parametrize("claim", ["name", "session_id", "extension", "jti"])
@pytest.mark.parametrize("value", [True, 1.5, [], {}, "x" * 256])
def test_optional_claims_are_short_texts(claim: str, value: object) -> None:
    assert refused(issue(**{claim: value})).startswith(f"{claim}: ")


@pytest.mark.parametrize("role", ["", "root", "Admin", "admin ", 5, ["admin"], {}])
def test_an_unknown_role_is_refused(role: object) -> None:
    text = refused(issue(role=role))
    assert text.startswith("role: ")
    assert "root" not in text


@pytest.mark.parametrize("role", Role)
def test_all_tenants_are_for_admins_and_services_only(role: Role) -> None:
    token = issue(tenant_id="*", role=role.value, session_id="s")
    if role in (Role.ADMIN, Role.SERVICE):
        assert verifier().verify(token).every_tenant
    else:
        assert refused(token).startswith("tenant_id: ")


def test_all_tenants_are_not_for_the_default_role() -> None:
    assert "tenant_id" in refused(issue(tenant_id="*"))


@pytest.mark.parametrize("queues", ["sales", 5, {}, {"sales": 1}, [None], [True], [1.5], [[]], [""], ["x" * 256]])
def test_queues_are_a_list_of_identifiers(queues: object) -> None:
    assert refused(issue(queues=queues)).startswith("queues")


@pytest.mark.parametrize("session_id", [..., None, ""])
def test_a_visitor_needs_a_session(session_id: object) -> None:
    assert refused(issue(role="visitor", session_id=session_id)).startswith("session_id: ")


# Refusals contain nothing of the token


def test_a_refusal_contains_nothing_of_the_token() -> None:
    secretive = "SECRETIVE" * 10
    tokens = [
        issue(role=secretive),
        issue(sub=secretive * 10),
        issue(**{secretive: 1}, exp=None),
        issue(queues=[{secretive: 1}]),
        issue(header={"kid": [secretive]}),
        issue(header={"crit": [secretive], secretive: 1}),
        compact({"alg": secretive}, CLAIMS, SECRET, "HS256"),
        compact({"alg": "HS256"}, secretive.encode(), SECRET, "HS256"),
        secretive,
    ]
    for token in tokens:
        assert "SECRETIVE" not in refused(token)


# Properties


def assert_refused_or_a_principal(token: str) -> None:
    try:
        found = verifier(*ALL, issuer=None, leeway=5).verify(token)
    except Refusal as refusal:
        assert refusal.code in (ErrorCode.UNAUTHORIZED, ErrorCode.TRY_LATER)
        return
    assert isinstance(found, Principal)
    rfc3339(found.expires_at or 0)
    json.dumps([found.user_id, found.tenant_id, found.name], ensure_ascii=False).encode()


@given(st.text() | st.text("ey.J{}=-_", max_size=40))
@example("." * 3)
def test_any_text_is_refused(text: str) -> None:
    refused(text, verifier(*ALL))


@given(st.sampled_from(ALL), st.data())
def test_a_token_changed_anywhere_is_refused(algorithm: str, data: st.DataObject) -> None:
    token = issue(algorithm)
    start = data.draw(st.integers(0, len(token) - 1))
    end = data.draw(st.integers(start, min(len(token), start + 4)))
    changed = token[:start] + data.draw(st.text(max_size=4)) + token[end:]
    if changed != token:
        refused(changed, verifier(*ALL))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
CLAIM_NAMES = st.sampled_from(
    ["sub", "tenant_id", "exp", "nbf", "iat", "iss", "aud", "role", "queues", "name", "session_id", "extension", "jti"]
)
HEADER_NAMES = st.sampled_from(["alg", "kid", "typ", "crit", "b64", "cty"])


@given(st.dictionaries(HEADER_NAMES, JSON, max_size=2), st.dictionaries(CLAIM_NAMES, JSON, max_size=4))
def test_random_signed_claims_are_refused_or_valid(header: dict[str, Any], claims: dict[str, Any]) -> None:
    assert_refused_or_a_principal(compact({"alg": "HS256", **header}, {**CLAIMS, **claims}, SECRET, "HS256"))


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_random_signed_bytes_are_refused(header: bytes, payload: bytes) -> None:
    assert_refused_or_a_principal(compact({"alg": "HS256"}, payload, SECRET, "HS256"))
    assert_refused_or_a_principal(compact(header, CLAIMS, SECRET, "HS256"))
