"""Commands at a real gateway, carried out by a real bridge at an exchange that is played."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bridge_world import Bridge, Exchange, source, write_config
from processes import wait_until
from running_gateway import RunningGateway, run_gateway

COMMANDS = """
        [sources.commands]
        enabled = true
        context = "internal"
        device = "PJSIP/{extension}"
        hot_desks = ["204"]
        queues = ["support"]
        login_queues = ["support"]
"""


@pytest.fixture
def processes() -> Iterator[list[Any]]:
    """Processes that are ended with the test. A traceback in the log of one fails the test."""
    started: list[Any] = []
    yield started
    for process in reversed(started):
        process.stop()
    for process in started:
        output = process.log if isinstance(process, RunningGateway) else process.output
        assert "Traceback" not in output, output


def outcome_of(client: Any, name: str, **fields: Any) -> tuple[list[str], dict[str, Any]]:
    """Issue a command; return the types of the events before its outcome, and the outcome with its type.

    A bridge that was started may not be connected yet.
    """

    def issue() -> Any:
        answer = client.request("command", {"name": name, **fields})
        return answer if answer["type"] == "accepted" else None

    answer = wait_until(issue, f"{name} to be accepted")
    command_id = answer["payload"]["command_id"]
    seen: list[str] = []
    while (message := client.receive())["payload"].get("command_id") != command_id:
        seen.append(message["type"])
    return seen, {"type": message["type"], **message["payload"]}


def is_refused(client: Any) -> bool:
    """Return whether no source carries out a command. Where one does, it is so already."""
    answer = client.request("command", {"name": "agent.state.set", "state": "available"})
    return answer["type"] == "error" and answer["payload"]["code"] == "no_source"


def test_agents_change_their_state_at_the_exchange(tmp_path: Path, processes: list[Any]) -> None:
    gateway = run_gateway(tmp_path, f'[store]\nurl = "sqlite:{tmp_path}/events.sqlite"\n[commands]\nenabled = true\n')
    processes.append(gateway)
    exchange = Exchange()
    processes.append(exchange)
    exchange.add_member("PJSIP/201")
    settings = source(tmp_path, "pbx1", exchange.port, more=COMMANDS)
    config = write_config(tmp_path, tmp_path / "amp.sock", settings)
    bridge = Bridge(config)
    processes.append(bridge)
    bridge.expect("its state is known")
    alice = gateway.connect("agent", claims={"sub": "201"})

    # It is so already.
    assert outcome_of(alice, "agent.state.set", state="available")[1]["data"] == {"state": "available"}
    seen, outcome = outcome_of(alice, "agent.state.set", state="break", reason="lunch")
    assert seen[-2:] == ["queue.member.paused", "agent.state.changed"]
    assert (outcome["type"], outcome["data"]) == ("command.done", {"state": "break"})
    # What its user has no right to, and what the settings do not allow, is refused by the gateway.
    for name, fields in (("call.originate", {"destination": "204"}), ("queue.member.add", {"queue_name": "support"})):
        assert alice.request("command", {"name": name, **fields})["type"] == "error"

    # An agent signs in at a hot desk; the bridge is killed; the desk is still the agent's.
    erin = gateway.connect("agent", claims={"sub": "erin"})
    seen, outcome = outcome_of(erin, "agent.state.set", state="available", extension="204")
    assert "agent.login" in seen and outcome["data"] == {"state": "available"}
    assert outcome_of(alice, "agent.state.set", state="available", extension="204")[1]["code"] == "busy"
    bridge.stop(signal.SIGKILL)
    again = Bridge(config)
    processes.append(again)
    again.expect("its state is known")
    seen, outcome = outcome_of(erin, "agent.state.set", state="away")
    assert outcome["data"] == {"state": "break"}
    seen, outcome = outcome_of(erin, "agent.state.set", state="offline")
    assert seen[-2:] == ["queue.member.removed", "agent.logout"]
    assert outcome["data"] == {"state": "offline"}

    # Commands are switched off, and on again, while the bridge runs.
    for old, new in (("true", "false"), ("false", "true")):
        config.write_text(config.read_text().replace(f"enabled = {old}", f"enabled = {new}"))
        again.process.send_signal(signal.SIGHUP)
        again.expect("the settings were loaded again: in use now: sources.pbx1.commands")
        wait_until(lambda new=new: is_refused(alice) is (new == "false"), f"enabled = {new} to have an effect")

    # The exchange ends: nothing is done, and the asker is told so.
    exchange.do("leave")
    again.expect("no exchange: ")
    _, outcome = outcome_of(alice, "agent.state.set", state="available")
    assert (outcome["type"], outcome["code"]) == ("command.failed", "source_down")
    for client in (alice, erin):
        client.socket.close()
