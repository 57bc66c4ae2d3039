"""Whom a tenant has connected, and what each of them is to get."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from bench.event import Event

_HALF, _QUARTER = 10, 5
"""Of the 20 queues that events are about."""


@dataclass(frozen=True, slots=True)
class Viewer:
    """A client with its claims and its subscription.

    Attributes:
        queues: its claim; None when it has none.
        events: what it subscribes to: prefixes that end in ``.*``.
    """

    user: str
    role: str
    events: tuple[str, ...]
    queues: tuple[str, ...] | None = None

    def gets(self, event: Event) -> bool:
        """Whether the gateway owes it the event.

        As the protocol has it: an event for one user is for that user alone; a claim of queues restricts what is about
        calls and queues. No viewer here handles a call, which would show it to an agent whatever the queue.
        """
        if event.user is not None and event.user != self.user:
            return False
        family = event.type.partition(".")[0]
        if f"{family}.*" not in self.events:
            return False
        if event.user is not None or self.queues is None or family not in ("call", "queue"):
            return True
        return json.loads(event.payload)["queue_name"] in self.queues


def staff(clients: int = 50) -> Iterator[Viewer]:
    """The people of a tenant: of ten, six agents, two agents of half the queues, a supervisor, and one of these three.

    A supervisor of a quarter of the queues, a wallboard, a supervisor who looks at agents only.
    """
    half = tuple(f"queue-{number}" for number in range(_HALF))
    quarter = tuple(f"queue-{number}" for number in range(_QUARTER))
    for number in range(clients):
        match number % 10:
            case 0 | 1 | 2 | 3 | 4 | 5:
                yield Viewer(f"clerk-{number}", "agent", ("call.*", "agent.*"))
            case 6 | 7:
                yield Viewer(f"clerk-{number}", "agent", ("call.*", "queue.*"), half)
            case 8:
                yield Viewer(f"lead-{number}", "supervisor", ("call.*", "agent.*", "queue.*"))
            case _:
                yield _rare(number, quarter)


def _rare(number: int, quarter: tuple[str, ...]) -> Viewer:
    kinds = (
        Viewer(f"lead-{number}", "supervisor", ("call.*",), quarter),
        Viewer(f"wall-{number}", "wallboard", ("call.*", "agent.*")),
        Viewer(f"lead-{number}", "supervisor", ("agent.*",)),
    )
    return kinds[number // 10 % len(kinds)]


def alike(clients: int) -> Iterator[Viewer]:
    """Agents who all get everything."""
    for number in range(clients):
        yield Viewer(f"clerk-{number}", "agent", ("call.*", "agent.*"))
