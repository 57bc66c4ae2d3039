"""``examples/legacy_sender.py`` in a process of its own, on Python 3 and, where it is installed, on Python 2.7."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest_twisted
from amp_doubles import LoopbackGateway
from twisted.internet.utils import getProcessOutputAndValue

SENDER = Path(__file__).parents[2] / "examples" / "legacy_sender.py"
EVENT_TYPES = [
    "agent.login",
    "call.incoming",
    "queue.joined",
    "call.ringing",
    "agent.state.changed",
    "call.answered",
    "agent.state.changed",
    "call.hold",
    "call.unhold",
    "call.ended",
    "agent.state.changed",
    "notification",
]


async def send(python: str, *arguments: str) -> tuple[list[str], str, int]:
    out, err, code = await getProcessOutputAndValue(python, [str(SENDER), *arguments], env=os.environ)
    return out.decode().splitlines(), err.decode(), code


def check_events(gateway: LoopbackGateway, lines: list[str]) -> None:
    assert lines == [f"{seq} {type_}" for seq, type_ in enumerate(EVENT_TYPES, 1)]
    assert [publication.event.type.name for publication in gateway.delivered] == EVENT_TYPES
    assert {publication.event.tenant_id for publication in gateway.delivered} == {"acme"}
    payloads: list[dict[str, Any]] = [json.loads(publication.event.payload) for publication in gateway.delivered]
    assert payloads[1]["caller_name"] == "Zoé Dupont"
    assert len(payloads[9]["variables"]["transcript"]) == 4000
    assert len(gateway.delivered[9].event.payload) > 65_535
    assert gateway.delivered[11].event.user_id == "7"


@pytest_twisted.ensureDeferred
async def test_events_over_a_unix_socket(python: str, gateway: LoopbackGateway, tmp_path: Path) -> None:
    lines, errors, code = await send(python, f"unix:{tmp_path}/amp.sock")
    assert (errors, code) == ("", 0)
    check_events(gateway, lines)


@pytest_twisted.ensureDeferred
async def test_events_over_tcp(python: str, gateway: LoopbackGateway, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("acme-service\n")
    lines, errors, code = await send(python, gateway.endpoint, "--token-file", str(token))
    assert (errors, code) == ("", 0)
    check_events(gateway, lines)


@pytest_twisted.ensureDeferred
async def test_count_and_tenant(python: str, gateway: LoopbackGateway, tmp_path: Path) -> None:
    lines, _, code = await send(python, f"unix:{tmp_path}/amp.sock", "--tenant", "globex", "--count", "2")
    assert code == 0
    assert len(lines) == 2 * len(EVENT_TYPES)
    assert {publication.event.tenant_id for publication in gateway.delivered} == {"globex"}


@pytest_twisted.ensureDeferred
async def test_numbered_events_of_a_source(python: str, gateway: LoopbackGateway, tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    source = (f"unix:{tmp_path}/amp.sock", "--source", "dialer", "--state", str(state))
    lines, errors, code = await send(python, *source)
    assert (errors, code) == ("", 0)
    published = [one for one in gateway.delivered if one.event.type.name != "source.up"]
    assert [one.event.type.name for one in published] == EVENT_TYPES
    assert {one.event.source for one in published} == {"dialer"}
    values = json.loads(state.read_text())
    assert (values["generation"], values["number"], values["unanswered"]) == (1, len(EVENT_TYPES), None)
    # The process was killed before the answer to the last event, and the gateway has forgotten its id.
    last = published[-1].event
    event = ["acme", last.type.name, json.loads(last.payload), last.user_id, "another-id"]
    state.write_text(json.dumps({**values, "unanswered": event}))
    lines, errors, code = await send(python, *source)
    assert (errors, code, len(lines)) == ("", 0, 1 + len(EVENT_TYPES))
    assert [one.event.type.name for one in gateway.delivered if one.event.type.name != "source.up"] == 2 * EVENT_TYPES
    # Killed before the gateway received it: it is published by the next process.
    values = json.loads(state.read_text())
    state.write_text(json.dumps({**values, "number": values["number"] + 1, "unanswered": event}))
    await send(python, *source, "--count", "0")
    assert gateway.delivered[-1].event.event_id == "another-id"


@pytest_twisted.ensureDeferred
async def test_an_unusable_state_file_is_named_before_the_gateway_hears_of_the_source(
    python: str, gateway: LoopbackGateway, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.json"
    for text in ("{", "[]", "{}"):
        broken.write_text(text)
        lines, errors, code = await send(
            python, f"unix:{tmp_path}/amp.sock", "--source", "dialer", "--state", str(broken)
        )
        assert (lines, code) == ([], 1)
        assert f"{broken} is not a state file" in errors
        assert broken.read_text() == text
    missing = tmp_path / "missing" / "state.json"
    lines, errors, code = await send(python, f"unix:{tmp_path}/amp.sock", "--source", "dialer", "--state", str(missing))
    assert (lines, code) == ([], 1)
    assert f"{missing} cannot be written" in errors
    # Of a source that has said Hello the gateway would have published source.up.
    assert gateway.delivered == []


@pytest_twisted.ensureDeferred
async def test_source_needs_a_state_file(python: str) -> None:
    lines, errors, code = await send(python, "unix:/run/x.sock", "--source", "dialer")
    assert (lines, code) == ([], 2)
    assert "--source and --state belong together" in errors


@pytest_twisted.ensureDeferred
async def test_refusal_is_printed(python: str, gateway: LoopbackGateway, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("swordfish")
    for arguments, reason in [
        ((gateway.endpoint,), "UNAUTHENTICATED: call Authenticate"),
        ((gateway.endpoint, "--token-file", str(token)), "UNAUTHENTICATED: signature: does not match any key"),
        ((f"unix:{tmp_path}/amp.sock", "--tenant", "*"), "FORBIDDEN: tenant_id: "),
        ((f"unix:{tmp_path}/missing",), "ConnectError"),
    ]:
        lines, errors, code = await send(python, *arguments)
        assert (lines, code) == ([], 1)
        assert reason.partition(":")[0] in errors
        assert reason in errors or "missing" in arguments[0]
        assert "swordfish" not in errors
        assert "Traceback" not in errors
    assert gateway.delivered == []


def test_no_import_from_callcenter_ws() -> None:
    assert "callcenter_ws" not in SENDER.read_text().replace("callcenter-ws", "")
