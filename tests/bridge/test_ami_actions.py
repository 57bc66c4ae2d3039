"""Actions of the manager interface, and which versions have structured filters."""

from __future__ import annotations

import pytest

from callcenter_ws.bridge.asterisk.actions import ActionIds, InvalidValueError, encode_action
from callcenter_ws.bridge.asterisk.filters import has_structured_filters
from callcenter_ws.bridge.asterisk.login import Credentials


def test_an_action_is_lines_that_an_empty_line_ends() -> None:
    assert encode_action("Ping", "x-1", [("Name", "Jörg")]) == (
        "Action: Ping\r\nActionID: x-1\r\nName: Jörg\r\n\r\n".encode()
    )


@pytest.mark.parametrize("value", ["a\rb", "a\nAction: Originate", "a\0b", "x" * 1_100])
def test_a_value_that_would_end_its_line_is_refused_without_being_shown(value: str) -> None:
    with pytest.raises(InvalidValueError) as raised:
        encode_action("Login", "x-1", [("Secret", value)])
    assert value not in str(raised.value)


@pytest.mark.parametrize("header", ["A\nB", "A: B"])
def test_a_name_that_would_end_its_line_is_refused(header: str) -> None:
    with pytest.raises(InvalidValueError):
        encode_action("Ping", "x-1", [(header, "1")])


def test_ids_differ_and_hold_the_prefix() -> None:
    ids = ActionIds("ours")
    assert [ids.next(), ids.next()] == ["ours-1", "ours-2"]


def test_credentials_do_not_show_the_secret_and_must_fit_on_a_line() -> None:
    assert "opensesame" not in repr(Credentials("callcenter", "opensesame"))
    with pytest.raises(InvalidValueError):
        Credentials("callcenter", "open\nsesame")


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("18.25.0", False),
        ("18.26.0", True),
        ("18.26.4", True),
        ("certified/18.9-cert5", False),
        ("certified-20.7-cert3", False),
        ("19.8.1", False),
        ("20.10.0", False),
        ("20.11.0", True),
        ("21.5.0", False),
        ("21.6.0", True),
        ("22.0.0", False),
        ("22.1.0", True),
        ("22.10.1", True),
        ("23.0.0", True),
        ("16.30.1", False),
        ("GIT-22-1a2b3c", False),
        ("", False),
    ],
)
def test_structured_filters_came_with_these_versions(version: str, expected: bool) -> None:
    assert has_structured_filters(version) is expected
