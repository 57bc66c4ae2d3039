"""The examples of nginx and HAProxy in etc/, in front of two real gateways that share a Redis."""

from __future__ import annotations

import http.client
import json
import re
import secrets
import signal
import socket
import ssl
import struct
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import amp_line
import pytest
import tls_material
from processes import DEADLINE, free_port, run, wait_until
from proxy_process import CLIENT, ETC, Proxy
from raw_socket import RawPeer

ALERT = {"tenant_id": "acme", "type": "alert", "payload": {"title": "t", "message": "m"}}
AMP_SECRET = "0123456789abcdef"


class Cluster:
    """Two gateways on one Redis, and a proxy in front of them; ``options`` are those of ``Proxy``."""

    def __init__(self, start: Callable[..., Any], redis_url: str, folder: Path, name: str, **options: Any) -> None:
        prefix, secret = f"test-{secrets.token_hex(8)}", folder / "secret"
        secret.write_text(secrets.token_hex(32))
        amp_secret = folder / "amp.secret"
        amp_secret.write_text(AMP_SECRET)
        for path in (secret, amp_secret):
            path.chmod(0o600)
        self.nodes: list[Any] = []
        for number in (1, 2):
            settings = {
                "jwt.secret_file": secret,
                "amp.token_file": amp_secret,
                "store.url": redis_url,
                "store.key_prefix": prefix,
                "cluster.node_id": f"node-{number}",
                "web.trusted_proxies": "127.0.0.1",
                "limits.drain_timeout": 8,
            }
            more = [text for key, value in settings.items() for text in ("--set", f"{key}={value}")]
            node = start("", *more, amp=["haproxy:tcp:0:interface=127.0.0.1"])
            node.secret = secret.read_text()
            self.nodes.append(node)
        for node in self.nodes:
            wait_until(lambda node=node: node.http("/readyz")[0] == 200, "the node is ready")
        ports = [(node.port, node.ports["AmpServerFactory"][0]) for node in self.nodes]
        self.proxy = Proxy(folder, name, ports, **options)

    def request(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Make a request through the proxy, from the address of a client."""
        connection = http.client.HTTPSConnection(
            "127.0.0.1",
            self.proxy.web_port,
            context=self.proxy.context,
            timeout=DEADLINE,
            source_address=(CLIENT, 0),
        )
        data = None if body is None else json.dumps(body)
        connection.request(method, path, data, headers or {})
        with connection.getresponse() as response:
            answer = response.status, response.read()
        connection.close()
        return answer

    def publish(self) -> tuple[int, bytes]:
        token = self.nodes[0].token("service", tenant_id="*")
        return self.request("POST", "/ws/events", ALERT, {"Authorization": f"Bearer {token}"})

    def websocket(self, user: str, **headers: str) -> RawPeer:
        """Open a WebSocket through the proxy, from the address of a client, and read the welcome.

        Not with a client that reads in a thread: Python's TLS sockets lose data if two threads use one at a time.
        """
        peer = RawPeer(0, connected=self.proxy.tls(self.proxy.web_port))
        status, _ = peer.handshake(token=self.nodes[0].token("agent", sub=user), **headers)
        assert status == 101
        assert peer.read_message()["type"] == "welcome"
        return peer

    @property
    def log(self) -> str:
        """The logs of both gateways."""
        return "".join(node.log for node in self.nodes)

    def wait_for_log(self, pattern: str) -> None:
        """Wait for a line of one of the gateways."""
        wait_until(lambda: re.search(pattern, self.log), f"{pattern!r} in the log")


@pytest.fixture(params=["nginx", "haproxy"])
def start_cluster(
    request: pytest.FixtureRequest, start_gateway: Callable[..., Any], server: Any, tmp_path: Path
) -> Iterator[Callable[..., Cluster]]:
    with ExitStack() as proxies:

        def start(**options: Any) -> Cluster:
            cluster = Cluster(start_gateway, server.url, tmp_path, request.param, **options)
            proxies.callback(cluster.proxy.stop)
            return cluster

        yield start


@pytest.fixture(scope="module", params=["nginx", "haproxy"])
def cluster(
    request: pytest.FixtureRequest,
    start_shared_gateway: Callable[..., Any],
    server: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Cluster]:
    cluster = Cluster(start_shared_gateway, server.url, tmp_path_factory.mktemp(request.param), request.param)
    yield cluster
    cluster.proxy.stop()


def test_a_websocket(cluster: Cluster) -> None:
    with cluster.websocket("through-the-proxy") as client:
        assert cluster.publish()[0] == 200
        while (message := client.read_message())["type"] != "alert":
            pass
        assert message["payload"] == ALERT["payload"]
    cluster.wait_for_log(rf"acme/through-the-proxy \(.*\) is connected from {CLIENT} at ")


def test_a_client_cannot_claim_another_address(cluster: Cluster) -> None:
    cluster.websocket("liar", X_Forwarded_For="203.0.113.9").socket.close()
    cluster.wait_for_log(rf"acme/liar \(.*\) is connected from {CLIENT} at ")
    assert "203.0.113.9" not in cluster.log


@pytest.mark.parametrize(
    ("path", "status"),
    [
        *[("/schemas/", 200), ("/ws", 426), ("/metrics", 404), ("/readyz", 404), ("/livez", 404), ("/other", 404)],
        *[
            ("/", 200),
            ("/login", 200),
            ("/desk", 200),
            ("/supervisor", 200),
            ("/widget.js", 200),
            ("/live", 200),
            ("/wallboard", 200),
            ("/wallboard?board=floor", 200),
        ],
        *[("/pages/about", 200), ("/client/callcenter-ws-client.js", 200), ("/session/token", 405)],
        *[("/login/x", 404), ("/wallboards", 404), ("/client/", 404), ("/client/other.js", 404)],
    ],
)
def test_http(cluster: Cluster, path: str, status: int) -> None:
    """Schemas are public; metrics and health checks are not served to clients."""
    answered, body = cluster.request("GET", path)
    assert answered == status, body
    if path == "/schemas/":
        assert "call.incoming" in json.dumps(json.loads(body))


@pytest.mark.parametrize("name", ["nginx", "haproxy"])
def test_a_person_signs_in(start_gateway: Callable[..., Any], tmp_path: Path, name: str) -> None:
    gateway = start_gateway("", "--set", "store.url=memory:", "--set", "web.trusted_proxies=127.0.0.1")
    config = ["--config", str(gateway.folder / "callcenter-ws.toml")]
    user = ["user", "add", "anna", "--tenant", "acme", "--role", "agent", "--password-file", "-"]
    assert run(*user, *config, input="correct horse\n").returncode == 0
    with ExitStack() as stack:
        proxy = Proxy(tmp_path, name, [(gateway.port, free_port())])
        stack.callback(proxy.stop)
        page = {"Origin": "https://gateway.example", "Sec-Fetch-Site": "same-origin"}
        login = {"name": "anna", "password": "correct horse"}
        answer = posted(proxy, "/session/login", login, page)
        assert answer.status == 200
        cookie = answer.headers["Set-Cookie"]
        assert cookie.startswith("__Secure-callcenter-session=")
        assert cookie.endswith("; HttpOnly; SameSite=Strict; Secure")
        with_cookie = {**page, "Cookie": cookie.partition(";")[0]}
        assert posted(proxy, "/session/token", {}, with_cookie).status == 200
        for other in (
            {"Origin": "https://evil.example"},
            {"Origin": "http://gateway.example"},
            {"Sec-Fetch-Site": "none"},
        ):
            assert posted(proxy, "/session/token", {}, {**with_cookie, **other}).status == 403


def posted(proxy: Proxy, path: str, body: object, headers: dict[str, str]) -> http.client.HTTPResponse:
    """Send a request as a page of ``gateway.example`` does; return the response."""
    context = ssl.create_default_context(cafile=str(proxy.certificate))
    context.check_hostname = False
    connection = http.client.HTTPSConnection(
        "127.0.0.1", proxy.web_port, timeout=DEADLINE, context=context, source_address=(CLIENT, 0)
    )
    with ExitStack() as stack:
        stack.callback(connection.close)
        given = {"Host": "gateway.example", "Content-Type": "application/json", **headers}
        connection.request("POST", path, json.dumps(body), given)
        response = connection.getresponse()
        response.read()
        return response


def test_daemons(cluster: Cluster) -> None:
    """AMP over TLS; the gateway learns the daemon's address from the PROXY protocol."""
    with cluster.proxy.tls(cluster.proxy.amp_port) as daemon:
        refused = amp_line.call_over(daemon, b"Authenticate", token=b"not the secret")
        assert refused[b"_error_code"] == b"UNAUTHENTICATED", refused
        cluster.wait_for_log(rf"AMP peer {CLIENT}:\d+")
        answer = amp_line.call_over(daemon, b"Authenticate", token=AMP_SECRET.encode())
        assert b"principal" in answer, answer
        assert b"server_time_ms" in amp_line.call_over(daemon, b"Ping")
    assert "AMP peer 127.0.0.1:" not in cluster.log


def test_a_node_that_drains_and_one_that_is_gone_are_avoided_before_a_check(
    start_cluster: Callable[..., Cluster],
) -> None:
    """The third node is gone. Both have fewer connections than the one that serves, so each is tried before it."""
    cluster = start_cluster(check_interval="30s")
    first, _ = cluster.nodes
    # For which the node drains.
    direct = first.connect()
    first.process.send_signal(signal.SIGTERM)
    assert direct.receive_type("drain")
    with ExitStack() as clients:
        for number in range(5):
            assert cluster.request("GET", "/schemas/")[0] == 200
            clients.enter_context(cluster.websocket(f"held-{number}"))
            with cluster.proxy.tls(cluster.proxy.amp_port) as daemon:
                assert b"principal" in amp_line.call_over(daemon, b"Authenticate", token=AMP_SECRET.encode())
    assert direct.close_code() == 4003


def test_a_node_that_drains_and_ends_is_avoided(start_cluster: Callable[..., Cluster]) -> None:
    """Through the proxy, no client notices that a node drains, is gone, and is back."""
    cluster = start_cluster()
    first, second = cluster.nodes
    # Clients of the node itself, for which it drains.
    clients = [first.connect(claims={"sub": f"direct-{number}"}) for number in range(5)]
    first.process.send_signal(signal.SIGTERM)
    for number in range(20):
        cluster.websocket(f"during-{number}").socket.close()
        assert cluster.request("GET", "/schemas/")[0] == 200
    for client in clients:
        assert client.close_code() == 4003
    first.process.wait(DEADLINE)
    for number in range(5):
        cluster.websocket(f"after-{number}").socket.close()
        with cluster.proxy.tls(cluster.proxy.amp_port) as daemon:
            assert b"principal" in amp_line.call_over(daemon, b"Authenticate", token=AMP_SECRET.encode())
        assert cluster.publish()[0] == 200
    wait_until(lambda: second.log.count("acme/after-") >= 5, "the clients in the log of the other node")


def test_the_timeouts_are_longer_than_the_time_between_pings() -> None:
    limits = tomllib.loads((ETC / "callcenter-ws.toml").read_text())["limits"]
    longest = limits["ping_interval"] + limits["ping_timeout"]
    nginx, haproxy = (ETC / "nginx.conf").read_text(), (ETC / "haproxy.cfg").read_text()
    timeouts = re.findall(r"proxy_(?:read|send)_timeout (\d+)s;", nginx)
    timeouts += re.findall(r"timeout (?:client|server|tunnel) +(\d+)s", haproxy)
    assert len(timeouts) == 5
    assert all(int(timeout) > longest for timeout in timeouts), (timeouts, longest)


# The PROXY protocol without a proxy


HEADER = b"PROXY TCP4 203.0.113.7 127.0.0.1 40000 443\r\n"
V2 = b"\r\n\r\n\x00\r\nQUIT\n"
V2_ADDRESSES = socket.inet_aton("203.0.113.8") + socket.inet_aton("127.0.0.1") + struct.pack("!HH", 40_000, 443)
V2_HEADER = V2 + b"\x21\x11" + struct.pack("!H", len(V2_ADDRESSES)) + V2_ADDRESSES


@pytest.fixture(scope="module")
def proxied(start_shared_gateway: Callable[..., Any]) -> Any:
    """A gateway whose ports are for proxies at 127.0.0.1."""
    trusted = ["--set", "web.trusted_proxies=127.0.0.1", "--set", "limits.handshake_timeout=2"]
    return start_shared_gateway(
        "", *trusted, web="haproxy:tcp:0:interface=127.0.0.1", amp=["haproxy:tcp:0:interface=127.0.0.1"]
    )


def answer(port: int, data: bytes, source: str = "127.0.0.1") -> bytes:
    """Send bytes, and return what is received until the connection is closed."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), DEADLINE, source_address=(source, 0)) as peer:
        peer.settimeout(DEADLINE)
        try:
            peer.sendall(data)
            while more := peer.recv(65_536):
                received += more
        except ConnectionResetError:
            pass
    return received


GET = b"GET /ws HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(
    "header",
    [HEADER, V2_HEADER, V2 + b"\x20\x00\x00\x00", b"PROXY UNKNOWN\r\n"],
    ids=["version 1", "version 2", "LOCAL", "UNKNOWN"],
)
def test_a_request_after_the_header(proxied: Any, header: bytes) -> None:
    assert answer(proxied.port, header + GET).startswith(b"HTTP/1.1 426 ")


HOSTILE = {
    "no header": GET,
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    "garbage": bytes(range(256)),
    "an endless line": b"PROXY TCP4 " + b"9" * 100_000,
    "a wrong length": V2 + b"\x21\x11\x00\x04" + V2_ADDRESSES + GET,
    "a length of 64 KiB": V2 + b"\x21\x11\xff\xff" + bytes(70_000),
    "nothing": b"",
    "half a line": HEADER[:20],
    "half a header": V2_HEADER[:20],
    "two headers": HEADER + HEADER + GET,
}


@pytest.mark.parametrize("kind", ["GatewaySite", "AmpServerFactory"])
@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_header_is_closed_without_an_answer(proxied: Any, kind: str, data: bytes) -> None:
    received = answer(proxied.ports[kind][0], data)
    # A second header is what the client sends, and no request.
    assert b"200 OK" not in received
    if data.count(b"PROXY TCP4 203") < 2:
        assert received == b""
    assert answer(proxied.port, HEADER + GET).startswith(b"HTTP/1.1 426 ")


def test_a_peer_that_is_no_proxy_is_refused(proxied: Any) -> None:
    forged = HEADER.replace(b"203.0.113.7", b"203.0.113.99")
    assert answer(proxied.port, forged + GET, source="127.0.0.3") == b""
    wait_until(lambda: "refused a connection from 127.0.0.3: the port is for proxies" in proxied.log, "the log line")
    assert "203.0.113.99" not in proxied.log


def test_the_limits_of_the_clients_network(start_gateway: Callable[..., Any]) -> None:
    """Two clients of one proxy do not count for each other."""
    settings = ["web.trusted_proxies=127.0.0.1", "limits.connections_per_ip=1"]
    gateway = start_gateway(
        "", *[part for setting in settings for part in ("--set", setting)], web="haproxy:tcp:0:interface=127.0.0.1"
    )

    def handshake(address: str) -> tuple[socket.socket, bytes]:
        head = (
            "GET /ws HTTP/1.1\r\nHost: gateway\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
            f"Authorization: Bearer {gateway.token(sub=secrets.token_hex(4))}\r\n\r\n"
        )
        peer = socket.create_connection(("127.0.0.1", gateway.port), DEADLINE)
        peer.sendall(f"PROXY TCP4 {address} 127.0.0.1 40000 443\r\n{head}".encode())
        return peer, peer.recv(12)

    with ExitStack() as peers:
        answers = []
        for address in ("203.0.113.1", "203.0.113.2", "203.0.113.1"):
            peer, start = handshake(address)
            peers.enter_context(peer)
            answers.append(start)
    assert answers == [b"HTTP/1.1 101", b"HTTP/1.1 101", b"HTTP/1.1 429"]


def test_the_header_precedes_tls(start_gateway: Callable[..., Any], tmp_path: Path) -> None:
    certificate, key = tls_material.make_certificate(tmp_path)
    gateway = start_gateway(
        "",
        *["--set", "web.trusted_proxies=127.0.0.1"],
        web=f"haproxy:ssl:0:interface=127.0.0.1:privateKey={key}:certKey={certificate}",
    )
    raw = socket.create_connection(("127.0.0.1", gateway.port), DEADLINE)
    raw.sendall(V2_HEADER)
    context = ssl.create_default_context(cafile=str(certificate))
    with context.wrap_socket(raw, server_hostname="127.0.0.1") as peer:
        peer.sendall(b"GET /ws HTTP/1.1\r\nHost: gateway\r\n\r\n")
        assert peer.recv(100).startswith(b"HTTP/1.1 426 ")
