"""Commands that have the exchange call a phone: for a call of its user, and for listening."""

from __future__ import annotations

import re
import secrets
from typing import cast

from callcenter_ws.bridge.asterisk.channels import LISTENER_PREFIX
from callcenter_ws.bridge.asterisk.commands.calls import check_destination
from callcenter_ws.bridge.asterisk.commands.checked_command import CheckedCommand
from callcenter_ws.bridge.asterisk.commands.exchange_state import ExchangeState
from callcenter_ws.bridge.asterisk.commands.steps import Action, Script, Step
from callcenter_ws.bridge.asterisk.message import AmiMessage
from callcenter_ws.bridge.directory import User
from callcenter_ws.events.commands import Monitor, Originate, OutcomeCode
from callcenter_ws.remote import CommandFailed

_EXTEN = re.compile(r"[A-Za-z0-9_.-]{1,79}", re.ASCII)
_NUMBER = re.compile(r"\+?[0-9]{1,32}", re.ASCII)
_SPARE_SECONDS = 0.5
"""A phone stops ringing so long before the deadline: the exchange has to tell that."""

_MIN_RING_SECONDS = 1.0

_BUSY = ("5",)
_UNANSWERED = ("1", "3")
"""Reasons of ``OriginateResponse``: control frames of the channel (``enum ast_control_frame_type``)."""


def originate(exchange: ExchangeState, command: CheckedCommand) -> Script:
    """Call the asker's own phone, and the destination when it answers. ``OriginateResponse`` proves it."""
    destination = exchange.destination(cast(Originate, command.payload).destination)
    context = exchange.settings.originate_context or exchange.settings.context
    device = exchange.device_of(command.tenant_id, command.user_id)
    yield from check_destination(exchange, context, destination)
    step = _call(exchange, command, device, context, destination)
    answers: list[AmiMessage] = []

    def is_answered(message: AmiMessage | None) -> bool:
        if message is None or not _is_result(message, step):
            return False
        _raise_failure(message)
        answers.append(message)
        return True

    step.proof = is_answered
    yield step
    uniqueid = answers[0].get("Uniqueid")
    return {"call_id": exchange.call_id_of(uniqueid)} if uniqueid else None


def monitor(exchange: ExchangeState, command: CheckedCommand) -> Script:
    """Call the asker's own phone, and let it listen to a call: an extension of a configured context does that.

    The extension is the id of the customer's channel. ``ChanSpyStart`` proves it.
    """
    call = exchange.call(command, cast(Monitor, command.payload).call_id)
    if not call.is_talking():
        raise CommandFailed(OutcomeCode.REJECTED, "no agent talks in the call yet")
    agent_id = call.agent.agent_id if call.agent is not None else ""
    target = exchange.other_channel(call, agent_id)
    if target is None or not _EXTEN.fullmatch(target.uniqueid):
        raise CommandFailed(OutcomeCode.NOT_FOUND, "the channel of the customer is not known")
    device = exchange.device_of(command.tenant_id, command.user_id)
    listener = f"{LISTENER_PREFIX}{secrets.token_hex(8)}"
    step = _call(exchange, command, device, exchange.settings.monitor_context, target.uniqueid, listener)

    def is_listening(message: AmiMessage | None) -> bool:
        if message is None:
            return False
        if _is_result(message, step):
            _raise_failure(message)
        return message.name == "ChanSpyStart" and message.get("SpyerUniqueid") == listener

    step.proof = is_listening
    yield step
    return None


def _call(
    exchange: ExchangeState,
    command: CheckedCommand,
    device: str,
    context: str,
    exten: str,
    channel_id: str | None = None,
) -> Step:
    user = exchange.user(command.user_id)
    ring_seconds = max(_MIN_RING_SECONDS, exchange.seconds_left(command) - _SPARE_SECONDS)
    # The second half of a Local channel needs an id of its own.
    other_id = f"{channel_id}-2" if channel_id and device.startswith("Local/") else None
    action = Action.of(
        "Originate",
        Channel=device,
        Context=context,
        Exten=exten,
        Priority="1",
        Timeout=str(int(ring_seconds * 1_000)),
        CallerID=_number_of(user),
        Async="true",
        ChannelId=channel_id,
        OtherChannelId=other_id,
    )
    return Step([action])


def _number_of(user: User) -> str | None:
    """Return the number with which a user calls, as if its phone had dialed; None: it is not known."""
    return next((text for text in (user.extension, user.user_id) if _NUMBER.fullmatch(text)), None)


def _is_result(message: AmiMessage, step: Step) -> bool:
    return message.name == "OriginateResponse" and message.get("ActionID") in step.ids


def _raise_failure(message: AmiMessage) -> None:
    """Raise ``CommandFailed`` if the phone that was called did not answer."""
    if message.get("Response") == "Success":
        return
    reason = message.get("Reason")
    if reason in _BUSY:
        raise CommandFailed(OutcomeCode.BUSY, "your phone is busy")
    if reason in _UNANSWERED:
        raise CommandFailed(OutcomeCode.REJECTED, "your phone did not answer")
    raise CommandFailed(OutcomeCode.FAILED, "your phone cannot be reached")
