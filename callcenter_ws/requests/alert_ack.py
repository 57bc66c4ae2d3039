"""Supervisors and admins take notice of alerts with ``alert.ack`` (``docs/protocol.rst``)."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from callcenter_ws.delivery.client import Client
from callcenter_ws.delivery.snapshot_cache import RequestId
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.entity import Entity
from callcenter_ws.events.event import Event, Origin, StoreCondition, make_event
from callcenter_ws.events.frames import control_frame
from callcenter_ws.events.principal import Principal, Role
from callcenter_ws.events.publication import Publication
from callcenter_ws.interfaces import Broker
from callcenter_ws.requests.handlers import Handler
from callcenter_ws.runtime.clock import Clock
from callcenter_ws.runtime.json import decode_trusted_json

ATTEMPTS = 3
"""How often an alert is read again that was raised again meanwhile."""

_ROLES = frozenset({Role.SUPERVISOR, Role.ADMIN})
_ACKNOWLEDGED = "queue.alert.acknowledged"


class AcknowledgedAlert(msgspec.Struct):
    """The payload of ``alert.ack``."""

    alert_id: Annotated[str, Meta(min_length=1, max_length=255)]
    note: Annotated[str, Meta(max_length=500)] | None = None


class AlertAckHandler(Handler):
    """Publishes ``queue.alert.acknowledged``: the alert is not repeated any more, and stays until it is cleared."""

    name = "alert.ack"
    payload = AcknowledgedAlert

    def __init__(self, broker: Broker, clock: Clock) -> None:
        self._broker = broker
        self._clock = clock

    async def handle(self, client: Client, payload: AcknowledgedAlert, request_id: RequestId) -> None:
        """Answer ``accepted``; an alert that was acknowledged before stays as it is, and is answered the same."""
        sender = client.principal
        if sender.role not in _ROLES:
            raise Refusal(ErrorCode.FORBIDDEN, f"the role {sender.role} acknowledges no alerts")
        event_id, seq, duplicate = await self._acknowledge(sender, payload)
        answer = {"alert_id": payload.alert_id, "id": event_id, "seq": seq, "duplicate": duplicate}
        client.send(control_frame("accepted", answer, in_reply_to=request_id))

    async def _acknowledge(self, sender: Principal, ack: AcknowledgedAlert) -> tuple[str, int, bool]:
        for attempt in range(ATTEMPTS):
            entity, found = await self._find(sender, ack.alert_id)
            if found.event.type.name == _ACKNOWLEDGED:
                return found.event.event_id, found.seq, True
            event = self._event(sender, ack, entity, found)
            (outcome,) = await self._broker.publish([event])
            if not isinstance(outcome, Refusal):
                return outcome.event_id, outcome.seq, outcome.duplicate
            # It was cleared meanwhile, or raised again: only the latter is found at the next attempt.
            if outcome.code is not ErrorCode.UNKNOWN_ALERT or attempt == ATTEMPTS - 1:
                raise outcome.copy()
        raise AssertionError("unreachable")

    async def _find(self, sender: Principal, alert_id: str) -> tuple[Entity, Publication]:
        """Return the alert and its last publication, if the sender sees it.

        Raises:
            Refusal: ``unknown_alert``.
        """
        for _, entity in await self._broker.entities(sender.tenant_id, "alert"):
            for publication in entity.publications()[-1:]:
                queue_name = publication.event.queue_name
                if sender.queues is not None and queue_name not in sender.queues:
                    continue
                fields = decode_trusted_json(publication.event.payload)
                if fields.get("alert_id") == alert_id:
                    return entity, publication
        raise Refusal(ErrorCode.UNKNOWN_ALERT, "there is no raised alert with this id")

    def _event(self, sender: Principal, ack: AcknowledgedAlert, entity: Entity, raised: Publication) -> Event:
        """Return the event, with all fields of the alert, since the snapshot keeps only the last."""
        fields = decode_trusted_json(raised.event.payload)
        event = make_event(
            tenant_id=sender.tenant_id,
            type_=_ACKNOWLEDGED,
            payload={**fields, "by": sender.user_id, "note": ack.note},
            event_id=f"ack-{ack.alert_id}"[:255],
            now=self._clock.time(),
            received_at=self._clock.monotonic(),
            origin=Origin.GATEWAY,
        )
        event.condition = StoreCondition(entity_seq=entity.changed_by)
        return event
