"""The calls of one exchange: facts of any kind of exchange in, ``call.*``, ``queue.joined`` and ``queue.left`` out.

The book keeps the laws of calls, whatever the order of the facts: one ``call.incoming`` and one ``call.ended`` for each
call, ``queue.left`` for each ``queue.joined``, no stay in a queue both answered and abandoned, paired holds, and no
agent who talks in two calls of which none is held. A fact that contradicts them has no effect.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

import msgspec

from callcenter_ws.bridge.call import RECORD_PREFIX, Call, Leg, Party, Stay, Transfer, decode
from callcenter_ws.bridge.call_holds import CallHolds
from callcenter_ws.bridge.call_sums import bring_up_to_date, close_ringing, close_stay, shift, start_stay
from callcenter_ws.bridge.call_writer import CallWriter, seconds
from callcenter_ws.bridge.outgoing import Outgoing
from callcenter_ws.bridge.talks import SetActivity, Talks
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
EndedBy = Literal["", "caller", "agent", "callee", "exchange", "transfer"]


class CallBook:
    """The calls that go on.

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
        self._talks = Talks(set_activity)
        self._holds = CallHolds(self._writer, self._talks, self.calls)
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
            self._talks.update(call, call.last_sign)
        return unreadable

    @contextmanager
    def reconciling(self) -> Iterator[None]:
        """Mark the events that are made in the context as found out by comparing with the exchange's lists."""
        self._writer.is_reconciling = True
        try:
            yield
        finally:
            self._writer.is_reconciling = False

    def forget_ended(self) -> None:
        """Forget the ids of ended calls: the exchange was started anew, and may use them again."""
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
        """Add a call. Nothing is told of it before ``announce``, or the first fact that makes an event.

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
        self, call: Call, time: float, ended_by: EndedBy, hangup_cause: str = "", reason: LeaveReason = "other"
    ) -> None:
        """End a call, and its stay in a queue if it has one.

        Args:
            reason: why it left the queue.
        """
        self.leave(call, reason, time)
        self._tell_transfer(call, None)
        self.announce(call)
        time = self._writer.at(call, time)
        bring_up_to_date(call, time)
        close_ringing(call, time)
        payload: dict[str, JsonValue] = {"duration": seconds(time - call.started)}
        if ended_by == "transfer":
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

    # Agents

    def ring(self, call: Call, leg_id: str, party: Party, channel: str, time: float) -> None:
        """Tell that the call rings at an agent, once for each agent and attempt."""
        if leg_id in call.legs or not self._go_on(call, party):
            return
        time = self._writer.at(call, time)
        same = [(key, leg) for key, leg in call.legs.items() if leg.party.agent_id == party.agent_id]
        for key, leg in same:
            if leg.state == "silent":
                del call.legs[key]
        is_known = any(leg.state != "silent" for _, leg in same)
        leg = call.legs[leg_id] = Leg(party, channel, time, queue=call.queue if call.stay is not None else "")
        if call.first_ring is None:
            call.first_ring = time
        if not is_known and not call.talks(party.agent_id):
            self._writer.publish(call, "call.ringing", time, leg)
        self._changed(call, time)

    def stop_ringing(self, call: Call, leg_id: str, time: float, *, is_open: bool = False) -> None:
        """Note that a device rings no more, without an event: another one answered, or the caller left.

        Args:
            is_open: it may still be told that it missed the call.
        """
        leg = call.legs.get(leg_id)
        if leg is not None and leg.state != "talking":
            if is_open:
                leg.state = "silent"
            else:
                del call.legs[leg_id]
            self._changed(call, self._writer.at(call, time))

    def miss(self, call: Call, leg_id: str, time: float, party: Party | None = None) -> None:
        """Tell that an agent did not answer. All legs of this agent stop ringing.

        Args:
            party: the agent, if the ringing is not known.
        """
        found = call.legs.get(leg_id)
        if found is not None:
            party = found.party
        if party is None or call.talks(party.agent_id):
            self.stop_ringing(call, leg_id, time)
            return
        self.announce(call)
        time = self._writer.at(call, time)
        legs = [(key, leg) for key, leg in call.legs.items() if leg.party.agent_id == party.agent_id]
        for key, _ in legs:
            del call.legs[key]
        since = min((leg.since for _, leg in legs), default=time)
        shown = legs[0][1] if legs else Leg(party, "", time)
        extra: dict[str, JsonValue] = {} if self._writer.is_reconciling else {"ring_seconds": seconds(time - since)}
        self._writer.publish(call, "call.missed", time, shown, extra)
        self._changed(call, time)

    def answer(self, call: Call, leg_id: str, party: Party, channel: str, time: float) -> None:
        """Tell that an agent has answered; nothing else in the call rings any more."""
        self.leave(call, "answered", time)
        if call.talks(party.agent_id) or not self._go_on(call, party):
            self.stop_ringing(call, leg_id, time)
            return
        time = self._writer.at(call, time)
        since = [leg.since for leg in call.legs.values() if leg.party.agent_id == party.agent_id]
        self._begin_talk(call, party, time)
        self._stop_all_ringing(call)
        leg = call.legs[leg_id] = Leg(party, channel, time, "talking", queue=call.queue)
        call.agent, call.destination_channel = party, channel
        payload = _waited(call)
        if since and not self._writer.is_reconciling:
            payload["ring_seconds"] = seconds(time - min(since))
        self._writer.publish(call, "call.answered", time, leg, payload)
        bring_up_to_date(call, time)
        self._changed(call, time)

    def reach(self, call: Call, leg_id: str, channel: str, time: float) -> None:
        """Tell that the outside has answered a call that an agent made."""
        caller = call.caller
        if caller is None or leg_id in call.remote or not self._go_on(call, None):
            return
        time = self._writer.at(call, time)
        is_first = not call.is_talking()
        self._begin_talk(call, caller, time)
        self._stop_all_ringing(call)
        call.remote[leg_id] = channel
        call.agent, call.destination_channel = caller, channel
        if is_first:
            self._writer.publish(call, "call.answered", time, None, _waited(call))
        bring_up_to_date(call, time)
        self._changed(call, time)

    def release(self, call: Call, leg_id: str, time: float) -> None:
        """Note that a device that talked is in the call no more."""
        leg = call.legs.get(leg_id)
        if leg is not None and leg.state == "talking":
            del call.legs[leg_id]
        elif call.remote.pop(leg_id, None) is None:
            return
        time = self._writer.at(call, time)
        bring_up_to_date(call, time)
        self._changed(call, time)

    def release_caller(self, call: Call, time: float) -> None:
        """Note that the agent who made the call is in it no more; those outside whom it reached may go on."""
        call.caller, call.caller_holding = None, ""
        call.remote.clear()
        time = self._writer.at(call, time)
        bring_up_to_date(call, time)
        self._changed(call, time)

    def _begin_talk(self, call: Call, party: Party, time: float) -> None:
        close_ringing(call, time)
        if call.answered is None:
            call.answered = time
        self._holds.tell_end(call, time)
        for agent in (party, call.caller):
            if agent is not None:
                self._holds.imply(call, agent.agent_id, time)

    @staticmethod
    def _stop_all_ringing(call: Call) -> None:
        for key in [key for key, leg in call.legs.items() if leg.state != "talking"]:
            del call.legs[key]

    # Holds and transfers

    def hold(self, call: Call, leg_id: str, time: float) -> None:
        """Tell that a participant holds the call.

        Args:
            leg_id: one of the call's legs; any other is the caller's.
        """
        self._holds.hold(call, leg_id, time)
        self._changed(call, time)

    def unhold(self, call: Call, leg_id: str, time: float) -> None:
        """Tell that a participant holds the call no more. Calls in which this agent talks meanwhile are held."""
        leg = call.legs.get(leg_id)
        party = leg.party if leg is not None else call.caller
        holding = leg.holding if leg is not None else call.caller_holding
        if not holding:
            return
        if party is not None:
            self._holds.imply(call, party.agent_id, self._writer.at(call, time))
        self._holds.unhold(call, leg_id, time)
        self._changed(call, time)

    def talks_elsewhere(self, call: Call, leg_id: str) -> bool:
        """Return whether the agent of a leg talks in another call."""
        leg = call.legs.get(leg_id)
        party = leg.party if leg is not None else call.caller
        return party is not None and bool(self._talks.talking_in(party.agent_id, call.call_id))

    def transfer(self, call: Call, transfer: Transfer, to: Party | None = None, *, is_settled: bool = False) -> None:
        """Tell a transfer that has succeeded; a blind one when it rings at its target, so that this is known.

        Args:
            is_settled: tell it now.
        """
        self._tell_transfer(call, None)
        if self._go_on(call, None):
            call.transfer = transfer
            if is_settled:
                self._tell_transfer(call, to)
            self._writer.changed(call)

    def move(self, source: Call, target: Call, leg_ids: Iterable[str], time: float) -> Party | None:
        """Move legs to another call, silently, as an attended transfer does.

        Returns:
            The agent who talks there now, of those that were moved.
        """
        found: Party | None = None
        for leg_id in leg_ids:
            leg = source.legs.pop(leg_id, None)
            if leg is not None:
                leg.holding = ""
                target.legs[leg_id] = leg
                if leg.state == "talking":
                    found = target.agent = leg.party
                    target.destination_channel = leg.channel
            elif leg_id in source.remote:
                target.remote[leg_id] = source.remote.pop(leg_id)
        for call in (source, target):
            bring_up_to_date(call, self._writer.at(call, time))
            self._changed(call, time)
        return found

    def tell_unseen_answer(self, call: Call, time: float) -> None:
        """Tell that a call is answered into which a talking agent was moved, if no answer was seen before."""
        talking = [leg for leg in call.legs.values() if leg.state == "talking"]
        if talking and call.answered is None and self._go_on(call, talking[-1].party):
            call.answered = self._writer.at(call, time)
            self._writer.publish(call, "call.answered", call.answered, talking[-1])

    def bring_in(self, call: Call, leg_id: str, party: Party, channel: str, time: float) -> None:
        """Let an agent talk in the call who was consulted, silently, as an attended transfer does."""
        if call.is_abandoned or call.answered is None or call.talks(party.agent_id):
            return
        time = self._writer.at(call, time)
        call.legs[leg_id] = Leg(party, channel, time, "talking", queue=call.queue)
        call.agent, call.destination_channel = party, channel
        bring_up_to_date(call, time)
        self._changed(call, time)

    def tell_transfer(self, call: Call) -> None:
        """Tell a transfer now whose target is not known yet."""
        self._tell_transfer(call, None)

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
        for agent_id in self._talks.update(call, time):
            for other in self._holds.end_implied(agent_id, time):
                self._talks.update(other, time)


def _waited(call: Call) -> dict[str, JsonValue]:
    return {} if call.is_incomplete else {"wait_seconds": seconds(call.wait_seconds)}
