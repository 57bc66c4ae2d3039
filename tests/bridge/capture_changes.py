"""Changes of captures that change the names and times in the events, and nothing else; or nothing at all."""

from __future__ import annotations

import random
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from asterisk_captures import SETTINGS

from callcenter_ws.bridge.asterisk.capture import Capture
from callcenter_ws.bridge.outgoing import BridgeEvent
from callcenter_ws.bridge.settings import AgentEntry, Directions, SourceSettings, TenantRule

_WORDS = frozenset({"direction", "state", "previous_state", "reason", "ended_by", "transfer_type", "membership"})
"""Fields whose values are words of the protocol."""

Renaming = Callable[[str], str]
"""Returns the new name of each name in a text."""

_SECONDS = re.compile(r"(?<![0-9.])(17[0-9]{8})(\.[0-9]+)")


@dataclass(frozen=True)
class Change:
    """One way to change a capture.

    Attributes:
        content: returns a message with a change, given the message and its time.
        text: returns the new names of the expected events; they stay without it.
        settings: with which the changed capture is played.
        shift: seconds that are added to all times.
        keep_times: whether the times of the reads are known.
        cuts: whether the reads are cut at random places.
        ignored: fields of payloads that are not compared.
        compares_ids: whether the ids of events are compared.
    """

    content: Callable[[bytes, float, random.Random], bytes] = lambda message, _time, _random: message
    text: Renaming = str
    settings: SourceSettings = SETTINGS
    shift: float = 0.0
    keep_times: bool = True
    cuts: bool = False
    ignored: frozenset[str] = frozenset()
    compares_ids: bool = True

    def apply(self, capture: Capture, seed: int) -> Capture:
        """Return the changed capture; the times of the reads go with their bytes."""
        random_ = random.Random(seed)
        if self.cuts:
            ends = sorted(random_.sample(range(1, len(capture.content)), min(400, len(capture.content) - 1)))
            times = sorted([*capture.times, *((time_at(capture, end), end) for end in ends)], key=lambda each: each[1])
            return replace(capture, times=times)
        content, times = b"", []
        for time, message in messages_of(capture):
            times.append((time + self.shift, len(content)))
            content += self.content(message, time, random_)
        return Capture(content, times if self.keep_times else (), capture.sent)

    def expect(self, events: Sequence[BridgeEvent]) -> list[tuple[Any, ...]]:
        """Return what the events become."""
        return [self._compared(event, self.text, self.shift) for event in events]

    def got(self, events: Sequence[BridgeEvent]) -> list[tuple[Any, ...]]:
        """Return what is compared of the events of the changed capture."""
        return [self._compared(event, str, 0.0) for event in events]

    def _compared(self, event: BridgeEvent, text: Renaming, shift: float) -> tuple[Any, ...]:
        payload = {
            name: value if name in _WORDS else renamed(value, text)
            for name, value in event.payload.items()
            if name not in self.ignored
        }
        if self.shift:
            payload = {name: value for name, value in payload.items() if not name.endswith(("_at", "since"))}
        event_id = text(event.event_id) if self.compares_ids else ""
        return event.type, event.tenant_id, round(event.time + shift, 3), event_id, payload


def renamed(value: Any, text: Renaming) -> Any:  # Any, as JSON is
    """Return a value of a payload with new names."""
    if isinstance(value, str):
        return text(value)
    if isinstance(value, list):
        return sorted(renamed(each, text) for each in value)
    return value


def time_at(capture: Capture, offset: int) -> float:
    """Return the time of the read that a byte came with."""
    return capture.times[max(0, bisect_right([start for _, start in capture.times], offset) - 1)][0]


def messages_of(capture: Capture) -> Iterator[tuple[float, bytes]]:
    """Yield the messages, with the blank lines behind them, and the times at which they were complete."""
    start = 0
    while start < len(capture.content):
        end = capture.content.find(b"\r\n\r\n", start)
        end = len(capture.content) if end < 0 else end + 4
        yield time_at(capture, end - 1), capture.content[start:end]
        start = end


# Names


def names(*pairs: tuple[str, str]) -> Change:
    """Replace patterns in the values of all headers."""
    compiled = [(re.compile(pattern), new) for pattern, new in pairs]

    def text(value: str) -> str:
        for pattern, new in compiled:
            value = pattern.sub(new, value)
        return value

    def content(part: bytes, _time: float, _random: random.Random) -> bytes:
        lines = part.decode("utf-8", "surrogateescape").split("\r\n")
        return "\r\n".join(_with_value(line, text) for line in lines).encode("utf-8", "surrogateescape")

    return Change(content, text)


def _with_value(line: str, text: Renaming) -> str:
    header, colon, value = line.partition(": ")
    return line if header.endswith(_NUMBERS) else f"{header}{colon}{text(value)}"


_NUMBERS = ("Time", "Position", "Count", "Penalty", "CallsTaken", "LastCall", "LastPause", "Cause", "State", "Priority")


def _agents(settings: SourceSettings, number: Callable[[str], str]) -> dict[str, AgentEntry]:
    return {
        f"PJSIP/{number(entry.user_id)}": AgentEntry(number(entry.user_id), entry.username, number(entry.extension))
        for entry in settings.agents.values()
    }


def _with(settings_change: dict[str, Any], change: Change) -> Change:
    fields = {name: getattr(SETTINGS, name) for name in SETTINGS.__struct_fields__}
    return replace(change, settings=SourceSettings(**{**fields, **settings_change}))


# Times


def _shifted(seconds: int) -> Change:
    def text(value: str) -> str:
        return _SECONDS.sub(lambda found: f"{int(found[1]) + seconds}{found[2]}", value)

    def content(part: bytes, _time: float, _random: random.Random) -> bytes:
        return text(part.decode("latin-1")).encode("latin-1")

    return Change(content, text, shift=float(seconds))


def _stamped(part: bytes, time: float, _random: random.Random) -> bytes:
    """Add the header that ``timestampevents = yes`` adds, as Asterisk does: behind the name of the event."""
    return re.sub(rb"(?m)^(Event: [^\r\n]*\r\n)", rb"\1Timestamp: %.6f\r\n" % time, part)


# Blocks


def _lines(change: Callable[[list[bytes], random.Random], list[bytes]]) -> Change:
    def content(message: bytes, _time: float, random_: random.Random) -> bytes:
        text = message.rstrip(b"\r\n")
        return b"\r\n".join(change(text.split(b"\r\n"), random_)) + message[len(text) :] if text else message

    return Change(content)


def _shuffle(lines: list[bytes], random_: random.Random) -> list[bytes]:
    begin = next((number for number, line in enumerate(lines) if line.startswith((b"Event", b"Response"))), None)
    if begin is None or b"UserEvent" in lines[begin]:
        return lines
    first, rest = lines[: begin + 1], lines[begin + 1 :]
    random_.shuffle(rest)
    return first + rest


def _with_unknown_headers(lines: list[bytes], random_: random.Random) -> list[bytes]:
    begin = next((number for number, line in enumerate(lines) if line.startswith((b"Event", b"Response"))), None)
    if begin is None:
        return lines
    new = [b"X-Unknown: %d" % random_.randrange(10**6), b"Tenantid: umbrella", b"Empty:", b"ChanVariable: A=b: c, d"]
    place = random_.randrange(begin + 1, len(lines) + 1)
    return [*lines[:place], *new, *lines[place:]]


_UNKNOWN = (
    b"Event: NeverHeardOf\r\nPrivilege: call,all\r\nChannel: PJSIP/201-00000001\r\nUniqueid: 1.1\r\n\r\n",
    b"Event: UserEvent\r\nUserEvent: Foreign\r\nEvent: Hangup\r\nChannel: PJSIP/201-00000001\r\n\r\n",
    b"Event: RTCPReceived\r\nPrivilege: reporting,all\r\nSSRC: 0x1\r\n\r\n",
)


def _with_unknown_events(part: bytes, _time: float, random_: random.Random) -> bytes:
    return part + random_.choice(_UNKNOWN) if part.endswith(b"\r\n\r\n") else part


def _with_bare_line_feeds(part: bytes, _time: float, _random: random.Random) -> bytes:
    return part.replace(b"\r\n", b"\n")


def _with_blank_lines(part: bytes, _time: float, _random: random.Random) -> bytes:
    return part.replace(b"\r\n\r\n", b"\r\n\r\n\r\n\r\n")


def _with_latin_1(part: bytes, _time: float, _random: random.Random) -> bytes:
    return re.sub(
        rb"(?m)^(?:Dest)?(?:CallerID|ConnectedLine)Name: (?=[A-Z])", lambda found: found[0] + b"\xd6\xe9", part
    )


def _extended(number: str) -> str:
    return re.sub(r"^20([1-5])$", r"420\1", number)


CHANGES: dict[str, Change] = {
    "reads cut at random": Change(cuts=True),
    "other callers' numbers": names((r"\b1555(0[0-9]{3})\b", r"4930901\1"), (r"\b55508([0-9]{2})\b", r"0800777\1")),
    "other extensions": _with(
        {"agents": _agents(SETTINGS, _extended)},
        names((r"\b20([1-5])(?=[-@ ,/]|$)(?!\.)", r"420\1")),
    ),
    "other queues": _with(
        {
            "tenants": (
                TenantRule(tenant="globex", account_code="globex"),
                TenantRule(tenant="globex", queue="umbrella"),
            )
        },
        names(
            (r"\bsupport\b", "Kunden Dienst"),
            (r"\bsales\b", "500"),
            (r"\bvip\b", "q:vip"),
            (r"\bglobex-desk\b", "umbrella_1"),
            (r"\blocal-n\b", "Ortsgespräch"),
        ),
    ),
    "other trunks": names((r"\btrunk-acme\b", "SIP-Carrier.one"), (r"\btrunk-globex\b", "0049-globex")),
    "other contexts": _with(
        {"directions": Directions(inbound=("ext-did.*",), internal=("from-internal", "ext-local"))},
        names(
            (r"\bfrom-trunk-([a-z]+)", r"ext-did-\1"), (r"\binternal\b", "from-internal"), (r"@agents\b", "@ext-local")
        ),
    ),
    "another channel driver": _with(
        {"agents": {}, "agent_pattern": "SIP/(?P<user_id>[0-9]+)"},
        names((r"\bPJSIP/", "SIP/")),
    ),
    "a name of the exchange before each id": replace(
        names((r"(?<![0-9.])(17[0-9]{8}\.[0-9]+)(?![0-9])", r"pbx-\1")), compares_ids=False
    ),
    "a month later": _shifted(30 * 86_400),
    "headers in another order": _lines(_shuffle),
    "unknown headers": _lines(_with_unknown_headers),
    "unknown events": Change(_with_unknown_events),
    "bare line feeds": Change(_with_bare_line_feeds),
    "additional blank lines": Change(_with_blank_lines),
    "names in Latin-1": Change(_with_latin_1, ignored=frozenset({"caller_name", "agent_name"})),
    "times in the events only": Change(_stamped, keep_times=False),
}
