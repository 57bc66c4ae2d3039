"""Queue members, against Asterisk's own ``queue_log`` of the captured scenarios."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from callcenter_ws.bridge.outgoing import BridgeEvent
from tests.bridge.asterisk_captures import recordings, replayed, truth

_CHANGES = {
    "ADDMEMBER": "queue.member.added",
    "REMOVEMEMBER": "queue.member.removed",
    "PAUSE": "queue.member.paused",
    "UNPAUSE": "queue.member.unpaused",
}

Change = tuple[str, str, str, str]


def _logged(scenario: str) -> list[tuple[float, Change]]:
    """Return the changes of members in the log, without repeated pauses."""
    found: list[tuple[float, Change]] = []
    last: dict[tuple[str, str], Change] = {}
    for line in truth(scenario)["queue_log"]:
        time, _, queue, name, kind, *details = line.split("|")
        if kind not in _CHANGES or queue == "NONE":
            continue
        # queue_log separates fields by "|", and names the pause of a new member in the place of a reason.
        reason = details[0] if kind in ("PAUSE", "UNPAUSE") and details else ""
        change = (_CHANGES[kind], queue, name, reason)
        if last.get((queue, name)) != change:
            found.append((float(time), change))
        last[queue, name] = change
    return found


def _told(events: Sequence[BridgeEvent], logged: Sequence[tuple[float, Change]]) -> list[tuple[float, Change]]:
    """Return the changes told, without the first sight of members that were there before the scenario."""
    first: dict[tuple[str, str], str] = {}
    for _, (kind, queue, name, _) in logged:
        first.setdefault((queue, name), kind)
    found = []
    for event in events:
        if event.type.startswith("queue.member."):
            payload = event.payload
            reason = str(payload.get("reason", "")) if event.type.endswith("paused") else ""
            queue, name = str(payload["queue_name"]), str(payload["username"])
            if event.type != "queue.member.added" or first.get((queue, name)) == event.type:
                found.append((event.time, (event.type, queue, name, reason)))
            first[queue, name] = "queue.member.added"
    return found


def _scenarios() -> list[tuple[str, str]]:
    # The restarts end memberships without a line in the log.
    others = ("46-", "47-", "49-")
    return [
        (kind, scenario)
        for kind in ("lean", "full", "filtered")
        for scenario in recordings(kind)
        if not scenario.startswith(others)
    ]


@pytest.mark.parametrize(("kind", "scenario"), _scenarios())
def test_members_are_told_as_the_exchange_logged_them(kind: str, scenario: str) -> None:
    logged = _logged(scenario)
    told = _told(replayed(recordings(kind)[scenario]), logged)
    assert sorted(change for _, change in told) == sorted(change for _, change in logged)
    for change in {change for _, change in logged}:
        times = [(time for time, found in side if found == change) for side in (told, logged)]
        assert all(-0.1 <= told_at - logged_at <= 1.5 for told_at, logged_at in zip(*times, strict=True))


def test_the_log_has_each_kind_of_change() -> None:
    kinds = {change[0] for scenario in recordings("lean") for _, change in _logged(scenario)}
    assert kinds == set(_CHANGES.values())
