"""The state machine of an Asterisk with other settings, after a restart, and between its messages, as to agents."""

from __future__ import annotations

import msgspec
import pytest

from callcenter_ws.bridge.asterisk.machine import AsteriskMachine
from callcenter_ws.bridge.asterisk.message import AmiMessage
from callcenter_ws.bridge.settings import AgentEntry, TenantRule
from tests.bridge.agent_world import line
from tests.bridge.asterisk_captures import SETTINGS

_MEMBER = {"Queue": "support", "Interface": "PJSIP/201", "MemberName": "Alice Adams", "Status": "1", "Paused": "0"}


def machine(records: dict[str, bytes] | None = None) -> AsteriskMachine:
    return AsteriskMachine(SETTINGS, records or {})


def send(machine: AsteriskMachine, name: str, time: float, **headers: str) -> list[str]:
    machine.handle(AmiMessage({"Event": name, **headers}, {}, name, ""), time)
    return told(machine)


def told(machine: AsteriskMachine) -> list[str]:
    return [line(event) for event in machine.take().events if event.type.startswith(("agent.", "queue.member."))]


def test_a_reload_moves_devices_and_tenants() -> None:
    asterisk = machine()
    send(asterisk, "QueueMemberAdded", 1000, **_MEMBER)
    bob = {"PJSIP/201": AgentEntry(user_id="bob")}
    asterisk.reload(msgspec.structs.replace(SETTINGS, agents=bob, agent_pattern=""), 1001)
    moved = told(asterisk)
    rules = (TenantRule(tenant="hooli", queue="support"),)
    asterisk.reload(msgspec.structs.replace(SETTINGS, agents=bob, tenants=rules), 1002)
    assert [moved, told(asterisk)] == [
        [
            "acme removed 201 support free",
            "acme added bob support free",
            "acme logout 201",
            "acme login bob available support",
        ],
        [
            "acme removed bob support free",
            "hooli added bob support free",
            "acme logout bob",
            "hooli login bob available support",
        ],
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"agent_pattern": "no group"},
        {"tenants": (TenantRule(tenant="hooli", queue="(a+)+"),)},
    ],
)
def test_a_reload_that_cannot_be_used_changes_nothing(changes: dict[str, object]) -> None:
    asterisk = machine()
    send(asterisk, "QueueMemberAdded", 1000, **_MEMBER)
    with pytest.raises(ValueError, match="group"):
        asterisk.reload(msgspec.structs.replace(SETTINGS, agents={}, tenant="hooli", **changes), 1001)
    assert send(asterisk, "QueueMemberPause", 1002, **(_MEMBER | {"Paused": "1"})) == [
        "acme paused 201 support paused",
        "acme state.changed 201 available>break",
    ]


def test_work_after_a_call_ends_though_no_event_comes() -> None:
    asterisk = machine()
    send(asterisk, "QueueMemberAdded", 1000, **(_MEMBER | {"Status": "2"}))
    wrapping = send(asterisk, "QueueMemberStatus", 1001, **(_MEMBER | {"Wrapuptime": "30", "LastCall": "1001"}))
    asterisk.pass_time(1032)
    assert [wrapping, told(asterisk)] == [
        ["acme state.changed 201 busy>wrap_up"],
        ["acme state.changed 201 wrap_up>available"],
    ]


def test_a_restart_tells_nothing_before_the_lists() -> None:
    before = machine()
    before.handle(AmiMessage({"Event": "QueueMemberAdded", **_MEMBER}, {}, "QueueMemberAdded", ""), 1000)
    records = {key: value for key, value in before.take().records.items() if value is not None}
    assert {key.partition("/")[0] for key in records} == {"member", "agent"}
    after = machine(records)
    after.pass_time(1001)
    assert after.take().events == ()


def test_what_does_not_fit_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("callcenter_ws.bridge.members._MAX_MEMBERS", 0)
    asterisk = machine()
    send(asterisk, "QueueMemberAdded", 1000, **_MEMBER)
    assert asterisk.dropped == {"members": 1}
