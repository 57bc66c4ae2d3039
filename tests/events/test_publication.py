"""From what a producer sent to the bytes that a socket gets."""

from __future__ import annotations

import json
import re
import sys
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from core_world import REQUIRED, event, payload_of
from hypothesis import given
from hypothesis import strategies as st

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events import publication as message_module
from callcenter_ws.events.event import MAX_DEPTH, PAYLOAD_BYTES, make_event, payload_path
from callcenter_ws.events.frames import PLAIN, ControlFrame, control_frame, text_frame
from callcenter_ws.events.principal import View
from callcenter_ws.events.publication import Publication
from callcenter_ws.runtime.json import MAX_CONTAINERS, decode_json, rfc3339
from callcenter_ws.testing import text_payloads


def make(**fields: Any) -> Any:
    asked: dict[str, Any] = {"tenant_id": "acme", "type_": "alert", "payload": REQUIRED["alert"], "event_id": "e-1"}
    return make_event(**{**asked, "now": 1_800_000_000.0, "received_at": 5.0, **fields})


def refused(**fields: Any) -> Refusal:
    with pytest.raises(Refusal) as raised:
        make(**fields)
    return raised.value


def nested(levels: int) -> dict[str, Any]:
    """An alert of so many levels."""
    inner: Any = []
    for level in range(levels - 2):
        inner = [inner] if level % 2 else {"k": inner}
    return {**REQUIRED["alert"], "x": inner}


class TestDecoding:
    @pytest.mark.parametrize(
        "text",
        [
            b"", b" ", b"{", b"}", b'{"a":1', b'{"a":1}{"b":2}', b'{"a":1}\n{"b":2}', b"{'a':1}", b'{"a":01}', b"NaN",
            b"Infinity", b"-Infinity", b'{"a":NaN}', b"1e999", b'{"a":1,}', b"undefined", b'"\\ud800"', b'"\xff"',
            b'\xef\xbb\xbf{"a":1}', b'{"a":"\x00"}', b"1" * 5000, b'{"a":1} x', b"tru", b"[" * 20_000,
            b'{"a":' * 5_000, b"\x00", "{\ud800}".encode("utf-16-le", "surrogatepass"),
        ],
        ids=lambda text: repr(text)[:24],
    )  # fmt: skip
    def test_what_is_not_json_is_refused(self, text: bytes) -> None:
        with pytest.raises(Refusal) as raised:
            decode_json(text)
        assert raised.value.code is ErrorCode.INVALID_JSON
        assert raised.value.message in ("malformed JSON", "nested too deep")

    @given(st.binary())
    def test_no_bytes_do_anything_but_decode_or_be_refused(self, text: bytes) -> None:
        try:
            decode_json(text)
        except Refusal as refusal:
            assert refusal.code is ErrorCode.INVALID_JSON

    @pytest.mark.parametrize("part", ["[]", "{}", '{"a":[]}', '"[é{"'])
    @pytest.mark.parametrize("convert", [str, str.encode])
    def test_a_text_of_too_many_parts_is_refused_before_it_is_decoded(self, part: str, convert: Any) -> None:
        """Half a MiB of empty arrays took the reactor a tenth of a second, most of it in the garbage collector."""
        room = (MAX_CONTAINERS - 1) // (1 if len(part) == 2 else 2)
        assert len(decode_json(convert(f"[{','.join([part] * room)}]"))) == room
        with pytest.raises(Refusal) as raised:
            decode_json(convert(f"[{','.join([part] * (room + 1))}]"))
        assert raised.value.code is ErrorCode.INVALID_JSON
        assert raised.value.message == "more than 20,000 objects and arrays"

    def test_a_huge_integer_stays_exact(self) -> None:
        assert decode_json(b'{"n":%d}' % 10**300) == {"n": 10**300}


class TestRefusals:
    @pytest.mark.parametrize("field", ["tenant_id", "event_id", "user_id"])
    def test_identifiers_hold_no_nul(self, field: str) -> None:
        assert refused(**{field: "a\0b"}).message == f"{field}: a NUL has no place in a name"

    @pytest.mark.parametrize("wrong", [None, "", 5, True, [], {}, "x" * 256])
    @pytest.mark.parametrize("field", ["tenant_id", "event_id"])
    def test_identifiers_are_texts(self, field: str, wrong: Any) -> None:
        refusal = refused(**{field: wrong})
        assert refusal.code is ErrorCode.INVALID_EVENT
        assert refusal.message == f"{field}: expected a string of 1 to 255 characters"

    @pytest.mark.parametrize("wrong", ["", True, 1.5, [], {}, "x" * 256])
    def test_a_user_is_a_text_or_an_integer(self, wrong: Any) -> None:
        assert refused(user_id=wrong).message.startswith("user_id: expected")
        assert make(user_id=7).user_id == "7"

    def test_nothing_is_published_for_every_tenant(self) -> None:
        assert refused(tenant_id="*").code is ErrorCode.FORBIDDEN

    @pytest.mark.parametrize("wrong", [None, 0, 1, "true", []])
    def test_persist_is_a_boolean(self, wrong: Any) -> None:
        assert refused(persist=wrong).message == "persist: expected true or false"

    @pytest.mark.parametrize(
        ("name", "shown"),
        [
            ("call.exploded", "'call.exploded'"), ("", "''"), ("CALL.INCOMING", "'CALL.INCOMING'"),
            ("call.*", "'call.*'"),
            (None, "of JSON type NoneType"), (5, "of JSON type int"), (["alert"], "of JSON type list"),
            ("x" * 1000, repr("x" * 64)), ("a\nb", "'a\\nb'"),
        ],
    )  # fmt: skip
    def test_an_unknown_type_is_named_shortly(self, name: Any, shown: str) -> None:
        refusal = refused(type_=name)
        assert refusal.code is ErrorCode.UNKNOWN_EVENT
        assert refusal.message == f"type: there is no event type {shown}"

    def test_a_payload_has_a_largest_size(self) -> None:
        size = len(msgspec.json.encode(REQUIRED["alert"]))
        assert make(max_bytes=size).payload
        refusal = refused(max_bytes=size - 1)
        assert refusal.code is ErrorCode.TOO_LARGE
        assert refusal.message == f"payload: {size} bytes of JSON, the limit is {size - 1}"
        assert refused(payload={**REQUIRED["alert"], "x": "x" * PAYLOAD_BYTES}).message.endswith("limit is 524288")

    def test_the_path_of_a_fault_is_told(self) -> None:
        assert payload_path("Expected `str`, got `int` - at `$.a[0].b`") == "payload.a[0].b: expected `str`, got `int`"
        assert payload_path("Object missing required field `a`") == "payload.a: required"
        assert payload_path("Object missing required field `a` - at `$.b[1]`") == "payload.b[1].a: required"
        assert payload_path("Expected `object`, got `null`") == "payload: expected `object`, got `null`"
        assert "secret" not in payload_path("Invalid enum value 'secret - at `$.x`' - at `$.state`")


class TestDepth:
    """A payload that can be read can be written: to every view, from wherever the Hub is called."""

    @pytest.mark.parametrize("levels", [3, 10, MAX_DEPTH - 1, MAX_DEPTH])
    def test_a_nested_payload_is_taken(self, levels: int) -> None:
        payload = nested(levels)
        assert payload_of(make(payload=payload)) == payload

    @pytest.mark.parametrize("levels", [MAX_DEPTH + 1, 500, 800, 950, 985])
    def test_one_nested_too_deep_is_refused(self, levels: int) -> None:
        refusal = refused(payload=nested(levels))
        assert refusal.code is ErrorCode.INVALID_EVENT
        assert refusal.message.startswith("payload: nested ")

    def test_one_that_cannot_even_be_encoded_is_refused(self) -> None:
        assert refused(payload=nested(100_000)).code is ErrorCode.INVALID_EVENT

    @pytest.mark.parametrize("levels", [MAX_DEPTH, MAX_DEPTH + 1])
    @pytest.mark.parametrize("text", ['"', "\\", '\\"', '\\\\"[', "[" * 300, "]}" * 300, '"[', "", '","', "{é"])
    def test_what_stands_in_strings_is_not_depth(self, levels: int, text: str) -> None:
        payload = {text: [text, text], **nested(levels), "z": {"y": [text, "", text], text + "x": ""}}
        if levels > MAX_DEPTH:
            assert refused(payload=payload).message == "payload: nested deeper than 100 levels"
        else:
            assert payload_of(make(payload=payload)) == payload

    def test_a_payload_that_could_not_be_read_again_is_refused(self) -> None:
        """Escaped, its brackets came through ``decode_json``; written out, they would not come through again."""
        refusal = refused(payload={**REQUIRED["alert"], "x": "[" * MAX_CONTAINERS})
        assert refusal.code is ErrorCode.INVALID_EVENT
        assert refusal.message == "payload: more than 20,000 objects and arrays"

    def test_a_wide_payload_is_not_a_deep_one(self) -> None:
        payload = {**REQUIRED["alert"], "rows": [[index, {"a": []}] for index in range(2_000)]}
        assert payload_of(make(payload=payload)) == payload

    @pytest.mark.parametrize("view", View)
    def test_every_view_of_the_deepest_can_be_made_near_the_end_of_the_stack(self, view: View) -> None:
        def from_below(frames: int, message: Publication) -> bytes:
            return from_below(frames - 1, message) if frames else message.body(view)

        payload = {**REQUIRED["call.incoming"], **nested(MAX_DEPTH)}
        message = Publication(event("call.incoming", payload), 1)
        assert from_below(sys.getrecursionlimit() // 2, message)


class TestTimestamps:
    def test_is_utc_with_milliseconds(self) -> None:
        assert rfc3339(1_800_000_000.1239) == "2027-01-15T08:00:00.123Z"
        assert make().timestamp == "2027-01-15T08:00:00.000Z"

    @pytest.mark.parametrize(
        ("given_", "kept"),
        [
            ("2026-11-22T19:40:00.123Z", "2026-11-22T19:40:00.123Z"),
            ("2026-11-22T20:40:00+01:00", "2026-11-22T19:40:00.000Z"),
            ("2026-11-22 20:40:00.5-03:30", "2026-11-23T00:10:00.500Z"),
            ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59.000Z"),
        ],
    )
    def test_an_offset_is_turned_into_utc(self, given_: str, kept: str) -> None:
        assert make(timestamp=given_).timestamp == kept

    @pytest.mark.parametrize(
        "wrong",
        [
            "", "now", 1_800_000_000, 1.5, True, [], {}, "2026-11-22", "2026-02-30T00:00:00Z", "2026-11-22T25:00:00Z",
            "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-11-22T19:40:00+99:00",
        ],
    )  # fmt: skip
    def test_anything_else_is_refused(self, wrong: Any) -> None:
        refusal = refused(timestamp=wrong)
        assert refusal.code is ErrorCode.INVALID_EVENT
        assert refusal.message.startswith("timestamp: ")

    def test_a_time_without_offset_says_so(self) -> None:
        assert refused(timestamp="2026-11-22T19:40:00").message == "timestamp: the offset is missing, write Z or +01:00"

    @given(st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(9999, 12, 30), timezones=st.just(UTC)))
    def test_every_instant_comes_out_to_the_millisecond(self, instant: datetime) -> None:
        kept = make(timestamp=instant.isoformat()).timestamp
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", kept)
        assert abs((datetime.fromisoformat(kept) - instant).total_seconds()) < 0.002


NAMES = st.text(min_size=1, max_size=40).filter(lambda text: "\0" not in text)


class TestFrames:
    @pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 70_000])
    def test_has_the_shortest_length_field(self, size: int) -> None:
        """RFC 6455 section 5.2: the minimal number of bytes must be used to encode the length."""
        frame = text_frame(b"x" * size)
        assert text_payloads(frame) == [b"x" * size]
        assert len(frame) - size == (2 if size < 126 else 4 if size < 65_536 else 10)
        assert frame[0] == 0x81

    def test_a_stream_event_looks_as_the_protocol_says(self) -> None:
        message = Publication(make(payload={"title": "é", "message": "m"}), 4242)
        (text,) = text_payloads(message.frame(PLAIN[View.FULL]))
        assert json.loads(text) == {
            "type": "alert", "tenant_id": "acme", "id": "e-1", "seq": 4242,
            "timestamp": "2027-01-15T08:00:00.000Z", "payload": {"title": "é", "message": "m"},
        }  # fmt: skip

    def test_user_id_is_present_when_it_is_for_one_user(self) -> None:
        assert json.loads(Publication(make(user_id="7"), 1).body(View.FULL))["user_id"] == "7"

    @given(NAMES.filter(lambda text: text != "*"), NAMES, st.text())
    def test_no_identifier_can_break_out_of_its_string(self, tenant_id: str, name: str, title: str) -> None:
        made = make(tenant_id=tenant_id, event_id=name, user_id=name, payload={"title": title, "message": name})
        body = json.loads(Publication(made, 3).body(View.FULL))
        assert (body["tenant_id"], body["id"], body["user_id"], body["seq"]) == (tenant_id, name, name, 3)
        assert body["payload"] == {"title": title, "message": name}

    def test_is_encoded_once_per_view(self) -> None:
        message = Publication(event("call.incoming"), 1)
        for view in View:
            assert message.frame(PLAIN[view]) is message.frame(PLAIN[view])
        assert message.frame(PLAIN[View.FULL]) != message.frame(PLAIN[View.WALLBOARD])

    @pytest.mark.parametrize("first", [Publication.frame, Publication.body])
    def test_a_snapshot_does_not_encode_it_again(self, first: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        message, redacted = Publication(event("call.incoming"), 1), []
        redact = message_module.redact
        monkeypatch.setattr(message_module, "redact", lambda *given: redacted.append(given) or redact(*given))
        first(message, View.WALLBOARD if first is Publication.body else PLAIN[View.WALLBOARD])
        bodies = [message.body(View.WALLBOARD) for _ in range(3)]
        assert text_payloads(message.frame(PLAIN[View.WALLBOARD])) == bodies[:1]
        assert len(redacted) == 1

    @pytest.mark.parametrize("size", [1, 300, 70_000])
    def test_the_body_is_what_the_frame_carries(self, size: int) -> None:
        message = Publication(make(payload={"title": "t", "message": "m" * size}), 1)
        assert text_payloads(message.frame(PLAIN[View.FULL])) == [message.body(View.FULL)]

    def test_who_is_shown_the_same_shares_the_frame(self) -> None:
        message = Publication(event("queue.stats"), 1)
        assert message.frame(PLAIN[View.WALLBOARD]) is message.frame(PLAIN[View.FULL])

    def test_an_unmasked_payload_is_the_very_text_that_was_validated(self) -> None:
        made = event("queue.stats", {"big": 2**90, "f": 0.1})
        for view in (View.FULL, View.WALLBOARD):
            assert made.payload in Publication(made, 1).body(view)

    def test_a_control_message_carries_what_it_answers(self) -> None:
        frame = control_frame("pong", {"a": 1}, tenant_id="acme", in_reply_to=0)
        assert isinstance(frame, ControlFrame)
        assert json.loads(text_payloads(frame)[0]) == {
            "type": "pong", "tenant_id": "acme", "in_reply_to": 0, "payload": {"a": 1},
        }  # fmt: skip
        assert json.loads(text_payloads(control_frame("pong", {}))[0]) == {"type": "pong", "payload": {}}


class TestNeverTwoJsonObjectsInOneFrame:
    """The predecessor wrote waiting messages into one frame, one per line, and clients could not parse it."""

    @given(st.lists(st.text(max_size=20), min_size=1, max_size=20))
    def test_every_frame_is_one_json_object(self, titles: list[str]) -> None:
        messages = [Publication(make(payload={"title": t, "message": "}{\n"}), n) for n, t in enumerate(titles, 1)]
        texts = text_payloads(b"".join(message.frame(PLAIN[View.FULL]) for message in messages))
        assert [json.loads(text)["payload"]["title"] for text in texts] == titles
        # A raw newline cannot occur inside JSON, so a newline would be a seam between two objects.
        assert not any(b"\n" in text for text in texts)
