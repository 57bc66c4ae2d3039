"""Whether this node can serve, and why not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Check = Callable[[], str | None]
"""Says why a part of the node cannot serve now, for a person; None when it can."""


@dataclass(frozen=True, slots=True)
class Node:
    """What this node is.

    Attributes:
        node_id: its name in the cluster.
        version: the version of the software.
        started_at: Unix time in seconds.
        worker: which of several processes this is, from 1; None when it is the only one.
    """

    node_id: str
    version: str
    started_at: float
    worker: int | None = None


class Health:
    """Collects the reasons why the node is not ready.

    Args:
        checks: asked each time, in this order: ``broker.not_ready``, the key set's, and so on. They must not
            block, and their texts must not name a tenant: ``/readyz`` shows them to anybody.
    """

    def __init__(self, *checks: Check) -> None:
        self._checks = checks
        self.draining = False

    def drain(self) -> None:
        """From now on the node is not ready: it is about to stop."""
        self.draining = True

    def reasons(self) -> list[str]:
        """Why the node is not ready; empty when it is."""
        found = ["draining: this node is shutting down"] if self.draining else []
        return found + [reason for check in self._checks if (reason := check()) is not None]
