"""A connection of a source."""

from __future__ import annotations

from collections.abc import Callable

from callcenter_ws.events.capabilities import HEALTH
from callcenter_ws.interfaces import SourceRecord
from callcenter_ws.sources.link_order import LinkOrder, RefusedCount
from callcenter_ws.sources.sync_parts import SyncParts


class SourceLink:
    """A connection of a source, from ``Hello`` to its end.

    Args:
        link_id: distinguishes it from all other connections of the source.
        close: closes the connection; its argument is the reason, for the log.

    Attributes:
        record: the source, as of ``Hello``.
        source_seq: the highest number of the record's generation that the store had at ``Hello``.
        refused: how many numbers were refused and have not come again.
        parts: those of a ``SyncState`` whose last part has not come; None: there is none.
    """

    __slots__ = ("_orders", "close", "link_id", "parts", "record", "refused", "source_seq", "tenants")

    def __init__(self, record: SourceRecord, link_id: str, close: Callable[[str], None]) -> None:
        self.record = record
        self.link_id = link_id
        self.close = close
        self.source_seq = 0
        self.tenants = frozenset(record.tenants)
        self.refused = RefusedCount()
        self.parts: SyncParts | None = None
        self._orders: dict[str, LinkOrder] = {}

    @property
    def key(self) -> tuple[str, str]:
        """The identity of the source: scope and name."""
        return self.record.scope, self.record.name

    @property
    def reports_health(self) -> bool:
        """Whether the source publishes ``source.up`` and ``source.down`` itself."""
        return HEALTH in self.record.capabilities

    def order(self, tenant_id: str) -> LinkOrder:
        """Return the order of the numbers of one of the source's tenants."""
        order = self._orders.get(tenant_id)
        if order is None:
            order = self._orders[tenant_id] = LinkOrder(self.refused)
        return order
