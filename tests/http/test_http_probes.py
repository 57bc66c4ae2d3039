"""/livez, /readyz, /metrics."""

from __future__ import annotations

import pytest
from http_world import HttpWorld, connect_to_site, exposition
from twisted.internet.address import UNIXAddress
from twisted.internet.testing import StringTransport

from callcenter_ws.http.probes import MetricsResource
from callcenter_ws.ops.health import Health


def test_live(world: HttpWorld) -> None:
    response = world.ask("GET", "/livez")
    assert (response.status, response.json) == (200, {"alive": True})


def test_ready(world: HttpWorld) -> None:
    response = world.ask("GET", "/readyz")
    assert (response.status, response.json) == (200, {"ready": True})


def test_not_ready_while_draining(world: HttpWorld) -> None:
    world.health.drain()
    response = world.ask("GET", "/readyz")
    assert response.status == 503
    assert response.json == {"ready": False, "reasons": ["draining: this node is shutting down"]}
    assert world.ask("GET", "/livez").status == 200


def test_not_ready_if_a_check_fails() -> None:
    broken: list[str | None] = [None]
    world = HttpWorld(health=Health(lambda: broken[0], lambda: None))
    assert world.ask("GET", "/readyz").status == 200
    broken[0] = "store: the disk is full"
    assert world.ask("GET", "/readyz").json["reasons"] == ["store: the disk is full"]


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_metrics_for_a_local_peer(peer: str) -> None:
    response = HttpWorld(peer=peer).ask("GET", "/metrics")
    assert (response.status, response.body) == (200, b"up 1\n")
    assert response.headers["content-type"] == "text/plain"


@pytest.mark.parametrize("peer", ["192.0.2.7", "::2", "::ffff:192.0.2.7", "0.0.0.0", ""])
def test_no_metrics_for_a_remote_peer(peer: str) -> None:
    assert HttpWorld(peer=peer).ask("GET", "/metrics").status == 401


@pytest.mark.parametrize("header", ["Forwarded", "X_Forwarded_For", "X_Real_IP", "Via"])
def test_a_proxied_peer_is_not_local(header: str) -> None:
    assert HttpWorld(peer="127.0.0.1").ask("GET", "/metrics", **{header: "127.0.0.1"}).status == 401


def test_a_peer_on_a_unix_socket_is_not_local(world: HttpWorld) -> None:
    transport = StringTransport(peerAddress=UNIXAddress(b"/run/gateway.sock"))
    connect_to_site(world.site, transport).dataReceived(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    assert transport.value().startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize(
    ("token", "status"),
    [
        ("service:acme:u1", 200),
        ("admin:*:u1", 200),
        ("agent:acme:u1", 403),
        ("visitor:acme:u1", 403),
        ("wallboard:acme:u1", 403),
    ],
)
def test_metrics_by_role(world: HttpWorld, token: str, status: int) -> None:
    assert world.ask("GET", "/metrics", token).status == status


def test_metrics_on_a_listener_of_their_own_require_no_token(world: HttpWorld) -> None:
    world.root.putChild(b"metrics", MetricsResource(exposition, "text/plain"))
    assert world.ask("GET", "/metrics", X_Forwarded_For="192.0.2.1").status == 200
