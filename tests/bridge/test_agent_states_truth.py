"""The states of agents, against what the phones noted in the captured scenarios."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import pytest

from callcenter_ws.bridge.outgoing import BridgeEvent
from tests.bridge.asterisk_captures import recordings, replayed, truth

TOLERANCE = 0.4
"""Seconds around each event and each note in which states are not compared: some of Asterisk's come that late."""

_PHONE = re.compile(r"phone (20\d) (.*)")

CONNECTED_BY = {
    # The phone is answered by the exchange at once, and talks when another one answers.
    "55-attended-transfer-into-queue": "201",
    "30-click-to-call": "trunk-acme",
    # It hears an announcement, and never talks.
    "52-agent-dump": "-",
    # It is logged in as an agent; the calls that come through that call are not noted.
    "61-agent-pool": "-",
}

NOT_COMPARED = {
    # The phones' notes do not show which calls the exchange connected in the moment of the answer.
    ("41-answer-and-hangup-race", "201"),
    ("41-answer-and-hangup-race", "202"),
    ("41-answer-and-hangup-race", "203"),
    ("61-agent-pool", "201"),
}

UNSEEN = {("busy", "talking"), ("hold", "talking")}
"""What a user of the manager interface cannot know whom a filter keeps from the events of calls outside queues."""


@dataclass
class Phone:
    """What one phone does, by its notes."""

    legs: list[str] = field(default_factory=list)
    is_ringing: bool = False

    def note(self, text: str, answered_as: str) -> None:
        if text.startswith("rings"):
            self.is_ringing = True
        elif text.startswith(("stops ringing", "rejects", "answers with")):
            self.is_ringing = False
        elif text.startswith("answers"):
            self.is_ringing = False
            self.legs.append(answered_as)
        elif text.startswith("calls"):
            self.legs.append("busy")
        elif text.startswith("is answered"):
            self._change("busy", answered_as)
        elif text.startswith(("puts the call on hold", "dials DTMF #")):
            self._change("talking", "hold")
        elif text.startswith("takes the call off hold"):
            self._change("hold", "talking")
        elif text.startswith(("hangs up", "is hung up", "gets final")):
            self._drop()
        elif text.startswith("completes"):
            self._drop()
            self._drop()

    def _change(self, old: str, new: str) -> None:
        if old in self.legs:
            self.legs[self.legs.index(old)] = new

    def _drop(self) -> None:
        for state in ("talking", "busy", "connected", "hold"):
            if state in self.legs:
                self.legs.remove(state)
                return

    @property
    def state(self) -> str:
        for state in ("talking", "hold"):
            if state in self.legs:
                return state
        if self.is_ringing:
            return "ringing"
        return "busy" if self.legs else "idle"


def _noted(scenario: str) -> dict[str, list[tuple[float, str]]]:
    """Return the states of each phone, with their times since the start."""
    phones: dict[str, Phone] = {}
    found: dict[str, list[tuple[float, str]]] = {}
    connected_by = CONNECTED_BY.get(scenario)
    for time, text in truth(scenario)["log"]:
        if connected_by is not None and re.match(rf"phone {connected_by} answers", text):
            for phone in phones.values():
                phone._change("connected", "talking")
        match = _PHONE.match(text)
        if match is not None:
            phone = phones.setdefault(match[1], Phone())
            is_later = connected_by is not None and match[1] != connected_by
            is_caller = not text.endswith("answers") or scenario != "55-attended-transfer-into-queue"
            phone.note(match[2], "connected" if is_later and is_caller else "talking")
        for number, phone in phones.items():
            states = found.setdefault(number, [(0.0, "idle")])
            if states[-1][1] != phone.state:
                states.append((time, phone.state))
    return found


def _told(events: Iterable[BridgeEvent], started: float) -> dict[str, list[tuple[float, str]]]:
    """Return the states of each agent, with their times since the start; ``gone`` while it is not logged in."""
    found: dict[str, list[tuple[float, str]]] = {}
    for event in events:
        if event.type in ("agent.login", "agent.state.changed", "agent.logout"):
            state = str(event.payload.get("state", "gone"))
            state = state if state in ("talking", "hold", "ringing", "busy", "gone") else "idle"
            found.setdefault(str(event.payload["user_id"]), [(-1.0, "gone")]).append((event.time - started, state))
    return found


def _at(states: Sequence[tuple[float, str]], time: float) -> str:
    return [state for since, state in states if since <= time][-1]


def _quiet_times(*timelines: Sequence[tuple[float, str]]) -> list[float]:
    """Return a moment of each period in which nothing changes for a while."""
    changes = sorted({time for timeline in timelines for time, _ in timeline})
    periods = zip(changes, [*changes[1:], changes[-1] + 2], strict=True)
    return [(start + end) / 2 for start, end in periods if end - start > 2 * TOLERANCE]


def _scenarios() -> list[tuple[str, str]]:
    # While the bridge was not connected, and for holds that began meanwhile, nothing can be told.
    others = ("46-", "49-")
    return [
        (kind, scenario)
        for kind in ("lean", "full", "filtered")
        for scenario in recordings(kind)
        if not scenario.startswith(others)
    ]


@pytest.mark.parametrize(("kind", "scenario"), _scenarios())
def test_agents_are_shown_in_the_states_of_their_phones(kind: str, scenario: str) -> None:
    noted = _noted(scenario)
    told = _told(replayed(recordings(kind)[scenario]), truth(scenario)["started"])
    wrong = []
    for number, states in told.items():
        if (scenario, number) in NOT_COMPARED:
            continue
        phone = noted.get(number, [(0.0, "idle")])
        for time in _quiet_times(phone, states):
            is_state = _at(states, time)
            pair = (is_state, _at(phone, max(time, 0)))
            if is_state not in ("gone", pair[1]) and not (kind == "filtered" and pair in UNSEEN):
                wrong.append(f"{number} at {time:.2f}: told {pair[0]}, phone {pair[1]}")
    assert wrong == []


def _sequence(scenario: str, user_id: str) -> list[str]:
    """Return the logins, states and logouts of an agent."""
    found = []
    for event in replayed(recordings("lean")[scenario]):
        if event.type.startswith("agent.") and event.payload["user_id"] == user_id:
            kind = event.type.removeprefix("agent.").removesuffix(".changed")
            words = [kind, str(event.payload.get("state", "")), str(event.payload.get("reason", ""))]
            found.append(" ".join(word for word in words if word))
    return found


@pytest.mark.parametrize(
    ("scenario", "user_id", "expected"),
    [
        (
            "60-phone-unreachable",
            "205",
            [
                "login available",
                "state offline",
                "state available",
                "state ringing",
                "state talking",
                "state available",
                "logout",
            ],
        ),
        ("42-invalid-member", "999", ["login offline", "logout"]),
        (
            "61-agent-pool",
            "201",
            [
                # No phone rings: the agent hears a call in the one by which it is logged in.
                "login busy",
                "state available",
                "state busy",
                "state talking",
                "state available",
                "state busy",
                "state talking",
                "state available",
            ],
        ),
        (
            "08-pause-unpause",
            "202",
            ["login break Meeting", "state available"],
        ),
        ("16-members", "204", ["login break", "state available", "logout"]),
        ("16-members", "203", ["login ringing", "logout", "login available"]),
        ("50-autopause", "202", ["login ringing", "state available"]),
        (
            "14-hold-unhold",
            "203",
            [
                "login ringing",
                "state talking",
                "state hold",
                "state talking",
                "state hold",
                "state talking",
                "state available",
            ],
        ),
    ],
)
def test_what_is_told_of_an_agent(scenario: str, user_id: str, expected: list[str]) -> None:
    assert _sequence(scenario, user_id) == expected
