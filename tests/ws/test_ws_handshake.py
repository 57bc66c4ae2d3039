"""Parsing of opening handshakes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ws_world import KEY, VISITOR_PAGE, WebSocketWorld, request

from callcenter_ws.delivery.welcome import ConnectOptions
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.runtime.http_head import RequestHead
from callcenter_ws.ws.handshake import Handshake, OptionalTokenSources, TokenSource, read_handshake

EVERYWHERE = OptionalTokenSources(cookie="session", query=True)
ORDER = {
    "Authorization": ["Bearer by-header"],
    "Sec-WebSocket-Protocol": ["callcenter.v1, bearer.by-subprotocol"],
    "Cookie": ["other=1; session=by-cookie"],
}


def read(query: str = "", sources: OptionalTokenSources = EVERYWHERE, **headers: list[str]) -> Handshake:
    named = {
        "Upgrade": ["websocket"],
        "Connection": ["keep-alive, Upgrade"],
        "Sec-WebSocket-Version": ["13"],
        "Sec-WebSocket-Key": [KEY],
        **{name.replace("_", "-"): values for name, values in headers.items()},
    }
    fields = {name.lower().encode(): [value.encode("utf-8") for value in values] for name, values in named.items()}
    return read_handshake(RequestHead(b"GET", b"/ws" + query.encode(), b"HTTP/1.1", fields), sources)


def test_a_minimal_handshake() -> None:
    assert read() == Handshake(KEY, False, None, None, ConnectOptions(), None)


@pytest.mark.parametrize(
    ("source", "token"),
    [
        (TokenSource.HEADER, "by-header"),
        (TokenSource.SUBPROTOCOL, "by-subprotocol"),
        (TokenSource.COOKIE, "by-cookie"),
        (TokenSource.QUERY, "by-query"),
    ],
)
def test_the_first_source_with_a_token_decides(source: TokenSource, token: str) -> None:
    headers = dict(list(ORDER.items())[source.value - 1 :])
    assert read("?token=late&access_token=by-query", **headers).token == (source, token)


@pytest.mark.parametrize("query", ["?access_token=t", "?token=t"])
def test_a_token_in_the_query_is_ignored_unless_configured(query: str) -> None:
    assert read(query).token == (TokenSource.QUERY, "t")
    assert read(query, OptionalTokenSources(query=False)).token is None


def test_a_cookie_is_ignored_unless_configured() -> None:
    assert read(sources=OptionalTokenSources(), Cookie=["session=t"]).token is None
    assert read(sources=OptionalTokenSources(cookie="other"), Cookie=["session=t"]).token is None


def test_an_empty_token_is_a_token() -> None:
    assert read(Authorization=["Bearer "], Cookie=["session=t"]).token == (TokenSource.HEADER, "")
    assert read(Sec_WebSocket_Protocol=["bearer."], Cookie=["session=t"]).token == (TokenSource.SUBPROTOCOL, "")


def test_other_authorization_schemes_are_ignored() -> None:
    assert read(Authorization=["Basic dTpw"], Sec_WebSocket_Protocol=["bearer.t"]).token == (
        TokenSource.SUBPROTOCOL,
        "t",
    )
    assert read(Authorization=["bearer t"]).token == (TokenSource.HEADER, "t")


@pytest.mark.parametrize(
    ("offered", "speaks"),
    [
        (["callcenter.v1"], True),
        (["chat", " callcenter.v1 ,bearer.t"], True),
        (["callcenter.v2"], False),
        (["Callcenter.V1"], False),
        (["", ",,"], False),
    ],
)
def test_the_subprotocol_may_be_anywhere_in_the_list(offered: list[str], speaks: bool) -> None:
    assert read(Sec_WebSocket_Protocol=offered).speaks_subprotocol is speaks


def test_the_connect_options_of_the_query() -> None:
    options = read("?epoch=e%2B1&seq=42&snapshot=1&tenant_id=acme")
    assert options.options == ConnectOptions("e+1", 42, True) and options.tenant_id == "acme"
    assert read("?colour=red&_=1").options == ConnectOptions()
    assert read("?snapshot=true&ack=1").options == ConnectOptions(snapshot=True, ack=True)
    assert read("?snapshot=0&ack=false").options == ConnectOptions()


def refusal(query: str = "", **headers: Any) -> Refusal:
    with pytest.raises(Refusal) as caught:
        read(query, **headers)
    return caught.value


NOT_AN_ASCII_DIGIT = "\u0661"
MANY_FIELDS = "?" + "&".join(f"f{number}=1" for number in range(21))


@pytest.mark.parametrize("seq", ["", "-1", "1.5", "1_0", NOT_AN_ASCII_DIGIT, str(10**17)])
def test_an_invalid_position_is_refused(seq: str) -> None:
    assert refusal(f"?epoch=e&seq={seq}").code is ErrorCode.INVALID_MESSAGE


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("?event=call.*", "unknown parameter 'event'; did you mean events?"),
        ("?Queues=sales", "unknown parameter 'Queues'; did you mean queues?"),
        ("?tenantId=acme", "unknown parameter 'tenantId'; did you mean tenant_id?"),
        ("?snapshot=yes", "snapshot: expected 1, true, 0 or false"),
        ("?ack=", "ack: expected 1, true, 0 or false"),
    ],
)
def test_a_misspelled_parameter_or_switch_is_refused(query: str, text: str) -> None:
    refused = refusal(query)
    assert (refused.code, refused.message) == (ErrorCode.INVALID_MESSAGE, text)


@pytest.mark.parametrize("query", ["?seq=1", "?epoch=e", MANY_FIELDS])
def test_an_invalid_query_is_refused(query: str) -> None:
    assert refusal(query).code is ErrorCode.INVALID_MESSAGE


@pytest.mark.parametrize(
    ("header", "values", "code"),
    [
        ("Upgrade", ["h2c"], ErrorCode.UPGRADE_REQUIRED),
        ("Upgrade", [], ErrorCode.UPGRADE_REQUIRED),
        ("Connection", ["keep-alive"], ErrorCode.UPGRADE_REQUIRED),
        ("Sec-WebSocket-Version", ["8"], ErrorCode.UPGRADE_REQUIRED),
        ("Sec-WebSocket-Version", ["013"], ErrorCode.UPGRADE_REQUIRED),
        ("Sec-WebSocket-Version", [], ErrorCode.UPGRADE_REQUIRED),
        ("Sec-WebSocket-Version", ["13", "13"], ErrorCode.INVALID_MESSAGE),
        ("Sec-WebSocket-Key", [], ErrorCode.INVALID_MESSAGE),
        ("Sec-WebSocket-Key", [KEY, KEY], ErrorCode.INVALID_MESSAGE),
        ("Sec-WebSocket-Key", ["c2hvcnQ="], ErrorCode.INVALID_MESSAGE),
        ("Sec-WebSocket-Key", ["not base64, not base64 =="], ErrorCode.INVALID_MESSAGE),
        ("Sec-WebSocket-Key", [KEY + "\xe9"], ErrorCode.INVALID_MESSAGE),
        ("Authorization", ["Bearer a", "Bearer b"], ErrorCode.INVALID_MESSAGE),
        ("Origin", ["https://a.example", "https://b.example"], ErrorCode.INVALID_MESSAGE),
    ],
)
def test_an_invalid_header_is_refused(header: str, values: list[str], code: ErrorCode) -> None:
    assert refusal(**{header: values}).code is code


def test_a_refusal_does_not_contain_the_token() -> None:
    for headers in ({"Authorization": ["Bearer secret-a", "Bearer secret-b"]}, {"Sec-WebSocket-Key": ["secret-a"]}):
        assert "secret" not in refusal("?token=secret-c", **headers).message


# Through the site


@pytest.mark.parametrize(
    ("raw", "status", "header"),
    [
        (request(method="POST"), 405, ("allow", "GET")),
        (request(drop=("Upgrade", "Connection")), 426, ("upgrade", "websocket")),
        (request(version="1.0"), 426, ("sec-websocket-version", "13")),
        (request(Sec_WebSocket_Version="12"), 426, ("sec-websocket-version", "13")),
        (request(drop=("Sec-WebSocket-Key",)), 400, ("content-type", "application/json")),
        (request("/ws?seq=x&epoch=e"), 400, ("content-type", "application/json")),
        (request(), 401, ("www-authenticate", 'Bearer error="invalid_token"')),
        (request(Origin="https://evil.example"), 403, ("content-type", "application/json")),
        (request(Origin="https://evil.example", drop=("Upgrade",)), 403, ("content-type", "application/json")),
        (request("/ws/nothing"), 404, ("content-type", "application/json")),
    ],
)
def test_refusals_are_http_responses_in_json(
    world: WebSocketWorld, raw: bytes, status: int, header: tuple[str, str]
) -> None:
    answer = world.peer().ask(raw)
    assert answer.status == status
    assert answer.headers[header[0]] == header[1]
    assert set(json.loads(answer.rest)["error"]) == {"code", "message"}
    assert len(world.log.lines) == (status != 404)
    assert world.admission.sockets == 0


def test_a_trailing_slash_is_the_same_endpoint(world: WebSocketWorld) -> None:
    assert world.peer().ask(request("/ws/", Authorization="Bearer agent:acme:u1")).status == 101
    assert world.peer().ask(request("/ws/public/", Authorization="Bearer visitor:acme:u1")).status == 101


# Subscriptions in the URL


@pytest.mark.parametrize(
    ("query", "events", "queues"),
    [
        ("", None, None),
        ("?events=call.*,queue.*&queues=sales", ["call.*", "queue.*"], ["sales"]),
        ("?events=call.*%2Cqueue.*", ["call.*", "queue.*"], None),
        ("?events=%20call.*%20,%20alert", ["call.*", "alert"], None),
        ("?queues=a,b&events=alert&queues=c", ["alert"], ["a", "b", "c"]),
        ("?queues=K%C3%B6ln", None, ["Köln"]),
        ("?events=", [""], None),
    ],
)
def test_the_url_names_events_and_queues(query: str, events: Any, queues: Any) -> None:
    options = read(query).options
    assert (options.events, options.queues) == (events, queues)


@pytest.mark.parametrize("token", [None, "visitor:acme:v1"])
def test_a_visitor_subscribes_in_the_url(world: WebSocketWorld, token: str | None) -> None:
    headers = {"Origin": VISITOR_PAGE} if token is None else {"Authorization": f"Bearer {token}"}
    for events, status in (("chat.message", 101), ("call.*", 403), ("no.such", 400)):
        path = f"/ws/public?tenant_id=acme&events={events}"
        assert world.peer().ask(request(path, **headers)).status == status
    assert world.hub.connections() == 1
