"""The demo as one command starts it: the page, the simulator, the tokens and the commands that use it."""

from __future__ import annotations

import json
import re
import signal
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import CALLCENTER_WS, DEADLINE, Deadline, Demo, Process, free_port, has_ended, run
from websockets.sync.client import ClientConnection, connect

from callcenter_ws import __version__

ROOT = Path(__file__).parents[2]
CALLER_FIELDS = ("caller_id", "caller_name")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    demo = Demo(tmp_path_factory.mktemp("demo") / "state", free_port())
    yield demo
    demo.stop()
    assert "Traceback" not in demo.output, demo.output


@pytest.fixture
def start_demo(tmp_path: Path) -> Iterator[Callable[[int], Demo]]:
    """Starts demos that use the same folder, one after the other."""
    started: list[Demo] = []

    def start(port: int) -> Demo:
        started.append(Demo(tmp_path / "state", port))
        return started[-1]

    yield start
    for demo in started:
        demo.stop()
        assert "Traceback" not in demo.output, demo.output


def join(demo: Demo, role: str) -> ClientConnection:
    """Connect with a ready-made token."""
    path = "/ws/public" if role == "visitor" else "/ws?snapshot=1"
    headers = {"Authorization": f"Bearer {demo.tokens[role]}"}
    return connect(demo.url(path, "ws"), additional_headers=headers, open_timeout=DEADLINE)


def receive(socket: ClientConnection, matches: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Return the next message that matches."""
    deadline = Deadline()
    while True:
        message: dict[str, Any] = json.loads(socket.recv(timeout=deadline.remaining()))
        if matches(message):
            return message


def test_the_announcement_is_printed_once(demo: Demo) -> None:
    assert sorted(demo.tokens) == ["agent", "supervisor", "visitor", "wallboard"]
    assert demo.output.count("The demo of callcenter-ws is running.") == 1
    assert len(re.findall(r"^ +\w+ +eyJ", demo.output, re.MULTILINE)) == 4
    assert demo.url() in demo.announcement
    for token in demo.tokens.values():
        assert demo.output.count(token) == 1


def test_the_secret_is_private_and_not_in_the_repository(demo: Demo) -> None:
    file = demo.folder / "secret"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(demo.folder.stat().st_mode) == 0o700
    assert str(file) in demo.announcement and not file.is_relative_to(ROOT)
    secret = file.read_text()
    assert len(secret) >= 32 and secret not in demo.output
    sources = [
        path
        for folder in ("callcenter_ws", "etc", "docs", "examples", "twisted", "tests")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    ]
    assert sources and not [path for path in sources if secret.encode() in path.read_bytes()]


def test_the_simulator_is_a_separate_process(demo: Demo) -> None:
    command = Path(f"/proc/{demo.simulator_pid()}/cmdline").read_bytes().split(b"\0")
    assert b"callcenter_ws.demo.simulator" in command
    assert f"unix:path={demo.folder}/amp.sock".encode() in command
    assert stat.S_IMODE((demo.folder / "amp.sock").stat().st_mode) == 0o660


def test_the_page_and_its_files_are_served(demo: Demo) -> None:
    headers, page = demo.get("/")
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    loaded = re.findall(rb'(?:src|href)="([^"]+)"', page)
    assert len(loaded) >= 3
    for path in loaded:
        assert demo.get(path.decode())[1]
    about = json.loads(demo.get("/pages/about")[1])
    assert about["signing_in"] and sorted(about["demo"]) == ["agent", "supervisor", "wallboard"]


@pytest.mark.parametrize("role", ["agent", "supervisor", "wallboard"])
def test_staff_roles_receive_the_simulated_calls(demo: Demo, role: str) -> None:
    with join(demo, role) as socket:
        welcome = receive(socket, lambda message: message["type"] == "welcome")["payload"]
        assert (welcome["tenant_id"], welcome["role"]) == ("demo", role)
        snapshot = receive(socket, lambda message: message["type"] == "snapshot")
        state = snapshot["payload"]["events"]
        call = next((event for event in state if event["type"] == "call.incoming"), None) or receive(
            socket, lambda message: message["type"] == "call.incoming"
        )
        shown = {call["payload"][field] for field in CALLER_FIELDS}
        assert (shown == {"***"}) is (role == "wallboard")
        live = receive(socket, lambda message: "seq" in message and message["tenant_id"] == "demo")
        assert live["seq"] > snapshot["payload"]["seq"]


def test_the_simulator_carries_out_the_commands_of_an_agent(demo: Demo) -> None:
    with join(demo, "agent") as socket:
        assert receive(socket, lambda message: message["type"] == "welcome")["payload"]["commands"]["names"]
        for number, fields in enumerate(({"state": "available"}, {"state": "break", "reason": "lunch"})):
            payload = {"name": "agent.state.set", "command_id": f"k{number}", **fields}
            socket.send(json.dumps({"type": "command", "id": str(number), "payload": payload}))
            accepted = receive(socket, lambda message, id_=str(number): message.get("in_reply_to") == id_)
            assert (accepted["type"], accepted["payload"]["source"]) == ("accepted", "simulator")
            seen: list[dict[str, Any]] = []
            receive(socket, lambda message, seen=seen: seen.append(message) or message["type"].startswith("command."))
            assert seen[-1]["type"] == "command.done", seen[-1]
    # What a command causes precedes its outcome.
    paused = [message for message in seen if message["type"] == "queue.member.paused"]
    assert "agent-01" in {message["payload"]["user_id"] for message in paused}


# The command line, from another process


def test_the_version(demo: Demo) -> None:
    assert run("version", environment=demo.environment).stdout.startswith(f"callcenter-ws {__version__} (")


def test_a_token_of_the_command_line_opens_the_demo(demo: Demo) -> None:
    made = run("token", "--role", "supervisor", "--user", "boss", environment=demo.environment)
    assert (made.returncode, made.stderr) == (0, "")
    headers = {"Authorization": f"Bearer {made.stdout.strip()}"}
    with connect(demo.url("/ws", "ws"), additional_headers=headers) as socket:
        welcome = receive(socket, lambda message: message["type"] == "welcome")["payload"]
    assert (welcome["user_id"], welcome["role"], welcome["tenant_id"]) == ("boss", "supervisor", "demo")


def test_tail_prints_emitted_events(demo: Demo) -> None:
    watching = Process([*CALLCENTER_WS, "tail", "--events", "alert"], demo.environment)
    watching.expect('"welcome"')
    emitted = run("emit", "alert", '{"title": "Hello", "message": "you"}', environment=demo.environment)
    assert emitted.returncode == 0, emitted.stderr
    # An alert of the simulated call center may come before it.
    seen = json.loads(watching.expect('"Hello"').string)
    assert (seen["type"], seen["seq"]) == ("alert", json.loads(emitted.stdout)["seq"])
    assert watching.stop(signal.SIGINT) == 130


def test_an_interrupted_tail_prints_no_error(demo: Demo) -> None:
    watching = Process([*CALLCENTER_WS, "tail"], demo.environment)
    watching.expect('"seq"')
    assert watching.stop(signal.SIGINT) == 130
    assert [line for line in watching.lines if not line.startswith("{")] == []


def test_the_configuration_of_the_project_is_checked(demo: Demo) -> None:
    defaults = str(ROOT / "etc" / "callcenter-ws.toml")
    secret = f"jwt.secret_file={demo.folder / 'secret'}"
    keyless = run("check-config", "--config", defaults)
    assert keyless.returncode == 0 and keyless.stdout.startswith("starts, but refuses every connection: ")
    assert "jwt.secret_file: there is no key to verify tokens with" in keyless.stderr
    checked = run("check-config", "--config", defaults, "--set", secret)
    assert (checked.returncode, checked.stderr) == (0, "")
    assert checked.stdout.startswith("OK: ")


def test_without_demo_nobody_signs_in_with_a_click(start_gateway: Callable[..., Any]) -> None:
    gateway = start_gateway("", "--set", "web.demo=true", "--set", "web.pages=false")
    assert gateway.http("/")[0] == gateway.http("/live")[0] == 200
    assert gateway.http("/pages/about")[1]["demo"] == []
    assert gateway.http("/session/demo")[0] == 404


def test_pages_that_are_not_served_are_not_found(start_gateway: Callable[..., Any]) -> None:
    gateway = start_gateway("", "--set", "web.pages=false")
    assert {gateway.http(path)[0] for path in ("/", "/login", "/live", "/session/token", "/pages/about")} == {404}


# The end of the demo


def test_the_simulator_ends_with_the_gateway_and_the_secret_is_kept(
    demo: Demo, start_demo: Callable[[int], Demo]
) -> None:
    port = free_port()
    first = start_demo(port)
    secret, simulator = (first.folder / "secret").read_text(), first.simulator_pid()
    assert secret != (demo.folder / "secret").read_text()
    # A visitor without a token, like a chat widget.
    with connect(first.url("/ws/public?tenant_id=demo", "ws"), origin=first.url()[:-1]) as anonymous:
        assert json.loads(anonymous.recv(timeout=DEADLINE))["payload"]["session_token"]
        assert first.stop() == -signal.SIGTERM
        assert has_ended(simulator)
    second = start_demo(port)
    simulator = second.simulator_pid()
    assert (second.folder / "secret").read_text() == secret
    # A token that was printed before the restart is still valid.
    headers = {"Authorization": f"Bearer {first.tokens['supervisor']}"}
    with connect(second.url("/ws", "ws"), additional_headers=headers) as socket:
        assert receive(socket, lambda message: message["type"] == "welcome")
    # The simulator ends even if the gateway is killed and cannot stop it.
    assert second.stop(signal.SIGKILL) == -signal.SIGKILL
    assert has_ended(simulator)


def test_the_demo_does_not_start_if_the_port_is_in_use(demo: Demo, tmp_path: Path) -> None:
    listen = f"web.listen=tcp:{demo.port}:interface=127.0.0.1"
    command = [*demo.process.args[:-1], listen]
    second = Process(command, {"CALLCENTER_WS_DEMO_DIR": str(tmp_path / "state")})
    second.expect(f"cannot listen on tcp:{demo.port}")
    assert second.wait() == 1
    assert "Traceback" not in second.output, second.output
    assert "callcenter-ws serves" not in second.output
    assert second.output.count("eyJ") == 0


def test_a_second_demo_is_refused_and_the_first_keeps_running(demo: Demo) -> None:
    recorded = (demo.folder / "demo.json").read_text()
    second = Process([*demo.process.args[:-1], f"web.listen=tcp:{free_port()}:interface=127.0.0.1"], demo.environment)
    second.expect(f"a demo of yours is already running at {demo.url()} .pid {demo.pid}.: stop it, or set")
    assert second.wait() == 1
    assert (demo.folder / "demo.json").read_text() == recorded
    assert json.loads(recorded)["pid"] == demo.pid
    emitted = run("emit", "alert", '{"title": "Still", "message": "here"}', environment=demo.environment)
    assert emitted.returncode == 0, emitted.stderr


def test_a_visitor_sees_the_chat_of_its_session_and_no_other(demo: Demo) -> None:
    # The last test of the module: the session starts some seconds after the demo.
    with join(demo, "visitor") as socket:
        assert receive(socket, lambda message: message["type"] == "welcome")["payload"]["session_id"] == "chat-demo"
        first = receive(socket, lambda message: "seq" in message)
    assert first["type"].startswith("chat.") and first["payload"]["session_id"] == "chat-demo"
    assert "email" not in json.dumps(first)
