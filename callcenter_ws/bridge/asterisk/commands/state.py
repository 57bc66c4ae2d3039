"""``agent.state.set``: available, break, away and offline, in all queues of an agent, and signing in at a phone."""

from __future__ import annotations

from typing import cast

from callcenter_ws.bridge.agent_states import Member
from callcenter_ws.bridge.asterisk.commands.members import add_to, remove_from, set_paused
from callcenter_ws.bridge.asterisk.commands.orders import Order, OrderFailed, subject_of
from callcenter_ws.bridge.asterisk.commands.steps import Script
from callcenter_ws.bridge.asterisk.commands.world import World
from callcenter_ws.bridge.desks import Desk
from callcenter_ws.events.commands import OutcomeCode, SetAgentState

_DEFAULT_REASONS = {"break": "", "away": "away", "offline": "offline"}
"""The reason of a pause, where the command has none."""


def set_state(world: World, order: Order) -> Script:
    """Bring an agent into a state: first its phone, then its queues. The data tell the state that it is shown in."""
    payload = cast(SetAgentState, order.payload)
    user_id = subject_of(order, payload.user_id)
    if payload.state == "offline":
        yield from _go_offline(world, order, user_id, payload)
    else:
        if payload.extension is not None:
            yield from _sign_in(world, order, user_id, payload.extension)
        reason = None if payload.state == "available" else payload.reason or _DEFAULT_REASONS[payload.state]
        if members := _memberships(world, order, user_id):
            yield from set_paused(world, members, reason)
        elif queues := _login_queues(world, order):
            yield from add_to(world, order, user_id, queues, paused=reason)
        elif payload.extension is None:
            raise OrderFailed(OutcomeCode.REJECTED, "the agent is in no queue, and the settings name none to join")
    return {"state": world.machine.agents.state_of(order.tenant_id, user_id) or "offline"}


def _login_queues(world: World, order: Order) -> list[str]:
    """Return the queues that an agent joins who is in none."""
    if not world.may_use("QueueAdd"):
        return []
    return [queue for queue in world.settings.login_queues if world.is_queue_of(order.tenant_id, queue)]


def _go_offline(world: World, order: Order, user_id: str, payload: SetAgentState) -> Script:
    """Take an agent out of the queues that may be changed, pause it in the others, and free its phone."""
    members = _memberships(world, order, user_id)
    leaving = [member for member in members if _may_leave(world, member)]
    staying = [member for member in members if member not in leaving]
    yield from remove_from(world, leaving)
    if staying:
        yield from set_paused(world, staying, payload.reason or _DEFAULT_REASONS["offline"])
    _sign_out(world, order.tenant_id, user_id)
    return None


def _may_leave(world: World, member: Member) -> bool:
    return world.may_change(member.queue) and member.membership == "dynamic" and world.may_use("QueueRemove")


def _memberships(world: World, order: Order, user_id: str) -> list[Member]:
    """Return the memberships that make up the agent's state in the asker's tenant."""
    return [member for member in world.memberships(user_id) if member.agent_tenant == order.tenant_id]


def _sign_in(world: World, order: Order, user_id: str, extension: str) -> Script:
    """Give a phone to a user, until it goes offline or signs in elsewhere.

    Raises:
        OrderFailed: ``not_allowed``: the asker may not use this phone; ``busy``: another user has it.
    """
    machine = world.machine
    device = world.device_of_extension(extension)
    owner = machine.directory.user_of(device)
    is_own = owner is not None and owner.user_id == user_id and world.is_phone_of(order.tenant_id, user_id, device)
    if is_own and all(desk.device == device for desk in machine.desks.of_user(order.tenant_id, user_id)):
        return None
    if not is_own:
        _check_phone(world, order, device, extension)
    # The queues that its earlier user has joined there, and those that this user has joined elsewhere.
    if owner is not None and not is_own:
        leaving = _memberships(world, order, owner.user_id)
        yield from remove_from(world, [one for one in leaving if world.is_at(one, device) and _may_leave(world, one)])
    moved = [member for member in _memberships(world, order, user_id) if _may_leave(world, member)]
    queues = [(member.queue, member.penalty) for member in moved]
    yield from remove_from(world, moved)
    if not is_own:
        _check_phone(world, order, device, extension)
    _sign_out(world, order.tenant_id, user_id)
    if not is_own:
        username = world.user(user_id).username
        machine.sign_in(Desk(device, order.tenant_id, user_id, username, extension))
    for queue, penalty in queues:
        if not world.membership(order.tenant_id, queue, user_id):
            yield from add_to(world, order, user_id, [queue], penalty=penalty)
    return None


def _check_phone(world: World, order: Order, device: str, extension: str) -> None:
    """Raise ``OrderFailed`` unless the asker may sign a user in at a phone."""
    desks, rules = world.machine.desks, world.machine.rules
    if rules.of_device(device) not in ("", order.tenant_id):
        raise OrderFailed(OutcomeCode.NOT_FOUND, "there is no such phone")
    if order.is_of_agent and extension not in world.settings.hot_desks and extension != order.extension:
        raise OrderFailed(OutcomeCode.NOT_ALLOWED, "you may sign in at your own phone and at hot desks only")
    desk = desks.get(device)
    if desk is not None and (order.is_of_agent or desk.tenant_id != order.tenant_id):
        raise OrderFailed(OutcomeCode.BUSY, "this phone is in use by another agent")
    if desks.is_full:
        raise OrderFailed(OutcomeCode.BUSY, "too many agents have signed in at phones")


def _sign_out(world: World, tenant_id: str, user_id: str) -> None:
    for desk in world.machine.desks.of_user(tenant_id, user_id):
        world.machine.sign_out(desk)
