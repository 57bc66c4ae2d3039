"""Commands about members of queues: pause, unpause, add and remove one. The members as events show them prove it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

from callcenter_ws.bridge.agent_states import Member
from callcenter_ws.bridge.asterisk.commands.orders import Order, OrderFailed, subject_of
from callcenter_ws.bridge.asterisk.commands.steps import Action, Script, Step
from callcenter_ws.bridge.asterisk.commands.world import World
from callcenter_ws.events.commands import AddMember, OutcomeCode, PauseMember, RemoveMember

MAX_REASON_BYTES = 79
"""Asterisk cuts longer reasons of pauses (``reason_paused`` in ``app_queue.c``)."""


def pause(world: World, order: Order) -> Script:
    """Pause a member in one queue."""
    payload = cast(PauseMember, order.payload)
    found = _members(world, order, payload.queue_name, payload.user_id)
    yield from set_paused(world, found, payload.reason or "")
    return None


def unpause(world: World, order: Order) -> Script:
    """Unpause a member in one queue."""
    payload = cast(PauseMember, order.payload)
    found = _members(world, order, payload.queue_name, payload.user_id)
    yield from set_paused(world, found, None)
    return None


def add(world: World, order: Order) -> Script:
    """Add a user to a queue. A user who is in it already keeps its membership and its penalty."""
    payload = cast(AddMember, order.payload)
    user_id = subject_of(order, payload.user_id)
    check_changeable(world, order, payload.queue_name)
    if not world.membership(order.tenant_id, payload.queue_name, user_id):
        yield from add_to(world, order, user_id, [payload.queue_name], penalty=payload.penalty or 0)
    return None


def remove(world: World, order: Order) -> Script:
    """Remove a user from a queue."""
    payload = cast(RemoveMember, order.payload)
    user_id = subject_of(order, payload.user_id)
    check_changeable(world, order, payload.queue_name)
    yield from remove_from(world, world.membership(order.tenant_id, payload.queue_name, user_id))
    return None


def check_changeable(world: World, order: Order, queue: str) -> None:
    """Raise ``OrderFailed`` unless members of a queue of the asker's tenant may be added and removed."""
    if not world.is_queue_of(order.tenant_id, queue):
        raise OrderFailed(OutcomeCode.NOT_FOUND, "there is no such queue")
    if not world.may_change(queue):
        raise OrderFailed(OutcomeCode.UNSUPPORTED, "the members of this queue are not changed by commands")


def set_paused(world: World, members: Sequence[Member], reason: str | None) -> Script:
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
        yield Step(actions, proof=_all_present(world, members, is_so))
    return None


def add_to(
    world: World, order: Order, user_id: str, queues: Sequence[str], *, penalty: int = 0, paused: str | None = None
) -> Script:
    """Add a user to queues, as the member that it is in others, else with its phone.

    Args:
        paused: the reason with which it is paused from the start; None: it is not.
    """
    interface, state_interface = world.interface_of(order.tenant_id, user_id)
    name = world.machine.directory.name_of(world.user(user_id))
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
        actions, proof=lambda _: all(world.machine.members.get(queue, interface) is not None for queue in queues)
    )
    return None


def remove_from(world: World, members: Sequence[Member]) -> Script:
    """Remove memberships."""
    keys = [(member.queue, member.interface) for member in members]
    if keys:
        actions = [Action.of("QueueRemove", Queue=queue, Interface=interface) for queue, interface in keys]
        yield Step(actions, proof=lambda _: all(world.machine.members.get(*key) is None for key in keys))
    return None


def _members(world: World, order: Order, queue: str, user_id: str | None) -> list[Member]:
    found = world.membership(order.tenant_id, queue, subject_of(order, user_id))
    if not found:
        raise OrderFailed(OutcomeCode.NOT_FOUND, "this person is not in the queue")
    return found


def _all_present(world: World, members: Sequence[Member], is_so: Callable[[Member], bool]) -> Callable[[object], bool]:
    keys = [(member.queue, member.interface) for member in members]

    def are_so(_: object) -> bool:
        present = [world.machine.members.get(*key) for key in keys]
        return any(present) and all(member is None or is_so(member) for member in present)

    return are_so


def _cut(reason: str) -> str:
    return reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore")
