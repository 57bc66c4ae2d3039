"""The HTTP resources of a running gateway."""

from __future__ import annotations

import http.client
import json
import secrets
import signal
import socket
from collections.abc import Iterator
from contextlib import closing
from email.message import Message
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest
from processes import DEADLINE, Deadline
from prometheus_client.parser import text_string_to_metric_families

from callcenter_ws import __version__

ALERT = {"title": "Fire drill", "message": "now"}


class Response(NamedTuple):
    status: int
    headers: Message
    body: bytes

    @property
    def error(self) -> str:
        """Return the code of an error response."""
        assert self.headers["Content-Type"] == "application/json"
        error: dict[str, str] = json.loads(self.body)["error"]
        assert error["message"]
        return error["code"]


def send(gateway: Any, method: str, path: str, body: bytes | None = None, **headers: str) -> Response:
    """Send a request; return the unmodified response."""
    with closing(http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=DEADLINE)) as connection:
        connection.request(method, path, body, {name.replace("_", "-"): text for name, text in headers.items()})
        answer = connection.getresponse()
        return Response(answer.status, answer.headers, answer.read())


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def clients(gateway: Any) -> Iterator[dict[str, Any]]:
    """Return a client of each role in one tenant, and an agent in another."""
    roles = ("admin", "supervisor", "agent", "wallboard", "visitor", "service")
    clients = {role: gateway.connect(role, claims={"tenant_id": "initech"}) for role in roles}
    clients["neighbour"] = gateway.connect("agent", claims={"tenant_id": "umbrella"})
    yield clients
    for client in clients.values():
        client.socket.close()


# Statistics


@pytest.mark.parametrize("role", ["agent", "supervisor", "wallboard", "service", "admin"])
def test_a_tenant_reads_its_own_stats(gateway: Any, clients: dict[str, Any], role: str) -> None:
    status, stats = gateway.http("/ws/stats", token=gateway.token(role, tenant_id="initech"))
    assert status == 200
    assert (stats["node"], stats["version"], stats["tenant_id"]) == ("test-node", __version__, "initech")
    assert stats["connections"] == {
        "total": 6,
        "by_role": dict.fromkeys(("admin", "supervisor", "agent", "wallboard", "visitor", "service"), 1),
        "by_endpoint": {"ws": 5, "public": 1},
    }
    assert "umbrella" not in json.dumps(stats)
    assert stats["lagging"] == 0 and stats["broker"]["ready"] is True and stats["uptime"] > 0


def test_an_admin_for_all_tenants_reads_all_stats(gateway: Any, clients: dict[str, Any]) -> None:
    token = gateway.token("admin", tenant_id="*")
    status, stats = gateway.http("/ws/stats", token=token)
    assert status == 200
    assert stats["tenant_id"] is None
    assert stats["connections"]["by_tenant"] == {"initech": 6, "umbrella": 1}
    assert {"accepted", "duplicates", "refused"} <= stats["messages"].keys()
    status, stats = gateway.http("/ws/stats?tenant_id=umbrella", token=token)
    assert (status, stats["connections"]["total"]) == (200, 1)


def test_the_stats_count_messages(gateway: Any, clients: dict[str, Any]) -> None:
    token = gateway.token("admin", tenant_id="*")

    def messages() -> dict[str, Any]:
        counted: dict[str, Any] = gateway.http("/ws/stats", token=token)[1]["messages"]
        return counted

    for client in clients.values():
        client.received_before_pong()
    before = messages()
    event_id = secrets.token_hex(8)
    for _ in range(2):
        gateway.publish("alert", ALERT, tenant_id="initech", event_id=event_id)
    gateway.http("/ws/events", method="POST", token=token, body={"tenant_id": "initech", "type": "x", "payload": {}})
    assert clients["wallboard"].request("ping")["type"] == "pong"
    after = messages()
    assert after["accepted"] - before["accepted"] == 1
    assert after["duplicates"] - before["duplicates"] == 1
    assert sum(after["refused"].values()) - sum(before["refused"].values()) == 1
    # The alert for admin, supervisor, agent and wallboard, but not for visitor and service; and the pong.
    assert after["delivered"] - before["delivered"] == 4 + 1
    assert after["in"] - before["in"] == 1


@pytest.mark.parametrize(
    ("role", "claims", "path"),
    [
        ("visitor", {}, "/ws/stats"),
        ("supervisor", {}, "/ws/stats?tenant_id=umbrella"),
        ("admin", {}, "/ws/stats?tenant_id=umbrella"),
        ("service", {"tenant_id": "*"}, "/ws/stats"),
        ("visitor", {}, "/ws/users/agent-1/online"),
        ("agent", {}, "/ws/users/agent-1/online?tenant_id=umbrella"),
    ],
)
def test_the_stats_of_other_tenants_are_forbidden(gateway: Any, role: str, claims: dict[str, str], path: str) -> None:
    status, answer = gateway.http(path, token=gateway.token(role, **{"tenant_id": "initech", **claims}))
    assert (status, answer["error"]["code"]) == (403, "forbidden")


# Users


def test_whether_a_user_is_online(gateway: Any) -> None:
    token = gateway.token("service", tenant_id="hooli")
    path = f"/ws/users/{quote('zoé/1', safe='')}/online"
    offline = {"user_id": "zoé/1", "online": False, "connections": 0, "since": None, "last_seen": None}
    assert gateway.http(path, token=token) == (200, offline)
    clients = [gateway.connect(claims={"tenant_id": "hooli", "sub": "zoé/1"}) for _ in range(2)]
    _, here = gateway.http(path, token=token)
    assert (here["online"], here["connections"]) == (True, 2)
    assert here["since"].endswith("Z") and here["last_seen"] >= here["since"]
    # A user of the same name in another tenant is another user.
    assert gateway.http(path, token=gateway.token("service"))[1] == offline
    assert gateway.http(f"{path}?tenant_id=hooli", token=gateway.token("admin", tenant_id="*"))[1]["connections"] == 2
    for client in clients:
        client.socket.close()
    _, gone = gateway.http(path, token=token)
    assert (gone["online"], gone["connections"], gone["since"]) == (False, 0, None)
    assert gone["last_seen"] >= here["since"]


def test_a_token_for_all_tenants_must_name_one(gateway: Any) -> None:
    status, answer = gateway.http("/ws/users/x/online", token=gateway.token("admin", tenant_id="*"))
    assert (status, answer["error"]["code"]) == (400, "invalid_message")
    assert "tenant_id" in answer["error"]["message"]


# Publishing


def test_one_event_is_published(gateway: Any) -> None:
    client = gateway.connect("supervisor")
    event = {"type": "alert", "payload": ALERT, "event_id": "http-1", "timestamp": "2026-11-22T20:40:00.5+01:00"}
    for role in ("service", "admin"):
        status, answer = gateway.http("/ws/events", method="POST", token=gateway.token(role), body=event)
        assert status == 200
    assert answer == {"epoch": answer["epoch"], "seq": answer["seq"], "event_id": "http-1", "duplicate": True}
    assert client.receive_type("alert") == {
        "type": "alert",
        "tenant_id": "acme",
        "id": "http-1",
        "seq": answer["seq"],
        "timestamp": "2026-11-22T19:40:00.500Z",
        "payload": ALERT,
    }
    assert [m for m in client.received_before_pong() if m["type"] == "alert"] == []
    client.socket.close()


def test_the_valid_events_of_a_list_are_published(gateway: Any) -> None:
    client = gateway.connect("supervisor")
    events = [
        {"type": "alert", "payload": ALERT},
        {"type": "alert", "payload": {"title": "no message"}},
        {"type": "weather", "payload": {}},
        {"tenant_id": "umbrella", "type": "alert", "payload": ALERT},
        {"type": "alert", "payload": ALERT},
        "no event at all",
    ]
    status, answer = gateway.http("/ws/events", method="POST", token=gateway.token("service"), body=events)
    assert status == 200
    first, untitled, unknown, foreign, last, nonsense = answer["results"]
    assert last["seq"] == first["seq"] + 1 and answer["epoch"] == first["epoch"]
    codes = [result["error"]["code"] for result in (untitled, unknown, foreign, nonsense)]
    assert codes == ["invalid_event", "unknown_event", "forbidden", "invalid_event"]
    assert untitled["error"]["message"] == "payload.message: required"
    alerts = [message["seq"] for message in client.received_before_pong() if message["type"] == "alert"]
    assert alerts == [first["seq"], last["seq"]]
    client.socket.close()


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "invalid_json"),
        (b"", 400, "invalid_json"),
        (b"\xff\xfe", 400, "invalid_json"),
        (b"[" * 10_000, 400, "invalid_json"),
        (b"3", 400, "invalid_event"),
        (b"{}", 400, "unknown_event"),
        (b'{"type":"alert","payload":[]}', 400, "invalid_event"),
        (b'{"type":"alert","payload":{"title":"x","message":"y"},"colour":"red"}', 400, "invalid_event"),
        (b'{"type":"notification","payload":{"type":"t","title":"x","message":"y"}}', 400, "invalid_event"),
        (b'{"tenant_id":"*","type":"alert","payload":{"title":"x","message":"y"}}', 403, "forbidden"),
        (b'{"type":"alert","payload":{"title":"x","message":"' + b"y" * 524_288 + b'"}}', 413, "too_large"),
        (b"[" + b",".join([b"{}"] * 1_001) + b"]", 413, "too_large"),
    ],
    ids=lambda value: value[:40].decode("ascii", "replace") if isinstance(value, bytes) else None,
)
def test_a_body_that_is_not_an_event_is_refused(gateway: Any, body: bytes, status: int, code: str) -> None:
    answer = send(gateway, "POST", "/ws/events", body, **bearer(gateway.token("service")))
    assert (answer.status, answer.error) == (status, code)


@pytest.mark.parametrize("role", ["agent", "supervisor", "wallboard", "visitor"])
def test_only_services_and_admins_publish(gateway: Any, role: str) -> None:
    status, answer = gateway.http("/ws/events", method="POST", token=gateway.token(role), body={})
    assert (status, answer["error"]["code"]) == (403, "forbidden")


@pytest.mark.parametrize("with_token", [False, True], ids=["stranger", "service"])
def test_an_oversized_body_is_refused_at_its_head(gateway: Any, with_token: bool) -> None:
    token = f"Authorization: Bearer {gateway.token('service')}\r\n" if with_token else ""
    head = f"POST /ws/events HTTP/1.1\r\nHost: x\r\n{token}Content-Length: 50000000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=DEADLINE) as peer:
        peer.sendall(head.encode() + b"[")
        answer = http.client.HTTPResponse(peer)
        answer.begin()
        with answer:
            code = json.load(answer)["error"]["code"]
    assert (answer.status, code) == (413, "too_large")


# Probes and metrics


def test_the_probes_require_no_token(gateway: Any) -> None:
    assert gateway.http("/livez") == (200, {"alive": True})
    assert gateway.http("/readyz") == (200, {"ready": True})


def test_a_draining_gateway_is_alive_but_not_ready(start_gateway: Any) -> None:
    gateway = start_gateway()

    def ask(path: str) -> tuple[int, Any]:
        probe.request("GET", path)
        answer = probe.getresponse()
        return answer.status, json.load(answer)

    # The gateway waits for a while for a client that does not answer the close.
    upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    head = f"GET /ws HTTP/1.1\r\nHost: x\r\n{upgrade}{key}Authorization: Bearer {gateway.token()}\r\n\r\n"
    with (
        closing(http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=DEADLINE)) as probe,
        socket.create_connection(("127.0.0.1", gateway.port), timeout=DEADLINE) as mute,
    ):
        mute.sendall(head.encode())
        assert mute.recv(12) == b"HTTP/1.1 101"
        assert ask("/readyz") == (200, {"ready": True})
        gateway.process.send_signal(signal.SIGTERM)
        deadline = Deadline()
        while (readiness := ask("/readyz"))[0] == 200:
            deadline.remaining()
        assert readiness[0] == 503
        assert readiness[1]["ready"] is False and "shutting down" in readiness[1]["reasons"][0]
        assert ask("/livez") == (200, {"alive": True})
        token = gateway.token("service")
        probe.request("POST", "/ws/events", json.dumps({"type": "alert", "payload": ALERT}), bearer(token))
        # Events published meanwhile are accepted or refused.
        assert probe.getresponse().status in (200, 503)
    assert gateway.process.wait(DEADLINE) == -signal.SIGTERM


def samples(text: str) -> dict[tuple[str, ...], float]:
    """Return the samples of the metrics by name and sorted labels."""
    return {
        (sample.name, *[label for _, label in sorted(sample.labels.items())]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_metrics_are_prometheus_text_without_names_of_tenants(gateway: Any, clients: dict[str, Any]) -> None:
    answer = send(gateway, "GET", "/metrics")
    assert answer.status == 200 and answer.headers["Content-Type"].startswith("text/plain; version=")
    text = answer.body.decode()
    found = samples(text)
    assert found["callcenter_ws_connections", "public", "visitor"] == 1
    assert found["callcenter_ws_connections", "ws", "agent"] == 2
    assert found["callcenter_ws_connections_opened_total",] >= 7
    assert "initech" not in text and "agent-1" not in text
    before = found["callcenter_ws_events_accepted_total",]
    gateway.publish("alert", ALERT)
    assert samples(send(gateway, "GET", "/metrics").body.decode())["callcenter_ws_events_accepted_total",] > before


def test_the_metrics_are_refused_through_a_proxy(gateway: Any) -> None:
    answer = send(gateway, "GET", "/metrics", X_Forwarded_For="192.0.2.7")
    assert (answer.status, answer.error) == (401, "unauthorized")
    allowed = send(gateway, "GET", "/metrics", X_Forwarded_For="192.0.2.7", **bearer(gateway.token("service")))
    assert allowed.status == 200 and allowed.body


def test_the_metrics_on_a_listener_of_their_own(start_gateway: Any) -> None:
    gateway = start_gateway("", "--set", "web.metrics_listen=tcp:0:interface=127.0.0.1")
    status, answer = gateway.http("/metrics")
    assert (status, answer["error"]["code"]) == (404, "not_found")
    gateway.ports["GatewaySite"] = gateway.ports["GatewaySite"][1:]
    status, text = gateway.http("/metrics")
    assert status == 200 and ("callcenter_ws_events_accepted_total",) in samples(text)
    for path in ("/", "/ws", "/ws/stats", "/readyz"):
        assert gateway.http(path, token=gateway.token("admin", tenant_id="*"))[0] == 404


# Other paths and methods


@pytest.mark.parametrize(
    "path", ["/demo", "/demo/token", "/wss", "/ws/x", "/ws/stats/x", "/ws/users/x", "/ws/users/x/online/y", "/%00"]
)
def test_other_paths_are_not_found(gateway: Any, path: str) -> None:
    answer = send(gateway, "GET", path)
    assert (answer.status, answer.error) == (404, "not_found")


@pytest.mark.parametrize("path", ["/ws", "/ws/", "/ws/public"])
def test_a_websocket_endpoint_requires_an_upgrade(gateway: Any, path: str) -> None:
    answer = send(gateway, "GET", path, **bearer(gateway.token("admin")))
    assert (answer.status, answer.error, answer.headers["Upgrade"]) == (426, "upgrade_required", "websocket")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "/ws/stats", "GET, HEAD"),
        ("DELETE", "/ws/users/x/online", "GET, HEAD"),
        ("GET", "/ws/events", "POST"),
        ("PUT", "/livez", "GET, HEAD"),
        ("OPTIONS", "/metrics", "GET, HEAD"),
    ],
)
def test_another_method_is_not_allowed(gateway: Any, method: str, path: str, allow: str) -> None:
    answer = send(gateway, method, path, **bearer(gateway.token("admin")))
    assert (answer.status, answer.headers["Allow"]) == (405, allow)
    assert answer.error == "method_not_allowed"


@pytest.mark.parametrize("path", ["/ws/stats", "/ws/users/x/online", "/ws/events"])
def test_without_a_token_requests_are_refused(gateway: Any, path: str) -> None:
    method = "POST" if path == "/ws/events" else "GET"
    tokens = [None, "x", gateway.token("admin", exp=1), gateway.token("admin")[:-3] + "abc"]
    for token in tokens:
        answer = send(gateway, method, path, **({} if token is None else bearer(token)))
        assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, 'Bearer error="invalid_token"')
        assert answer.error == "unauthorized"
        assert token is None or len(token) < 9 or token not in gateway.log


def test_a_head_request_gets_the_headers_alone(gateway: Any) -> None:
    answer = send(gateway, "HEAD", "/readyz")
    assert (answer.status, answer.body) == (200, b"")
    assert int(answer.headers["Content-Length"]) > 0
