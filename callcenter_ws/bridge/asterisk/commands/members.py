"""Commands about members of queues: pause, unpause, add and remove one. The members as events show them prove it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

from callcenter_ws.bridge.agent_states import Member
from callcenter_ws.bridge.asterisk.commands.checked_command import CheckedCommand, subject_of
from callcenter_ws.bridge.asterisk.commands.exchange_state import ExchangeState
from callcenter_ws.bridge.asterisk.commands.steps import Action, Script, Step
from callcenter_ws.events.commands import AddMember, OutcomeCode, PauseMember, RemoveMember
from callcenter_ws.remote import CommandFailed

MAX_REASON_BYTES = 79
"""Asterisk cuts longer reasons of pauses (``reason_paused`` in ``app_queue.c``)."""


def pause(exchange: ExchangeState, command: CheckedCommand) -> Script:
    """Pause a member in one queue."""
    payload = cast(PauseMember, command.payload)
    found = _members(exchange, command, payload.queue_name, payload.user_id)
    yield from set_paused(exchange, found, payload.reason or "")
    return None


def unpause(exchange: ExchangeState, command: CheckedCommand) -> Script:
    """Unpause a member in one queue."""
    payload = cast(PauseMember, command.payload)
    found = _members(exchange, command, payload.queue_name, payload.user_id)
    yield from set_paused(exchange, found, None)
    return None


def add(exchange: ExchangeState, command: CheckedCommand) -> Script:
    """Add a user to a queue. A user who is in it already keeps its membership and its penalty."""
    payload = cast(AddMember, command.payload)
    user_id = subject_of(command, payload.user_id)
    check_changeable(exchange, command, payload.queue_name)
    if not exchange.membership(command.tenant_id, payload.queue_name, user_id):
        yield from add_to(exchange, command, user_id, [payload.queue_name], penalty=payload.penalty or 0)
    return None


def remove(exchange: ExchangeState, command: CheckedCommand) -> Script:
    """Remove a user from a queue."""
    payload = cast(RemoveMember, command.payload)
    user_id = subject_of(command, payload.user_id)
    check_changeable(exchange, command, payload.queue_name)
    yield from remove_from(exchange, exchange.membership(command.tenant_id, payload.queue_name, user_id))
    return None


def check_changeable(exchange: ExchangeState, command: CheckedCommand, queue: str) -> None:
    """Raise ``CommandFailed`` unless members of a queue of the asker's tenant may be added and removed."""
    if not exchange.is_queue_of(command.tenant_id, queue):
        raise CommandFailed(OutcomeCode.NOT_FOUND, "there is no such queue")
    if not exchange.may_change(queue):
        raise CommandFailed(OutcomeCode.UNSUPPORTED, "the members of this queue are not changed by commands")


def set_paused(exchange: ExchangeState, members: Sequence[Member], reason: str | None) -> Script:
    """Pause memberships with a reason, or unpause them with None. Those that are so already are left alone."""
    text = None if reason is None else _cut(reason)

    def is_so(member: Member) -> bool:
        return not member.paused if text is None else member.paused and member.reason == text

    actions = [
        Action.of(
            "QueuePause",
            Queue=member.queue,
            Interface=member.interface,
            Paused="false" if text is None else "true",
            Reason=text or None,
        )
        for member in members
        if not is_so(member)
    ]
    if actions:
        yield Step(actions, proof=_all_present(exchange, members, is_so))
    return None


def add_to(
    exchange: ExchangeState,
    command: CheckedCommand,
    user_id: str,
    queues: Sequence[str],
    *,
    penalty: int = 0,
    paused: str | None = None,
) -> Script:
    """Add a user to queues, as the member that it is in others, else with its phone.

    Args:
        paused: the reason with which it is paused from the start; None: it is not.
    """
    interface, state_interface = exchange.interface_of(command.tenant_id, user_id)
    name = exchange.machine.directory.name_of(exchange.user(user_id))
    actions = [
        Action.of(
            "QueueAdd",
            Queue=queue,
            Interface=interface,
            StateInterface=state_interface,
            MemberName=name,
            Penalty=str(penalty),
            Paused="false" if paused is None else "true",
            Reason=_cut(paused or "") or None,
        )
        for queue in queues
    ]
    yield Step(
        actions, proof=lambda _: all(exchange.machine.members.get(queue, interface) is not None for queue in queues)
    )
    return None


def remove_from(exchange: ExchangeState, members: Sequence[Member]) -> Script:
    """Remove memberships."""
    keys = [(member.queue, member.interface) for member in members]
    if keys:
        actions = [Action.of("QueueRemove", Queue=queue, Interface=interface) for queue, interface in keys]
        yield Step(actions, proof=lambda _: all(exchange.machine.members.get(*key) is None for key in keys))
    return None


def _members(exchange: ExchangeState, command: CheckedCommand, queue: str, user_id: str | None) -> list[Member]:
    found = exchange.membership(command.tenant_id, queue, subject_of(command, user_id))
    if not found:
        raise CommandFailed(OutcomeCode.NOT_FOUND, "this person is not in the queue")
    return found


def _all_present(
    exchange: ExchangeState, members: Sequence[Member], is_so: Callable[[Member], bool]
) -> Callable[[object], bool]:
    keys = [(member.queue, member.interface) for member in members]

    def are_so(_: object) -> bool:
        present = [exchange.machine.members.get(*key) for key in keys]
        return any(present) and all(member is None or is_so(member) for member in present)

    return are_so


def _cut(reason: str) -> str:
    # Asterisk skips spaces at the begin of a value: with them, its event would not prove the pause.
    return reason.strip().encode()[:MAX_REASON_BYTES].decode(errors="ignore").rstrip()
