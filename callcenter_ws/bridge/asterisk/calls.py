"""The calls of one Asterisk: its events of channels, queues and transfers become facts of calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from callcenter_ws.bridge.activities import SetActivity
from callcenter_ws.bridge.asterisk.dials import Dials
from callcenter_ws.bridge.asterisk.message import AmiMessage
from callcenter_ws.bridge.asterisk.parties import Parties
from callcenter_ws.bridge.asterisk.queues import Queues
from callcenter_ws.bridge.asterisk.tracker import Tracker
from callcenter_ws.bridge.asterisk.transfers import Transfers
from callcenter_ws.bridge.call import Call
from callcenter_ws.bridge.calls import CallBook
from callcenter_ws.bridge.outgoing import Outgoing
from callcenter_ws.bridge.tenants import TenantRules

_VARIABLES = "ChanVariable"
"""The header with a variable of the channel, where ``channelvars`` in ``manager.conf`` names it."""

Translate = Callable[[Mapping[str, str], float], None]


class AsteriskCalls:
    """Translates what Asterisk tells of calls.

    Attributes:
        book: the calls.
        tracker: their channels.
        handlers: by the name of the event.
        member_status: has to be called with ``QueueMemberStatus``, too.
        redirected: has to be called when a command has sent a party elsewhere, of which the exchange tells nothing.
    """

    def __init__(self, outgoing: Outgoing, parties: Parties, tenants: TenantRules, set_activity: SetActivity) -> None:
        self.book = CallBook(outgoing, set_activity, self._conclude)
        self.tracker = Tracker(outgoing.source, self.book, parties, tenants)
        queues, transfers = Queues(self.tracker), Transfers(self.tracker)
        dials = Dials(self.tracker, queues.gone)
        translations: dict[str, Translate] = {
            "Newchannel": dials.new_channel,
            "Newstate": dials.new_state,
            "Rename": dials.rename,
            "NewCallerid": dials.new_caller_id,
            "NewAccountCode": dials.new_account_code,
            "DialBegin": dials.dial_begin,
            "DialState": dials.dial_state,
            "DialEnd": dials.dial_end,
            "Hold": dials.hold,
            "Unhold": dials.unhold,
            "HangupRequest": dials.hangup_request,
            "SoftHangupRequest": dials.soft_hangup_request,
            "Hangup": dials.hangup,
            "QueueCallerJoin": queues.join,
            "QueueCallerAbandon": queues.abandon,
            "QueueCallerLeave": queues.leave,
            "VarSet": queues.status,
            "AgentCalled": queues.agent_called,
            "AgentRingNoAnswer": queues.ring_no_answer,
            "AgentDump": queues.ring_no_answer,
            "AgentConnect": queues.connect,
            "AgentComplete": queues.complete,
            "BlindTransfer": transfers.blind,
            "AttendedTransfer": transfers.attended,
            "Pickup": transfers.pickup,
            "UnParkedCall": transfers.unparked,
        }
        self.member_status = dials.member_status
        self.redirected = transfers.redirected
        self.handlers: dict[str, Callable[[AmiMessage, float], None]] = {
            name: self._handler(translate) for name, translate in translations.items()
        }

    def restore(self, records: Mapping[str, bytes]) -> list[str]:
        """Take over the calls of an earlier process.

        Returns:
            The keys of records that cannot be read.
        """
        unreadable = self.book.restore(records)
        self.tracker.restore()
        return unreadable

    def advance(self, time: float) -> None:
        """Do what is due at a time."""
        self.tracker.delayed.advance(time)

    def shift(self, by: float) -> None:
        """Move all times, because the exchange's clock was set."""
        self.book.shift(by)
        self.tracker.delayed.shift(by)

    def hangs_up(self, call: Call, time: float) -> None:
        """Note that an agent ends a call by a command: the exchange tells that something on it did."""
        self.tracker.notes(call).request("agent", time)

    def _conclude(self, call: Call) -> None:
        self.tracker.conclude(call)

    def _handler(self, translate: Translate) -> Callable[[AmiMessage, float], None]:
        def handle(message: AmiMessage, time: float) -> None:
            headers = message.headers
            if _VARIABLES not in headers:
                translate(headers, time)
                return
            uniqueid, texts = headers.get("Uniqueid", ""), message.all(_VARIABLES)
            self.tracker.note_variables(uniqueid, texts)
            translate(headers, time)
            if message.name == "Newchannel":
                self.tracker.note_variables(uniqueid, texts)

        return handle
