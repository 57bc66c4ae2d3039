"""Signing in over HTTP: who may ask, the cookie, and what is answered."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from account_world import PASSWORD, AccountWorld
from http_world import DESK, HttpWorld, ReceivedResponse
from twisted.logger import formatEvent

from callcenter_ws.auth.accounts import Subject
from callcenter_ws.auth.jws import parse
from callcenter_ws.http.page_options import PageOptions
from callcenter_ws.http.session import DemoSignIn, session_resources
from callcenter_ws.interfaces import Grant
from callcenter_ws.runtime.client_address import TrustedProxies
from callcenter_ws.testing import run

LOCAL = "http://127.0.0.1:8080"
HTTPS = "https://gateway.example"
DEMO = DemoSignIn({"agent": Subject("demo", "agent-07", "agent", "Demo", None)}, {"127.0.0.1:8080"})
BEHIND_TLS = {"X_Forwarded_Proto": "https", "Sec_Fetch_Site": "same-origin"}


@dataclass
class SessionWorld(HttpWorld):
    """A site with the resources of signing in, and a browser on the same machine.

    Attributes:
        origin: of the page in the browser.
        host: what the browser sends as ``Host``; None: that of the origin.
        cookies: the cookies of the browser.
        further: further headers of each request.
    """

    people_of_pages: AccountWorld = field(default_factory=AccountWorld)
    peer: str = "127.0.0.1"
    origin: str = LOCAL
    host: str | None = None
    cookies: dict[str, str] = field(default_factory=dict)
    further: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.options = PageOptions(("https://intranet.example",))
        accounts = self.people_of_pages.accounts
        for segment, resource in session_resources(accounts, self.site.limits.proxies, self.options, DEMO).items():
            self.root.putChild(segment, resource)

    def send(self, path: str, body: Any = None, method: str = "POST", **headers: str | None) -> ReceivedResponse:
        """Send a request as the page does; a header of None is left out."""
        text = b"" if method != "POST" else json.dumps({} if body is None else body).encode()
        given = {"Origin": self.origin, "Content_Type": "application/json", **self.further, **headers}
        if self.cookies:
            given.setdefault("Cookie", "; ".join(f"{name}={value}" for name, value in self.cookies.items()))
        host = self.host or self.origin.partition("://")[2]
        channel, transport = self.connect()
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(text)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in given.items() if value is not None]
        channel.dataReceived("\r\n".join([*lines, "", ""]).encode("latin-1") + text)
        response = received(transport.value())
        self._keep_cookie(response.headers.get("set-cookie"))
        return response

    def _keep_cookie(self, header: str | None) -> None:
        if header is not None:
            name, _, value = header.partition(";")[0].partition("=")
            self.cookies.pop(name, None)
            if value:
                self.cookies[name] = value

    def login(self, name: str = "anna", password: str = PASSWORD, **headers: str | None) -> ReceivedResponse:
        return self.send("/session/login", {"name": name, "password": password}, **headers)


def received(raw: bytes) -> ReceivedResponse:
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    assert len(headers) == len(lines), "a header is repeated"
    return ReceivedResponse(int(first.split(" ")[1]), headers, body)


@pytest.fixture
def world() -> SessionWorld:
    world = SessionWorld()
    world.people_of_pages.add_user(role="supervisor", queues=("sales",), display_name="Anna")
    return world


@pytest.fixture
def behind_tls(world: SessionWorld) -> SessionWorld:
    """The browser of another machine, which reaches the gateway by https through a trusted proxy."""
    world.site.limits.proxies.replace_with(TrustedProxies(["192.0.2.1"]))
    world.peer, world.origin = "192.0.2.1", HTTPS
    world.further = {**BEHIND_TLS, "X_Forwarded_For": "203.0.113.9"}
    return world


def test_a_person_signs_in_uses_tokens_and_signs_out(world: SessionWorld) -> None:
    answer = world.login()
    assert answer.status == 200
    assert answer.json == {
        "user_id": "anna",
        "tenant_id": "acme",
        "role": "supervisor",
        "name": "Anna",
        "queues": ["sales"],
        "expires_at": "2027-01-15T20:00:00.000Z",
    }
    assert answer.headers["cache-control"] == "no-store"
    token = world.send("/session/token")
    assert token.status == 200
    assert token.json | {"token": "", "session": ""} == answer.json | {
        "token": "",
        "session": "",
        "expires_at": "2027-01-15T08:10:00.000Z",
    }
    principal = world.people_of_pages.tokens.verify_parsed(parse(token.json["token"]))
    assert (principal.user_id, principal.role) == ("anna", "supervisor")
    former = dict(world.cookies)
    ended = world.send("/session/token", method="DELETE", Content_Type=None)
    assert (ended.status, ended.body, world.cookies) == (204, b"", {})
    world.cookies = former
    again = world.send("/session/token")
    assert (again.status, again.error, world.cookies) == (401, "signed_out", {})
    assert world.send("/session/token", method="DELETE").status == 204


def test_the_cookie_of_this_machine(world: SessionWorld) -> None:
    name, *attributes = world.login().headers["set-cookie"].split("; ")
    assert name.startswith("callcenter-session-8080=")
    assert attributes == ["Path=/session/token", "Max-Age=43200", "HttpOnly", "SameSite=Strict"]
    deleted = world.send("/session/token", method="DELETE").headers["set-cookie"]
    assert deleted == "callcenter-session-8080=; Path=/session/token; Max-Age=0; HttpOnly; SameSite=Strict"


def test_the_cookie_of_other_machines(behind_tls: SessionWorld) -> None:
    name, *attributes = behind_tls.login().headers["set-cookie"].split("; ")
    assert name.startswith("__Secure-callcenter-session=")
    assert attributes == ["Path=/session/token", "Max-Age=43200", "HttpOnly", "SameSite=Strict", "Secure"]
    again = behind_tls.send("/session/token")
    assert again.status == 200
    assert again.headers["set-cookie"].split("; ") == [name, *attributes]


def test_no_other_resource_accepts_the_cookie(world: SessionWorld) -> None:
    world.login()
    for path in ("/ws/stats", "/ws/users/u/online"):
        assert world.send(path, method="GET").status == 401
    assert world.send("/ws/events", {"type": "alert"}).status == 401


@pytest.mark.parametrize("origin", [None, "null", "http://127.0.0.1:8081", "http://localhost:8080", HTTPS, DESK, ""])
def test_pages_of_other_sites_are_refused(world: SessionWorld, origin: str | None) -> None:
    world.login()
    for path, method in (
        ("/session/token", "POST"),
        ("/session/token", "DELETE"),
        ("/session/login", "POST"),
        ("/session/pairing", "POST"),
        ("/session/pairing/claim", "POST"),
        ("/session/demo", "POST"),
    ):
        answer = world.send(path, {"name": "anna", "password": PASSWORD}, method, Origin=origin)
        assert (answer.status, answer.error) == (403, "forbidden")
        assert "set-cookie" not in answer.headers
        assert not {"access-control-allow-origin", "access-control-allow-credentials"} & answer.headers.keys()
    assert world.send("/session/token").status == 200


@pytest.mark.parametrize("path", ["/session/token", "/session/login", "/session/demo"])
def test_no_other_site_is_answered_before_it_asks(world: SessionWorld, path: str) -> None:
    answer = world.send(path, method="OPTIONS", Origin=DESK, Access_Control_Request_Method="POST")
    assert answer.status == 405
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("fetch_site", ["cross-site", "same-site", "none"])
def test_what_the_browser_says_of_the_page_decides(world: SessionWorld, fetch_site: str) -> None:
    assert world.login(Sec_Fetch_Site=fetch_site).error == "forbidden"
    assert world.login(Sec_Fetch_Site="same-origin").status == 200


@pytest.mark.parametrize("fetch_site", [None, "cross-site", "same-site", "none"])
def test_over_https_the_browser_must_say_it(behind_tls: SessionWorld, fetch_site: str | None) -> None:
    refused = behind_tls.login(Sec_Fetch_Site=fetch_site)
    assert (refused.status, refused.error) == (403, "forbidden")
    assert "too old" in refused.json["error"]["message"] and "Sec-Fetch-Site" in refused.json["error"]["message"]


@pytest.mark.parametrize(
    ("peer", "origin"),
    [
        ("192.0.2.7", "http://127.0.0.1:8080"),
        ("192.0.2.7", "http://localhost:8080"),
        ("192.0.2.7", "http://gateway.example"),
        ("127.0.0.1", "http://gateway.example"),
        ("127.0.0.1", "http://192.0.2.1:8080"),
        ("127.0.0.1", "http://localhost.example:8080"),
        ("127.0.0.1", "http://127.0.0.1.example:8080"),
    ],
)
def test_plain_http_is_for_this_machine_only(world: SessionWorld, peer: str, origin: str) -> None:
    world.peer, world.origin = peer, origin
    for answer in (world.login(), world.send("/session/token"), world.send("/session/pairing")):
        assert (answer.status, answer.error) == (403, "needs_https")


@pytest.mark.parametrize("origin", ["http://localhost:8080", "http://127.0.0.2", "http://[::1]:9000"])
def test_names_of_this_machine(world: SessionWorld, origin: str) -> None:
    world.origin = origin
    assert world.login().status == 200
    assert world.send("/session/token").status == 200


def test_a_proxy_of_this_machine_does_not_make_others_local(world: SessionWorld) -> None:
    world.site.limits.proxies.replace_with(TrustedProxies(["127.0.0.1"]))
    assert world.login(X_Forwarded_For="203.0.113.9").error == "needs_https"
    assert world.login(X_Forwarded_For="127.0.0.1").status == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"X_Forwarded_Host": "gateway.example"}, 200),
        ({"X_Forwarded_Host": "forged.example, gateway.example"}, 200),
        ({"X_Forwarded_Host": "gateway.example, other.example"}, 403),
        ({"X_Forwarded_Host": "other.example"}, 403),
        ({"X_Forwarded_Proto": None}, 200),
    ],
)
def test_the_site_behind_a_proxy(behind_tls: SessionWorld, headers: dict[str, str | None], status: int) -> None:
    assert behind_tls.login(**headers).status == status


def test_a_plain_page_is_not_of_an_encrypted_site(behind_tls: SessionWorld) -> None:
    behind_tls.origin = "http://gateway.example"
    assert behind_tls.login().error == "forbidden"


def test_only_a_trusted_proxy_names_the_host(world: SessionWorld) -> None:
    world.host = "127.0.0.1:8080"
    assert world.login(Origin="http://localhost:9", X_Forwarded_Host="localhost:9").error == "forbidden"


@pytest.mark.parametrize(
    ("body", "headers", "error"),
    [
        ({"name": "anna", "password": PASSWORD}, {"Content_Type": "text/plain"}, "invalid_message"),
        ({"name": "anna", "password": PASSWORD}, {"Content_Type": None}, "invalid_message"),
        ({"name": "anna"}, {}, "invalid_message"),
        ({"name": "anna", "password": 7}, {}, "invalid_message"),
        ([], {}, "invalid_message"),
        ({"name": "", "password": PASSWORD}, {}, "invalid_message"),
        ({"name": "anna", "password": "x" * 4_096}, {}, "too_large"),
    ],
)
def test_other_bodies_are_refused(world: SessionWorld, body: Any, headers: dict[str, Any], error: str) -> None:
    answer = world.send("/session/login", body, **headers)
    assert answer.error == error
    assert PASSWORD not in answer.body.decode()
    assert world.login(Content_Type="Application/JSON; charset=utf-8").status == 200


def test_a_body_that_is_no_json_is_not_repeated(world: SessionWorld) -> None:
    channel, transport = world.connect()
    text = b'{"name": "anna", "password": "secret thing'
    head = f"POST /session/login HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nOrigin: {LOCAL}\r\nContent-Type: application/json"
    channel.dataReceived(f"{head}\r\nContent-Length: {len(text)}\r\n\r\n".encode() + text)
    answer = received(transport.value())
    assert (answer.status, answer.error) == (400, "invalid_json")
    assert b"secret" not in answer.body


def test_two_cookies_are_of_no_session(world: SessionWorld) -> None:
    """A site beside this one may have set the other, to have a person act for its own user."""
    world.login()
    [(name, value)] = world.cookies.items()
    assert world.send("/session/token", Cookie=f"{name}={value}; {name}=other").error == "signed_out"
    world.cookies = {name: value}
    assert world.send("/session/token", Cookie=f"a=b; {name}={value}; {name}x=other").status == 200


def test_wrong_passwords_of_a_network_are_limited(world: SessionWorld) -> None:
    for number in range(10):
        answer = world.login(f"user {number}")
        assert (answer.status, answer.error) == (401, "wrong_password")
    refused = world.login()
    assert (refused.status, refused.error) == (429, "rate_limited")
    assert int(refused.headers["retry-after"]) <= 60
    assert world.send("/session/pairing").status == 429
    assert world.people_of_pages.accounts.outcomes == {"wrong_password": 10, "rate_limited": 1}


def test_where_a_page_is_signed_in_the_network_is_known(behind_tls: SessionWorld) -> None:
    accounts = behind_tls.people_of_pages.accounts

    def network(last: int) -> str:
        behind_tls.further["X_Forwarded_For"] = f"203.0.113.{last}"
        return f"203.0.113.{last}"

    known = accounts.known_networks
    office, cafe, hall = network(1), "203.0.113.2", "203.0.113.3"
    assert behind_tls.login(password="wrong password").status == 401
    assert office not in known
    assert behind_tls.login().status == 200
    assert office in known
    # A session that is used elsewhere, as after a restart of the gateway: there it is known, too.
    network(2)
    assert cafe not in known
    assert behind_tls.send("/session/token").status == 200
    assert cafe in known
    behind_tls.cookies = {}
    network(3)
    assert behind_tls.send("/session/token").status == 401
    pairing = behind_tls.send("/session/pairing").json
    assert behind_tls.send("/session/pairing/claim", {"poll": pairing["poll"]}).status == 202
    assert hall not in known
    run(behind_tls.people_of_pages.operations.approve(pairing["code"], Grant(tenant_id="acme", role="wallboard")))
    assert behind_tls.send("/session/pairing/claim", {"poll": pairing["poll"]}).status == 200
    assert hall in known


def test_the_demo_makes_no_network_known(world: SessionWorld) -> None:
    assert world.send("/session/demo", {"role": "agent"}).status == 200
    assert world.send("/session/token").status == 200
    assert "127.0.0.1" not in world.people_of_pages.accounts.known_networks


def test_a_screen_is_paired(world: SessionWorld) -> None:
    pairing = world.send("/session/pairing")
    assert pairing.status == 201
    assert pairing.json.keys() == {"code", "poll", "expires_at", "poll_ms"}
    assert "set-cookie" not in pairing.headers
    poll = {"poll": pairing.json["poll"]}
    waiting = world.send("/session/pairing/claim", poll)
    assert (waiting.status, waiting.json) == (202, {"state": "waiting"})
    grant = Grant(tenant_id="acme", role="wallboard", display_name="Hall")
    run(world.people_of_pages.operations.approve(pairing.json["code"], grant))
    opened = world.send("/session/pairing/claim", poll)
    assert (opened.status, opened.json["role"], opened.json["name"]) == (200, "wallboard", "Hall")
    assert "Max-Age=7776000" in opened.headers["set-cookie"]
    assert world.send("/session/token").json["role"] == "wallboard"
    again = world.send("/session/pairing/claim", poll)
    assert (again.status, again.error) == (404, "unknown_code")


def test_a_click_signs_in_at_the_demo(world: SessionWorld) -> None:
    opened = world.send("/session/demo", {"role": "agent"})
    assert (opened.status, opened.json["user_id"], opened.json["tenant_id"]) == (200, "agent-07", "demo")
    assert world.send("/session/token").json["role"] == "agent"
    assert world.send("/session/demo", {"role": "admin"}).error == "invalid_message"
    world.origin = "http://localhost:8080"
    assert world.send("/session/demo", {"role": "agent"}).error == "forbidden"


def test_without_the_demo_no_click_signs_in() -> None:
    world = SessionWorld()
    accounts = world.people_of_pages.accounts
    for segment, resource in session_resources(accounts, world.site.limits.proxies, world.options, None).items():
        world.root.putChild(segment, resource)
    assert world.send("/session/demo", {"role": "agent"}).status == 404
    assert world.send("/pages/about", method="GET").json["demo"] == []


def test_about(world: SessionWorld) -> None:
    about = world.send("/pages/about", method="GET", Origin=None)
    assert about.headers["cache-control"] == "no-cache"
    assert about.json | {"version": ""} == {
        "version": "",
        "build": "",
        "signing_in": True,
        "demo": ["agent"],
        "demo_sender": "simulator",
        "embedders": ["https://intranet.example"],
    }
    world.people_of_pages.tokens.replace_keys([])
    about = world.send("/pages/about", method="GET")
    assert (about.json["signing_in"], about.json["demo"]) == (False, [])
    off = world.login()
    assert (off.status, off.error) == (404, "signing_in_off")


def test_the_log_says_who_signs_in_and_no_secret(world: SessionWorld, logged: list[dict[str, Any]]) -> None:
    world.login("my secret password instead of a name", "x")
    world.login(password="a wrong password")
    world.login()
    token = world.send("/session/token").json["token"]
    pairing = world.send("/session/pairing").json
    world.send("/session/pairing/claim", {"poll": "a wrong secret"})
    cookies = list(world.cookies.values())
    world.send("/session/token", method="DELETE")
    lines = [formatEvent(event) for event in logged]
    assert "signed in: person anna as supervisor in acme from 127.0.0.1" in lines
    assert "signed out: person anna from 127.0.0.1" in lines
    assert sum("refused POST /session/login from 127.0.0.1: wrong_password" in line for line in lines) == 2
    everything = "\n".join([*lines, *map(repr, logged)])
    for secret in (
        "my secret password", "a wrong password", PASSWORD, token, pairing["code"], pairing["poll"], "a wrong secret",
        *cookies,
    ):  # fmt: skip
        assert secret not in everything


@pytest.mark.parametrize("path", ["/session", "/session/", "/session/login/x", "/session/token/x", "/pages/x"])
def test_other_paths(world: SessionWorld, path: str) -> None:
    assert world.send(path).status == 404


def test_methods(world: SessionWorld) -> None:
    answer = world.send("/session/token", method="GET")
    assert (answer.status, answer.headers["allow"]) == (405, "POST, DELETE")
