"""The calls as the events of a replay tell them, beside those that the phones noted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

from asterisk_captures import recordings, replayed, truth
from phone_notes import Notes, PhoneCall

from callcenter_ws.bridge.outgoing import BridgeEvent
from callcenter_ws.runtime.json import JsonValue

MATCH_SECONDS = 0.5
"""A call is told so soon after a phone made it, of two calls of which neither has a number."""


@dataclass(eq=False)
class ToldCall:
    """The events of one call."""

    call_id: str
    events: list[BridgeEvent] = field(default_factory=list)

    def of(self, type_: str) -> list[BridgeEvent]:
        """Return the events of one type."""
        return [event for event in self.events if event.type == type_]

    def one(self, type_: str) -> BridgeEvent:
        """Return the only event of a type."""
        found = self.of(type_)
        assert len(found) == 1, f"{len(found)} events {type_} of the call {self.call_id}"
        return found[0]

    def agents(self, type_: str) -> Counter[str]:
        """Return the agents of the events of a type."""
        return Counter(str(event.payload.get("agent_id")) for event in self.of(type_))

    def values(self, name: str) -> set[JsonValue]:
        """Return all values of a field."""
        return {event.payload[name] for event in self.events if event.payload.get(name) is not None}


class Told:
    """What a bridge tells of one scenario.

    Attributes:
        started: the scenario's first second, in Unix time.
    """

    def __init__(self, events: Sequence[BridgeEvent], notes: Notes) -> None:
        self.events = events
        self.notes = notes
        self.started = notes.started
        self._pairs: list[tuple[PhoneCall, ToldCall]] = []
        self.calls: dict[str, ToldCall] = {}
        for event in events:
            if event.type.startswith("call.") or event.type in ("queue.joined", "queue.left"):
                call_id = str(event.payload["call_id"])
                self.calls.setdefault(call_id, ToldCall(call_id)).events.append(event)

    def at(self, event: BridgeEvent) -> float:
        """Return the time of an event in seconds since the start of the scenario."""
        return event.time - self.started

    def matched(self) -> list[tuple[PhoneCall, ToldCall]]:
        """Return the noted calls with what is told of them, in the order of their beginnings."""
        if not self._pairs:
            self._pairs = self._match()
        return self._pairs

    def _match(self) -> list[tuple[PhoneCall, ToldCall]]:
        noted, told = sorted(self.notes.calls, key=lambda call: call.began), list(self.calls.values())
        pairs = []
        for call in noted:
            found = next((other for other in told if _is_same(self, call, other)), None)
            assert found is not None, f"no call is told that {call.caller} made at {call.began:.2f}"
            told.remove(found)
            pairs.append((call, found))
        assert not told, f"{len(told)} calls are told that no phone made: {[call.call_id for call in told]}"
        return pairs

    def states(self) -> dict[str, list[tuple[float, str]]]:
        """Return the states of each user, with their times in seconds since the start."""
        found: dict[str, list[tuple[float, str]]] = {}
        for event in self.events:
            user_id = str(event.payload.get("user_id"))
            if event.type == "agent.state.changed":
                found.setdefault(user_id, []).append((self.at(event), event.payload["state"]))
            elif event.type == "agent.login":
                state = event.payload.get("state") or "available"
                found.setdefault(user_id, []).append((self.at(event), state))
            elif event.type == "agent.logout":
                found.setdefault(user_id, []).append((self.at(event), "offline"))
        return found


def _is_same(told: Told, call: PhoneCall, other: ToldCall) -> bool:
    begun = other.of("call.incoming")
    if not begun or abs(told.at(begun[0]) - call.began) > MATCH_SECONDS:
        return False
    if call.uid:
        return begun[0].payload["unique_id"] == call.uid
    number = str(begun[0].payload["caller_id"])
    return not call.is_outside or number == call.number


@cache
def told(kind: str, scenario: str) -> Told:
    """Return what a bridge tells of one scenario, seen by one user of the manager interface."""
    parts = recordings(kind, of_lab=scenario.startswith("v"))[scenario]
    return Told(replayed(parts), Notes(truth(scenario)))


RECONNECTS = ("46-reconnect", "47-asterisk-restart", "49-asterisk-crash")
"""The scenarios in which the bridge was not connected all the time."""


def cases(*kinds: str) -> list[tuple[str, str]]:
    """Return the recordings of these users, but for those with a gap: their users and scenarios."""
    found = []
    for of_lab in (False, True):
        gaps = {scenario for scenario, parts in recordings("lean", of_lab=of_lab).items() if len(parts) > 1}
        found += [(kind, name) for kind in kinds for name in recordings(kind, of_lab=of_lab) if name not in gaps]
    return found


UNCLEAR = {
    f"v{version}-{scenario}": reason
    for version in ("18", "22")
    for scenario, reason in {
        "b05-strictest": "a caller is hung up on in the moment in which another one is",
        "b06-full": "the caller's phone notes no hangup of a call that a full queue refused",
        "c04-attended-ringing": "whether the transfer succeeds depends on the version; the phones note only the REFER",
        "c05-consult-back": "the phone that is hung up on has two calls, and does not say which",
        "c06-feature-attended": "dialed with DTMF: the consulted phone notes nothing",
        "h02-click": "the outside does not answer: no phone notes the direction",
        "j03-redirect-both": "the exchange makes two conversations of one call",
        "j04-parking": "the call that picks up a parked one becomes part of it",
    }.items()
}
"""Scenarios whose notes do not say what happened to each call, and why; the laws are checked in them, too."""


def noted_cases(*kinds: str) -> list[tuple[str, str]]:
    """Return the recordings of ``cases`` whose notes are clear."""
    return [(kind, scenario) for kind, scenario in cases(*kinds) if scenario not in UNCLEAR]
