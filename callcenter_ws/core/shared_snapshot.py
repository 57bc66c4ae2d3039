"""A tenant's snapshot, prepared once for all clients that ask at the same position.

When a thousand agents reconnect at once, each is owed the whole state. What they may see they have in common, so
it is filtered and encoded once per group, and they hold the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from callcenter_ws.core.message import ControlFrame, Message, encode_json, text_frame
from callcenter_ws.interfaces import Snapshot

if TYPE_CHECKING:
    from callcenter_ws.core.client import Client
    from callcenter_ws.core.tenant import Tenant

RequestId = str | int | None


class SharedSnapshot:
    """One ``snapshot``, as each group of a tenant's clients sees it."""

    def __init__(self, snapshot: Snapshot, tenant: Tenant) -> None:
        self.snapshot = snapshot
        self._tenant = tenant
        self._for_all: list[Message] = []
        self._for_user: dict[str, list[Message]] = {}
        self._of_session: dict[str, list[Message]] = {}
        self._seen_by_group: dict[tuple[object, ...], list[Message]] = {}
        self._frames: dict[tuple[object, ...], ControlFrame] = {}
        for message in snapshot.messages:
            event = message.event
            if event.user_id is not None:
                self._for_user.setdefault(event.user_id, []).append(message)
                continue
            self._for_all.append(message)
            if event.session_id is not None:
                self._of_session.setdefault(event.session_id, []).append(message)

    def frame_for(self, client: Client, request_id: RequestId) -> ControlFrame:
        """The ``snapshot`` message for a client; the same object for clients that see the same."""
        own = self._visible(client, self._for_user.get(client.principal.user_id, ()))
        group = client.group
        if group is None:
            shared = self._visible(client, self._of_session.get(client.principal.session_id or "", ()))
        else:
            seen = self._seen_by_group.get(group.key)
            shared = seen if seen is not None else self._visible(client, self._for_all)
            self._seen_by_group[group.key] = shared
        if group is None or own or request_id is not None:
            return self._encode(client, sorted([*shared, *own], key=lambda message: message.seq), request_id)
        frame = self._frames.get(group.key)
        if frame is None:
            frame = self._frames[group.key] = self._encode(client, shared, None)
        return frame

    def _visible(self, client: Client, messages: Iterable[Message]) -> list[Message]:
        """What a client may see; not the ringing of a call that somebody out of its sight has answered."""
        sees = self._tenant.sees
        kept, answered_elsewhere = [], set()
        for message in messages:
            if sees(client, message):
                kept.append(message)
            elif message.event.type.slot is not None and message.event.type.slot.keeps == "answered":
                answered_elsewhere.add(message.event.entity)
        if not answered_elsewhere:
            return kept
        return [m for m in kept if not (m.event.type.unanswered and m.event.entity in answered_elsewhere)]

    def _encode(self, client: Client, messages: Iterable[Message], request_id: RequestId) -> ControlFrame:
        view = client.principal.view
        envelope: dict[str, Any] = {"type": "snapshot", "tenant_id": client.principal.tenant_id}
        if request_id is not None:
            envelope["in_reply_to"] = request_id
        head = encode_json(envelope)[:-1]
        events = b",".join([message.body(view) for message in messages])
        body = b'%b,"payload":{"epoch":%b,"seq":%d,"events":[%b]}}' % (
            head,
            encode_json(self.snapshot.epoch),
            self.snapshot.seq,
            events,
        )
        return ControlFrame(text_frame(body))
