"""The clients of a tenant, and the events that each of them must receive."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from bench.event import Event

_HALF, _QUARTER = 10, 5
"""Numbers of queues; the events concern 20."""


@dataclass(frozen=True, slots=True)
class Viewer:
    """A client's claims and subscription.

    Attributes:
        events: the patterns of its subscription, each a prefix that ends in ``.*``.
        queues: its ``queues`` claim, or None.
    """

    user: str
    role: str
    events: tuple[str, ...]
    queues: tuple[str, ...] | None = None

    def gets(self, event: Event) -> bool:
        """Return whether the gateway must deliver the event to this client.

        The rules are those of ``docs/protocol.rst``, "Who sees what": an event with a user is for that user only; a
        ``queues`` claim restricts calls and queues. No client here handles a call, which would make it visible to an
        agent whatever its queue.
        """
        if event.user is not None and event.user != self.user:
            return False
        family = event.type.partition(".")[0]
        if f"{family}.*" not in self.events:
            return False
        if event.user is not None or self.queues is None or family not in ("call", "queue"):
            return True
        return json.loads(event.payload)["queue_name"] in self.queues


def mixed_clients(count: int = 50) -> Iterator[Viewer]:
    """Yield the clients of a tenant: of ten, six agents, two agents of half the queues, a supervisor, and one other.

    The other is in turn a supervisor of a quarter of the queues, a wallboard, or a supervisor who subscribes to agent
    events only.
    """
    half = tuple(f"queue-{number}" for number in range(_HALF))
    quarter = tuple(f"queue-{number}" for number in range(_QUARTER))
    for number in range(count):
        match number % 10:
            case 0 | 1 | 2 | 3 | 4 | 5:
                yield Viewer(f"clerk-{number}", "agent", ("call.*", "agent.*"))
            case 6 | 7:
                yield Viewer(f"clerk-{number}", "agent", ("call.*", "queue.*"), half)
            case 8:
                yield Viewer(f"lead-{number}", "supervisor", ("call.*", "agent.*", "queue.*"))
            case _:
                yield _other(number, quarter)


def _other(number: int, quarter: tuple[str, ...]) -> Viewer:
    kinds = (
        Viewer(f"lead-{number}", "supervisor", ("call.*",), quarter),
        Viewer(f"wall-{number}", "wallboard", ("call.*", "agent.*")),
        Viewer(f"lead-{number}", "supervisor", ("agent.*",)),
    )
    return kinds[number // 10 % len(kinds)]


def identical_clients(count: int) -> Iterator[Viewer]:
    """Yield agents that all receive every event."""
    for number in range(count):
        yield Viewer(f"clerk-{number}", "agent", ("call.*", "agent.*"))
