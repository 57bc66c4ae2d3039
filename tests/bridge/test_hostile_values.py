"""Captures in which names and numbers are values that no exchange should send: nothing is lost, and nothing breaks."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

import pytest
from asterisk_captures import SETTINGS, capture, recordings
from capture_changes import messages_of

from callcenter_ws.bridge.asterisk.capture import Capture
from callcenter_ws.bridge.asterisk.replay import Replay
from callcenter_ws.bridge.laws import breaches
from callcenter_ws.bridge.outgoing import BridgeEvent
from callcenter_ws.remote.records import Records

LOGIN = 3
"""Messages of a capture that belong to the login."""

VALUES = (
    *(b"", b" ", b"<unknown>", b"*", b"0", b"-5", b"nan", b"inf", b"1e400", b"9" * 23, b"1_000", b"true"),
    *(b"x" * 300, b"y" * 9_000, "\N{GRINNING FACE}".encode() * 100, b"_" * 255),
    *(b"\0\1", b"a\0b", b"\x7f", b"a\tb", b"\xff\xfe", b"\xed\xa0\x80", b"\xe2\x80\xa8", b"\xc2\x85x", b"\xcc\x81"),
    *(b"Local/x@y-0001;1", b"a/b\\c;@/n", b"1.1", "٣".encode()),
)

NAMES = re.compile(
    rb"(Dest)?(Channel|Uniqueid|Linkedid|CallerIDNum|CallerIDName|ConnectedLineNum|ConnectedLineName|Exten|Context"
    rb"|AccountCode)|Queue|(State)?Interface|MemberName|Location|Name|TransferExten|Extension"
)
NUMBERS = re.compile(rb"\w*(Time|stamp|Position|Count|Penalty|State|Status|Cause|LastCall|Duration|Wait|Paused)")

ALLOWED = ("and its call is over", "which is not held", "has answered this call already")
"""What may be said where the name of an agent is that of another one, or a channel cannot be told from another one."""


class Changes:
    """Replaces some values, the same ones by the same ones everywhere."""

    def __init__(self, random_: random.Random, headers: re.Pattern[bytes]) -> None:
        self._random = random_
        self._headers = headers
        self._new: dict[bytes, bytes] = {}

    def apply(self, content: Capture) -> Capture:
        text, times = b"", []
        for number, (time, message) in enumerate(messages_of(content)):
            times.append((time, len(text)))
            is_event = number >= LOGIN and message.startswith(b"Event")
            text += b"\r\n".join(map(self._line, message.split(b"\r\n"))) if is_event else message
        return Capture(text, times, content.sent)

    def _line(self, line: bytes) -> bytes:
        header, colon, value = line.partition(b": ")
        if not self._headers.fullmatch(header) or not value:
            return line
        if value not in self._new:
            more = b"%d" % len(self._new) if self._random.random() < 0.5 else b""
            self._new[value] = self._random.choice(VALUES) + more if self._random.random() < 0.3 else value
        return header + colon + self._new[value]


def play(parts: Sequence[str], changes: Changes) -> list[BridgeEvent]:
    """Return the events of captures, as one bridge that stores what it knows."""
    replay, records = Replay(SETTINGS), Records()
    records.open({})
    events: list[BridgeEvent] = []
    for part in parts:
        for unit in replay.play(changes.apply(capture(part))):
            events += unit.events
            records.apply(records.checked(unit.records))
    Replay(SETTINGS, records.values)
    return events


@pytest.mark.parametrize("headers", [NAMES, NUMBERS], ids=["names", "numbers"])
@pytest.mark.parametrize("kind", ["lean", "full"])
def test_every_event_can_be_published_and_every_record_stored(kind: str, headers: re.Pattern[bytes]) -> None:
    for seed, parts in enumerate(recordings(kind).values()):
        events = play(parts, Changes(random.Random(seed), headers))
        broken = [str(breach) for breach in breaches(events)]
        assert [text for text in broken if not any(allowed in text for allowed in ALLOWED)] == [], (parts[0], seed)
