"""Transfers, calls that are picked up elsewhere, and calls that are parked."""

from __future__ import annotations

from collections.abc import Mapping

from callcenter_ws.bridge.asterisk.channels import Channel
from callcenter_ws.bridge.asterisk.tracker import Tracker
from callcenter_ws.bridge.call import Call, Party, Transfer

_SETTLE_SECONDS = 1.0
"""How long it takes at most to see who is called by a transfer."""


class Transfers:
    """Translates events of transfers. Failed ones have no event."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self._book = tracker.book
        self._table = tracker.table

    def blind(self, headers: Mapping[str, str], time: float) -> None:
        """Handle ``BlindTransfer``: a participant transferred the other one to an extension."""
        channel = self._table.get(headers.get("TransfererUniqueid", ""))
        call = self._tracker.call_of(channel)
        if headers.get("Result") != "Success" or channel is None or call is None:
            return
        sender = self._sender(call, channel)
        self._leave(call, channel, time)
        self.redirected(call, sender, headers.get("Extension", "") or "unknown", time)

    def redirected(self, call: Call, sender: Party | None, destination: str, time: float) -> None:
        """Note that the other party of an agent was sent to an extension: tell it when it rings there."""
        self._book.transfer(call, Transfer("blind", sender, destination, time))
        call_id = call.call_id

        def tell(_: float) -> None:
            transferred = self._book.calls.get(call_id)
            if transferred is not None:
                self._book.tell_transfer(transferred)

        self._tracker.delayed.add(f"transfer/{call_id}", time + _SETTLE_SECONDS, tell)

    def attended(self, headers: Mapping[str, str], time: float) -> None:
        """Handle ``AttendedTransfer``: a participant connected two calls, or the two ends of one."""
        first = self._table.get(headers.get("OrigTransfererUniqueid", ""))
        second = self._table.get(headers.get("SecondTransfererUniqueid", ""))
        call, consultation = self._tracker.call_of(first), self._tracker.call_of(second)
        if headers.get("Result") != "Success" or first is None or call is None:
            return
        is_threeway = headers.get("DestType") == "Threeway"
        sender = self._sender(call, first)
        if is_threeway:
            self._book.unhold(call, first.uniqueid, time)
        else:
            self._leave(call, first, time)
        destination, target, stay = call.destination, None, None
        if consultation is not None and consultation is not call and second is not None:
            destination = consultation.destination
            stays = is_threeway or headers.get("DestType") == "App"
            stay = consultation.stay
            target = self._merge(consultation, call, None if stays else second, time)
        else:
            target = self._bring_in(call, self._table.get(headers.get("TransferTargetUniqueid", "")), time)
            destination = headers.get("TransferTargetCallerIDNum", "") or destination
        transfer = Transfer("attended", sender, destination or "unknown", time)
        self._book.transfer(call, transfer, target, is_settled=True)
        if stay is not None:
            self._book.join(call, stay.queue, time, stay.position)

    def _bring_in(self, call: Call, target: Channel | None, time: float) -> Party | None:
        """Let a phone talk that was consulted within the call, by a feature code."""
        party = None
        if target is not None:
            for phone in self._table.phones_behind(target, answered=True):
                party = self._tracker.party_of(phone)
                self._book.bring_in(call, phone.uniqueid, party, phone.name, time)
        return party

    def pickup(self, headers: Mapping[str, str], time: float) -> None:
        """Handle ``Pickup``: a channel takes the place of one that rings."""
        target = self._table.get(headers.get("TargetUniqueid", ""))
        name = headers.get("Channel", "")
        if target is not None and name:
            picker = self._table.get(headers.get("Uniqueid", ""))
            target.rename(name)
            target.context = picker.context if picker is not None else target.context
            target.caller_name = picker.caller_name if picker is not None else ""

    def unparked(self, headers: Mapping[str, str], time: float) -> None:
        """Handle ``UnParkedCall``: a channel took a parked call."""
        parked = self._table.get(headers.get("ParkeeUniqueid", ""))
        channel = self._table.get(headers.get("RetrieverUniqueid", ""))
        call, other = self._tracker.call_of(parked), self._tracker.call_of(channel)
        if call is None or channel is None or call is other:
            return
        party = self._tracker.party_of(channel)
        if other is not None:
            self._merge(other, call, None, time)
        self._book.answer(call, channel.uniqueid, party, channel.name, time)

    def _sender(self, call: Call, channel: Channel) -> Party | None:
        leg = call.legs.get(channel.uniqueid)
        if leg is not None:
            return leg.party
        return call.caller if self._tracker.is_root(call, channel) else None

    def _leave(self, call: Call, channel: Channel, time: float) -> None:
        """Take the participant who transferred out of the conversation."""
        if channel.uniqueid in call.legs:
            self._book.release(call, channel.uniqueid, time)
        elif self._tracker.is_root(call, channel):
            self._book.release_caller(call, time)
        self._tracker.delayed.cancel(f"unhold/{channel.uniqueid}")

    def _merge(self, source: Call, target: Call, but: Channel | None, time: float) -> Party | None:
        """Move the channels of a call to another one, and end it.

        Args:
            but: the channel that leaves both.
        """
        for uniqueid, name in list(source.members.items()):
            channel = self._table.get(uniqueid)
            if channel is None:
                continue
            self._tracker.leave_call(source, channel)
            if channel is not but:
                channel.call_id = target.call_id
                target.members[uniqueid] = name
        # Before it leaves its queue, whose members go on ringing: the target waits there now.
        found = self._book.move(source, target, list(source.legs) + list(source.remote), time)
        self._book.leave(source, "transferred", time)
        self._tracker.end(source, time, "agent", is_transferred=True)
        # Only now: the same agent talked in the other call until its end.
        self._book.tell_unseen_answer(target, time)
        return found
