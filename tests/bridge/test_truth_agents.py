"""The states of agents beside the phones' notes, and the laws, of all recordings."""

from __future__ import annotations

import pytest
from asterisk_captures import recordings
from phone_notes import MEMBER_NAMES
from told_calls import RECONNECTS, Told, cases, noted_cases, told

from callcenter_ws.bridge.laws import breaches

ALL = cases("lean", "full", "filtered")
GAPS = [*RECONNECTS, *(scenario for scenario, parts in recordings("lean", of_lab=True).items() if len(parts) > 1)]
EVERY = [*ALL, *(("lean", scenario) for scenario in GAPS)]
SETTLED = 0.4
"""Seconds after which a state has followed what a phone did."""

CONNECTED = 1.4
"""Seconds after which an answer has connected: a queue may wait before it does (memberdelay)."""


@pytest.mark.parametrize(("kind", "scenario"), EVERY)
def test_the_laws(kind: str, scenario: str) -> None:
    events = told(kind, scenario).events
    assert events
    assert [str(breach) for breach in breaches(events, is_idle=True)] == []


@pytest.mark.parametrize(("kind", "scenario"), ALL)
def test_nobody_is_left_in_a_call(kind: str, scenario: str) -> None:
    last = {user_id: states[-1][1] for user_id, states in told(kind, scenario).states().items()}
    assert {state for state in last.values() if state in ("ringing", "talking", "hold", "busy")} == set()


@pytest.mark.parametrize(("kind", "scenario"), noted_cases("lean", "full"))
def test_who_talks(kind: str, scenario: str) -> None:
    """While a phone talks, its user is talking or on hold; while it does not, it is not."""
    seen = told(kind, scenario)
    for user_id, states in seen.states().items():
        talks = talks_of(seen, user_id)
        for began, ended in talks:
            for at in (began + CONNECTED, (began + ended) / 2, ended - SETTLED):
                if began + CONNECTED <= at <= ended - SETTLED:
                    assert state_at(states, at) in ("talking", "hold"), (user_id, at, states)
        for at, state in states:
            if state in ("talking", "hold"):
                known = [*talks, *pool_talks(seen, user_id)]
                assert any(began - SETTLED <= at <= ended + SETTLED for began, ended in known), (user_id, at, state)


def talks_of(seen: Told, phone: str) -> list[tuple[float, float]]:
    """Return when a phone was in an answered call, as its caller or as the one who was called."""
    found = []
    for noted in seen.notes.calls:
        for leg in noted.legs:
            if not leg.is_connected or leg.answered is None:
                continue
            end = min(time for time in (leg.ended, noted.ended) if time is not None)
            is_own_leg = leg.phone == noted.caller
            if leg.phone == phone and not is_own_leg:
                found.append((leg.answered, end))
            if noted.caller == phone and not is_own_leg:
                found.append((leg.answered, end))
    return found


def pool_talks(seen: Told, phone: str) -> list[tuple[float, float]]:
    """Return when an agent of a pool may have talked, whose phone notes nothing but the login."""
    logged_in = [call for call in seen.notes.calls if call.caller == phone and call.destination.startswith("*")]
    return [
        (stay.left, noted.ended or 1e9)
        for noted in seen.notes.calls
        for stay in noted.stays
        if logged_in and stay.member not in MEMBER_NAMES and stay.left is not None
    ]


def state_at(states: list[tuple[float, str]], at: float) -> str:
    """Return the state of a user at a time; one who has none yet is talking, as far as is known."""
    return next((state for time, state in reversed(states) if time <= at), "talking")


@pytest.mark.parametrize(("kind", "scenario"), cases("lean", "full"))
def test_pauses_in_all_queues(kind: str, scenario: str) -> None:
    """A user is on a break only after queue_log has paused it."""
    seen = told(kind, scenario)
    paused = {(member, record) for _, _, member, record, _ in seen.notes.members}
    names = {"201": "Alice Adams", "202": "Bob Brown", "203": "Carol Clark", "204": "Dora Diaz", "205": "Eve Ender"}
    for user_id, states in seen.states().items():
        if any(state == "break" for _, state in states):
            assert (names[user_id], "PAUSE") in paused or (names[user_id], "ADDMEMBER") in paused
