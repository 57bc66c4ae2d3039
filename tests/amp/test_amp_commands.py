"""The commands on the wire, as ``docs/senders.rst``, "The commands", lists them."""

from __future__ import annotations

import pytest

from callcenter_ws.amp import commands
from callcenter_ws.amp.commands import REFUSALS, AmpRefusal, refusal_of, wire_error
from callcenter_ws.errors import ERRORS, ErrorCode, Refusal

WIRE_FORMAT = {
    "Authenticate": ("token", "principal"),
    "PublishEvent": ("tenant_id type payload user_id? event_id? timestamp? persist? source_seq?", "epoch seq event_id"),
    "PublishBatch": ("events", "epoch results"),
    "UserOnline": ("tenant_id user_id", "online connections"),
    "DisconnectUser": ("tenant_id user_id reason?", "closed"),
    "RevokeToken": ("tenant_id jti? user_id?", "closed"),
    "Subscribe": ("kinds", ""),
    "ClientEvent": ("tenant_id type payload user_id? event_id", ""),
    "Hello": (
        "source kind instance generation? tenants? capabilities? version?",
        "lease generation source_seq server_time_ms",
    ),
    "SyncState": ("tenant_id scope source_seq part last entities timestamp?", "epoch seq published"),
    "ListSources": ("tenant_id?", "sources left_out"),
    "ForgetSource": ("source tenant_id?", "released"),
    "AddUser": ("user", ""),
    "ChangeUser": ("name change", "closed"),
    "RemoveUser": ("name", "closed"),
    "ListUsers": ("tenant_id? after?", "users more"),
    "ListSessions": ("tenant_id? name? after?", "sessions more"),
    "EndSessions": ("name? session?", "sessions closed"),
    "ApprovePairing": ("code tenant_id role queues? name?", "network"),
    "Command": ("command_id tenant_id name payload user_id role extension? deadline_ms", ""),
    "CommandOutcome": (
        "tenant_id user_id command_id source_seq? state code? message? data? timestamp?",
        "accepted",
    ),
    "Ping": ("waiting?", "version node server_time_ms"),
}


@pytest.mark.parametrize("name", WIRE_FORMAT)
def test_argument_and_response_names_match_the_manual(name: str) -> None:
    command = getattr(commands, name)
    actual = [
        " ".join(key.decode() + "?" * argument.optional for key, argument in side)
        for side in (command.arguments, command.response)
    ]
    assert tuple(actual) == WIRE_FORMAT[name]
    assert command.commandName == name.encode()
    assert set(command.allErrors.values()) == set(REFUSALS)


def test_each_error_has_its_own_amp_code() -> None:
    assert {entry.amp_code for entry in ERRORS.values()} == set(REFUSALS)
    assert len(set(REFUSALS.values())) == 8


@pytest.mark.parametrize("code", ErrorCode)
def test_refusal_survives_encoding(code: ErrorCode) -> None:
    error = wire_error(Refusal(code, "payload.unique_id: required"))
    decoded = refusal_of(error.errorCode, error.description)
    assert decoded.entry.amp_code == ERRORS[code].amp_code
    assert decoded.message == "payload.unique_id: required"


@pytest.mark.parametrize("kind", REFUSALS.values())
def test_each_exception_has_the_codes_of_its_error(kind: type[AmpRefusal]) -> None:
    assert ERRORS[kind.error_code].amp_code == kind.amp_code


def test_unknown_error_code_means_unavailable() -> None:
    assert refusal_of(b"NEW", "what").code is ErrorCode.UNAVAILABLE


def test_error_text_is_limited() -> None:
    assert len(wire_error(Refusal(ErrorCode.INVALID_EVENT, "x" * 100_000)).description) == 1024
