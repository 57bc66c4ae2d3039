"""Reads the state of a tenant for a principal without a connection, by the same rules as the ``snapshot`` message."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from callcenter_ws.delivery.hub import Hub
from callcenter_ws.delivery.snapshot_parts import FRAGMENT_BYTES
from callcenter_ws.delivery.snapshot_sharing import read_snapshot
from callcenter_ws.delivery.subscription import Subscription
from callcenter_ws.events.principal import Principal
from callcenter_ws.events.publication import Publication
from callcenter_ws.events.redaction import View
from callcenter_ws.interfaces import Snapshot
from callcenter_ws.runtime.json import encode_json

FIGURES_PER_PIECE = 20
"""Live figures in one piece: about as many bytes as one of events."""


class StateReader:
    """Reads states, shared with the snapshots that clients of the same tenant are sent at the same position."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def read(self, principal: Principal, subscription: Subscription) -> tuple[Snapshot, Sequence[bytes] | None]:
        """Return the part of the state of the principal's tenant that it may see and is subscribed to.

        And the live figures, as JSON; None if the tenant has no statistics.

        Raises:
            Refusal: the store does not answer.
        """
        tenant = self._hub.tenant_to_read(principal.tenant_id)
        feed = await self._hub.figures_to_read(tenant)
        shared = await read_snapshot(self._hub, tenant)
        snapshot = shared.snapshot
        publications = await shared.publications_for(
            tenant.interest_of(principal, subscription.fixed()), principal, subscription
        )
        found = Snapshot(snapshot.epoch, snapshot.seq, publications)
        if feed is None:
            return found, None
        figures: list[bytes] = []
        await self._hub.slicer.run(feed.read(principal, subscription.fixed(), figures))
        return found, figures


def snapshot_json(snapshot: Snapshot, view: View, figures: Sequence[bytes] | None = None) -> Iterator[bytes]:
    """Return a snapshot as JSON, in pieces that are made one by one: ``epoch``, ``seq``, ``events`` and ``figures``."""
    yield b'{"epoch":%b,"seq":%d,"events":[' % (encode_json(snapshot.epoch), snapshot.seq)
    yield from _pieces(snapshot.publications, view)
    if figures is not None:
        yield b'],"figures":['
        for begin in range(0, len(figures), FIGURES_PER_PIECE):
            yield (b"," if begin else b"") + b",".join(figures[begin : begin + FIGURES_PER_PIECE])
    yield b"]}"


def _pieces(publications: Sequence[Publication], view: View) -> Iterator[bytes]:
    bodies: list[bytes] = []
    size = 0
    separator = b""
    for publication in publications:
        bodies.append(publication.body(view))
        size += len(bodies[-1])
        if size >= FRAGMENT_BYTES:
            yield separator + b",".join(bodies)
            bodies, size, separator = [], 0, b","
    if bodies:
        yield separator + b",".join(bodies)
