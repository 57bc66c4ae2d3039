"""Live fan-out: every event to every client, with so many events outstanding and no more."""

from __future__ import annotations

from collections.abc import Sequence

from bench.loader import Crowd
from bench.question import Question
from bench.sender import Sender


def fan_out(crowd: Crowd, sender: Sender, questions: Sequence[Question], window: int) -> None:
    """Publish one event after the other, each as soon as all clients have got the one ``window`` before it.

    Raises:
        Broken: an event does not come.
    """
    count = len(questions)
    received = published = 0
    while received < count:
        allowed = min(count, received + window)
        if allowed > published:
            sender.post(questions[published:allowed])
            published = allowed
        received = crowd.wait("event", received + 1)
        sender.take()
