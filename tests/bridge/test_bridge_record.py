"""Anonymized captures: the same calls, and nothing of the names and numbers."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
from asterisk_captures import SETTINGS, capture, recordings, replayed

from callcenter_ws.bridge.asterisk.anonymize import Anonymizer, split_messages
from callcenter_ws.bridge.asterisk.anonymous_settings import SeenNames
from callcenter_ws.bridge.asterisk.capture import Capture, parse_times
from callcenter_ws.bridge.asterisk.framing import parse_all
from callcenter_ws.bridge.load import load
from callcenter_ws.bridge.outgoing import BridgeEvent
from callcenter_ws.bridge.settings import SourceSettings
from callcenter_ws.cli.bridge.record import Recorder

NAMES = (
    *(
        "Alice",
        "Adams",
        "Bob Brown",
        "Carol",
        "Dora",
        "Eve Ender",
        "Zed",
        "Zephyr",
        "M\u00fcller",
        "\u65e5\u672c",
        "Neil",
    ),
    *("acme", "globex", "support", "sales", "vip", "robot", "Lunch", "Coffee", "Training", "Looked", "caf\u00e9"),
    *("from-trunk", "internal", "trunk", "lean-secret", "filtered-secret"),
)
NUMBERS = re.compile(rb"(?<![0-9.])(?:1555[0-9]{4}|555[0-9]{4}|20[1-5]|1001|91555[0-9]+|4915550145)(?![0-9.])")
"""Numbers of the scenarios, where they are no part of an id or a time."""


class Files:
    """What a recorder writes."""

    def __init__(self, own_ids: str = "ccws-") -> None:
        self.content, self.times, self.sent = io.BytesIO(), io.BytesIO(), io.BytesIO()
        self.recorder = Recorder(Anonymizer(own_ids), self.content, self.times, self.sent)

    def capture(self) -> Capture:
        times = parse_times(self.times.getvalue().decode())
        return Capture(self.content.getvalue(), times, self.sent.getvalue())


def anonymized(parts: tuple[str, ...], folder: Path) -> tuple[list[Capture], SourceSettings]:
    """Return captures as they are recorded, and the settings that are written with them."""
    seen, anonymizer = SeenNames(SETTINGS), Anonymizer("lean-")
    found = []
    for part in parts:
        files = Files()
        files.recorder = Recorder(anonymizer, files.content, files.times, files.sent)
        files.recorder.sent(capture(part).sent)
        for time, chunk in capture(part).chunks():
            files.recorder.received(chunk, time or 0.0)
        for message in parse_all(capture(part).content):
            seen.handle(message, 0.0)
        found.append(files.capture())
    config = folder / "capture.toml"
    config.write_text("\n".join(seen.lines(anonymizer)))
    return found, load(config, offline=True).sources[0]


def structure(events: list[BridgeEvent]) -> list[tuple[Any, ...]]:  # Any: values of several types
    """Return what stays the same: what happens when, how often, and to how many calls and agents."""
    kept = (
        "direction",
        "ended_by",
        "transfer_type",
        "state",
        "previous_state",
        "wait_seconds",
        "talk_seconds",
        "duration",
    )
    told = []
    for event in events:
        reason = event.payload.get("reason") if event.type == "queue.left" else None
        fields = [event.payload.get(name) for name in kept]
        told.append((event.type, round(event.time, 3), reason, *fields, event.payload.get("unique_id")))
    return told


@pytest.mark.parametrize("kind", ["lean", "full", "filtered"])
def test_the_same_calls_happen(kind: str, tmp_path: Path) -> None:
    scenarios = list(recordings(kind).values())[:: 3 if kind == "filtered" else 1]
    for parts in scenarios:
        captures, settings = anonymized(parts, tmp_path)
        # A user of two tenants is one of one: all calls have the tenant of the settings.
        original = replayed(parts, _with_one_tenant())
        assert structure(replayed(captures, settings)) == structure(original), parts


def _with_one_tenant() -> SourceSettings:
    fields = {name: getattr(SETTINGS, name) for name in SETTINGS.__struct_fields__}
    return SourceSettings(**{**fields, "tenants": ()})


@pytest.mark.parametrize("kind", ["lean", "full", "filtered"])
def test_nothing_of_names_and_numbers_is_left(kind: str, tmp_path: Path) -> None:
    for parts in recordings(kind).values():
        for recorded in anonymized(parts, tmp_path)[0]:
            config = (tmp_path / "capture.toml").read_bytes().replace(b"internal =", b"")
            for content in (recorded.content, recorded.sent, config):
                for name in NAMES:
                    assert name.encode() not in content, (parts, name)
                # The age of the exchange may be any number.
                assert NUMBERS.findall(re.sub(rb"(?m)^(Uptime|LastReload): [0-9]+", b"", content)) == [], parts
                assert b"127.0.0.1" not in content and b"\xf6rg" not in content
    assert NUMBERS.search(capture("01-answered-caller-hangs-up").content)


def test_proofs_are_masked() -> None:
    files = Files()
    files.recorder.received(b"Asterisk Call Manager/11.0.0\r\nResponse: Success\r\nActionID: ccws-1\r\nChal", 1.0)
    files.recorder.received(b"lenge: 681083064\r\n\r\n", 2.0)
    files.recorder.sent(b"Action: Login\r\nActionID: ccws-2\r\nUsername: lean\r\nKey: 6531d919\r\nSecret: x\r\n\r\n")
    assert files.capture() == Capture(
        b"Asterisk Call Manager/11.0.0\r\nResponse: Success\r\nActionID: ccws-1\r\nChallenge: masked\r\n\r\n",
        [(1.0, 0), (2.0, 30)],
        b"Action: Login\r\nActionID: ccws-2\r\nUsername: masked\r\nKey: masked\r\nSecret: masked\r\n\r\n",
    )


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("CallerIDNum: 15550101", "CallerIDNum: 00000001"),
        ("CallerIDNum: +15550101", "CallerIDNum: +00000001"),
        ("CallerIDName: <unknown>", "CallerIDName: <unknown>"),
        ("CallerIDName: Zed Zephyr", "CallerIDName: name-1"),
        ("Exten: s", "Exten: s"),
        ("Exten: 5550800", "Exten: 0000001"),
        ("Channel: PJSIP/201-0000001a", "Channel: PJSIP/001-0000001a"),
        ("Channel: Local/201@agents-0000001a;1", "Channel: Local/001@name-1-0000001a;1"),
        ("Interface: Local/201@agents/n", "Interface: Local/001@name-1/n"),
        ("StateInterface: Agent:1001", "StateInterface: Agent:0001"),
        ("StateInterface: hint:201@ext-local", "StateInterface: hint:001@name-1"),
        ("DestChannel: SIP/carrier.example-0000001a", "DestChannel: SIP/name-1-0000001a"),
        ("Uniqueid: pbx-berlin-1795953790.4", "Uniqueid: name-1-1795953790.4"),
        ("Linkedid: 1795953790.4", "Linkedid: 1795953790.4"),
        ("AppData: support,tT,,,60", "AppData: masked"),
        ("Digit: 7", "Digit: masked"),
        ("ChanVariable: CUSTOMER=Zed", "ChanVariable: masked"),
        ("AccountCode: acme", "AccountCode: name-1"),
        ("PausedReason: Auto-Pause", "PausedReason: Auto-Pause"),
        ("PausedReason: Dentist", "PausedReason: name-1"),
        ("Reason: caller", "Reason: caller"),
        ("Reason: Dentist", "Reason: name-1"),
        ("ActionID: click-to-call-15550189", "ActionID: name-1"),
        ("Never Heard Of: Zed", "Masked: name-1"),
        ("X-Customer: Zed", "X-Customer: name-1"),
        ("Message: To Zed", "Message: masked"),
        ("HoldTime: 4711", "HoldTime: 4711"),
    ],
)
def test_a_header(line: str, expected: str) -> None:
    message = Anonymizer("ccws-").received(f"Event: Newchannel\r\n{line}".encode())
    assert message.decode() == f"Event: Newchannel\r\n{expected}"


def test_a_caller_in_the_lists_stays_in_the_same_queue() -> None:
    anonymizer = Anonymizer()
    anonymizer.received(b"Event: QueueEntry\r\nQueue: sales")
    listed = b"Event: CoreShowChannel\r\nApplication: %s\r\nApplicationData: sales,tT,,,60"
    assert anonymizer.received(listed % b"Queue").endswith(b"\r\nApplicationData: name-1,masked")
    assert anonymizer.received(listed % b"Dial").endswith(b"\r\nApplicationData: masked")


def test_variables_are_masked_but_for_the_results_of_queues() -> None:
    anonymizer = Anonymizer()
    message = anonymizer.received(b"Event: VarSet\r\nVariable: CUSTOMER\r\nValue: Zed")
    assert message == b"Event: VarSet\r\nVariable: MASKED\r\nValue: masked"
    message = b"Event: VarSet\r\nVariable: QUEUESTATUS\r\nValue: TIMEOUT"
    assert anonymizer.received(message) == message


def test_events_of_others_are_masked() -> None:
    message = Anonymizer().received(b"Event: UserEvent\r\nUserEvent: Order\r\nCustomer: Zed")
    assert message == b"Event: UserEvent\r\nPrivilege: user,all\r\nUserEvent: Masked"


def test_a_number_is_the_same_everywhere() -> None:
    anonymizer = Anonymizer()
    assert anonymizer.word("15550101") == anonymizer.word("15550101") != anonymizer.word("15550102")
    assert len({anonymizer.word(str(number)) for number in range(100, 1000)}) == 900


def test_messages_are_divided_wherever_they_are_cut() -> None:
    text = capture("01-answered-caller-hangs-up").content[:4000]
    whole = split_messages(text)
    for cut in range(1, len(text), 7):
        first, rest = split_messages(text[:cut])
        second, last = split_messages(rest + text[cut:])
        assert ([*first, *second], last) == (list(whole[0]), whole[1])
