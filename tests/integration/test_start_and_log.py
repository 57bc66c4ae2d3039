"""How a start fails, and what the log of a real ``twistd`` contains."""

from __future__ import annotations

import json
import resource
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import DEADLINE, TWISTD, Process, free_port, run, wait_until

SECRET = "0123456789abcdef" * 4


@pytest.fixture
def occupied_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


def options(folder: Path, port: int, *more: str) -> list[str]:
    secret = folder / "secret"
    secret.touch(0o600)
    secret.write_text(SECRET)
    settings = [
        f"jwt.secret_file={secret}",
        "store.url=memory:",
        f"web.listen=tcp:{port}:interface=127.0.0.1",
        f"amp.listen=unix:{folder / 'amp.sock'}",
        *more,
    ]
    return ["callcenter-ws", *(text for setting in settings for text in ("--set", setting))]


def gateway(folder: Path, port: int, *more: str) -> Process:
    return Process([str(TWISTD), "-n", "--pidfile=", *options(folder, port, *more)])


def test_a_daemon_that_cannot_listen_exits_and_leaves_no_pid_file(tmp_path: Path, occupied_port: int) -> None:
    command = [str(TWISTD), "--pidfile=pid", "--logfile=log", *options(tmp_path, occupied_port)]
    ended = subprocess.run(command, cwd=tmp_path, timeout=DEADLINE, check=False, capture_output=True, text=True)
    assert ended.returncode == 1
    # The process that was started ends before the daemon that it has forked.
    wait_until(lambda: not (tmp_path / "pid").exists(), "the end of the daemon")
    log = (tmp_path / "log").read_text()
    assert f"cannot listen on tcp:{occupied_port}:interface=127.0.0.1 (web.listen): Address already in use" in log
    assert f"--set web.listen=tcp:{occupied_port + 1}:interface=127.0.0.1" in log
    assert "Traceback" not in log + ended.stdout + ended.stderr


def test_in_the_foreground_too(tmp_path: Path, occupied_port: int) -> None:
    process = gateway(tmp_path, occupied_port)
    assert process.wait() == 1
    assert "cannot listen on" in process.output
    assert "Traceback" not in process.output


def test_connections_are_logged_as_json_lines(tmp_path: Path) -> None:
    port = free_port()
    process = gateway(tmp_path, port, "log.format=json")
    process.expect('"message": "callcenter-ws serves"')
    token = run("token", "--secret-file", str(tmp_path / "secret"), "--tenant", "acme", "--user", "7").stdout.strip()
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(
            b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer " + token.encode() + b"\r\n\r\n"
        )
        process.expect("acme/7 .* is connected from 127.0.0.1")
    process.expect("acme/7 .* is closed by the peer with 1006 abnormal, .*, after ")
    assert process.stop() == -signal.SIGTERM
    lines = [json.loads(line) for line in process.lines]
    assert {"time", "level", "namespace", "message"} <= lines[0].keys()
    opened, closed = (line for line in lines if line.get("user") == "7")
    assert opened["connection"] == closed["connection"]
    assert (closed["tenant"], closed["role"], closed["ip"], closed["endpoint"]) == ("acme", "agent", "127.0.0.1", "ws")
    assert (closed["by"], closed["close_code"], closed["received"]) == ("peer", 1006, 0)
    assert token not in process.output


def test_a_higher_level_leaves_out_lower_ones(tmp_path: Path) -> None:
    port = free_port()
    process = gateway(tmp_path, port, "log.level=error")

    def serves() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            return False
        return True

    wait_until(serves, "the port")
    assert process.stop() == -signal.SIGTERM
    assert process.output == ""


def test_the_soft_limit_of_open_files_is_raised(tmp_path: Path) -> None:
    command = [str(TWISTD), "-n", "--pidfile=", *options(tmp_path, free_port())]
    limited = Process(["sh", "-c", 'ulimit -Sn 256 && ulimit -Hn 4096 && exec "$@"', "sh", *command])
    limited.expect("callcenter-ws serves")
    assert resource.prlimit(limited.pid, resource.RLIMIT_NOFILE) == (4_096, 4_096)
    limited.stop()
