"""``./demo --exchange``: a client of the gateway sees the calls of the played Asterisk, made by the real bridge."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import DEADLINE, TWISTD, Deadline, Demo, free_port, has_ended
from websockets.sync.client import ClientConnection, connect

from callcenter_ws.demo.sample_data import AGENTS

NAMES = {person.user_id: person.name for person in AGENTS}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    demo = Demo(tmp_path_factory.mktemp("demo") / "state", free_port(), exchange=True)
    yield demo
    demo.stop()
    assert "Traceback" not in demo.output, demo.output


def join(demo: Demo) -> ClientConnection:
    """Connect as the page does for a supervisor."""
    headers = {"Authorization": f"Bearer {demo.tokens['supervisor']}"}
    return connect(demo.url("/ws?snapshot=1", "ws"), additional_headers=headers, open_timeout=DEADLINE)


def receive(socket: ClientConnection, matches: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Return the next event that matches, of the snapshot or live."""
    deadline = Deadline()
    while True:
        message: dict[str, Any] = json.loads(socket.recv(timeout=deadline.remaining()))
        events = message["payload"]["events"] if message["type"] == "snapshot" else [message]
        for event in events:
            if matches(event):
                found: dict[str, Any] = event
                return found


def test_calls_are_shown_with_the_agents_who_answer(demo: Demo) -> None:
    with join(demo) as socket:
        joined = receive(socket, lambda event: event["type"] == "queue.joined")
        assert joined["payload"]["queue_name"] in {"sales", "support", "billing"}
        assert joined["payload"]["direction"] == "inbound"
        answered = receive(socket, lambda event: event["type"] == "call.answered")
        assert NAMES[answered["payload"]["agent_id"]] == answered["payload"]["agent_name"]
        call_id = answered["payload"]["call_id"]
        assert call_id.startswith("pbx1-")
        talking = receive(socket, lambda event: event["type"] == "agent.state.changed")
        assert talking["payload"]["user_id"] in NAMES


def test_the_source_is_up_and_all_agents_are_logged_in(demo: Demo) -> None:
    with join(demo) as socket:
        receive(socket, lambda event: event["type"] == "source.up" and event["payload"]["source"] == "pbx1")
    with join(demo) as socket:
        expected = {person.user_id for person in AGENTS if int(person.extension) <= 1010}
        seen: set[str] = set()

        def complete(event: dict[str, Any]) -> bool:
            if event["type"].startswith("agent."):
                seen.add(event["payload"]["user_id"])
            return seen >= expected

        receive(socket, complete)


def test_the_exchange_carries_out_a_break(demo: Demo) -> None:
    with join(demo) as socket:
        receive(socket, lambda event: event["type"] == "source.up" and event["payload"]["source"] == "pbx1")
        payload = {"name": "agent.state.set", "command_id": "k1", "user_id": "agent-03", "state": "break"}
        socket.send(json.dumps({"type": "command", "id": "1", "payload": {**payload, "reason": "lunch"}}))
        by_us = {"user_id": "agent-03", "reason": "lunch"}
        receive(
            socket,
            lambda event: event["type"] == "queue.member.paused" and event["payload"].items() >= by_us.items(),
        )
        outcome = receive(socket, lambda event: event["type"] in ("command.done", "command.failed"))
        assert (outcome["type"], outcome["payload"]["command_id"]) == ("command.done", "k1"), outcome


def test_its_bridge_is_a_separate_process_that_ends_with_the_gateway(tmp_path: Path) -> None:
    demo = Demo(tmp_path / "state", free_port(), exchange=True)
    pid = demo.simulator_pid()
    demo.process.kill()
    demo.process.wait()
    assert has_ended(pid)
    demo.stop()


def test_it_needs_the_demo() -> None:
    command = [str(TWISTD), "-n", "--pidfile=", "callcenter-ws", "--exchange"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE)
    assert run.returncode != 0 and "--exchange needs --demo" in run.stdout + run.stderr
    assert "Traceback" not in run.stderr
