"""The readiness of this node."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Check = Callable[[], str | None]
"""Returns why a part of the node is not ready, as a readable text; None if it is ready."""


@dataclass(frozen=True, slots=True)
class Node:
    """The identity of this node.

    Attributes:
        node_id: the node's name in the cluster.
        version: the version of the software.
        started_at: the start time in Unix seconds.
        worker: the number of this worker process, from 1; None if the node is a single process.
    """

    node_id: str
    version: str
    started_at: float
    worker: int | None = None


class Health:
    """Collects the reasons why the node is not ready.

    Args:
        checks: are called in this order by each call of ``reasons``. They must not block. Their texts must not name a
            tenant: ``/readyz`` is public.

    Attributes:
        draining: whether ``drain`` was called.
    """

    def __init__(self, *checks: Check) -> None:
        self._checks = checks
        self.draining = False

    def drain(self) -> None:
        """Report the node as not ready from now on, because it is stopping."""
        self.draining = True

    def reasons(self) -> list[str]:
        """Return why the node is not ready; empty if it is ready."""
        reasons = ["draining: this node is shutting down"] if self.draining else []
        return reasons + [reason for check in self._checks if (reason := check()) is not None]
