"""Captures of a real Asterisk 18.26, with other queues than those of 22 and as FreePBX names things.

``captures/asterisk-18.tar.xz`` was recorded as that of Asterisk 22 (``asterisk_captures``); the notes of the scripted
phones have a form for programs too, ``facts``. Members named ``Local/201@from-queue/n`` have their state from a hint
(``hint:201@ext-local``) and are dialed through Gosub, in the scenarios ``f01`` to ``f05``.
"""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from asterisk_captures import replayed

from callcenter_ws.bridge.asterisk.capture import Capture, parse_times
from callcenter_ws.bridge.laws import LawChecker
from callcenter_ws.bridge.outgoing import BridgeEvent

ARCHIVE = Path(__file__).parent / "captures" / "asterisk-18.tar.xz"
PHONES = {"201", "202", "203", "204", "205"}
REASONS = {"answered": "CONNECT", "abandoned": "ABANDON", "timeout": "EXITWITHTIMEOUT"}
"""Why callers left a queue, and how ``queue_log`` calls it."""


@cache
def _files() -> dict[str, bytes]:
    with tarfile.open(ARCHIVE) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]  # files


def scenarios() -> list[str]:
    return sorted(name.removesuffix(".truth.json") for name in _files() if name.endswith(".truth.json"))


@cache
def told(name: str) -> list[BridgeEvent]:
    """The events that a bridge makes of a capture."""
    files = _files()
    capture = Capture(files[f"{name}.txt"], parse_times(files[f"{name}.times"].decode()), files[f"{name}.sent"])
    return replayed([capture])


def payloads(name: str, kind: str) -> list[Any]:  # Any, as JSON is
    return [event.payload for event in told(name) if event.type == kind]


def facts(scenario: str, does: str) -> list[Any]:  # Any, as JSON is
    noted = json.loads(_files()[f"{scenario}.truth.json"])["facts"]
    return [fact for fact in noted if fact.get("does") == does]


def queue_log(scenario: str) -> Counter[str]:
    lines = json.loads(_files()[f"{scenario}.truth.json"])["queue_log"]
    return Counter(line.split("|")[4] for line in lines)


BOTH = [name for scenario in scenarios() for name in (scenario, f"{scenario}.full")]


def scenario_of(name: str) -> str:
    return name.removesuffix(".full")


def test_there_are_captures() -> None:
    assert len(scenarios()) == 22


@pytest.mark.parametrize("name", BOTH)
def test_the_laws_hold(name: str) -> None:
    checker = LawChecker()
    for event in told(name):
        checker.check(event)
    checker.finish()
    assert [str(breach) for breach in checker.breaches] == []


@pytest.mark.parametrize("name", BOTH)
def test_each_call_of_a_phone_begins_and_ends_once(name: str) -> None:
    begun = [payload["call_id"] for payload in payloads(name, "call.incoming")]
    assert len(begun) == len(set(begun)) == len(facts(scenario_of(name), "call"))
    assert sorted(payload["call_id"] for payload in payloads(name, "call.ended")) == sorted(begun)
    callers = [fact["caller"] for fact in facts(scenario_of(name), "call")]
    assert sorted(payload["caller_id"] for payload in payloads(name, "call.incoming")) == sorted(callers)


@pytest.mark.parametrize("name", BOTH)
def test_those_who_answered_are_told(name: str) -> None:
    answered = [fact["phone"] for fact in facts(scenario_of(name), "answer") if fact["phone"] in PHONES]
    assert sorted(payload["agent_id"] for payload in payloads(name, "call.answered")) == sorted(answered)


@pytest.mark.parametrize("name", BOTH)
def test_stays_in_queues_are_those_of_queue_log(name: str) -> None:
    log = queue_log(scenario_of(name))
    assert len(payloads(name, "queue.joined")) == len(payloads(name, "queue.left")) == log["ENTERQUEUE"]
    left = Counter(payload["reason"] for payload in payloads(name, "queue.left"))
    if not name.endswith(".full"):
        # Why a caller who stayed has left is told only with the class dialplan.
        left["timeout"] += left.pop("other", 0)
    assert +left == +Counter({reason: log[record] for reason, record in REASONS.items()})
    assert len(payloads(name, "call.abandoned")) == log["ABANDON"]


@pytest.mark.parametrize("name", BOTH)
def test_holds_and_transfers_are_those_of_the_phones(name: str) -> None:
    scenario = scenario_of(name)
    assert len(payloads(name, "call.hold")) == len(facts(scenario, "hold"))
    kinds = Counter(payload["transfer_type"] for payload in payloads(name, "call.transferred"))
    assert kinds == Counter(does for does in ("blind", "attended") for _ in facts(scenario, does))


def test_a_member_of_freepbx_is_its_user() -> None:
    ringing = {payload["agent_id"] for payload in payloads("f01-freepbx", "call.ringing")}
    assert ringing == {"201", "202"}
    (answered,) = payloads("f01-freepbx", "call.answered")
    assert (answered["agent_id"], answered["agent_name"], answered["queue_name"]) == ("201", "Alice Adams", "400")
    states = [(event["user_id"], event["state"]) for event in payloads("f01-freepbx", "agent.state.changed")]
    assert ("201", "talking") in states and ("202", "talking") not in states
