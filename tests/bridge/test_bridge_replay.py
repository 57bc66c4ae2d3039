"""Replaying captures."""

from __future__ import annotations

import pytest
from asterisk_captures import capture, names, recordings, replayed

from callcenter_ws.bridge.asterisk.capture import Capture, NotACapture, parse_times


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
