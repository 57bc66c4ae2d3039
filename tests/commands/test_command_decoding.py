"""What a client asks for, as it is checked before anything is done with it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from command_world import CHOICES, POLICY
from hypothesis import given, settings
from hypothesis import strategies as st

from callcenter_ws.commands.decoding import CommandRequest, decode_request
from callcenter_ws.commands.policy import CommandChoices, CommandPolicy
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.commands import COMMANDS


def decode(policy: CommandPolicy = POLICY, **fields: Any) -> CommandRequest:
    return decode_request(fields, policy, "acme", lambda: "made")


def mistake(policy: CommandPolicy = POLICY, **fields: Any) -> str:
    with pytest.raises(Refusal) as refused:
        decode(policy, **fields)
    assert refused.value.code is ErrorCode.INVALID_MESSAGE
    return refused.value.message


def test_equal_payloads_have_equal_texts() -> None:
    one = decode(name="call.transfer", call_id="c1", destination="100", command_id="1")
    two = decode(command_id="1", destination="100", call_id="c1", name="call.transfer")
    assert one.payload == two.payload == b'{"call_id":"c1","destination":"100"}'
    # A field that is absent is the same as one that is null.
    assert decode(name="agent.state.set", state="away", reason=None).payload == b'{"state":"away"}'
    assert decode(name="agent.state.set", state="away").command_id == "made"


def test_every_mistake_is_named() -> None:
    text = mistake(name="call.transfer", callid="c1", destination=5)
    assert "unknown field 'callid'; did you mean call_id?" in text
    assert "payload.call_id: required" in text
    assert "payload.destination: expected a string" in text
    assert "did you mean agent.state.set" in mistake(name="agent.stateset", state="away")
    assert "command_id" in mistake(name="call.originate", destination="1", command_id=5)
    assert "expires_at" in mistake(name="call.originate", destination="1", expires_at="2026-01-01T00:00:00")
    assert "name" in mistake(destination="1")
    assert "32 fields" in mistake(**{f"field-{number}": 1 for number in range(40)})


def test_what_the_settings_list() -> None:
    assert "lunch" in mistake(name="agent.state.set", state="break", reason="nap")
    assert "lunch" in mistake(name="queue.member.pause", queue_name="q", reason="nap")
    assert "sold" in mistake(name="call.disposition", call_id="c", code="lost")
    # The reason of the end of a chat is free.
    assert decode(name="chat.close", session_id="s", reason="nap")
    own = CommandPolicy(enabled=True, choices=CHOICES, tenants={"acme": CommandChoices()})
    assert decode(own, name="agent.state.set", state="break", reason="nap")
    assert "none" in mistake(own, name="call.disposition", call_id="c", code="sold")
    letters = CommandPolicy(enabled=True, destination=re.compile(r"^[a-z]+$"))
    assert decode(letters, name="call.originate", destination="desk")
    assert "destination" in mistake(letters, name="call.originate", destination="100")
    assert "destination" in mistake(letters, name="call.originate", destination="desk\n")


_TEXTS = st.text(max_size=40) | st.text("0123456789*#+&,${}()\r\n\0 ab", max_size=40)


@settings(max_examples=200)
@given(st.sampled_from(sorted(COMMANDS)), st.dictionaries(st.sampled_from(
    sorted({field for type_ in COMMANDS.values() for field in type_.payload.__struct_fields__})), _TEXTS))  # fmt: skip
def test_no_value_breaks_a_line_and_no_destination_has_a_meaning_for_a_dialplan(
    name: str, fields: dict[str, str]
) -> None:
    try:
        request = decode(name=name, **fields)
    except Refusal as refusal:
        assert refusal.code is ErrorCode.INVALID_MESSAGE
        return
    for field, value in json.loads(request.payload).items():
        assert not re.search("[\x00-\x1f\x7f-\x9f\u2028\u2029]", value), field
        if field == "destination":
            assert re.fullmatch(r"\+?[0-9*#]{1,32}", value)
