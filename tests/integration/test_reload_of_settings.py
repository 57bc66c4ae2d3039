"""Settings, certificates and keys of a real gateway are loaded again while clients are connected."""

from __future__ import annotations

import secrets
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography import x509
from processes import DEADLINE, run, wait_until
from tls_material import make_certificate, new_certificate

LOADED = "the settings were loaded again: "
REFUSED = "the new settings are refused"

StartGateway = Callable[..., Any]


def replace(gateway: Any, old: str, new: str) -> None:
    """Replace a text in the file of the settings, so that the gateway reads all of the old one or of the new one."""
    file = gateway.folder / "callcenter-ws.toml"
    text = file.read_text()
    assert old in text
    edited = file.with_name("edited.toml")
    edited.write_text(text.replace(old, new))
    edited.rename(file)


def reload(gateway: Any) -> None:
    """Send SIGHUP, and wait for what the gateway logs about the outcome."""
    wait_until(lambda: "callcenter-ws serves" in gateway.log, "the gateway to serve")
    before = gateway.log.count(LOADED) + gateway.log.count(REFUSED)
    gateway.process.send_signal(signal.SIGHUP)
    wait_until(lambda: gateway.log.count(LOADED) + gateway.log.count(REFUSED) > before, "the outcome of the reload")


def loaded(gateway: Any) -> str:
    """Reload, and return the report."""
    reload(gateway)
    lines = [line for line in gateway.log.splitlines() if LOADED in line or REFUSED in line]
    assert LOADED in lines[-1], gateway.log
    return lines[-1].partition(LOADED)[2]


def refused(gateway: Any, reason: str) -> None:
    """Reload, which must be refused for a reason."""
    reload(gateway)
    wait_until(lambda: reason in gateway.log.rpartition(REFUSED)[2], f"the reason {reason}")


def status_of(gateway: Any, origin: str) -> int:
    """Return the status of a handshake from a page."""
    try:
        gateway.connect("agent", origin=origin).socket.close()
    except Exception as error:
        return int(getattr(error, "response").status_code)  # noqa: B009 - of the exception of one library
    return 101


def test_the_gateway_says_that_it_serves_once_it_can_be_asked_to_reload(start_gateway: StartGateway) -> None:
    gateway = start_gateway()
    wait_until(lambda: "callcenter-ws serves" in gateway.log, "the gateway to serve")
    assert "ControlFactory starting" in gateway.log.partition("callcenter-ws serves")[0]


def test_a_client_stays_connected_while_origins_and_limits_change(start_gateway: StartGateway) -> None:
    gateway = start_gateway("[limits]\nrate = 1000\nburst = 1000\n")
    client = gateway.connect("agent")
    assert status_of(gateway, "https://new.example") == 403
    replace(gateway, '"https://app.example"', '"https://new.example"')
    replace(gateway, "burst = 1000", "burst = 1")
    replace(gateway, "rate = 1000", "rate = 0.01")
    assert loaded(gateway) == "in use now: web.allowed_origins, limits.rate, limits.burst\n".strip()
    assert status_of(gateway, "https://new.example") == 101
    assert status_of(gateway, "https://app.example") == 403
    # The budget of the open connection follows the new rate.
    client.send("ping", id="first")
    client.send("ping", id="second")
    assert client.receive_type("pong")["in_reply_to"] == "first"
    assert client.receive_type("error")["payload"]["code"] == "rate_limited"
    client.socket.close()
    assert client.socket.protocol.close_rcvd.code == 1000


def test_a_bad_configuration_is_refused_as_a_whole(start_gateway: StartGateway) -> None:
    gateway = start_gateway()
    client = gateway.connect("agent")
    secret = gateway.folder / "secret"
    secret.write_text("too short")
    replace(gateway, '"https://app.example"', '"https://app.example", "https://new.example"')
    replace(gateway, "[cluster]", "[limits]\nrate = -1\n[cluster]")
    refused(gateway, "limits.rate: -1")
    wait_until(lambda: "the secret has 9 bytes" in gateway.log, "the other reason")
    # Not even what is valid is in use, and the old key is.
    assert status_of(gateway, "https://new.example") == 403
    assert status_of(gateway, "https://app.example") == 101
    client.received_before_pong()
    replace(gateway, "rate = -1", "rate = 20")
    secret.write_text(gateway.secret)
    assert loaded(gateway) == "in use now: web.allowed_origins"
    assert status_of(gateway, "https://new.example") == 101


def test_an_empty_file_does_not_take_the_last_key_away(start_gateway: StartGateway) -> None:
    """As when a reload reads a file that an editor is about to write."""
    gateway = start_gateway()
    (gateway.folder / "callcenter-ws.toml").write_text("")
    refused(gateway, "there would be no key to verify tokens with")
    gateway.connect("agent").socket.close()


def test_what_needs_a_restart_is_named_and_keeps_its_value(start_gateway: StartGateway) -> None:
    gateway = start_gateway()
    replace(gateway, "[cluster]", '[store]\nurl = "memory:"\n[log]\nformat = "json"\n[cluster]')
    report = loaded(gateway)
    assert "not in use yet: store.url: in new workers; without workers after a restart" in report
    assert "not in use yet: log.format: after a restart" in report
    assert gateway.publish("alert", {"title": "t", "message": "m"})["seq"]
    assert "{" not in gateway.log.splitlines()[-1]


def test_a_new_key_is_for_new_tokens_and_no_client_is_disconnected(start_gateway: StartGateway) -> None:
    gateway = start_gateway()
    client = gateway.connect("agent")
    former = gateway.token("agent")
    gateway.secret = secrets.token_hex(32)
    (gateway.folder / "secret").write_text(gateway.secret)
    assert loaded(gateway) == "files with new contents: jwt.secret_file"
    with pytest.raises(Exception, match="401"):
        gateway.connect("agent", token=former)
    gateway.connect("agent").socket.close()
    assert client.request("auth", {"token": former})["payload"]["code"] == "unauthorized"
    assert client.request("auth", {"token": gateway.token("agent")})["type"] == "session.extended"


@pytest.fixture
def tls(start_gateway: StartGateway, tmp_path: Path) -> Any:
    """Start a gateway with TLS."""
    certificate, key = make_certificate(tmp_path, new_certificate())
    key.chmod(0o600)
    return start_gateway(web=f"ssl:0:interface=127.0.0.1:certKey={certificate}:privateKey={key}")


@contextmanager
def handshake(gateway: Any, session: ssl.SSLSession | None = None) -> Iterator[ssl.SSLSocket]:
    """Open a TLS connection, and read a response, with which TLS 1.3 sends its tickets."""
    plain = socket.create_connection(("127.0.0.1", gateway.port), DEADLINE)
    with client_context(gateway).wrap_socket(plain, session=session) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n")
        assert connection.recv(65_536)
        yield connection


def client_context(gateway: Any) -> ssl.SSLContext:
    """Return the same context for all connections: a session belongs to its context."""
    if not hasattr(gateway, "context"):
        gateway.context = ssl.create_default_context()
        gateway.context.check_hostname, gateway.context.verify_mode = False, ssl.CERT_NONE
    context: ssl.SSLContext = gateway.context
    return context


def serial_number(connection: ssl.SSLSocket) -> int:
    certificate = connection.getpeercert(binary_form=True)
    assert certificate is not None
    return x509.load_der_x509_certificate(certificate).serial_number


def test_a_new_certificate_is_shown_to_new_connections(tls: Any, tmp_path: Path) -> None:
    client = tls.connect("agent", ssl=client_context(tls))
    with handshake(tls) as first:
        former, session = serial_number(first), first.session
    with handshake(tls, session) as again:
        assert again.session_reused
    certificate, key = new_certificate()
    make_certificate(tmp_path, (certificate, key))
    assert loaded(tls) == "files with new contents: web.listen"
    # A ticket of the former certificate is not accepted any more.
    with handshake(tls, session) as fresh:
        assert not fresh.session_reused
        assert serial_number(fresh) == certificate.serial_number != former
        session = fresh.session
    with handshake(tls, session) as again:
        assert again.session_reused
    client.received_before_pong()


def test_a_key_of_another_certificate_is_refused(tls: Any, tmp_path: Path) -> None:
    with handshake(tls) as first:
        former = serial_number(first)
    key = (tmp_path / "key.pem").read_bytes()
    make_certificate(tmp_path, new_certificate())
    new_key = (tmp_path / "key.pem").read_bytes()
    (tmp_path / "key.pem").write_bytes(key)
    replace(tls, '"https://app.example"', '"https://new.example"')
    refused(tls, "web.listen: ")
    with handshake(tls) as connection:
        assert serial_number(connection) == former
    (tmp_path / "key.pem").write_bytes(new_key)
    assert loaded(tls) == "in use now: web.allowed_origins; files with new contents: web.listen"
    with handshake(tls) as connection:
        assert serial_number(connection) != former


def test_the_policy_changes_what_a_connected_agent_sees(start_gateway: StartGateway) -> None:
    gateway = start_gateway('[policy]\nagent_calls = "all"\n')
    agent = gateway.connect("agent", claims={"sub": "ada"})
    for number, user in enumerate(("ada", "bob")):
        gateway.publish("call.answered", {"unique_id": f"u{number}", "agent_id": user})
        assert agent.receive_type("call.answered")["payload"]["unique_id"] == f"u{number}"
    replace(gateway, 'agent_calls = "all"', 'agent_calls = "own"')
    assert loaded(gateway) == "in use now: policy.agent_calls"
    assert agent.receive_type("reset")["payload"]["reason"] == "rights_changed"
    state = agent.receive_type("snapshot")["payload"]["events"]
    assert [event["payload"]["unique_id"] for event in state if event["type"] == "call.answered"] == ["u0"]
    gateway.publish("call.answered", {"unique_id": "u2", "agent_id": "bob"})
    gateway.publish("call.answered", {"unique_id": "u3", "agent_id": "ada"})
    assert agent.receive_type("call.answered")["payload"]["unique_id"] == "u3"


def test_public_tenants_and_their_endpoint_change(start_gateway: StartGateway) -> None:
    gateway = start_gateway('[public.tenants.acme]\norigins = ["https://shop.example"]\nanonymous = true\n')
    visitor = gateway.open("/ws/public?tenant_id=acme", origin="https://shop.example")
    session = visitor.receive_type("welcome")["payload"]["session_token"]
    replace(gateway, "[public.tenants.acme]", "[public]\nenabled = false\n[public.tenants.acme]")
    assert loaded(gateway) == "in use for new connections: public.enabled"
    with pytest.raises(Exception, match="404"):
        gateway.open("/ws/public?tenant_id=acme", origin="https://shop.example")
    visitor.received_before_pong()
    key = gateway.folder / "session.key"
    key.write_text(secrets.token_hex(32))
    key.chmod(0o600)
    replace(gateway, "enabled = false", 'session_key_file = "session.key"')
    replace(gateway, "https://shop.example", "https://other.example")
    loaded(gateway)
    with pytest.raises(Exception, match="403"):
        gateway.open("/ws/public?tenant_id=acme", origin="https://shop.example")
    # The session was signed with the former key.
    path = f"/ws/public?session_token={session}"
    headers = {"Authorization": f"Bearer {session}"}
    again = gateway.open(path, origin="https://other.example", additional_headers=headers)
    assert again.receive()["type"] == "welcome"
    assert jwt.decode(session, options={"verify_signature": False})["tenant_id"] == "acme"


def test_the_lowest_level_of_the_log_changes(start_gateway: StartGateway) -> None:
    gateway = start_gateway('[log]\nlevel = "info"\n')
    replace(gateway, 'level = "info"', 'level = "warn"')
    # The line about the reload itself is not logged any more.
    before = gateway.log
    command = run("reload", "--config", str(gateway.folder / "callcenter-ws.toml"))
    assert (command.stdout, command.returncode) == ("in use now: log.level\n", 0), command.stderr
    gateway.connect("agent").socket.close()
    replace(gateway, 'level = "warn"', 'level = "nonsense"')
    refused(gateway, "log.level: ")
    assert "is connected from" not in gateway.log[len(before) :]
    replace(gateway, 'level = "nonsense"', 'level = "info"')
    assert loaded(gateway) == "in use now: log.level"


def test_nothing_is_lost_while_settings_are_loaded_again(start_gateway: StartGateway) -> None:
    """Certificates aside, everything changes back and forth while events are published."""
    gateway = start_gateway("[limits]\noutbox = 256\nslow_timeout = 30\n[compression]\nlevel = 1\n")
    clients = [gateway.connect("supervisor", claims={"sub": f"s{number}"}) for number in range(5)]
    seqs: list[int] = []
    for number in range(12):
        even = number % 2 == 0
        replace(gateway, "outbox = 256" if even else "outbox = 8", "outbox = 8" if even else "outbox = 256")
        replace(gateway, "level = 1" if even else "level = 6", "level = 6" if even else "level = 1")
        gateway.process.send_signal(signal.SIGHUP)
        seqs += [gateway.publish("alert", {"title": "t", "message": str(number) * 300})["seq"] for _ in range(20)]
    for client in clients:
        received = []
        while not received or received[-1] < seqs[-1]:
            message = client.receive()
            assert message["type"] not in ("gap", "reset")
            if "seq" in message:
                received.append(message["seq"])
        assert received == sorted(set(received))
        assert set(seqs) <= set(received)
    assert REFUSED not in gateway.log
