"""Splitting a byte stream into lines."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from callcenter_ws.runtime.lines import LineSplitter


def split(*chunks: bytes, max_bytes: int = 100) -> list[bytes]:
    lines: list[bytes] = []
    splitter = LineSplitter(lines.append, max_bytes)
    for chunk in chunks:
        splitter.feed(chunk)
    splitter.end()
    splitter.end()
    return lines


def test_lines_are_complete_however_the_stream_is_cut() -> None:
    assert split(b"one\ntw", b"o\n\nthree") == [b"one", b"two", b"", b"three"]
    assert split() == []


def test_a_long_line_is_passed_on_in_pieces() -> None:
    assert split(b"x" * 8, b"y" * 8, b"z\n", max_bytes=10) == [b"x" * 8 + b"y" * 8, b"z"]


@given(st.lists(st.binary(max_size=30)))
def test_no_byte_is_lost(chunks: list[bytes]) -> None:
    assert b"".join(split(*chunks, max_bytes=10)) == b"".join(chunks).replace(b"\n", b"")
