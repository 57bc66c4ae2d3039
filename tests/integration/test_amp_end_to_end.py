"""Daemons at a running gateway, over real sockets: who may speak, what is answered, what clients notice of it."""

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


class Place:
    """The gateway of this module: with a unix socket, a TCP port, and a shared secret."""

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
def place(start_shared_gateway: Any, secret_file: Path) -> Place:
    gateway = start_shared_gateway(
        "[limits]\npresence_grace = 0\n",
        "--set",
        f"amp.token_file={secret_file}",
        amp=["tcp:0:interface=127.0.0.1"],
    )
    return Place(gateway, secret_file)


class Peer(amp.AMP):
    """A daemon that answers what it is called with, unless ``silent``."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: DeferredQueue[dict[str, Any]] = DeferredQueue()
        self.gone: Deferred[None] = Deferred()
        self.silent = False

    def connectionLost(self, reason: Failure) -> None:
        super().connectionLost(reason)
        self.gone.callback(None)

    @commands.ClientEvent.responder
    def client_event(self, **message: Any) -> Any:
        self.heard.put({**message, "payload": json.loads(message["payload"])})
        return Deferred() if self.silent else {}

    async def ask(self, command: type[amp.Command], **arguments: Any) -> dict[str, Any]:
        answer: dict[str, Any] = await self.callRemote(command, **arguments).addTimeout(DEADLINE, reactor)
        return answer

    async def publish(self, type_: str, payload: Any, tenant_id: str = "acme", **more: Any) -> dict[str, Any]:
        text = json.dumps(payload, ensure_ascii=False).encode()
        return await self.ask(commands.PublishEvent, tenant_id=tenant_id, type=type_, payload=text, **more)

    async def authenticate(self, token: str) -> Any:
        return json.loads((await self.ask(commands.Authenticate, token=token))["principal"])

    async def subscribe(self, *kinds: str) -> None:
        await self.ask(commands.Subscribe, kinds=json.dumps(kinds).encode())

    async def hear(self) -> dict[str, Any]:
        message: dict[str, Any] = await self.heard.get().addTimeout(DEADLINE, reactor)
        return message


class PublishParts(commands.GatewayCommand):
    """``PublishEvent`` with the parts of the payload as the arguments that they are on the wire."""

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
        await peer.gone.addTimeout(DEADLINE, reactor)


@pytest.fixture
def watcher(place: Place) -> Iterator[Any]:
    """A supervisor who is connected."""
    client = place.gateway.connect("supervisor")
    yield client
    client.socket.close()


# Who may speak


@pytest_twisted.ensureDeferred
async def test_the_unix_socket_is_for_owner_and_group_and_needs_no_token(place: Place, watcher: Any) -> None:
    assert stat.S_IMODE(place.gateway.amp_path.stat().st_mode) == 0o660
    async with connected(place.unix) as peer:
        answer = await peer.publish("alert", ALERT)
    received = watcher.receive_type("alert")
    assert (received["id"], received["seq"]) == (answer["event_id"], answer["seq"])
    assert answer["epoch"] == watcher.welcome["payload"]["epoch"]


@pytest_twisted.ensureDeferred
async def test_a_peer_on_tcp_does_nothing_before_it_is_known(place: Place) -> None:
    for command, arguments in (
        (commands.PublishEvent, {"tenant_id": "acme", "type": "alert", "payload": json.dumps(ALERT).encode()}),
        (commands.PublishBatch, {"events": b"[]"}),
        (commands.UserOnline, {"tenant_id": "acme", "user_id": "supervisor-1"}),
        (commands.DisconnectUser, {"tenant_id": "acme", "user_id": "supervisor-1"}),
        (commands.RevokeToken, {"tenant_id": "acme", "user_id": "supervisor-1"}),
        (commands.Subscribe, {"kinds": b'["*"]'}),
    ):
        async with connected(place.tcp) as peer:
            with pytest.raises(commands.Unauthenticated):
                await peer.ask(command, **arguments)
            # The link lives: a peer may do first things first then.
            await peer.authenticate(place.secret)


@pytest_twisted.ensureDeferred
async def test_the_shared_secret_speaks_for_all_tenants(place: Place) -> None:
    async with connected(place.tcp) as peer:
        principal = await peer.authenticate(place.secret)
        assert (principal["tenant_id"], principal["role"]) == ("*", "service")
        for tenant in ("acme", "globex"):
            assert (await peer.publish("alert", ALERT, tenant))["seq"] > 0


@pytest_twisted.ensureDeferred
async def test_a_service_token_speaks_for_its_tenant(place: Place) -> None:
    async with connected(place.tcp) as peer:
        principal = await peer.authenticate(place.gateway.token("service", sub="dialer"))
        assert (principal["tenant_id"], principal["user_id"]) == ("acme", "dialer")
        assert (await peer.publish("alert", ALERT))["seq"] > 0
        with pytest.raises(commands.Forbidden, match="tenant_id"):
            await peer.publish("alert", ALERT, "globex")
        with pytest.raises(commands.Forbidden, match="tenant_id"):
            await peer.ask(commands.DisconnectUser, tenant_id="globex", user_id="agent-1")
        events = [{"tenant_id": tenant, "type": "alert", "payload": ALERT} for tenant in ("globex", "acme")]
        answer = await peer.ask(commands.PublishBatch, events=json.dumps(events).encode())
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
async def test_a_wrong_token_is_refused_and_not_logged(place: Place, kind: str, error: type[Exception]) -> None:
    claims = {"sub": "dialer", "tenant_id": "*", "role": "service", "exp": int(time.time()) + 600}
    token = {
        "another secret": place.secret + "x",
        "an empty secret": "",
        "an expired token": place.gateway.token("service", exp=int(time.time()) - 60),
        "a token without end": place.gateway.token("service", exp=None),
        "a token signed by another": jwt.encode(claims, secrets.token_hex(32), "HS256"),
        "an unsigned token": jwt.encode(claims, None, "none"),
        "an agent's token": place.gateway.token("agent"),
    }[kind]
    async with connected(place.tcp) as peer:
        with pytest.raises(error):
            await peer.authenticate(token)
        with pytest.raises(commands.Unauthenticated):
            await peer.publish("alert", ALERT)
    assert not token or token not in place.gateway.log


# Publishing


@pytest_twisted.ensureDeferred
async def test_one_bad_event_does_not_lose_the_others(place: Place, watcher: Any) -> None:
    events = [
        {"tenant_id": "acme", "type": "alert", "payload": {**ALERT, "title": "first"}},
        {"tenant_id": "acme", "type": "call.ended", "payload": {"unique_id": "1", "duration": "long"}},
        {"tenant_id": "acme", "type": "alert", "payload": {**ALERT, "title": "last"}},
    ]
    async with connected(place.unix) as peer:
        answer = await peer.ask(commands.PublishBatch, events=json.dumps(events).encode())
    first, refused, last = json.loads(answer["results"])
    assert refused["code"] == "INVALID_EVENT" and "payload.duration" in refused["message"]
    assert last == first + 1
    alerts = [message for message in watcher.received_before_pong() if message["type"] == "alert"]
    assert [(alert["payload"]["title"], alert["seq"]) for alert in alerts] == [("first", first), ("last", last)]


@pytest_twisted.ensureDeferred
async def test_an_event_id_is_published_once(place: Place, watcher: Any) -> None:
    event_id = secrets.token_hex(8)
    async with connected(place.unix) as peer, connected(place.unix) as other:
        first = await peer.publish("alert", ALERT, event_id=event_id)
        again = await other.publish("alert", {**ALERT, "title": "another"}, event_id=event_id)
    assert again == first
    assert [m["id"] for m in watcher.received_before_pong() if m["type"] == "alert"] == [event_id]


@pytest_twisted.ensureDeferred
async def test_what_is_larger_than_a_value_of_amp_arrives_whole(place: Place, watcher: Any) -> None:
    # No multiple of the length of a part, and not ASCII at the joints.
    text = "\N{WAVING HAND SIGN}é" * 50_000
    async with connected(place.unix) as peer:
        await peer.publish("alert", {**ALERT, "log": text})
        text_of_alert = json.dumps({**ALERT, "log": "x" * 524_288}).encode()
        parts = [text_of_alert[start : start + 65_535] for start in range(0, len(text_of_alert), 65_535)]
        named = {f"payload.{number}" if number else "payload": part for number, part in enumerate(parts)}
        with pytest.raises(commands.TooLarge, match="payload"):
            await peer.ask(PublishParts, tenant_id="acme", type="alert", **named)
    assert watcher.receive_type("alert")["payload"]["log"] == text


@pytest_twisted.ensureDeferred
async def test_ping_names_version_and_node(place: Place) -> None:
    async with connected(place.unix) as peer:
        assert await peer.ask(commands.Ping) == {"version": __version__, "node": "test-node"}


def test_a_peer_that_does_not_speak_amp_harms_nobody(place: Place, watcher: Any) -> None:
    port = place.gateway.ports["AmpServerFactory"][0]
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\nHost: gateway\r\n\r\n")
        assert stranger.recv(1024) == b""
    assert place.gateway.publish("alert", ALERT)["seq"] == watcher.receive_type("alert")["seq"]


# Users


@pytest_twisted.ensureDeferred
async def test_user_online_counts_connections(place: Place) -> None:
    async def online(tenant_id: str) -> dict[str, Any]:
        return await peer.ask(commands.UserOnline, tenant_id=tenant_id, user_id="counted")

    async with connected(place.unix) as peer:
        assert await online("acme") == {"online": False, "connections": 0}
        clients = [place.gateway.connect(claims={"sub": "counted"}) for _ in range(2)]
        assert await online("acme") == {"online": True, "connections": 2}
        assert await online("globex") == {"online": False, "connections": 0}
        for client in clients:
            client.socket.close()
        assert await online("acme") == {"online": False, "connections": 0}


@pytest_twisted.ensureDeferred
async def test_disconnect_user_closes_all_of_a_users_connections(place: Place, watcher: Any) -> None:
    gateway = place.gateway
    clients = [gateway.connect(claims={"sub": "leaving"}) for _ in range(2)]
    namesake = gateway.connect(claims={"sub": "leaving", "tenant_id": "globex"})
    async with connected(place.unix) as peer:
        answer = await peer.ask(commands.DisconnectUser, tenant_id="acme", user_id="leaving", reason="shift is over")
        assert answer == {"closed": 2}
    assert [client.close_code() for client in clients] == [4503, 4503]
    assert namesake.ask("ping")["type"] == watcher.ask("ping")["type"] == "pong"
    # It is no revocation: they may come back.
    gateway.connect(claims={"sub": "leaving"}).socket.close()
    namesake.socket.close()


def refused_status(gateway: Any, token: str) -> int:
    with pytest.raises(InvalidStatus) as refused:
        gateway.connect(token=token)
    return refused.value.response.status_code


@pytest_twisted.ensureDeferred
async def test_a_revoked_token_is_refused_from_then_on(place: Place) -> None:
    gateway = place.gateway
    token, other = (gateway.token(sub="nina", jti=jti) for jti in ("stolen", "another"))
    client, bystander = gateway.connect(token=token), gateway.connect(token=other)
    async with connected(place.unix) as peer:
        assert await peer.ask(commands.RevokeToken, tenant_id="acme", jti="stolen") == {"closed": 1}
    assert client.close_code() == 4503
    assert refused_status(gateway, token) == 401
    # A browser cannot read the status: it is told by the close code.
    browser = gateway.raw_connect("/ws", subprotocols=["callcenter.v1", f"bearer.{token}"])
    assert json.loads(browser.recv(timeout=DEADLINE))["payload"]["code"] == "unauthorized"
    assert type(bystander)(browser).close_code() == 4500
    assert bystander.ask("ping")["type"] == "pong"
    bystander.socket.close()
    gateway.connect(token=gateway.token(sub="nina", jti="stolen", tenant_id="globex")).socket.close()


@pytest_twisted.ensureDeferred
async def test_a_revoked_user_needs_a_newer_token(place: Place) -> None:
    gateway = place.gateway
    token = gateway.token(sub="omar")
    clients = [gateway.connect(token=token), gateway.connect(token=gateway.token(sub="omar", jti="second"))]
    async with connected(place.unix) as peer:
        assert await peer.ask(commands.RevokeToken, tenant_id="acme", user_id="omar") == {"closed": 2}
    assert [client.close_code() for client in clients] == [4503, 4503]
    assert refused_status(gateway, token) == 401
    gateway.connect(token=gateway.token(sub="omar", iat=time.time())).socket.close()


@pytest_twisted.ensureDeferred
async def test_revoking_without_saying_what_is_refused(place: Place) -> None:
    async with connected(place.unix) as peer:
        with pytest.raises(commands.InvalidEvent, match="jti or user_id"):
            await peer.ask(commands.RevokeToken, tenant_id="acme")


# Hearing


@pytest_twisted.ensureDeferred
async def test_a_daemon_hears_what_a_visitor_writes(place: Place) -> None:
    visitor = place.gateway.connect("visitor", claims={"name": "Zoe", "session_id": "chat-9", "sub": "zoe"})
    async with connected(place.unix) as peer, connected(place.tcp) as stranger:
        await stranger.authenticate(place.gateway.token("service", tenant_id="globex"))
        await stranger.subscribe("*")
        await peer.subscribe("chat.*")
        # What a daemon publishes itself does not come back.
        chat = {"session_id": "chat-9", "message_id": "1", "sender_id": "7", "sender_type": "agent", "body": "Hello"}
        await peer.publish("chat.message", chat)
        accepted = visitor.ask(
            "chat.message", {"session_id": "chat-9", "body": "Hi", "sender_id": "boss", "sender_type": "agent"}
        )
        heard = await peer.hear()
        assert (heard["tenant_id"], heard["type"]) == ("acme", "chat.message")
        assert heard["event_id"] == accepted["payload"]["id"]
        assert heard["payload"] == {
            "session_id": "chat-9",
            "message_id": accepted["payload"]["message_id"],
            "sender_id": "zoe",
            "sender_type": "visitor",
            "sender_name": "Zoe",
            "body": "Hi",
        }
        await peer.ask(commands.Ping)
        await stranger.ask(commands.Ping)
        assert (peer.heard.size, len(peer.heard.pending), len(stranger.heard.pending)) == (None, 0, 0)
    visitor.socket.close()


@pytest_twisted.ensureDeferred
async def test_a_daemon_hears_who_comes_and_goes(place: Place) -> None:
    async with connected(place.unix) as peer:
        await peer.subscribe("presence.changed")
        place.gateway.connect(claims={"sub": "passing-by"}).socket.close()
        came, left = [await peer.hear(), await peer.hear()]
    for heard, online in ((came, True), (left, False)):
        assert (heard["type"], heard["payload"]["user_id"]) == ("presence.changed", "passing-by")
        assert heard["payload"]["online"] is online


@pytest_twisted.ensureDeferred
async def test_what_was_not_acknowledged_comes_again(place: Place) -> None:
    visitor = place.gateway.connect("visitor", claims={"session_id": "chat-10", "sub": "mia"})
    async with connected(place.unix) as peer:
        peer.silent = True
        await peer.subscribe("chat.message")
        visitor.ask("chat.message", {"session_id": "chat-10", "body": "first"})
        first = await peer.hear()
    visitor.ask("chat.message", {"session_id": "chat-10", "body": "second"})
    async with connected(place.unix) as peer:
        await peer.subscribe("chat.message")
        again, second = await peer.hear(), await peer.hear()
    assert again == first
    assert second["payload"]["body"] == "second"
    visitor.socket.close()


@pytest_twisted.ensureDeferred
async def test_a_kind_that_does_not_exist_is_refused(place: Place) -> None:
    async with connected(place.unix) as peer:
        with pytest.raises(commands.InvalidEvent, match="kinds"):
            await peer.subscribe("chat.*", "weather.*")


# Real daemons


def test_the_remote_broadcaster_does_all_of_it_from_another_process(place: Place) -> None:
    gateway = place.gateway
    daemon = RemoteDaemon(place.tcp, place.secret_file)
    assert daemon.ask("ping") == [__version__, "test-node"]
    daemon.ask("subscribe", ["chat.message"])
    visitor = gateway.connect("visitor", claims={"session_id": "chat-11", "sub": "ada"})
    visitor.ask("chat.message", {"session_id": "chat-11", "body": "Hi"})
    heard = daemon.heard()
    assert (heard["tenant_id"], heard["payload"]["body"]) == ("acme", "Hi")
    agent = gateway.connect(claims={"sub": "remote-1", "jti": "remote-1"})
    presence = daemon.ask("user_online", "acme", "remote-1")
    assert (presence["online"], presence["connections"]) == (True, 1)
    assert daemon.ask("disconnect_user", "acme", "remote-1") == 1
    assert agent.close_code() == 4503
    assert daemon.ask("revoke_token", "acme", jti="remote-1") == 0
    assert refused_status(gateway, gateway.token(sub="remote-1", jti="remote-1")) == 401
    refused = daemon.answer(daemon.tell("publish", "acme", "call.ended", {"unique_id": "1"}))
    assert refused["refused"] == "invalid_event" and "payload.duration" in refused["message"]
    large = daemon.ask("send_alert", "acme", "large", "x" * 200_000)
    assert large["seq"] > 0
    visitor.socket.close()
    assert daemon.wait() == 0


def test_a_daemon_outlives_its_gateway(start_gateway: Any, secret_file: Path) -> None:
    port = free_port()
    arguments = ("", "--set", f"amp.token_file={secret_file}")
    first = start_gateway(*arguments, amp=[f"tcp:{port}:interface=127.0.0.1"])
    daemon = RemoteDaemon(f"tcp:127.0.0.1:{port}", secret_file)
    epoch = daemon.ask("send_alert", "acme", "before", "…")["epoch"]
    first.process.kill()
    first.process.wait(DEADLINE)
    numbers = [daemon.tell("send_alert", "acme", f"meanwhile {number}", "…") for number in range(5)]
    second = start_gateway(*arguments, amp=[f"tcp:{port}:interface=127.0.0.1"])
    answers = [daemon.answer(number)["result"] for number in numbers]
    assert {answer["epoch"] for answer in answers}.isdisjoint({epoch})
    assert [answer["seq"] for answer in answers] == [1, 2, 3, 4, 5]
    watcher = second.connect("supervisor", f"/ws?epoch={answers[0]['epoch']}&seq=0")
    told = [watcher.receive_type("alert")["payload"]["title"] for _ in numbers]
    assert told == [f"meanwhile {number}" for number in range(5)]
    watcher.socket.close()
    assert daemon.wait() == 0


@pytest.mark.parametrize("way", ["unix", "tcp"])
def test_the_legacy_sender_tells_its_story(place: Place, watcher: Any, way: str) -> None:
    arguments = [place.unix] if way == "unix" else [place.tcp, "--token-file", str(place.secret_file)]
    agent = place.gateway.connect(claims={"sub": "7"})
    watcher.received_before_pong()
    sent = subprocess.run(
        [sys.executable, str(LEGACY_SENDER), *arguments],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert (sent.returncode, sent.stderr) == (0, "")
    story = [(int(seq), type_) for seq, type_ in (line.split() for line in sent.stdout.splitlines())]
    # That the agent is here may have been announced before or after it began.
    received = [m for m in watcher.received_before_pong() if m["type"] != "presence.changed"]
    assert [(m["seq"], m["type"]) for m in received] == [told for told in story if told[1] != "notification"]
    (note,) = [m for m in agent.received_before_pong() if m["type"] == "notification"]
    assert (note["user_id"], note["seq"]) == ("7", story[-1][0])
    (ended,) = [m for m in received if m["type"] == "call.ended"]
    assert len(ended["payload"]["variables"]["transcript"]) == 4000
    assert ended["payload"]["caller_name"] == "Zoé Dupont"
    agent.socket.close()


def test_the_legacy_sender_says_why_it_failed(place: Place, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.token"
    wrong.write_text("wrong")
    for arguments in ([], ["--token-file", str(wrong)]):
        sent = subprocess.run(
            [sys.executable, str(LEGACY_SENDER), place.tcp, *arguments],
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        assert sent.returncode == 1
        assert sent.stderr.startswith("UNAUTHENTICATED: ")
