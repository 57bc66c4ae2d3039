"""A tenant's snapshot, encoded once for all clients that request it at the same position.

When a thousand agents reconnect together, each is sent the whole state. What they may see they have in common, so it is
filtered and encoded once per group, and their outboxes hold the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from callcenter_ws.delivery.subscriber import Subscriber
from callcenter_ws.events.catalogue import EntityKey
from callcenter_ws.events.event import Event
from callcenter_ws.events.frames import ControlFrame, text_frame
from callcenter_ws.events.principal import Principal
from callcenter_ws.events.publication import Publication
from callcenter_ws.interfaces import Snapshot
from callcenter_ws.runtime.json import encode_json

RequestId = str | int | None
"""The ``id`` of a client's request, which its answer repeats as ``in_reply_to``."""


class SharedSnapshot:
    """One snapshot, as each group of a tenant's clients sees it.

    Args:
        may_see: whether a principal may see an event (``events.visibility``).
    """

    def __init__(self, snapshot: Snapshot, may_see: Callable[[Principal, Event], bool]) -> None:
        self.snapshot = snapshot
        self._may_see = may_see
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

    def frame_for(self, client: Subscriber, request_id: RequestId) -> ControlFrame:
        """Return the ``snapshot`` message for a client; the same object for clients that see the same."""
        group, principal = client.outbox.group, client.principal
        if group is None:
            mine = self._visible(client, self._of_session.get(principal.session_id or "", ()))
            return self._encode(client, mine, request_id)
        shared = self._seen_by_group.get(group.key)
        if shared is None:
            shared = self._seen_by_group[group.key] = self._seen_by(client)
        seen, answered = shared
        own = _without_unanswered(self._visible(client, self._for_user.get(principal.user_id, ())), answered)
        if own or request_id is not None:
            in_order = sorted([*seen, *own], key=lambda publication: publication.seq)
            return self._encode(client, in_order, request_id)
        frame = self._frames.get(group.key)
        if frame is None:
            frame = self._encode(client, seen, None)
            deflater = client.outbox.wire_format.deflater
            if deflater is not None:
                frame = ControlFrame(deflater.deflated(frame))
            self._frames[group.key] = frame
        return frame

    def _visible(self, client: Subscriber, publications: Iterable[Publication]) -> list[Publication]:
        names, principal, may_see = client.subscription.names, client.principal, self._may_see
        return [p for p in publications if p.event.type.name in names and may_see(principal, p.event)]

    def _seen_by(self, client: Subscriber) -> tuple[list[Publication], set[EntityKey | None]]:
        """Return what a client's group sees of what is for all, and the calls whose answering it may not see."""
        answered = {
            publication.event.entity
            for publication in self._for_all
            if _is_answer(publication) and not self._may_see(client.principal, publication.event)
        }
        return _without_unanswered(self._visible(client, self._for_all), answered), answered

    def _encode(self, client: Subscriber, publications: Iterable[Publication], request_id: RequestId) -> ControlFrame:
        view = client.principal.view
        envelope: dict[str, object] = {"type": "snapshot", "tenant_id": client.principal.tenant_id}
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


def _without_unanswered(publications: list[Publication], answered: set[EntityKey | None]) -> list[Publication]:
    """Remove the publications that present a call as unanswered although it was answered."""
    if not answered:
        return publications
    return [p for p in publications if not (p.event.type.unanswered and p.event.entity in answered)]
