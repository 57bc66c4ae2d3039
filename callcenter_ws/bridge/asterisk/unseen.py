"""Calls in no queue on an exchange whose event filters leave out the dials: what can still be seen of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from callcenter_ws.bridge.asterisk.channels import Channel
from callcenter_ws.bridge.asterisk.delayed import GOES_ON
from callcenter_ws.bridge.asterisk.tracker import Tracker
from callcenter_ws.bridge.call import Call

_UP = "6"
_IN_USE, _RINGING, _RINGING_IN_USE = "2", "6", "7"
"""The statuses of queue members that matter here."""


class UnseenDials:
    """Takes a phone that is called from the beginning of its channel, and its answer from its state as a queue member.

    Of a phone that is in no queue only the hangup tells whether it had answered, but not when. Then neither the answer
    is told, nor any sum.

    Args:
        talk: called when a phone has answered.
        miss: called when it has not.
    """

    def __init__(
        self,
        tracker: Tracker,
        talk: Callable[[Call, Channel, float], None],
        miss: Callable[[Call, str, float], None],
    ) -> None:
        self._tracker = tracker
        self._miss = miss
        self._talk = talk

    def called(self, call: Call, phone: Channel, headers: Mapping[str, str]) -> None:
        """Note that a call has a new channel to a phone."""
        root = self._tracker.table.get(call.unique_id)
        if root is None:
            return
        departure = self._tracker.notes(call).departure
        if departure is not None and (departure.is_abandon or not departure.was_ringing):
            self._tracker.delayed.run(f"left/{root.uniqueid}", GOES_ON)
        if call.stay is None:
            self._tracker.goes_to(call, root, phone, headers)
            self._tracker.undialed[phone.device] = phone.uniqueid

    def status(self, headers: Mapping[str, str], time: float) -> None:
        """Note the new status of a queue member's device."""
        device = headers.get("StateInterface", "") or headers.get("Interface", "")
        phone = self._tracker.table.get(self._tracker.undialed.get(device, ""))
        call = self._tracker.call_of(phone)
        if phone is None or call is None or call.stay is not None:
            return
        status = headers.get("Status", "")
        if status in (_RINGING, _RINGING_IN_USE):
            self._ring(call, phone, time)
        if status == _RINGING_IN_USE:
            # What it does next says nothing about this call: it is in use anyway.
            del self._tracker.undialed[device]
        elif status == _IN_USE and phone.uniqueid in call.legs:
            phone.has_answered = True
            self._talk(call, phone, time)

    def gone(self, call: Call, phone: Channel, headers: Mapping[str, str], time: float) -> None:
        """Note that a channel to a phone has ended."""
        if not self._tracker.undialed or self._tracker.sees_dials:
            return
        if self._tracker.undialed.get(phone.device) == phone.uniqueid:
            del self._tracker.undialed[phone.device]
        elif phone.uniqueid not in call.legs:
            return
        if phone.has_answered or self._tracker.is_root(call, phone) or call.stay is not None:
            return
        if headers.get("ChannelState") == _UP:
            call.is_incomplete = True
        elif phone.uniqueid in call.legs and not call.is_talking():
            self._miss(call, phone.uniqueid, time)

    def _ring(self, call: Call, phone: Channel, time: float) -> None:
        if call.caller is None or not self._tracker.is_outside(phone):
            self._tracker.book.ring(call, phone.uniqueid, self._tracker.party_of(phone), phone.name, time)
