"""Patterns of event types: the callbacks of a daemon, the gateway and ``tail`` match alike."""

from __future__ import annotations

import pytest

from callcenter_ws.cli.tail_client import TailOptions
from callcenter_ws.events.catalogue import CATALOGUE, covers, names_matching
from callcenter_ws.remote.callbacks import CallbackRegistry, ClientMessage
from callcenter_ws.testing import run

PATTERNS = ["*", "call.*", "queue.member.*", "call.ended", "cal*", "call*", "call.e*", "call", "call.", ".*", "*.*", ""]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_all_implementations_match_alike(pattern: str) -> None:
    received: list[str] = []
    registry = CallbackRegistry()
    registry.add([pattern], lambda message: received.append(message.type))
    for name in CATALOGUE:
        run(registry.dispatch(ClientMessage("acme", name, {}, None, "e")))
    assert names_matching(pattern) == {name for name in CATALOGUE if covers(pattern, name)} == set(received)
    assert {name for name in CATALOGUE if TailOptions(url="ws://x", events=(pattern,)).matches(name)} == set(received)


def test_unknown_names_are_matched() -> None:
    assert covers("call.*", "call.parked")
    assert covers("*", "new.type")
    assert covers("new.type", "new.type")
    assert not covers("cal*", "call.parked")
    assert not covers("call.*", "call")


def test_requested_patterns_are_not_cached() -> None:
    """A client may request any number of patterns."""
    from callcenter_ws.events import catalogue

    known = len(catalogue._MATCHING)
    for number in range(100):
        assert names_matching(f"call.{number}.*") == frozenset()
    assert len(catalogue._MATCHING) == known
