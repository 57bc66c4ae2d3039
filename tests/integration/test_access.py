"""Who may connect: keys that rotate, limits reached by dead connections, revocations, and pages of other sites."""

from __future__ import annotations

import json
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import amp_line
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from processes import DEADLINE, wait_until
from raw_socket import RawPeer
from websockets.exceptions import ConnectionClosed, InvalidStatus

DESK = "https://desk.example"


class Issuer:
    """An issuer of tokens that publishes its keys.

    Attributes:
        fetches: how often the keys were fetched.
        is_down: whether fetches fail.
    """

    def __init__(self) -> None:
        self.fetches = 0
        self.is_down = False
        self._keys: dict[str, Any] = {}
        issuer = self

        class Page(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.fetches += 1
                body = json.dumps({"keys": issuer.published}).encode()
                self.send_response(503 if issuer.is_down else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
        self.url = f"http://127.0.0.1:{self.server.server_port}/keys"
        self.published: list[dict[str, Any]] = []

    def rotate(self, kid: str) -> None:
        """Publish a new key, and no other."""
        self.published = [self.key(kid)]

    def key(self, kid: str) -> dict[str, Any]:
        """Return the public part of a key."""
        private = self._keys.setdefault(kid, ec.generate_private_key(ec.SECP256R1()))
        return {**ECAlgorithm.to_jwk(private.public_key(), as_dict=True), "kid": kid, "alg": "ES256", "use": "sig"}

    def token(self, kid: str, **claims: Any) -> str:
        """Return a token that is signed with a key."""
        self.key(kid)
        now = int(time.time())
        all_claims = {"sub": "101", "tenant_id": "acme", "role": "agent", "iat": now, "exp": now + 600, **claims}
        return jwt.encode(all_claims, self._keys[kid], "ES256", headers={"kid": kid})


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    issuer = Issuer()
    thread = threading.Thread(target=issuer.server.serve_forever, daemon=True)
    thread.start()
    yield issuer
    issuer.server.shutdown()
    issuer.server.server_close()
    thread.join(DEADLINE)


@pytest.fixture
def start_with_issuer(start_gateway: Callable[..., Any], issuer: Issuer) -> Callable[[], Any]:
    def start() -> Any:
        return start_gateway("", "--set", f"jwt.jwks_url={issuer.url}", "--set", "jwt.algorithms=HS256,ES256")

    return start


def browse(gateway: Any, token: str, path: str = "/ws", **options: Any) -> tuple[str, dict[str, Any], int | None]:
    """Connect as a browser does; return the type and payload of the first message, and the close code if refused."""
    socket = gateway.raw_connect(path, subprotocols=["callcenter.v1", f"bearer.{token}"], **options)
    first = json.loads(socket.recv(timeout=DEADLINE))
    code = None
    if first["type"] == "error":
        with pytest.raises(ConnectionClosed) as caught:
            socket.recv(timeout=DEADLINE)
        assert caught.value.rcvd is not None
        code = caught.value.rcvd.code
    else:
        socket.close()
    return first["type"], first["payload"], code


def browse_until(gateway: Any, token: str, wanted: Callable[[str, int | None], bool]) -> list[int | None]:
    """Reconnect as clients do, as long as the close code permits it; return the close codes before the wanted end."""
    codes: list[int | None] = []
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        type_, payload, code = browse(gateway, token)
        if wanted(type_, code):
            return codes
        codes.append(code)
        assert code is not None and code < 4500, (payload, code)
        assert payload["retry_after_ms"] > 0
        wait_for(payload["retry_after_ms"] / 1000)
    raise AssertionError(codes)


def wait_for(seconds: float) -> None:
    """Wait as long as a refusal says, in steps that end early with the process."""
    threading.Event().wait(min(seconds, DEADLINE))


def test_a_key_that_the_issuer_has_just_published_is_accepted_soon(
    start_with_issuer: Callable[[], Any], issuer: Issuer
) -> None:
    issuer.rotate("first")
    gateway = start_with_issuer()
    browse_until(gateway, issuer.token("first"), lambda type_, _: type_ == "welcome")
    issuer.rotate("second")
    new = issuer.token("second")
    before = issuer.fetches
    type_, payload, code = browse(gateway, new)
    assert (type_, payload["code"], code) == ("error", "unavailable", 4006)
    assert 0 < payload["retry_after_ms"] <= 2000
    assert browse_until(gateway, new, lambda type_, _: type_ == "welcome") in ([], [4006])
    assert issuer.fetches == before + 1
    status, _ = gateway.http("/ws/stats", token=new)
    assert status == 200
    # A key that no fetch finds is refused for good.
    old = issuer.token("never published")
    assert browse_until(gateway, old, lambda _, code: code == 4500)
    assert issuer.fetches == before + 2
    with pytest.raises(InvalidStatus) as caught:
        gateway.raw_connect("/ws", additional_headers={"Authorization": f"Bearer {old}"})
    assert caught.value.response.status_code == 401


def test_unknown_keys_cause_a_bounded_number_of_fetches(start_with_issuer: Callable[[], Any], issuer: Issuer) -> None:
    issuer.rotate("first")
    gateway = start_with_issuer()
    browse_until(gateway, issuer.token("first"), lambda type_, _: type_ == "welcome")
    before, began = issuer.fetches, time.monotonic()
    payload, rest = issuer.token("first").split(".")[1:]
    statuses = set()
    for number in range(100):
        header = urlsafe_b64encode(f'{{"alg":"ES256","kid":"random-{number:03}"}}'.encode()).decode().rstrip("=")
        statuses.add(gateway.http("/ws/stats", token=f"{header}.{payload}.{rest}")[0])
    assert statuses <= {503, 429}
    assert issuer.fetches - before <= 2 + (time.monotonic() - began) / 10
    # Users with a new key are not locked out.
    issuer.rotate("second")
    browse_until(gateway, issuer.token("second"), lambda type_, _: type_ == "welcome")


def test_while_the_issuer_is_down_clients_are_told_to_come_back(
    start_with_issuer: Callable[[], Any], issuer: Issuer
) -> None:
    issuer.rotate("first")
    issuer.is_down = True
    gateway = start_with_issuer()
    token = issuer.token("first")
    assert browse(gateway, token)[2] == 4006
    with pytest.raises(InvalidStatus) as caught:
        gateway.raw_connect("/ws", additional_headers={"Authorization": f"Bearer {token}"})
    assert caught.value.response.status_code == 503
    assert int(caught.value.response.headers["Retry-After"]) > 0
    issuer.is_down = False
    browse_until(gateway, token, lambda type_, _: type_ == "welcome")


def test_half_open_connections_make_room(start_gateway: Callable[..., Any]) -> None:
    gateway = start_gateway("", "--set", "limits.connections_per_user=3")
    token = gateway.token()
    living = gateway.connect(token=token)
    dead = []
    for _ in range(2):
        # They answer no ping.
        peer = RawPeer(gateway.port)
        assert peer.handshake(token=token)[0] == 101
        assert peer.read_message()["type"] == "welcome"
        dead.append(peer)
    type_, payload, code = browse(gateway, token)
    assert (type_, payload["code"], code) == ("error", "rate_limited", 4006)
    answering = threading.Thread(target=living.close_code, daemon=True)
    answering.start()
    assert browse_until(gateway, token, lambda type_, _: type_ == "welcome") in ([], [4006])
    for peer in dead:
        frames = [peer.read_frame() for _ in range(2)]
        assert [opcode for opcode, _ in frames] == [9, 8]
        assert int.from_bytes(frames[1][1][:2], "big") == 4002
        peer.socket.close()
    assert answering.is_alive()
    living.socket.close()
    answering.join(DEADLINE)


def test_living_connections_are_not_replaced(start_gateway: Callable[..., Any]) -> None:
    gateway = start_gateway("", "--set", "limits.connections_per_user=2")
    token = gateway.token()
    clients = [gateway.connect(token=token) for _ in range(2)]
    assert browse_until(gateway, token, lambda _, code: code == 4504) == [4006]
    with pytest.raises(InvalidStatus) as caught:
        gateway.raw_connect("/ws", additional_headers={"Authorization": f"Bearer {token}"})
    assert caught.value.response.status_code == 429
    for client in clients:
        assert client.request("ping")["type"] == "pong"
        client.socket.close()


def test_the_oldest_connection_is_replaced(start_gateway: Callable[..., Any]) -> None:
    gateway = start_gateway(
        "", "--set", "limits.connections_per_user=2", "--set", "policy.over_user_limit=replace_oldest"
    )
    token = gateway.token()
    clients = [gateway.connect(token=token) for _ in range(4)]
    assert [client.close_code() for client in clients[:2]] == [4505, 4505]
    for client in clients[2:]:
        assert client.request("ping")["type"] == "pong"
        client.socket.close()


def revoke(gateway: Any, **arguments: str) -> int:
    """Call ``RevokeToken`` and return how many connections were closed."""
    encoded = {name: value.encode() for name, value in arguments.items()}
    return int(amp_line.call(gateway.amp_path, b"RevokeToken", tenant_id=b"acme", **encoded)[b"closed"])


def test_a_user_whose_issuer_is_ahead_is_revoked_also_after_a_restart(start_gateway: Callable[..., Any]) -> None:
    gateway = start_gateway()
    ahead = int(time.time()) + 3
    tokens = [gateway.token(sub="eve", iat=iat) for iat in (ahead, ahead - 10, None)]
    unused = gateway.token(sub="eve", iat=ahead, jti="unused")
    clients = [gateway.connect(token=token) for token in tokens]
    assert revoke(gateway, user_id="eve") == 3
    assert [client.close_code() for client in clients] == [4503] * 3
    for token in (*tokens, unused):
        assert browse(gateway, token)[2] == 4500
    gateway.wait_until_delivered()
    gateway.process.kill()
    gateway.process.wait(DEADLINE)
    store = f"store.url=sqlite:{gateway.folder}/callcenter-ws.sqlite"
    restarted = start_gateway("", "--set", store, "--set", f"jwt.secret_file={gateway.folder}/secret")
    # Also when the iat of the tokens has passed.
    wait_until(lambda: time.time() > ahead, "the time of the tokens")
    for token in (*tokens, unused):
        assert browse(restarted, token)[2] == 4500


def test_a_token_for_a_user_that_was_revoked_is_accepted_if_it_is_issued_later(
    start_gateway: Callable[..., Any],
) -> None:
    gateway = start_gateway()
    ahead = int(time.time()) + 3
    client = gateway.connect(token=gateway.token(sub="eve", iat=ahead))
    assert revoke(gateway, user_id="eve") == 1
    assert client.close_code() == 4503
    # At the latest twice the lead of the issuer's clock and two seconds later.
    assert browse(gateway, gateway.token(sub="eve", iat=ahead + 9))[0] == "welcome"


def test_preflight_and_schemas(start_gateway: Callable[..., Any]) -> None:
    gateway = start_gateway("", "--set", f"web.allowed_origins={DESK},capacitor://localhost")
    for origin, path in ((DESK, b"/ws/snapshot"), ("capacitor://localhost", b"/ws/stats")):
        with RawPeer(gateway.port) as peer:
            peer.send(
                b"OPTIONS %s HTTP/1.1\r\nHost: gateway\r\nOrigin: %s\r\n"
                b"Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: authorization\r\n\r\n"
                % (path, origin.encode())
            )
            status, headers = peer.read_head()
            assert (status, headers["access-control-allow-origin"]) == (204, origin)
            assert "authorization" in headers["access-control-allow-headers"].lower()
            # On the same connection: the error is readable, too.
            peer.send(b"GET %s HTTP/1.1\r\nHost: gateway\r\nOrigin: %s\r\n\r\n" % (path, origin.encode()))
            status, headers = peer.read_head()
            assert (status, headers["access-control-allow-origin"]) == (401, origin)
            assert "access-control-allow-credentials" not in headers
        token = gateway.token()
        assert browse(gateway, token, origin=origin)[0] == "welcome"
    status, schema = gateway.http("/schemas/call.incoming")
    assert (status, schema["properties"]["type"]) == (200, {"const": "call.incoming"})


def test_the_origin_of_another_site_is_named(start_gateway: Callable[..., Any]) -> None:
    gateway = start_gateway()
    own = f"http://127.0.0.1:{gateway.port}"
    assert browse(gateway, gateway.token(), origin=own)[0] == "welcome"
    with pytest.raises(InvalidStatus) as caught:
        browse(gateway, gateway.token(), origin="ionic://localhost")
    assert caught.value.response.status_code == 403
    text = "the Origin 'ionic://localhost' is not listed in web.allowed_origins"
    assert json.loads(caught.value.response.body)["error"]["message"] == text
    wait_until(lambda: text in gateway.log, "the reason in the log")
