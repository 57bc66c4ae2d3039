"""From the JSON of a producer to the frames of a socket: decoding, validation and encoding."""

from __future__ import annotations

import json
import re
import sys
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_events import REQUIRED, event, payload_of

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events import publication as publication_module
from callcenter_ws.events.event import MAX_DEPTH, PAYLOAD_BYTES, make_event
from callcenter_ws.events.frames import PLAIN, ControlFrame, control_frame, text_frame
from callcenter_ws.events.identifiers import identifier_problem
from callcenter_ws.events.mistakes import payload_path
from callcenter_ws.events.publication import Publication
from callcenter_ws.events.redaction import View
from callcenter_ws.runtime.json import MAX_CONTAINERS, decode_json, rfc3339
from callcenter_ws.testing import text_payloads


def make(**fields: Any) -> Any:
    arguments: dict[str, Any] = {"tenant_id": "acme", "type_": "alert", "payload": REQUIRED["alert"], "event_id": "e-1"}
    return make_event(**{**arguments, "now": 1_800_000_000.0, "received_at": 5.0, **fields})


def refused(**fields: Any) -> Refusal:
    with pytest.raises(Refusal) as raised:
        make(**fields)
    return raised.value


def nested(levels: int) -> dict[str, Any]:
    """Return the payload of an alert that is nested ``levels`` deep."""
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
    def test_malformed_json_is_refused(self, text: bytes) -> None:
        with pytest.raises(Refusal) as raised:
            decode_json(text)
        assert raised.value.code is ErrorCode.INVALID_JSON
        assert raised.value.message in ("malformed JSON", "nested too deeply")

    @given(st.binary())
    def test_any_bytes_are_decoded_or_refused(self, text: bytes) -> None:
        try:
            decode_json(text)
        except Refusal as refusal:
            assert refusal.code is ErrorCode.INVALID_JSON

    @pytest.mark.parametrize("part", ["[]", "{}", '{"a":[]}', '"[é{"'])
    @pytest.mark.parametrize("convert", [str, str.encode])
    def test_a_text_with_too_many_containers_is_refused_before_it_is_decoded(self, part: str, convert: Any) -> None:
        """Decoding 512 KiB of empty arrays takes a tenth of a second, most of it in the garbage collector."""
        count = (MAX_CONTAINERS - 1) // (1 if len(part) == 2 else 2)
        assert len(decode_json(convert(f"[{','.join([part] * count)}]"))) == count
        with pytest.raises(Refusal) as raised:
            decode_json(convert(f"[{','.join([part] * (count + 1))}]"))
        assert raised.value.code is ErrorCode.INVALID_JSON
        assert raised.value.message == "more than 20,000 objects and arrays"

    def test_a_huge_integer_stays_exact(self) -> None:
        assert decode_json(b'{"n":%d}' % 10**300) == {"n": 10**300}


class TestRefusals:
    @pytest.mark.parametrize("field", ["tenant_id", "event_id", "user_id"])
    def test_a_control_character_in_an_identifier_is_refused(self, field: str) -> None:
        for character in "\0\x01\n\x1f\x7f\x80\x9f\u2028":
            assert refused(**{field: f"a{character}b"}).message == f"{field}: control characters are not allowed"

    @pytest.mark.parametrize("wrong", [None, "", 5, True, [], {}, "x" * 256])
    @pytest.mark.parametrize("field", ["tenant_id", "event_id"])
    def test_an_identifier_that_is_not_a_string_is_refused(self, field: str, wrong: Any) -> None:
        refusal = refused(**{field: wrong})
        assert refusal.code is ErrorCode.INVALID_EVENT
        assert refusal.message == f"{field}: expected a string of 1 to 255 characters"

    @pytest.mark.parametrize("wrong", ["", True, 1.5, [], {}, "x" * 256])
    def test_a_user_id_is_a_string_or_an_integer(self, wrong: Any) -> None:
        assert refused(user_id=wrong).message.startswith("user_id: expected")
        assert make(user_id=7).user_id == "7"

    def test_an_event_for_all_tenants_is_forbidden(self) -> None:
        assert refused(tenant_id="*").code is ErrorCode.FORBIDDEN

    @pytest.mark.parametrize("wrong", [None, 0, 1, "true", []])
    def test_persist_that_is_not_a_boolean_is_refused(self, wrong: Any) -> None:
        assert refused(persist=wrong).message == "persist: expected true or false"

    @pytest.mark.parametrize(
        ("name", "kind"),
        [(None, "null"), (5, "an integer"), (["alert"], "an array"), ({}, "an object"), (True, "true")],
    )
    def test_a_type_of_another_json_type_is_named(self, name: Any, kind: str) -> None:
        assert refused(type_=name).message == f"type: expected a string, got {kind}"

    @pytest.mark.parametrize(
        ("name", "shown"),
        [
            ("exploded", "'exploded'"), ("", "''"),
            ("call.*", "'call.*'"),
            ("x" * 1000, repr("x" * 64)), ("a\nb", "'a\\nb'"),
        ],
    )  # fmt: skip
    def test_the_name_of_an_unknown_type_is_truncated(self, name: Any, shown: str) -> None:
        refusal = refused(type_=name)
        assert refusal.code is ErrorCode.UNKNOWN_EVENT
        assert refusal.message == f"type: there is no event type {shown}"

    def test_a_payload_above_the_limit_is_refused(self) -> None:
        size = len(msgspec.json.encode(REQUIRED["alert"]))
        assert make(max_bytes=size).payload
        refusal = refused(max_bytes=size - 1)
        assert refusal.code is ErrorCode.TOO_LARGE
        assert refusal.message == f"payload: {size} bytes of JSON, the limit is {size - 1}"
        assert refused(payload={**REQUIRED["alert"], "x": "x" * PAYLOAD_BYTES}).message.endswith("limit is 524288")

    def test_payload_path_converts_the_messages_of_msgspec(self) -> None:
        assert (
            payload_path("Expected `str`, got `int` - at `$.a[0].b`")
            == "payload.a[0].b: expected a string, got an integer"
        )
        assert payload_path("Object missing required field `a`") == "payload.a: required"
        assert payload_path("Object missing required field `a` - at `$.b[1]`") == "payload.b[1].a: required"
        assert payload_path("Expected `object`, got `null`") == "payload: expected an object, got null"
        assert "secret" not in payload_path("Invalid enum value 'secret - at `$.x`' - at `$.state`")


class TestDepth:
    """A payload that was accepted can be encoded for each view at any depth of the stack."""

    @pytest.mark.parametrize("levels", [3, 10, MAX_DEPTH - 1, MAX_DEPTH])
    def test_a_payload_nested_up_to_the_limit_is_accepted(self, levels: int) -> None:
        payload = nested(levels)
        assert payload_of(make(payload=payload)) == payload

    @pytest.mark.parametrize("levels", [MAX_DEPTH + 1, 500, 800, 950, 985])
    def test_a_payload_nested_deeper_is_refused(self, levels: int) -> None:
        refusal = refused(payload=nested(levels))
        assert refusal.code is ErrorCode.INVALID_EVENT
        assert refusal.message.startswith("payload: nested ")

    def test_a_payload_too_deep_to_be_encoded_is_refused(self) -> None:
        assert refused(payload=nested(100_000)).code is ErrorCode.INVALID_EVENT

    @pytest.mark.parametrize("levels", [MAX_DEPTH, MAX_DEPTH + 1])
    @pytest.mark.parametrize("text", ['"', "\\", '\\"', '\\\\"[', "[" * 300, "]}" * 300, '"[', "", '","', "{é"])
    def test_brackets_in_strings_do_not_count_as_depth(self, levels: int, text: str) -> None:
        payload = {text: [text, text], **nested(levels), "z": {"y": [text, "", text], text + "x": ""}}
        if levels > MAX_DEPTH:
            assert refused(payload=payload).message == "payload: nested deeper than 100 levels"
        else:
            assert payload_of(make(payload=payload)) == payload

    def test_a_payload_that_decode_json_would_refuse_is_refused(self) -> None:
        """``decode_json`` accepted the brackets while they were escaped; it would refuse them as they are encoded."""
        refusal = refused(payload={**REQUIRED["alert"], "x": "[" * MAX_CONTAINERS})
        assert refusal.code is ErrorCode.INVALID_EVENT
        assert refusal.message == "payload: more than 20,000 objects and arrays"

    def test_a_wide_payload_is_accepted(self) -> None:
        payload = {**REQUIRED["alert"], "rows": [[index, {"a": []}] for index in range(2_000)]}
        assert payload_of(make(payload=payload)) == payload

    @pytest.mark.parametrize("view", View)
    def test_the_deepest_payload_is_encoded_for_each_view_near_the_recursion_limit(self, view: View) -> None:
        def encode_at_depth(frames: int, publication: Publication) -> bytes:
            return encode_at_depth(frames - 1, publication) if frames else publication.body(view)

        payload = {**REQUIRED["call.incoming"], **nested(MAX_DEPTH)}
        publication = Publication(event("call.incoming", payload), 1)
        assert encode_at_depth(sys.getrecursionlimit() // 2, publication)


class TestTimestamps:
    def test_a_timestamp_is_utc_with_milliseconds(self) -> None:
        assert rfc3339(1_800_000_000.1239) == "2027-01-15T08:00:00.123Z"
        assert make().timestamp == "2027-01-15T08:00:00.000Z"

    @pytest.mark.parametrize(
        ("timestamp", "expected"),
        [
            ("2026-11-22T19:40:00.123Z", "2026-11-22T19:40:00.123Z"),
            ("2026-11-22T20:40:00+01:00", "2026-11-22T19:40:00.000Z"),
            ("2026-11-22 20:40:00.5-03:30", "2026-11-23T00:10:00.500Z"),
            ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59.000Z"),
        ],
    )
    def test_an_offset_is_converted_to_utc(self, timestamp: str, expected: str) -> None:
        assert make(timestamp=timestamp).timestamp == expected

    @pytest.mark.parametrize(
        "wrong",
        [
            "", "now", 1_800_000_000, 1.5, True, [], {}, "2026-11-22", "2026-02-30T00:00:00Z", "2026-11-22T25:00:00Z",
            "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-11-22T19:40:00+99:00",
        ],
    )  # fmt: skip
    def test_an_invalid_timestamp_is_refused(self, wrong: Any) -> None:
        refusal = refused(timestamp=wrong)
        assert refusal.code is ErrorCode.INVALID_EVENT
        assert refusal.message.startswith("timestamp: ")

    def test_a_timestamp_without_offset_is_refused(self) -> None:
        assert refused(timestamp="2026-11-22T19:40:00").message == "timestamp: the offset is missing, write Z or +01:00"

    @given(st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(9999, 12, 30), timezones=st.just(UTC)))
    def test_a_timestamp_is_kept_to_the_millisecond(self, time: datetime) -> None:
        timestamp = make(timestamp=time.isoformat()).timestamp
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", timestamp)
        assert abs((datetime.fromisoformat(timestamp) - time).total_seconds()) < 0.002


NAMES = st.text(min_size=1, max_size=60).filter(lambda text: identifier_problem(text) is None)


class TestFrames:
    @pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 70_000])
    def test_the_length_field_is_minimal(self, size: int) -> None:
        """RFC 6455 section 5.2: the minimal number of bytes must be used to encode the length."""
        frame = text_frame(b"x" * size)
        assert text_payloads(frame) == [b"x" * size]
        assert len(frame) - size == (2 if size < 126 else 4 if size < 65_536 else 10)
        assert frame[0] == 0x81

    def test_the_fields_of_a_stream_event(self) -> None:
        publication = Publication(make(payload={"title": "é", "message": "m"}), 4242)
        (text,) = text_payloads(publication.frame(PLAIN[View.FULL]))
        assert json.loads(text) == {
            "type": "alert", "tenant_id": "acme", "id": "e-1", "seq": 4242,
            "timestamp": "2027-01-15T08:00:00.000Z", "payload": {"title": "é", "message": "m"},
        }  # fmt: skip

    def test_an_event_for_a_user_has_user_id(self) -> None:
        assert json.loads(Publication(make(user_id="7"), 1).body(View.FULL))["user_id"] == "7"

    @given(NAMES.filter(lambda text: text != "*"), NAMES, st.text())
    def test_identifiers_are_escaped(self, tenant_id: str, name: str, title: str) -> None:
        made = make(tenant_id=tenant_id, event_id=name, user_id=name, payload={"title": title, "message": name})
        body = json.loads(Publication(made, 3).body(View.FULL))
        assert (body["tenant_id"], body["id"], body["user_id"], body["seq"]) == (tenant_id, name, name, 3)
        assert body["payload"] == {"title": title, "message": name}

    def test_a_publication_is_encoded_once_for_each_view(self) -> None:
        publication = Publication(event("call.incoming"), 1)
        for view in View:
            assert publication.frame(PLAIN[view]) is publication.frame(PLAIN[view])
        assert publication.frame(PLAIN[View.FULL]) != publication.frame(PLAIN[View.WALLBOARD])

    @pytest.mark.parametrize("first", [Publication.frame, Publication.body])
    def test_frame_and_body_share_one_encoding(self, first: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        publication, redacted = Publication(event("call.incoming"), 1), []
        redact = publication_module.redact
        monkeypatch.setattr(publication_module, "redact", lambda *args: redacted.append(args) or redact(*args))
        first(publication, View.WALLBOARD if first is Publication.body else PLAIN[View.WALLBOARD])
        bodies = [publication.body(View.WALLBOARD) for _ in range(3)]
        assert text_payloads(publication.frame(PLAIN[View.WALLBOARD])) == bodies[:1]
        assert len(redacted) == 1

    @pytest.mark.parametrize("size", [1, 300, 70_000])
    def test_the_body_is_the_payload_of_the_frame(self, size: int) -> None:
        publication = Publication(make(payload={"title": "t", "message": "m" * size}), 1)
        assert text_payloads(publication.frame(PLAIN[View.FULL])) == [publication.body(View.FULL)]

    def test_views_without_differences_share_the_frame(self) -> None:
        publication = Publication(event("queue.stats"), 1)
        assert publication.frame(PLAIN[View.WALLBOARD]) is publication.frame(PLAIN[View.FULL])

    def test_an_unredacted_payload_is_the_validated_json(self) -> None:
        made = event("queue.stats", {"big": 2**63, "f": 0.1})
        for view in (View.FULL, View.WALLBOARD):
            assert made.payload in Publication(made, 1).body(view)

    def test_an_answer_has_in_reply_to(self) -> None:
        frame = control_frame("pong", {"a": 1}, tenant_id="acme", in_reply_to=0)
        assert isinstance(frame, ControlFrame)
        assert json.loads(text_payloads(frame)[0]) == {
            "type": "pong", "tenant_id": "acme", "in_reply_to": 0, "payload": {"a": 1},
        }  # fmt: skip
        assert json.loads(text_payloads(control_frame("pong", {}))[0]) == {"type": "pong", "payload": {}}


class TestOneJsonObjectPerFrame:
    @given(st.lists(st.text(max_size=20), min_size=1, max_size=20))
    def test_every_frame_is_one_json_object(self, titles: list[str]) -> None:
        publications = [Publication(make(payload={"title": t, "message": "}{\n"}), n) for n, t in enumerate(titles, 1)]
        texts = text_payloads(b"".join(publication.frame(PLAIN[View.FULL]) for publication in publications))
        assert [json.loads(text)["payload"]["title"] for text in texts] == titles
        # An unescaped newline occurs in no JSON string: it could only separate two objects.
        assert not any(b"\n" in text for text in texts)
