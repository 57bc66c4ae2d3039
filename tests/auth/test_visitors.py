"""Sessions of anonymous visitors, and GatewayTokens."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import jwt
import pytest
from auth_issuer import CLAIMS, NOW, SECRET, base64url, compact, issue
from hypothesis import given
from hypothesis import strategies as st

from callcenter_ws.auth.keys import KeyRing, UnusableKey, hmac_key
from callcenter_ws.auth.page_tokens import PageTokens
from callcenter_ws.auth.signing import sign_token
from callcenter_ws.auth.tokens import TokenRules, TokenVerifier
from callcenter_ws.auth.visitors import ISSUER, SESSION_KID, GatewayTokens, VisitorSessions
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.principal import Principal, Role

KEY = b"the gateway's own key, 32 bytes."


class Time:
    """A clock that a test sets."""

    now = NOW + 0.75

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


def ids() -> Iterator[str]:
    return (f"session-{number}" for number in count(1))


@pytest.fixture
def sessions(time: Time) -> VisitorSessions:
    return VisitorSessions(KEY, time, ids().__next__)


@pytest.fixture
def gateway_tokens(sessions: VisitorSessions, time: Time) -> GatewayTokens:
    return GatewayTokens(
        sessions, PageTokens([], time), TokenVerifier(KeyRing([hmac_key(SECRET)]), TokenRules(("HS256",)), time)
    )


def session_token(key: bytes = KEY, header: dict[str, Any] | None = None, **claims: Any) -> str:
    good = {**CLAIMS, "iss": ISSUER, "role": "visitor", "session_id": "s-1", **claims}
    return compact({"alg": "HS256", "kid": SESSION_KID, **(header or {})}, good, key, "HS256")


def refused(gateway_tokens: VisitorSessions | GatewayTokens, token: str) -> str:
    with pytest.raises(Refusal) as caught:
        gateway_tokens.verify(token)
    assert caught.value.code is ErrorCode.UNAUTHORIZED
    return caught.value.message


def test_an_anonymous_visitor_gets_a_session_and_its_token(sessions: VisitorSessions) -> None:
    visitor, token = sessions.open("acme")
    assert visitor == Principal(
        tenant_id="acme",
        user_id="visitor-session-1",
        role=Role.VISITOR,
        expires_at=NOW + 86_400,
        issued_at=NOW,
        session_id="session-1",
    )
    assert sessions.verify(token) == visitor
    assert jwt.get_unverified_header(token)["kid"] == SESSION_KID


def test_every_session_is_a_new_one(sessions: VisitorSessions) -> None:
    assert sessions.open("acme")[0].session_id != sessions.open("acme")[0].session_id


def test_a_session_expires(time: Time) -> None:
    sessions = VisitorSessions(KEY, time, ids().__next__, lifetime=60)
    _, token = sessions.open("acme")
    time.now = NOW + 59
    assert sessions.verify(token).expires_at == NOW + 60
    time.now = NOW + 60
    assert "exp" in refused(sessions, token)


@pytest.mark.parametrize("tenant_id", ["*", "", "x" * 256])
def test_no_session_is_opened_for_an_invalid_tenant(sessions: VisitorSessions, tenant_id: str) -> None:
    with pytest.raises(Refusal, match="tenant_id"):
        sessions.open(tenant_id)


def test_a_short_key_is_refused(time: Time) -> None:
    with pytest.raises(UnusableKey, match="31 bytes"):
        VisitorSessions(KEY[:-1], time, ids().__next__)


def test_a_session_of_another_key_is_refused(sessions: VisitorSessions, time: Time) -> None:
    _, token = VisitorSessions(KEY[::-1], time, ids().__next__).open("acme")
    assert "signature" in refused(sessions, token)


@pytest.mark.parametrize("role", [role.value for role in Role if role is not Role.VISITOR])
def test_a_session_token_with_another_role_is_refused(
    gateway_tokens: GatewayTokens, sessions: VisitorSessions, role: str
) -> None:
    token = session_token(role=role)
    assert "role" in refused(sessions, token)
    assert "role" in refused(gateway_tokens, token)
    for_all = session_token(role=role, tenant_id="*")
    refused(gateway_tokens, for_all)


@pytest.mark.parametrize("claims", [{"iss": "https://id.example"}, {"iss": None}, {"session_id": ""}])
def test_a_changed_session_token_is_refused(gateway_tokens: GatewayTokens, claims: dict[str, Any]) -> None:
    assert next(iter(claims)) in refused(gateway_tokens, session_token(**claims))


def test_a_session_token_without_its_kid_is_refused(gateway_tokens: GatewayTokens, sessions: VisitorSessions) -> None:
    token = compact({"alg": "HS256"}, {**CLAIMS, "iss": ISSUER, "role": "visitor", "session_id": "s"}, KEY, "HS256")
    assert "kid" in refused(sessions, token)
    assert "signature" in refused(gateway_tokens, token)


def test_a_session_token_with_another_algorithm_is_refused(gateway_tokens: GatewayTokens) -> None:
    good = {**CLAIMS, "iss": ISSUER, "role": "visitor", "session_id": "s-1"}
    other = compact({"alg": "HS512", "kid": SESSION_KID}, good, KEY, "HS512")
    assert "alg" in refused(gateway_tokens, other)
    unsigned = compact({"alg": "none", "kid": SESSION_KID}, good, KEY, "HS256").rpartition(".")[0] + "."
    assert "alg" in refused(gateway_tokens, unsigned)


# GatewayTokens


def test_both_kinds_of_tokens_are_accepted(gateway_tokens: GatewayTokens, sessions: VisitorSessions) -> None:
    visitor, token = sessions.open("acme")
    assert gateway_tokens.verify(token) == visitor
    assert gateway_tokens.verify(issue(role="admin")).role is Role.ADMIN
    assert gateway_tokens.verify(issue(header={"kid": "of the issuer"})).user_id == "42"


def test_the_issuer_cannot_sign_session_tokens(gateway_tokens: GatewayTokens) -> None:
    assert "signature" in refused(gateway_tokens, session_token(key=SECRET))


def test_the_session_key_cannot_sign_other_tokens(gateway_tokens: GatewayTokens) -> None:
    token = compact({"alg": "HS256"}, {**CLAIMS, "role": "admin"}, KEY, "HS256")
    assert "signature" in refused(gateway_tokens, token)


def test_a_shared_key_does_not_confuse_the_verifiers(time: Time) -> None:
    sessions = VisitorSessions(KEY, time, ids().__next__)
    gateway_tokens = GatewayTokens(
        sessions, PageTokens([], time), TokenVerifier(KeyRing([hmac_key(KEY)]), TokenRules(("HS256",)), time)
    )
    assert "role" in refused(gateway_tokens, session_token(role="admin"))


@given(st.text() | st.text("ey.J{}=-_", max_size=40))
def test_any_text_is_refused(text: str) -> None:
    time = Time()
    sessions = VisitorSessions(KEY, time, ids().__next__)
    gateway_tokens = GatewayTokens(
        sessions, PageTokens([], time), TokenVerifier(KeyRing([hmac_key(SECRET)]), TokenRules(("HS256",)), time)
    )
    refused(gateway_tokens, text)
    head = base64url(b'{"alg":"HS256","kid":"callcenter-ws-session"}')
    refused(gateway_tokens, f"{head}.{text}.{text}")


# Signing


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_a_signed_token_verifies(algorithm: str) -> None:
    ring = KeyRing([hmac_key(SECRET, (algorithm,))])
    verifier = TokenVerifier(ring, TokenRules((algorithm,)), lambda: NOW)
    token = sign_token(SECRET, {**CLAIMS, "iat": int(NOW), "name": "Zoë"}, algorithm=algorithm)
    assert verifier.verify(token) == Principal("acme", "42", Role.AGENT, NOW + 600, NOW, "Zoë")
    assert "kid" not in jwt.get_unverified_header(token)


def test_no_token_is_signed_with_a_weak_secret() -> None:
    with pytest.raises(UnusableKey, match="requires at least 64"):
        sign_token(SECRET[:63], CLAIMS, algorithm="HS512")


@pytest.mark.parametrize("algorithm", ["none", "RS256", "HS1"])
def test_tokens_are_signed_with_hmac_algorithms_only(algorithm: str) -> None:
    with pytest.raises(UnusableKey):
        sign_token(SECRET, CLAIMS, algorithm=algorithm)
