"""The wire as PROTOCOL section 6 writes it down."""

from __future__ import annotations

import pytest

from callcenter_ws.amp import commands
from callcenter_ws.amp.commands import REFUSALS, AmpRefusal, refusal_of, wire_error
from callcenter_ws.errors import ERRORS, ErrorCode, Refusal

WIRE = {
    "Authenticate": ("token", "principal"),
    "PublishEvent": ("tenant_id type payload user_id? event_id? timestamp? persist?", "epoch seq event_id"),
    "PublishBatch": ("events", "epoch results"),
    "UserOnline": ("tenant_id user_id", "online connections"),
    "DisconnectUser": ("tenant_id user_id reason?", "closed"),
    "RevokeToken": ("tenant_id jti? user_id?", "closed"),
    "Subscribe": ("kinds", ""),
    "ClientEvent": ("tenant_id type payload user_id? event_id", ""),
    "Ping": ("", "version node"),
}


@pytest.mark.parametrize("name", WIRE)
def test_names_are_those_of_the_protocol(name: str) -> None:
    command = getattr(commands, name)
    shown = [
        " ".join(key.decode() + "?" * argument.optional for key, argument in side)
        for side in (command.arguments, command.response)
    ]
    assert tuple(shown) == WIRE[name]
    assert command.commandName == name.encode()
    assert set(command.allErrors.values()) == set(REFUSALS)


def test_every_error_travels_under_a_code_of_its_own() -> None:
    assert {entry.amp_code for entry in ERRORS.values()} == set(REFUSALS)
    assert len(set(REFUSALS.values())) == 6


@pytest.mark.parametrize("code", ErrorCode)
def test_a_refusal_arrives_as_what_it_was(code: ErrorCode) -> None:
    error = wire_error(Refusal(code, "payload.unique_id: required"))
    back = refusal_of(error.errorCode, error.description)
    assert back.entry.amp_code == ERRORS[code].amp_code
    assert back.message == "payload.unique_id: required"


@pytest.mark.parametrize("kind", REFUSALS.values())
def test_each_exception_knows_its_code(kind: type[AmpRefusal]) -> None:
    assert ERRORS[kind.error_code].amp_code == kind.amp_code


def test_a_code_from_the_future_means_try_later() -> None:
    assert refusal_of(b"NEW", "what").code is ErrorCode.UNAVAILABLE


def test_texts_on_the_wire_are_bounded() -> None:
    assert len(wire_error(Refusal(ErrorCode.INVALID_EVENT, "x" * 100_000)).description) == 1024
