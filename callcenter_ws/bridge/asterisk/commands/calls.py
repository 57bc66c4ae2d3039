"""Commands about a call: hang up, and transfer without asking the target."""

from __future__ import annotations

from typing import cast

from callcenter_ws.bridge.asterisk.channels import Channel
from callcenter_ws.bridge.asterisk.commands.orders import Order, OrderFailed
from callcenter_ws.bridge.asterisk.commands.steps import Action, Proof, Script, Step
from callcenter_ws.bridge.asterisk.commands.world import World
from callcenter_ws.bridge.asterisk.message import AmiMessage
from callcenter_ws.bridge.call import Call
from callcenter_ws.events.commands import HangUp, OutcomeCode, Transfer


def hang_up(world: World, order: Order) -> Script:
    """End a call: its first channel is hung up, or what is left of it. The end of the call proves it."""
    payload = cast(HangUp, order.payload)
    call = world.call(order, payload.call_id)
    first = world.first_channel(call)
    channels = [first.name] if first is not None else [name for name in call.members.values() if name]
    if not channels:
        raise OrderFailed(OutcomeCode.NOT_FOUND, "the call is over")
    if call.talks(order.user_id) or (call.caller is not None and call.caller.agent_id == order.user_id):
        world.machine.calls.hangs_up(call, world.machine.time)
    yield Step(
        [hangup_of(channel) for channel in channels],
        proof=lambda _: world.is_over(payload.call_id),
    )
    return None


def transfer(world: World, order: Order) -> Script:
    """Send the other party of a call somewhere else.

    Where an agent talks, the exchange is asked to transfer as if that agent's phone did it, and says itself that it was
    done. In other calls, and where Local channels are in between, the customer's channel is sent to the destination.
    """
    payload = cast(Transfer, order.payload)
    world.call(order, payload.call_id)
    destination = world.destination(payload.destination)
    yield from check_destination(world, world.settings.context, destination)
    call = world.call(order, payload.call_id)
    agent = world.agent_channel(call, order.user_id) or world.talking_channel(call)
    if agent is not None and world.may_use("BlindTransfer") and world.is_direct(agent):
        yield _transfer_by(world, agent, destination)
        return {"destination": destination}
    user_id = order.user_id if agent is None or call.agent is None else call.agent.agent_id
    customer = world.other_channel(call, user_id)
    if customer is None:
        raise OrderFailed(OutcomeCode.NOT_FOUND, "the other party of the call is not known")
    sender = call.agent if call.is_talking() else None
    yield _redirect(world, customer, destination)
    if sender is not None:
        world.machine.calls.redirected(call, sender, destination, world.machine.time)
    return {"destination": destination}


def check_destination(world: World, context: str, destination: str) -> Script:
    """Ask the exchange whether its dialplan has a destination.

    Raises:
        OrderFailed: ``not_found``: it has not.
    """
    if not (world.settings.check_destinations and world.may_use("ShowDialPlan")):
        return None
    step = Step([Action.of("ShowDialPlan", Context=context, Extension=destination)], is_question=True)
    (response,) = yield step
    text = response.get("Message")
    if response.response == "Error" and text.startswith("Did not find"):
        raise OrderFailed(OutcomeCode.NOT_FOUND, "the exchange has no such destination")
    return None


def hangup_of(channel: str) -> Action:
    """Return the action that hangs a channel up.

    Raises:
        OrderFailed: ``rejected``: Asterisk would take the name for a pattern, and hang up all channels that match it.
    """
    if channel.startswith("/"):
        raise OrderFailed(OutcomeCode.REJECTED, "the name of the channel is a pattern")
    return Action.of("Hangup", Channel=channel)


def _transfer_by(world: World, agent: Channel, destination: str) -> Step:
    def is_transferred(message: AmiMessage | None) -> bool:
        if message is None or message.name != "BlindTransfer":
            return False
        if message.get("TransfererUniqueid") != agent.uniqueid:
            return False
        if message.get("Result") != "Success":
            raise OrderFailed(OutcomeCode.REJECTED, "the exchange refuses the transfer")
        return True

    action = Action.of("BlindTransfer", Channel=agent.name, Context=world.settings.context, Exten=destination)
    return Step([action], proof=is_transferred)


def _redirect(world: World, customer: Channel, destination: str) -> Step:
    context = world.settings.context
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


def talking_agent(world: World, order: Order, call: Call) -> Channel:
    """Return the channel of the asker, who talks in a call.

    Raises:
        OrderFailed: ``not_allowed``: it does not.
    """
    channel = world.agent_channel(call, order.user_id)
    if channel is None:
        raise OrderFailed(OutcomeCode.NOT_ALLOWED, "only who talks in the call can do that")
    return channel
