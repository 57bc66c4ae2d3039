"""``agent.state.set``: available, break, away and offline, in all queues of an agent, and signing in at a phone."""

from __future__ import annotations

from typing import cast

from callcenter_ws.bridge.agent_states import Member
from callcenter_ws.bridge.asterisk.commands.checked_command import CheckedCommand, subject_of
from callcenter_ws.bridge.asterisk.commands.exchange_state import ExchangeState
from callcenter_ws.bridge.asterisk.commands.members import add_to, remove_from, set_paused
from callcenter_ws.bridge.asterisk.commands.steps import Script
from callcenter_ws.bridge.desks import Desk
from callcenter_ws.events.commands import OutcomeCode, SetAgentState
from callcenter_ws.remote import CommandFailed

_DEFAULT_REASONS = {"break": "", "away": "away", "offline": "offline"}
"""The reason of a pause, where the command has none."""


def set_state(exchange: ExchangeState, command: CheckedCommand) -> Script:
    """Bring an agent into a state: first its phone, then its queues. The data tell the state that it is shown in."""
    payload = cast(SetAgentState, command.payload)
    user_id = subject_of(command, payload.user_id)
    if payload.state == "offline":
        yield from _go_offline(exchange, command, user_id, payload)
    else:
        if payload.extension is not None:
            yield from _sign_in(exchange, command, user_id, payload.extension)
        reason = None if payload.state == "available" else payload.reason or _DEFAULT_REASONS[payload.state]
        if members := _memberships(exchange, command, user_id):
            yield from set_paused(exchange, members, reason)
        elif queues := _login_queues(exchange, command):
            yield from add_to(exchange, command, user_id, queues, paused=reason)
        elif payload.extension is None:
            raise CommandFailed(OutcomeCode.REJECTED, "the agent is in no queue, and the settings name none to join")
    return {"state": exchange.machine.agents.state_of(command.tenant_id, user_id) or "offline"}


def _login_queues(exchange: ExchangeState, command: CheckedCommand) -> list[str]:
    """Return the queues that an agent joins who is in none."""
    if not exchange.may_use("QueueAdd"):
        return []
    return [queue for queue in exchange.settings.login_queues if exchange.is_queue_of(command.tenant_id, queue)]


def _go_offline(exchange: ExchangeState, command: CheckedCommand, user_id: str, payload: SetAgentState) -> Script:
    """Take an agent out of the queues that may be changed, pause it in the others, and free its phone."""
    members = _memberships(exchange, command, user_id)
    leaving = [member for member in members if _may_leave(exchange, member)]
    staying = [member for member in members if member not in leaving]
    yield from remove_from(exchange, leaving)
    if staying:
        yield from set_paused(exchange, staying, payload.reason or _DEFAULT_REASONS["offline"])
    _sign_out(exchange, command.tenant_id, user_id)
    return None


def _may_leave(exchange: ExchangeState, member: Member) -> bool:
    return exchange.may_change(member.queue) and member.membership == "dynamic" and exchange.may_use("QueueRemove")


def _memberships(exchange: ExchangeState, command: CheckedCommand, user_id: str) -> list[Member]:
    """Return the memberships that make up the agent's state in the asker's tenant."""
    return [member for member in exchange.memberships(user_id) if member.agent_tenant == command.tenant_id]


def _sign_in(exchange: ExchangeState, command: CheckedCommand, user_id: str, extension: str) -> Script:
    """Give a phone to a user, until it goes offline or signs in elsewhere.

    Raises:
        CommandFailed: ``not_allowed``: the asker may not use this phone; ``busy``: another user has it.
    """
    machine = exchange.machine
    device = exchange.device_of_extension(extension)
    owner = machine.directory.user_of(device)
    is_own = owner is not None and owner.user_id == user_id and exchange.is_phone_of(command.tenant_id, user_id, device)
    if is_own and all(desk.device == device for desk in machine.desks.of_user(command.tenant_id, user_id)):
        return None
    if not is_own:
        _check_phone(exchange, command, device, extension)
    # The queues that its earlier user has joined there, and those that this user has joined elsewhere.
    if owner is not None and not is_own:
        leaving = _memberships(exchange, command, owner.user_id)
        yield from remove_from(
            exchange, [one for one in leaving if exchange.is_at(one, device) and _may_leave(exchange, one)]
        )
    moved = [member for member in _memberships(exchange, command, user_id) if _may_leave(exchange, member)]
    queues = [(member.queue, member.penalty) for member in moved]
    yield from remove_from(exchange, moved)
    if not is_own:
        _check_phone(exchange, command, device, extension)
    _sign_out(exchange, command.tenant_id, user_id)
    if not is_own:
        username = exchange.user(user_id).username
        machine.sign_in(Desk(device, command.tenant_id, user_id, username, extension))
    for queue, penalty in queues:
        if not exchange.membership(command.tenant_id, queue, user_id):
            yield from add_to(exchange, command, user_id, [queue], penalty=penalty)
    return None


def _check_phone(exchange: ExchangeState, command: CheckedCommand, device: str, extension: str) -> None:
    """Raise ``CommandFailed`` unless the asker may sign a user in at a phone."""
    desks, rules = exchange.machine.desks, exchange.machine.rules
    if rules.of_device(device) not in ("", command.tenant_id):
        raise CommandFailed(OutcomeCode.NOT_FOUND, "there is no such phone")
    if command.is_of_agent and extension not in exchange.settings.hot_desks and extension != command.extension:
        raise CommandFailed(OutcomeCode.NOT_ALLOWED, "you may sign in at your own phone and at hot desks only")
    desk = desks.get(device)
    if desk is not None and (command.is_of_agent or desk.tenant_id != command.tenant_id):
        raise CommandFailed(OutcomeCode.BUSY, "this phone is in use by another agent")
    if desks.is_full:
        raise CommandFailed(OutcomeCode.BUSY, "too many agents have signed in at phones")


def _sign_out(exchange: ExchangeState, tenant_id: str, user_id: str) -> None:
    for desk in exchange.machine.desks.of_user(tenant_id, user_id):
        exchange.machine.sign_out(desk)
