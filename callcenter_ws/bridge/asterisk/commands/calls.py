"""Commands about a call: hang up, and transfer without asking the target."""

from __future__ import annotations

from typing import cast

from callcenter_ws.bridge.asterisk.channels import Channel
from callcenter_ws.bridge.asterisk.commands.checked_command import CheckedCommand
from callcenter_ws.bridge.asterisk.commands.exchange_state import ExchangeState
from callcenter_ws.bridge.asterisk.commands.steps import Action, Proof, Script, Step
from callcenter_ws.bridge.asterisk.message import AmiMessage
from callcenter_ws.bridge.call import Call
from callcenter_ws.events.commands import HangUp, OutcomeCode, Transfer
from callcenter_ws.remote import CommandFailed


def hang_up(exchange: ExchangeState, command: CheckedCommand) -> Script:
    """End a call: its first channel is hung up, or what is left of it. The end of the call proves it.

    A call that rings at a phone of the asker, who is not in it otherwise, is rejected there: the caller goes on
    waiting, and other phones go on ringing.
    """
    payload = cast(HangUp, command.payload)
    call = exchange.call(command, payload.call_id)
    if phones := exchange.called_phones(call, command.user_id):
        yield Step(
            [hangup_of(phone.name) for phone in phones],
            proof=lambda _: not any(exchange.has_channel(phone) for phone in phones),
        )
        return None
    first = exchange.first_channel(call)
    channels = [first.name] if first is not None else [name for name in call.members.values() if name]
    if not channels:
        raise CommandFailed(OutcomeCode.NOT_FOUND, "the call is over")
    if call.talks(command.user_id) or (call.caller is not None and call.caller.agent_id == command.user_id):
        exchange.machine.calls.hangs_up(call, exchange.machine.time)
    yield Step(
        [hangup_of(channel) for channel in channels],
        proof=lambda _: exchange.is_over(payload.call_id),
    )
    return None


def transfer(exchange: ExchangeState, command: CheckedCommand) -> Script:
    """Send the other party of a call somewhere else.

    Where an agent talks, the exchange is asked to transfer as if that agent's phone did it, and says itself that it was
    done. In other calls, and where Local channels are in between, the customer's channel is sent to the destination.
    """
    payload = cast(Transfer, command.payload)
    exchange.call(command, payload.call_id)
    destination = exchange.destination(payload.destination)
    yield from check_destination(exchange, exchange.settings.context, destination)
    call = exchange.call(command, payload.call_id)
    agent = exchange.agent_channel(call, command.user_id) or exchange.talking_channel(call)
    if agent is not None and exchange.may_use("BlindTransfer") and exchange.is_direct(agent):
        yield _transfer_by(exchange, agent, destination)
        return {"destination": destination}
    user_id = command.user_id if agent is None or call.agent is None else call.agent.agent_id
    customer = exchange.other_channel(call, user_id)
    if customer is None:
        raise CommandFailed(OutcomeCode.NOT_FOUND, "the other party of the call is not known")
    sender = call.agent if call.is_talking() else None
    yield _redirect(exchange, customer, destination)
    if sender is not None:
        exchange.machine.calls.redirected(call, sender, destination, exchange.machine.time)
    return {"destination": destination}


def check_destination(exchange: ExchangeState, context: str, destination: str) -> Script:
    """Ask the exchange whether its dialplan has a destination.

    Raises:
        CommandFailed: ``not_found``: it has not.
    """
    if not (exchange.settings.check_destinations and exchange.may_use("ShowDialPlan")):
        return None
    step = Step([Action.of("ShowDialPlan", Context=context, Extension=destination)], is_question=True)
    (response,) = yield step
    text = response.get("Message")
    if response.response == "Error" and text.startswith("Did not find"):
        raise CommandFailed(OutcomeCode.NOT_FOUND, "the exchange has no such destination")
    return None


def hangup_of(channel: str) -> Action:
    """Return the action that hangs a channel up.

    Raises:
        CommandFailed: ``rejected``: Asterisk would take the name for a pattern, and hang up all channels that match it.
    """
    if channel.startswith("/"):
        raise CommandFailed(OutcomeCode.REJECTED, "the name of the channel is a pattern")
    return Action.of("Hangup", Channel=channel)


def transfer_proof(event: str, uniqueid_field: str, agent: Channel) -> Proof:
    """Return what tells that an agent has transferred a call.

    Args:
        event: of the exchange; ``uniqueid_field``: its field with the channel of the agent.

    Raises:
        CommandFailed: by what is returned, ``rejected``: the exchange says that the transfer failed.
    """

    def is_transferred(message: AmiMessage | None) -> bool:
        if message is None or message.name != event or message.get(uniqueid_field) != agent.uniqueid:
            return False
        if message.get("Result") != "Success":
            raise CommandFailed(OutcomeCode.REJECTED, "the exchange refuses the transfer")
        return True

    return is_transferred


def _transfer_by(exchange: ExchangeState, agent: Channel, destination: str) -> Step:
    action = Action.of("BlindTransfer", Channel=agent.name, Context=exchange.settings.context, Exten=destination)
    return Step([action], proof=transfer_proof("BlindTransfer", "TransfererUniqueid", agent))


def _redirect(exchange: ExchangeState, customer: Channel, destination: str) -> Step:
    context = exchange.settings.context
    action = Action.of("Redirect", Channel=customer.name, Context=context, Exten=destination, Priority="1")
    return Step([action], proof=_is_at(customer.uniqueid, context, destination))


def _is_at(uniqueid: str, context: str, destination: str) -> Proof:
    """Return a proof that a channel is at an extension: each of its events names the place where it is."""

    def is_at(message: AmiMessage | None) -> bool:
        return (
            message is not None
            and message.get("Uniqueid") == uniqueid
            and message.get("Context") == context
            and message.get("Exten") == destination
        )

    return is_at


def talking_agent(exchange: ExchangeState, command: CheckedCommand, call: Call) -> Channel:
    """Return the channel of the asker, who talks in a call.

    Raises:
        CommandFailed: ``not_allowed``: it does not.
    """
    channel = exchange.agent_channel(call, command.user_id)
    if channel is None:
        raise CommandFailed(OutcomeCode.NOT_ALLOWED, "only who talks in the call can do that")
    return channel
