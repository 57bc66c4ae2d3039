"""Authentication and admission of connections."""

from __future__ import annotations

import pytest
from ws_world import STAFF_PAGE, VISITOR_PAGE, Answer, WebSocketWorld, request, text

from callcenter_ws.errors import CloseCode, Refusal
from callcenter_ws.requests.admission import EndpointName
from callcenter_ws.ws.handshake import OptionalTokenSources
from callcenter_ws.ws.origin import OriginList, PublicTenant


def ask(world: WebSocketWorld, path: str = "/ws", token: str | None = None, **headers: str) -> Answer:
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    return world.peer().ask(request(path, **headers))


def welcomed(answer: Answer) -> dict[str, object]:
    assert answer.status == 101, answer
    (message,) = [frame.json for frame in answer.frames]
    assert message["type"] == "welcome"
    return message["payload"]


@pytest.mark.parametrize("role", ["agent", "supervisor", "admin", "wallboard", "service"])
def test_staff_can_only_connect_to_their_endpoint(world: WebSocketWorld, role: str) -> None:
    assert welcomed(ask(world, token=f"{role}:acme:u1"))["role"] == role
    assert ask(world, "/ws/public", token=f"{role}:acme:u1").status == 403


def test_visitors_can_only_connect_to_their_endpoint(world: WebSocketWorld) -> None:
    assert welcomed(ask(world, "/ws/public", token="visitor:acme:v1"))["session_id"] == "chat-1"
    assert ask(world, token="visitor:acme:v1").status == 403


def test_a_cookie_requires_a_listed_origin_in_the_handshake(world: WebSocketWorld) -> None:
    cookie = "session=agent:acme:u1"
    assert welcomed(ask(world, Cookie=cookie, Origin=STAFF_PAGE))["user_id"] == "u1"
    assert ask(world, Cookie=cookie).status == 403
    assert ask(world, Cookie=cookie, Origin="https://evil.example").status == 403
    assert ask(world, Cookie=cookie, Origin="null").status == 403
    browser = ask(world, Cookie=cookie, Sec_WebSocket_Protocol="callcenter.v1")
    assert [frame.opcode for frame in browser.frames] == [1, 8]


def test_a_cookie_from_a_tenants_page_is_refused(world: WebSocketWorld) -> None:
    answer = ask(world, "/ws/public", Cookie="session=visitor:acme:v1", Origin=VISITOR_PAGE)
    assert answer.status == 403


def test_a_valid_token_in_a_later_source_does_not_override_an_invalid_one(world: WebSocketWorld) -> None:
    later = {"Cookie": "session=agent:acme:u1", "Origin": STAFF_PAGE}
    assert ask(world, token="forged", **later).status == 401
    refused = ask(world, Sec_WebSocket_Protocol="callcenter.v1, bearer.forged", **later)
    assert refused.frames[-1].close_code == CloseCode.UNAUTHORIZED


def test_a_token_in_the_query_is_accepted_only_if_configured() -> None:
    path = "/ws?access_token=agent:acme:u1"
    assert ask(WebSocketWorld(), path).status == 401
    assert welcomed(ask(WebSocketWorld(token_sources=OptionalTokenSources(query=True)), path))["user_id"] == "u1"


@pytest.mark.parametrize("query", ["", "?tenant_id=*"])
def test_a_token_for_all_tenants_must_name_one(world: WebSocketWorld, query: str) -> None:
    assert ask(world, f"/ws{query}", token="admin:*:root").status == 403


@pytest.mark.parametrize("query", ["tenant_id=%zz", "tenant_id=ac%6", "tenant_id=acme%", "tenant_id=acme&events=%"])
@pytest.mark.parametrize("path", ["/ws", "/ws/public"])
def test_a_malformed_escape_is_refused(world: WebSocketWorld, path: str, query: str) -> None:
    answer = ask(world, f"{path}?{query}", token="admin:*:root")
    assert answer.status == 400
    assert b"hexadecimal" in answer.rest
    assert not world.hub.counters.opened


@pytest.mark.parametrize("query", ["queues=%00", "queues=sales,a%0Ab", "queues=%C2%85", "queues=%E2%80%A8"])
def test_a_queue_with_a_control_character_is_refused(world: WebSocketWorld, query: str) -> None:
    answer = ask(world, f"/ws?{query}", token="agent:acme:u1")
    assert answer.status == 400
    assert b"control character" in answer.rest


@pytest.mark.parametrize(
    "query", ["tenant_id=", "tenant_id=" + "x" * 256, "tenant_id=%00", "tenant_id=a%0Ab", "tenant_id=%C2%85",
              "tenant_id=%ff%fe", "tenant_id=%ED%A0%80", "tenant_id=a&tenant_id=b"]
)  # fmt: skip
@pytest.mark.parametrize("path", ["/ws", "/ws/public"])
def test_a_tenant_id_that_is_no_identifier_is_refused(world: WebSocketWorld, path: str, query: str) -> None:
    answer = ask(world, f"{path}?{query}", token="admin:*:root")
    assert answer.status == 400
    assert b"tenant_id" in answer.rest or b"UTF-8" in answer.rest
    assert not world.hub.counters.opened


@pytest.mark.parametrize("tenant_id", ["globex", "nobody"])
def test_a_tenant_without_anonymous_visitors_is_refused_at_once_like_an_unknown_one(
    world: WebSocketWorld, tenant_id: str
) -> None:
    peer = world.peer()
    answer = peer.ask(request(f"/ws/public?tenant_id={tenant_id}", Sec_WebSocket_Protocol="callcenter.v1"))
    error, close = answer.frames
    assert error.json["payload"]["message"] == "this tenant accepts no visitors without a token"
    assert close.close_code == CloseCode.UNAUTHORIZED


def test_a_token_for_all_tenants_receives_events_of_the_named_one(world: WebSocketWorld) -> None:
    peer = world.peer()
    answer = peer.ask(request("/ws?tenant_id=globex", Authorization="Bearer admin:*:root"))
    assert welcomed(answer)["tenant_id"] == "globex"
    world.publish(tenant_id="acme")
    world.publish(tenant_id="globex")
    assert [message["tenant_id"] for message in peer.messages()] == ["globex"]


def test_a_token_for_all_tenants_in_the_first_frame(world: WebSocketWorld) -> None:
    peer = world.peer()
    peer.ask(request("/ws?tenant_id=globex", Sec_WebSocket_Protocol="callcenter.v1"))
    peer.feed(text("auth", {"token": "admin:*:root"}))
    assert peer.messages()[0]["payload"]["tenant_id"] == "globex"


def test_another_tenant_than_that_of_the_token_is_forbidden(world: WebSocketWorld) -> None:
    assert ask(world, "/ws?tenant_id=globex", token="agent:acme:u1").status == 403
    assert welcomed(ask(world, "/ws?tenant_id=acme", token="agent:acme:u1"))["tenant_id"] == "acme"


def test_an_anonymous_visitor_gets_a_session(world: WebSocketWorld) -> None:
    by_page = welcomed(ask(world, "/ws/public", Origin=VISITOR_PAGE))
    assert (by_page["role"], by_page["tenant_id"], by_page["session_id"]) == ("visitor", "acme", "chat-new")
    assert by_page["session_token"]
    assert welcomed(ask(world, "/ws/public?tenant_id=acme"))["session_token"]


def test_a_visitor_with_a_token_gets_no_session_token(world: WebSocketWorld) -> None:
    assert "session_token" not in welcomed(ask(world, "/ws/public", token="visitor:acme:v1"))


@pytest.mark.parametrize("path", ["/ws/public", "/ws/public?tenant_id=globex", "/ws/public?tenant_id=nobody"])
def test_without_anonymous_access_a_token_is_required(world: WebSocketWorld, path: str) -> None:
    assert ask(world, path).status == 401


def test_the_staff_endpoint_has_no_anonymous_access(world: WebSocketWorld) -> None:
    assert ask(world, "/ws?tenant_id=acme").status == 401


def test_a_page_of_one_tenant_cannot_open_sessions_of_another(world: WebSocketWorld) -> None:
    assert ask(world, "/ws/public?tenant_id=acme", Origin="https://evil.example").status == 403
    assert ask(world, "/ws/public", token="visitor:globex:v1", Origin=VISITOR_PAGE).status == 403


def test_the_origin_of_a_visitor_is_checked_after_the_first_frame_too(world: WebSocketWorld) -> None:
    world.origins._public["acme"] = PublicTenant(OriginList([VISITOR_PAGE]), anonymous=False)
    peer = world.peer()
    peer.ask(request("/ws/public", Sec_WebSocket_Protocol="callcenter.v1", Origin=VISITOR_PAGE))
    peer.feed(text("auth", {"token": "visitor:globex:v1"}))
    error, close = peer.take()
    assert error.json["payload"]["code"] == "forbidden"
    assert close.close_code == CloseCode.UNAUTHORIZED


def test_a_revoked_token_is_refused(world: WebSocketWorld) -> None:
    peer = world.client()
    assert world.hub.revoke("acme", user_id="u1") == 1
    assert peer.only_close() == CloseCode.REVOKED
    assert ask(world, token="agent:acme:u1").status == 401
    assert ask(world, token="agent:acme:u2").status == 101
    waiting = world.unauthenticated()
    waiting.feed(text("auth", {"token": "agent:acme:u1"}))
    assert waiting.take()[-1].close_code == CloseCode.UNAUTHORIZED


def test_the_origin_of_staff_is_checked(world: WebSocketWorld) -> None:
    world.handshake_authenticator.check_origin(EndpointName.STAFF, STAFF_PAGE)
    world.handshake_authenticator.check_origin(EndpointName.PUBLIC, VISITOR_PAGE)
    with pytest.raises(Refusal):
        world.handshake_authenticator.check_origin(EndpointName.STAFF, VISITOR_PAGE)
