"""Captures of which events are missing or come twice: what is told of agents and members stays consistent."""

from __future__ import annotations

import random

import pytest

from callcenter_ws.bridge.asterisk.capture import Capture
from callcenter_ws.bridge.laws import breaches
from tests.bridge.asterisk_captures import capture, recordings, replayed

_HEAD = 3
"""Messages of the login, which are not touched."""


def _damaged(content: bytes, chance: float, seed: int) -> bytes:
    """Leave out some messages, and repeat fewer."""
    choice = random.Random(seed)
    kept: list[bytes] = []
    for number, text in enumerate(content.split(b"\r\n\r\n")):
        if number < _HEAD or choice.random() >= chance:
            kept.append(text)
            if number >= _HEAD and choice.random() < chance / 4:
                kept.append(text)
    return b"\r\n\r\n".join(kept)


@pytest.mark.parametrize("chance", [0.2])
@pytest.mark.parametrize("scenario", [name for name, parts in recordings("lean").items() if len(parts) == 1])
def test_lost_and_repeated_events_break_no_law_of_agents(scenario: str, chance: float) -> None:
    content = _damaged(capture(scenario).content, chance, seed=len(scenario))
    found = [breach for breach in breaches(replayed([Capture(content)])) if breach.event is not None]
    about = ("agent.", "queue.member.")
    assert [str(breach) for breach in found if breach.event is not None and breach.event.type.startswith(about)] == []
