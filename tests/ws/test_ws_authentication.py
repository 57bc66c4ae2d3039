"""Who is let in, and as whom, over the wire."""

from __future__ import annotations

import pytest
from ws_world import STAFF_PAGE, VISITOR_PAGE, Answer, World, request, text

from callcenter_ws.errors import CloseCode, Refusal
from callcenter_ws.requests.admission import Endpoint
from callcenter_ws.ws.handshake import TokenPlaces


def ask(world: World, path: str = "/ws", token: str | None = None, **headers: str) -> Answer:
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    return world.peer().ask(request(path, **headers))


def welcomed(answer: Answer) -> dict[str, object]:
    assert answer.status == 101, answer
    (message,) = [frame.json for frame in answer.frames]
    assert message["type"] == "welcome"
    return message["payload"]


@pytest.mark.parametrize("role", ["agent", "supervisor", "admin", "wallboard", "service"])
def test_staff_connect_at_their_endpoint_alone(world: World, role: str) -> None:
    assert welcomed(ask(world, token=f"good:{role}:acme:u1"))["role"] == role
    assert ask(world, "/ws/public", token=f"good:{role}:acme:u1").status == 403


def test_visitors_connect_at_their_endpoint_alone(world: World) -> None:
    assert welcomed(ask(world, "/ws/public", token="good:visitor:acme:v1"))["session_id"] == "chat-1"
    assert ask(world, token="good:visitor:acme:v1").status == 403


def test_a_cookie_counts_from_a_listed_page_only(world: World) -> None:
    cookie = "session=good:agent:acme:u1"
    assert welcomed(ask(world, Cookie=cookie, Origin=STAFF_PAGE))["user_id"] == "u1"
    assert ask(world, Cookie=cookie).status == 403
    assert ask(world, Cookie=cookie, Origin="https://evil.example").status == 403
    assert ask(world, Cookie=cookie, Origin="null").status == 403
    browser = ask(world, Cookie=cookie, Sec_WebSocket_Protocol="callcenter.v1")
    assert [frame.opcode for frame in browser.frames] == [1, 8]


def test_a_visitors_cookie_from_the_shop_is_not_enough(world: World) -> None:
    answer = ask(world, "/ws/public", Cookie="session=good:visitor:acme:v1", Origin=VISITOR_PAGE)
    assert answer.status == 403


def test_a_bad_token_is_not_made_good_by_one_in_a_later_place(world: World) -> None:
    later = {"Cookie": "session=good:agent:acme:u1", "Origin": STAFF_PAGE}
    assert ask(world, token="forged", **later).status == 401
    refused = ask(world, Sec_WebSocket_Protocol="callcenter.v1, bearer.forged", **later)
    assert refused.frames[-1].close_code == CloseCode.UNAUTHORIZED


def test_a_token_in_the_query_counts_only_where_allowed() -> None:
    path = "/ws?access_token=good:agent:acme:u1"
    assert ask(World(), path).status == 401
    assert welcomed(ask(World(places=TokenPlaces(query=True)), path))["user_id"] == "u1"


@pytest.mark.parametrize("query", ["", "?tenant_id=", "?tenant_id=*", "?tenant_id=" + "x" * 256])
def test_a_token_for_every_tenant_must_name_one(world: World, query: str) -> None:
    assert ask(world, f"/ws{query}", token="good:admin:*:root").status == 403


def test_a_token_for_every_tenant_sees_the_one_that_it_names(world: World) -> None:
    peer = world.peer()
    answer = peer.ask(request("/ws?tenant_id=globex", Authorization="Bearer good:admin:*:root"))
    assert welcomed(answer)["tenant_id"] == "globex"
    world.publish(tenant_id="acme")
    world.publish(tenant_id="globex")
    assert [message["tenant_id"] for message in peer.messages()] == ["globex"]


def test_a_token_for_every_tenant_in_the_first_frame(world: World) -> None:
    peer = world.peer()
    peer.ask(request("/ws?tenant_id=globex", Sec_WebSocket_Protocol="callcenter.v1"))
    peer.feed(text("auth", {"token": "good:admin:*:root"}))
    assert peer.messages()[0]["payload"]["tenant_id"] == "globex"


def test_a_token_is_for_its_own_tenant(world: World) -> None:
    assert ask(world, "/ws?tenant_id=globex", token="good:agent:acme:u1").status == 403
    assert welcomed(ask(world, "/ws?tenant_id=acme", token="good:agent:acme:u1"))["tenant_id"] == "acme"


def test_an_anonymous_visitor_gets_a_session(world: World) -> None:
    by_page = welcomed(ask(world, "/ws/public", Origin=VISITOR_PAGE))
    assert (by_page["role"], by_page["tenant_id"], by_page["session_id"]) == ("visitor", "acme", "chat-new")
    assert by_page["session_token"]
    assert welcomed(ask(world, "/ws/public?tenant_id=acme"))["session_token"]


def test_a_visitor_with_a_token_gets_no_session_token(world: World) -> None:
    assert "session_token" not in welcomed(ask(world, "/ws/public", token="good:visitor:acme:v1"))


@pytest.mark.parametrize("path", ["/ws/public", "/ws/public?tenant_id=globex", "/ws/public?tenant_id=nobody"])
def test_where_nobody_takes_anonymous_visitors_a_token_is_needed(world: World, path: str) -> None:
    assert ask(world, path).status == 401


def test_nobody_is_anonymous_at_the_staff_endpoint(world: World) -> None:
    assert ask(world, "/ws?tenant_id=acme").status == 401


def test_a_page_of_one_tenant_does_not_open_sessions_of_another(world: World) -> None:
    assert ask(world, "/ws/public?tenant_id=acme", Origin="https://evil.example").status == 403
    assert ask(world, "/ws/public", token="good:visitor:globex:v1", Origin=VISITOR_PAGE).status == 403


def test_a_visitors_page_is_checked_after_the_first_frame_too(world: World) -> None:
    peer = world.peer()
    peer.ask(request("/ws/public?tenant_id=globex", Sec_WebSocket_Protocol="callcenter.v1", Origin=VISITOR_PAGE))
    peer.feed(text("auth", {"token": "good:visitor:globex:v1"}))
    error, close = peer.take()
    assert error.json["payload"]["code"] == "forbidden"
    assert close.close_code == CloseCode.UNAUTHORIZED


def test_a_revoked_token_opens_nothing(world: World) -> None:
    peer = world.client()
    assert world.hub.revoke("acme", user_id="u1") == 1
    assert peer.only_close() == CloseCode.REVOKED
    assert ask(world, token="good:agent:acme:u1").status == 401
    assert ask(world, token="good:agent:acme:u2").status == 101
    waiting = world.unauthenticated()
    waiting.feed(text("auth", {"token": "good:agent:acme:u1"}))
    assert waiting.take()[-1].close_code == CloseCode.UNAUTHORIZED


def test_the_staff_check_of_origins(world: World) -> None:
    world.handshake_authenticator.check_origin(Endpoint.STAFF, STAFF_PAGE)
    world.handshake_authenticator.check_origin(Endpoint.PUBLIC, VISITOR_PAGE)
    with pytest.raises(Refusal):
        world.handshake_authenticator.check_origin(Endpoint.STAFF, VISITOR_PAGE)
