"""Makes the events and the records of calls."""

from __future__ import annotations

from collections.abc import Mapping

from callcenter_ws.bridge.call import RECORD_PREFIX, Call, Leg, encode
from callcenter_ws.bridge.outgoing import Outgoing
from callcenter_ws.runtime.json import JsonValue, rfc3339

_MAX_ID = 255
_MAX_TEXT = 1_000
"""Characters of a name that are passed on; the gateway refuses longer ids, and bounds the event."""

_OF_WAITING = frozenset(["queue.joined", "queue.left", "call.abandoned"])
"""Events of a caller who waits, which have no agent."""

_ABSENT = "unknown"
"""Stands for a number that the exchange does not tell, where an event requires one."""


class CallWriter:
    """Adds events of calls to what has to be sent, and remembers whose record has to be written again.

    Attributes:
        is_reconciling: marks the events as found out by comparing with the exchange's lists.
    """

    def __init__(self, outgoing: Outgoing) -> None:
        self.is_reconciling = False
        self._outgoing = outgoing
        self._changed: dict[str, Call] = {}

    @property
    def waiting(self) -> int:
        """The number of events that were made and not yet taken."""
        return self._outgoing.waiting

    def at(self, call: Call, time: float) -> float:
        """Return a time not before the call's last sign, and note it as such."""
        if time > call.last_sign:
            call.last_sign = time
        return call.last_sign

    def changed(self, call: Call) -> None:
        """Remember to write the call's record."""
        self._changed[call.call_id] = call

    def forget(self, call: Call) -> None:
        """Delete the call's record."""
        self._changed.pop(call.call_id, None)
        if call.is_announced and call.tenant_id:
            self._outgoing.record(RECORD_PREFIX + call.call_id, None)

    def delete(self, key: str) -> None:
        """Delete a record that cannot be read."""
        self._outgoing.record(key, None)

    def record(self, key: str, value: bytes | None) -> None:
        """Write another record, or delete it with None."""
        self._outgoing.record(key, value)

    def flush(self) -> None:
        """Write the records of the calls that changed."""
        for call_id, call in self._changed.items():
            if call.is_announced and call.tenant_id:
                self._outgoing.record(RECORD_PREFIX + call_id, encode(call))
        self._changed.clear()

    def publish(
        self, call: Call, type_: str, time: float, leg: Leg | None, extra: Mapping[str, JsonValue] | None = None
    ) -> None:
        """Add an event of a call; none if the call has no tenant.

        Args:
            leg: the device that it is about.
        """
        self._changed[call.call_id] = call
        if not call.tenant_id:
            return
        number = call.numbers[type_] = call.numbers.get(type_, 0) + 1
        payload = _fields(type_, call, leg)
        if extra:
            for name, value in extra.items():
                payload[name] = value[:_MAX_ID] if isinstance(value, str) else value
        if self.is_reconciling:
            payload["reconciled"] = True
        self._outgoing.publish(type_, call.tenant_id, time, call.call_id, number, payload)


def _fields(type_: str, call: Call, leg: Leg | None) -> dict[str, JsonValue]:
    """Return the fields that all events of a call share."""
    payload: dict[str, JsonValue] = {
        "unique_id": call.unique_id,
        "call_id": call.call_id,
        "direction": call.direction,
        "caller_id": call.caller_id[:_MAX_ID] or _ABSENT,
        "destination": call.destination[:_MAX_ID] or _ABSENT,
        "started_at": rfc3339(call.started),
    }
    if call.caller_name:
        payload["caller_name"] = call.caller_name[:_MAX_TEXT]
    if call.queue:
        payload["queue_name"] = call.queue[:_MAX_ID]
    if call.channel:
        payload["channel"] = call.channel
    party, channel = (leg.party, leg.channel) if leg is not None else (call.agent, call.destination_channel)
    if type_ in _OF_WAITING:
        # An agent who has talked to this caller before has no part in it.
        party, channel = None, ""
    if party is not None:
        payload["agent_id"] = party.agent_id[:_MAX_ID]
        if party.agent_name:
            payload["agent_name"] = party.agent_name[:_MAX_TEXT]
    if channel:
        payload["destination_channel"] = channel
    if call.answered is not None:
        payload["answered_at"] = rfc3339(call.answered)
    return payload


def seconds(value: float) -> float:
    """Return a duration for a payload: not negative, rounded to milliseconds."""
    return round(max(0.0, value), 3)
