"""Checks whether a user may issue a command, by its role, its queues, and what it handles."""

from __future__ import annotations

from callcenter_ws.commands.decoding import text_of
from callcenter_ws.commands.policy import CommandPolicy
from callcenter_ws.commands.subjects import Subject
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.commands import CommandPayload, CommandType, Scope
from callcenter_ws.events.principal import Principal


def check_rights(
    asker: Principal,
    type_: CommandType,
    fields: CommandPayload,
    subject: Subject,
    policy: CommandPolicy,
    *,
    again: bool = False,
) -> None:
    """Refuse a command that the asker may not issue.

    An ``extension`` of an agent is not checked: whether it is one of its hot desks the source knows.

    Args:
        again: whether the command was checked before, when it was accepted. At which phones a call rings is known at
            the node of the asker only, and is not checked again.

    Raises:
        Refusal: ``not_allowed``; ``not_found``: there is no such call or chat, or the asker does not see it.
    """
    scope = policy.scope_of(asker.role, type_)
    if scope is None:
        raise Refusal(ErrorCode.NOT_ALLOWED, f"the role {asker.role} may not issue {type_.name}")
    if not subject.exists:
        raise Refusal(ErrorCode.NOT_FOUND, f"{type_.subject}: there is none with this id")
    queue_name = text_of(fields, "queue_name")
    if scope is Scope.ANY and queue_name is not None and not _is_claimed(asker, queue_name):
        raise Refusal(ErrorCode.NOT_ALLOWED, "queue_name: not among the queues of the token")
    if _is_own(asker, type_, fields, subject):
        return
    if scope is Scope.OWN:
        if again and subject.rings:
            return
        raise Refusal(ErrorCode.NOT_ALLOWED, _NOT_OWN[type_.subject])
    if not _is_in_claim(asker, type_, subject):
        raise Refusal(ErrorCode.NOT_ALLOWED, f"{type_.subject}: not of a queue of the token")


_NOT_OWN = {
    "call_id": "call_id: this call is handled by another agent, or by none",
    "session_id": "session_id: this chat is assigned to another agent, or to none",
    "user_id": "user_id: only for the user itself",
    "queue_name": "queue_name: only for the user itself",
    None: "only for the user itself",
}


def _is_own(asker: Principal, type_: CommandType, fields: CommandPayload, subject: Subject) -> bool:
    """Return whether what a command is about is the asker's."""
    if type_.subject == "call_id":
        return asker.user_id in (subject.handled_by if type_.name == "call.disposition" else subject.agents)
    if type_.subject == "session_id":
        # An unassigned chat may be accepted by those who see it.
        return asker.user_id in subject.agents or (type_.name == "chat.accept" and not subject.agents)
    if type_.subject == "user_id":
        return text_of(fields, "user_id") in (None, asker.user_id)
    return True


def _is_in_claim(asker: Principal, type_: CommandType, subject: Subject) -> bool:
    if asker.queues is None:
        return True
    if type_.subject == "user_id":
        return subject.in_claimed_queue
    return _is_claimed(asker, subject.queue_name)


def _is_claimed(asker: Principal, queue_name: str | None) -> bool:
    return asker.queues is None or (queue_name is not None and queue_name in asker.queues)
