"""The tokens of the pages that the gateway serves: who can sign and verify them, and for whom they can be."""

from __future__ import annotations

import hmac
from pathlib import Path
from typing import Any

import jwt
import pytest
from account_store_contract import session
from auth_issuer import NOW, compact

from callcenter_ws.auth.jws import parse
from callcenter_ws.auth.keys import KeyRing, hmac_key
from callcenter_ws.auth.page_tokens import PAGE_KID, TOKEN_SECONDS, PageTokens, page_keys
from callcenter_ws.auth.tokens import TokenRules, TokenVerifier
from callcenter_ws.auth.visitors import GatewayTokens, VisitorSessions
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.principal import Role

KEY, OTHER = b"first key of the pages: 32 bytes", b"other key of the pages: 32 bytes"
SECRET = b"the secret of the integrator, 32 b"


def tokens(*keys: bytes, now: float = NOW) -> PageTokens:
    return PageTokens(keys, lambda: now)


def derived(key: bytes) -> bytes:
    return hmac.digest(key, b"callcenter-ws page tokens", "sha256")


def forged(key: bytes, header: dict[str, Any] | None = None, **changes: Any) -> str:
    claims = {
        "iss": PAGE_KID, "sub": "anna", "tenant_id": "acme", "role": "agent", "iat": int(NOW), "exp": int(NOW) + 600,
    } | changes  # fmt: skip
    return compact({"alg": "HS256", "kid": PAGE_KID, **(header or {})}, claims, key, "HS256")


def test_a_token_has_the_rights_of_its_session() -> None:
    pages = tokens(KEY)
    token, expires_at = pages.sign(session(7, queues=("sales", "ä")))
    principal = pages.verify_parsed(parse(token))
    assert (principal.tenant_id, principal.user_id, principal.role) == ("acme", "anna", Role.AGENT)
    assert (principal.name, principal.queues) == ("Anna Ä", frozenset({"sales", "ä"}))
    assert principal.expires_at == expires_at == int(NOW) + TOKEN_SECONDS
    assert principal.jti
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["sid"] == session(7).public_id
    assert session(7).id not in token
    everything = pages.verify_parsed(parse(pages.sign(session(7, queues=None, display_name=""))[0]))
    assert (everything.queues, everything.name) == (None, None)
    assert pages.verify_parsed(parse(pages.sign(session(7, queues=()))[0])).queues == frozenset()


def test_no_two_tokens_are_equal() -> None:
    pages = tokens(KEY)
    assert pages.sign(session())[0] != pages.sign(session())[0]


def test_former_keys_verify_until_they_are_removed() -> None:
    old, _ = tokens(KEY).sign(session())
    pages = tokens(OTHER, KEY)
    assert pages.verify_parsed(parse(old)).user_id == "anna"
    new, _ = pages.sign(session())
    pages.replace_keys([OTHER])
    assert pages.verify_parsed(parse(new)).user_id == "anna"
    with pytest.raises(Refusal, match="signature"):
        pages.verify_parsed(parse(old))


def test_without_keys_nothing_is_signed_or_accepted() -> None:
    pages = tokens()
    assert not pages.has_keys
    for call in (lambda: pages.sign(session()), lambda: pages.code_digests("K7QX-2M4P")):
        with pytest.raises(Refusal) as refused:
            call()
        assert refused.value.code is ErrorCode.SIGNING_IN_OFF
    with pytest.raises(Refusal) as refused:
        pages.verify_parsed(parse(forged(derived(KEY))))
    assert refused.value.code is ErrorCode.UNAUTHORIZED


@pytest.mark.parametrize(
    "token",
    [
        forged(KEY),
        forged(derived(OTHER)),
        forged(derived(KEY), iss="callcenter-ws"),
        forged(derived(KEY), role="service"),
        forged(derived(KEY), role="visitor", session_id="s"),
        forged(derived(KEY), role="admin", tenant_id="*"),
        forged(derived(KEY), exp=int(NOW)),
        forged(derived(KEY), {"kid": "callcenter-ws-session"}),
        forged(derived(KEY), {"kid": "other"}),
        forged(derived(KEY)).rpartition(".")[0] + ".",
    ],
)
def test_other_tokens_are_refused(token: str) -> None:
    assert tokens(KEY).verify_parsed(parse(forged(derived(KEY)))).user_id == "anna"
    with pytest.raises(Refusal) as refused:
        tokens(KEY).verify_parsed(parse(token))
    assert refused.value.code is ErrorCode.UNAUTHORIZED
    assert token not in refused.value.message


def test_only_the_kid_decides_which_keys_verify() -> None:
    visitors = VisitorSessions(KEY, lambda: NOW, lambda: "s")
    every = GatewayTokens(
        visitors, tokens(KEY), TokenVerifier(KeyRing([hmac_key(SECRET)]), TokenRules(("HS256",)), lambda: NOW)
    )
    assert every.verify(tokens(KEY).sign(session())[0]).user_id == "anna"
    assert every.verify(forged(SECRET, {"kid": "other"})).user_id == "anna"
    # The secret of the integrator makes no tokens of the pages, nor the key of the pages those of the integrator.
    for token in (forged(SECRET), forged(derived(KEY), {"kid": "other"}), forged(KEY, {"kid": "other"})):
        with pytest.raises(Refusal) as refused:
            every.verify(token)
        assert refused.value.code is ErrorCode.UNAUTHORIZED


def test_codes_are_not_guessed_from_their_digests() -> None:
    (digest,) = tokens(KEY).code_digests("K7QX-2M4P")
    (other,) = tokens(OTHER).code_digests("K7QX-2M4P")
    assert digest != other
    assert tokens(KEY, OTHER).code_digests("K7QX-2M4P") == [digest, other]
    assert tokens(KEY).code_digests("K7QX-2M4Q") != [digest]


def test_keys_are_the_lines_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_bytes(KEY + b"\r\n\n  " + OTHER + b"  \n\n")
    assert page_keys(file) == [KEY, OTHER]
    for content, text in (
        (b"\n", "each line"),
        (KEY + b"\nshort", "each line"),
        (KEY + b"\n" + b"\n".join([OTHER] * 8), "9 keys"),
    ):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=text):
            page_keys(file)
    with pytest.raises(ValueError, match="cannot read the file"):
        page_keys(tmp_path / "missing")
