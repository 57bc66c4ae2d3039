"""The ``callcenter-ws`` command: its output, its exit status and its error messages."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jwt
import pytest
import pytest_twisted
from amp_doubles import SECRET as AMP_SECRET
from amp_doubles import LoopbackGateway, until
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.types import ConnectionDeny
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.utils import getProcessOutputAndValue

from callcenter_ws import __version__
from callcenter_ws.amp.authenticator import UNIX_SOCKET
from callcenter_ws.amp.commands import PublishEvent
from callcenter_ws.cli import tail_client
from callcenter_ws.cli.amp_call import call_gateway
from callcenter_ws.cli.main import main
from callcenter_ws.cli.pretty import Terminal
from callcenter_ws.cli.tail_client import TailOptions, tail
from callcenter_ws.cli.target import Target
from callcenter_ws.config import access
from callcenter_ws.config.load import load
from callcenter_ws.demo.state import DemoState
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.sources.claim import claim_of

JWT_SECRET = "a secret of the tests, long enough for HS512: sixty-four bytes, at least"
EVENT = {
    "tenant_id": "acme",
    "type": "alert",
    "payload": b'{"title": "Fire drill", "message": "now"}',
    "persist": False,
}


@pytest.fixture(autouse=True)
def _isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the demo and the token of the user who runs the tests."""
    monkeypatch.setenv("CALLCENTER_WS_DEMO_DIR", str(tmp_path / "demo"))
    monkeypatch.delenv("CALLCENTER_WS_TOKEN", raising=False)


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    (tmp_path / "jwt.secret").write_text(JWT_SECRET + "\n")
    (tmp_path / "jwt.secret").chmod(0o600)
    file = tmp_path / "gw.toml"
    file.write_text(
        '[jwt]\nsecret_file = "jwt.secret"\nalgorithms = ["HS512"]\nissuer = "https://i.example"\naudience = "gw"\n'
    )
    return file


async def emit(endpoint: str, token: str | None, event: dict[str, Any]) -> tuple[int, str]:
    """Publish an event; return its number and its id."""
    published = await call_gateway(reactor, endpoint, token, PublishEvent, event)
    return published["seq"], published["event_id"]


def started_demo(url: str) -> DemoState:
    """Return the state of a demo that has recorded its addresses."""
    demo = DemoState.prepare(url)
    demo.record()
    return demo


# Arguments


@pytest.mark.parametrize("command", ["check-config", "token", "emit", "tail", "version"])
def test_the_help_of_every_command_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert f"example:\n  callcenter-ws {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["dance"],
        ["emit", "alert"],
        ["token", "--ttl", "0"],
        ["token", "--ttl", "nan"],
        ["token", "--role", "boss"],
        ["tail", "--count", "0"],
        ["tail", "--resume", "17"],
        ["tail", "--resume", "epoch:x"],
    ],
)
def test_invalid_arguments_exit_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert "usage: callcenter-ws" in capsys.readouterr().err


@pytest.mark.parametrize("argument", ["version", "--version"])
def test_version(argument: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([argument]) == 0
    assert capsys.readouterr().out.startswith(f"callcenter-ws {__version__} (Python 3.")


# check-config


def test_a_valid_configuration_is_summarized(config_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-config", "--config", str(config_file), "--set", "web.allowed_origins=https://A.example"]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith(f"OK: {config_file}\n")
    for text in (
        "tcp:8080:interface=127.0.0.1",
        "tcp:8081",
        "HS512",
        "https://a.example",
        "sqlite:",
    ):
        assert text in printed.out
    assert printed.err == ""


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("commands.enabled=false", "commands            not enabled\n"),
        ("commands.rate=5", "commands            enabled\n"),
        ('commands.allow={agent=["call.hangup"]}', "commands            enabled; agents: call.hangup\n"),
        ("commands.allow={supervisor=[]}", "commands            enabled; supervisors: none\n"),
        ("audit.file=/tmp/audit.jsonl", "audit log           /tmp/audit.jsonl\n"),
    ],
)
def test_check_config_tells_who_may_issue_commands(
    config_file: Path, capsys: pytest.CaptureFixture[str], setting: str, expected: str
) -> None:
    overrides = ["--set", "commands.enabled=true", "--set", setting]
    assert main(["check-config", "--config", str(config_file), *overrides]) == 0
    assert expected in capsys.readouterr().out


def test_check_config_shows_no_password(config_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-config", "--config", str(config_file), "--set", "store.url=redis://u:hunter2@db:7000/3"]) == 0
    printed = capsys.readouterr().out
    assert "Redis, db:7000" in printed
    assert "hunter2" not in printed


def test_warnings_do_not_change_the_exit_status(config_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (config_file.parent / "jwt.secret").chmod(0o644)
    assert main(["check-config", "--config", str(config_file)]) == 0
    assert "warning: " in capsys.readouterr().err


def test_a_configuration_without_a_key_is_not_reported_as_ok(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-config"]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("starts, but refuses every connection: the defaults")
    assert "OK" not in printed.out
    assert "jwt.secret_file: there is no key" in printed.err


def test_all_problems_of_a_configuration_are_printed(
    config_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CALLCENTER_WS_LIMITS__BURST", "0")
    assert main(["check-config", "--config", str(config_file), "--set", "web.listen=80", "--set", "x.y=1"]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "the configuration has 3 problems:" in printed.err
    for start in ("--set: x.y: ", "--set: web.listen: ", "CALLCENTER_WS_LIMITS__BURST: limits.burst: "):
        assert f"\n  - {start}" in printed.err


def test_a_folder_that_cannot_be_written_is_not_ok(
    config_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The tests may run as a user who may write everywhere.
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) not in ("/etc", "/run"))
    arguments = ["check-config", "--config", str(config_file), "--set", "store.url=sqlite:/etc/events.sqlite"]
    arguments += ["--set", "amp.listen=unix:/run/amp.sock", "--set", "audit.file=/run/audit.jsonl"]
    assert main(arguments) == 1
    printed = capsys.readouterr()
    assert "OK" not in printed.out
    assert "audit.file: the user" in printed.err
    assert "the audit log is made there" in printed.err
    assert "store.url: the user" in printed.err
    assert "cannot write to the folder /etc" in printed.err
    assert "amp.listen: the user" in printed.err
    assert "cannot write to the folder /run" in printed.err


def test_a_folder_that_does_not_exist_is_not_ok(
    config_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listener = tmp_path / "missing" / "amp.sock"
    assert main(["check-config", "--config", str(config_file), "--set", f"amp.listen=unix:{listener}"]) == 1
    assert f"amp.listen: the folder {listener.parent} does not exist" in capsys.readouterr().err


@pytest.mark.parametrize("key", ["web.listen", "web.metrics_listen", "amp.listen"])
def test_a_socket_that_cannot_be_made_is_not_ok(
    key: str, config_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    occupied = tmp_path / "occupied.sock"
    occupied.write_text("not a socket")
    long = tmp_path / ("s" * 100 + ".sock")
    for path, reason in ((occupied, "exists and is not a socket"), (long, "that of a socket has at most 107")):
        assert main(["check-config", "--config", str(config_file), "--set", f"{key}=unix:{path}"]) == 1
        printed = capsys.readouterr()
        assert "OK" not in printed.out
        assert f"{key}: " in printed.err
        assert reason in printed.err


def test_a_socket_of_an_earlier_run_is_ok(config_file: Path) -> None:
    with TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        path = Path(folder) / "amp.sock"
        listener.bind(str(path))
        assert main(["check-config", "--config", str(config_file), "--set", f"amp.listen=unix:{path}"]) == 0


def test_a_store_in_a_file_system_without_files_is_not_ok(
    config_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check-config", "--config", str(config_file), "--set", "store.url=sqlite:/proc/events.sqlite"]) == 1
    assert "store.url: the folder /proc keeps no files" in capsys.readouterr().err


@pytest.mark.parametrize(("capabilities", "warned"), [("0000000000000000", True), ("0000000000000400", False)])
def test_a_low_port_without_the_capability_is_warned_of(
    capabilities: str,
    warned: bool,
    config_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    status, lowest = tmp_path / "status", tmp_path / "lowest"
    status.write_text(f"Name:\tpython3\nCapEff:\t{capabilities}\n")
    lowest.write_text("1024\n")
    monkeypatch.setattr(access, "PROCESS_STATUS", status)
    monkeypatch.setattr(access, "PORTS_SETTING", lowest)
    assert main(["check-config", "--config", str(config_file), "--set", "web.listen=tcp:443"]) == 0
    assert ("web.listen: " in capsys.readouterr().err) is warned


# token


def _printed_claims(capsys: pytest.CaptureFixture[str], secret: str = JWT_SECRET, **options: Any) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(capsys.readouterr().out.strip(), secret, **options)
    return claims


def test_a_token_for_a_configuration(config_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "--tenant",
        "acme",
        "--user",
        "7",
        "--role",
        "supervisor",
        "--name",
        "Ada",
        "--queues",
        "a, b",
        "--ttl",
        "60",
    ]
    assert main(["token", "--config", str(config_file), *arguments]) == 0
    claims = _printed_claims(capsys, algorithms=["HS512"], audience="gw", issuer="https://i.example")
    assert claims.pop("exp") - claims.pop("iat") == 60
    assert claims.pop("jti")
    assert claims == {
        "iss": "https://i.example",
        "aud": "gw",
        "sub": "7",
        "tenant_id": "acme",
        "role": "supervisor",
        "name": "Ada",
        "queues": ["a", "b"],
    }


def test_a_token_for_a_secret(config_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    secret_file = str(config_file.parent / "jwt.secret")
    arguments = ["--secret-file", secret_file, "--tenant", "t", "--role", "visitor", "--session", "s"]
    assert main(["token", *arguments]) == 0
    claims = _printed_claims(capsys, algorithms=["HS256"])
    assert (claims["sub"], claims["role"], claims["session_id"]) == ("test-visitor", "visitor", "s")
    assert "queues" not in claims


def test_a_token_for_the_demo(capsys: pytest.CaptureFixture[str]) -> None:
    demo = started_demo("http://127.0.0.1:8080/")
    assert main(["token"]) == 0
    claims = _printed_claims(capsys, demo.read_secret(), algorithms=["HS256"])
    assert (claims["tenant_id"], claims["role"]) == (demo.tenant, "agent")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["token"], "no demo has run yet"),
        (["token", "--config", "{config}"], "no tenant given: use --tenant ID"),
        (["token", "--config", "{config}", "--tenant", "t", "--role", "visitor"], "a visitor needs a chat session"),
        (["token", "--config", "nowhere.toml"], "nowhere.toml: cannot read the file"),
        (["token", "--secret-file", "nowhere", "--tenant", "t"], "cannot read the file with the secret"),
        (["token", "--secret-file", "{short}", "--tenant", "t"], "the secret has 5 bytes"),
        (["emit", "alert", "{{"], "the payload is not JSON"),
        (["emit", "alert", "[]"], "the payload is not a JSON object"),
        (["emit", "alert", "{{}}"], "no demo has run yet"),
        (["emit", "alert", "{{}}", "--amp", "tcp:1"], "no tenant given"),
        (
            [
                "emit",
                "alert",
                "{{}}",
                "--tenant",
                "t",
                "--config",
                "{config}",
                "--set",
                "amp.listen=systemd:domain=UNIX:index=0",
            ],
            "give --amp",
        ),
        (["emit", "alert", "{{}}", "--amp", "tcp:1", "--tenant", "t", "--amp-token-file", "{binary}"], "not ASCII"),
        (
            ["emit", "alert", "{{}}", "--amp", "tcp:1", "--tenant", "t", "--amp-token-file", "nowhere"],
            "cannot read nowhere",
        ),
        (["tail"], "no demo has run yet"),
        (["tail", "--config", "{config}"], "no tenant given: use --tenant ID, or a token"),
        (["tail", "--config", "{config}", "--tenant", "*"], "a stream belongs to one tenant"),
        (["tail", "--url", "ws://127.0.0.1:1/ws", "--tenant", "t"], "no secret to sign a token with"),
        (["token", "--config", "{config}", "--tenant", "*"], "the tenant * is for the roles admin and service"),
        (["tail", "--config", "{config}", "--set", "web.listen=unix:/x"], "give --url"),
    ],
)
def test_errors_are_printed(
    arguments: list[str], reason: str, config_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (config_file.parent / "short").write_text("short")
    (config_file.parent / "binary").write_bytes(b"\xff")
    names = {"config": config_file, "short": config_file.parent / "short", "binary": config_file.parent / "binary"}
    assert main([argument.format(**names) for argument in arguments]) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith(f"callcenter-ws {arguments[0]}: ")
    assert reason in printed.err
    assert printed.out == ""


# Addresses of the gateway


@pytest.mark.parametrize(
    ("listen", "endpoint", "url"),
    [
        ("tcp:9000:interface=127.0.0.1", "tcp:host=127.0.0.1:port=9000", "ws://127.0.0.1:9000/ws"),
        ("tcp:port=8081", "tcp:host=127.0.0.1:port=8081", "ws://127.0.0.1:8081/ws"),
        ("tcp:8081:interface=0.0.0.0", "tcp:host=127.0.0.1:port=8081", "ws://127.0.0.1:8081/ws"),
        (r"tcp:8081:interface=\:\:", r"tcp:host=\:\:1:port=8081", "ws://[::1]:8081/ws"),
        (r"unix:/run/a\:b.sock:mode=660", r"unix:path=/run/a\:b.sock", None),
        ("unix:address=/run/amp.sock", "unix:path=/run/amp.sock", None),
        ("systemd:domain=INET:index=0", None, None),
    ],
)
def test_addresses_are_derived_from_the_listeners(listen: str, endpoint: str | None, url: str | None) -> None:
    assert Target.of_settings(load(None, overrides=[f"amp.listen={listen}"], demo=True)).amp_endpoint == endpoint
    assert Target.of_settings(load(None, overrides=[f"web.listen={listen}"], demo=True)).url == url


@pytest.mark.parametrize(
    ("page", "url"),
    [("http://127.0.0.1:8080/", "ws://127.0.0.1:8080/ws"), ("https://[::1]:1/", "wss://[::1]:1/ws")],
)
def test_the_websocket_url_of_the_demo_is_derived_from_its_page(page: str, url: str) -> None:
    assert Target.of_demo(DemoState.prepare(page)).url == url


# emit


@asynccontextmanager
async def amp_gateway() -> AsyncIterator[LoopbackGateway]:
    gateway = LoopbackGateway(reactor)
    gateway.listen()
    try:
        yield gateway
    finally:
        await gateway.close()


@pytest_twisted.ensureDeferred
async def test_an_event_is_published_once_under_its_id() -> None:
    async with amp_gateway() as gateway:
        event = {**EVENT, "event_id": "e1", "user_id": None}
        first = await emit(gateway.endpoint, AMP_SECRET.decode(), event)
        second = await emit(gateway.endpoint, AMP_SECRET.decode(), event)
        assert first == (1, "e1")
        assert second == first
        assert [message.event.event_id for message in gateway.delivered] == ["e1"]
        await until(reactor, lambda: not gateway.factory.sessions)


@pytest_twisted.ensureDeferred
async def test_a_payload_longer_than_an_amp_value_arrives_whole() -> None:
    async with amp_gateway() as gateway:
        payload = json.dumps({"title": "t", "message": "x" * 200_000}).encode()
        await emit(gateway.endpoint, AMP_SECRET.decode(), {**EVENT, "payload": payload})
        assert len(gateway.delivered) == 1


@pytest.mark.parametrize(
    ("token", "change", "code", "reason"),
    [
        (None, {}, ErrorCode.UNAUTHORIZED, "token|uthenticate"),
        ("wrong", {}, ErrorCode.UNAUTHORIZED, "signature"),
        ("globex-service", {}, ErrorCode.FORBIDDEN, "tenant"),
        ("acme-service", {"type": "no.such"}, ErrorCode.INVALID_EVENT, "no.such"),
        ("acme-service", {"payload": b"{}"}, ErrorCode.INVALID_EVENT, "title"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_refusal_of_the_gateway_is_raised(
    token: str | None, change: dict[str, Any], code: ErrorCode, reason: str
) -> None:
    async with amp_gateway() as gateway:
        with pytest.raises(Refusal, match=reason) as caught:
            await emit(gateway.endpoint, token, {**EVENT, **change})
        assert caught.value.code is code
        assert gateway.delivered == []
        await until(reactor, lambda: not gateway.factory.sessions)


@pytest.mark.parametrize("endpoint", ["nonsense", "tcp:127.0.0.1:x", "unix:/nowhere/amp.sock", "tcp:127.0.0.1:1"])
@pytest_twisted.ensureDeferred
async def test_an_unreachable_gateway_is_reported(endpoint: str) -> None:
    with pytest.raises(Refusal, match=f"cannot connect to {endpoint}") as caught:
        await emit(endpoint, None, dict(EVENT))
    assert caught.value.code is ErrorCode.UNAVAILABLE


async def command(*arguments: str, **environment: str) -> tuple[int, str, str]:
    """Run the command in a separate process; return its exit status, output and error output."""
    code = "import sys; from callcenter_ws.cli.main import main; sys.exit(main())"
    out, err, status = await getProcessOutputAndValue(
        sys.executable, ["-c", code, *arguments], env={**os.environ, **environment}, reactor=reactor
    )
    return status, out.decode(), err.decode()


@pytest_twisted.ensureDeferred
async def test_emit_prints_the_position(tmp_path: Path) -> None:
    (tmp_path / "amp.secret").write_bytes(AMP_SECRET + b"\n")
    async with amp_gateway() as gateway:
        address = ["--amp", gateway.endpoint, "--amp-token-file", str(tmp_path / "amp.secret"), "--tenant", "acme"]
        payload = '{"type": "info", "title": "Hi", "message": "é"}'
        status, out, err = await command(
            "emit", "notification", payload, *address, "--user-id", "7", "--event-id", "e1"
        )
        assert (status, err) == (0, "")
        printed = json.loads(out)
        assert (printed["seq"], printed["event_id"]) == (1, "e1")
        assert printed["epoch"]
        (message,) = gateway.delivered
        assert message.event.user_id == "7"
        status, out, err = await command("emit", "no.such", "{}", *address)
        assert (status, out) == (1, "")
        assert err.startswith("callcenter-ws emit: invalid_event: ")


@pytest_twisted.ensureDeferred
async def test_emit_has_a_timeout() -> None:
    port = reactor.listenTCP(0, Factory.forProtocol(Protocol), interface="127.0.0.1")
    try:
        endpoint = f"tcp:127.0.0.1:{port.getHost().port}"
        status, _, err = await command("emit", "alert", "{}", "--amp", endpoint, "--tenant", "t", "--timeout", "0.2")
        assert status == 1
        assert err == f"callcenter-ws emit: no answer from {endpoint} within 0.2 s; it may still be published\n"
    finally:
        await port.stopListening()


# source


@pytest_twisted.ensureDeferred
async def test_sources_are_listed_and_released(tmp_path: Path) -> None:
    (tmp_path / "amp.secret").write_bytes(AMP_SECRET + b"\n")
    async with amp_gateway() as gateway:
        address = ["--amp", gateway.endpoint, "--amp-token-file", str(tmp_path / "amp.secret")]
        arguments = {"kind": "asterisk", "instance": "i", "generation": None, "capabilities": None, "version": "1.2"}
        claim = claim_of(UNIX_SOCKET, source="pbx1", tenants=["acme", "globex"], **arguments)
        link = await gateway.sources.register(claim, lambda _: None)
        status, out, err = await command("source", "list", *address)
        assert (status, err) == (0, "")
        head, line = out.splitlines()
        assert head.split() == ["source", "state", "kind", "version", "owner", "tenants", "capabilities"]
        assert line.split() == ["pbx1", "connected", "asterisk", "1.2", "installation", "acme,globex", "-"]
        status, _, err = await command("source", "forget", "pbx1", *address)
        assert (status, err.startswith("callcenter-ws source: source_in_use: ")) == (1, True)
        gateway.sources.link_lost(link)
        gateway.sources._table.end(link.key)
        assert (await command("source", "forget", "pbx1", *address, "--tenant", "acme"))[:2] == (
            0,
            "pbx1: released in 1 tenant\n",
        )
        assert (await command("source", "forget", "pbx1", *address))[:2] == (0, "pbx1: released in 1 tenant\n")
        status, _, err = await command("source", "forget", "pbx1", *address)
        assert status == 1
        assert err == "callcenter-ws source: there is no source 'pbx1' of the installation: give --tenant ID\n"


# tail


class ScriptedServer(WebSocketServerFactory):  # type: ignore[misc]  # Autobahn has no annotations
    """A WebSocket server that sends given lines and records what it receives."""

    noisy = False

    def __init__(self, *lines: str, close: int | None = None, deny: int | None = None) -> None:
        super().__init__()
        self.lines, self.close, self.deny = lines, close, deny
        self.requests: list[Any] = []
        self.received: list[Any] = []
        self.closes: list[int | None] = []
        self.port: Any = None

    def buildProtocol(self, addr: object) -> Any:
        protocol = ScriptedProtocol()
        protocol.factory = self
        return protocol

    @property
    def address(self) -> str:
        return f"ws://127.0.0.1:{self.port.getHost().port}/ws"


class ScriptedProtocol(WebSocketServerProtocol):  # type: ignore[misc]  # Autobahn has no annotations
    def onConnect(self, request: Any) -> str | None:
        self.factory.requests.append(request)
        if self.factory.deny:
            raise ConnectionDeny(self.factory.deny, "no")
        return "callcenter.v1" if "callcenter.v1" in request.protocols else None

    def onOpen(self) -> None:
        for line in self.factory.lines:
            self.sendMessage(line.encode())
        if self.factory.close:
            self.sendClose(self.factory.close, "as scripted")

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.factory.received.append(json.loads(payload))

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        self.factory.closes.append(code)


@asynccontextmanager
async def serving(server: ScriptedServer) -> AsyncIterator[ScriptedServer]:
    server.port = reactor.listenTCP(0, server, interface="127.0.0.1")
    try:
        yield server
        await until(reactor, lambda: len(server.closes) >= len(server.requests))
    finally:
        await server.port.stopListening()


def self_signed(folder: Path) -> Path:
    """Make a self-signed certificate for 127.0.0.1, with its key in the same file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(1)
    )
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    certificate = builder.add_extension(names, critical=False).sign(key, SHA256())
    file = folder / "server.pem"
    file.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + certificate.public_bytes(Encoding.PEM)
    )
    return file


def event(seq: int, name: str = "alert") -> str:
    return json.dumps({"type": name, "tenant_id": "acme", "id": f"e{seq}", "seq": seq, "payload": {"ö": "ü"}})


WELCOME = json.dumps({"type": "welcome", "payload": {"seq": 7}})


@pytest_twisted.ensureDeferred
async def test_tail_prints_every_message_unchanged() -> None:
    printed: list[str] = []
    lines = [WELCOME, event(1), event(2, "call.incoming")]
    async with serving(ScriptedServer(*lines, close=1000)) as server:
        assert await tail(reactor, TailOptions(url=server.address, token="t.o.k"), printed.append) is None
    assert printed == lines
    (request,) = server.requests
    assert request.headers["authorization"] == "Bearer t.o.k"
    assert request.protocols == ["callcenter.v1"]
    assert server.received == []


@pytest_twisted.ensureDeferred
async def test_tail_prints_lines_for_people() -> None:
    lines: list[str] = []
    incoming = {"type": "alert", "seq": 42, "timestamp": "2001-11-22T19:40:00.123Z", "payload": {"title": "Ann"}}
    async with serving(ScriptedServer(json.dumps(incoming), "no JSON", close=1000)) as server:
        await tail(reactor, TailOptions(url=server.address, pretty=Terminal()), lines.append)
    assert lines == ["2001-11-22 19:40:00.123 alert                  #42      title=Ann", "no JSON"]


@pytest_twisted.ensureDeferred
async def test_a_port_that_hangs_up_is_explained() -> None:
    class HangsUp(Protocol):
        def dataReceived(self, data: bytes) -> None:
            assert self.transport is not None
            self.transport.loseConnection()

    port = reactor.listenTCP(0, Factory.forProtocol(HangsUp), interface="127.0.0.1")
    try:
        reason = await tail(reactor, TailOptions(url=f"ws://127.0.0.1:{port.getHost().port}/ws"), print)
    finally:
        await port.stopListening()
    assert reason is not None
    assert reason.endswith("has closed the connection without an answer; a port with TLS needs wss://")


@pytest_twisted.ensureDeferred
async def test_tail_stops_after_the_given_number_of_events() -> None:
    printed: list[str] = []
    async with serving(ScriptedServer(WELCOME, event(1), event(2), event(3))) as server:
        assert await tail(reactor, TailOptions(url=server.address, token="t", count=2), printed.append) is None
    assert printed == [WELCOME, event(1), event(2)]
    assert server.closes == [1000]


@pytest_twisted.ensureDeferred
async def test_tail_names_its_events_in_the_url() -> None:
    printed: list[str] = []
    lines = [WELCOME, event(1), event(2, "call.incoming"), event(3, "calls"), event(4, "agent.login")]
    async with serving(ScriptedServer(*lines)) as server:
        options = TailOptions(
            url=server.address, token="t", events=("call.*", "agent.login"), count=2, resume=("e:1", 5), snapshot=True
        )
        assert await tail(reactor, options, printed.append) is None
    assert printed == [WELCOME, event(2, "call.incoming"), event(4, "agent.login")]
    assert server.received == []
    (request,) = server.requests
    assert request.params == {"snapshot": ["1"], "epoch": ["e:1"], "seq": ["5"], "events": ["call.*,agent.login"]}


@pytest_twisted.ensureDeferred
async def test_tail_ends_when_its_events_are_refused() -> None:
    refusal = {"type": "error", "payload": {"code": "unknown_event", "message": "there is no x"}}
    printed: list[str] = []
    async with serving(ScriptedServer(json.dumps(refusal), close=4500)) as server:
        options = TailOptions(url=server.address, token="t", events=("x",))
        assert await tail(reactor, options, printed.append) == "refused: there is no x"
    assert printed == [json.dumps(refusal)]


class RestartedServer(ScriptedServer):
    """A server that does something else at each connection."""

    def __init__(self, *scripts: tuple[tuple[str, ...], int | None, int | None]) -> None:
        super().__init__()
        self._scripts = iter(scripts)

    def buildProtocol(self, addr: object) -> Any:
        self.lines, self.close, self.deny = next(self._scripts)
        return super().buildProtocol(addr)


@pytest_twisted.ensureDeferred
async def test_tail_reconnects_and_resumes_when_the_gateway_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail_client, "RECONNECT_INTERVAL_SECONDS", 0.01)
    printed: list[str] = []
    welcome = json.dumps({"type": "welcome", "payload": {"epoch": "e:1", "seq": 7}})
    drain = json.dumps({"type": "drain", "payload": {"reconnect_after_ms": 20}})
    mail = json.dumps({"type": "notification", "seq": 3, "offline": True, "payload": {}})
    resumed = json.dumps({"type": "resumed", "payload": {"epoch": "e:1", "from_seq": 8, "to_seq": 20, "count": 0}})
    server = RestartedServer(
        ((welcome, event(8), mail, drain), 4003, None),
        ((), None, 503),
        ((welcome, resumed, drain), 4003, None),
        ((welcome, event(21), event(22)), None, None),
    )
    async with serving(server):
        options = TailOptions(url=server.address, token="t", count=3, snapshot=True)
        assert await tail(reactor, options, printed.append) is None
    assert [json.loads(line)["seq"] for line in printed if "seq" in json.loads(line)] == [8, 3, 21]
    assert [request.params for request in server.requests] == [
        {"snapshot": ["1"]},
        *[{"epoch": ["e:1"], "seq": ["8"]}] * 2,
        {"epoch": ["e:1"], "seq": ["20"]},
    ]


@pytest_twisted.ensureDeferred
async def test_tail_gives_up_when_the_gateway_does_not_return(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail_client, "RECONNECT_INTERVAL_SECONDS", 0.01)
    monkeypatch.setattr(tail_client, "RECONNECT_ATTEMPTS", 2)
    drain = json.dumps({"type": "drain", "payload": {}})
    server = RestartedServer(((drain,), 4003, None), *[((), None, 503)] * 3)
    async with serving(server):
        reason = await tail(reactor, TailOptions(url=server.address, token="t"), print)
    assert reason is not None and "503" in reason
    assert [request.params for request in server.requests] == [{}] * 4


@pytest_twisted.ensureDeferred
async def test_tail_as_a_visitor_without_a_token_offers_no_subprotocol() -> None:
    async with serving(ScriptedServer(close=1000)) as server:
        await tail(reactor, TailOptions(url=server.address), print)
    (request,) = server.requests
    assert "authorization" not in request.headers
    assert request.protocols == []


@pytest.mark.parametrize(
    ("options", "query"),
    [
        (TailOptions(url="ws://h/ws"), ""),
        (TailOptions(url="ws://h/ws", snapshot=True), "?snapshot=1"),
        (TailOptions(url="ws://h/ws", resume=("a b", 3)), "?epoch=a+b&seq=3"),
        (TailOptions(url="ws://h/ws?ack=1", resume=("e", 3), snapshot=True), "?ack=1&snapshot=1&epoch=e&seq=3"),
    ],
)
def test_the_start_position_is_in_the_url(options: TailOptions, query: str) -> None:
    assert options.full_url == "ws://h/ws" + query


@pytest_twisted.ensureDeferred
async def test_tail_prints_invalid_messages_unchanged() -> None:
    printed: list[str] = []
    lines = ["not JSON", "[]", '{"seq": 1}']
    async with serving(ScriptedServer(*lines, close=1000)) as server:
        await tail(reactor, TailOptions(url=server.address), printed.append)
    assert printed == lines


@pytest_twisted.ensureDeferred
async def test_tail_stops_when_its_output_is_closed() -> None:
    def write(line: str) -> None:
        raise BrokenPipeError

    async with serving(ScriptedServer(WELCOME, event(1))) as server:
        assert await tail(reactor, TailOptions(url=server.address), write) is None
    assert server.closes == [1000]


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ({"close": 4500}, "closed: 4500 unauthorized: as scripted"),
        ({"close": 4003}, "closed: 4003 draining: as scripted"),
        ({"close": 4999}, "closed: 4999 as scripted"),
        ({"deny": 401}, "/ws: WebSocket connection upgrade failed [401]"),
        ({"deny": 403}, "403"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_close_code_is_reported_with_its_name(behaviour: dict[str, int], reason: str) -> None:
    async with serving(ScriptedServer(**behaviour)) as server:
        result = await tail(reactor, TailOptions(url=server.address, token="t"), print)
    assert result is not None
    assert reason in result


@pytest.mark.parametrize(
    "url", ["ws://127.0.0.1:1/ws?token=geheim", "nonsense", "http://127.0.0.1/", "wss://:x", "ws://[::1"]
)
@pytest_twisted.ensureDeferred
async def test_an_unreachable_server_is_reported_without_the_query(url: str) -> None:
    result = await tail(reactor, TailOptions(url=url), print)
    assert result is not None
    assert result.startswith(f"cannot connect to {url.partition('?')[0]}: ")
    assert "geheim" not in result


@pytest_twisted.ensureDeferred
async def test_tail_as_a_command(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from.a.file\n")
    async with serving(ScriptedServer(WELCOME, event(1))) as server:
        ways = [["--token", "from.the.arguments"], ["--token-file", str(tmp_path / "token")], []]
        for way in ways:
            status, out, err = await command(
                "tail", "--url", server.address, "--count", "1", *way, CALLCENTER_WS_TOKEN="from.the.environment"
            )
            assert (status, out, err) == (0, f"{WELCOME}\n{event(1)}\n", "")
    assert [request.headers["authorization"] for request in server.requests] == [
        "Bearer from.the.arguments",
        "Bearer from.a.file",
        "Bearer from.the.environment",
    ]


@pytest.mark.logs_errors  # the server logs that the client does not accept its certificate
@pytest.mark.filterwarnings("ignore:Passing pyOpenSSL:DeprecationWarning")  # Twisted does
@pytest_twisted.ensureDeferred
async def test_tail_trusts_a_certificate_only_if_it_can_be_verified(tmp_path: Path) -> None:
    certificate = self_signed(tmp_path)
    server = ScriptedServer(event(1))
    server.port = await serverFromString(reactor, f"ssl:0:interface=127.0.0.1:privateKey={certificate}").listen(server)
    try:
        url = f"wss://127.0.0.1:{server.port.getHost().port}/ws"
        # Loading the settings reads the certificate, too.
        assert load(None, overrides=[f"web.listen=ssl:443:privateKey={certificate}"], demo=True).web.listen
        status, out, err = await command("tail", "--url", url, "--token", "t", "--count", "1")
        assert (status, out) == (1, "")
        assert "certificate verify failed" in err
        assert "SSL_CERT_FILE" in err
        assert server.requests == []
        status, out, err = await command("tail", "--url", url, "--count", "1", SSL_CERT_FILE=str(certificate))
        assert (status, out, err) == (0, event(1) + "\n", "")
        await until(reactor, lambda: 1000 in server.closes)
    finally:
        await server.port.stopListening()


@pytest_twisted.ensureDeferred
async def test_tail_as_a_command_that_is_refused() -> None:
    async with serving(ScriptedServer('{"type":"error","payload":{}}', close=4506)) as server:
        status, out, err = await command("tail", "--url", server.address)
    assert (status, out) == (1, '{"type":"error","payload":{}}\n')
    assert err == "callcenter-ws tail: closed: 4506 tenant_suspended: as scripted\n"


@pytest_twisted.ensureDeferred
async def test_tail_signs_its_own_token_for_a_tenant_of_a_configuration(config_file: Path) -> None:
    async with serving(ScriptedServer(event(1))) as server:
        ways = [["--set", f"web.listen=tcp:{server.port.getHost().port}"], ["--url", server.address]]
        for way in ways:
            arguments = ["tail", "--config", str(config_file), "--tenant", "acme", "--count", "1", *way]
            assert await command(*arguments) == (0, event(1) + "\n", "")
    for request in server.requests:
        token = request.headers["authorization"].removeprefix("Bearer ")
        claims = jwt.decode(token, JWT_SECRET, algorithms=["HS512"], audience="gw", issuer="https://i.example")
        assert (claims["tenant_id"], claims["role"]) == ("acme", "supervisor")


@pytest_twisted.ensureDeferred
async def test_events_may_be_named_in_one_option_or_in_several() -> None:
    async with serving(ScriptedServer(event(1))) as server:
        address = ["tail", "--url", server.address, "--token", "t", "--count", "1"]
        status, _, err = await command(*address, "--events", "call.*", "--events", "alert", "agent.login")
    assert (status, err) == (0, "")
    assert server.requests[0].params["events"] == ["call.*,alert,agent.login"]


@pytest_twisted.ensureDeferred
async def test_tail_without_arguments_is_a_supervisor_of_the_demo() -> None:
    async with serving(ScriptedServer(event(1))) as server:
        demo = started_demo(f"http://127.0.0.1:{server.port.getHost().port}/")
        status, out, _ = await command("tail", "--count", "1")
    assert (status, out) == (0, event(1) + "\n")
    (request,) = server.requests
    claims = jwt.decode(
        request.headers["authorization"].removeprefix("Bearer "), demo.read_secret(), algorithms=["HS256"]
    )
    assert (claims["tenant_id"], claims["role"]) == (demo.tenant, "supervisor")
    assert request.path == "/ws"
