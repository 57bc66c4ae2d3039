"""The example daemon at a running gateway: an agent over WebSocket, an operator with ``callcenter-ws command``.

The daemon and the gateway are killed while a command is carried out.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import Process, run, wait_until
from running_gateway import run_gateway

EXAMPLE = Path(__file__).parents[2] / "examples" / "command_daemon.py"
SETTINGS = "[commands]\nenabled = true\n"

StartDaemon = Callable[..., Process]


@pytest.fixture(scope="module")
def gateway(start_shared_gateway: Any) -> Any:
    return start_shared_gateway(SETTINGS, "--set", "store.url=memory:")


@pytest.fixture
def start_daemon() -> Iterator[StartDaemon]:
    started: list[Process] = []

    def start(gateway: Any, seconds: float) -> Process:
        options = ["--seconds", str(seconds)]
        endpoint, spool = f"unix:{gateway.amp_path}", str(gateway.folder / "exchange.spool")
        started.append(Process([sys.executable, str(EXAMPLE), endpoint, spool, *options]))
        started[-1].expect("^connected")
        return started[-1]

    yield start
    for daemon in started:
        daemon.stop(signal.SIGKILL)


def test_what_an_agent_and_an_operator_have_done(gateway: Any, start_daemon: StartDaemon) -> None:
    daemon = start_daemon(gateway, 0)
    agent = gateway.connect(claims={"sub": "7"})
    originate = {"name": "call.originate", "command_id": "c1", "destination": "100"}
    assert agent.request("command", originate)["payload"]["source"] == "exchange"
    incoming, answered = agent.receive_type("call.incoming"), agent.receive_type("call.answered")
    done = agent.receive_type("command.done")
    assert incoming["seq"] < answered["seq"] < done["seq"]
    call_id = done["payload"]["data"]["call_id"]
    again = agent.request("command", originate)["payload"]
    assert (again["state"], again["data"]) == ("done", {"call_id": call_id})
    options = ["--url", gateway.url("/"), "--token", gateway.token("service"), "--tenant", "acme", "--wait"]
    hung_up = run("command", "call.hangup", f"call_id={call_id}", "--id", "h1", *options)
    assert (hung_up.returncode, hung_up.stderr) == (0, "")
    assert json.loads(hung_up.stdout)["state"] == "done"
    assert agent.receive_type("call.ended")["payload"]["unique_id"] == call_id
    gone = run("command", "call.hangup", "call_id=none", *options)
    assert (gone.returncode, "not_found" in gone.stderr) == (1, True)
    agent.socket.close()
    daemon.expect("begun call.originate c1")
    daemon.expect("begun call.hangup h1")
    assert daemon.output.count("begun") == 2


def test_a_daemon_that_is_killed_tells_at_its_next_start(gateway: Any, start_daemon: StartDaemon) -> None:
    daemon = start_daemon(gateway, 30)
    agent = gateway.connect(claims={"sub": "8"})
    agent.request("command", {"name": "call.originate", "command_id": "c1", "destination": "100"})
    daemon.expect("begun call.originate c1 of 8")
    daemon.stop(signal.SIGKILL)
    daemon = start_daemon(gateway, 0)
    failed = agent.receive_type("command.failed")["payload"]
    assert (failed["command_id"], failed["code"]) == ("c1", "outcome_unknown")
    assert "restarted" in failed["message"]
    agent.request("command", {"name": "call.originate", "command_id": "c2", "destination": "100"})
    assert agent.receive_type("command.done")["payload"]["command_id"] == "c2"
    assert "c1" not in daemon.output
    agent.socket.close()


def test_an_outcome_waits_for_a_gateway_that_was_killed(
    tmp_path: Path, start_daemon: StartDaemon, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder, store = tmp_path_factory.mktemp("gw"), f"store.url=sqlite:{tmp_path}/gateway.db"
    gateway = run_gateway(folder, SETTINGS, "--set", store)
    daemon = start_daemon(gateway, 1)
    originate = {"name": "call.originate", "command_id": "c1", "destination": "100"}
    status, accepted = gateway.http("/ws/commands", method="POST", token=gateway.token("service"), body=originate)
    assert (status, accepted["state"]) == (202, "accepted")
    daemon.expect("begun call.originate c1 of service-1")
    gateway.process.kill()
    gateway.stop()
    daemon.expect("^unreachable")
    gateway = run_gateway(folder, SETTINGS, "--set", store)
    try:
        token = gateway.token("service")

        def outcome() -> Any:
            answer = gateway.http("/ws/commands/c1", token=token)[1]
            return answer if answer.get("state") in ("done", "failed") else None

        found = wait_until(outcome, "the outcome")
        assert (found["state"], list(found["data"])) == ("done", ["call_id"])
        assert daemon.output.count("begun") == 1
    finally:
        gateway.stop()
    assert "Traceback" not in gateway.log, gateway.log
