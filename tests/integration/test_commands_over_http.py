"""Commands over HTTP at a real gateway with a source, and the lines that the audit log has of them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from answering_source import AnsweringSource
from processes import wait_until

PAUSE = {"name": "agent.state.set", "user_id": "anna", "state": "break", "reason": "lunch"}


def test_a_service_waits_for_the_outcome_or_asks_for_it(tmp_path: Path, start_gateway: Callable[..., Any]) -> None:
    audit = tmp_path / "audit.jsonl"
    gateway = start_gateway(f'[commands]\nenabled = true\n[audit]\nfile = "{audit}"\n', "--set", "store.url=memory:")
    source = AnsweringSource(gateway.amp_path)
    token = gateway.token("service", sub="planner")
    answers: list[tuple[int, Any]] = []

    def issue(fields: dict[str, Any], query: str = "") -> tuple[int, Any]:
        answer: tuple[int, Any] = gateway.http(f"/ws/commands{query}", method="POST", token=token, body=fields)
        return answer

    waiting = threading.Thread(target=lambda: answers.append(issue({**PAUSE, "command_id": "a"}, "?wait=1")))
    waiting.start()
    assert source.taken()["payload"] == {"user_id": "anna", "state": "break", "reason": "lunch"}
    source.answer("a", "rejected")
    waiting.join(60)
    ((status, outcome),) = answers
    assert (status, outcome["state"], outcome["code"]) == (200, "failed", "rejected")
    assert gateway.http("/ws/commands/a", token=token) == (200, {"name": "agent.state.set", **outcome})
    status, accepted = issue({"name": "call.originate", "destination": "+4930123", "command_id": "b"})
    assert (status, accepted["source"], accepted["state"]) == (202, "pbx1", "accepted")
    source.answer(source.taken()["command_id"], call_id="17")
    wait_until(lambda: gateway.http("/ws/commands/b", token=token)[1]["state"] == "done", "the outcome")
    status, repeated = issue({"name": "call.originate", "destination": "+4930123", "command_id": "b"})
    assert (status, repeated["data"]) == (200, {"call_id": "17"})
    assert issue({"name": "call.originate", "destination": "1", "command_id": "b"})[0] == 409
    assert issue({"name": "call.originate", "destination": "1,2&3", "command_id": "c"})[0] == 400
    assert issue({"name": "no.such", "command_id": "\r\n"})[0] == 400
    source.close()

    def lines() -> list[dict[str, Any]]:
        return [json.loads(line) for line in audit.read_text().splitlines()]

    wait_until(lambda: len(lines()) == 7, "seven lines")
    told = [(line["action"], line.get("command_id"), line.get("outcome"), line.get("code")) for line in lines()]
    assert told == [
        ("command.accepted", "a", None, None),
        ("command.closed", "a", "failed", "rejected"),
        ("command.accepted", "b", None, None),
        ("command.closed", "b", "done", None),
        ("command.refused", "b", None, "conflict"),
        ("command.refused", "c", None, "invalid_message"),
        ("command.refused", None, None, "invalid_message"),
    ]
    assert lines()[0].items() >= {"subject_user_id": "anna", "state": "break", "source": "pbx1"}.items()
    assert lines()[2]["destination"] == "+4930123"
    assert not any(text in audit.read_text() for text in ("lunch", "1,2&3", "no.such"))
