"""Consultations by the exchange's attended transfer: begin, complete and cancel one.

Asterisk plays the role of the agent's keypad: it takes the caller out of the conversation, and dials the target from a
Local channel ``…;1`` in the agent's name. The target has answered when that channel has.
"""

from __future__ import annotations

import re
from typing import cast

from callcenter_ws.bridge.asterisk.channels import Channel
from callcenter_ws.bridge.asterisk.commands.calls import check_destination, hangup_of, talking_agent, transfer_proof
from callcenter_ws.bridge.asterisk.commands.checked_command import CheckedCommand
from callcenter_ws.bridge.asterisk.commands.exchange_state import ExchangeState
from callcenter_ws.bridge.asterisk.commands.steps import Action, Proof, Script, Step
from callcenter_ws.bridge.asterisk.message import AmiMessage
from callcenter_ws.bridge.call import Call
from callcenter_ws.events.commands import Consult, EndConsultation, OutcomeCode
from callcenter_ws.remote import CommandFailed

_DIALED = re.compile(r"[0-9*]{1,32}", re.ASCII)
"""What can be dialed as digits; ``#`` ends a number."""


def begin(exchange: ExchangeState, command: CheckedCommand) -> Script:
    """Connect the asker with a target, while the customer waits. The target's answer proves it."""
    payload = cast(Consult, command.payload)
    exchange.call(command, payload.call_id)
    destination = exchange.destination(payload.destination)
    if not _DIALED.fullmatch(destination):
        raise CommandFailed(OutcomeCode.REJECTED, "only digits can be dialed for a consultation")
    yield from check_destination(exchange, exchange.settings.context, destination)
    call = exchange.call(command, payload.call_id)
    agent = talking_agent(exchange, command, call)
    if exchange.consultations.get(agent.uniqueid) is not None:
        raise CommandFailed(OutcomeCode.BUSY, "there is a consultation already")
    if exchange.has_just_consulted(agent.uniqueid):
        raise CommandFailed(OutcomeCode.BUSY, "the last consultation has just ended; try again in a second")
    action = Action.of("Atxfer", Channel=agent.name, Context=exchange.settings.context, Exten=destination)
    yield Step([action], proof=_answer_of_target(exchange, call, agent, destination))
    return {"destination": destination}


def complete(exchange: ExchangeState, command: CheckedCommand) -> Script:
    """Connect customer and target: the agent's phone is hung up. ``AttendedTransfer`` proves it."""
    agent = _consulting(exchange, command, cast(EndConsultation, command.payload).call_id, must_be_answered=True)

    proof = transfer_proof("AttendedTransfer", "OrigTransfererUniqueid", agent)
    yield Step([hangup_of(agent.name)], proof=proof)
    return None


def cancel(exchange: ExchangeState, command: CheckedCommand) -> Script:
    """Take the customer back. The end of the channel to the target proves it, if the agent is still in the call."""
    agent = _consulting(exchange, command, cast(EndConsultation, command.payload).call_id, must_be_answered=False)
    target = exchange.consultations[agent.uniqueid]

    def is_back(message: AmiMessage | None) -> bool:
        if message is None or message.name != "Hangup":
            return False
        if message.get("Uniqueid") == agent.uniqueid:
            raise CommandFailed(OutcomeCode.FAILED, "the agent's phone hung up")
        return message.get("Uniqueid") == target

    yield Step([Action.of("CancelAtxfer", Channel=agent.name)], proof=is_back)
    return None


def _consulting(exchange: ExchangeState, command: CheckedCommand, call_id: str, *, must_be_answered: bool) -> Channel:
    """Return the channel of the asker, who consults another party by a command.

    Raises:
        CommandFailed: ``rejected``: it does not, or the other party has not answered.
    """
    call = exchange.call(command, call_id)
    agent = talking_agent(exchange, command, call)
    target = exchange.consultations.get(agent.uniqueid)
    if target is None or (must_be_answered and target not in exchange.answered):
        raise CommandFailed(OutcomeCode.REJECTED, "there is no consultation that was begun by a command and answered")
    return agent


def _answer_of_target(exchange: ExchangeState, call: Call, agent: Channel, destination: str) -> Proof:
    name = f"Local/{destination}@{exchange.settings.context}-"
    members = frozenset(call.members)
    found: list[str] = []

    def is_answered(message: AmiMessage | None) -> bool:
        if message is None:
            return False
        if message.name == "Hangup" and message.get("Uniqueid") in (agent.uniqueid, *found):
            raise CommandFailed(OutcomeCode.REJECTED, "the target did not answer")
        if not found:
            is_target = message.get("Channel").startswith(name) and message.get("Channel").endswith(";1")
            uniqueid = message.get("Uniqueid")
            if message.name == "Newchannel" and is_target and uniqueid in call.members and uniqueid not in members:
                exchange.consult(agent.uniqueid, uniqueid)
                found.append(uniqueid)
            return False
        is_end = message.name == "DialEnd" and message.get("DestUniqueid") == found[0]
        return is_end and message.get("DialStatus") == "ANSWER"

    return is_answered
