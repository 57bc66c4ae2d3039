"""callcenter-ws stats: the lines, and what goes wrong over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from cli_secret import SECRET
from http_gateway import FakeGateway
from processes import free_port, run
from tls_material import make_certificate

from callcenter_ws.cli.http_request import resource_url
from callcenter_ws.cli.main import main
from callcenter_ws.cli.stats import _lines
from callcenter_ws.cli.target import CommandFailed

STATS: dict[str, Any] = {
    "node": "gw-1",
    "worker": None,
    "version": "0.1.0",
    "started_at": "2026-11-22T19:40:00.123Z",
    "uptime": 93_784.0,
    "tenant_id": None,
    "connections": {
        "total": 1_003,
        "by_role": {"wallboard": 3, "agent": 1_000},
        "by_endpoint": {"ws": 1_003},
        "by_tenant": {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "f": 6},
    },
    "messages": {
        "in": 12,
        "delivered": 4_711,
        "dropped": 1,
        "accepted": 99,
        "duplicates": 2,
        "refused": {"unknown_event": 3, "invalid_event": 1},
    },
    "lagging": 4,
    "broker": {
        "kind": "sqlite",
        "ready": True,
        "waiting_events": 5,
        "file_bytes": 12_345_678,
        "memory_bytes": 7_000_000,
    },
    "statistics": {"tenants": {"waiting": 0, "catching_up": 1, "current": 1_200, "unreadable": 0}, "behind": 2_345},
    "sources": {"connected": 2, "lost": 1},
}


ONE_WORKER = "These are the figures of one worker process: each request may be answered by another one."


def test_the_figures_of_all_tenants() -> None:
    assert list(_lines(STATS)) == [
        "gw-1: version 0.1.0, up 1 d 2 h, since 2026-11-22 19:40:00 UTC",
        "  tenant           all tenants",
        "  connections      1,003: agent 1,000, wallboard 3",
        "  endpoints        ws 1,003",
        "  largest tenants  f 6, e 5, d 4, c 3, b 2, and 1 more",
        "  lagging          4 connections are being sent events from the history",
        "  messages         12 from clients, 4,711 to clients",
        "  dropped          1 messages that clients were told they miss",
        "  events           99 published, 2 repeated",
        "  refused events   4: invalid_event 1, unknown_event 3",
        "  store            sqlite, ready, 5 events wait to be stored, file 12.3 MB, 7.0 MB in memory",
        "  statistics       tenants: catching up 1, current 1,200; 2,345 events behind",
        "  sources          2 connected, 1 lost so far",
    ]


def test_the_figures_of_a_tenant_of_a_worker_on_redis() -> None:
    stats = {
        **STATS,
        "worker": 3,
        "uptime": 65,
        "tenant_id": "acme",
        "connections": {"total": 0, "by_role": {}, "by_endpoint": {}},
        "messages": {"in": 0, "delivered": 0, "dropped": 0},
        "broker": {"kind": "redis", "ready": False},
        "statistics": {"state": "waiting", "epoch": None, "seq": None, "behind": 0},
    }
    del stats["sources"]
    assert list(_lines(stats)) == [
        "gw-1, worker 3: version 0.1.0, up 1 min 5 s, since 2026-11-22 19:40:00 UTC",
        "  tenant           acme",
        "  connections      0",
        "  endpoints        none in use",
        "  lagging          4 connections are being sent events from the history",
        "  messages         0 from clients, 0 to clients",
        "  dropped          0 messages that clients were told they miss",
        "  store            redis, NOT READY",
        "  statistics       waiting: this process does not derive them now",
        f"{ONE_WORKER} Other nodes have figures of their own.",
    ]
    assert list(_lines({**stats, "worker": None}))[-1] == (
        "These are the figures of this node. Other nodes have figures of their own."
    )


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("ws://127.0.0.1:8080/ws", "http://127.0.0.1:8080/ws/stats"),
        ("wss://gw.example/calls/ws/", "https://gw.example/calls/ws/stats"),
        ("https://gw.example", "https://gw.example/ws/stats"),
        ("http://[::1]:8080/ws/stats?x=1", "http://[::1]:8080/ws/stats"),
    ],
)
def test_the_url_of_the_statistics(address: str, url: str) -> None:
    assert resource_url(address, "stats", []) == url
    assert resource_url(address, "stats", [("tenant_id", "a b&c")]) == f"{url}?tenant_id=a%20b%26c"


def test_a_text_that_is_no_url() -> None:
    with pytest.raises(CommandFailed, match="is not a URL"):
        resource_url("http://[::1?token=geheim", "stats", [])


@pytest.fixture
def fake() -> Iterator[FakeGateway]:
    server = FakeGateway(body=json.dumps(STATS).encode())
    yield server
    server.stop()


def stats(*arguments: str, **environment: str) -> tuple[int, str, str]:
    done = run("stats", *arguments, environment=environment)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


def test_the_command_signs_a_token_for_all_tenants(fake: FakeGateway, secret_file: Path) -> None:
    address = ["--url", fake.url, "--set", f"jwt.secret_file={secret_file}", "--set", "jwt.audience=gw"]
    status, out, err = stats(*address)
    assert (status, err) == (0, "")
    assert out.splitlines() == list(_lines(STATS))
    (path, header) = fake.requests[0]
    claims = jwt.decode(header.removeprefix("Bearer "), SECRET, ["HS256"], audience="gw")
    assert (path, claims["role"], claims["tenant_id"]) == ("/ws/stats", "admin", "*")
    status, out, _ = stats(*address, "--json", "--tenant", "acme")
    assert (status, json.loads(out)) == (0, STATS)
    assert fake.requests[1][0] == "/ws/stats?tenant_id=acme"


def test_names_cannot_send_control_characters_to_the_terminal(fake: FakeGateway) -> None:
    connections = {**STATS["connections"], "by_tenant": {"a\x1b[2J": 1}}
    fake.body = json.dumps({**STATS, "connections": connections}).encode()
    status, out, _ = stats("--url", fake.url, "--token", "t")
    assert (status, "  largest tenants  a�[2J 1" in out.splitlines()) == (0, True)


def test_a_given_token_is_used(fake: FakeGateway, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from.a.file\n")
    stats("--url", fake.url, "--token-file", str(tmp_path / "token"))
    stats("--url", fake.url, CALLCENTER_WS_TOKEN="from.the.environment")
    assert [header for _, header in fake.requests] == ["Bearer from.a.file", "Bearer from.the.environment"]


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (
            401,
            b'{"error": {"code": "unauthorized", "message": "exp: the token has expired"}}',
            "/ws/stats: unauthorized: exp: ",
        ),
        (404, b"not found", "is not a gateway: it answers with status 404"),
        (200, b"<html>", "is not a gateway: it answers with status 200"),
        (200, b"[]", "is not a gateway: it answers with status 200"),
        (200, b'{"other": 1}', "answers with an object that has no statistics"),
        (200, b"x" * 68_000_000, "the answer is larger than 67108864 bytes"),
        (403, rb'{"error": {"code": "no", "message": "\u001b[2J\u202eon"}}', "/ws/stats: no: �[2J�on"),
    ],
)
def test_answers_that_are_no_statistics(status: int, body: bytes, reason: str, fake: FakeGateway) -> None:
    fake.status, fake.body = status, body
    done = stats("--url", fake.url, "--token", "t")
    assert done[:2] == (1, "")
    assert reason in done[2]


def test_a_gateway_that_does_not_answer(fake: FakeGateway) -> None:
    fake.hold.clear()
    done = stats("--url", fake.url, "--token", "t", "--timeout", "0.5")
    assert done == (1, "", f"callcenter-ws stats: no answer from {fake.url}/ws/stats within 0.5 s\n")


def test_no_gateway() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    assert stats("--url", url, "--token", "t") == (
        1,
        "",
        f"callcenter-ws stats: cannot connect to {url}/ws/stats: Connection refused\n",
    )


def test_a_certificate_must_be_trusted(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    both = tmp_path / "both.pem"
    both.write_bytes(key.read_bytes() + certificate.read_bytes())
    server = FakeGateway(body=json.dumps(STATS).encode(), certificate=both)
    try:
        status, _, err = stats("--url", server.url, "--token", "t")
        assert status == 1
        assert f"the certificate of {server.url}/ws/stats is not trusted: self-signed certificate" in err
        assert "SSL_CERT_FILE" in err
        assert stats("--url", server.url, "--token", "t", SSL_CERT_FILE=str(certificate))[::2] == (0, "")
        status, _, err = stats("--url", server.url.replace("https", "http"), "--token", "t")
        assert (status, "a port with TLS needs https://" in err) == (1, True)
    finally:
        server.stop()


def test_a_port_without_tls_is_explained(fake: FakeGateway) -> None:
    status, _, err = stats("--url", fake.url.replace("http", "https"), "--token", "t")
    assert (status, "a port without TLS needs http://" in err) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--url", "nonsense", "--token", "t"], "expected a URL such as"),
        (["--url", "http://h:x/", "--token", "t"], "cannot connect to http://h:x/ws/stats"),
        (["--url", "http://127.0.0.1:1", "--token", "sécret"], "characters other than printable ASCII"),
        (["--url", "http://127.0.0.1:1", "--token", "geheim\r\nX: y"], "characters other than printable ASCII"),
        (["--url", "http://127.0.0.1:1"], "no secret to sign a token with"),
        (["--set", "web.listen=unix:/x"], "no URL known: give --url"),
        ([], "no demo has run yet"),
    ],
)
def test_errors_of_stats(arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stats", *arguments]) == 1
    printed = capsys.readouterr()
    assert reason in printed.err
    assert "geheim" not in printed.err
