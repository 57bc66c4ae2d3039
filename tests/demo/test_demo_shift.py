"""The recorded shift of ``./demo --exchange``: every round is complete, and its ids differ from those of the last."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.testing import StringTransport

from callcenter_ws.bridge.asterisk.framing import parse_all
from callcenter_ws.bridge.asterisk.message import AmiMessage
from callcenter_ws.bridge.asterisk.played_state import PlayedState
from callcenter_ws.bridge.asterisk.player import AmiPlayer, PlayerUser
from callcenter_ws.demo.shift import Shift, play_rounds
from callcenter_ws.testing import FakeClock

SECONDS = 300
"""More than a round."""


@pytest.fixture(scope="module")
def shift() -> Shift:
    return Shift.load()


def test_it_is_of_a_call_center(shift: Shift) -> None:
    names = {event.message.name for event in shift.events}
    assert {"QueueCallerJoin", "AgentConnect", "Hold", "BlindTransfer", "QueueMemberPause", "Hangup"} <= names
    assert {event.message.get("Queue") for event in shift.members} == {"sales", "support", "billing"}
    times = [event.time for event in shift.events]
    assert times == sorted(times) and 60 < times[-1] - times[0] < SECONDS


def test_at_its_end_it_can_begin_anew(shift: Shift) -> None:
    state = PlayedState()
    for event in [*shift.members, *shift.events]:
        state.take(event.message, event.time)
    assert (list(state.lists("CoreShowChannels", 0)), list(state.lists("BridgeList", 0))) == ([], [])
    listed = list(state.lists("QueueStatus", 0))
    assert {item["Event"] for item in listed} == {"QueueParams", "QueueMember"}
    members = [item for item in listed if item["Event"] == "QueueMember"]
    assert len(members) > 10 and {item["Paused"] for item in members} == {"0"}


@pytest.fixture
def received(shift: Shift) -> Iterator[list[AmiMessage]]:
    """What a client receives in a bit more than two rounds."""
    clock = FakeClock()
    player = AmiPlayer(clock, [PlayerUser("bridge", "secret")])
    player.offers_challenge = False
    protocol, transport = player.buildProtocol(None), StringTransport()  # type: ignore[arg-type] # unused
    protocol.makeConnection(transport)
    protocol.dataReceived(b"Action: Login\r\nUsername: bridge\r\nSecret: secret\r\n\r\n")
    playing = Deferred.fromCoroutine(play_rounds(player, shift, clock)).addErrback(lambda failure: None)
    for _ in range(2 * SECONDS * 10):
        clock.advance(0.1)
    playing.cancel()
    return parse_all(transport.value())


def test_rounds_follow_each_other_with_other_ids(shift: Shift, received: list[AmiMessage]) -> None:
    first = shift.events[0].message.name
    live = [message for message in received if message.get("Timestamp")]
    rounds = [live[at : at + len(shift.events)] for at in range(0, len(live), len(shift.events))]
    assert len(rounds) >= 2 and rounds[1][0].name == first
    ids = [{message.get("Uniqueid") for message in one if message.get("Uniqueid")} for one in rounds]
    assert len(ids[0]) == len(ids[1]) > 50
    assert not ids[0] & ids[1]
    times = [float(message.get("Timestamp")) for message in live]
    assert times == sorted(times)
    assert all(re.fullmatch(r"\d{10}\.\d+", one) for one in ids[1])
