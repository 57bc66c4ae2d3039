"""A tenant's snapshot, prepared once for all clients that ask at the same position.

When a thousand agents reconnect at once, each is owed the whole state. What they may see they have in common, so
it is filtered and encoded once per group, and they hold the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from callcenter_ws.events.catalogue import EntityKey
from callcenter_ws.events.frames import ControlFrame, text_frame
from callcenter_ws.events.publication import Publication
from callcenter_ws.interfaces import Snapshot
from callcenter_ws.runtime.json import encode_json

if TYPE_CHECKING:
    from callcenter_ws.delivery.client import Client
    from callcenter_ws.delivery.tenant import Tenant

RequestId = str | int | None


class SharedSnapshot:
    """One ``snapshot``, as each group of a tenant's clients sees it."""

    def __init__(self, snapshot: Snapshot, tenant: Tenant) -> None:
        self.snapshot = snapshot
        self._tenant = tenant
        self._for_all: list[Publication] = []
        self._for_user: dict[str, list[Publication]] = {}
        self._of_session: dict[str, list[Publication]] = {}
        self._seen_by_group: dict[tuple[object, ...], tuple[list[Publication], set[EntityKey | None]]] = {}
        self._frames: dict[tuple[object, ...], ControlFrame] = {}
        for publication in snapshot.publications:
            event = publication.event
            if event.session_id is not None:
                self._of_session.setdefault(event.session_id, []).append(publication)
            if event.user_id is None:
                self._for_all.append(publication)
            else:
                self._for_user.setdefault(event.user_id, []).append(publication)

    def frame_for(self, client: Client, request_id: RequestId) -> ControlFrame:
        """The ``snapshot`` message for a client; the same object for clients that see the same."""
        sees, group = self._tenant.sees, client.group
        if group is None:
            mine = self._of_session.get(client.principal.session_id or "", ())
            return self._encode(client, [publication for publication in mine if sees(client, publication)], request_id)
        shown = self._seen_by_group.get(group.key)
        if shown is None:
            shown = self._seen_by_group[group.key] = self._seen(client)
        seen, answered = shown
        own = [
            publication for publication in self._for_user.get(client.principal.user_id, ()) if sees(client, publication)
        ]
        own = _without_ringing(own, answered)
        if own or request_id is not None:
            return self._encode(client, sorted([*seen, *own], key=lambda publication: publication.seq), request_id)
        frame = self._frames.get(group.key)
        if frame is None:
            frame = self._encode(client, seen, None)
            if client.wire_format.deflater is not None:
                frame = ControlFrame(client.wire_format.deflater.deflated(frame))
            self._frames[group.key] = frame
        return frame

    def _seen(self, client: Client) -> tuple[list[Publication], set[EntityKey | None]]:
        """What a client's group sees of what is for all, and the calls that somebody out of its sight has answered."""
        tenant = self._tenant
        answered = {
            publication.event.entity
            for publication in self._for_all
            if _is_answer(publication) and not tenant.permits(client, publication)
        }
        return _without_ringing([m for m in self._for_all if tenant.sees(client, m)], answered), answered

    def _encode(self, client: Client, publications: Iterable[Publication], request_id: RequestId) -> ControlFrame:
        view = client.principal.view
        envelope: dict[str, Any] = {"type": "snapshot", "tenant_id": client.principal.tenant_id}
        if request_id is not None:
            envelope["in_reply_to"] = request_id
        head = encode_json(envelope)[:-1]
        events = b",".join([publication.body(view) for publication in publications])
        body = b'%b,"payload":{"epoch":%b,"seq":%d,"events":[%b]}}' % (
            head,
            encode_json(self.snapshot.epoch),
            self.snapshot.seq,
            events,
        )
        return ControlFrame(text_frame(body))


def _is_answer(publication: Publication) -> bool:
    slot = publication.event.type.slot
    return slot is not None and slot.keeps == "answered"


def _without_ringing(publications: list[Publication], answered: set[EntityKey | None]) -> list[Publication]:
    """Leave out what speaks of a call as unanswered that has been answered."""
    if not answered:
        return publications
    return [m for m in publications if not (m.event.type.unanswered and m.event.entity in answered)]
