"""Callers who join and leave queues, and the members that are called for them."""

from __future__ import annotations

from collections.abc import Mapping

from callcenter_ws.bridge.asterisk.call_notes import FAR_END_CAUSES, Departure
from callcenter_ws.bridge.asterisk.channels import Channel
from callcenter_ws.bridge.asterisk.delayed import GOES_ON
from callcenter_ws.bridge.asterisk.tracker import Tracker
from callcenter_ws.bridge.call import Call, Party
from callcenter_ws.bridge.call_register import EndedBy, LeaveReason

_SETTLE_SECONDS = 1.0
"""How long it takes at most to see why a caller left a queue, or which phone is behind a Local channel."""

_CONNECT_SECONDS = 60.0
"""How long it takes at most from the answer of a member to the connection: what the dialplan does in between."""

_AT_ONCE_SECONDS = 0.5
"""A caller that hangs up within this time after its queue told that it left had hung up before."""

_STATUS: dict[str, LeaveReason] = {
    "TIMEOUT": "timeout",
    "LEAVEEMPTY": "empty",
    "LEAVEUNAVAIL": "empty",
    "WITHDRAW": "withdrawn",
}


class Queues:
    """Translates events of queues."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self._book = tracker.book
        self._table = tracker.table
        self._parties = tracker.parties

    # Members

    def agent_called(self, headers: Mapping[str, str], time: float) -> None:
        """Handle ``AgentCalled``: a member is called for a caller."""
        call, member = self._waiting(headers, time), self._tracker.adopt(headers, "Dest", time)
        if call is None or member is None:
            return
        if self._parties.is_on_line(headers.get("Queue", ""), headers.get("Interface", "")):
            return
        party = self._member(headers)
        if party.is_user or not member.is_local:
            self._book.ring(call, member.uniqueid, party, member.name, time)
            return
        call_id, uniqueid, name = call.call_id, member.uniqueid, member.name
        called = {key: headers.get(key, "") for key in ("Queue", "Interface", "MemberName")}

        def ring(_: float) -> None:
            waiting = self._book.calls.get(call_id)
            if waiting is not None and waiting.stay is not None:
                # Its device may have been told of meanwhile.
                self._book.ring(waiting, uniqueid, self._member(called), name, time)

        self._tracker.delayed.add(f"ring/{uniqueid}", time + _SETTLE_SECONDS, ring)

    def ring_no_answer(self, headers: Mapping[str, str], time: float) -> None:
        """Handle ``AgentRingNoAnswer`` and ``AgentDump``: a member did not answer, or hung up too early."""
        call, member = self._waiting(headers, time), self._tracker.adopt(headers, "Dest", time)
        if call is None:
            return
        if member is None:
            self._book.miss(call, "", time, self._member(headers))
            return
        self._tracker.delayed.run(f"ring/{member.uniqueid}", time)
        rang = [uniqueid for uniqueid in (member.uniqueid, *member.phones) if uniqueid in call.legs]
        for uniqueid in rang:
            self._book.miss(call, uniqueid, time)
        if not rang:
            self._book.miss(call, member.uniqueid, time, self._member(headers))

    def connect(self, headers: Mapping[str, str], time: float) -> None:
        """Handle ``AgentConnect``: a member is connected with a caller."""
        call = self._waiting(headers, time)
        member = self._tracker.adopt(headers, "Dest", time)
        if call is None or member is None:
            return
        caller = headers.get("Uniqueid", "")
        departure = self._tracker.notes(call).departure
        self._tracker.notes(call).departure = None
        self._tracker.delayed.cancel(f"left/{caller}")
        self._tracker.delayed.run(f"ring/{member.uniqueid}", time)
        member.has_answered = True
        if departure is not None:
            self._book.leave(call, "answered", departure.time)
        uniqueid, party, channel = self._answering(call, member, headers)
        self._book.answer(call, uniqueid, party, channel, time)

    def complete(self, headers: Mapping[str, str], time: float) -> None:
        """Handle ``AgentComplete``: a conversation is over for its queue; the call may go on."""
        channel = self._table.get(headers.get("Uniqueid", ""))
        call = self._tracker.call_of(channel)
        reason = headers.get("Reason", "")
        if call is not None and reason in ("agent", "caller"):
            who: EndedBy = "agent" if reason == "agent" else self._tracker.who_calls(call)
            self._tracker.notes(call).completed = (who, time)

    def _answering(self, call: Call, member: Channel, headers: Mapping[str, str]) -> tuple[str, Party, str]:
        """Return the leg, the agent and the channel that really answered."""
        phones = self._table.phones_behind(member, answered=True)
        if phones:
            phone = phones[-1]
            name = headers.get("MemberName", "") if self._is_of(headers, phone) else ""
            return phone.uniqueid, self._tracker.party_of(phone, name), phone.name
        if member.is_local and self._is_forwarded(headers, member):
            found = self._only_phone(call)
            if found is not None:
                return found.uniqueid, self._tracker.party_of(found), found.name
            return member.uniqueid, self._parties.of_member("", member.device, ""), member.name
        phone_of_member = self._phone_of(call, self._member(headers))
        if phone_of_member is not None:
            return phone_of_member.uniqueid, self._member(headers), phone_of_member.name
        return member.uniqueid, self._member(headers), member.name

    def _member(self, headers: Mapping[str, str]) -> Party:
        queue, interface = headers.get("Queue", ""), headers.get("Interface", "")
        return self._parties.of_member(queue, interface, headers.get("MemberName", ""))

    def _is_of(self, headers: Mapping[str, str], phone: Channel) -> bool:
        return self._member(headers).agent_id == self._tracker.party_of(phone).agent_id

    @staticmethod
    def _is_forwarded(headers: Mapping[str, str], member: Channel) -> bool:
        interface = headers.get("Interface", "")
        return not (interface == member.device or interface.startswith(f"{member.device}/"))

    def _only_phone(self, call: Call) -> Channel | None:
        """Return the only phone of a call beside the caller's, where the exchange sends no dial events."""
        found = [self._table.get(uniqueid) for uniqueid in call.members if uniqueid != call.unique_id]
        phones = [channel for channel in found if channel is not None and not channel.is_local]
        return phones[0] if len(phones) == 1 else None

    def _phone_of(self, call: Call, party: Party) -> Channel | None:
        """Return the newest phone of an agent in a call, where the exchange sends no dial events."""
        for uniqueid in reversed(call.members):
            channel = self._table.get(uniqueid)
            if channel is None or channel.is_local or uniqueid == call.unique_id:
                continue
            if self._tracker.party_of(channel).agent_id == party.agent_id:
                return channel
        return None

    # Callers

    def _waiting(self, headers: Mapping[str, str], time: float) -> Call | None:
        return self._tracker.call_of(self._tracker.adopt(headers, "", time))

    def join(self, headers: Mapping[str, str], time: float) -> None:
        """Handle ``QueueCallerJoin``: a caller joined a queue."""
        channel = self._tracker.adopt(headers, "", time, begin=True)
        call = self._tracker.call_of(channel)
        if channel is None or call is None:
            return
        self._tracker.delayed.run(f"left/{channel.uniqueid}", GOES_ON)
        channel.has_abandoned = False
        queue = headers.get("Queue", "")
        if not queue:
            self._tracker.stray("QueueCallerJoin")
            return
        origin = self._tracker.notes(call).origin
        if origin is not None:
            origin.queue = queue
        call.caller_id = headers.get("CallerIDNum", "") or call.caller_id
        call.caller_name = headers.get("CallerIDName", "") or call.caller_name
        if not call.is_announced:
            call.unique_id = channel.uniqueid
            call.destination = call.destination or headers.get("Exten", "")
        position = _count(headers, "Position") or 1
        if call.stay is not None and call.stay.queue == queue:
            # The lists of the exchange had shown it before this event.
            call.stay.position = position
            return
        self._book.join(call, queue, time, position, _count(headers, "Count"))

    def abandon(self, headers: Mapping[str, str], time: float) -> None:
        """Handle ``QueueCallerAbandon``: a caller left without an answer, for one of several reasons."""
        channel = self._tracker.adopt(headers, "", time)
        if channel is not None:
            channel.has_abandoned = True

    def leave(self, headers: Mapping[str, str], time: float) -> None:
        """Handle ``QueueCallerLeave``: a caller is no longer in a queue."""
        channel = self._tracker.adopt(headers, "", time)
        call = self._tracker.call_of(channel)
        if channel is None or call is None or call.stay is None:
            return
        was_ringing = any(leg.state != "talking" for leg in call.legs.values())
        departure = Departure(time, channel.has_abandoned, was_ringing)
        is_requested = channel.requested is not None or channel.is_soft_requested
        if channel.has_abandoned and is_requested:
            self._book.leave(call, "abandoned", time)
            return
        self._tracker.notes(call).departure = departure
        self._wait_for_reason(call.call_id, channel.uniqueid, time + _SETTLE_SECONDS)

    def _wait_for_reason(self, call_id: str, uniqueid: str, due: float) -> None:
        self._tracker.delayed.add(f"left/{uniqueid}", due, lambda time: self._went_on(call_id, uniqueid, time))

    def status(self, headers: Mapping[str, str], time: float) -> None:
        """Handle ``VarSet``: why a caller left its queue, and variables that tenant rules use."""
        self._tracker.sees_dialplan = True
        channel = self._table.get(headers.get("Uniqueid", ""))
        call = self._tracker.call_of(channel)
        if call is None or channel is None:
            return
        name = headers.get("Variable", "")
        reason = _STATUS.get(headers.get("Value", ""))
        if name == "QUEUESTATUS" and reason is not None:
            self._settle(call, channel.uniqueid, reason)
        elif name in self._tracker.tenants.variables:
            self._tracker.note_variables(channel.uniqueid, (f"{name}={headers.get('Value', '')}",))

    def gone(self, channel: Channel, call: Call, time: float, cause: str) -> None:
        """Settle why the caller of a channel that ends has left its queue."""
        departure = self._tracker.notes(call).departure
        if departure is None or not self._tracker.delayed.cancel(f"left/{channel.uniqueid}"):
            if call.stay is not None and self._tracker.is_root(call, channel):
                self._book.leave(call, "abandoned" if channel.requested is not None else "other", time)
            return
        self._settle(call, channel.uniqueid, self._reason_of_end(channel, departure, time, cause))

    def _reason_of_end(self, channel: Channel, departure: Departure, time: float, cause: str) -> LeaveReason:
        if not departure.is_abandon:
            return "other" if departure.was_ringing else "key"
        if time - departure.time > _AT_ONCE_SECONDS:
            return "transferred" if self._tracker.sees_dialplan else "other"
        if self._tracker.sees_dialplan or departure.was_ringing:
            return "abandoned"
        return "abandoned" if cause in FAR_END_CAUSES else "other"

    def _went_on(self, call_id: str, uniqueid: str, time: float) -> None:
        """Publish why a caller left whose call goes on, where no further event will explain it."""
        call = self._book.calls.get(call_id)
        departure = self._tracker.notes(call).departure if call is not None else None
        if call is None or departure is None:
            return
        reason: LeaveReason = "key"
        if departure.is_abandon:
            reason = "transferred" if self._tracker.sees_dialplan else "other"
        elif time != GOES_ON and any(leg.state == "ringing" and leg.queue for leg in call.legs.values()):
            # A member that still is there has answered. It is connected soon, or the event of that was lost.
            if time < departure.time + _CONNECT_SECONDS:
                self._wait_for_reason(call_id, uniqueid, departure.time + _CONNECT_SECONDS)
                return
            reason = "other"
        self._settle(call, uniqueid, reason)

    def _settle(self, call: Call, uniqueid: str, reason: LeaveReason) -> None:
        notes = self._tracker.notes(call)
        departure, notes.departure = notes.departure, None
        self._tracker.delayed.cancel(f"left/{uniqueid}")
        if departure is not None:
            self._book.leave(call, reason, departure.time)


def _count(headers: Mapping[str, str], name: str) -> int | None:
    text = headers.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None
