"""callcenter-ws check-token: verifies a token as the gateway would, and explains why it is refused."""

from __future__ import annotations

import io
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
from account_store_contract import session
from cli_secret import SECRET
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from callcenter_ws.auth.page_tokens import PageTokens
from callcenter_ws.auth.visitors import VisitorSessions
from callcenter_ws.cli.main import main
from callcenter_ws.demo.state import DemoState

OTHER = "another secret of the tests, which is long enough for every algorithm of HMAC"


def token(secret: Any = SECRET, algorithm: str = "HS256", kid: str | None = None, **claims: Any) -> str:
    now = int(time.time())
    given = {"sub": "7", "tenant_id": "acme", "role": "agent", "iat": now, "exp": now + 7_200, **claims}
    headers = {} if kid is None else {"kid": kid}
    return jwt.encode({name: value for name, value in given.items() if value is not None}, secret, algorithm, headers)


class Checked:
    """The outcome of a check."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err


@pytest.fixture
def check(secret_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Checked]:
    """Checks a token with the secret of the tests and further settings; no output contains the token."""

    def run(text: str, *settings: str) -> Checked:
        file = tmp_path / "a.token"
        file.write_text(text)
        given = [part for one in (f"jwt.secret_file={secret_file}", *settings) for part in ("--set", one)]
        status = main(["check-token", "--token-file", str(file), *given])
        printed = capsys.readouterr()
        assert not any(len(part) > 30 and part in printed.out + printed.err for part in text.split("."))
        return Checked(status, printed.out, printed.err)

    return run


def test_an_accepted_token_is_described(check: Callable[..., Checked]) -> None:
    claims = {"name": "Ada", "queues": ["support", "sales"], "extension": 1001, "jti": "j-1", "role": "supervisor"}
    checked = check(token(**claims))
    assert (checked.status, checked.err) == (0, "")
    lines = [line.split(None, 1) for line in checked.out.splitlines()[1:-1]]
    shown = {name: value for name, value in lines if name not in ("issued", "expires", "connects")}
    assert shown == {
        "user": "7 (Ada)",
        "tenant": "acme",
        "role": "supervisor",
        "queues": "sales, support",
        "extension": "1001",
        "jti": "j-1",
        "signature": "HS256, no kid",
    }
    assert " UTC, in 1 h 59 min" in checked.out
    assert "Not checked: whether the token was revoked" in checked.out


def test_a_visitor_and_a_token_for_all_tenants(check: Callable[..., Checked]) -> None:
    visitor = check(token(role="visitor", session_id="chat-1")).out
    assert "chat session   chat-1\n" in visitor and "connects to    /ws/public\n" in visitor
    assert "jti            none" in visitor
    assert "tenant         * (all tenants)\n" in check(token(role="admin", tenant_id="*")).out


def test_names_in_a_token_cannot_send_control_characters(check: Callable[..., Checked]) -> None:
    assert "user           7 (A�[31m)\n" in check(token(name="A\x1b[31m")).out


@pytest.mark.parametrize(
    ("made", "settings", "reason", "hint"),
    [
        ({"exp": 1_700_000_000}, [], "exp: the token has expired", "It expired at 2023-11-14 22:13:20 UTC, "),
        ({"exp": 4e12}, [], "exp: after the year 9999", "The token says"),
        ({"exp": "soon"}, [], "exp: expected", "seconds since 1970-01-01 UTC"),
        ({"iat": 4_000_000_000, "exp": 4_000_000_100}, [], "iat: ", "one of the clocks is wrong"),
        ({"nbf": 4_000_000_000, "exp": 4_000_000_100}, [], "nbf: ", "in the future: the clock of this machine"),
        ({"aud": "other"}, ["jwt.audience=gw"], "aud: ", "requires aud 'gw' (jwt.audience)"),
        ({}, ["jwt.issuer=https://i.example"], "iss: ", "requires iss 'https://i.example' (jwt.issuer)"),
        ({"algorithm": "HS512"}, [], "alg: expected one of HS256", "The gateway accepts HS256 (jwt.algorithms)"),
        ({"secret": OTHER}, [], "signature: ", "another secret than the one in "),
        ({"role": "visitor"}, [], "session_id: required", "the claim session_id"),
        ({"role": "boss"}, [], "role: expected one of", "in lower case"),
        ({"sub": None}, [], "sub: required", 'alg "HS256", no kid, tenant_id "acme"'),
        ({"tenant_id": "*"}, [], "tenant_id: ", "The token says"),
        ({"kid": "callcenter-ws-session"}, ["public.session_key_file={secret}"], "signature: ", "session token of a"),
    ],
)
def test_a_refusal_is_explained(
    made: dict[str, Any],
    settings: list[str],
    reason: str,
    hint: str,
    check: Callable[..., Checked],
    secret_file: Path,
    tmp_path: Path,
) -> None:
    other = tmp_path / "other.secret"
    other.write_text(OTHER)
    other.chmod(0o600)
    checked = check(token(**made), *(one.format(secret=other) for one in settings))
    assert (checked.status, checked.out) == (1, "")
    assert checked.err.startswith(f"callcenter-ws check-token: refused: {reason}")
    assert hint in checked.err
    assert "Traceback" not in checked.err


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("", "The text is empty"),
        ("Bearer a.b.c", "without the word Bearer"),
        ("authorization: bearer a.b.c", "without the word Bearer"),
        ('"a.b.c"', "without quotes"),
        ('{"token": "a.b.c"}', "not as a part of JSON"),
        ("a.b. c", "white space"),
        ("a.b.c.d.e", "encrypted (JWE)"),
        ("a.b", "1 dots; was it copied completely?"),
        ("x" * 9_000, "9000 characters"),
    ],
)
def test_a_text_that_is_no_token_is_explained(text: str, hint: str, check: Callable[..., Checked]) -> None:
    checked = check(text)
    assert checked.status == 1
    assert checked.err.startswith("callcenter-ws check-token: refused: token: ")
    assert hint in checked.err


def test_a_session_token_of_a_running_gateway_cannot_be_judged(check: Callable[..., Checked], tmp_path: Path) -> None:
    _, session_token = VisitorSessions(OTHER.encode(), time.time, lambda: "s").open("acme")
    checked = check(session_token)
    assert checked.status == 1
    assert "cannot be verified here (public.session_key_file is not set)" in checked.err
    file = tmp_path / "session.key"
    file.write_text(OTHER)
    file.chmod(0o600)
    assert "role           visitor" in check(session_token, f"public.session_key_file={file}").out


def test_the_environment_and_standard_input_hold_a_token(
    secret_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ["--set", f"jwt.secret_file={secret_file}"]
    assert main(["check-token", *settings]) == 1
    assert "no token given: use --token-file FILE (- for standard input) or CALLCENTER_WS_TOKEN" in (
        capsys.readouterr().err
    )
    monkeypatch.setenv("CALLCENTER_WS_TOKEN", token(sub="from-environment"))
    assert main(["check-token", *settings]) == 0
    assert "from-environment" in capsys.readouterr().out
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(token(sub="from-input").encode())))
    assert main(["check-token", *settings, "--token-file", "-"]) == 0
    assert "from-input" in capsys.readouterr().out


def test_without_a_configuration_it_is_the_demos(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    demo = DemoState.prepare("http://127.0.0.1:8080/")
    demo.record()
    assert main(["token", "--user", "1001"]) == 0
    monkeypatch.setenv("CALLCENTER_WS_TOKEN", capsys.readouterr().out.strip())
    assert main(["check-token"]) == 0
    assert "user           1001\n" in capsys.readouterr().out


def test_settings_without_a_key(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLCENTER_WS_TOKEN", token())
    assert main(["check-token", "--set", "web.demo=false"]) == 1
    assert "No key is configured: set jwt.secret_file" in capsys.readouterr().err


# JWK sets


class Issuer(ThreadingHTTPServer):
    """An identity provider with a JWK set."""

    daemon_threads = True

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        jwk = ECAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        self.status, self.keys = 200, [{**jwk, "kid": "k1", "use": "sig"}]
        self.requests = 0
        super().__init__(("127.0.0.1", 0), _Handler)
        self.thread = threading.Thread(target=self.serve_forever, daemon=True)
        self.thread.start()

    @property
    def settings(self) -> list[str]:
        return [f"jwt.jwks_url=http://127.0.0.1:{self.server_port}/jwks", "jwt.algorithms=HS256,ES256"]

    def stop(self) -> None:
        self.shutdown()
        self.thread.join()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Issuer

    def do_GET(self) -> None:
        self.server.requests += 1
        body = json.dumps({"keys": self.server.keys}).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *message: object) -> None:
        pass


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    issuer = Issuer()
    yield issuer
    issuer.stop()


def test_the_jwk_set_is_fetched_once(check: Callable[..., Checked], issuer: Issuer) -> None:
    checked = check(token(issuer.key, "ES256", kid="k1"), *issuer.settings)
    assert (checked.status, checked.err) == (0, "")
    assert "signature      ES256, kid k1" in checked.out
    assert issuer.requests == 1


def test_an_unknown_kid_is_explained(check: Callable[..., Checked], issuer: Issuer) -> None:
    checked = check(token(issuer.key, "ES256", kid="k2"), *issuer.settings)
    assert checked.status == 1
    assert "refused: kid: unknown key" in checked.err
    assert 'The known keys: "k1".' in checked.err


def test_another_private_key_is_explained(check: Callable[..., Checked], issuer: Issuer) -> None:
    checked = check(token(ec.generate_private_key(ec.SECP256R1()), "ES256", kid="k1"), *issuer.settings)
    assert checked.status == 1
    assert "signed with another private key" in checked.err


def test_keys_that_cannot_be_fetched_are_named(check: Callable[..., Checked], issuer: Issuer) -> None:
    issuer.status = 302
    checked = check(token(issuer.key, "ES256", kid="k1"), *issuer.settings)
    assert checked.status == 1
    assert "the keys for verifying tokens have not been fetched yet" in checked.err
    assert "/jwks answers with status 302; redirects are not followed" in checked.err
    # The secret is known nevertheless.
    checked = check(token(), *issuer.settings)
    assert checked.status == 0
    assert checked.err.startswith("warning: jwt.jwks_url: ")


def test_keys_that_are_not_used_are_named(check: Callable[..., Checked], issuer: Issuer) -> None:
    issuer.keys.append({"kty": "oct", "k": "AAAA"})
    checked = check(token(issuer.key, "ES256", kid="k1"), *issuer.settings)
    assert checked.status == 0
    assert "key 2: it is a symmetric key" in checked.err


def test_a_token_of_the_pages(check: Callable[..., Checked], tmp_path: Path) -> None:
    key = b"the key of the pages: 32 bytes !"
    token, _ = PageTokens([key], time.time).sign(session(queues=("sales",)))
    store = f"store.url=sqlite:{tmp_path}/events.sqlite"
    assert "its key is not where these settings say" in check(token, store).err
    (tmp_path / "events.sqlite.session-key").write_bytes(key)
    assert "role           agent" in check(token, store).out
    (tmp_path / "events.sqlite.session-key").write_bytes(key[::-1])
    assert "session.key_file" in check(token, store).err
