"""Captures with messages that are lost, doubled or exchanged, or that begin in the middle: the laws hold all the same.

What is told may be less then; it may not contradict itself. A hangup that is lost may leave an agent in a call.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from asterisk_captures import capture, recordings, replayed
from capture_changes import messages_of

from callcenter_ws.bridge.asterisk.capture import Capture
from callcenter_ws.bridge.laws import breaches

Message = tuple[float, bytes]

LOGIN = 3
"""Messages of a capture that belong to the login."""


def with_losses(messages: list[Message], random_: random.Random) -> list[Message]:
    return [message for message in messages if random_.random() > 0.05]


def from_the_middle(messages: list[Message], random_: random.Random) -> list[Message]:
    return messages[random_.randrange(len(messages)) :]


def with_repetitions(messages: list[Message], random_: random.Random) -> list[Message]:
    return [message for each in messages for message in ([each, each] if random_.random() < 0.05 else [each])]


def with_exchanges(messages: list[Message], random_: random.Random) -> list[Message]:
    """Exchange neighbors; the times stay in order."""
    texts = [text for _, text in messages]
    for _ in range(len(texts) // 10):
        number = random_.randrange(len(texts) - 1)
        texts[number], texts[number + 1] = texts[number + 1], texts[number]
    return [(time, text) for (time, _), text in zip(messages, texts, strict=True)]


ALLOWED = ("and its call is over", "which is not held")
"""What may be said where a hangup was lost."""

DAMAGES = (with_losses, from_the_middle, with_repetitions, with_exchanges)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("kind", ["lean", "full", "filtered"])
def test_the_laws_hold(kind: str, damage: Callable[[list[Message], random.Random], list[Message]]) -> None:
    for seed, parts in enumerate(recordings(kind).values()):
        messages = list(messages_of(capture(parts[0])))
        damaged = [*messages[:LOGIN], *damage(messages[LOGIN:], random.Random(seed))]
        events = replayed([captured(damaged)])
        broken = [str(breach) for breach in breaches(events)]
        if damage is with_losses:
            broken = [text for text in broken if not any(allowed in text for allowed in ALLOWED)]
        assert broken == [], (parts[0], seed)


def captured(messages: list[Message]) -> Capture:
    """Return a capture of messages."""
    content, times = b"", []
    for time, text in messages:
        times.append((time, len(content)))
        content += text
    return Capture(content, times)
