"""Replaying captures."""

from __future__ import annotations

import pytest
from asterisk_captures import SETTINGS, capture, names, recordings, replayed

from callcenter_ws.bridge.asterisk.capture import Capture, NotACapture, parse_times
from callcenter_ws.bridge.asterisk.capture_clock import timed_messages
from callcenter_ws.bridge.asterisk.capture_lists import find_rounds
from callcenter_ws.bridge.asterisk.replay import Replay


def test_the_archive_is_complete() -> None:
    assert len(names()) > 100
    assert recordings("lean")["46-reconnect"] == ("46-reconnect.a", "46-reconnect.b", "46-reconnect.c")
    assert all(capture(name).content for name in names())


@pytest.mark.parametrize("kind", ["lean", "full", "filtered"])
def test_every_capture_is_played(kind: str) -> None:
    for parts in recordings(kind).values():
        replayed(parts)


def test_chunks_have_the_times_of_their_reads() -> None:
    played = Capture(b"abcdef", parse_times("1.5\t0\n2.5\t2\n3.5\t5\n"))
    assert list(played.chunks()) == [(1.5, b"ab"), (2.5, b"cde"), (3.5, b"f")]


def test_a_file_of_something_else_is_no_capture() -> None:
    with pytest.raises(NotACapture):
        replayed([Capture(b"GET / HTTP/1.1\r\n\r\n")])


def test_lists_are_found_with_and_without_what_was_sent() -> None:
    for name in recordings("lean")["46-reconnect"]:
        played = capture(name)
        messages = [message for _, message in timed_messages(played)]
        with_sent, without = find_rounds(messages, played.sent), find_rounds(messages)
        assert with_sent == without
        assert [sorted(action.name for action in round_.values()) for round_ in with_sent.rounds] == [
            ["BridgeList", "CoreShowChannels", "CoreStatus", "QueueStatus"]
        ]


def test_a_capture_without_times_has_those_of_its_messages() -> None:
    timed = list(timed_messages(capture("09-blind-transfer-to-phone")))
    untimed = list(timed_messages(Capture(capture("09-blind-transfer-to-phone").content)))
    assert [message.headers for _, message in timed] == [message.headers for _, message in untimed]
    # Nothing in a message tells the time of the last answer and of the end.
    assert all(abs(known - told) < 7.5 for (known, _), (told, _) in zip(timed, untimed, strict=True))
    assert [time for time, _ in untimed] == sorted(time for time, _ in untimed)


def test_an_own_timestamp_is_the_time() -> None:
    content = b"Asterisk Call Manager/11.0.0\r\nEvent: Hangup\r\nTimestamp: 1795953790.250000\r\n\r\n"
    assert [time for time, _ in timed_messages(Capture(content))] == [1795953790.25]


def test_a_capture_that_was_cut_off_says_so() -> None:
    whole = capture("01-answered-caller-hangs-up")
    replay = Replay(SETTINGS)
    list(replay.play(whole))
    assert replay.notes == []
    list(replay.play(Capture(whole.content[:-30], whole.times)))
    assert replay.notes == ["it ends in the middle of a message, which is not read"]
    list(replay.play(capture("48-login-wrong-secret")))
    assert replay.notes == ["the exchange refused the login: Authentication failed"]


def test_a_message_without_an_end_takes_none_of_the_others_with_it() -> None:
    whole = capture("01-answered-caller-hangs-up").content
    replay = Replay(SETTINGS)
    units = list(replay.play(Capture(whole + b"Event: Newchannel\r\nX: " + b"x" * 17_000_000)))
    assert "call.ended" in [event.type for unit in units for event in unit.events]
    assert replay.notes[0] == "a message has no end; what follows it is not read"


@pytest.mark.parametrize("text", ["1.0 0", "x\t0", "1.0\t5\n2.0\t4", "-1\t0", "nan\t0"])
def test_wrong_times_are_refused(text: str) -> None:
    if text == "1.0 0":
        assert parse_times(text) == [(1.0, 0)]
        return
    with pytest.raises(NotACapture):
        parse_times(text)
