"""Which call each channel of one Asterisk belongs to: how calls begin, what is held back, and how they end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from callcenter_ws.bridge.asterisk.call_notes import FAR_END_CAUSES, CallNotes
from callcenter_ws.bridge.asterisk.channels import LISTENER_PREFIX, MAX_UNIQUEID, Channel, ChannelTable
from callcenter_ws.bridge.asterisk.delayed import DelayedWork
from callcenter_ws.bridge.asterisk.parties import Parties
from callcenter_ws.bridge.call import Call, Party
from callcenter_ws.bridge.call_register import EndedBy
from callcenter_ws.bridge.calls import CallBook
from callcenter_ws.bridge.tenants import CallOrigin, TenantRules, named_values

_END_SECONDS = 1.0
"""What hung up within this time before the end of a call ended it."""

_NAMELESS = ("", "s")
"""Extensions of channels that are called or originated, and have not got a number of their own."""


class Tracker:
    """The calls of one exchange and their channels.

    Attributes:
        delayed: what waits for further events.
        sees_requests: whether the exchange is known to send ``HangupRequest``.
        sees_states: whether the exchange sends the states of channels. If it sends these and dials, no including filter
            is set, so that it sends ``HangupRequest``, too.
        sees_dialplan: whether the exchange sends events of its dialplan.
        sees_dials: whether the exchange sends dial events.
        undialed: where it does not, the newest phone that was called in no queue, by device.
        strays: events about channels that are not known, by their names.
    """

    def __init__(self, source: str, book: CallBook, parties: Parties, tenants: TenantRules) -> None:
        self.book = book
        self.table = ChannelTable()
        self.delayed = DelayedWork()
        self.parties = parties
        self.tenants = tenants
        self.sees_requests = False
        self.sees_states = False
        self.sees_dialplan = False
        self.sees_dials = False
        self.undialed: dict[str, str] = {}
        self.strays: dict[str, int] = {}
        self._source = source
        self._notes: dict[str, CallNotes] = {}

    # Calls of channels

    def call_of(self, channel: Channel | None) -> Call | None:
        """Return the call of a channel; None if it has none any more."""
        return self.book.calls.get(channel.call_id) if channel is not None else None

    def notes(self, call: Call) -> CallNotes:
        """Return the unpublished notes on a call."""
        notes = self._notes.get(call.call_id)
        if notes is None:
            notes = self._notes[call.call_id] = CallNotes()
        return notes

    def stray(self, name: str) -> None:
        """Count an event about a channel that is not known."""
        self.strays[name] = self.strays.get(name, 0) + 1

    def restore(self) -> None:
        """Learn the channels of the calls that the book has taken over."""
        for call in self.book.calls.values():
            for uniqueid, name in call.members.items():
                channel = self.table.add(uniqueid, name)
                if channel is not None:
                    channel.call_id = call.call_id
                    channel.has_answered = uniqueid in call.legs or uniqueid in call.remote

    def new_channel(self, headers: Mapping[str, str], time: float) -> Channel | None:
        """Take in a channel that has begun, and begin its call if it is the first of one."""
        uniqueid = headers.get("Uniqueid", "")
        is_known = self.table.get(uniqueid) is not None
        channel = self._add(uniqueid, headers.get("Channel", ""), headers, "")
        if channel is None or is_known:
            return channel
        linkedid = _linkedid(headers, "", uniqueid)
        if linkedid == uniqueid:
            self._begin(channel, headers, time)
        else:
            self._join(channel, linkedid)
        return channel

    def adopt(self, headers: Mapping[str, str], prefix: str, time: float, *, begin: bool = False) -> Channel | None:
        """Return a channel that an event tells of; take it in if its beginning was not seen.

        Args:
            prefix: of the headers about this channel.
            begin: begin a call with it if its call is not known.
        """
        uniqueid = headers.get(f"{prefix}Uniqueid", "")
        channel = self.table.get(uniqueid)
        if channel is None:
            name = headers.get(f"{prefix}Channel", "")
            if not uniqueid or not name:
                return None
            channel = self._add(uniqueid, name, headers, prefix)
            if channel is None:
                return None
            self._join(channel, _linkedid(headers, prefix, uniqueid))
        if begin and not channel.call_id and self.call_of(channel) is None:
            self.stray("QueueCallerJoin")
            self._begin(channel, headers, time)
        return channel

    def take_in(self, headers: Mapping[str, str], time: float) -> Channel | None:
        """Return a channel that the exchange lists, with what the list says of it; None if there are too many."""
        known = self.table.get(headers.get("Uniqueid", ""))
        if known is None:
            return self.adopt(headers, "", time)
        name = headers.get("Channel", "")
        if name and name != known.name:
            known.rename(name)
        return self._add(known.uniqueid, name, headers, "")

    def introduce(self, channel: Channel, headers: Mapping[str, str], time: float, queue: str) -> Call | None:
        """Begin the call of a channel whose beginning was not seen; None if that cannot be.

        Args:
            queue: in which it is, or was before it was answered.
        """
        self._begin(channel, headers, time, queue, is_listed=True)
        return self.call_of(channel)

    def enter_call(self, call: Call, channel: Channel) -> None:
        """Add a channel to a call."""
        channel.call_id = call.call_id
        call.members[channel.uniqueid] = channel.name

    def move_channels(self, source: Call, target: Call) -> None:
        """Move all channels of a call to another one."""
        for uniqueid in list(source.members):
            channel = self.table.get(uniqueid)
            if channel is not None:
                self.leave_call(source, channel)
                self.enter_call(target, channel)

    def _add(self, uniqueid: str, name: str, headers: Mapping[str, str], prefix: str) -> Channel | None:
        if _linkedid(headers, prefix, uniqueid).startswith(LISTENER_PREFIX):
            return None
        channel = self.table.add(uniqueid, name)
        if channel is not None:
            channel.context = channel.context or headers.get(f"{prefix}Context", "")
            channel.account_code = channel.account_code or headers.get(f"{prefix}AccountCode", "")
            channel.caller_name = channel.caller_name or headers.get(f"{prefix}CallerIDName", "")
        return channel

    def _join(self, channel: Channel, linkedid: str) -> None:
        first = self.table.get(linkedid)
        call_id = first.call_id if first is not None else f"{self._source}-{linkedid}"
        call = self.book.calls.get(call_id)
        if call is not None:
            self.enter_call(call, channel)

    # Begin

    def _begin(
        self, channel: Channel, headers: Mapping[str, str], time: float, queue: str = "", *, is_listed: bool = False
    ) -> None:
        linkedid = _linkedid(headers, "", channel.uniqueid)
        is_inside = self.parties.is_inside(channel)
        is_originated = headers.get("ChannelState", "") == "0"
        caller_id, name = headers.get("CallerIDNum", ""), headers.get("CallerIDName", "")
        caller = self.parties.of_channel(channel, name) if is_inside else None
        if caller is not None and (is_originated or is_listed):
            # The exchange has set the number that the phone shows, or the other side: it is not that of the phone.
            caller_id, name = self.parties.number_of(channel), caller.agent_name
        call = Call(
            f"{self._source}-{linkedid}",
            channel.uniqueid,
            time,
            caller_id=caller_id,
            caller_name=name,
            destination=headers.get("Exten", ""),
            channel=channel.name,
            caller=caller,
            queue=queue,
        )
        call.members[channel.uniqueid] = channel.name
        if not self.book.begin(call):
            return
        channel.call_id = call.call_id
        is_inbound = self.parties.kind_of(channel.context) == "inbound"
        notes = self.notes(call)
        notes.origin = CallOrigin(channel.context, channel.account_code, channel.device)
        notes.origin.queue = queue
        notes.is_originated = is_originated
        if (is_inbound and not is_originated) or not (is_inside or is_originated or channel.is_local):
            call.direction = "inbound"
            if self._decide(call, notes):
                self.book.announce(call)

    def _decide(self, call: Call, notes: CallNotes) -> bool:
        """Choose the tenant; return False if that has to wait."""
        if call.tenant_id or notes.origin is None:
            return True
        call.tenant_id = self.tenants.decide(notes.origin) or ""
        return bool(call.tenant_id)

    def decide(self, call: Call) -> None:
        """Announce a call that was held back for its tenant only, if more that is known of it now decides that."""
        if call.direction and not call.is_announced and self._decide(call, self.notes(call)):
            self.book.announce(call)

    def note_variables(self, uniqueid: str, texts: Sequence[str]) -> None:
        """Note variables of a channel, as texts ``NAME=value``, if it is the caller's and rules of tenants use them."""
        channel = self.table.get(uniqueid)
        call = self.call_of(channel)
        if call is None or channel is None or call.is_announced or not self.is_root(call, channel):
            return
        origin = self.notes(call).origin
        found = {name: value for name, value in named_values(texts, self.tenants.variables).items() if value}
        if origin is not None and found:
            origin.variables.update(found)
            self.decide(call)

    def conclude(self, call: Call) -> None:
        """Fill in the tenant and the direction of a call that is announced now."""
        notes = self.notes(call)
        if notes.origin is not None and not call.tenant_id:
            call.tenant_id = self.tenants.conclude(notes.origin, call.call_id)
        if call.destination in _NAMELESS:
            call.destination = ""
        if not call.direction:
            is_outbound = notes.is_originated and not call.channel.startswith("Local/")
            call.direction = "outbound" if is_outbound else "internal" if call.caller is not None else "inbound"

    def tell_ringing(self, call: Call, phone: Channel) -> None:
        """Tell that the caller's own phone rang first, in a call that the exchange originated."""
        notes = self.notes(call)
        if notes.rang is not None and call.caller is not None and call.is_announced:
            rang, notes.rang = notes.rang, None
            self.book.ring(call, phone.uniqueid, call.caller, phone.name, rang)
            call.first_ring = None

    def goes_to(self, call: Call, dialer: Channel, target: Channel, headers: Mapping[str, str]) -> None:
        """Decide the direction of a call that was held back, as it dials something that is no Local channel."""
        if call.is_announced:
            return
        if call.destination in _NAMELESS:
            call.destination = headers.get("Exten", "")
        if not call.direction and call.caller is not None:
            call.direction = "outbound" if self.is_outside(target) else "internal"
        self.book.announce(call)
        if self.is_root(call, dialer):
            self.tell_ringing(call, dialer)
            self.book.stop_ringing(call, dialer.uniqueid, call.last_sign)

    def is_outside(self, channel: Channel) -> bool:
        """Return whether a channel that an agent's call dials leads out of the house."""
        return not channel.is_local and not self.parties.is_inside(channel)

    def party_of(self, channel: Channel, name: str = "") -> Party:
        """Return who is behind a channel."""
        return self.parties.of_channel(channel, name)

    # End

    def leave_call(self, call: Call, channel: Channel) -> None:
        """Take a channel out of a call."""
        call.members.pop(channel.uniqueid, None)
        channel.call_id = ""

    def requested(self, channel: Channel, time: float) -> None:
        """Note that the far end of a channel hung up."""
        call = self.call_of(channel)
        if call is None:
            return
        who: EndedBy = ""
        if channel.uniqueid in call.legs:
            who = "agent" if call.legs[channel.uniqueid].state == "talking" else ""
        elif channel.uniqueid in call.remote:
            who = "caller"
        elif self.is_root(call, channel):
            who = self.who_calls(call)
        elif channel.has_answered and call.caller is None and self.is_outside(channel):
            # The agent who had called it has transferred it.
            who = "caller"
        if who:
            self.notes(call).request(who, time)

    @staticmethod
    def who_calls(call: Call) -> EndedBy:
        """Return what ``ended_by`` is if the one who made the call ends it."""
        return "caller" if call.caller is None else "agent"

    @staticmethod
    def is_root(call: Call, channel: Channel) -> bool:
        """Return whether a channel is the caller's."""
        return channel.uniqueid == call.unique_id or call.call_id.endswith("-" + channel.uniqueid)

    def end_if_empty(self, call: Call, time: float, cause: str) -> None:
        """End a call whose last channel is gone."""
        if call.members:
            return
        notes = self.notes(call)
        if self.sees_requests or (self.sees_states and self.sees_dials):
            ended_by: EndedBy = notes.requested_by(time - _END_SECONDS) or "exchange"
        else:
            ended_by = notes.completed_by(time - _END_SECONDS)
            if call.is_abandoned and notes.cause in FAR_END_CAUSES:
                ended_by = self.who_calls(call)
        self.end(call, time, ended_by, notes.cause or cause)

    def end(self, call: Call, time: float, ended_by: EndedBy, cause: str = "", *, is_transferred: bool = False) -> None:
        """End a call.

        Args:
            is_transferred: its channels go on in another call.
        """
        for uniqueid in self.notes(call).silent:
            self.book.miss(call, uniqueid, time)
        self.book.end(call, time, ended_by, cause, is_transferred=is_transferred)
        self._notes.pop(call.call_id, None)
        self.delayed.cancel(f"birth/{call.call_id}")

    def forget(self, call_id: str) -> None:
        """Forget what is noted of a call that was ended otherwise."""
        self._notes.pop(call_id, None)

    def forget_pending(self) -> None:
        """Forget what waits for events, and what was noted of hangups, because events were missed."""
        self.delayed.clear()
        for notes in self._notes.values():
            notes.departure = notes.completed = None
            notes.requests.clear()
        for channel in self.table:
            channel.requested = None
            channel.is_soft_requested = channel.has_abandoned = False

    def forget_channels(self) -> None:
        """Forget all channels and delayed work, because the exchange was restarted."""
        self.table.clear()
        self.undialed.clear()
        self._notes.clear()
        self.delayed.clear()


def _linkedid(headers: Mapping[str, str], prefix: str, uniqueid: str) -> str:
    """Return the ``Linkedid`` of a channel; its ``Uniqueid`` if it has none, or one that cannot be."""
    linkedid = headers.get(f"{prefix}Linkedid", "")
    return linkedid if 0 < len(linkedid) <= MAX_UNIQUEID else uniqueid
