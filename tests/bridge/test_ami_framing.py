"""The framing of the manager interface: what Asterisk sends, however it is divided, and what exceeds the limits."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Mapping, Sequence

import pytest
from asterisk_captures import capture, names

from callcenter_ws.bridge.asterisk import framing as limits
from callcenter_ws.bridge.asterisk.framing import EndlessMessageError, Framing, NotAmiError, parse_all
from callcenter_ws.bridge.asterisk.message import AmiMessage

BANNER = b"Asterisk Call Manager/11.0.0\r\n"

SESSION = (
    BANNER
    + b"Response: Success\r\nActionID: x-1\r\nChallenge: 163406986\r\n\r\n"
    + b"Event: Newchannel\r\nPrivilege: call,all\r\nTimestamp: 1795953790.318771\r\nChannel: PJSIP/trunk-00000000\r\n"
    + b"CallerIDNum: <unknown>\r\nCallerIDName: J\xf6rg: \xc3\x84nne\r\nAccountCode: \r\nChanVariable: a=1:2\r\n"
    + b"ChanVariable: b=\r\n\r\n\r\n\r\n"
    + b"Event: UserEvent\nPrivilege: user,all\nUserEvent: Note\nEvent: Hangup\nActionID: other-1\nQueue:\n\n"
    + b"Response: Follows\r\nPrivilege: Command\r\nActionID: x-2\r\nOne: line\r\n\r\nand a last one\r\n"
    + b"--END COMMAND--\r\n\r\n"
    + b"Response: Success\r\nMessage: Command output follows\r\nOutput: one\r\nOutput: two\r\n\r\n"
    + b"\r\nEvent:Hangup\r\n\r\n"
)


def fed(pieces: Iterable[bytes], framing: Framing) -> list[AmiMessage]:
    """Feed pieces, one after the other; return the messages."""
    found: list[AmiMessage] = []
    for piece in pieces:
        framing.feed(piece)
        while (message := framing.next()) is not None:
            found.append(message)
    return found


def cut(data: bytes, source: random.Random, longest: int) -> list[bytes]:
    """Cut bytes at random places."""
    pieces, start = [], 0
    while start < len(data):
        end = start + source.randint(1, longest)
        pieces.append(data[start:end])
        start = end
    return pieces


def contents(messages: Iterable[AmiMessage]) -> list[tuple[str, str, Mapping[str, str], Mapping[str, Sequence[str]]]]:
    return [(message.name, message.response, message.headers, message.repeated) for message in messages]


def test_the_banner_is_no_message() -> None:
    framing = Framing()
    assert fed([BANNER, b"Response: Success\r\n\r\n"], framing)[0].response == "Success"
    assert framing.banner == "Asterisk Call Manager/11.0.0"


def test_events_and_responses_are_told_apart() -> None:
    messages = parse_all(SESSION)
    assert [(message.name, message.response) for message in messages] == [
        ("", "Success"),
        ("Newchannel", ""),
        ("UserEvent", ""),
        ("", "Follows"),
        ("", "Success"),
        ("Hangup", ""),
    ]


def test_values_may_be_empty_hold_colons_or_be_absent() -> None:
    channel = parse_all(SESSION)[1]
    assert channel.get("AccountCode") == ""
    assert channel.get("CallerIDNum") == ""
    assert channel.get("CallerIDName") == "J\N{REPLACEMENT CHARACTER}rg: Änne"
    assert channel.get("NoSuchHeader") == ""


def test_repeated_headers_are_lists_and_the_first_value_is_that_of_get() -> None:
    channel = parse_all(SESSION)[1]
    assert list(channel.all("ChanVariable")) == ["a=1:2", "b="]
    assert channel.get("ChanVariable") == "a=1:2"
    assert list(channel.all("Channel")) == ["PJSIP/trunk-00000000"]


def test_the_first_event_header_decides() -> None:
    note = parse_all(SESSION)[2]
    assert note.name == "UserEvent"
    assert list(note.all("Event")) == ["UserEvent", "Hangup"]


def test_a_response_with_an_event_header_stays_a_response() -> None:
    (message,) = parse_all(b"Response: Success\r\nEvent: Hangup\r\n\r\n")
    assert (message.name, message.response) == ("", "Success")


def test_the_output_of_commands_of_old_versions_may_hold_empty_lines() -> None:
    old, new = parse_all(SESSION)[3:5]
    assert old.get("ActionID") == "x-2"
    assert list(old.all("Output")) == ["One: line", "", "and a last one"]
    assert list(new.all("Output")) == ["one", "two"]


@pytest.mark.parametrize("seed", range(30))
def test_the_division_of_the_stream_makes_no_difference(seed: int) -> None:
    source = random.Random(seed)
    pieces = cut(SESSION, source, 1 + seed * 5)
    assert contents(fed(pieces, Framing())) == contents(parse_all(SESSION))


def test_unwanted_events_are_counted_by_name_and_responses_are_always_wanted() -> None:
    framing = Framing(frozenset({"Hangup"}))
    messages = fed([SESSION], framing)
    assert [message.name or message.response for message in messages] == ["Success", "Follows", "Success", "Hangup"]
    assert framing.skipped == {"Newchannel": 1, "UserEvent": 1}
    assert framing.messages == 6


def test_the_table_of_skipped_names_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_SKIPPED_NAMES", 2)
    framing = Framing(frozenset())
    fed([BANNER, *(b"Event: E%d\r\n\r\n" % number for number in (1, 2, 3, 4, 1))], framing)
    assert framing.skipped == {"E1": 2, "E2": 1, limits.OTHER_NAMES: 2}


@pytest.mark.parametrize("longest", [100, 5_000, 200_000])
def test_a_line_that_is_too_long_is_cut_and_counted(longest: int) -> None:
    data = BANNER + b"Event: A\r\nLong: " + "ä".encode() * 50_000 + b"\r\nNext: 1\r\n\r\nEvent: B\r\nX: y\r\n\r\n"
    framing = Framing()
    first, second = fed(cut(data, random.Random(longest), longest), framing)
    assert first.get("Long") == "ä" * ((limits.MAX_LINE_BYTES - len("Long: ")) // 2)
    assert first.get("Next") == "1"
    assert second.get("X") == "y"
    assert framing.cut_lines == 1
    assert framing.over_limit["lines"] == 1


def test_control_characters_are_replaced() -> None:
    first, second = parse_all(
        b"Event: A\r\nName: a\0b\x7f\tc\rd\r\n\r\nResponse: \xc2\x85\xe2\x80\xa8\xed\xa0\x80\r\n\r\n"
    )
    assert first.get("Name") == "a\ufffdb\ufffd c\ufffdd"
    assert second.response == "\ufffd" * 5


def test_headers_beyond_the_limit_are_dropped_and_counted() -> None:
    framing = Framing()
    (message,) = fed([BANNER + b"Event: A\r\n" + b"H: 1\r\n" * (limits.MAX_HEADERS + 4) + b"\r\n"], framing)
    assert len(message.all("H")) == limits.MAX_HEADERS - 1
    assert framing.dropped_headers == 5
    assert framing.over_limit["headers"] == 5


@pytest.mark.parametrize(
    ("begin", "piece"),
    [
        (b"", b"Header: value\n" * 1_000),
        (b"Event: A\r\nLong: ", b"x" * 1_000_000),
        (b"Response: Follows\r\n\r\n", (b"o" * 5_000 + b"\r\n") * 2 + b"\r\n"),
    ],
)
def test_an_endless_message_is_an_error(begin: bytes, piece: bytes) -> None:
    framing = Framing()
    framing.feed(BANNER + begin)
    with pytest.raises(EndlessMessageError):
        fed(itertools.repeat(piece, limits.MAX_RAW_BYTES // len(piece) + 2), framing)


def test_what_is_dropped_of_a_long_line_costs_no_memory() -> None:
    framing = Framing()
    framing.feed(BANNER + b"Event: A\r\nLong: ")
    for _ in range(10):
        framing.feed(b"x" * 1_000_000)
    assert len(framing._buffer) < 2 * limits.MAX_LINE_BYTES


@pytest.mark.parametrize("first", [b"HTTP/1.1 400 Bad Request\r\n", b"SSH-2.0-OpenSSH\x07\r\n", b"\x15\x03\x01" * 500])
def test_a_peer_that_is_no_manager_interface_is_an_error(first: bytes) -> None:
    with pytest.raises(NotAmiError) as raised:
        Framing().feed(first)
    assert str(raised.value).isprintable()


@pytest.mark.parametrize("name", names())
def test_captures_cut_at_random_places_hold_the_same_messages(name: str) -> None:
    content = capture(name).content
    expected = contents(parse_all(content))
    assert expected
    for longest in (7, 300, 5_000):
        pieces = cut(content, random.Random(f"{name} {longest}"), longest)
        assert contents(fed(pieces, Framing())) == expected


def test_captures_with_bare_line_feeds_and_more_empty_lines_hold_the_same_messages() -> None:
    content = capture("36-encodings").content
    expected = contents(parse_all(content))
    assert contents(parse_all(content.replace(b"\r\n", b"\n"))) == expected
    assert contents(parse_all(content.replace(b"\r\n\r\n", b"\r\n\r\n\n\r\n"))) == expected
