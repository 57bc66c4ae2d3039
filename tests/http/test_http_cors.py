"""Cross-origin requests: which pages may read responses, and what is never allowed."""

from __future__ import annotations

import pytest
from http_world import DESK, MINE, HttpWorld, ReceivedResponse

from callcenter_ws.http.cors import PREFLIGHT_SECONDS
from callcenter_ws.http.site import MAX_UNTRUSTED_BODY_BYTES

AGENT = f"agent:{MINE}:u1"
RESOURCES = [
    ("/ws/stats", "GET, HEAD"),
    ("/ws/users/u1/online", "GET, HEAD"),
    ("/ws/events", "POST"),
    ("/schemas/", "GET, HEAD"),
    ("/schemas/call.incoming", "GET, HEAD"),
]


def is_readable(response: ReceivedResponse, origin: str = DESK) -> bool:
    """Return whether a page of ``origin`` may read the response; check what must never be in it."""
    assert "access-control-allow-credentials" not in response.headers
    assert response.headers["vary"] == "Origin"
    allowed = response.headers.get("access-control-allow-origin")
    assert allowed in (None, origin)
    return allowed is not None


@pytest.mark.parametrize(("path", "methods"), RESOURCES)
def test_preflight(world: HttpWorld, path: str, methods: str) -> None:
    response = world.ask(
        "OPTIONS",
        path,
        Origin=DESK,
        Access_Control_Request_Method="GET",
        Access_Control_Request_Headers="authorization",
    )
    assert (response.status, response.body) == (204, b"")
    assert is_readable(response)
    assert response.headers["access-control-allow-methods"] == methods
    assert response.headers["access-control-allow-headers"] == "Authorization, Content-Type, If-None-Match"
    assert response.headers["access-control-max-age"] == str(PREFLIGHT_SECONDS)
    assert "content-length" not in response.headers


@pytest.mark.parametrize(("path", "methods"), RESOURCES)
@pytest.mark.parametrize("origin", ["https://evil.example", "http://desk.example", "null", "https://desk.example.evil"])
def test_preflight_of_another_origin(world: HttpWorld, path: str, methods: str, origin: str) -> None:
    response = world.ask("OPTIONS", path, Origin=origin, Access_Control_Request_Method="GET")
    assert response.status == 403
    assert not is_readable(response, origin)
    message = response.json["error"]["message"]
    assert origin in message and "web.allowed_origins" in message


def test_an_app_may_read_too(world: HttpWorld) -> None:
    assert is_readable(world.ask("GET", "/ws/stats", AGENT, Origin="capacitor://localhost"), "capacitor://localhost")


def test_options_without_an_origin_lists_the_methods(world: HttpWorld) -> None:
    response = world.ask("OPTIONS", "/ws/stats")
    assert (response.status, response.headers["allow"]) == (204, "GET, HEAD, OPTIONS")
    assert not is_readable(response)


def test_responses_and_errors_are_readable(world: HttpWorld) -> None:
    assert is_readable(world.ask("GET", "/ws/stats", AGENT, Origin=DESK))
    for status, response in [
        (401, world.ask("GET", "/ws/stats", "forged", Origin=DESK)),
        (403, world.ask("POST", "/ws/events", AGENT, b"{}", Origin=DESK)),
        (404, world.ask("GET", "/ws/nothing", AGENT, Origin=DESK)),
        (404, world.ask("GET", "/schemas/nothing", Origin=DESK)),
        (405, world.ask("DELETE", "/ws/stats", AGENT, Origin=DESK)),
        (400, world.ask("POST", "/ws/events", f"service:{MINE}:s", b"{", Origin=DESK)),
        # Refused before the request is complete.
        (401, world.ask("POST", "/ws/events", None, b"x" * (MAX_UNTRUSTED_BODY_BYTES + 1), Origin=DESK)),
    ]:
        assert response.status == status
        assert is_readable(response)


@pytest.mark.parametrize("origin", [None, "https://evil.example", "null", f"{DESK}, {DESK}", "*"])
def test_other_pages_may_not_read(world: HttpWorld, origin: str | None) -> None:
    headers = {} if origin is None else {"Origin": origin}
    response = world.ask("GET", "/ws/stats", AGENT, **headers)
    assert response.status == 200
    assert not is_readable(response, origin or "")


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/"])
def test_other_resources_may_not_be_read(world: HttpWorld, path: str) -> None:
    for method in ("GET", "OPTIONS"):
        response = world.ask(method, path, Origin=DESK)
        assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize("path", ["/ws", "/ws/", "/ws/public", "/ws/public/"])
@pytest.mark.parametrize("origin", [DESK, "https://evil.example", "null"])
def test_every_page_may_read_why_it_may_not_connect(world: HttpWorld, path: str, origin: str) -> None:
    response = world.ask("DELETE", path, Origin=origin)
    assert response.status in (404, 405)
    assert response.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in response.headers


@pytest.mark.parametrize("origin", [DESK, "https://evil.example", "null"])
def test_every_page_may_load_the_browser_client(world: HttpWorld, origin: str) -> None:
    headers = world.ask("GET", "/client/callcenter-ws-client.js", Origin=origin).headers
    assert headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in headers
    assert "access-control-allow-origin" not in world.ask("GET", "/client", Origin=origin).headers
