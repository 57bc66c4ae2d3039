"""Daemons at a running gateway, over real sockets: authentication, all commands, and what WebSocket clients receive."""

from __future__ import annotations

import json
import secrets
import socket
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jwt
import pytest
import pytest_twisted
from processes import DEADLINE, RemoteDaemon, free_port
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredQueue
from twisted.internet.endpoints import clientFromString
from twisted.internet.protocol import Factory
from twisted.protocols import amp
from twisted.python.failure import Failure
from websockets.exceptions import InvalidStatus

from callcenter_ws import __version__
from callcenter_ws.amp import commands

LEGACY_SENDER = Path(__file__).parents[2] / "examples" / "legacy_sender.py"
ALERT = {"title": "Fire drill", "message": "now"}


class AmpGateway:
    """The gateway of this module, with a unix socket, a TCP port and a shared secret."""

    def __init__(self, gateway: Any, secret_file: Path) -> None:
        self.gateway = gateway
        self.secret_file = secret_file
        self.unix = f"unix:{gateway.amp_path}"
        self.tcp = f"tcp:127.0.0.1:{gateway.ports['AmpServerFactory'][0]}"

    @property
    def secret(self) -> str:
        return self.secret_file.read_text().strip()


@pytest.fixture(scope="module")
def secret_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("amp") / "amp.token"
    file.write_text(secrets.token_urlsafe(32) + "\n")
    file.chmod(0o600)
    return file


@pytest.fixture(scope="module")
def amp_gateway(start_shared_gateway: Any, secret_file: Path) -> AmpGateway:
    gateway = start_shared_gateway(
        "[limits]\npresence_grace = 0\n",
        "--set",
        f"amp.token_file={secret_file}",
        amp=["tcp:0:interface=127.0.0.1"],
    )
    return AmpGateway(gateway, secret_file)


class Peer(amp.AMP):
    """A daemon that acknowledges the events that it receives, unless ``silent``."""

    def __init__(self) -> None:
        super().__init__()
        self.received: DeferredQueue[dict[str, Any]] = DeferredQueue()
        self.lost: Deferred[None] = Deferred()
        self.silent = False

    def connectionLost(self, reason: Failure) -> None:
        super().connectionLost(reason)
        self.lost.callback(None)

    @commands.ClientEvent.responder
    def client_event(self, **message: Any) -> Any:
        self.received.put({**message, "payload": json.loads(message["payload"])})
        return Deferred() if self.silent else {}

    async def call(self, command: type[amp.Command], **arguments: Any) -> dict[str, Any]:
        answer: dict[str, Any] = await self.callRemote(command, **arguments).addTimeout(DEADLINE, reactor)
        return answer

    async def publish(self, type_: str, payload: Any, tenant_id: str = "acme", **more: Any) -> dict[str, Any]:
        text = json.dumps(payload, ensure_ascii=False).encode()
        return await self.call(commands.PublishEvent, tenant_id=tenant_id, type=type_, payload=text, **more)

    async def authenticate(self, token: str) -> Any:
        return json.loads((await self.call(commands.Authenticate, token=token))["principal"])

    async def subscribe(self, *kinds: str) -> None:
        await self.call(commands.Subscribe, kinds=json.dumps(kinds).encode())

    async def next_event(self) -> dict[str, Any]:
        message: dict[str, Any] = await self.received.get().addTimeout(DEADLINE, reactor)
        return message


class PublishParts(commands.GatewayCommand):
    """``PublishEvent`` with the parts of the payload as separate arguments, as they are on the wire."""

    commandName = b"PublishEvent"  # noqa: N815 - Twisted's name
    arguments = [  # noqa: RUF012 - Twisted's form
        (b"tenant_id", amp.Unicode()),
        (b"type", amp.Unicode()),
        *[(b"payload.%d" % number if number else b"payload", amp.String()) for number in range(9)],
    ]
    response = commands.PublishEvent.response


@asynccontextmanager
async def connected(endpoint: str) -> AsyncIterator[Peer]:
    peer = await clientFromString(reactor, endpoint).connect(Factory.forProtocol(Peer))
    try:
        yield peer
    finally:
        peer.transport.abortConnection()
        await peer.lost.addTimeout(DEADLINE, reactor)


@pytest.fixture
def watcher(amp_gateway: AmpGateway) -> Iterator[Any]:
    """A connected supervisor."""
    client = amp_gateway.gateway.connect("supervisor")
    yield client
    client.socket.close()


# Authentication


@pytest_twisted.ensureDeferred
async def test_unix_socket_is_for_owner_and_group_and_needs_no_token(amp_gateway: AmpGateway, watcher: Any) -> None:
    assert stat.S_IMODE(amp_gateway.gateway.amp_path.stat().st_mode) == 0o660
    async with connected(amp_gateway.unix) as peer:
        answer = await peer.publish("alert", ALERT)
    received = watcher.receive_type("alert")
    assert (received["id"], received["seq"]) == (answer["event_id"], answer["seq"])
    assert answer["epoch"] == watcher.welcome["payload"]["epoch"]


@pytest_twisted.ensureDeferred
async def test_tcp_peer_must_authenticate_first(amp_gateway: AmpGateway) -> None:
    for command, arguments in (
        (commands.PublishEvent, {"tenant_id": "acme", "type": "alert", "payload": json.dumps(ALERT).encode()}),
        (commands.PublishBatch, {"events": b"[]"}),
        (commands.UserOnline, {"tenant_id": "acme", "user_id": "supervisor-1"}),
        (commands.DisconnectUser, {"tenant_id": "acme", "user_id": "supervisor-1"}),
        (commands.RevokeToken, {"tenant_id": "acme", "user_id": "supervisor-1"}),
        (commands.Subscribe, {"kinds": b'["*"]'}),
    ):
        async with connected(amp_gateway.tcp) as peer:
            with pytest.raises(commands.Unauthenticated):
                await peer.call(command, **arguments)
            # The connection stays open: the peer may authenticate now.
            await peer.authenticate(amp_gateway.secret)


@pytest_twisted.ensureDeferred
async def test_shared_secret_authorizes_for_all_tenants(amp_gateway: AmpGateway) -> None:
    async with connected(amp_gateway.tcp) as peer:
        principal = await peer.authenticate(amp_gateway.secret)
        assert (principal["tenant_id"], principal["role"]) == ("*", "service")
        for tenant in ("acme", "globex"):
            assert (await peer.publish("alert", ALERT, tenant))["seq"] > 0


@pytest_twisted.ensureDeferred
async def test_service_token_authorizes_for_its_tenant(amp_gateway: AmpGateway) -> None:
    async with connected(amp_gateway.tcp) as peer:
        principal = await peer.authenticate(amp_gateway.gateway.token("service", sub="dialer"))
        assert (principal["tenant_id"], principal["user_id"]) == ("acme", "dialer")
        assert (await peer.publish("alert", ALERT))["seq"] > 0
        with pytest.raises(commands.Forbidden, match="tenant_id"):
            await peer.publish("alert", ALERT, "globex")
        with pytest.raises(commands.Forbidden, match="tenant_id"):
            await peer.call(commands.DisconnectUser, tenant_id="globex", user_id="agent-1")
        events = [{"tenant_id": tenant, "type": "alert", "payload": ALERT} for tenant in ("globex", "acme")]
        answer = await peer.call(commands.PublishBatch, events=json.dumps(events).encode())
        refused, seq = json.loads(answer["results"])
        assert refused["code"] == "FORBIDDEN" and seq > 0


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("another secret", commands.Unauthenticated),
        ("an empty secret", commands.Unauthenticated),
        ("an expired token", commands.Unauthenticated),
        ("a token without end", commands.Unauthenticated),
        ("a token signed by another", commands.Unauthenticated),
        ("an unsigned token", commands.Unauthenticated),
        ("an agent's token", commands.Forbidden),
    ],
)
@pytest_twisted.ensureDeferred
async def test_invalid_token_is_refused_and_not_logged(
    amp_gateway: AmpGateway, kind: str, error: type[Exception]
) -> None:
    claims = {"sub": "dialer", "tenant_id": "*", "role": "service", "exp": int(time.time()) + 600}
    token = {
        "another secret": amp_gateway.secret + "x",
        "an empty secret": "",
        "an expired token": amp_gateway.gateway.token("service", exp=int(time.time()) - 60),
        "a token without end": amp_gateway.gateway.token("service", exp=None),
        "a token signed by another": jwt.encode(claims, secrets.token_hex(32), "HS256"),
        "an unsigned token": jwt.encode(claims, None, "none"),
        "an agent's token": amp_gateway.gateway.token("agent"),
    }[kind]
    async with connected(amp_gateway.tcp) as peer:
        with pytest.raises(error):
            await peer.authenticate(token)
        with pytest.raises(commands.Unauthenticated):
            await peer.publish("alert", ALERT)
    assert not token or token not in amp_gateway.gateway.log


# Publishing


@pytest_twisted.ensureDeferred
async def test_invalid_event_of_a_batch_does_not_affect_the_others(amp_gateway: AmpGateway, watcher: Any) -> None:
    events = [
        {"tenant_id": "acme", "type": "alert", "payload": {**ALERT, "title": "first"}},
        {"tenant_id": "acme", "type": "call.ended", "payload": {"unique_id": "1", "duration": "long"}},
        {"tenant_id": "acme", "type": "alert", "payload": {**ALERT, "title": "last"}},
    ]
    async with connected(amp_gateway.unix) as peer:
        answer = await peer.call(commands.PublishBatch, events=json.dumps(events).encode())
    first, refused, last = json.loads(answer["results"])
    assert refused["code"] == "INVALID_EVENT" and "payload.duration" in refused["message"]
    assert last == first + 1
    alerts = [message for message in watcher.received_before_pong() if message["type"] == "alert"]
    assert [(alert["payload"]["title"], alert["seq"]) for alert in alerts] == [("first", first), ("last", last)]


@pytest_twisted.ensureDeferred
async def test_event_id_is_published_once(amp_gateway: AmpGateway, watcher: Any) -> None:
    event_id = secrets.token_hex(8)
    async with connected(amp_gateway.unix) as peer, connected(amp_gateway.unix) as other:
        first = await peer.publish("alert", ALERT, event_id=event_id)
        again = await other.publish("alert", {**ALERT, "title": "another"}, event_id=event_id)
    assert again == first
    assert [m["id"] for m in watcher.received_before_pong() if m["type"] == "alert"] == [event_id]


@pytest_twisted.ensureDeferred
async def test_payload_longer_than_an_amp_value(amp_gateway: AmpGateway, watcher: Any) -> None:
    # Not a multiple of the part size, so that parts split characters.
    text = "\N{WAVING HAND SIGN}é" * 50_000
    async with connected(amp_gateway.unix) as peer:
        await peer.publish("alert", {**ALERT, "log": text})
        text_of_alert = json.dumps({**ALERT, "log": "x" * 524_288}).encode()
        parts = [text_of_alert[start : start + 65_535] for start in range(0, len(text_of_alert), 65_535)]
        named = {f"payload.{number}" if number else "payload": part for number, part in enumerate(parts)}
        with pytest.raises(commands.TooLarge, match="payload"):
            await peer.call(PublishParts, tenant_id="acme", type="alert", **named)
    assert watcher.receive_type("alert")["payload"]["log"] == text


@pytest_twisted.ensureDeferred
async def test_ping_returns_version_and_node(amp_gateway: AmpGateway) -> None:
    async with connected(amp_gateway.unix) as peer:
        answer = await peer.call(commands.Ping)
        assert abs(answer.pop("server_time_ms") - time.time() * 1_000) < 60_000
        assert answer == {"version": __version__, "node": "test-node"}


def test_peer_that_does_not_use_amp_does_not_affect_others(amp_gateway: AmpGateway, watcher: Any) -> None:
    port = amp_gateway.gateway.ports["AmpServerFactory"][0]
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as other:
        other.sendall(b"GET / HTTP/1.1\r\nHost: gateway\r\n\r\n")
        assert other.recv(1024) == b""
    assert amp_gateway.gateway.publish("alert", ALERT)["seq"] == watcher.receive_type("alert")["seq"]


# Users


@pytest_twisted.ensureDeferred
async def test_user_online_counts_connections(amp_gateway: AmpGateway) -> None:
    async def online(tenant_id: str) -> dict[str, Any]:
        return await peer.call(commands.UserOnline, tenant_id=tenant_id, user_id="counted")

    async with connected(amp_gateway.unix) as peer:
        assert await online("acme") == {"online": False, "connections": 0}
        clients = [amp_gateway.gateway.connect(claims={"sub": "counted"}) for _ in range(2)]
        assert await online("acme") == {"online": True, "connections": 2}
        assert await online("globex") == {"online": False, "connections": 0}
        for client in clients:
            client.socket.close()
        assert await online("acme") == {"online": False, "connections": 0}


@pytest_twisted.ensureDeferred
async def test_disconnect_user_closes_all_connections_of_the_user(amp_gateway: AmpGateway, watcher: Any) -> None:
    gateway = amp_gateway.gateway
    clients = [gateway.connect(claims={"sub": "leaving"}) for _ in range(2)]
    namesake = gateway.connect(claims={"sub": "leaving", "tenant_id": "globex"})
    async with connected(amp_gateway.unix) as peer:
        answer = await peer.call(commands.DisconnectUser, tenant_id="acme", user_id="leaving", reason="shift is over")
        assert answer == {"closed": 2}
    assert [client.close_code() for client in clients] == [4503, 4503]
    assert namesake.request("ping")["type"] == watcher.request("ping")["type"] == "pong"
    # The token was not revoked: the user may reconnect.
    gateway.connect(claims={"sub": "leaving"}).socket.close()
    namesake.socket.close()


def refused_status(gateway: Any, token: str) -> int:
    with pytest.raises(InvalidStatus) as refused:
        gateway.connect(token=token)
    return refused.value.response.status_code


@pytest_twisted.ensureDeferred
async def test_revoked_token_is_refused(amp_gateway: AmpGateway) -> None:
    gateway = amp_gateway.gateway
    token, other = (gateway.token(sub="nina", jti=jti) for jti in ("stolen", "another"))
    client, other_client = gateway.connect(token=token), gateway.connect(token=other)
    async with connected(amp_gateway.unix) as peer:
        assert await peer.call(commands.RevokeToken, tenant_id="acme", jti="stolen") == {"closed": 1}
    assert client.close_code() == 4503
    assert refused_status(gateway, token) == 401
    # Browsers cannot read the HTTP status: they get a close code.
    browser = gateway.raw_connect("/ws", subprotocols=["callcenter.v1", f"bearer.{token}"])
    assert json.loads(browser.recv(timeout=DEADLINE))["payload"]["code"] == "unauthorized"
    assert type(other_client)(browser).close_code() == 4500
    assert other_client.request("ping")["type"] == "pong"
    other_client.socket.close()
    gateway.connect(token=gateway.token(sub="nina", jti="stolen", tenant_id="globex")).socket.close()


@pytest_twisted.ensureDeferred
async def test_revoked_user_needs_a_newer_token(amp_gateway: AmpGateway) -> None:
    gateway = amp_gateway.gateway
    token = gateway.token(sub="omar")
    clients = [gateway.connect(token=token), gateway.connect(token=gateway.token(sub="omar", jti="second"))]
    async with connected(amp_gateway.unix) as peer:
        assert await peer.call(commands.RevokeToken, tenant_id="acme", user_id="omar") == {"closed": 2}
    assert [client.close_code() for client in clients] == [4503, 4503]
    assert refused_status(gateway, token) == 401
    # The clock of the issuer may be ahead by seconds, without any sign of it in the tokens seen so far.
    assert refused_status(gateway, gateway.token(sub="omar", iat=time.time() + 3)) == 401
    gateway.connect(token=gateway.token(sub="omar", iat=time.time() + 10)).socket.close()


@pytest_twisted.ensureDeferred
async def test_revoke_without_jti_and_user_is_refused(amp_gateway: AmpGateway) -> None:
    async with connected(amp_gateway.unix) as peer:
        with pytest.raises(commands.InvalidEvent, match="jti or user_id"):
            await peer.call(commands.RevokeToken, tenant_id="acme")


# Subscriptions


@pytest_twisted.ensureDeferred
async def test_daemon_receives_messages_of_visitors(amp_gateway: AmpGateway) -> None:
    visitor = amp_gateway.gateway.connect("visitor", claims={"name": "Zoe", "session_id": "chat-9", "sub": "zoe"})
    async with connected(amp_gateway.unix) as peer, connected(amp_gateway.tcp) as other_tenant:
        await other_tenant.authenticate(amp_gateway.gateway.token("service", tenant_id="globex"))
        await other_tenant.subscribe("*")
        await peer.subscribe("chat.*")
        # Events of daemons are not sent to daemons.
        chat = {"session_id": "chat-9", "message_id": "1", "sender_id": "7", "sender_type": "agent", "body": "Hello"}
        await peer.publish("chat.message", chat)
        accepted = visitor.request(
            "chat.message", {"session_id": "chat-9", "body": "Hi", "sender_id": "boss", "sender_type": "agent"}
        )
        # The gateway opened the session.
        started = await peer.next_event()
        assert (started["type"], started["payload"]["visitor_name"]) == ("chat.session.started", "Zoe")
        event = await peer.next_event()
        assert (event["tenant_id"], event["type"]) == ("acme", "chat.message")
        assert event["event_id"] == accepted["payload"]["id"]
        assert event["payload"] == {
            "session_id": "chat-9",
            "message_id": accepted["payload"]["message_id"],
            "sender_id": "zoe",
            "sender_type": "visitor",
            "sender_name": "Zoe",
            "body": "Hi",
        }
        await peer.call(commands.Ping)
        await other_tenant.call(commands.Ping)
        assert (peer.received.size, len(peer.received.pending), len(other_tenant.received.pending)) == (None, 0, 0)
    visitor.socket.close()


@pytest_twisted.ensureDeferred
async def test_daemon_receives_presence_changes(amp_gateway: AmpGateway) -> None:
    async with connected(amp_gateway.unix) as peer:
        await peer.subscribe("presence.changed")
        amp_gateway.gateway.connect(claims={"sub": "passing-by"}).socket.close()
        arrival, departure = [await peer.next_event(), await peer.next_event()]
    for event, online in ((arrival, True), (departure, False)):
        assert (event["type"], event["payload"]["user_id"]) == ("presence.changed", "passing-by")
        assert event["payload"]["online"] is online


@pytest_twisted.ensureDeferred
async def test_unacknowledged_event_is_sent_again(amp_gateway: AmpGateway) -> None:
    visitor = amp_gateway.gateway.connect("visitor", claims={"session_id": "chat-10", "sub": "mia"})
    async with connected(amp_gateway.unix) as peer:
        peer.silent = True
        await peer.subscribe("chat.message")
        visitor.request("chat.message", {"session_id": "chat-10", "body": "first"})
        first = await peer.next_event()
    visitor.request("chat.message", {"session_id": "chat-10", "body": "second"})
    async with connected(amp_gateway.unix) as peer:
        await peer.subscribe("chat.message")
        again, second = await peer.next_event(), await peer.next_event()
    assert again == first
    assert second["payload"]["body"] == "second"
    visitor.socket.close()


@pytest_twisted.ensureDeferred
async def test_unknown_kind_is_refused(amp_gateway: AmpGateway) -> None:
    async with connected(amp_gateway.unix) as peer:
        with pytest.raises(commands.InvalidEvent, match="kinds"):
            await peer.subscribe("chat.*", "weather.*")


# Real daemons


def test_remote_broadcaster_in_another_process(amp_gateway: AmpGateway) -> None:
    gateway = amp_gateway.gateway
    daemon = RemoteDaemon(amp_gateway.tcp, amp_gateway.secret_file)
    version, node, server_time_ms = daemon.call("ping")
    assert (version, node) == (__version__, "test-node")
    assert isinstance(server_time_ms, int)
    daemon.call("subscribe", ["chat.message"])
    visitor = gateway.connect("visitor", claims={"session_id": "chat-11", "sub": "ada"})
    visitor.request("chat.message", {"session_id": "chat-11", "body": "Hi"})
    event = daemon.next_message()
    assert (event["tenant_id"], event["payload"]["body"]) == ("acme", "Hi")
    agent = gateway.connect(claims={"sub": "remote-1", "jti": "remote-1"})
    presence = daemon.call("user_online", "acme", "remote-1")
    assert (presence["online"], presence["connections"]) == (True, 1)
    assert daemon.call("disconnect_user", "acme", "remote-1") == 1
    assert agent.close_code() == 4503
    assert daemon.call("revoke_token", "acme", jti="remote-1") == 0
    assert refused_status(gateway, gateway.token(sub="remote-1", jti="remote-1")) == 401
    refused = daemon.response(daemon.start_call("publish", "acme", "call.ended", {"unique_id": "1"}))
    assert refused["refused"] == "invalid_event" and "payload.duration" in refused["reason"]
    large = daemon.call("send_alert", "acme", "large", "x" * 200_000)
    assert large["seq"] > 0
    visitor.socket.close()
    assert daemon.wait() == 0


def test_daemon_survives_a_restart_of_the_gateway(start_gateway: Any, secret_file: Path) -> None:
    port = free_port()
    arguments = ("", "--set", f"amp.token_file={secret_file}")
    first = start_gateway(*arguments, amp=[f"tcp:{port}:interface=127.0.0.1"])
    daemon = RemoteDaemon(f"tcp:127.0.0.1:{port}", secret_file)
    epoch = daemon.call("send_alert", "acme", "before", "…")["epoch"]
    first.process.kill()
    first.process.wait(DEADLINE)
    numbers = [daemon.start_call("send_alert", "acme", f"meanwhile {number}", "…") for number in range(5)]
    second = start_gateway(*arguments, amp=[f"tcp:{port}:interface=127.0.0.1"])
    answers = [daemon.response(number)["result"] for number in numbers]
    assert {answer["epoch"] for answer in answers}.isdisjoint({epoch})
    assert [answer["seq"] for answer in answers] == [1, 2, 3, 4, 5]
    watcher = second.connect("supervisor", f"/ws?epoch={answers[0]['epoch']}&seq=0")
    titles = [watcher.receive_type("alert")["payload"]["title"] for _ in numbers]
    assert titles == [f"meanwhile {number}" for number in range(5)]
    watcher.socket.close()
    assert daemon.wait() == 0


@pytest.mark.parametrize("way", ["unix", "tcp"])
def test_legacy_sender(amp_gateway: AmpGateway, watcher: Any, way: str) -> None:
    arguments = [amp_gateway.unix] if way == "unix" else [amp_gateway.tcp, "--token-file", str(amp_gateway.secret_file)]
    agent = amp_gateway.gateway.connect(claims={"sub": "7"})
    watcher.received_before_pong()
    sent = subprocess.run(
        [sys.executable, str(LEGACY_SENDER), *arguments],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert (sent.returncode, sent.stderr) == (0, "")
    published = [(int(seq), type_) for seq, type_ in (line.split() for line in sent.stdout.splitlines())]
    # presence.changed of the agent may be published before or after the sender starts.
    received = [m for m in watcher.received_before_pong() if m["type"] != "presence.changed"]
    assert [(m["seq"], m["type"]) for m in received] == [pair for pair in published if pair[1] != "notification"]
    (note,) = [m for m in agent.received_before_pong() if m["type"] == "notification"]
    assert (note["user_id"], note["seq"]) == ("7", published[-1][0])
    (ended,) = [m for m in received if m["type"] == "call.ended"]
    assert len(ended["payload"]["variables"]["transcript"]) == 4000
    assert ended["payload"]["caller_name"] == "Zoé Dupont"
    agent.socket.close()


def test_legacy_sender_prints_the_error(amp_gateway: AmpGateway, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.token"
    wrong.write_text("wrong")
    for arguments in ([], ["--token-file", str(wrong)]):
        sent = subprocess.run(
            [sys.executable, str(LEGACY_SENDER), amp_gateway.tcp, *arguments],
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        assert sent.returncode == 1
        assert sent.stderr.startswith("UNAUTHENTICATED: ")
