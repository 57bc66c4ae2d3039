"""The lines of the audit log about commands: what they say, and what they leave out."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from callcenter_ws.commands.audit_lines import SUBJECTS, UNRECORDED, CommandAuditLines
from callcenter_ws.errors import ErrorCode
from callcenter_ws.events.audit import AuditAction, AuditValue
from callcenter_ws.events.commands import (
    COMMANDS,
    CommandKey,
    CommandRecord,
    CommandState,
    OutcomeCode,
)
from callcenter_ws.events.principal import Principal, Role

ANNA = Principal("acme", "anna", Role.AGENT)


class Lines:
    """Implements ``interfaces.Audit``: keeps the lines, without what is not known."""

    def __init__(self) -> None:
        self.lines: list[dict[str, AuditValue]] = []

    def record(self, action: AuditAction, **fields: AuditValue) -> None:
        given = {name: value for name, value in fields.items() if value is not None}
        self.lines.append({"action": action.value, **given})


def record(name: str, payload: dict[str, object], source: str = "pbx1", **closed: Any) -> CommandRecord:
    return CommandRecord(
        key=CommandKey("acme", "anna", "c-1"),
        role=Role.AGENT,
        name=name,
        payload=msgspec.json.encode(payload),
        source=source,
        accepted_ms=1_000,
        deadline_ms=6_000,
        **closed,
    )


COMMON = {"command_id": "c-1", "tenant_id": "acme", "user_id": "anna", "role": "agent"}


def test_every_field_of_every_command_is_recorded_or_left_out_on_purpose() -> None:
    fields = {field for command in COMMANDS.values() for field in command.payload.__struct_fields__}
    assert fields == {*SUBJECTS, *UNRECORDED}


def test_accepted() -> None:
    audit = Lines()
    lines = CommandAuditLines(audit)
    lines.command_accepted(record("call.transfer", {"call_id": "17", "destination": "+4930"}))
    lines.command_accepted(record("call.disposition", {"call_id": "17", "code": "sold", "note": "secret"}, source=""))
    lines.command_accepted(record("call.record", {"call_id": "17", "action": "start"}))
    assert audit.lines == [
        {
            "action": "command.accepted",
            "name": "call.transfer",
            "source": "pbx1",
            "call_id": "17",
            "destination": "+4930",
            **COMMON,
        },
        {"action": "command.accepted", "name": "call.disposition", "call_id": "17", "disposition": "sold", **COMMON},
        {
            "action": "command.accepted",
            "name": "call.record",
            "source": "pbx1",
            "call_id": "17",
            "recording": "start",
            **COMMON,
        },
    ]


def test_refused() -> None:
    audit = Lines()
    lines = CommandAuditLines(audit)
    lines.command_refused(ANNA, "call.hangup", "c-1", ErrorCode.NOT_ALLOWED)
    lines.command_refused(ANNA, "", None, ErrorCode.INVALID_MESSAGE)
    lines.command_refused(ANNA, "call.hangup", "c-3", ErrorCode.RATE_LIMITED)
    about = {"action": "command.refused", "tenant_id": "acme", "user_id": "anna", "role": "agent"}
    assert audit.lines == [
        {"name": "call.hangup", "code": "not_allowed", "command_id": "c-1", **about},
        {"code": "invalid_message", **about},
    ]


@pytest.mark.parametrize(
    ("outcome", "fields"),
    [
        ({"state": CommandState.DONE, "message": "secret"}, {"outcome": "done"}),
        (
            {"state": CommandState.FAILED, "code": OutcomeCode.BUSY, "data": b'"secret"'},
            {"outcome": "failed", "code": "busy"},
        ),
    ],
)
def test_closed(outcome: dict[str, Any], fields: dict[str, str]) -> None:
    audit = Lines()
    CommandAuditLines(audit).command_closed(record("call.hangup", {"call_id": "17"}, closed_ms=3_500, **outcome))
    closed = {"action": "command.closed", "name": "call.hangup", "source": "pbx1", "seconds": 2.5}
    assert audit.lines == [{**closed, **COMMON, **fields}]
