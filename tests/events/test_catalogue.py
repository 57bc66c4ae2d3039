"""The event types, and validation of each field of their payloads."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_events import REQUIRED, event, payload_of

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.catalogue import CATALOGUE
from callcenter_ws.events.event import Origin, make_event
from callcenter_ws.events.mistakes import MAX_MISTAKES

CALL_FIELDS = {
    "call_id": "c-1", "direction": "inbound", "caller_id": "100", "caller_name": "Rui", "destination": "200",
    "queue_name": "sales", "agent_id": 7, "agent_name": "Ana", "channel": "PJSIP/1", "destination_channel": "PJSIP/2",
    "started_at": "2026-11-22T19:40:00.123Z", "answered_at": "2026-11-22T20:40:03+01:00", "variables": {"a": [1]},
}  # fmt: skip
MEMBER_FIELDS = {"username": "ana", "interface": "PJSIP/7", "paused": True, "penalty": 0, "reason": "lunch"}
COMMAND_FIELDS = {"source": "pbx1", "data": {"channel": [1]}, "message": "the call has ended"}

FIGURES = {
    "source": "gateway", "epoch": "e", "as_of_seq": 7, "generated_at": "2026-11-22T19:40:00Z", "day": "2026-11-22",
    "time_zone": "UTC", "today": {"offered": 1}, "interval": {"start": "x"}, "incomplete_since": "2026-11-22T19:40:00Z",
}  # fmt: skip
OPTIONAL: dict[str, dict[str, Any]] = {
    "agent.login": {"extension": "100", "interface": "PJSIP/100", "queues": ["sales", 4], "state": "available"},
    "agent.state.changed": {
        "previous_state": "ringing", "reason": "call", "since_at": "2026-11-22T19:40:00Z", "extension": 100,
    },
    "agent.logout": {"reason": "connection_lost"},
    "call.incoming": CALL_FIELDS,
    "call.ringing": CALL_FIELDS,
    "call.answered": {**CALL_FIELDS, "wait_seconds": 4, "ring_seconds": 2.5},
    "call.hold": {**CALL_FIELDS, "held_by": "7"},
    "call.unhold": {**CALL_FIELDS, "held_by": "7"},
    "call.transferred": {**CALL_FIELDS, "transfer_type": "blind", "from_agent_id": 7, "to_agent_id": "8"},
    "call.missed": {**CALL_FIELDS, "ring_seconds": 20},
    "call.abandoned": {**CALL_FIELDS, "wait_seconds": 31.5, "position": 2},
    "call.ended": {
        **CALL_FIELDS, "ended_by": "caller", "hangup_cause": 16, "talk_seconds": 60, "hold_seconds": 0,
        "wait_seconds": 1.5,
    },
    "call.disposition": {
        "label": "Sale", "note": "two licences", "unique_id": "1700000000.1", "queue_name": "sales", "agent_id": 7,
    },
    "queue.joined": {**CALL_FIELDS, "position": 1, "calls_waiting": 3},
    "queue.left": {**CALL_FIELDS, "reason": "abandoned", "wait_seconds": 5},
    "queue.stats": {
        "talking_agents": 1, "longest_wait_time": 30.5, "average_wait_time": 11, "completed_calls": 90,
        "abandoned_calls": 4,
    },
    "queue.member.added": MEMBER_FIELDS,
    "queue.member.removed": MEMBER_FIELDS,
    "queue.member.paused": MEMBER_FIELDS,
    "queue.member.unpaused": MEMBER_FIELDS,
    "chat.session.started": {
        "visitor_name": "Rui", "visitor_email": "rui@example.org", "queue_name": "sales", "agent_id": 7,
        "agent_name": "Ana", "status": "waiting",
    },
    "chat.message": {"sender_name": "Rui", "private": False, "client_message_id": "x-1"},
    "chat.typing": {"sender_name": "Rui", "sender_id": "v-1"},
    "chat.delivered": {},
    "chat.transferred": {"from_agent_id": 7, "agent_name": "Ana"},
    "chat.session.ended": {"reason": "timeout", "ended_by": "visitor"},
    "notification": {"data": {"call_id": [1, None]}, "severity": "info", "expires_at": "2026-11-23T00:00:00Z"},
    "alert": {"severity": "critical"},
    "source.up": {
        "kind": "asterisk", "reason": "connected", "since": "2026-11-22T19:40:00Z", "version": "22.10.1",
        "commands": ["call.hangup"],
    },
    "source.down": {
        "kind": "asterisk", "reason": "lease ended", "since": "2026-11-22T19:40:00Z", "version": "22.10.1",
    },
    "agent.stats": {
        **FIGURES, "username": "bruno", "queues": ["sales", 7], "state": "break", "reason": "lunch",
        "since": "2026-11-22T19:40:00Z", "seconds_in_state": 1.5,
    },
    "tenant.stats": FIGURES,
    "presence.changed": {"connections": 2, "reason": "connected"},
    **{
        f"queue.alert.{what}": {
            "queue_name": "sales", "source": "pbx1", "metric": "longest_wait_time", "window": "now", "value": 75,
            "threshold": 60, "severity": "warning", "repeat": 1, "reason": "recovered", "by": "7", "note": "seen",
        }
        for what in ("raised", "acknowledged", "cleared")
    },
    "command.done": COMMAND_FIELDS,
    "command.failed": COMMAND_FIELDS,
    "command.executed": {
        "source": "pbx1", "queue_name": "sales", "call_id": "c-1", "session_id": "s-1", "subject_user_id": 8,
        "code": "timeout",
    },
    "statistics.settings.changed": {"queues": {"sales": {"service_level_seconds": 30}}},
}  # fmt: skip

REQUIRED_FIELDS = [(name, field) for name, fields in REQUIRED.items() for field in fields]
OPTIONAL_FIELDS = [
    (name, field) for name, fields in OPTIONAL.items() for field in fields if field not in REQUIRED[name]
]
STATES = ("available", "busy", "away", "break", "offline", "ringing", "talking", "hold", "wrap_up")
TEXT_FIELDS = frozenset(("agent_name", "caller_name", "sender_name", "visitor_name"))
LEFT_REASONS = ("answered", "abandoned", "timeout", "empty", "key", "withdrawn", "transferred")


def fields_of(name: str) -> tuple[msgspec.structs.FieldInfo, ...]:
    """Return the declared fields of a type."""
    return msgspec.structs.fields(CATALOGUE[name].payload)


def refused(type_: str, payload: Any, **fields: Any) -> Refusal:
    """Return the refusal of an event with exactly this payload."""
    arguments: dict[str, Any] = {"tenant_id": "acme", "event_id": "e", "now": 0.0, "received_at": 0.0, **fields}
    if type_ in CATALOGUE and CATALOGUE[type_].needs_user:
        arguments.setdefault("user_id", "7")
    with pytest.raises(Refusal) as raised:
        make_event(type_=type_, payload=payload, **arguments)
    return raised.value


def test_the_catalogue_has_40_types() -> None:
    assert set(CATALOGUE) == set(REQUIRED)
    assert len(CATALOGUE) == 40


@pytest.mark.parametrize("name", REQUIRED)
def test_a_type_declares_its_required_and_optional_fields(name: str) -> None:
    fields = msgspec.structs.fields(CATALOGUE[name].payload)
    assert {field.name for field in fields if field.required} == set(REQUIRED[name])
    assert {field.name for field in fields} == set(REQUIRED[name]) | set(OPTIONAL[name])


@pytest.mark.parametrize("name", REQUIRED)
def test_the_required_fields_alone_are_accepted(name: str) -> None:
    assert payload_of(event(name)) == REQUIRED[name]


@pytest.mark.parametrize("name", REQUIRED)
def test_optional_and_unknown_fields_are_accepted_unchanged(name: str) -> None:
    extra = {"x_dialplan": {"deep": [1, {"a": None}]}, "": 0, "ünïcode \x00": "\U0001f600", "big": 2**63, "f": 1e300}
    sent = {**OPTIONAL[name], **REQUIRED[name], **extra}
    assert payload_of(event(name, sent)) == sent


@pytest.mark.parametrize(("name", "field"), REQUIRED_FIELDS)
def test_a_missing_required_field_is_refused_by_name(name: str, field: str) -> None:
    payload = {key: value for key, value in REQUIRED[name].items() if key != field}
    refusal = refused(name, payload)
    assert refusal.code is ErrorCode.INVALID_EVENT
    assert refusal.message == f"payload.{field}: required"


@pytest.mark.parametrize("name", [name for name, fields in REQUIRED.items() if fields])
def test_all_missing_fields_are_named(name: str) -> None:
    mistakes = refused(name, {}).message.split("; ")
    assert mistakes == [f"payload.{field.name}: required" for field in fields_of(name) if field.required]


def test_invalid_and_missing_fields_of_the_event_and_of_its_payload_are_named_together() -> None:
    payload = {"callerid": "100", "direction": "sideways", "agent_id": [], "unique_id": "1.1"}
    refusal = refused("call.incoming", payload, tenant_id="", timestamp="yesterday", persist="yes")
    assert refusal.code is ErrorCode.INVALID_EVENT
    assert refusal.message.split("; ") == [
        "persist: expected true or false",
        "tenant_id: expected a string of 1 to 255 characters",
        "timestamp: expected an RFC 3339 instant",
        "payload.direction: expected one of: inbound, internal, outbound",
        "payload.caller_id: required (is 'callerid' meant?)",
        "payload.destination: required",
        "payload.agent_id: expected an integer or a string or null, got an array",
    ]


def test_the_number_of_named_mistakes_is_bounded() -> None:
    names = [field.name for field in fields_of("call.answered")]
    mistakes = refused("call.answered", {name: {"x": []} for name in names}).message.split("; ")
    assert len(names) > MAX_MISTAKES
    assert len(mistakes) == MAX_MISTAKES + 1
    assert mistakes[-1] == "and more"


@pytest.mark.parametrize("sent", ["callerid", "callerId", "Caller-ID", "CALLER_ID", "caler_id"])
def test_a_field_that_is_probably_misspelled_is_named_beside_the_missing_one(sent: str) -> None:
    payload = {"unique_id": "1", "destination": "2", "variables": {}, sent: "3"}
    assert refused("call.incoming", payload).message == f"payload.caller_id: required (is {sent!r} meant?)"


@pytest.mark.parametrize(
    ("sent", "meant"),
    [("call.incomming", "call.incoming"), ("agent_login", "agent.login"), ("QueueStats", "queue.stats")],
)
def test_a_similar_type_is_suggested(sent: str, meant: str) -> None:
    refusal = refused(sent, {})
    assert refusal.code is ErrorCode.UNKNOWN_EVENT
    assert refusal.message == f"type: there is no event type {sent!r}; did you mean {meant}?"


@pytest.mark.parametrize("sent", ["", "x", "zzzzzzzz", "call.incoming" * 100])
def test_nothing_is_suggested_for_a_type_that_is_not_similar(sent: str) -> None:
    assert refused(sent, {}).message == f"type: there is no event type {sent[:64]!r}"


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, 10**4299], ids=["2**64", "-2**63-1", "10**4299"])
@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("payload.x", lambda number: {"x": number}),
        ("payload.x.y[1]", lambda number: {"x": {"z": 1, "y": [2**63 - 1, number]}}),
        ("payload.data.n", lambda number: {"data": {"n": number}}),
    ],
    ids=["flat", "deep", "declared"],
)
def test_an_integer_that_does_not_fit_in_64_bits_is_refused_by_its_path(
    number: int, path: str, place: Callable[[int], dict[str, Any]]
) -> None:
    refusal = refused("alert", {**REQUIRED["alert"], **place(number)})
    assert refusal.code is ErrorCode.INVALID_EVENT
    assert refusal.message == f"{path}: an integer must fit in 64 bits; send longer ones as strings"


ID_FIELDS = [
    (name, field.name) for name, type_ in CATALOGUE.items() for field in msgspec.structs.fields(type_.payload)
    if field.name.endswith(("_id", "_name", "extension", "destination")) and field.name not in TEXT_FIELDS
]  # fmt: skip


@pytest.mark.parametrize(("name", "field"), ID_FIELDS)
@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**4299], ids=["2**63", "-2**63-1", "10**4299"])
def test_an_integer_identifier_has_64_bits_at_most(name: str, field: str, number: int) -> None:
    refusal = refused(name, {**REQUIRED[name], field: number})
    assert refusal.code is ErrorCode.INVALID_EVENT
    assert refusal.message.startswith(f"payload.{field}: expected an integer ")
    assert payload_of(event(name, {**REQUIRED[name], field: 2**63 - 1}))[field] == 2**63 - 1


@pytest.mark.parametrize("number", [2**64, -(2**80)])
def test_an_integer_user_id_has_64_bits_at_most(number: int) -> None:
    refusal = refused("notification", REQUIRED["notification"], user_id=number)
    assert refusal.message == "user_id: expected a string of 1 to 255 characters"


@pytest.mark.parametrize(("name", "field"), REQUIRED_FIELDS)
@pytest.mark.parametrize("wrong", [None, [], {}, ["x"]], ids=repr)
def test_a_required_field_of_another_type_is_refused_by_name(name: str, field: str, wrong: Any) -> None:
    refusal = refused(name, {**REQUIRED[name], field: wrong})
    assert refusal.code is ErrorCode.INVALID_EVENT
    assert refusal.message.startswith(f"payload.{field}: expected ")


@pytest.mark.parametrize(("name", "field"), OPTIONAL_FIELDS)
def test_null_is_accepted_for_an_optional_field(name: str, field: str) -> None:
    assert payload_of(event(name, {field: None}))[field] is None


@pytest.mark.parametrize(("name", "field"), [(name, field) for name, field in OPTIONAL_FIELDS if field != "data"])
def test_an_optional_field_of_another_type_is_refused_by_name(name: str, field: str) -> None:
    wrong: Any = [[]] if field != "variables" else []
    refusal = refused(name, {**REQUIRED[name], field: wrong})
    assert refusal.code is ErrorCode.INVALID_EVENT
    assert refusal.message.startswith(f"payload.{field}")


@pytest.mark.parametrize("data", [0, "text", [], {}, True, None, [[[]]]], ids=repr)
def test_notification_data_may_be_any_json_value(data: Any) -> None:
    assert payload_of(event("notification", {"data": data}))["data"] == data


@pytest.mark.parametrize("name", REQUIRED)
@pytest.mark.parametrize("payload", [None, [], "text", 5, True], ids=repr)
def test_a_payload_that_is_not_an_object_is_refused(name: str, payload: Any) -> None:
    refusal = refused(name, payload)
    assert refusal.code is ErrorCode.INVALID_EVENT
    assert refusal.message.startswith("payload: expected an object")


# Identifiers


@pytest.mark.parametrize(
    "valid", ["a", "x" * 255, 0, -5, 7, 2**63 - 1, -(2**63), " ", "a\nb", "é"], ids=lambda v: repr(v)[:20]
)
def test_an_identifier_is_a_string_or_an_integer(valid: Any) -> None:
    assert event("agent.login", {"user_id": valid}).entity == ("agent", str(valid))


@pytest.mark.parametrize("wrong", ["", "x" * 256, 1.5, 7.0, True, False, [], {}], ids=lambda v: repr(v)[:20])
def test_an_identifier_of_another_type_or_length_is_refused(wrong: Any) -> None:
    assert refused("agent.login", {"user_id": wrong, "username": "ana"}).message.startswith("payload.user_id: expected")


def test_an_integer_and_its_decimal_string_are_the_same_identifier() -> None:
    for name in ("queue.stats", "queue.member.added", "chat.typing", "presence.changed", "call.hold"):
        numbers = {"queue_name": 5, "user_id": 5, "session_id": 5, "unique_id": 5}
        texts = {key: str(value) for key, value in numbers.items()}
        first = event(name, {**{k: v for k, v in numbers.items() if k in REQUIRED[name]}})
        second = event(name, {**{k: v for k, v in texts.items() if k in REQUIRED[name]}})
        assert (first.entity, first.conflation_key, first.queue_name, first.session_id) == (
            second.entity, second.conflation_key, second.queue_name, second.session_id,
        )  # fmt: skip


# Enumerations


@pytest.mark.parametrize(
    ("name", "field", "values"),
    [
        ("agent.login", "state", STATES),
        ("agent.state.changed", "state", STATES),
        ("agent.state.changed", "previous_state", STATES),
        ("agent.logout", "reason", ("user", "supervisor", "connection_lost", "revoked")),
        ("call.incoming", "direction", ("inbound", "outbound", "internal")),
        ("call.transferred", "transfer_type", ("blind", "attended")),
        ("queue.left", "reason", LEFT_REASONS),
        ("chat.message", "sender_type", ("visitor", "agent", "bot", "system")),
        ("chat.typing", "sender_type", ("visitor", "agent", "bot", "system")),
    ],
)
def test_an_enumeration_accepts_its_values_and_no_others(name: str, field: str, values: tuple[str, ...]) -> None:
    for value in values:
        assert payload_of(event(name, {field: value}))[field] == value
    for wrong in ("", values[0].upper(), values[0] + " ", "hunter2"):
        refusal = refused(name, {**REQUIRED[name], field: wrong})
        named = refusal.message.removeprefix(f"payload.{field}: expected one of: ").split(", ")
        assert set(named) >= set(values)


@pytest.mark.parametrize("value", ["4111 1111 1111 1111", "x" * 100_000, "x - at `$.y`", "`"], ids=lambda v: v[:20])
def test_a_refusal_does_not_contain_the_refused_value(value: str) -> None:
    refusal = refused("agent.state.changed", {**REQUIRED["agent.state.changed"], "state": value})
    assert refusal.message.startswith("payload.state: expected one of: available, ")
    assert value not in refusal.message


# Numbers


@pytest.mark.parametrize("count", [0, 1, 2**63 - 1])
def test_a_count_is_an_integer_of_at_least_zero(count: int) -> None:
    assert payload_of(event("queue.stats", {"calls_waiting": count}))["calls_waiting"] == count


@pytest.mark.parametrize("wrong", [-1, 1.5, "1", True, -(2**70), 2**63], ids=repr)
def test_a_count_of_another_type_or_below_zero_is_refused(wrong: Any) -> None:
    refusal = refused("queue.stats", {**REQUIRED["queue.stats"], "calls_waiting": wrong})
    assert refusal.message.startswith("payload.calls_waiting: expected an integer")


@pytest.mark.parametrize("wrong", ["61", True, [], {}, "NaN", "Infinity"], ids=repr)
def test_a_duration_of_another_type_is_refused(wrong: Any) -> None:
    assert refused("call.ended", {"unique_id": "1", "duration": wrong}).message.startswith("payload.duration: expected")


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_become_null(wrong: float) -> None:
    """A Python caller may pass NaN, which JSON does not have (RFC 8259 section 6)."""
    assert payload_of(event("call.ended", {"talk_seconds": wrong}))["talk_seconds"] is None


# Times


@pytest.mark.parametrize("valid", ["2026-11-22T19:40:00Z", "2026-11-22T19:40:00.123456+05:30", "0001-01-01T00:00:00Z"])
def test_a_time_is_passed_on_unchanged(valid: str) -> None:
    assert payload_of(event("call.hold", {"started_at": valid}))["started_at"] == valid


@pytest.mark.parametrize(
    "wrong", ["2026-11-22T19:40:00", "2026-11-22", "19:40", "yesterday", "", 1_800_000_000, "2026-13-01T00:00:00Z"]
)
def test_a_time_without_date_time_or_offset_is_refused(wrong: Any) -> None:
    refusal = refused("call.hold", {"unique_id": "1", "started_at": wrong})
    assert refusal.message.startswith("payload.started_at: ")


# Nested values


def test_a_refusal_names_the_index_within_a_list() -> None:
    refusal = refused("agent.login", {"user_id": "7", "username": "ana", "queues": ["sales", 5, None]})
    assert refusal.message.startswith("payload.queues[2]: expected ")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)


@given(st.sampled_from(sorted(REQUIRED)), st.dictionaries(st.text(max_size=12), json_values, max_size=5), json_values)
def test_any_payload_is_accepted_unchanged_or_refused(name: str, fields: dict[str, Any], root: Any) -> None:
    for payload in (root, {**REQUIRED[name], **fields}):
        try:
            made = make_event(
                tenant_id="acme", type_=name, payload=payload, event_id="e", now=0, received_at=0, user_id="7"
            )
        except Refusal as refusal:
            assert refusal.code is ErrorCode.INVALID_EVENT
            assert refusal.message.startswith("payload")
        else:
            assert payload_of(made) == payload


# Properties of the types


def test_notifications_and_outcomes_require_a_user() -> None:
    needing = {name for name, type_ in CATALOGUE.items() if type_.needs_user}
    assert needing == {"notification", "command.done", "command.failed"}
    refusal = refused("notification", REQUIRED["notification"], user_id=None)
    assert refusal.message == "user_id: required for notification, which is for one user"


def test_conflation_is_by_queue_by_typing_sender_and_by_user() -> None:
    conflatable = {name for name, type_ in CATALOGUE.items() if type_.conflate_by is not None}
    assert conflatable == {"queue.stats", "chat.typing", "chat.delivered", "presence.changed"}
    assert event("queue.stats").conflation_key == event("queue.stats", {"calls_waiting": 9}).conflation_key
    assert event("queue.stats").conflation_key != event("queue.stats", {"queue_name": "help"}).conflation_key
    typing = event("chat.typing", {"sender_id": "v-1"})
    assert typing.conflation_key == event("chat.typing", {"sender_id": "v-1", "is_typing": False}).conflation_key
    for other in (
        {"sender_id": "v-2"},
        {"session_id": "s-2", "sender_id": "v-1"},
        {"sender_type": "agent", "sender_id": "v-1"},
    ):
        assert typing.conflation_key != event("chat.typing", other).conflation_key
    assert event("presence.changed").conflation_key != event("presence.changed", {"user_id": "8"}).conflation_key
    assert event("call.hold").conflation_key is None


def test_an_event_for_one_user_does_not_replace_one_for_all() -> None:
    assert event("queue.stats").conflation_key != event("queue.stats", user_id="7").conflation_key


@pytest.mark.parametrize(
    ("name", "entity", "keeps", "drops"),
    [
        ("agent.login", ("agent", "7"), "state", None),
        ("agent.state.changed", ("agent", "7"), "state", None),
        ("agent.logout", ("agent", "7"), None, "*"),
        ("call.incoming", ("call", "1700000000.1"), "incoming", None),
        ("call.ringing", ("call", "1700000000.1"), "ringing", None),
        ("call.answered", ("call", "1700000000.1"), "answered", None),
        ("call.hold", ("call", "1700000000.1"), "hold", None),
        ("call.unhold", ("call", "1700000000.1"), "hold", None),
        ("call.transferred", ("call", "1700000000.1"), "transferred", None),
        ("call.missed", None, None, None),
        ("call.abandoned", ("call", "1700000000.1"), None, "*"),
        ("call.ended", ("call", "1700000000.1"), None, "*"),
        ("queue.joined", ("call", "1700000000.1"), "joined", None),
        ("queue.left", ("call", "1700000000.1"), None, "joined"),
        ("queue.stats", ("queue", "sales"), "stats", None),
        ("queue.member.added", ("member", "sales", "7"), "member", None),
        ("queue.member.paused", ("member", "sales", "7"), "member", None),
        ("queue.member.unpaused", ("member", "sales", "7"), "member", None),
        ("queue.member.removed", ("member", "sales", "7"), None, "*"),
        ("chat.session.started", ("chat", "s-1"), "started", None),
        ("chat.transferred", ("chat", "s-1"), "transferred", None),
        ("chat.session.ended", ("chat", "s-1"), None, "*"),
        ("chat.message", ("chat", "s-1"), None, None),
        ("chat.typing", None, None, None),
        ("chat.delivered", ("chat", "s-1"), "delivered", None),
        ("notification", None, None, None),
        ("alert", None, None, None),
        ("source.up", ("source", "pbx1"), "source", None),
        ("source.down", ("source", "pbx1"), "source", None),
        ("agent.stats", None, None, None),
        ("tenant.stats", None, None, None),
        ("presence.changed", None, None, None),
    ],
)
def test_snapshot_slots_of_each_type(
    name: str, entity: tuple[str, ...] | None, keeps: str | None, drops: str | None
) -> None:
    made = event(name)
    assert made.entity == entity
    slot = made.slot
    assert (slot.keeps, slot.drops) == (keeps, drops) if slot is not None else entity is None


def test_only_the_gateway_s_own_presence_is_in_the_snapshot_and_only_while_the_user_is_online() -> None:
    online = event("presence.changed", origin=Origin.GATEWAY)
    offline = event("presence.changed", {"online": False}, origin=Origin.GATEWAY)
    assert online.entity == offline.entity == ("presence", "7")
    assert online.slot is not None
    assert offline.slot is not None
    assert (online.slot.keeps, online.slot.drops, online.slot.lasting) == ("online", None, True)
    assert (offline.slot.keeps, offline.slot.drops, offline.slot.lasting) == (None, "*", True)
    for online_value in (True, False):
        sent = event("presence.changed", {"online": online_value}, origin=Origin.PRODUCER)
        assert (sent.slot, sent.entity) == (None, None)


def test_a_message_for_one_user_is_not_among_the_last_messages_of_its_chat() -> None:
    assert event("chat.message").slot is not None
    assert event("chat.message", user_id="7").slot is None


def test_a_call_is_identified_by_call_id_or_by_unique_id_without_one() -> None:
    assert event("call.ringing", {"call_id": "c-9"}).entity == ("call", "c-9")
    assert event("call.ringing", {"call_id": None}).entity == ("call", "1700000000.1")


@pytest.mark.parametrize("count", [100, 101, 300])
def test_many_floats_that_are_slow_to_decode_are_refused(count: int) -> None:
    payload = {**REQUIRED["alert"], "x": [1e300] * count, "y": [0.5] * 300, "z": ["1e300"] * 300}
    if count == 100:
        assert payload_of(event("alert", payload)) == payload
    else:
        refusal = refused("alert", payload)
        assert refusal.code is ErrorCode.INVALID_EVENT
        assert refusal.message == "payload: more than 100 numbers with exponents of three digits"
