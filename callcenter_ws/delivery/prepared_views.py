"""PreparedViews: bounds what the prepared views of all tenants' snapshots hold together.

Clients decide how many different views there are: each list of queues is one.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable

MAX_PREPARED_BYTES = 67_108_864
"""Size of all prepared views together; those used least recently are dropped first, and prepared again if needed."""

SHARE_OF_OUTGOING = 4
"""Of ``limits.outgoing_bytes``, prepared views hold at most one part in so many."""


def max_prepared_bytes(outgoing_bytes: int) -> int:
    """Return what prepared views may hold with a limit on outgoing bytes."""
    return min(MAX_PREPARED_BYTES, outgoing_bytes // SHARE_OF_OUTGOING)


class PreparedViews:
    """Counts prepared views as long as anything refers to them, and drops those used least recently.

    Attributes:
        max_bytes: the limit of ``bytes``; a lower one is enforced when the next view is kept.
        bytes: the size of the views that are kept.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        # By the identity of the view, which no other view has while the weak reference is alive.
        self._views: OrderedDict[int, tuple[weakref.ref[object], int, Callable[[], None]]] = OrderedDict()
        self.bytes = 0

    def __len__(self) -> int:
        """Return the number of views that are kept."""
        return len(self._views)

    def keep(self, view: object, size: int, drop: Callable[[], None]) -> None:
        """Count a view.

        Args:
            drop: called when the view is dropped; must not refer to it.
        """
        identity = id(view)
        self._views[identity] = weakref.ref(view, lambda _: self._forget(identity)), size, drop
        self.bytes += size
        # Not the one just added: its clients wait for it.
        while self.bytes > self.max_bytes and len(self._views) > 1:
            oldest = next(iter(self._views))
            drop = self._views[oldest][2]
            self._forget(oldest)
            drop()

    def use(self, view: object) -> None:
        """Record that a view is used; it need not be kept."""
        if id(view) in self._views:
            self._views.move_to_end(id(view))

    def _forget(self, identity: int) -> None:
        _, size, _ = self._views.pop(identity)
        self.bytes -= size
