"""Channels that begin, dial, ring, answer, hold and hang up."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from callcenter_ws.bridge.asterisk.channels import LISTENER_PREFIX, Channel
from callcenter_ws.bridge.asterisk.delayed import GOES_ON
from callcenter_ws.bridge.asterisk.tracker import Tracker
from callcenter_ws.bridge.asterisk.unseen import UnseenDials
from callcenter_ws.bridge.call import Call

_BUSY = "7"

_SETTLE_SECONDS = 1.0
"""How long a call is held back that was answered by the exchange and dials nothing."""


class Dials:
    """Translates events of channels and dials.

    Args:
        gone: called before a channel is taken out of its call, with the time and the cause.
    """

    def __init__(self, tracker: Tracker, gone: Callable[[Channel, Call, float, str], None]) -> None:
        self._tracker = tracker
        self._gone = gone
        self._unseen = UnseenDials(tracker, self._talk, self._miss_later)
        self._book = tracker.book
        self._table = tracker.table

    def new_channel(self, headers: Mapping[str, str], time: float) -> None:
        """Handle ``Newchannel``: a channel has begun."""
        channel = self._tracker.new_channel(headers, time)
        if channel is None or self._tracker.sees_dials or channel.is_local:
            return
        call = self._tracker.call_of(channel)
        if call is not None and not self._tracker.is_root(call, channel):
            self._unseen.called(call, channel, headers)

    def new_state(self, headers: Mapping[str, str], time: float) -> None:
        """Handle ``Newstate``; only an answer by the exchange itself, to a call that is held back, has an effect."""
        self._tracker.sees_states = True
        if headers.get("ChannelState") != "6":
            return
        channel = self._table.get(headers.get("Uniqueid", ""))
        call = self._tracker.call_of(channel)
        if call is None or channel is None or call.is_announced or not self._tracker.is_root(call, channel):
            return
        if self._tracker.notes(call).is_originated or channel.dialed:
            return
        call_id = call.call_id
        self._tracker.delayed.add(f"birth/{call_id}", time + _SETTLE_SECONDS, lambda _: self._announce(call_id))

    def _announce(self, call_id: str) -> None:
        call = self._book.calls.get(call_id)
        if call is not None:
            self._book.announce(call)

    def rename(self, headers: Mapping[str, str], time: float) -> None:
        """Handle ``Rename``: another device took the place of a channel's."""
        channel = self._table.get(headers.get("Uniqueid", ""))
        name = headers.get("Newname", "")
        if channel is not None and name and "<ZOMBIE>" not in name and "<MASQ>" not in name:
            channel.rename(name)

    def new_caller_id(self, headers: Mapping[str, str], time: float) -> None:
        """Handle ``NewCallerid``: the dialplan changed the number or the name of a caller."""
        channel = self._table.get(headers.get("Uniqueid", ""))
        call = self._tracker.call_of(channel)
        if call is None or channel is None or call.caller is not None:
            return
        if self._tracker.is_root(call, channel):
            call.caller_id = headers.get("CallerIDNum", "") or call.caller_id
            call.caller_name = headers.get("CallerIDName", "") or call.caller_name

    def new_account_code(self, headers: Mapping[str, str], time: float) -> None:
        """Handle ``NewAccountCode``: the dialplan set by what a call is accounted for, if its caller had nothing."""
        channel = self._table.get(headers.get("Uniqueid", ""))
        call = self._tracker.call_of(channel)
        if call is None or channel is None or call.is_announced or not self._tracker.is_root(call, channel):
            return
        origin = self._tracker.notes(call).origin
        if origin is not None and not origin.account_code:
            origin.account_code = headers.get("AccountCode", "")
            self._tracker.decide(call)

    # Dials

    def dial_begin(self, headers: Mapping[str, str], time: float) -> None:
        """Handle ``DialBegin``: a channel dials another one."""
        self._tracker.sees_dials = True
        target = self._tracker.adopt(headers, "Dest", time)
        if target is None:
            return
        dialer = self._tracker.adopt(headers, "", time)
        self._table.dial(dialer, target)
        call = self._tracker.call_of(target)
        if call is None or dialer is None:
            return
        self._tracker.delayed.run(f"left/{dialer.uniqueid}", GOES_ON)
        if not target.is_local:
            self._tracker.goes_to(call, dialer, target, headers)

    def dial_state(self, headers: Mapping[str, str], time: float) -> None:
        """Handle ``DialState``: a dialed channel rings."""
        if headers.get("DialStatus") != "RINGING":
            return
        target = self._tracker.adopt(headers, "Dest", time)
        call = self._tracker.call_of(target)
        if call is None or target is None or target.is_local:
            return
        if self._tracker.is_root(call, target) and not call.is_announced:
            self._tracker.notes(call).rang = time
            return
        if not target.is_dialed:
            return
        if call.caller is not None and self._tracker.is_outside(target):
            return
        first = self._table.member_leg(target)
        self._table.rang_behind(first, target)
        self._tracker.delayed.cancel(f"ring/{first.uniqueid}")
        self._book.ring(call, target.uniqueid, self._tracker.party_of(target), target.name, time)

    def dial_end(self, headers: Mapping[str, str], time: float) -> None:
        """Handle ``DialEnd``: a dial has ended, with an answer or without."""
        target = self._tracker.adopt(headers, "Dest", time)
        if target is None:
            return
        if headers.get("DialStatus") == "ANSWER":
            target.has_answered = True
            self._answered(target, time)
            return
        call = self._tracker.call_of(target)
        if call is None or call.stay is not None or target.has_answered or target.is_local:
            return
        self._unanswered(call, target, headers, time)

    def _unanswered(self, call: Call, target: Channel, headers: Mapping[str, str], time: float) -> None:
        """Tell that a phone missed a call in no queue, unless another one answered."""
        if self._tracker.is_root(call, target):
            self._book.announce(call)
            self._tracker.tell_ringing(call, target)
        if target.uniqueid not in call.legs:
            return
        dialer = self._table.get(target.top)
        if headers.get("Forward") or self._has_answer(call, target.top):
            self._book.stop_ringing(call, target.uniqueid, time)
        elif dialer is not None and len(dialer.dialed) > 1:
            self._miss_later(call, target.uniqueid, time)
        else:
            self._book.miss(call, target.uniqueid, time)

    def _miss_later(self, call: Call, uniqueid: str, time: float) -> None:
        """Publish that a phone missed the call, unless another phone of its group answers."""
        call_id = call.call_id
        self._tracker.notes(call).note_silent(uniqueid)

        def miss(late: float) -> None:
            ringing = self._book.calls.get(call_id)
            if ringing is not None:
                self._book.miss(ringing, uniqueid, late)

        self._tracker.delayed.add(f"miss/{uniqueid}", time + _SETTLE_SECONDS, miss)

    def _has_answer(self, call: Call, top: str) -> bool:
        """Return whether another phone that was dialed by the same channel talks."""
        talking = [self._table.get(uniqueid) for uniqueid, leg in call.legs.items() if leg.state == "talking"]
        return any(phone is not None and phone.top == top for phone in talking)

    def _answered(self, target: Channel, time: float) -> None:
        """Publish the answer of a call in no queue; ``AgentConnect`` shows that of others."""
        call = self._tracker.call_of(target)
        if call is None or call.stay is not None or not target.is_dialed:
            return
        if self._tracker.is_root(call, target) or not self._table.is_connected(target):
            return
        for phone in self._table.phones_behind(target, answered=True):
            self._talk(call, phone, time)

    def _talk(self, call: Call, phone: Channel, time: float) -> None:
        if any(leg.holding for leg in call.legs.values()):
            # A member of the conversation consults it by a feature code: it is in the call if that succeeds.
            self._book.consult(call, phone.uniqueid, time)
        elif call.caller is not None and self._tracker.is_outside(phone):
            self._book.reach(call, phone.uniqueid, phone.name, time)
        else:
            self._book.answer(call, phone.uniqueid, self._tracker.party_of(phone), phone.name, time)

    def member_status(self, headers: Mapping[str, str], time: float) -> None:
        """Handle ``QueueMemberStatus``, where it shows the answer of a dial that event filters leave out."""
        if self._tracker.undialed:
            self._unseen.status(headers, time)

    # Hold

    def hold(self, headers: Mapping[str, str], time: float) -> None:
        """Handle ``Hold``: a channel holds its call."""
        channel = self._table.get(headers.get("Uniqueid", ""))
        call = self._tracker.call_of(channel)
        if call is not None and channel is not None and self._is_participant(call, channel):
            self._tracker.delayed.cancel(f"unhold/{channel.uniqueid}")
            self._book.hold(call, channel.uniqueid, time)

    def unhold(self, headers: Mapping[str, str], time: float) -> None:
        """Handle ``Unhold``. Before an attended transfer it comes also for calls that stay on hold."""
        channel = self._table.get(headers.get("Uniqueid", ""))
        call = self._tracker.call_of(channel)
        if call is None or channel is None or not self._is_participant(call, channel):
            return
        uniqueid, call_id = channel.uniqueid, call.call_id
        if not self._book.talks_elsewhere(call, uniqueid):
            self._book.unhold(call, uniqueid, time)
            return

        def unhold(_: float) -> None:
            held = self._book.calls.get(call_id)
            if held is not None:
                self._book.unhold(held, uniqueid, time)

        self._tracker.delayed.add(f"unhold/{uniqueid}", time + _SETTLE_SECONDS, unhold)

    def _is_participant(self, call: Call, channel: Channel) -> bool:
        return channel.uniqueid in call.legs or (self._tracker.is_root(call, channel) and not channel.is_local)

    # Hangup

    def hangup_request(self, headers: Mapping[str, str], time: float) -> None:
        """Handle ``HangupRequest``: the far end of a channel hung up."""
        self._tracker.sees_requests = True
        channel = self._table.get(headers.get("Uniqueid", ""))
        if channel is None or headers.get("ChannelState") == _BUSY:
            # A caller whom the dialplan refuses as busy has not hung up, though the far end is gone by that.
            return
        if channel.requested is None:
            channel.requested = time
        self._tracker.requested(channel, time)

    def soft_hangup_request(self, headers: Mapping[str, str], time: float) -> None:
        """Handle ``SoftHangupRequest``: the exchange asked a channel to hang up."""
        self._tracker.sees_requests = True
        channel = self._table.get(headers.get("Uniqueid", ""))
        if channel is not None:
            channel.is_soft_requested = True

    def hangup(self, headers: Mapping[str, str], time: float) -> None:
        """Handle ``Hangup``: a channel has ended."""
        channel = self._table.remove(headers.get("Uniqueid", ""))
        if channel is None:
            if not headers.get("Linkedid", "").startswith(LISTENER_PREFIX):
                self._tracker.stray("Hangup")
            return
        call = self._tracker.call_of(channel)
        if call is None:
            return
        cause = headers.get("Cause", "")
        self._gone(channel, call, time, cause)
        self._tracker.leave_call(call, channel)
        self._tracker.delayed.run(f"unhold/{channel.uniqueid}", time)
        self._tracker.delayed.run(f"ring/{channel.uniqueid}", time)
        if self._tracker.is_root(call, channel):
            self._tracker.notes(call).cause = cause
            self._unanswered_origin(call, channel, time)
        self._unseen.gone(call, channel, headers, time)
        leg = call.legs.get(channel.uniqueid)
        if leg is not None and leg.state == "ringing":
            self._stop_ringing(call, channel, time)
        elif leg is not None and leg.state == "consulted":
            self._book.stop_ringing(call, channel.uniqueid, time)
        self._book.release(call, channel.uniqueid, time)
        self._tracker.end_if_empty(call, time, cause)

    def _unanswered_origin(self, call: Call, channel: Channel, time: float) -> None:
        """Tell that the caller's own phone did not answer, in a call that the exchange originated."""
        if self._tracker.notes(call).rang is not None and not channel.has_answered:
            self._book.announce(call)
            self._tracker.tell_ringing(call, channel)
            self._book.miss(call, channel.uniqueid, time)

    def _stop_ringing(self, call: Call, channel: Channel, time: float) -> None:
        """End the ringing, a little later where it may still be told that the agent missed the call."""
        if call.stay is None and channel.uniqueid not in self._tracker.notes(call).silent:
            self._book.stop_ringing(call, channel.uniqueid, time)
            return
        self._book.stop_ringing(call, channel.uniqueid, time, is_open=True)
        call_id, uniqueid = call.call_id, channel.uniqueid

        def stop(late: float) -> None:
            ringing = self._book.calls.get(call_id)
            if ringing is not None:
                self._book.stop_ringing(ringing, uniqueid, late)

        self._tracker.delayed.add(f"stop/{uniqueid}", time + _SETTLE_SECONDS, stop)
