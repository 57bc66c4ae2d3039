"""What a daemon asked to hear: patterns, as the gateway understands them."""

from __future__ import annotations

import pytest

from callcenter_ws.cli.tail import Wanted
from callcenter_ws.events.catalogue import CATALOGUE, covers, names_matching
from callcenter_ws.remote.subscriptions import ClientMessage, Subscriptions
from callcenter_ws.testing import run

PATTERNS = ["*", "call.*", "queue.member.*", "call.ended", "cal*", "call*", "call.e*", "call", "call.", ".*", "*.*", ""]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_all_who_match_agree(pattern: str) -> None:
    heard: list[str] = []
    wishes = Subscriptions()
    wishes.add([pattern], lambda message: heard.append(message.type))
    for name in CATALOGUE:
        run(wishes.heard(ClientMessage("acme", name, {}, None, "e")))
    assert names_matching(pattern) == {name for name in CATALOGUE if covers(pattern, name)} == set(heard)
    assert {name for name in CATALOGUE if Wanted(url="ws://x", events=(pattern,)).matches(name)} == set(heard)


def test_names_of_another_version_are_covered_too() -> None:
    assert covers("call.*", "call.parked")
    assert covers("*", "parking.lot")
    assert covers("parking.lot", "parking.lot")
    assert not covers("cal*", "call.parked")
    assert not covers("call.*", "call")


def test_what_is_asked_for_is_not_remembered() -> None:
    """A client may ask for anything, as often as it likes."""
    from callcenter_ws.events import catalogue as events

    known = len(events._MATCHING)
    for number in range(100):
        assert names_matching(f"call.{number}.*") == frozenset()
    assert len(events._MATCHING) == known
