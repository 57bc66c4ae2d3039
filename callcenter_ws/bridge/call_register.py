"""Calls that begin, wait in queues and end: the part of the book that every kind of call needs."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

import msgspec

from callcenter_ws.bridge.activities import Activities, SetActivity
from callcenter_ws.bridge.call import RECORD_PREFIX, Call, Party, Stay, decode
from callcenter_ws.bridge.call_holds import CallHolds
from callcenter_ws.bridge.call_sums import bring_up_to_date, close_ringing, close_stay, shift, start_stay
from callcenter_ws.bridge.call_writer import CallWriter, seconds
from callcenter_ws.bridge.outgoing import Outgoing
from callcenter_ws.runtime.json import JsonValue

MAX_CALLS = 20_000
"""Calls at one time. Further ones are not told, and counted."""

_TRANSFERRED_RECORD = "transferred"
_MAX_TRANSFERRED = 50
"""The record of calls that were ended by a transfer, the last ones: some of their channels live on for a moment."""

MAX_ENDED = 20_000
"""Ended calls whose ids are remembered, so that a late fact does not begin them again."""

LeaveReason = Literal[
    "answered", "abandoned", "timeout", "empty", "key", "withdrawn", "transferred", "other", "unknown"
]
EndedBy = Literal["", "caller", "agent", "exchange"]


class CallRegister:
    """The calls that go on, their announcement, their stays in queues and their ends.

    Args:
        set_activity: told what users do in calls.
        conclude: fills in the tenant and the direction of a call that has to be announced now.

    Attributes:
        calls: those that go on, by their ids, those not yet announced included. Changed by the methods only.
        dropped: calls that were not told because there were too many.
    """

    def __init__(
        self,
        outgoing: Outgoing,
        set_activity: SetActivity | None = None,
        conclude: Callable[[Call], None] | None = None,
    ) -> None:
        self._conclude = conclude
        self.calls: dict[str, Call] = {}
        self.dropped = 0
        self._writer = CallWriter(outgoing)
        self._activities = Activities(set_activity)
        self._holds = CallHolds(self._writer, self._activities, self.calls)
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._transferred: list[str] = []

    def restore(self, records: Mapping[str, bytes]) -> list[str]:
        """Take over the calls of an earlier process.

        Returns:
            The keys of records that cannot be read; their calls are forgotten.
        """
        unreadable = []
        self._transferred = records.get(_TRANSFERRED_RECORD, b"").decode(errors="replace").split()
        self._ended.update(dict.fromkeys(self._transferred))
        for key, record in records.items():
            if not key.startswith(RECORD_PREFIX):
                continue
            try:
                call = decode(record)
            except msgspec.MsgspecError:
                unreadable.append(key)
                self._writer.delete(key)
                continue
            self.calls[call.call_id] = call
            self._activities.update(call, call.last_sign)
        return unreadable

    @property
    def waiting(self) -> int:
        """The number of events that were made and not yet taken."""
        return self._writer.waiting

    @contextmanager
    def reconciling(self) -> Iterator[None]:
        """Mark the events that are made in the context as found out by comparing with the exchange's lists."""
        self._writer.is_reconciling = True
        try:
            yield
        finally:
            self._writer.is_reconciling = False

    def forget_ended(self) -> None:
        """Forget the ids of ended calls: the exchange was restarted, and may use them again."""
        self._ended.clear()
        if self._transferred:
            self._transferred = []
            self._writer.record(_TRANSFERRED_RECORD, None)

    def flush(self) -> None:
        """Write the records of the calls that changed."""
        self._writer.flush()

    def shift(self, by: float) -> None:
        """Move all times, because the exchange's clock was set, so that durations stay right."""
        for call in self.calls.values():
            shift(call, by)
            self._writer.changed(call)

    # A call

    def begin(self, call: Call) -> bool:
        """Add a call. Nothing is published about it before ``announce``, or the first fact that makes an event.

        Returns:
            Whether it was added; not if it is known already, has ended before, or there are too many.
        """
        if call.call_id in self.calls or call.call_id in self._ended:
            return False
        if len(self.calls) >= MAX_CALLS:
            self.dropped += 1
            return False
        call.talked_until = call.last_sign = call.started
        self.calls[call.call_id] = call
        self._changed(call, call.started)
        return True

    def announce(self, call: Call, extra: Mapping[str, JsonValue] | None = None) -> None:
        """Tell that the call has begun, if that was not told."""
        if call.is_announced:
            return
        if self._conclude is not None:
            self._conclude(call)
        call.is_announced = True
        if not call.direction:
            call.direction = "internal" if call.caller is not None else "inbound"
        self._writer.publish(call, "call.incoming", call.started, None, extra)

    def end(
        self,
        call: Call,
        time: float,
        ended_by: EndedBy,
        hangup_cause: str = "",
        reason: LeaveReason = "other",
        *,
        is_transferred: bool = False,
    ) -> None:
        """End a call, and its stay in a queue if it has one.

        Args:
            ended_by: an agent on either side, the other party (``caller``), or the exchange; empty: not known.
            reason: why it left the queue.
            is_transferred: its channels go on in another call.
        """
        self.leave(call, reason, time)
        self._tell_transfer(call, None)
        self.announce(call)
        time = self._writer.at(call, time)
        bring_up_to_date(call, time)
        close_ringing(call, time)
        payload: dict[str, JsonValue] = {"duration": seconds(time - call.started)}
        if is_transferred:
            self._transferred = [*self._transferred, call.call_id][-_MAX_TRANSFERRED:]
            self._writer.record(_TRANSFERRED_RECORD, "\n".join(self._transferred).encode())
        if ended_by:
            payload["ended_by"] = ended_by
        if hangup_cause:
            payload["hangup_cause"] = hangup_cause
        if not call.is_incomplete:
            payload["talk_seconds"] = seconds(call.talk_seconds)
            payload["hold_seconds"] = seconds(call.hold_seconds)
            payload["wait_seconds"] = seconds(call.wait_seconds)
        self._finish(call, time, payload)

    def lose(self, call: Call, time: float) -> None:
        """End a call whose end was not seen, by reconciling with the exchange: nothing of it is invented.

        Args:
            time: when that was found out. The duration goes up to the call's last sign.
        """
        duration = seconds(call.last_sign - call.started)
        self.announce(call)
        time = self._writer.at(call, time)
        self.leave(call, "unknown", time, {"reconciled": True})
        self._finish(call, time, {"duration": duration, "ended_by": "unknown", "reconciled": True})

    def _finish(self, call: Call, time: float, payload: dict[str, JsonValue]) -> None:
        self._writer.publish(call, "call.ended", time, None, payload)
        call.legs.clear()
        call.remote.clear()
        call.caller = None
        self._changed(call, time)
        self._writer.forget(call)
        del self.calls[call.call_id]
        self._ended[call.call_id] = None
        if len(self._ended) > MAX_ENDED:
            self._ended.popitem(last=False)

    # Queues

    def join(self, call: Call, queue: str, time: float, position: int, calls_waiting: int | None = None) -> None:
        """Tell that the call waits in a queue. It has left the one before."""
        self.leave(call, "other", time)
        if not self._go_on(call, None):
            return
        time = self._writer.at(call, time)
        start_stay(call, Stay(queue, time, position))
        payload: dict[str, JsonValue] = {"queue_name": queue, "position": position}
        if calls_waiting is not None:
            payload["calls_waiting"] = calls_waiting
        self._writer.publish(call, "queue.joined", time, None, payload)

    def leave(self, call: Call, reason: LeaveReason, time: float, extra: Mapping[str, JsonValue] | None = None) -> None:
        """Tell that the call has left its queue, if it is in one; ``abandoned`` tells also ``call.abandoned``."""
        stay = call.stay
        if stay is None:
            return
        time = self._writer.at(call, time)
        waited = close_stay(call, time)
        if reason != "answered":
            self._stop_all_ringing(call)
        payload: dict[str, JsonValue] = {"queue_name": stay.queue, "reason": reason}
        if reason != "unknown":
            payload["wait_seconds"] = seconds(waited)
        self._writer.publish(call, "queue.left", time, None, payload | dict(extra or {}))
        if reason == "abandoned":
            call.is_abandoned = True
            payload = {"queue_name": stay.queue, "wait_seconds": seconds(waited), "position": stay.position}
            self._writer.publish(call, "call.abandoned", time, None, payload)
        self._changed(call, time)

    # What all facts have in common

    @staticmethod
    def _stop_all_ringing(call: Call) -> None:
        for key in [key for key, leg in call.legs.items() if leg.state != "talking"]:
            del call.legs[key]

    def _tell_transfer(self, call: Call, to: Party | None) -> None:
        transfer, call.transfer = call.transfer, None
        if transfer is None:
            return
        time = self._writer.at(call, transfer.time)
        self._holds.tell_end(call, time)
        payload: dict[str, JsonValue] = {"destination": transfer.destination, "transfer_type": transfer.kind}
        if transfer.sender is not None:
            payload["from_agent_id"] = transfer.sender.agent_id
        if to is not None:
            payload["to_agent_id"] = to.agent_id
        self._writer.publish(call, "call.transferred", time, None, payload)

    def _go_on(self, call: Call, party: Party | None) -> bool:
        """Tell what has to be told before anything new; return whether anything new may be told."""
        if call.is_abandoned:
            return False
        self.announce(call)
        self._tell_transfer(call, party)
        return True

    def _changed(self, call: Call, time: float) -> None:
        self._writer.changed(call)
        for agent_id in self._activities.update(call, time):
            for other in self._holds.end_implied(agent_id, time):
                self._activities.update(other, time)
