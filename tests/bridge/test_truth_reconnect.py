"""The connection is lost, or the exchange ends, while calls go on: what is told, beside what the phones did.

What happened while the bridge was not connected is not told as if it had been seen: a call that is gone has ended as
``unknown``; a caller who talks now has left the queue as ``unknown``; nothing is doubled, and nothing is invented.
"""

from __future__ import annotations

from datetime import datetime

import pytest
from asterisk_captures import SETTINGS, capture, recordings
from phone_notes import PhoneCall
from told_calls import RECONNECTS, Told, ToldCall, told

from callcenter_ws.bridge.asterisk.replay import Replay
from callcenter_ws.bridge.outgoing import BridgeEvent
from callcenter_ws.runtime.json import JsonValue

SOON = 0.4
INTRODUCED_SECONDS = 1.3
"""The lists tell ages in whole seconds."""


class Gaps:
    """When the bridge was not connected: from the last message of one capture to the first of the next."""

    def __init__(self, scenario: str, seen: Told) -> None:
        parts = recordings("lean")[scenario]
        first = [capture(part).times[0][0] - seen.started for part in parts]
        last = [capture(part).times[-1][0] - seen.started for part in parts]
        self.gaps = list(zip(last, first[1:], strict=False))
        self.ends = last[-1]

    def has(self, at: float) -> bool:
        """Return whether something happened unseen."""
        return any(begin < at < end for begin, end in self.gaps)

    def is_gone_after(self, at: float | None) -> bool:
        """Return whether a call that ended then had ended unseen; one that never ended did so, too."""
        return at is None or self.has(at)


def matched(scenario: str) -> list[tuple[PhoneCall, ToldCall]]:
    """Return the calls that the bridge could see with what is told of them."""
    seen = told("lean", scenario)
    gaps = Gaps(scenario, seen)
    found = []
    for noted in seen.notes.calls:
        calls = [call for call in seen.calls.values() if noted.uid in call.values("unique_id")]
        if gaps.has(noted.began) and gaps.is_gone_after(noted.ended):
            assert calls == []
            continue
        assert len(calls) == 1, (scenario, noted.uid, [call.call_id for call in calls])
        found.append((noted, calls[0]))
    assert len(found) == len(seen.calls)
    return found


@pytest.mark.parametrize("scenario", RECONNECTS)
def test_each_call_begins_once(scenario: str) -> None:
    seen = told("lean", scenario)
    for noted, call in matched(scenario):
        begun = call.one("call.incoming")
        assert call.events[0] is begun
        assert begun.payload["caller_id"] == noted.number
        assert begun.payload["destination"] == noted.destination
        assert begun.payload["direction"] == "inbound"
        is_introduced = Gaps(scenario, seen).has(noted.began)
        assert bool(begun.payload.get("reconciled")) is is_introduced
        started = datetime.fromisoformat(begun.payload["started_at"]).timestamp() - seen.started
        assert abs(started - noted.began) < (INTRODUCED_SECONDS if is_introduced else SOON)


@pytest.mark.parametrize("scenario", RECONNECTS)
def test_each_call_ends_once(scenario: str) -> None:
    seen = told("lean", scenario)
    gaps = Gaps(scenario, seen)
    for noted, call in matched(scenario):
        ended = call.one("call.ended")
        assert call.events[-1] is ended
        if gaps.is_gone_after(noted.ended):
            assert ended.payload["ended_by"] == "unknown" and ended.payload["reconciled"] is True
            assert not {"talk_seconds", "hold_seconds", "wait_seconds"} & ended.payload.keys()
            assert ended.payload["duration"] <= (noted.ended or gaps.ends) - noted.began + SOON
            assert call.of("call.abandoned") == []
        else:
            assert noted.ended is not None
            assert "reconciled" not in ended.payload
            assert abs(seen.at(ended) - noted.ended) < SOON


@pytest.mark.parametrize("scenario", RECONNECTS)
def test_queues_are_left_as_far_as_that_was_seen(scenario: str) -> None:
    seen = told("lean", scenario)
    gaps = Gaps(scenario, seen)
    for noted, call in matched(scenario):
        assert len(call.of("queue.joined")) == len(call.of("queue.left")) <= len(noted.stays)
        if not call.of("queue.joined"):
            continue
        left, stay = call.one("queue.left").payload, noted.stays[0]
        assert left["queue_name"] == stay.queue
        if stay.left is None or gaps.has(stay.left + 0.5):
            assert left["reason"] == "unknown" and left["reconciled"] is True
        elif stay.record == "CONNECT":
            assert left["reason"] == "answered"
        else:
            # The exchange itself hung up.
            assert left["reason"] in ("abandoned", "other")


@pytest.mark.parametrize("scenario", RECONNECTS)
def test_who_answered(scenario: str) -> None:
    seen = told("lean", scenario)
    gaps = Gaps(scenario, seen)
    for noted, call in matched(scenario):
        connected = [leg for leg in noted.legs if leg.is_connected and leg.answered is not None]
        known = [leg for leg in connected if not (gaps.has(leg.answered or 0) and gaps.is_gone_after(noted.ended))]
        assert [event.payload["agent_id"] for event in call.of("call.answered")] == [leg.phone for leg in known]
        for event, leg in zip(call.of("call.answered"), known, strict=True):
            assert bool(event.payload.get("reconciled")) is gaps.has(leg.answered or 0)


@pytest.mark.parametrize("scenario", RECONNECTS)
def test_who_talks_at_the_end(scenario: str) -> None:
    for user_id, states in told("lean", scenario).states().items():
        assert states[-1][1] not in ("talking", "ringing", "hold", "busy"), user_id


def play(scenario: str, *, restarts: bool) -> list[BridgeEvent]:
    """Replay the captures; with restarts, each by a new process that has nothing but what was stored before."""
    records: dict[str, bytes] = {}
    events: list[BridgeEvent] = []
    replay = Replay(SETTINGS)
    for part in recordings("lean")[scenario]:
        if restarts:
            replay = Replay(SETTINGS, dict(records))
        for unit in replay.play(capture(part)):
            events += unit.events
            for key, value in unit.records.items():
                if value is None:
                    records.pop(key, None)
                else:
                    records[key] = value
    return events


@pytest.mark.parametrize("scenario", RECONNECTS)
def test_a_restart_of_the_bridge_changes_nothing(scenario: str) -> None:
    """A bridge that was killed and started again tells the same as one that was only disconnected."""
    continued, restarted = play(scenario, restarts=False), play(scenario, restarts=True)
    assert by_entity(restarted) == by_entity(continued)
    calls = [event.event_id for event in continued if event.type.startswith("call.")]
    assert sorted(event.event_id for event in restarted if event.type.startswith("call.")) == sorted(calls)
    assert len({event.event_id for event in restarted}) == len(restarted)


def by_entity(events: list[BridgeEvent]) -> dict[tuple[JsonValue, ...], list[tuple[JsonValue, ...]]]:
    """Return the events of each call, agent and member; those of different ones have no order."""
    found: dict[tuple[JsonValue, ...], list[tuple[JsonValue, ...]]] = {}
    for event in events:
        call_id = event.payload.get("call_id")
        key = (call_id,) if call_id else (event.tenant_id, event.payload.get("queue_name"), event.payload["user_id"])
        found.setdefault(key, []).append((event.type, event.time, event.payload))
    return found


@pytest.mark.parametrize("scenario", [name for name in recordings("lean", of_lab=True) if "z46" in name])
def test_a_call_of_an_agent_that_began_unseen_has_the_number_of_the_agent(scenario: str) -> None:
    calls = told("lean", scenario).calls.values()
    begun = [call.one("call.incoming").payload for call in calls if "outbound" in call.values("direction")]
    # The dialplan has set the number that the called party sees.
    assert [(payload["caller_id"], payload["destination"]) for payload in begun] == [("204", "94930779")]
