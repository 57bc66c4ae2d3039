"""Captures with other names, other times and other bytes: the same calls."""

from __future__ import annotations

from functools import cache
from itertools import zip_longest

import pytest
from asterisk_captures import SETTINGS, capture, recordings, replayed
from capture_changes import CHANGES

from callcenter_ws.bridge.outgoing import BridgeEvent


@cache
def unchanged(parts: tuple[str, ...], *, with_agents: bool) -> list[BridgeEvent]:
    if with_agents:
        return replayed(parts)
    fields = {name: getattr(SETTINGS, name) for name in SETTINGS.__struct_fields__}
    return replayed(parts, type(SETTINGS)(**{**fields, "agents": {}}))


@pytest.mark.parametrize("kind", ["lean", "full", "filtered"])
@pytest.mark.parametrize("name", CHANGES)
def test_the_same_calls(name: str, kind: str) -> None:
    change, is_changed = CHANGES[name], False
    # Filtered captures are parts of the others: a third of them is enough.
    for number, parts in enumerate(list(recordings(kind).values())[:: 3 if kind == "filtered" else 1]):
        if name == "unknown events" and len(parts) > 1:
            # Among the items of a list they move the moment of the list, by less than a millisecond.
            continue
        changed = [change.apply(capture(part), seed=number) for part in parts]
        is_changed |= changed != [capture(part) for part in parts]
        expected = change.expect(unchanged(parts, with_agents=bool(change.settings.agents)))
        got = change.got(replayed(changed, change.settings))
        first = next((pair for pair in zip_longest(got, expected) if pair[0] != pair[1]), None)
        assert first is None, (parts, *first)
    assert is_changed
