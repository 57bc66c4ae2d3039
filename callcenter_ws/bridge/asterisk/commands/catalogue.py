"""The scripts by the names of the commands, and the events that prove what they do."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from callcenter_ws.bridge.asterisk.commands import calls, consult, members, originate
from callcenter_ws.bridge.asterisk.commands.checked_command import CheckedCommand
from callcenter_ws.bridge.asterisk.commands.exchange_state import ExchangeState
from callcenter_ws.bridge.asterisk.commands.record import record
from callcenter_ws.bridge.asterisk.commands.state import set_state
from callcenter_ws.bridge.asterisk.commands.steps import Script

SCRIPTS: Mapping[str, Callable[[ExchangeState, CheckedCommand], Script]] = {
    "agent.state.set": set_state,
    "queue.member.pause": members.pause,
    "queue.member.unpause": members.unpause,
    "queue.member.add": members.add,
    "queue.member.remove": members.remove,
    "call.originate": originate.originate,
    "call.hangup": calls.hang_up,
    "call.transfer": calls.transfer,
    "call.consult": consult.begin,
    "call.consult.complete": consult.complete,
    "call.consult.cancel": consult.cancel,
    "call.monitor": originate.monitor,
    "call.record": record,
}

PROOFS = frozenset(
    {"BridgeLeave", "ChanSpyStart", "MixMonitorMute", "MixMonitorStart", "MixMonitorStop", "OriginateResponse"}
)
"""Events that prove what commands do, besides those that the state machine of the exchange wants."""
